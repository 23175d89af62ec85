"""Benchmarks run and print their tables. No test checks what they measure."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "flux_scale.py --scale tiny --size 64 --identity-size 32 --batch 1 --steps 1 "
            "--subjects 2 --rank 4 --repetitions 1",
            "| 2 |",
        ),
        ("train_step.py --steps 1", "| padded to 10, prompts encoded anew |"),
        ("binding.py --steps 1 --scenes 2", "N = 4: "),
    ],
)
@pytest.mark.slow
def test_a_benchmark_prints_its_table(
    words: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *more = words.split()
    monkeypatch.setattr(sys, "argv", [name, *more])
    runpy.run_path(str(BENCHMARKS / name), run_name="__main__")
    assert expected in capsys.readouterr().out
