"""New layouts agree with their records, show no ghosts, and give no reference away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from datagen.errors import UserError
from datagen.scene import Sample
from datagen.shards.consistency import check_sample
from datagen.shards.rle import decode_rle
from model.controls.kinds import region_of
from model.data.augmentation.ground import ground_of
from model.data.augmentation.recompose import LEAST_AREA, LEAST_VISIBLE, recompose
from tests.model.data.augmentation.scenes import CELL, SIZE, environment_mesh, scene

seeds = st.integers(0, 2**32)
counts = st.integers(1, 10)


def pool(base: int = 3, columns: int = 3) -> list[Sample]:
    return [scene(f"{i}", n, i, columns) for i, n in enumerate([base, 4, 1, 5])]


def composed(samples: list[Sample], count: int, seed: int) -> Sample:
    sample = recompose(samples, count, np.random.default_rng(seed))
    assert sample is not None
    return sample


def is_own(sample: Sample, base: Sample, index: int) -> bool:
    return not sample.record.subjects[index - 1].box3d.estimated


def blocks(sample: Sample, index: int) -> np.ndarray:
    """(columns, S, S, 4)"""
    row = sample.identities[(index - 1) * CELL : index * CELL]
    return row.reshape(CELL, -1, CELL, 4).swapaxes(0, 1)


@given(count=counts, base=st.integers(1, 6), seed=seeds)
def test_recompose_record_agrees_with_the_pixels(count: int, base: int, seed: int) -> None:
    samples = pool(base)
    sample = composed(samples, count, seed)
    record = sample.record
    assert check_sample(sample) == ()
    assert record.n_subjects == len(record.subjects) == count
    assert set(np.unique(sample.instances)) == {0, *range(1, count + 1)} - (
        set() if (sample.instances == 0).any() else {0}
    )
    assert record.key == samples[0].record.key
    assert record.camera == samples[0].record.camera
    assert any(subject.box3d.estimated for subject in record.subjects), "something is new"
    for subject in record.subjects:
        assert subject.visibility >= LEAST_VISIBLE
        assert subject.area >= LEAST_AREA


@given(count=counts, seed=seeds)
def test_recompose_controls_agree_with_the_picture(count: int, seed: int) -> None:
    sample = composed(pool(), count, seed)
    for index in range(1, count + 1):
        visible = sample.instances == index
        assert not (visible & ~region_of(sample, index, "box2d").mask).any()
        deep = region_of(sample, index, "box3d")
        outside = np.count_nonzero(visible & ~deep.mask)
        assert outside == 0 or (is_own(sample, sample, index) and outside < 0.1 * visible.sum())
        seen = region_of(sample, index, "mask_depth")
        np.testing.assert_array_equal(seen.depth > 0, visible)
        if not is_own(sample, sample, index):
            middle = sample.record.subjects[index - 1].box3d.center[2]
            np.testing.assert_allclose(seen.depth[visible], middle, atol=0.001)


@given(count=st.integers(2, 10), seed=seeds)
def test_recompose_nearer_subjects_occlude_farther_ones(count: int, seed: int) -> None:
    sample = composed(pool(), count, seed)
    subjects = sample.record.subjects
    depth = np.array([np.median(sample.depth[sample.instances == s.index]) for s in subjects])
    for subject in subjects:
        hidden = decode_rle(subject.amodal_rle) & (sample.instances != subject.index)
        by = sample.instances[hidden]
        assert (by > 0).all(), "only a subject hides one"
        assert (depth[by - 1] <= depth[subject.index - 1]).all()


@given(count=counts, seed=seeds)
def test_recompose_does_not_use_the_pasted_view_as_a_reference(count: int, seed: int) -> None:
    samples = pool()
    sample = composed(samples, count, seed)
    sources = {s.identity: (one, s.index) for one in samples for s in one.record.subjects}
    assert len({s.identity for s in sample.record.subjects}) == count
    for subject in sample.record.subjects:
        now, then = blocks(sample, subject.index), blocks(*sources[subject.identity])
        assert now.shape == then.shape
        assert [view.kind for view in subject.views] == ["crop", "render", "render"]
        if subject.box3d.estimated:
            assert not any((now[0] == reference).all() for reference in now[1:])
        # Each column is one of the subject's own, and its view says which.
        old = sources[subject.identity][0].record.subjects[sources[subject.identity][1] - 1].views
        for column, view in zip(now, subject.views, strict=True):
            assert any(
                (column == block).all() and replace(view, kind=source.kind) == source
                for block, source in zip(then, old, strict=True)
            )


@given(count=counts, seed=seeds)
def test_recompose_column_0_is_the_pasted_view(count: int, seed: int) -> None:
    sample = composed(pool(), count, seed)
    for subject in sample.record.subjects:
        view = blocks(sample, subject.index)[0].astype(float)
        shown = sample.image[sample.instances == subject.index].astype(float)
        color = view[view[..., 3] > 250][:, :3].mean(axis=0)
        assert np.abs(shown.mean(axis=0) - color).max() < 40


@given(count=counts, base=st.integers(1, 5), seed=seeds)
def test_recompose_leaves_no_trace_of_removed_subjects(count: int, base: int, seed: int) -> None:
    """The place is grey. What has a colour is a subject, or near its soft rim."""
    samples = pool(base)
    sample = composed(samples, count, seed)
    covered = np.zeros((SIZE, SIZE), bool)
    for subject in sample.record.subjects:
        covered |= decode_rle(subject.amodal_rle)
    near = ndimage.binary_dilation(covered, np.ones((3, 3)), iterations=3)
    assert np.ptp(sample.image[~near].astype(int), axis=1).max(initial=0) <= 12
    background = sample.instances == 0
    np.testing.assert_allclose(
        sample.depth[background].astype(int), environment_mesh()[1][background], rtol=0.01, atol=3
    )


@given(seed=seeds)
def test_recompose_keeps_the_subjects_that_stay_unchanged(seed: int) -> None:
    samples = pool()
    sample = composed(samples, 4, seed)
    base = {s.identity: s for s in samples[0].record.subjects}
    for subject in sample.record.subjects:
        if subject.box3d.estimated:
            continue
        old = base[subject.identity]
        visible = sample.instances == subject.index
        assert not (visible & (samples[0].instances != old.index)).any()
        np.testing.assert_array_equal(sample.depth[visible], samples[0].depth[visible])
        assert (subject.box3d, subject.amodal_rle) == (old.box3d, old.amodal_rle)


def test_recompose_mixes_staying_and_pasted_subjects() -> None:
    samples, stay = pool(), []
    for seed in range(40):
        record = composed(samples, 3, seed).record
        stay.append(sum(not s.box3d.estimated for s in record.subjects))
    assert set(stay) == {0, 1, 2}


@given(count=counts, seed=seeds)
def test_recompose_pastes_subjects_on_the_ground(count: int, seed: int) -> None:
    samples = pool()
    ground = ground_of(samples[0])
    for subject in composed(samples, count, seed).record.subjects:
        if subject.box3d.estimated:
            x_min, y_min, x_max, y_max = subject.box2d_amodal
            assert min(x_min, y_min) >= 0
            assert max(x_max, y_max) <= SIZE
            assert y_max >= np.floor(ground.top)
            near, far = (float(ground.depth(np.array(row))) for row in (y_max + 2, ground.top))
            assert near * 0.99 <= subject.box3d.center[2] <= far * 1.01


def test_recompose_draws_shadows_below_pasted_subjects() -> None:
    empty, _ = environment_mesh()
    darker = []
    for seed in range(20):
        sample = composed(pool(1), 1, seed)
        x_min, _, x_max, y_max = sample.record.subjects[0].box2d
        below = np.zeros((SIZE, SIZE), bool)
        below[y_max - 2 : y_max + 1, x_min:x_max] = True
        below &= sample.instances == 0
        darker.append(np.mean(sample.image[below]) / np.mean(empty[below]))
    assert max(darker) < 0.9


def test_recompose_does_not_paste_subjects_that_are_too_small() -> None:
    base, speck = scene("a", 1, 0), scene("b", 1, 1)
    sheet = np.zeros_like(speck.identities)
    sheet[CELL // 2, CELL // 2 :: CELL] = 255
    speck = replace(speck, identities=sheet)
    assert recompose([base, speck], 2, np.random.default_rng(0)) is None
    seen = {composed([base, speck], 1, seed).record.subjects[0].identity for seed in range(20)}
    assert seen == {base.record.subjects[0].identity}


def test_recompose_is_random_and_reproducible_from_its_generator() -> None:
    first, again, other = (composed(pool(), 4, seed) for seed in (1, 1, 2))
    for name in ("image", "depth", "instances", "identities"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.record == again.record
    assert first.record.subjects != other.record.subjects


def test_recompose_prompt_names_the_subjects_in_order() -> None:
    record = composed(pool(), 5, 0).record
    full, at = record.prompt.full.lower(), 0
    for subject in record.subjects:
        at = full.index(subject.caption, at) + 1
    assert full.endswith("in a hall with teal walls.")
    assert "left" not in full


@pytest.mark.parametrize("columns", [1, 2])
def test_recompose_with_few_identity_views_keeps_a_reference(columns: int) -> None:
    for seed in range(10):
        sample = composed(pool(columns=columns), 4, seed)
        for subject in sample.record.subjects:
            now = blocks(sample, subject.index)
            assert len(now) == len(subject.views) == columns
            assert columns == 1 or (now[0] != now[1]).any()


def test_recompose_does_not_use_crops_of_occluded_subjects() -> None:
    samples = pool()
    hidden = [
        replace(
            one,
            record=replace(
                one.record,
                subjects=tuple(replace(s, visibility=0.6) for s in one.record.subjects),
            ),
        )
        for one in samples
    ]
    crops = {s.identity: blocks(one, s.index)[0] for one in samples for s in one.record.subjects}
    for seed in range(10):
        sample = composed(hidden, 4, seed)
        for subject in sample.record.subjects:
            assert subject.box3d.estimated, "none stays"
            for column in blocks(sample, subject.index):
                assert (column != crops[subject.identity]).any()


def test_recompose_cuts_identity_sheets_to_the_fewest_views() -> None:
    samples = [scene("a", 2, 0, 3), scene("b", 3, 1, 2)]
    for seed in range(5):
        sample = composed(samples, 4, seed)
        assert all(len(subject.views) == 2 for subject in sample.record.subjects)
        assert sample.identities.shape == (4 * CELL, 2 * CELL, 4)


def test_recompose_returns_none_where_it_is_impossible() -> None:
    assert recompose([scene(n=3)], 4, np.random.default_rng(0)) is None


@pytest.mark.parametrize("count", [0, 11])
def test_recompose_refuses_invalid_subject_counts(count: int) -> None:
    with pytest.raises(UserError, match=f"{count} subjects asked for, expected 1 to 10"):
        recompose(pool(), count, np.random.default_rng(0))


def test_recompose_refuses_identity_views_of_unequal_size() -> None:
    sample = scene()
    small = replace(sample, identities=sample.identities[::2, ::2])
    with pytest.raises(UserError, match=r"views of \[16, 32\] pixels, expected one size"):
        recompose([sample, small], 2, np.random.default_rng(0))
