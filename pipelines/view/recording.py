"""One scene as a recording for Rerun (https://rerun.io), where that is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np

from datagen.errors import UserError
from datagen.scene import Sample
from pipelines.visualize.drawing import COLORS

WANTED = "rerun-sdk>=0.24,<0.50"
"""No extra of ours: it is 490 MB, for one file format."""


def record(sample: Sample, path: Path) -> None:
    """Write the image, depth, instances and 2D boxes to ``path`` as seen by the camera, and the
    3D boxes in metres; the camera stands where it stood in the world, z up.

    Raises UserError where Rerun is not installed."""
    if importlib.util.find_spec("rerun") is None:
        raise UserError(f"rerun is not installed; get it by: uv pip install '{WANTED}'")
    import rerun as rr

    scene = sample.record
    stream = rr.RecordingStream("sigma-set", recording_id=scene.key)
    stream.save(path)
    names = [
        rr.AnnotationInfo(
            id=subject.index,
            label=subject.caption,
            color=COLORS[(subject.index - 1) % len(COLORS)].tolist(),
        )
        for subject in scene.subjects
    ]
    nothing = rr.AnnotationInfo(id=0, color=(0, 0, 0, 0))
    stream.log("/", rr.AnnotationContext([nothing, *names]), static=True)
    stream.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    pose = np.array(scene.camera.camera_to_world)
    stream.log("world/camera", rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
    for name, picture in _pictures(rr, sample).items():
        stream.log(f"world/camera/picture{name}", picture)
    for subject in scene.subjects:
        place, box = f"world/camera/subjects/{subject.index}", subject.box3d
        stream.log(place, rr.Transform3D(translation=box.center, mat3x3=box.rotation))
        stream.log(
            place, rr.Boxes3D(half_sizes=[np.array(box.size) / 2], class_ids=[subject.index])
        )
    stream.log("prompt", rr.TextDocument(scene.prompt.full))
    for index, row in enumerate(np.split(sample.identities, scene.n_subjects), start=1):
        stream.log(f"identities/{index}", rr.Image(row))
    stream.flush()
    stream.disconnect()


def _pictures(rr: ModuleType, sample: Sample) -> dict[str, object]:
    """By the end of their path: everything that lies in the image plane."""
    scene = sample.record
    return {
        "": rr.Pinhole(
            image_from_camera=scene.camera.intrinsics,
            resolution=(scene.width, scene.height),
            camera_xyz=rr.ViewCoordinates.RDF,
        ),
        "/image": rr.Image(sample.image),
        "/depth": rr.DepthImage(sample.depth, meter=1 / scene.depth.meters_per_unit),
        "/instances": rr.SegmentationImage(sample.instances),
        "/boxes2d": rr.Boxes2D(
            array=[subject.box2d for subject in scene.subjects],
            array_format=rr.Box2DFormat.XYXY,
            class_ids=[subject.index for subject in scene.subjects],
        ),
    }
