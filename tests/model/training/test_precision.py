"""The number type of a training step, on the processor at hand and on one that has less."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.training.precision import choose_precision, explain

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_a_given_precision_is_kept(precision):
    assert choose_precision(precision, CPU) == precision
    assert explain(precision, precision, CPU).endswith("as train.precision says")


def test_auto_is_bf16_exactly_where_the_processor_has_bf16_arithmetic():
    has = "amx_bf16" in Path("/proc/cpuinfo").read_text().split()
    chosen = choose_precision("auto", CPU)
    assert chosen == ("bf16" if has else "float32")
    words = f"computing in {chosen}: this CPU {'has' if has else 'has no'} bfloat16"
    assert explain(chosen, "auto", CPU).startswith(words)


def test_auto_is_float32_where_pytorch_uses_avx2_only():
    """As in most laptops. A process that is told so, because this processor may have more."""
    program = (
        "import torch; from model.training.precision import choose_precision, explain\n"
        "cpu = torch.device('cpu'); print(choose_precision('auto', cpu))\n"
        "print(explain('bf16', 'auto', cpu))"
    )
    less = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | less,
        capture_output=True,
        text=True,
        check=True,
    )
    chosen, resumed = result.stdout.splitlines()
    assert chosen == "float32"
    assert resumed.startswith("computing in bf16, as the run was begun, though this CPU has no")
