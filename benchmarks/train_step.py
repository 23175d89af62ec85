"""The time of a training step, and of a step without our two savings.

    python benchmarks/train_step.py --preset tiny --subjects 3

Ours: sheets hold real subjects only, because all samples of a batch have the same number of them,
and each prompt is encoded once. For comparison: sheets padded with blank blocks to ten subjects,
and prompts encoded at every step. Both predict the same images from the same references; the blank
blocks take part in attention. On a CPU with --threads 1, as the tiny preset trains.
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
    variants: dict[str, tuple[SigmaGen, Batch]] = {
        "ours": (sigma, ours),
        "padded to 10": (sigma, padded(ours)),
        "padded to 10, prompts encoded anew": (
            replace(sigma, encode_text=MiniLmEncoder(args.device)),
            padded(ours),
        ),
    }
    optimizers = make_optimizers(sigma.backbone, config.train.optimizer)

    def step(model: SigmaGen, batch: Batch) -> None:
        generator = torch.Generator(args.device).manual_seed(0)
        with torch.autocast(args.device, torch.bfloat16, enabled=config.train.bf16):
            loss = flow_loss(model, batch, config.train, generator)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        float(loss.detach())  # waits for the device

    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(args.steps + 2):
        for name, (model, batch) in variants.items():
            start = time.perf_counter()
            step(model, batch)
            if turn >= 2:
                seconds[name].append(time.perf_counter() - start)
    print(f"`{shlex.join(['python', *sys.argv])}`, medians of {args.steps}\n")
    print("| variant | seconds per step | ratio to ours |")
    print("|---|---|---|")
    for name, took in seconds.items():
        ratio = median(a / b for a, b in zip(took, seconds["ours"], strict=True))
        print(f"| {name} | {median(took):.3f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
