"""The number type that a training step computes in."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["bf16", "float32"]
"""bf16: matrix products in bfloat16 (autocast), all else and the weights in float32."""


def choose_precision(setting: Literal["auto"] | Precision, device: torch.device) -> Precision:
    """Choose the number type of a training step.

    The choice follows from the device alone and not from measured times, which other work on the
    machine changes: the same run on the same machine has the same bits.

    Args:
        setting: the type, or "auto" for the one in which ``device`` trains faster.
        device: where the model is trained.
    """
    if setting != "auto":
        return setting
    return "bf16" if has_bf16_arithmetic(device) else "float32"


def has_bf16_arithmetic(device: torch.device) -> bool:
    """Whether a device has units for products of bfloat16 matrices, and PyTorch uses them. Without
    them bfloat16 is emulated, and slower than float32 (`benchmarks/train_step.py`).

    Args:
        device: a GPU, or the CPU. Of CPUs only those with AMX are known to be faster so. With
            AVX512-BF16 alone no gain was measured, and ARM was not tried: False is returned.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # PyTorch can be told to use fewer instructions than the processor has (ATEN_CPU_CAPABILITY).
    used = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return used and bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """A context in which a training step computes in ``precision``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def explain(
    precision: Precision, setting: Literal["auto"] | Precision, device: torch.device
) -> str:
    """Say why a run computes in ``precision``, in one line for people.

    Args:
        precision: of the run.
        setting: what its configuration says.
        device: where it is trained now.
    """
    if setting != "auto":
        return f"computing in {precision}, as train.precision says"
    has = "has" if has_bf16_arithmetic(device) else "has no"
    name = "GPU" if device.type == "cuda" else "CPU"
    known = f"this {name} {has} bfloat16 arithmetic that is known to be fast"
    if precision == choose_precision("auto", device):
        return f"computing in {precision}: {known}"
    return f"computing in {precision}, as the run was begun, though {known}"
