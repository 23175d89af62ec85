"""Masks, boxes and visibility of a known scene, and the checks that detect a wrong convention."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask as coco

from datagen.annotate.annotate import AnnotationError, annotate, identity_crop
from datagen.geometry import project, tight_box
from datagen.render.rendering import Rendering
from datagen.scene import Pose, Sample


@pytest.fixture(scope="module")
def sample(stage, rendered) -> Sample:
    return annotate(stage.spec, rendered, stage.shapes, {"config_digest": "test"})


def moved(spec, index: int, position: tuple[float, float, float], yaw: float):
    subjects = tuple(
        replace(subject, pose=Pose(position, yaw)) if subject.index == index else subject
        for subject in spec.subjects
    )
    return replace(spec, subjects=subjects)


def test_mask_iou_of_blender_and_ray_caster(sample: Sample) -> None:
    assert min(sample.record.provenance["mask_iou"]) > 0.99


def test_visibility_of_occluding_and_occluded_subject(sample: Sample) -> None:
    box, ball = sample.record.subjects
    assert box.visibility == pytest.approx(1.0, abs=0.01)
    assert 0.3 < ball.visibility < 0.95


def test_amodal_mask_contains_the_visible_mask(sample: Sample) -> None:
    for subject in sample.record.subjects:
        rle = {"size": list(subject.amodal_rle.size), "counts": subject.amodal_rle.counts}
        amodal = coco.decode(rle).astype(bool)
        visible = sample.instances == subject.index
        assert not (visible & ~amodal).any()
        assert subject.visibility == pytest.approx(visible.sum() / amodal.sum())
        assert subject.box2d == tight_box(visible)
        assert subject.box2d_amodal == tight_box(amodal)


def test_amodal_box_of_an_occluded_ball_is_square(sample: Sample) -> None:
    x_min, y_min, x_max, y_max = sample.record.subjects[1].box2d_amodal
    assert (x_max - x_min) == pytest.approx(y_max - y_min, rel=0.06)


def test_box3d_projects_onto_the_silhouette(sample: Sample, stage) -> None:
    box = sample.record.subjects[0]
    unit = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 2
    local = unit * box.box3d.size @ np.array(box.box3d.rotation).T + box.box3d.center
    pixels = local @ np.array(stage.spec.camera.intrinsics).T
    pixels = pixels[:, :2] / pixels[:, 2:]
    np.testing.assert_allclose(pixels.min(axis=0), box.box2d_amodal[:2], atol=1)
    np.testing.assert_allclose(pixels.max(axis=0), box.box2d_amodal[2:], atol=1)


def test_box3d_front_follows_the_yaw(sample: Sample, stage) -> None:
    """The -y axis of the box is the asset's front, turned by the yaw of its pose."""
    subject = stage.spec.subjects[0]
    box = sample.record.subjects[0].box3d
    front = np.array(box.center) - np.array(box.rotation)[:, 1]
    yaw = subject.pose.yaw
    x, y, z = subject.pose.position
    expected = np.array([[x + np.sin(yaw), y - np.cos(yaw), z + subject.identity.size[2] / 2]])
    pixel = front @ np.array(stage.spec.camera.intrinsics).T
    np.testing.assert_allclose(
        pixel[:2] / pixel[2], project(stage.spec.camera, expected)[0, :2], atol=0.01
    )


def test_truncation_of_a_subject_cut_by_the_image_edge(renderer, stage) -> None:
    """The ball is moved until the frame's right edge cuts it in two."""
    spec = moved(stage.spec, 2, (1.28, 0.6, 0.0), 0.0)
    cut = annotate(
        spec,
        Rendering.from_npz(renderer.render(spec, stage.models, stage.environment_mesh)),
        stage.shapes,
        {},
    ).record.subjects[1]
    assert 0.2 < cut.truncation < 0.8
    assert cut.box2d[2] == spec.camera.width < cut.box2d_amodal[2]
    assert cut.visibility == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("position", "yaw"),
    [((-0.2, -0.2, 0.0), -0.4), ((-0.15, -0.2, 0.0), 0.4), ((-0.2, -0.2, 0.05), 0.4)],
    ids=["turned the other way", "5 cm aside", "5 cm up"],
)
def test_a_wrong_pose_raises_annotation_error(stage, rendered, position, yaw) -> None:
    wrong = moved(stage.spec, 1, position, yaw)
    with pytest.raises(AnnotationError, match="mask disagrees with geometry: subject"):
        annotate(wrong, rendered, stage.shapes, {})


def test_a_mirrored_image_raises_annotation_error(stage, rendered) -> None:
    mirrored = replace(rendered, instances=rendered.instances[:, ::-1])
    with pytest.raises(AnnotationError, match="mask disagrees"):
        annotate(stage.spec, mirrored, stage.shapes, {})


def test_distance_instead_of_z_depth_raises_annotation_error(stage, rendered) -> None:
    camera = stage.spec.camera
    (focal, _, cx), (_, _, cy), _ = camera.intrinsics
    x = (np.arange(camera.width) + 0.5 - cx) / focal
    y = (np.arange(camera.height) + 0.5 - cy) / focal
    distance = rendered.depth * np.sqrt(1 + x[None, :] ** 2 + y[:, None] ** 2)
    with pytest.raises(AnnotationError, match="depth outside the 3D box"):
        annotate(stage.spec, replace(rendered, depth=distance * 1.05), stage.shapes, {})


def test_an_invisible_subject_raises_annotation_error(stage, rendered) -> None:
    erased = np.where(rendered.instances == 2, 0, rendered.instances)
    with pytest.raises(AnnotationError, match="subject not visible: subject 2"):
        annotate(stage.spec, replace(rendered, instances=erased), stage.shapes, {})


def test_depth_is_stored_to_the_millimetre(sample: Sample, rendered) -> None:
    near = (rendered.depth > 0) & (rendered.depth < 60)
    error = sample.depth[near] * 0.001 - rendered.depth[near]
    assert np.abs(error).max() <= 0.00051
    assert (sample.depth[rendered.depth == 0] == 0).all()


def test_identity_sheet_has_one_row_per_subject_and_the_crop_first(
    sample: Sample, rendered
) -> None:
    assert sample.identities.shape == (2 * 64, 3 * 64, 4)
    np.testing.assert_array_equal(sample.identities[:64, 64:128], rendered.views[0, 0])
    assert [view.kind for view in sample.record.subjects[0].views] == ["crop", "render", "render"]


def test_identity_crop_has_no_background_color() -> None:
    """A red square on green: a resize with straight alpha would leave a brown rim."""
    image = np.zeros((40, 40, 3), np.uint8)
    image[..., 1] = 255
    mask = np.zeros((40, 40), bool)
    mask[10:30, 12:28] = True
    image[mask] = (255, 0, 0)
    crop = identity_crop(image, mask, tight_box(mask), 64)
    assert crop[crop[..., 3] > 0][:, 1].max() == 0
    assert (crop[32, :, 3] > 127).sum() == pytest.approx(64 * 16 / 23, abs=3)
