"""The box of which only the outline is known is found again."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from datagen.scene import Box3D, View
from model.controls.box3d import surface_depth
from model.data.augmentation.posed_boxes import outline, posed_boxes
from tests.model.data.augmentation.scenes import scene

SIZE, FOCAL = 128, 150.0
INTRINSICS = ((FOCAL, 0.0, 66.0), (0.0, FOCAL, 61.0), (0.0, 0.0, 1.0))
UPRIGHT = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))

edges = st.floats(0.1, 0.5)


@given(
    size=st.tuples(edges, edges, edges),
    azimuth=st.floats(-3.1, 3.1),
    elevation=st.floats(0, 1.2),
    x=st.floats(-0.5, 0.5),
    y=st.floats(-0.4, 0.4),
    larger=st.floats(0.5, 3),
)
def test_posed_boxes_recovers_a_box_from_its_silhouette(
    size, azimuth, elevation, x, y, larger
) -> None:
    """Of the same proportions in the same pose; nothing but its size and place is unknown."""
    depth, view = 3.0, View("render", azimuth, elevation, "studio")
    known = Box3D((0.0, 0.0, 1.0), tuple(larger * edge for edge in size), UPRIGHT, estimated=False)
    # A first guess shows in which pose the true box is at this place.
    middle = np.array([FOCAL * x / depth + 66, FOCAL * y / depth + 61])
    guess = np.stack([middle - 1, middle + 1])
    (posed,) = posed_boxes([known], [view], [guess], [depth], INTRINSICS)
    true = Box3D((x, y, depth), size, posed.rotation, estimated=False)
    silhouette = surface_depth(true, INTRINSICS, (SIZE, SIZE)) > 0
    (found,) = posed_boxes([known], [view], [outline(silhouette)], [depth], INTRINSICS)
    seen = surface_depth(found, INTRINSICS, (SIZE, SIZE)) > 0
    assert found.estimated
    assert found.center[2] == depth
    assert not (silhouette & ~seen).any()
    # A pixel more on each side, since its middle is what was seen of a pixel.
    assert seen.sum() <= 1.25 * ndimage.binary_dilation(silhouette, np.ones((3, 3))).sum()
    np.testing.assert_allclose(np.array(found.size) / size, found.size[0] / size[0])
    np.testing.assert_allclose(
        np.array(found.rotation) @ np.transpose(found.rotation), np.eye(3), atol=1e-9
    )
    assert np.linalg.det(found.rotation) > 0


@given(n=st.integers(1, 4), seed=st.integers(0, 9))
def test_posed_boxes_rotates_boxes_as_in_their_views(n: int, seed: int) -> None:
    """The poses of crops lead back to the boxes of the record."""
    record = (sample := scene(n=n, seed=seed)).record
    found = posed_boxes(
        [subject.box3d for subject in record.subjects],
        [subject.views[0] for subject in record.subjects],
        [outline(sample.instances == i + 1) for i in range(n)],
        [subject.box3d.center[2] for subject in record.subjects],
        record.camera.intrinsics,
    )
    for subject, box in zip(record.subjects, found, strict=True):
        turn = np.array(box.rotation).T @ subject.box3d.rotation
        assert np.degrees(np.arccos((np.trace(turn) - 1) / 2)) < 16


@given(data=st.data())
def test_outline_contains_the_mask(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    mask = rng.random((20, 30)) < 0.05
    mask[rng.integers(20), rng.integers(30)] = True
    points = outline(mask)
    rows, columns = np.nonzero(mask)
    corners = np.array(
        [
            (x + i, y + j)
            for x, y in zip(columns, rows, strict=True)
            for i, j in product((0, 1), (0, 1))
        ]
    )
    assert {tuple(point) for point in points.tolist()} <= {tuple(c) for c in corners.tolist()}
    np.testing.assert_array_equal(points.min(axis=0), corners.min(axis=0))
    np.testing.assert_array_equal(points.max(axis=0), corners.max(axis=0))
