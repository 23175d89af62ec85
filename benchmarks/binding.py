"""Whether a fresh model learns to bind references to places, and how soon.

    python benchmarks/binding.py --steps 280 --bias 8 --gain 2
    python benchmarks/binding.py --model.base.rope "[12, 26, 26]" --model.prediction v
    python benchmarks/binding.py --preset small --threads 2     # 40 to 60 minutes

The keys of `model` and `train` are those of a preset and are set as for `sigma train`; but steps,
batch size, threads, warm-up, decay, dropout and averaging are the benchmark's own. Scenes are made
here, without shards: rectangles of one colour on a ground of one colour, each with a reference of
its colour. A change of the recipe can so be measured in minutes, before hours are spent on it. The
benchmark prints the routing accuracy on unseen scenes: is the mean colour of a region nearest to
its own reference, among the references of the scene? The assignment accuracy stands beside it, as
in a run's report.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from datagen.errors import UserError
from datagen.geometry import resize_nearest
from datagen.validation import Count, CountOrZero
from model.controls.control_image import InputSpec, control_image
from model.controls.identity_sheet import identity_sheet
from model.controls.regions import mask_region
from model.data.batch import Batch
from model.data.curriculum import CurriculumStage
from model.evaluation.metrics import relative_distances, routed
from model.pipeline import SigmaGenPipeline
from model.sigma_gen import SigmaGen, build
from model.training.optimizers import Ema, make_optimizers
from model.training.train import train
from model.training.train_state import TrainState
from pipelines.cli.arguments import VerbParser, option_of
from pipelines.cli.keys import add_keys, parse_with_keys
from pipelines.training.config import TrainingConfig


def scene(rng: np.random.Generator, subjects: int, format: InputSpec) -> tuple[np.ndarray, ...]:
    """Image, sheet, control and instances of a scene, channels last. Made at 64 pixels, then
    enlarged."""
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


def batch_of(rng: np.random.Generator, subjects: int, size: int, format: InputSpec) -> Batch:
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


def batches(seed: int, size: int, format: InputSpec, start: int) -> Iterator[Batch]:
    rng = np.random.default_rng([seed, start])
    while True:
        yield batch_of(rng, int(rng.integers(1, 5)), size, format)


def set_attention_bias(sigma: SigmaGen, bias: float, gain: float, pairs: int) -> None:
    """Replace the first weights of the attention heads (``model.network.initialization``): ``bias``
    in the ``pairs`` fastest channel pairs of row and column, ``gain`` in the norms."""
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


def accuracies(pipeline: SigmaGenPipeline, batch: Batch) -> tuple[float, float]:
    """Routing accuracy and assignment accuracy."""
    generated = pipeline.sample(
        batch.prompts,
        batch.sheets,
        batch.controls,
        num_inference_steps=10,
        generator=torch.Generator().manual_seed(0),
    )
    right, assigned = [], []
    for image, sheet, instances in zip(generated, batch.sheets, batch.subjects, strict=True):
        edge = sheet.shape[2]
        colors = sheet[:, edge // 2 :: edge, edge // 2].T.float().numpy()
        apart = np.full((len(colors), len(colors)), np.nan)
        for index in range(len(colors)):
            seen = instances.numpy() == index + 1
            if seen.sum() > 20:
                apart[index] = np.abs(image[seen].mean(axis=0) - colors).sum(axis=1)
        right.append(routed(apart))
        assigned.append(routed(relative_distances(apart)))
    return float(np.nanmean(np.concatenate(right))), float(np.nanmean(np.concatenate(assigned)))


def main() -> None:
    """Train a fresh model on plain scenes for minutes, and measure its routing accuracy."""
    parser = VerbParser("binding", main, "python benchmarks/binding.py --steps 280")
    parser.prog = "python benchmarks/binding.py"
    parser.usage = "%(prog)s [--steps N] [--preset NAME|FILE] [--KEY VALUE ...]"
    number = option_of(Count)
    parser.add_argument("--steps", type=number, default=280, help="training steps")
    parser.add_argument("--batch_size", type=number, default=16, help="scenes per step")
    parser.add_argument(
        "--bias", type=float, default=8.0, help="first bias of query and key projections"
    )
    parser.add_argument(
        "--gain", type=float, default=2.0, help="first weight of the query and key norms"
    )
    parser.add_argument(
        "--pairs",
        type=option_of(CountOrZero),
        default=2,
        help="channel pairs per row and column id that have the bias",
    )
    parser.add_argument("--scenes", type=number, default=48, help="unseen scenes per subject count")
    parser.add_argument("--threads", type=number, default=1, help="CPU threads")
    add_keys(parser, TrainingConfig, "train", "tiny")
    args, preset = parse_with_keys(parser, sys.argv[1:], TrainingConfig, "train")
    torch.set_num_threads(args.threads)
    model, seed = preset.model, preset.train.seed
    sigma = build(model, seed)
    set_attention_bias(sigma, args.bias, args.gain, args.pairs)
    optimizer = replace(preset.train.optimizer, warmup=50, decay=0.0)
    config = replace(
        preset.train,
        curriculum=(CurriculumStage(args.steps),),
        optimizer=optimizer,
        image_dropout=0.0,
    )
    ema = Ema(sigma.backbone, 0.99)
    state = TrainState(sigma, make_optimizers(sigma.backbone, optimizer), ema)
    make_batches = partial(batches, seed, args.batch_size, model.format)
    start = time.perf_counter()
    losses = [result.loss for result in train(state, make_batches, config)]
    took = time.perf_counter() - start
    print(f"`{shlex.join(['python', *sys.argv])}`: {took:.0f} s, loss {np.mean(losses[-50:]):.4f}")
    sigma.backbone.eval()
    rng = np.random.default_rng([seed, 1_000_000])
    with ema.applied():
        pipeline = SigmaGenPipeline(sigma)
        for subjects in (2, 3, 4):
            batch = batch_of(rng, subjects, args.scenes, model.format)
            routing, assignment = accuracies(pipeline, batch)
            print(
                f"N = {subjects}: routing accuracy {routing:.2f}, assignment accuracy "
                f"{assignment:.2f}, chance of both {1 / subjects:.2f}"
            )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
