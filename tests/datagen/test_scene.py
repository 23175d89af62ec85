"""Properties of the vocabulary's dataclasses."""

from __future__ import annotations

import numpy as np

from tests.boxes import CELL, make_sample


def test_sample_views_are_the_blocks_of_the_identity_sheet() -> None:
    sample = make_sample("000000", 3)
    views = sample.views
    assert views.shape == (3, 2, CELL, CELL, 4)
    assert np.shares_memory(views, sample.identities)
    for index in range(3):
        for column in range(2):
            rows = slice(index * CELL, (index + 1) * CELL)
            columns = slice(column * CELL, (column + 1) * CELL)
            np.testing.assert_array_equal(views[index, column], sample.identities[rows, columns])
