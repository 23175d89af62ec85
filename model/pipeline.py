"""From a prompt, references and controls to a picture, in the manner of a diffusers pipeline."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from datagen.errors import UserError
from datagen.geometry import resize_nearest
from model.controls.control_warnings import faults
from model.controls.regions import (
    Picture,
    Region,
    control_image,
    identity_sheet,
    reference_view,
    resize_region,
)
from model.network.flow_matching import mix, schedule, velocity
from model.sigma_gen import SigmaGen, load_model, save_model
from model.training.checkpoint import model_folder

FLUX_SHIFT = (0.5, 1.15)
"""Of the timestep, at 256 and at 4,096 tokens (FLUX.1's scheduler)."""

UNGUIDED = (
    "the model was trained without train.image_dropout, and never learned to paint without "
    "references and controls; leave it at 1"
)

OnStepEnd = Callable[["SigmaGenPipeline", int, Tensor, dict[str, Tensor]], dict[str, Tensor]]
"""As in diffusers: called after each step with the pipeline, the step's number, its timestep (0-d,
of 1,000) and {"latents": tokens (B, L, C)}. The "latents" of what it returns go on."""


@dataclass(frozen=True, eq=False)
class Insertion:
    """Keep a given picture and paint the subjects into it. ``image`` (H, W, 3) uint8; ``mask``
    (H, W) bool: where painting is allowed. Both of the model's size."""

    image: np.ndarray
    mask: np.ndarray


class SigmaGenPipeline:
    """Generates with one model. ``cache``: conditions are computed once, where the model allows
    it; the picture is the same without."""

    def __init__(self, sigma: SigmaGen, cache: bool = True) -> None:
        self.sigma = sigma
        self._cache = cache and sigma.config.backbone.cacheable

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str = "cpu", base: str | Path | None = None
    ) -> SigmaGenPipeline:
        """What ``save_pretrained`` or training wrote: a model, a checkpoint, or the folder of a
        run, whose last checkpoint it is. ``base``: where the pretrained model lies that it was
        trained on, if not where it lay then. Raises UserError."""
        check_device(device)
        sigma = load_model(model_folder(Path(folder)), device, base)
        sigma.backbone.eval()
        return cls(sigma)

    def save_pretrained(self, folder: str | Path) -> None:
        save_model(self.sigma, Path(folder))

    def faults(
        self,
        regions: Sequence[Region],
        references: Sequence[Picture] = (),
        insertion: Insertion | None = None,
        image_guidance_scale: float = 1.0,
    ) -> tuple[str, ...]:
        """What is odd about what would be painted, one line each, at the model's size. Raises
        UserError."""
        format, size = self.sigma.config.format, self._size
        found = faults(
            [resize_region(region, size) for region in regions],
            format.encoding,
            _views(references),
            None if insertion is None else self._arrays(insertion)[1],
        )
        if image_guidance_scale != 1 and self.sigma.trained.image_dropout == 0:
            return (*found, f"image guidance of {image_guidance_scale:g}: {UNGUIDED}")
        return found

    def __call__(
        self,
        prompt: str,
        references: Sequence[Picture],
        regions: Sequence[Region],
        *,
        background_depth: np.ndarray | None = None,
        insertion: Insertion | None = None,
        num_inference_steps: int = 28,
        guidance_scale: float = 2.5,
        image_guidance_scale: float = 1.0,
        generator: Generator | None = None,
        output_type: Literal["pil", "np"] = "pil",
        callback_on_step_end: OnStepEnd | None = None,
    ) -> Any:
        """One picture with all subjects, in one pass.

        ``references``: an RGBA picture a subject, square, (s, s, 4) uint8 or PIL's; ``regions``:
        its control, in the same order, squares of the model's size or resized to it.
        ``guidance_scale``: for models that embed one. ``image_guidance_scale`` above 1 pushes
        away from what the model would paint without references and controls; it takes two passes
        a step and a model that was trained with ``image_dropout``. Returns a PIL image, or
        (H, W, 3) uint8. Raises UserError.
        """
        format = self.sigma.config.format
        if not isinstance(prompt, str):
            raise UserError(
                f"prompt: {type(prompt).__name__}, expected one str: call once a prompt"
            )
        if output_type not in ("pil", "np"):
            raise UserError(f"output_type: {output_type!r}, expected pil or np")
        if not references or len(references) != len(regions):
            raise UserError(
                f"{len(references)} references, {len(regions)} regions: expected one of each "
                "for every subject"
            )
        control = control_image(regions, format.encoding, background_depth)
        if control.shape[0] != control.shape[1]:
            raise UserError(
                f"regions: {control.shape[1]} x {control.shape[0]} pixels, expected as wide as "
                "high: the model paints squares"
            )
        sheet = identity_sheet(_views(references), format.identity_size)
        images = self.sample(
            [prompt],
            _batch(sheet),
            _batch(resize_nearest(control, self._size)),
            steps=num_inference_steps,
            guidance=guidance_scale,
            image_guidance=image_guidance_scale,
            generator=generator,
            insertion=insertion,
            on_step_end=callback_on_step_end,
        )
        return Image.fromarray(images[0]) if output_type == "pil" else images[0]

    @torch.inference_mode()
    def sample(
        self,
        prompts: Sequence[str],
        sheets: Tensor,
        controls: Tensor,
        *,
        steps: int,
        guidance: float = 2.5,
        image_guidance: float = 1.0,
        generator: Generator | None = None,
        insertion: Insertion | None = None,
        on_step_end: OnStepEnd | None = None,
    ) -> np.ndarray:
        """Pictures (B, H, W, 3) uint8 of a batch of equal subject count: ``sheets``
        (B, 3, N*S, S) and ``controls`` (B, C, H, W) uint8. Euler steps. Raises UserError."""
        if not isinstance(steps, int) or steps < 1:
            raise UserError(f"num_inference_steps: {steps}, expected a whole number, at least 1")
        for name, scale in (("guidance_scale", guidance), ("image_guidance_scale", image_guidance)):
            if not 0 <= scale < math.inf:
                raise UserError(f"{name}: {scale}, expected a number, at least 0")
        sigma = self.sigma
        rows, columns = sigma.grid
        shape = (len(prompts), rows * columns, sigma.codec.out_channels)
        drawn_on = None if generator is None else generator.device
        noise = torch.randn(shape, generator=generator, device=drawn_on)
        noise = noise.to(sigma.device, sigma.dtype)
        keep = None if insertion is None else self._kept(insertion)
        predict = self._predictor(prompts, sheets, controls, guidance, image_guidance)
        shift = FLUX_SHIFT if sigma.config.prediction == "v" else None
        times = schedule(steps, rows * columns, shift)
        x = noise
        for step, (now, then) in enumerate(pairwise(times)):
            x = x + (then - now) * predict(x, torch.full((len(x),), now, device=x.device))
            if keep is not None:
                given, painted = keep
                x = torch.where(painted, x, mix(given, noise, x.new_full((len(x),), then)))
            if on_step_end is not None:
                timestep = torch.tensor(1000 * now, device=x.device)
                x = _latents(on_step_end(self, step, timestep, {"latents": x}), x)
        images = sigma.codec.decode(x, rows, columns).float().clamp(-1, 1)
        pictures: np.ndarray = (
            ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy(force=True)
        )
        if insertion is not None:
            # A token is painted whole: the pixels of it that may not be are put back.
            image, mask = self._arrays(insertion)
            pictures[:, ~mask] = image[~mask]
        return pictures

    def _predictor(
        self,
        prompts: Sequence[str],
        sheets: Tensor,
        controls: Tensor,
        guidance: float,
        image_guidance: float,
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Noisy tokens and times to velocity."""
        sigma = self.sigma
        text = sigma.text(prompts)
        scale = torch.full((len(prompts),), guidance, device=sigma.device)
        told = scale if sigma.guided else None
        conditions = sigma.conditions(sheets, controls)
        given = [conditions]
        if image_guidance != 1:
            given.append(conditions.keep(torch.zeros(len(prompts), dtype=torch.bool)))
        kept = [sigma.backbone.remember(c, text, told) if self._cache else None for c in given]

        def velocity_of(x: Tensor, times: Tensor, which: int) -> Tensor:
            tokens = sigma.codec.image_tokens(x)
            predicted = sigma.backbone(
                tokens, sigma.position_ids, times, text, given[which], told, kept[which]
            )
            return velocity(predicted, x, times, sigma.config.prediction)

        def predict(x: Tensor, times: Tensor) -> Tensor:
            with_conditions = velocity_of(x, times, 0)
            if image_guidance == 1:
                return with_conditions
            without = velocity_of(x, times, 1)
            return without + image_guidance * (with_conditions - without)

        return predict

    def _kept(self, insertion: Insertion) -> tuple[Tensor, Tensor]:
        """Tokens (1, L, C) of the given picture, and (1, L, 1) where painting is allowed: every
        token that the mask touches."""
        sigma = self.sigma
        image, mask = self._arrays(insertion)
        given = sigma.targets(_batch(image))
        allowed = _batch(mask[..., None]).to(sigma.device, torch.float32)
        touched = torch.nn.functional.max_pool2d(allowed, sigma.codec.pixels) > 0
        return given, touched.flatten(2).transpose(1, 2)

    def _arrays(self, insertion: Insertion) -> tuple[np.ndarray, np.ndarray]:
        """Image and mask, if they are what they should be."""
        for name, part, expected in (
            ("image", insertion.image, (np.uint8, (*self._size, 3))),
            ("mask", insertion.mask, (np.bool_, self._size)),
        ):
            found = getattr(part, "dtype", type(part).__name__), getattr(part, "shape", "")
            if not isinstance(part, np.ndarray) or found != expected:
                raise UserError(
                    f"insertion.{name}: {found[0]} {found[1]}, expected an array of "
                    f"{np.dtype(expected[0])} {expected[1]}: the model's size"
                )
        if not insertion.mask.any():
            raise UserError("insertion.mask: nothing set, expected True where to paint")
        return insertion.image, insertion.mask

    @property
    def _size(self) -> tuple[int, int]:
        edge = self.sigma.config.format.size
        return edge, edge


def check_device(name: str) -> None:
    """Raises UserError where PyTorch cannot compute there."""
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError, ImportError):
        raise UserError(
            f"device: {name!r} is not there for PyTorch; expected cpu, or with a GPU cuda"
        ) from None


def _views(references: Sequence[Picture]) -> list[np.ndarray]:
    views = []
    for i, picture in enumerate(references):
        try:
            views.append(reference_view(picture))
        except UserError as error:
            raise UserError(f"references[{i}]: {error}") from None
    return views


def _latents(returned: Any, before: Tensor) -> Tensor:
    """Of what a callback returned; ``before`` where it names none. Raises UserError."""
    if not isinstance(returned, dict):
        raise UserError(
            f"callback_on_step_end: returned {type(returned).__name__}, expected a dict, such as "
            "the one that it was given"
        )
    latents = returned.get("latents", before)
    if not isinstance(latents, Tensor) or latents.shape != before.shape:
        found = getattr(latents, "shape", type(latents).__name__)
        raise UserError(
            f"callback_on_step_end: latents {found}, expected a tensor {tuple(before.shape)}"
        )
    return latents.to(before)


def _batch(picture: np.ndarray) -> Tensor:
    """(H, W, C) to (1, C, H, W)."""
    # A copy: PyTorch takes no array that is read-only, as PIL's are, or runs backwards.
    return torch.from_numpy(np.array(picture, order="C")).permute(2, 0, 1)[None]
