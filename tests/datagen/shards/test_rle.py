from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from datagen.bounds import MAX_RUNS
from datagen.scene import Rle
from datagen.shards.rle import decode_rle


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_reads_what_pycocotools_writes(height: int, width: int, share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    counts = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert np.array_equal(decode_rle(Rle((height, width), counts)), mask)


def test_reads_long_runs() -> None:
    mask = np.zeros((3000, 2000), dtype=np.uint8)
    mask[10:2900, 5:1990] = 1
    counts = coco.encode(np.asfortranarray(mask))["counts"].decode()
    assert np.array_equal(decode_rle(Rle((3000, 2000), counts)), mask.astype(bool))


@pytest.mark.parametrize("counts", ["", "0", "00", "P", "o" * 99, "1O", "P2P2", "é", "\x00", "m"])
def test_refuses_runs_that_do_not_fill_the_picture(counts: str) -> None:
    with pytest.raises(ValueError, match="run lengths"):
        decode_rle(Rle((8, 8), counts))


@given(counts=st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_hostile_runs_fail_cleanly(counts: str) -> None:
    with suppress(ValueError):
        assert decode_rle(Rle((8, 8), counts)).shape == (8, 8)


def test_as_many_runs_as_the_format_allows() -> None:
    """A run per pixel: a loop over the runs would hold up whoever looks at the scene."""
    rle = Rle((1024, 1024), "1" * 3 + "0" * (MAX_RUNS - 3))
    assert np.array_equal(decode_rle(rle).T.ravel(), np.arange(MAX_RUNS) % 2 == 1)
    with pytest.raises(ValueError, match="run lengths"):
        decode_rle(Rle((1024, 1024), "1" * MAX_RUNS))


def test_a_size_that_the_runs_do_not_fill_is_not_allocated() -> None:
    with pytest.raises(ValueError, match="do not fill"):
        decode_rle(Rle((2**31, 2**31), "00"))
