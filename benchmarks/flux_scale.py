"""SIGMA-GEN at the size of FLUX.1: LoRA training and sampling, with random weights and no hub.

    python benchmarks/flux_scale.py                  # 12 billion parameters, one 80 GB GPU
    python benchmarks/flux_scale.py --scale slice --batch 1 --steps 4    # 3 of 57 blocks, on a CPU
    python benchmarks/flux_scale.py --scale tiny     # the same code in seconds

All blocks cost the same, so the ratios of the slice are about those of the whole model.

Training, with the settings of the preset kontext (autocast, Prodigy, gradient checkpointing): time
of a step, peak memory, and the floating point operations of the step relative to the device's
matrix rate. Sampling: all subjects in one pass, with and without the condition cache, compared with
one pass per subject.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from model.network.lora import LoraConfig, add_lora
from model.network.transformer import (
    Backbone,
    BackboneConfig,
    Conditions,
    TextEmbedding,
    grid_ids,
    sheet_ids,
)
from model.training.optimizers import OptimizerConfig, make_optimizers

FULL = {
    "num_layers": 19,
    "num_single_layers": 38,
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "axes_dims_rope": (16, 56, 56),
}
SCALES = {
    "full": FULL,
    "slice": {**FULL, "num_layers": 1, "num_single_layers": 2},
    "tiny": {
        "num_layers": 1,
        "num_single_layers": 2,
        "num_attention_heads": 2,
        "attention_head_dim": 32,
        "joint_attention_dim": 64,
        "pooled_projection_dim": 32,
        "axes_dims_rope": (8, 12, 12),
    },
}
IN_CHANNELS, PIXELS = 64, 16
"""Channels of packed latents, and pixels along a token."""

CACHED = BackboneConfig(condition_timestep="zero", attention="independent")


def transformer_of(scale: str, device: str) -> FluxTransformer2DModel:
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        made = FluxTransformer2DModel(
            in_channels=IN_CHANNELS, guidance_embeds=True, **SCALES[scale]
        )
        torch.set_default_dtype(torch.float32)
    return made


class Inputs:
    """Random inputs of ``batch`` samples with ``subjects`` subjects; ``size`` and ``identity`` are
    in pixels."""

    def __init__(
        self, t: FluxTransformer2DModel, subjects: int, size: int, identity: int, batch: int = 1
    ) -> None:
        edge, block = size // PIXELS, identity // PIXELS
        device, config = next(t.parameters()).device, t.config
        draw = {"device": device, "dtype": torch.bfloat16}
        self.ids = grid_ids(edge, edge).to(device)
        ids = torch.cat([sheet_ids(subjects, block).to(device), self.ids])
        self.x = torch.randn(batch, edge**2, IN_CHANNELS, **draw)
        self.text = TextEmbedding(
            torch.randn(batch, 512, config.joint_attention_dim, **draw),
            torch.randn(batch, config.pooled_projection_dim, **draw),
        )
        self.conditions = Conditions(torch.randn(batch, len(ids), IN_CHANNELS, **draw), ids)
        self.time = torch.ones(batch, device=device)
        self.guidance = torch.ones(batch, device=device)


def timed(run: Callable[[], object], device: str, repetitions: int) -> float:
    """Median seconds of a run, without the first one."""
    took = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        took.append(time.perf_counter() - start)
    return median(took[1:])


def matrix_rate(device: str) -> float:
    """Floating point operations per second of a large matrix product in bfloat16."""
    edge = 8192 if device != "cpu" else 1024
    a, b = (torch.randn(edge, edge, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * edge**3 / timed(lambda: a @ b, device, 10)


def training(t: FluxTransformer2DModel, args: argparse.Namespace) -> None:
    rate = matrix_rate(args.device)
    add_lora(t, LoraConfig(args.rank, args.rank))
    t.enable_gradient_checkpointing()
    backbone = Backbone(t, BackboneConfig())
    learned = [p for p in t.parameters() if p.requires_grad]
    (optimizer,) = make_optimizers(backbone, OptimizerConfig())

    def predict(given: Inputs) -> Tensor:
        with torch.autocast(args.device, torch.bfloat16):
            return backbone(
                given.x, given.ids, given.time, given.text, given.conditions, given.guidance
            )

    print(
        f"matrix rate {rate / 1e12:.2f} TFLOP/s, {sum(p.numel() for p in learned):,} in LoRA, "
        f"{args.batch} samples per step\n"
    )
    print("| subjects | tokens | seconds per step | TFLOP | share of the matrix rate | peak GiB |")
    print("|---|---|---|---|---|---|")
    for subjects in args.subjects:
        given = Inputs(t, subjects, args.size, args.identity_size, args.batch)

        def step(given: Inputs = given) -> None:
            predict(given).float().square().mean().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        with FlopCounterMode(display=False) as counter:
            step()
        with FlopCounterMode(display=False) as forward, torch.no_grad():
            predict(given)
        if args.device != "cpu":
            torch.cuda.reset_peak_memory_stats()
        took = timed(step, args.device, args.repetitions)
        # Gradient checkpointing computes the forward pass twice; only one counts as useful.
        useful = counter.get_total_flops() - forward.get_total_flops()
        peak = torch.cuda.max_memory_allocated() / 2**30 if args.device != "cpu" else float("nan")
        tokens = 512 + given.x.shape[1] + given.conditions.tokens.shape[1]
        share = useful / took / rate
        print(
            f"| {subjects} | {tokens} | {took:.2f} | {useful / 1e12:.2f} | {share:.0%} "
            f"| {peak:.1f} |"
        )
    t.disable_gradient_checkpointing()


@torch.inference_mode()
def sampling(t: FluxTransformer2DModel, args: argparse.Namespace) -> None:
    def generate(subjects: int, config: BackboneConfig, cache: bool) -> None:
        backbone = Backbone(t, config)
        given = Inputs(t, subjects, args.size, args.identity_size)
        condition_cache = None
        if cache:
            condition_cache = backbone.cache_conditions(
                given.conditions, given.text, given.guidance
            )
        for _ in range(args.steps):
            backbone(
                given.x,
                given.ids,
                given.time,
                given.text,
                given.conditions,
                given.guidance,
                condition_cache,
            )

    def seconds(subjects: int, config: BackboneConfig, cache: bool = False) -> float:
        return timed(lambda: generate(subjects, config, cache), args.device, args.repetitions)

    one = seconds(1, BackboneConfig())
    print(f"\n{args.steps} sampling steps, seconds\n")
    print(
        "| subjects | one by one | one pass | times faster | independent | cached | times faster |"
    )
    print("|---|---|---|---|---|---|---|")
    for subjects in args.subjects:
        full, independent, cached = (
            seconds(subjects, BackboneConfig()),
            seconds(subjects, CACHED),
            seconds(subjects, CACHED, cache=True),
        )
        one_by_one = one * subjects
        print(
            f"| {subjects} | {one_by_one:.2f} | {full:.2f} | {one_by_one / full:.1f} "
            f"| {independent:.2f} | {cached:.2f} | {one_by_one / cached:.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="full", choices=SCALES)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--identity-size", type=int, default=256)
    parser.add_argument("--rank", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8, help="samples of a training step")
    parser.add_argument("--subjects", type=int, nargs="+", default=[1, 3, 5, 10])
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--repetitions", type=int, default=3)
    args = parser.parse_args()
    card = torch.cuda.get_device_name() if args.device != "cpu" else "CPU"
    print(f"`{shlex.join(['python', *sys.argv])}`, {card}, medians of {args.repetitions}\n")
    transformer = transformer_of(args.scale, args.device)
    sampling(transformer, args)
    print()
    training(transformer, args)


if __name__ == "__main__":
    main()
