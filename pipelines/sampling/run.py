"""`sigma sample`: a scene file and a trained model to a picture."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from datagen.errors import UserError
from datagen.geometry import resize_nearest
from model.data.batch import max_subjects
from model.pipeline import Insertion, SigmaGenPipeline
from pipelines.sampling.scene_file import Scene, read_scene

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


def sample(
    scene_file: Path,
    checkpoint: Path,
    cache: Path,
    *,
    steps: int,
    guidance: float,
    image_guidance: float,
    seed: int,
    device: str,
    base: str | None,
    warn: Callable[[str], None],
) -> Image.Image:
    """Paint what ``scene_file`` describes. ``checkpoint``: a saved model, or the folder of a run,
    whose last checkpoint is taken; ``base``: where its pretrained model lies now, if elsewhere.
    ``warn`` is told what is odd. Raises UserError."""
    scene = read_scene(scene_file, cache)
    pipeline = SigmaGenPipeline.from_pretrained(checkpoint, device, base)
    most, n = max_subjects(pipeline.sigma.config.format.encoding), len(scene.references)
    if n > most:
        raise UserError(f"{scene_file}: subjects: {n}, expected at most {most}, the model's room")
    insertion = _insertion(scene, pipeline.sigma.config.format.size, scene_file)
    odd = pipeline.faults(scene.regions, insertion=insertion, image_guidance_scale=image_guidance)
    for fault in (*scene.faults, *odd):
        warn(f"{scene_file}: {fault}")
    try:
        picture = pipeline(
            scene.prompt,
            scene.references,
            scene.regions,
            background_depth=scene.background_depth,
            insertion=insertion,
            num_inference_steps=steps,
            guidance_scale=guidance,
            image_guidance_scale=image_guidance,
            generator=torch.Generator().manual_seed(seed),
        )
    except UserError as error:
        raise UserError(f"{scene_file}: {error}") from None
    assert isinstance(picture, Image.Image)
    return picture


def picture_path(out: str) -> Path:
    """Where a picture can be saved. Raises UserError."""
    path = Path(out)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out: {out}, expected a name that ends in {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise UserError(f"--out: {out}: no folder {path.parent}; make it first")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"--out: {out} cannot be written, expected the name of a picture")
    return path


def _insertion(scene: Scene, size: int, scene_file: Path) -> Insertion | None:
    if scene.background is None or scene.paintable is None:
        return None
    edge = (size, size)
    mask = resize_nearest(scene.paintable, edge)
    if not mask.any():
        raise UserError(
            f"{scene_file}: background: nothing to paint on: its mask, or without one the "
            f"controls, hold no pixel of the model's {size} x {size}; make them larger"
        )
    image = Image.fromarray(scene.background).resize(edge, Image.Resampling.LANCZOS)
    return Insertion(np.array(image), mask)
