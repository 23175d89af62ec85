"""Generates an image from a prompt, references and controls, as a diffusers pipeline does."""

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
from model.controls.control_image import control_image
from model.controls.control_warnings import control_warnings
from model.controls.identity_sheet import Picture, identity_sheet, reference_view
from model.controls.regions import Region, resize_region
from model.network.flow_matching import mix, schedule, velocity
from model.sigma_gen import SigmaGen, load_model, save_model
from model.training.checkpoint import model_folder

FLUX_SHIFT = (0.5, 1.15)
"""Timestep shift at 256 and at 4,096 tokens of the target (FLUX.1's scheduler)."""

NO_IMAGE_GUIDANCE = (
    "the model was trained without train.image_dropout and never learned to generate images "
    "without references and controls; leave it at 1"
)

OnStepEnd = Callable[["SigmaGenPipeline", int, Tensor, dict[str, Tensor]], dict[str, Tensor]]
"""A callback as in diffusers. Called after each step with the pipeline, the number of the step from
0, its timestep (0-d tensor, 0..1000) and {"latents": tokens (B, L, C) float32}. Sampling continues
with the "latents" of the returned dictionary."""


@dataclass(frozen=True, eq=False)
class Insertion:
    """A given image to insert the subjects into.

    Attributes:
        image: (H, W, 3) uint8 RGB, of the model's size.
        mask: (H, W) bool, of the model's size: True where the image may change.
    """

    image: np.ndarray
    mask: np.ndarray


