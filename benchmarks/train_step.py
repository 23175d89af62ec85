"""The time of a training step, without our two savings, and in the other number type.

    python benchmarks/train_step.py --preset tiny --subjects 3

Ours: sheets hold real subjects only, because all samples of a batch have the same number of them,
and each prompt is encoded once. For comparison: sheets padded with blank blocks to ten subjects,
and prompts encoded at every step. Both predict the same images from the same references; the blank
blocks take part in attention. On a CPU with --threads 1, as the tiny preset trains.

`other type`: ours in float32 where train.precision auto takes bf16, and the other way round; for
the whole step, and for the optimizers alone. To imitate a CPU without bfloat16 arithmetic, set
ONEDNN_MAX_CPU_ISA=AVX2 and ATEN_CPU_CAPABILITY=avx2.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import msgspec
import torch
import yaml
from torch.nn import functional as F

from datagen.scene import MAX_SUBJECTS
from model.data.batch import Batch
from model.network.text_encoder import MiniLmEncoder
from model.sigma_gen import SigmaGen, build
from model.training.optimizers import make_optimizers
from model.training.precision import Precision, autocast, choose_precision
from model.training.train import flow_loss
from pipelines.training.config import TrainingConfig

PRESETS = Path(__file__).parents[1] / "pipelines" / "presets" / "train"


def batch_of(config: TrainingConfig, subjects: int) -> Batch:
    shown, size = config.model.format, config.data.batch_size // config.job.processes

    def draw(*shape: int) -> torch.Tensor:
        return torch.randint(0, 256, shape, dtype=torch.uint8)

    return Batch(
        images=draw(size, 3, shown.size, shown.size),
        sheets=draw(size, 3, subjects * shown.identity_size, shown.identity_size),
        controls=draw(size, shown.encoding.channels, shown.size, shown.size),
        subjects=draw(size, shown.size, shown.size) % (subjects + 1),
        prompts=[f"Place these subjects in room {i}." for i in range(size)],
        keys=["0"] * size,
        granularities=[("mask",) * subjects] * size,
        n_subjects=subjects,
    )


def padded(batch: Batch) -> Batch:
    edge = batch.sheets.shape[3]
    missing = (MAX_SUBJECTS - batch.n_subjects) * edge
    return replace(batch, sheets=F.pad(batch.sheets, (0, 0, 0, missing), value=128))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="tiny", choices=("tiny", "small"))
    parser.add_argument("--subjects", type=int, default=3)
    parser.add_argument(
        "--steps", type=int, default=7, help="measured steps of each variant, in turn"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    preset = yaml.safe_load((PRESETS / f"{args.preset}.yaml").read_text())
    config = msgspec.convert(preset, TrainingConfig)
    encoding = replace(config.model.format.encoding, slots=MAX_SUBJECTS)
    roomy = replace(config.model, format=replace(config.model.format, encoding=encoding))
    config = replace(config, model=roomy)
    sigma = build(config.model, 0, args.device)
    ours = batch_of(config, args.subjects)
    device = torch.device(args.device)
    chosen = choose_precision(config.train.precision, device)
    other: Precision = "float32" if chosen == "bf16" else "bf16"
    variants: dict[str, tuple[SigmaGen, Batch, Precision]] = {
        f"ours, {chosen}": (sigma, ours, chosen),
        f"other type, {other}": (sigma, ours, other),
        "padded to 10": (sigma, padded(ours), chosen),
        "padded to 10, prompts encoded anew": (
            replace(sigma, encode_text=MiniLmEncoder(args.device)),
            padded(ours),
            chosen,
        ),
    }
    optimizers = {
        precision: make_optimizers(sigma.backbone, config.train.optimizer, precision)
        for precision in (chosen, other)
    }

    def step(model: SigmaGen, batch: Batch, precision: Precision) -> tuple[float, float]:
        """Seconds of a step, and of its optimizers."""
        start = time.perf_counter()
        generator = torch.Generator(args.device).manual_seed(0)
        with autocast(device, precision):
            loss = flow_loss(model, batch, config.train, generator)
        loss.backward()
        float(loss.detach())  # waits for the device
        optimized = time.perf_counter()
        for optimizer in optimizers[precision]:
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        end = time.perf_counter()
        sigma.backbone.zero_grad()
        return end - start, end - optimized

    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for turn in range(args.steps + 2):
        for name, variant in variants.items():
            took = step(*variant)
            if turn >= 2:
                seconds[name].append(took)
    first = next(iter(seconds.values()))
    print(f"`{shlex.join(['python', *sys.argv])}`, medians of {args.steps}\n")
    print("| variant | seconds per step | of it optimizers | ratio to ours |")
    print("|---|---|---|---|")
    for name, taken in seconds.items():
        whole, optimizing = (median(column) for column in zip(*taken, strict=True))
        ratio = median(a / b for (a, _), (b, _) in zip(taken, first, strict=True))
        print(f"| {name} | {whole:.3f} | {optimizing:.3f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
