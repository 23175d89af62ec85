import io

import numpy as np
import pytest
from PIL import Image

from datagen.scene import Box3D
from datagen.shards.reader import open_shards
from pipelines.visualize.drawing import FRONT, project
from pipelines.visualize.figures import annotated_sample, contact_sheet, overlay


@pytest.fixture(scope="module")
def samples(finished):
    return list(open_shards(str(finished.out / "shards")))


def test_project_is_a_pinhole_projection_and_the_front_is_at_minus_y():
    # Upright before the camera, its front towards it: box x, y, z are camera x, z, -y.
    box = Box3D((0, 0, 4), (2, 2, 2), ((1, 0, 0), (0, 0, -1), (0, 1, 0)), estimated=False)
    corners = project(box, ((90, 0, 50), (0, 90, 50), (0, 0, 1)))
    front = corners[list(FRONT)]
    assert np.allclose(front.min(axis=0), 50 - 90 / 3)
    assert np.allclose(front.max(axis=0), 50 + 90 / 3)
    assert np.allclose(np.delete(corners, FRONT, axis=0).max(axis=0), 50 + 90 / 5)


def test_overlay_colors_only_the_instances(samples):
    for sample in samples:
        colored = np.ptp(overlay(sample).astype(int), axis=-1) > 0
        assert (colored == (sample.instances > 0)).all()


def test_figures_are_png_pictures(samples):
    for data in (contact_sheet(samples), annotated_sample(samples[0])):
        assert np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).std() > 10
