"""`sigma sample`: a scene file and a trained model to a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from model.checkpoint import model_folder
from model.controls import faults
from model.sampling import Insertion, SigmaGenPipeline
from pipelines.scene_file import Scene, read_scene


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
    warn: Callable[[str], None],
) -> Image.Image:
    """Paint what ``scene_file`` describes. ``checkpoint``: a saved model, or the folder of a run,
    whose last checkpoint is taken. ``warn`` is told what is odd about the controls. Raises
    UserError."""
    scene = read_scene(scene_file, cache)
    for fault in faults(scene.regions):
        warn(f"{scene_file}: {fault}")
    pipeline = SigmaGenPipeline.from_pretrained(model_folder(checkpoint), device)
    picture = pipeline(
        scene.prompt,
        scene.references,
        scene.regions,
        background_depth=scene.background_depth,
        insertion=_insertion(scene, pipeline.sigma.config.format.size),
        num_inference_steps=steps,
        guidance_scale=guidance,
        image_guidance_scale=image_guidance,
        generator=torch.Generator().manual_seed(seed),
    )
    assert isinstance(picture, Image.Image)
    return picture


def _insertion(scene: Scene, size: int) -> Insertion | None:
    if scene.background is None or scene.paintable is None:
        return None
    edge = (size, size)
    image = Image.fromarray(scene.background).resize(edge, Image.Resampling.LANCZOS)
    mask = Image.fromarray(scene.paintable).resize(edge, Image.Resampling.NEAREST)
    return Insertion(np.array(image), np.array(mask))
