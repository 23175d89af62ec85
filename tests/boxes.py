"""Samples that are geometrically true, and sets of them: flat boxes before a pinhole camera."""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
from moto.server import ThreadedMotoServer
from pycocotools import mask as coco

from datagen.scene import (
    AssetCredit,
    Box3D,
    CameraRecord,
    Prompt,
    Rle,
    Sample,
    SceneRecord,
    Split,
    Subject,
    View,
)
from datagen.shards import codec
from datagen.shards.manifest import Manifest
from datagen.shards.pack import PackConfig, pack
from datagen.shards.store import Store

WIDTH, HEIGHT, FOCAL, CELL = 96, 64, 80.0, 16
# Columns are the box's axes: its front (-y) faces the camera, its z is up (-y of the image).
FACING = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))


def make_sample(key: str = "000001", n: int = 2, split: Split = "train", seed: int = 0) -> Sample:
    """``n`` boxes side by side; each nearer one hides an edge of its left neighbour."""
    rng = np.random.default_rng([seed, n])
    image = rng.integers(0, 255, (8, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    depth = np.full((HEIGHT, WIDTH), 6000, np.uint16)
    instances = np.zeros((HEIGHT, WIDTH), np.uint8)
    u, v = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    slot, tall = (WIDTH - 8) / n, 30 + 20 * rng.random()
    boxes, amodals = [], []
    for i in range(n):
        front = 4.0 - 0.2 * i  # metres
        left, right = 4 + slot * i - (0.3 * slot if i else 0), 4 + slot * (i + 1)
        top, bottom = HEIGHT - 4 - tall, HEIGHT - 4.0
        inside = (u >= left) & (u <= right) & (v >= top) & (v <= bottom)
        depth[inside], instances[inside] = round(front * 1000), i + 1
        amodals.append(inside)
        scale, thick = front / FOCAL, 0.02
        boxes.append(
            Box3D(
                center=(
                    ((left + right) / 2 - WIDTH / 2) * scale,
                    ((top + bottom) / 2 - HEIGHT / 2) * scale,
                    front + thick / 2,
                ),
                size=((right - left) * scale, thick, (bottom - top) * scale),
                rotation=FACING,
                estimated=False,
            )
        )
    subjects = tuple(
        _subject(i + 1, f"{split}-{key}", boxes[i], instances == i + 1, amodals[i])
        for i in range(n)
    )
    record = SceneRecord(
        key=key,
        source="render",
        split=split,
        width=WIDTH,
        height=HEIGHT,
        prompt=Prompt(full=f"{n} boxes in a row, in a hall", background="a hall"),
        camera=CameraRecord(
            intrinsics=((FOCAL, 0.0, WIDTH / 2), (0.0, FOCAL, HEIGHT / 2), (0.0, 0.0, 1.0)),
            camera_to_world=(
                (1.0, 0.0, 0.0, 0.0),
                (0.0, 0.0, 1.0, -4.0),
                (0.0, -1.0, 0.0, 1.0),
                (0.0, 0.0, 0.0, 1.0),
            ),
            estimated=False,
        ),
        n_subjects=n,
        subjects=subjects,
        environment={"place": "hall", "rooms": 1},
        provenance={"seed": seed, "config_digest": "abc"},
    )
    identities = rng.integers(0, 255, (n * 2, 4, 4), np.uint8).repeat(8, 0).repeat(8, 1)
    identities[..., 3] = np.tile(np.linspace(0, 255, CELL, dtype=np.uint8), 2)
    return Sample(record, image, depth, instances, identities)


def _subject(index: int, name: str, box: Box3D, visible: np.ndarray, amodal: np.ndarray) -> Subject:
    rle = coco.encode(np.asfortranarray(amodal.astype(np.uint8)))
    return Subject(
        index=index,
        identity=f"{name}-{index}",
        category="box" if index % 2 else "crate",
        caption="a box",
        box2d=_span(visible),
        box2d_amodal=_span(amodal),
        box3d=box,
        visibility=float(visible.sum() / amodal.sum()),
        truncation=0.0,
        area=float(visible.mean()),
        amodal_rle=Rle((HEIGHT, WIDTH), rle["counts"].decode()),
        asset=AssetCredit(f"{name}/{index % 3}", "tests", "A. | Maker", "CC-BY-4.0"),
        views=(View("crop", 0.0, 0.0, "hall"), View("render", 1.0, 0.2, "studio")),
    )


def _span(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask)
    x, y = int(columns.min()), int(rows.min())
    return x, y, int(columns.max()) + 1, int(rows.max()) + 1


def pack_samples(samples: Sequence[Sample], root: Path, per_shard: int = 2) -> Manifest:
    """Commits samples below ``root``, and packs them to its ``shards``."""
    store = Store(str(root))
    for sample in samples:
        store.commit(sample.record.key, codec.encode(sample))
    keys = [(s.record.key, s.record.split, s.record.n_subjects) for s in samples]
    out = str(root / "shards")
    return pack(store, keys, PackConfig(per_shard), out, name="Boxes", config_digest="abc")


def edit_subject(sample: Sample, index: int, **changes: object) -> Sample:
    """The sample with fields of one subject changed."""
    subjects = tuple(
        dataclasses.replace(s, **changes) if s.index == index else s  # type: ignore[arg-type]
        for s in sample.record.subjects
    )
    return dataclasses.replace(sample, record=dataclasses.replace(sample.record, subjects=subjects))


@contextmanager
def s3_folder() -> Iterator[str]:
    """URL of a folder in an empty bucket of a real HTTP server that speaks S3. Processes that are
    started meanwhile find it, too."""
    import s3fs

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "NO_PROXY": "127.0.0.1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with patch.dict(os.environ, settings):
        s3fs.S3FileSystem.clear_instance_cache()
        name = f"sigma-{uuid.uuid4()}"  # moto keeps buckets from server to server
        s3fs.S3FileSystem().mkdir(name)
        yield f"s3://{name}/set"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
