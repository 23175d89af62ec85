"""Layouts: no two subjects interpenetrate, every subject is visible, and sampling is
deterministic."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import trimesh

from datagen.compose.layout import Layout, LayoutConfig, LayoutRejected, sample_layout
from datagen.geometry import pose_matrix
from datagen.raycast import Shape, image_window, visible_index
from datagen.scene import OCCLUDED, Appearance, Asset, Identity

CONFIG = LayoutConfig()
SHAPES = {
    "cone": lambda x, y, z: trimesh.creation.cone(x / 2, z),
    "capsule": lambda x, y, z: trimesh.creation.capsule(z - x, x / 2),
    "box": lambda x, y, z: trimesh.creation.box((x, y, z)),
    "ring": lambda x, y, z: trimesh.creation.annulus(x / 4, x / 2, z),
}


def subjects(rng: np.random.Generator, count: int) -> tuple[list[Identity], list[trimesh.Trimesh]]:
    identities, meshes = [], []
    for number in range(count):
        x, z = rng.uniform(0.2, 0.5, 2)
        mesh = SHAPES[str(rng.choice(list(SHAPES)))](x, rng.uniform(0.2, 0.5), z + x)
        mesh.apply_translation(-mesh.bounds.mean(axis=0))
        mesh.apply_translation((0, 0, mesh.extents[2] / 2))
        size = tuple(mesh.extents.tolist())
        asset = Asset(f"a{number}", "shape", "shape", size, 1.0, (), False, "", "", "", "")
        identities.append(Identity(f"i{number}", asset, Appearance(1.0, ())))
        meshes.append(mesh)
    return identities, meshes


def visibility(layout: Layout, meshes: list[trimesh.Trimesh]) -> tuple[np.ndarray, np.ndarray]:
    """Area and visibility of each subject, ray-cast at full resolution."""
    camera = layout.camera
    depths = [
        Shape(mesh).depth(pose, camera, image_window(camera))
        for mesh, pose in zip(meshes, layout.poses, strict=True)
    ]
    visible = np.array([(visible_index(depths) == i + 1).sum() for i in range(len(meshes))])
    return visible / depths[0].size, visible / [np.count_nonzero(depth) for depth in depths]


def layout_of(
    rng: np.random.Generator,
    subjects: tuple[list[Identity], list[trimesh.Trimesh]],
    config: LayoutConfig = CONFIG,
) -> Layout:
    identities, meshes = subjects
    return sample_layout(rng, identities, [Shape(mesh) for mesh in meshes], config)


@pytest.mark.parametrize("count", [1, 2, 4, 6, 10])
def test_layout_shows_every_subject_and_none_interpenetrate(count: int) -> None:
    rng = np.random.default_rng(count)
    identities, meshes = subjects(rng, count)
    layout = layout_of(rng, (identities, meshes), LayoutConfig(tries=60))
    area, visible = visibility(layout, meshes)
    assert area.min() > 0.9 * 0.04 * min(4 / count, 1)
    assert area.sum() > 0.15, "as much as a cone or a ring can cover"
    assert visible.min() > 0.3
    world = [
        mesh.copy().apply_transform(pose_matrix(pose))
        for mesh, pose in zip(meshes, layout.poses, strict=True)
    ]
    for mesh in world:
        assert mesh.bounds[0, 2] == pytest.approx(0, abs=1e-6), "it stands on the ground"
    for a, b in combinations(world, 2):
        shared = trimesh.boolean.intersection([a, b], engine="manifold")
        assert shared.is_empty or shared.volume <= 0.01 * min(a.volume, b.volume)


def truncations(layout: Layout, meshes: list[trimesh.Trimesh]) -> list[float]:
    """The share of each silhouette outside the image, ray-cast at full resolution."""
    camera, found = layout.camera, []
    for mesh, pose in zip(meshes, layout.poses, strict=True):
        shape = Shape(mesh)
        window = shape.extent(pose, camera)
        assert window is not None
        whole = np.count_nonzero(shape.depth(pose, camera, window))
        found.append(1 - np.count_nonzero(shape.depth(pose, camera, image_window(camera))) / whole)
    return found


def test_subjects_cover_the_share_that_is_asked_for() -> None:
    asset = Asset("cube", "cube", "cube", (0.4, 0.4, 0.4), 0.2, (), False, "", "", "", "")
    cube = trimesh.creation.box((0.4, 0.4, 0.4))
    cube.apply_translation((0, 0, 0.2))
    for low, high in ((0.12, 0.16), (0.26, 0.3)):
        covered = []
        for seed in range(6):
            count = 1 + seed % 3
            made = [Identity("cube", asset, Appearance(1.0, ()))] * count, [cube] * count
            config = LayoutConfig(coverage=(low, high), occluded_share=0.0, min_area=0.01)
            layout = layout_of(np.random.default_rng(seed), made, config)
            covered.append(visibility(layout, made[1])[0].sum())
        assert low - 0.02 < min(covered)
        assert max(covered) < high + 0.02


def test_nothing_is_cut_by_the_frame_unless_asked_for() -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        made = subjects(rng, 3)
        assert max(truncations(layout_of(rng, made), made[1])) < 1e-3


def test_truncated_share_cuts_one_subject_of_a_scene() -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        made = subjects(rng, 3)
        found = sorted(truncations(layout_of(rng, made, LayoutConfig(truncated_share=1)), made[1]))
        assert 0.02 < found[-1] < 0.42
        assert found[1] < 1e-3


def test_a_slender_subject_that_cannot_fill_the_image_is_not_rejected() -> None:
    pole = trimesh.creation.cylinder(0.02, 1.0)
    pole.apply_translation((0, 0, 0.5))
    asset = Asset("pole", "lamp", "lamp", (0.04, 0.04, 1.0), 0.04, (), False, "", "", "", "")
    identity = Identity("pole", asset, Appearance(1.0, ()))
    layout = layout_of(np.random.default_rng(0), ([identity], [pole]))
    assert 0.01 < visibility(layout, [pole])[0].sum() < 0.1


def test_occluded_share_gives_occlusion() -> None:
    hidden = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        identities, meshes = subjects(rng, 3)
        config = LayoutConfig(occluded_share=1.0, tries=200)
        hidden.append(visibility(layout_of(rng, (identities, meshes), config), meshes)[1].min())
    assert max(hidden) < OCCLUDED + 0.02


def test_cameras_and_yaws_vary() -> None:
    layouts = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        layouts.append(layout_of(rng, subjects(rng, 2)))
    heights = [layout.camera.camera_to_world[2][3] for layout in layouts]
    focals = [layout.camera.intrinsics[0][0] for layout in layouts]
    yaws = [pose.yaw for layout in layouts for pose in layout.poses]
    assert max(heights) > 2 * min(heights)
    assert max(focals) > 1.5 * min(focals)
    assert np.ptp(yaws) > 5


def test_sample_layout_is_deterministic() -> None:
    def once() -> Layout:
        rng = np.random.default_rng(3)
        return layout_of(rng, subjects(rng, 3))

    assert once() == once()


def test_a_subject_too_small_to_see_raises_layout_rejected() -> None:
    rng = np.random.default_rng(0)
    identities, meshes = subjects(rng, 2)
    asset = Asset("speck", "shape", "shape", (0.01, 0.01, 0.01), 1e-4, (), False, "", "", "", "")
    speck = trimesh.creation.box((0.01, 0.01, 0.01))
    with pytest.raises(LayoutRejected, match="subject too small"):
        layout_of(
            rng,
            ([*identities, Identity("speck", asset, Appearance(1.0, ()))], [*meshes, speck]),
            LayoutConfig(occluded_share=0.0),
        )
