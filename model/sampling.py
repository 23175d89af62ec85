"""From a prompt, references and controls to a picture, in the manner of a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from datagen.scene import UserError
from model.controls import Region, control_image, identity_sheet, resize
from model.flow import mix, schedule, velocity
from model.sigma import SigmaGen, load_model, save_model

FLUX_SHIFT = (0.5, 1.15)
"""Of the timestep, at 256 and at 4,096 tokens (FLUX.1's scheduler)."""

OnStepEnd = Callable[[int, float, Tensor], None]
"""Called with the number of the step, its time and the tokens (B, L, C) that it left."""


@dataclass(frozen=True, eq=False)
class Insertion:
    """Keep a given picture and paint the subjects into it. ``image`` (H, W, 3) uint8; ``mask``
    (H, W) bool: where painting is allowed."""

    image: np.ndarray
    mask: np.ndarray


class SigmaGenPipeline:
    """Generates with one model. ``cache``: conditions are computed once, where the model allows
    it; the picture is the same without."""

    def __init__(self, sigma: SigmaGen, cache: bool = True) -> None:
        self.sigma = sigma
        self._cache = cache and sigma.config.backbone.cacheable

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str = "cpu") -> SigmaGenPipeline:
        """What ``save_pretrained`` or training wrote. Raises UserError."""
        sigma = load_model(Path(folder), device)
        sigma.backbone.eval()
        return cls(sigma)

    def save_pretrained(self, folder: str | Path) -> None:
        save_model(self.sigma, Path(folder))

    def __call__(
        self,
        prompt: str,
        references: Sequence[np.ndarray],
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

        ``references``: an RGBA picture (s, s, 4) uint8 a subject; ``regions``: its control, in
        the same order, all of the model's size or resized to it. ``guidance_scale``: for models
        that embed one. ``image_guidance_scale`` above 1 pushes away from what the model would
        paint without references and controls; it takes two passes a step and a model that was
        trained with ``image_dropout``. Returns a PIL image, or (H, W, 3) uint8.
        Raises UserError.
        """
        config = self.sigma.config.format
        if not references or len(references) != len(regions):
            raise UserError(
                f"{len(references)} references, {len(regions)} regions: expected one of each "
                "for every subject"
            )
        edge = (config.size, config.size)
        control = resize(control_image(regions, config.encoding, background_depth), edge)
        sheet = identity_sheet(references, config.identity_size)
        images = self.sample(
            [prompt],
            _batch(sheet),
            _batch(control),
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
        (B, 3, N*S, S) and ``controls`` (B, C, H, W) uint8. Euler steps."""
        sigma = self.sigma
        rows, columns = sigma.grid
        shape = (len(prompts), rows * columns, sigma.codec.out_channels)
        noise = torch.randn(shape, generator=generator).to(sigma.device, sigma.dtype)
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
                on_step_end(step, then, x)
        images = sigma.codec.decode(x, rows, columns).float().clamp(-1, 1)
        pictures: np.ndarray = (
            ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy(force=True)
        )
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
        sigma, size = self.sigma, self.sigma.config.format.size
        if insertion.image.shape != (size, size, 3) or insertion.mask.shape != (size, size):
            raise UserError(
                f"background: {insertion.image.shape}, mask {insertion.mask.shape}: "
                f"expected ({size}, {size}, 3) and ({size}, {size})"
            )
        given = sigma.targets(_batch(insertion.image))
        edge = sigma.codec.pixels
        mask = torch.from_numpy(insertion.mask).to(sigma.device, torch.float32)[None, None]
        touched = torch.nn.functional.max_pool2d(mask, edge) > 0
        return given, touched.flatten(2).transpose(1, 2)


def _batch(picture: np.ndarray) -> Tensor:
    """(H, W, C) to (1, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
