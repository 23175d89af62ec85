"""Surface maps of procedural textures."""

from __future__ import annotations

import numpy as np
import pytest

from datagen.catalog.looks.colors import color_rgb, name_color
from datagen.render.noise import SIZE
from datagen.render.textures import SurfaceMaps, normals, surface_maps, texture_names
from datagen.scene import Vec3

# These also show mortar, shadow or white paper, besides their colour.
MIXED = {"bricks", "checker", "cobbles", "dotted", "gravel", "small_tiles", "striped"}


def maps_of(texture: str, seed: int = 1, color: Vec3 = (0.5, 0.4, 0.3)) -> SurfaceMaps:
    return surface_maps(texture, color, np.random.default_rng(seed))


@pytest.mark.parametrize("texture", texture_names())
def test_surface_maps_are_seamless(texture: str) -> None:
    maps = maps_of(texture)
    assert maps.color.shape == (SIZE, SIZE, 3)
    assert maps.height.shape == maps.roughness.shape == (SIZE, SIZE)
    for layer in (maps.color.mean(axis=2), maps.height):
        for axis in (0, 1):
            steps = np.abs(np.diff(layer, axis=axis, append=np.take(layer, [0], axis))).mean(
                1 - axis
            )
            # The step across the edge is no larger than the steps inside.
            assert steps[-1] <= 1.05 * steps[:-1].max() + 1e-9
    for layer in (maps.color, maps.roughness, normals(maps.height)):
        assert np.isfinite(layer).all()
        assert layer.min() >= 0
        assert layer.max() <= 1


@pytest.mark.parametrize("texture", sorted(set(texture_names()) - MIXED))
def test_surface_maps_have_the_given_color(texture: str) -> None:
    for color in ("brown", "gray"):
        mean = maps_of(texture, color=color_rgb(color)).color.mean(axis=(0, 1))
        assert name_color((mean[0], mean[1], mean[2]), 0.0) == color


def test_surface_maps_are_deterministic() -> None:
    same, again, other = maps_of("planks"), maps_of("planks"), maps_of("planks", seed=2)
    assert np.array_equal(same.color, again.color)
    assert not np.array_equal(same.color, other.color)


def test_normals_of_a_ramp() -> None:
    ramp = np.tile(np.abs(np.arange(SIZE) - SIZE / 2), (SIZE, 1))
    normal = normals(ramp) * 2 - 1
    assert np.allclose(np.linalg.norm(normal, axis=2), 1)
    assert (normal[:, 10, 0] > 0.5).all()  # falling along u
    assert (normal[:, -10, 0] < -0.5).all()  # rising along u
    normal = normals(ramp.T) * 2 - 1
    assert (normal[10, :, 1] < -0.5).all()  # rising along v, which runs up the rows
