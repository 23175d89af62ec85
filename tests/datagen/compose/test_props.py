"""Props: in the image, in no subject, in front of none, and never of a subject's kind."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from datagen.compose.arrangement import footprints_overlap
from datagen.compose.environment import places, sample_environment
from datagen.compose.layout import LayoutConfig, sample_layout
from datagen.compose.props import prop_kinds, sample_props
from datagen.geometry import corners, pose_matrix, project, transform
from datagen.raycast import Shape
from datagen.render.props import prop_meshes
from datagen.scene import Appearance, Asset, Camera, Identity, Prop, SubjectSpec

Scene = tuple[list[SubjectSpec], list[Shape], Camera]


def scene_of(seed: int, category: str = "gizmo", size: float = 0.6) -> Scene:
    """Three boxes in a layout."""
    rng = np.random.default_rng(seed)
    identities, shapes = [], []
    for number in range(3):
        box = trimesh.creation.box(rng.uniform(0.5, 1.0, 3) * size)
        box.apply_translation((0, 0, box.extents[2] / 2))
        extent = tuple(box.extents.tolist())
        asset = Asset(f"a{number}", category, category, extent, 1.0, (), False, "", "", "", "")
        identities.append(Identity(f"i{number}", asset, Appearance(1.0, ())))
        shapes.append(Shape(box))
    layout = sample_layout(rng, identities, shapes, LayoutConfig(tries=200))
    subjects = [
        SubjectSpec(i, identity, "", pose, ())
        for i, (identity, pose) in enumerate(zip(identities, layout.poses, strict=True), start=1)
    ]
    return subjects, shapes, layout.camera


def props_of(seed: int, scene: Scene, place: str) -> tuple[Prop, ...]:
    rng = np.random.default_rng(seed)
    radius = 1.3 if place.endswith("table") else 3.0
    while (environment := sample_environment(rng, radius, 0.8, ["gizmo"])).place != place:
        pass
    return sample_props(rng, environment, *scene)


@pytest.mark.parametrize("place", sorted({p for e in prop_kinds().values() for p in e.places}))
def test_props_are_in_the_image_and_hide_no_subject(place: str) -> None:
    found = 0
    for seed in range(4):
        scene = subjects, shapes, camera = scene_of(seed)
        depths = [
            shape.depth_in_image(subject.pose, camera)
            for shape, subject in zip(shapes, subjects, strict=True)
        ]
        for prop in props_of(seed, scene, place):
            found += 1
            x, y, z = project(camera, transform(pose_matrix(prop.pose), corners(prop.size))).T
            assert z.min() > 0
            assert x.max() > 0
            assert x.min() < camera.width
            assert y.max() > 0
            assert y.min() < camera.height
            mesh = trimesh.util.concatenate(prop_meshes(prop, np.random.default_rng(0)))
            local = mesh.copy().apply_transform(np.linalg.inv(pose_matrix(prop.pose)))
            shown = Shape(local).depth_in_image(prop.pose, camera)
            for subject, depth in zip(subjects, depths, strict=True):
                assert not ((shown > 0) & (depth > 0) & (shown < depth)).any()
                assert not footprints_overlap(
                    prop.pose, prop.size, subject.pose, subject.identity.size
                )
    assert found > 0 or place in ("room", "hall")


def test_a_prop_is_never_of_the_kind_of_a_subject() -> None:
    for seed in range(4):
        props = props_of(seed, scene_of(seed, "rock"), "garden")
        assert {prop.kind for prop in props} <= {"tuft"}


def test_kinds_name_places_that_there_are() -> None:
    assert {place for kind in prop_kinds().values() for place in kind.places} <= set(places())