class SigmaGenPipeline:
    """Generates images with one model.

    Args:
        sigma: the model.
        cache: compute the keys and values of the conditions once and not at every step, where the
            model's configuration allows it. The images are the same.
    """

    def __init__(self, sigma: SigmaGen, cache: bool = True) -> None:
        self.sigma = sigma
        self._cache = cache and sigma.config.backbone.cacheable

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str = "cpu", base: str | Path | None = None
    ) -> SigmaGenPipeline:
        """Load a model that ``save_pretrained`` or training wrote.

        Args:
            folder: a saved model, a checkpoint, or a training run, whose last checkpoint is taken.
            device: "cpu" or "cuda".
            base: folder of the pretrained model that it was trained on, if that has moved since.

        Raises:
            UserError: there is no such model or device, or a file is damaged.
        """
        check_device(device)
        sigma = load_model(model_folder(Path(folder)), device, base)
        sigma.backbone.eval()
        return cls(sigma)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model's configuration and weights.

        Args:
            folder: made if absent.
        """
        save_model(self.sigma, Path(folder))

    def control_warnings(
        self,
        regions: Sequence[Region],
        references: Sequence[Picture] = (),
        insertion: Insertion | None = None,
        image_guidance_scale: float = 1.0,
    ) -> tuple[str, ...]:
        """Warn of input that is allowed but probably not meant.

        Args:
            regions: the subjects' controls, as ``__call__`` takes them.
            references: the subjects' references, if they are to be checked, too.
            insertion: the image to insert into, if any.
            image_guidance_scale: as ``__call__`` takes it.

        Returns:
            One line per warning. Controls are checked at the model's size.

        Raises:
            UserError: a reference or the insertion is not as ``__call__`` expects it.
        """
        format, size = self.sigma.config.format, self._size
        found = control_warnings(
            [resize_region(region, size) for region in regions],
            format.encoding,
            _views(references),
            None if insertion is None else self._arrays(insertion)[1],
        )
        if image_guidance_scale != 1 and self.sigma.training_metadata.image_dropout == 0:
            return (*found, f"image guidance of {image_guidance_scale:g}: {NO_IMAGE_GUIDANCE}")
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
        """Generate one image with all subjects, in one diffusion pass.

        Args:
            prompt: text.
            references: one per subject: a square RGBA image, (s, s, 4) uint8 or PIL.
            regions: one control per subject, in the same order: squares (H, W), resized to the
                model's size where they have another.
            background_depth: relative depth (H, W) of what is not a subject, of the regions' size,
                as ``control_image`` takes it.
            insertion: keep this image where its mask is False.
            num_inference_steps: Euler steps, at least 1.
            guidance_scale: guidance scale passed to guidance-distilled models, at least 0; other
                models ignore it.
            image_guidance_scale: classifier-free guidance on references and controls, at least 0;
                1 is none. Otherwise each step takes two forward passes, and the model must have
                been trained with ``image_dropout``.
            generator: for the initial noise; None takes torch's global one.
            output_type: "pil" for a PIL image, "np" for an array.
            callback_on_step_end: see ``OnStepEnd``.

        Returns:
            A PIL image, or an array (H, W, 3) uint8 RGB, of the model's size.

        Raises:
            UserError: an argument is not as described.
        """
        format = self.sigma.config.format
        if not isinstance(prompt, str):
            raise UserError(
                f"prompt: {type(prompt).__name__}, expected one str: call once per prompt"
            )
        if output_type not in ("pil", "np"):
            raise UserError(f"output_type: {output_type!r}, expected pil or np")
        if not references or len(references) != len(regions):
            raise UserError(
                f"{len(references)} references, {len(regions)} regions: expected one of each "
                "per subject"
            )
        control = control_image(regions, format.encoding, background_depth)
        if control.shape[0] != control.shape[1]:
            raise UserError(
                f"regions: {control.shape[1]} x {control.shape[0]} pixels, expected as wide as "
                "high: the model generates squares"
            )
        sheet = identity_sheet(_views(references), format.identity_size)
        images = self.sample(
            [prompt],
            _batch(sheet),
            _batch(resize_nearest(control, self._size)),
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            image_guidance_scale=image_guidance_scale,
            generator=generator,
            insertion=insertion,
            callback_on_step_end=callback_on_step_end,
        )
        return Image.fromarray(images[0]) if output_type == "pil" else images[0]

    @torch.inference_mode()
    def sample(
        self,
        prompts: Sequence[str],
        sheets: Tensor,
        controls: Tensor,
        *,
        num_inference_steps: int,
        guidance_scale: float = 2.5,
        image_guidance_scale: float = 1.0,
        generator: Generator | None = None,
        insertion: Insertion | None = None,
        callback_on_step_end: OnStepEnd | None = None,
    ) -> np.ndarray:
        """Generate a batch of images with equal subject counts.

        Args:
            prompts: B texts.
            sheets: identity sheets (B, 3, N*S, S) uint8.
            controls: control images (B, C, H, W) uint8, of the model's size.
            num_inference_steps: Euler steps, at least 1.
            guidance_scale: as ``__call__`` takes it.
            image_guidance_scale: as ``__call__`` takes it.
            generator: for the initial noise of the whole batch.
            insertion: as ``__call__`` takes it, the same for all images.
            callback_on_step_end: see ``OnStepEnd``.

        Returns:
            (B, H, W, 3) uint8 RGB.

        Raises:
            UserError: an argument is not as described.
        """
        if not isinstance(num_inference_steps, int) or num_inference_steps < 1:
            raise UserError(
                f"num_inference_steps: {num_inference_steps}, expected a whole number, at least 1"
            )
        for name, scale in (
            ("guidance_scale", guidance_scale),
            ("image_guidance_scale", image_guidance_scale),
        ):
            if not 0 <= scale < math.inf:
                raise UserError(f"{name}: {scale}, expected a number, at least 0")
        sigma = self.sigma
        rows, columns = sigma.grid
        shape = (len(prompts), rows * columns, sigma.image_tokenizer.out_channels)
        device = None if generator is None else generator.device
        # In float32, whatever the transformer computes in: rounding would add up over the steps.
        noise = torch.randn(shape, generator=generator, device=device).to(sigma.device)
        kept = None if insertion is None else self._tokenized(insertion)
        predict = self._predictor(prompts, sheets, controls, guidance_scale, image_guidance_scale)
        shift = FLUX_SHIFT if sigma.config.prediction == "v" else None
        times = schedule(num_inference_steps, rows * columns, shift)
        x = noise
        for step, (now, then) in enumerate(pairwise(times)):
            x = x + (then - now) * predict(x, torch.full((len(x),), now, device=x.device))
            if kept is not None:
                given, allowed = kept
                x = torch.where(allowed, x, mix(given, noise, x.new_full((len(x),), then)))
            if callback_on_step_end is not None:
                timestep = torch.tensor(1000 * now, device=x.device)
                x = _latents(callback_on_step_end(self, step, timestep, {"latents": x}), x)
        images = sigma.image_tokenizer.decode(x, rows, columns).float().clamp(-1, 1)
        pictures: np.ndarray = (
            ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy(force=True)
        )
        if insertion is not None:
            # Whole tokens are generated: pixels of them that may not change are put back.
            image, mask = self._arrays(insertion)
            pictures[:, ~mask] = image[~mask]
        return pictures

    def _predictor(
        self,
        prompts: Sequence[str],
        sheets: Tensor,
        controls: Tensor,
        guidance_scale: float,
        image_guidance_scale: float,
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """A function from noisy tokens (B, L, C) and times (B,), both float32, to velocities
        (B, L, C)."""
        sigma = self.sigma
        text = sigma.text(prompts)
        guidance = None
        if sigma.guided:
            guidance = torch.full((len(prompts),), guidance_scale, device=sigma.device)
        conditions = sigma.conditions(sheets, controls)
        given = [conditions]
        if image_guidance_scale != 1:
            given.append(conditions.keep(torch.zeros(len(prompts), dtype=torch.bool)))
        caches = [
            sigma.backbone.cache_conditions(c, text, guidance) if self._cache else None
            for c in given
        ]

        def velocity_of(x: Tensor, times: Tensor, which: int) -> Tensor:
            tokens = sigma.image_tokenizer.image_tokens(x).to(sigma.dtype)
            predicted = sigma.backbone(
                tokens, sigma.position_ids, times, text, given[which], guidance, caches[which]
            )
            return velocity(predicted, x, times, sigma.config.prediction)

        def predict(x: Tensor, times: Tensor) -> Tensor:
            with_conditions = velocity_of(x, times, 0)
            if image_guidance_scale == 1:
                return with_conditions
            without = velocity_of(x, times, 1)
            return without + image_guidance_scale * (with_conditions - without)

        return predict

    def _tokenized(self, insertion: Insertion) -> tuple[Tensor, Tensor]:
        """Tokens (1, L, C) of the image, and (1, L, 1) bool where tokens may change: those that
        the mask touches."""
        sigma = self.sigma
        image, mask = self._arrays(insertion)
        given = sigma.targets(_batch(image)).float()
        allowed = _batch(mask[..., None]).to(sigma.device, torch.float32)
        touched = torch.nn.functional.max_pool2d(allowed, sigma.image_tokenizer.pixels) > 0
        return given, touched.flatten(2).transpose(1, 2)

    def _arrays(self, insertion: Insertion) -> tuple[np.ndarray, np.ndarray]:
        """Check type and shape of image and mask. Raises UserError."""
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
            raise UserError(
                "insertion.mask: no pixel is set, expected True where the image may change"
            )
        return insertion.image, insertion.mask

    @property
    def _size(self) -> tuple[int, int]:
        edge = self.sigma.config.format.size
        return edge, edge


def check_device(name: str) -> None:
    """Check that PyTorch can compute on a device.

    Args:
        name: "cpu" or "cuda".

    Raises:
        UserError: it cannot.
    """
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError, ImportError):
        raise UserError(
            f"device: {name!r} is not available to PyTorch; expected cpu, or with a GPU cuda"
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
    """The latents that a callback returned, or ``before`` where it returned none of that name.
    Raises UserError."""
    if not isinstance(returned, dict):
        raise UserError(
            f"callback_on_step_end: returned {type(returned).__name__}, expected a dict, such as "
            "the one that it was called with"
        )
    latents = returned.get("latents", before)
    if not isinstance(latents, Tensor) or latents.shape != before.shape:
        found = getattr(latents, "shape", type(latents).__name__)
        raise UserError(
            f"callback_on_step_end: latents {found}, expected a tensor {tuple(before.shape)}"
        )
    return latents.to(before)


def _batch(picture: np.ndarray) -> Tensor:
    """Convert an array (H, W, C) to a batch of one, (1, C, H, W)."""
    # A copy: PyTorch takes neither read-only arrays, as PIL's are, nor negative strides.
    return torch.from_numpy(np.array(picture, order="C")).permute(2, 0, 1)[None]
