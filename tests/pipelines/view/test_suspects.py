"""Suspect samples: each kind of damage is found and named."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from datagen.shards.reader import open_shards
from pipelines.view.suspects import KINDS, SuspectSearch, find_suspicions


@pytest.fixture(scope="module")
def sample(finished):
    return next(s for s in open_shards(str(finished.out / "shards")) if s.record.n_subjects == 2)


def empty_mask(sample):
    return replace(sample, instances=np.where(sample.instances == 2, 0, sample.instances))


def moved_box(sample):
    first, *others = sample.record.subjects
    x_min, y_min, x_max, y_max = first.box2d
    moved = replace(first, box2d=(x_min, y_min, x_max - 1, y_max))
    return replace(sample, record=replace(sample.record, subjects=(moved, *others)))


def far_box(sample):
    first, *others = sample.record.subjects
    x, y, z = first.box3d.center
    far = replace(first, box3d=replace(first.box3d, center=(x, y, z + 10)))
    return replace(sample, record=replace(sample.record, subjects=(far, *others)))


def flat_image(sample):
    return replace(sample, image=np.full_like(sample.image, 90))


def duplicate_views(sample):
    sheet = sample.identities.copy()
    edge = len(sheet) // 2
    sheet[:edge, 2 * edge : 3 * edge] = sheet[:edge, edge : 2 * edge]
    return replace(sample, identities=sheet)


def blank_view(sample):
    sheet = sample.identities.copy()
    sheet[: sheet.shape[0] // sample.record.n_subjects, : sample.views.shape[2]] = 0
    return replace(sample, identities=sheet)


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (empty_mask, "empty mask"),
        (moved_box, "box against mask"),
        (far_box, "depth out of box"),
        (flat_image, "flat image"),
        (duplicate_views, "duplicate identity views"),
        (blank_view, "other contradiction"),
    ],
)
def test_each_kind_of_suspicion_is_found(sample, damage, kind):
    assert kind in KINDS
    assert find_suspicions(sample) == ()
    assert {found for found, _ in find_suspicions(damage(sample))} == {kind}


def test_suspect_search_continues_after_a_broken_sample(make_shards):
    path = make_shards()
    shards = open_shards(str(path))
    broken = shards.keys()[1]
    file = path / shards.shard_of(broken)
    data = bytearray(file.read_bytes())
    at = data.index(f"{broken}.image.jpg".encode()) + 512
    data[at : at + 64] = bytes(64)
    file.write_bytes(data)
    search = SuspectSearch(shards)
    search.start()
    search.start()
    end = time.monotonic() + 30
    while search.done < len(shards):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert search.found == {1: ("broken",)}
