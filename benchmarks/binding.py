"""Does a fresh model learn to bind references to places, and how soon?

    python benchmarks/binding.py --steps 280 --bias 8 --gain 2
    python benchmarks/binding.py --model.base.rope "[12, 26, 26]" --model.prediction v
    python benchmarks/binding.py --preset small --threads 2     # 40 to 60 minutes

The keys of `model` and `train` are a preset's and can be changed, as of `sigma train`; but steps,
batch, threads, warmup, decay, dropout and averaging are the benchmark's own. Scenes are drawn
here, without shards: plain rectangles on plain ground, each with a plain reference of its colour.
Minutes tell what a change of the recipe is worth, before hours are spent on it. Routing accuracy on
unseen scenes: is the mean colour of a region nearest to its own reference?
"""

from __future__ import annotations

import shlex
import sys
import time
from argparse import ArgumentError
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jsonargparse import ArgumentParser
from jsonargparse.typing import PositiveInt

from datagen.errors import UserError
from datagen.geometry import resize_nearest
from model.controls.regions import Format, control_image, identity_sheet, mask_region
from model.data.batch import Batch
from model.data.curriculum import CurriculumStage
from model.pipeline import SigmaGenPipeline
from model.sigma_gen import SigmaGen, build
from model.training.optimizers import Ema, make_optimizers
from model.training.train import train
from pipelines.cli.arguments import TrainingPreset, add_keys, explained, parse_preset
from pipelines.training.config import TrainingConfig


def scene(rng: np.random.Generator, subjects: int, format: Format) -> tuple[np.ndarray, ...]:
    """Image, sheet, control and instances, channels last. Drawn at 64 pixels, then enlarged."""
    image = np.empty((64, 64, 3), np.uint8)
    image[:] = rng.integers(0, 256, 3)
    instances = np.zeros((64, 64), np.uint8)
    views = []
    for index in range(1, subjects + 1):
        color = rng.integers(0, 256, 3)
        width, height = rng.integers(14, 30, 2)
        x, y = rng.integers(0, 64 - width), rng.integers(0, 64 - height)
        image[y : y + height, x : x + width] = color
        instances[y : y + height, x : x + width] = index
        view = np.zeros((32, 32, 4), np.uint8)
        half_width, half_height = rng.integers(7, 15, 2)
        view[16 - half_height : 16 + half_height, 16 - half_width : 16 + half_width] = [*color, 255]
        views.append(view)
    size = (format.size, format.size)
    image, instances = resize_nearest(image, size), resize_nearest(instances, size)
    regions = [mask_region(instances == index) for index in range(1, subjects + 1)]
    sheet = identity_sheet(views, format.identity_size)
    return image, sheet, control_image(regions, format.encoding), instances


def batch_of(rng: np.random.Generator, subjects: int, size: int, format: Format) -> Batch:
    images, sheets, controls, instances = (
        torch.from_numpy(np.stack(arrays))
        for arrays in zip(*(scene(rng, subjects, format) for _ in range(size)), strict=True)
    )
    return Batch(
        images=images.permute(0, 3, 1, 2),
        sheets=sheets.permute(0, 3, 1, 2),
        controls=controls.permute(0, 3, 1, 2),
        subjects=instances,
        prompts=["a room"] * size,
        keys=[""] * size,
        granularities=[("mask",) * subjects] * size,
        n_subjects=subjects,
    )


def batches(seed: int, size: int, format: Format, start: int) -> Iterator[Batch]:
    rng = np.random.default_rng([seed, start])
    while True:
        yield batch_of(rng, int(rng.integers(1, 5)), size, format)


def begin(sigma: SigmaGen, bias: float, gain: float, pairs: int) -> None:
    """Instead of the heads' own start: ``bias`` in the ``pairs`` fastest pairs of channels."""
    transformer = sigma.backbone.transformer
    rope = transformer.config.axes_dims_rope
    parts = [torch.zeros(size) for size in rope]
    for part in parts[1:]:
        part[: 2 * pairs] = bias
    pattern = torch.cat(parts)
    for block in (*transformer.transformer_blocks, *transformer.single_transformer_blocks):
        heads = block.attn.heads // 2
        for projection in (block.attn.to_q, block.attn.to_k):
            projection.bias.data[: heads * len(pattern)] = pattern.repeat(heads)
        for norm in (block.attn.norm_q, block.attn.norm_k):
            norm.weight.data.fill_(gain)


def accuracy(pipeline: SigmaGenPipeline, batch: Batch) -> float:
    painted = pipeline.sample(
        batch.prompts,
        batch.sheets,
        batch.controls,
        steps=10,
        generator=torch.Generator().manual_seed(0),
    )
    right = []
    for image, sheet, instances in zip(painted, batch.sheets, batch.subjects, strict=True):
        edge = sheet.shape[2]
        colors = sheet[:, edge // 2 :: edge, edge // 2].T.float().numpy()
        for index, _ in enumerate(colors, start=1):
            seen = instances.numpy() == index
            if seen.sum() > 20:
                apart = np.abs(image[seen].mean(axis=0) - colors).sum(axis=1)
                right.append(apart.argmin() == index - 1)
    return float(np.mean(right))


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0], exit_on_error=False)
    parser.add_argument("--preset", action=TrainingPreset, help="tiny, small, or a YAML file")
    parser.add_argument("--steps", type=PositiveInt, default=280)
    parser.add_argument("--batch_size", type=PositiveInt, default=16)
    parser.add_argument("--bias", type=float, default=8.0)
    parser.add_argument("--gain", type=float, default=2.0, help="of query and key norms")
    parser.add_argument("--pairs", type=int, default=2, help="of channels that have the bias")
    parser.add_argument("--scenes", type=PositiveInt, default=48, help="unseen, of each number")
    parser.add_argument("--threads", type=PositiveInt, default=1)
    add_keys(parser, TrainingConfig)
    args, made = parse_preset(parser, sys.argv[1:], "tiny")
    torch.set_num_threads(args.threads)
    model, seed = made.model, made.train.seed
    sigma = build(model, seed)
    begin(sigma, args.bias, args.gain, args.pairs)
    optimizer = replace(made.train.optimizer, warmup=50, decay=0.0)
    config = replace(
        made.train,
        curriculum=(CurriculumStage(args.steps),),
        optimizer=optimizer,
        image_dropout=0.0,
    )
    ema = Ema(sigma.backbone, 0.99)
    supply = partial(batches, seed, args.batch_size, model.format)
    start = time.perf_counter()
    losses = [
        report.loss
        for report in train(sigma, make_optimizers(sigma.backbone, optimizer), ema, supply, config)
    ]
    took = time.perf_counter() - start
    print(f"`{shlex.join(['python', *sys.argv])}`: {took:.0f} s, loss {np.mean(losses[-50:]):.4f}")
    sigma.backbone.eval()
    rng = np.random.default_rng([seed, 1_000_000])
    with ema.applied():
        pipeline = SigmaGenPipeline(sigma)
        for subjects in (2, 3, 4):
            found = accuracy(pipeline, batch_of(rng, subjects, args.scenes, model.format))
            print(f"N = {subjects}: {found:.2f}, chance {1 / subjects:.2f}")


if __name__ == "__main__":
    try:
        main()
    except (UserError, ArgumentError) as error:
        sys.exit(f"error: {explained(error)}")
