from __future__ import annotations

import numpy as np
import pytest

from datagen.catalog.looks.colors import color_rgb, name_color
from datagen.render.noise import SIZE
from datagen.render.textures import Stuff, normals, paint, textures
from datagen.scene import Vec3

# Besides their colour these show mortar, shadow or white paper.
MIXED = {"bricks", "checker", "cobbles", "dotted", "gravel", "small_tiles", "striped"}


def painted(texture: str, seed: int = 1, color: Vec3 = (0.5, 0.4, 0.3)) -> Stuff:
    return paint(texture, color, np.random.default_rng(seed))


@pytest.mark.parametrize("texture", textures())
def test_textures_have_no_seam(texture: str) -> None:
    stuff = painted(texture)
    assert stuff.color.shape == (SIZE, SIZE, 3)
    assert stuff.height.shape == stuff.roughness.shape == (SIZE, SIZE)
    for layer in (stuff.color.mean(axis=2), stuff.height):
        for axis in (0, 1):
            steps = np.abs(np.diff(layer, axis=axis, append=np.take(layer, [0], axis))).mean(
                1 - axis
            )
            # The step over the edge is no larger than steps inside are.
            assert steps[-1] <= 1.05 * steps[:-1].max() + 1e-9
    for layer in (stuff.color, stuff.roughness, normals(stuff.height)):
        assert np.isfinite(layer).all()
        assert layer.min() >= 0
        assert layer.max() <= 1


@pytest.mark.parametrize("texture", sorted(set(textures()) - MIXED))
def test_a_texture_is_of_its_color(texture: str) -> None:
    for color in ("brown", "gray"):
        mean = painted(texture, color=color_rgb(color)).color.mean(axis=(0, 1))
        assert name_color((mean[0], mean[1], mean[2]), 0.0) == color


def test_the_generator_alone_decides() -> None:
    same, again, other = painted("planks"), painted("planks"), painted("planks", seed=2)
    assert np.array_equal(same.color, again.color)
    assert not np.array_equal(same.color, other.color)


def test_normals_lean_away_from_rising_ground() -> None:
    ramp = np.tile(np.abs(np.arange(SIZE) - SIZE / 2), (SIZE, 1))
    normal = normals(ramp) * 2 - 1
    assert np.allclose(np.linalg.norm(normal, axis=2), 1)
    assert (normal[:, 10, 0] > 0.5).all()  # falling along u
    assert (normal[:, -10, 0] < -0.5).all()  # rising along u
    normal = normals(ramp.T) * 2 - 1
    assert (normal[10, :, 1] < -0.5).all()  # rising along v, which runs up the rows
