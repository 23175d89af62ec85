"""What the viewer suspects, one damage each."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from datagen.shards.reader import open_shards
from pipelines.view.suspects import KINDS, Search, suspicions


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


def flat(sample):
    return replace(sample, image=np.full_like(sample.image, 90))


def twice(sample):
    sheet = sample.identities.copy()
    edge = len(sheet) // 2
    sheet[:edge, 2 * edge : 3 * edge] = sheet[:edge, edge : 2 * edge]
    return replace(sample, identities=sheet)


def wordless(sample):
    first, *others = sample.record.subjects
    return replace(
        sample, record=replace(sample.record, subjects=(replace(first, caption=" "), *others))
    )


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (empty_mask, "empty mask"),
        (moved_box, "box against mask"),
        (far_box, "depth out of box"),
        (flat, "flat image"),
        (twice, "duplicate identity views"),
        (wordless, "other contradiction"),
    ],
)
def test_each_damage_has_its_name(sample, damage, kind):
    assert kind in KINDS
    assert suspicions(sample) == ()
    assert {found for found, _ in suspicions(damage(sample))} == {kind}


def test_a_search_reads_all_and_goes_on_behind_what_is_broken(made):
    path = made()
    shards = open_shards(str(path))
    broken = shards.keys()[1]
    file = path / shards.shard_of(broken)
    data = bytearray(file.read_bytes())
    at = data.index(f"{broken}.image.jpg".encode()) + 512
    data[at : at + 64] = bytes(64)
    file.write_bytes(data)
    search = Search(shards)
    search.start()
    search.start()
    end = time.monotonic() + 30
    while search.done < len(shards):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert search.found == {1: ("broken",)}
