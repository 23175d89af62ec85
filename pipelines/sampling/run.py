"""`sigma sample`: generates a picture from a scene file and a trained model."""

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
from pipelines.sampling.scene_file import SceneInputs, read_scene

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


def sample(
    scene_file: Path,
    checkpoint: Path,
    cache: Path,
    *,
    num_inference_steps: int,
    guidance_scale: float,
    image_guidance_scale: float,
    seed: int,
    device: str,
    base: str | None,
    warn: Callable[[str], None],
) -> Image.Image:
    """Generates the picture that a scene file describes.

    Args:
        scene_file: The YAML file; see ``scene_file.py``.
        checkpoint: A saved model, a checkpoint, or the folder of a run, whose last checkpoint is
            used.
        cache: Folder that keeps what is made of mesh files.
        num_inference_steps: Number of denoising steps.
        guidance_scale: Guidance scale passed to guidance-distilled models.
        image_guidance_scale: Guidance scale for references and controls; above 1 it needs two
            passes a step and a model that was trained with ``train.image_dropout``.
        base: Where the pretrained model of the checkpoint is now, if it was moved.
        warn: Called with each line that the user should know about references and controls.

    Raises:
        UserError: a file, a key or a number is not valid. The message names the scene file.
    """
    scene = read_scene(scene_file, cache)
    pipeline = SigmaGenPipeline.from_pretrained(checkpoint, device, base)
    most, n = max_subjects(pipeline.sigma.config.format.encoding), len(scene.references)
    if n > most:
        raise UserError(f"{scene_file}: subjects: {n}, expected at most {most} for this model")
    insertion = _insertion(scene, pipeline.sigma.config.format.size, scene_file)
    found = pipeline.control_warnings(
        scene.regions, insertion=insertion, image_guidance_scale=image_guidance_scale
    )
    for warning in (*scene.warnings, *found):
        warn(f"{scene_file}: {warning}")
    try:
        picture = pipeline(
            scene.prompt,
            scene.references,
            scene.regions,
            background_depth=scene.background_depth,
            insertion=insertion,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            image_guidance_scale=image_guidance_scale,
            generator=torch.Generator().manual_seed(seed),
        )
    except UserError as error:
        raise UserError(f"{scene_file}: {error}") from None
    assert isinstance(picture, Image.Image)
    return picture


def picture_path(out: str) -> Path:
    """``--out`` as a path that a picture can be saved to. Raises UserError."""
    path = Path(out)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out: {out}, expected a name that ends in {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise UserError(f"--out: {out}: no folder {path.parent}; make it first")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"--out: {out} cannot be written, expected the name of a picture")
    return path


def _insertion(scene: SceneInputs, size: int, scene_file: Path) -> Insertion | None:
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
