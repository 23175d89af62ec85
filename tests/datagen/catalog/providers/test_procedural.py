"""Procedural shapes: watertight meshes, realistic sizes, determinism."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.catalog.glb import load_scene
from datagen.catalog.providers.procedural import Procedural
from datagen.catalog.shapes.families import build, families, sample_parameters
from datagen.catalog.shapes.part_meshes import part_meshes

FAMILIES = list(families())


def closed(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The mesh with the vertices merged that are split for shading."""
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_meshes_of_every_family_are_watertight_with_sampled_parameters(
    family: str, seed: int
) -> None:
    parameters = sample_parameters(families()[family], np.random.default_rng(seed))
    meshes = part_meshes(build(family, parameters))
    assert set(meshes) <= set(families()[family].parts)
    assert sum(len(mesh.faces) for mesh in meshes.values()) < 20_000
    for mesh in meshes.values():
        assert np.isfinite(mesh.vertices).all()
        assert mesh.area_faces.min() > 1e-12
        np.testing.assert_allclose(np.linalg.norm(mesh.vertex_normals, axis=1), 1.0, atol=1e-6)
        assert np.isfinite(mesh.visual.uv).all()
        whole = closed(mesh)
        assert whole.is_watertight
        assert whole.is_winding_consistent
        # Outward normals: each closed piece holds a positive volume.
        assert all(piece.volume > 0 for piece in whole.split(only_watertight=False))
        # Shading follows the surface: no normal looks away from its face.
        corners = mesh.vertex_normals[mesh.faces]
        assert (corners * mesh.face_normals[:, None]).sum(axis=2).min() > 0.5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("end", [0, 1])
def test_meshes_of_every_family_are_watertight_at_the_ends_of_the_ranges(
    family: str, end: int
) -> None:
    parameters = {name: ends[end] for name, ends in families()[family].parameters.items()}
    for mesh in part_meshes(build(family, parameters)).values():
        assert closed(mesh).is_watertight
        assert closed(mesh).volume > 0


def test_models_are_canonical_and_have_the_measured_size_and_parts(asset_cache: Path) -> None:
    provider = Procedural(len(FAMILIES), asset_cache)
    for asset in provider.assets():
        scene = load_scene(provider.model(asset))
        (x0, y0, z0), (x1, y1, z1) = scene.bounds
        np.testing.assert_allclose((x1 - x0, z1 - z0, y1 - y0), asset.size, atol=2e-6)
        np.testing.assert_allclose([y0, x0 + x1, z0 + z1], 0.0, atol=2e-6)
        names = [mesh.visual.material.name for mesh in scene.geometry.values()]
        assert sorted(names) == sorted(part.name for part in asset.parts)
        assert len(set(names)) == len(names)
        assert sum(part.area for part in asset.parts) == pytest.approx(1.0, abs=1e-3)


def test_sizes_are_realistic() -> None:
    largest: dict[str, list[float]] = {family: [] for family in FAMILIES}
    for family in FAMILIES:
        for number in range(4):
            drawn = sample_parameters(families()[family], np.random.default_rng(number))
            parts = build(family, drawn).values()
            points = np.concatenate([solid.points for solids in parts for solid in solids])
            largest[family].append(float(np.ptp(points, axis=0).max()))
    assert min(min(sizes) for sizes in largest.values()) > 0.07
    assert max(max(sizes) for sizes in largest.values()) < 1.1
    assert 0.09 < np.mean(largest["mug"]) < 0.14
    assert 0.8 < np.mean(largest["chair"]) < 1.05
    # Scenes put things of like size together: there must be many of either band.
    assert sum(np.mean(sizes) >= 0.35 for sizes in largest.values()) >= 6
    assert sum(np.mean(sizes) <= 0.4 for sizes in largest.values()) >= 6


@pytest.mark.slow
def test_a_longer_catalogue_begins_with_the_shorter_one(tmp_path: Path) -> None:
    short = Procedural(5, tmp_path / "a").assets()
    assert Procedural(9, tmp_path / "b").assets()[:5] == short
    assert Procedural(9, tmp_path / "b").assets()[:5] == short  # now from its cache


def test_asset_ids_have_family_and_number_and_digests_differ(asset_cache: Path) -> None:
    assets = Procedural(len(FAMILIES) + 10, asset_cache).assets()
    assert len({asset.digest for asset in assets}) == len(assets)
    assert all(re.fullmatch(r"procedural/[a-z_]+/\d{4}", asset.id) for asset in assets)
    assert all(asset.license == "CC0-1.0" and asset.recolorable for asset in assets)


def test_patterns_repeat_a_whole_number_of_times_around_lathes() -> None:
    """Otherwise a seam would be visible where the texture meets itself."""
    drawn = sample_parameters(families()["mug"], np.random.default_rng(0))
    mesh = part_meshes(build("mug", drawn))["body"]
    side = np.abs(mesh.face_normals[:, 1]) < 0.3
    around = mesh.visual.uv[mesh.faces[side]][..., 0]
    assert around.max() - around.min() == pytest.approx(round(around.max()), abs=1e-6)


def test_pattern_scale_is_equal_on_all_parts() -> None:
    """Texture coordinates and metres keep one ratio, within what wrapping must stretch."""
    for family in ("table", "cabinet", "robot", "armchair"):
        drawn = sample_parameters(families()[family], np.random.default_rng(1))
        ratios = []
        for mesh in part_meshes(build(family, drawn)).values():
            a, b, c = mesh.visual.uv[mesh.faces].transpose(1, 0, 2)
            ab, ac = b - a, c - a
            drawn_area = np.abs(ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]).sum() / 2
            ratios.append(np.sqrt(drawn_area / mesh.area))
        assert max(ratios) < 2.0 * np.median(ratios)
