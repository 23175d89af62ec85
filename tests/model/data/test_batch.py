"""What a batch holds, what is drawn for it, and what becomes of samples that are damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from datagen.errors import UserError
from datagen.scene import Sample
from model.controls.control_image import InputSpec, RoutingEncoding
from model.controls.control_sampling import ControlSamplingConfig
from model.controls.identity_sheet import identity_sheet
from model.data.batch import (
    BatchBuilder,
    BuiltBatch,
    DataConfig,
    held_out_keys,
    identity_views,
    load_batches,
)
from model.data.curriculum import PlannedBatch
from model.data.decode import decode
from model.data.shard_index import ShardIndex, open_shard_index
from tests.model.sets import cut, forge, only_crops

FORMAT = InputSpec(size=24, identity_size=8)
CONFIG = DataConfig(batch_size=4, seed=5, workers=0)
PAIRS = ("000003", "000004", "000005", "000006")
"""Of two subjects each."""
LONELY = ("000016",)
"""The only one of its split with one subject."""


@pytest.fixture(scope="module")
def index(made: Path) -> ShardIndex:
    return open_shard_index(str(made))


def assemble(
    builder: BatchBuilder, keys: Sequence[str], epoch: int = 0, stage: int = 0
) -> BuiltBatch:
    n = builder.index.counts[keys[0]]
    planned = PlannedBatch(stage, n, tuple((key, epoch) for key in keys))
    return builder.batch(planned, [partial(builder.index.verified_members, key) for key in keys])


def same(one: BuiltBatch, other: BuiltBatch) -> bool:
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(vars(one.batch).values(), vars(other.batch).values(), strict=True)
    )


# What it holds


def test_shuffled_references_are_those_of_another_sample(index: ShardIndex) -> None:
    """Of every sample, whatever else is in its batch, and if nothing else is."""
    shuffled = replace(CONFIG, shuffled_references=True)
    for keys in (PAIRS, PAIRS[:1], PAIRS[:1] * 2):
        own = assemble(BatchBuilder(index, FORMAT, CONFIG), keys).batch
        other = assemble(BatchBuilder(index, FORMAT, shuffled), keys).batch
        for key, sheet in zip(keys, other.sheets, strict=True):
            assert not any(torch.equal(sheet, view) for view in sheets_of(index, key))
        assert torch.equal(other.images, own.images)


def sheets_of(index: ShardIndex, key: str) -> list[torch.Tensor]:
    """All that a sample's views can be drawn to."""
    views = identity_views(decode(index.verified_members(key), key, FORMAT.size))
    chosen = product(*([*subject] for subject in views))
    sheets = (identity_sheet(list(one), FORMAT.identity_size) for one in chosen)
    return [torch.from_numpy(sheet).permute(2, 0, 1) for sheet in sheets]


def test_shuffled_references_need_two_samples(index: ShardIndex) -> None:
    shuffled = replace(CONFIG, shuffled_references=True)
    with pytest.raises(UserError, match="expected at least two scenes"):
        assemble(BatchBuilder(index, FORMAT, shuffled), LONELY)


def test_full_prompts_0_gives_background_prompts_only(index: ShardIndex) -> None:
    short = replace(CONFIG, full_prompts=0.0)
    batch = assemble(BatchBuilder(index, FORMAT, short), PAIRS).batch
    assert all(prompt.startswith("Place these subjects in ") for prompt in batch.prompts)


def test_shapes_and_contents_of_a_batch(index: ShardIndex) -> None:
    batch = assemble(BatchBuilder(index, FORMAT, CONFIG), PAIRS).batch
    assert batch.images.shape == (4, 3, 24, 24)
    assert batch.sheets.shape == (4, 3, 16, 8)
    assert batch.controls.shape == (4, 3, 24, 24)
    assert batch.subjects.shape == (4, 24, 24)
    for tensor in (batch.images, batch.sheets, batch.controls, batch.subjects):
        assert tensor.dtype == torch.uint8
    assert (batch.keys, batch.n_subjects) == (list(PAIRS), 2)
    for i, key in enumerate(PAIRS):
        sample = decode(index.verified_members(key), key, 24)
        assert np.array_equal(batch.images[i].permute(1, 2, 0), sample.image)
        assert np.array_equal(batch.subjects[i], sample.instances)


def test_one_hot_controls(index: ShardIndex) -> None:
    builder = BatchBuilder(
        index, replace(FORMAT, encoding=RoutingEncoding("one_hot", slots=6)), CONFIG
    )
    assert assemble(builder, PAIRS).batch.controls.shape == (4, 7, 24, 24)


def test_controls_and_subject_masks_are_aligned(index: ShardIndex) -> None:
    draws = ControlSamplingConfig(("mask",), dilation=0, channel_drop=0)
    batch = assemble(BatchBuilder(index, FORMAT, replace(CONFIG, draws=draws)), PAIRS).batch
    assert torch.equal(batch.controls[:, 0], batch.subjects * 10)
    assert batch.granularities == [("mask", "mask")] * 4


# What is drawn


def test_sampling_depends_on_seed_stage_epoch_and_key_only(index: ShardIndex) -> None:
    builder = BatchBuilder(index, FORMAT, CONFIG)
    one = assemble(builder, PAIRS)
    assert same(one, assemble(builder, PAIRS))
    for other in (
        assemble(builder, PAIRS, epoch=1),
        assemble(builder, PAIRS, stage=1),
        assemble(BatchBuilder(index, FORMAT, replace(CONFIG, seed=6)), PAIRS),
    ):
        assert not same(one, other)
    # And from nothing else: not from the company.
    turned = assemble(builder, PAIRS[::-1]).batch
    assert torch.equal(turned.controls.flip(0), one.batch.controls)
    assert turned.prompts[::-1] == one.batch.prompts


def test_sampled_views_are_never_the_crop(index: ShardIndex) -> None:
    """Crops are blue, other views red."""
    for epoch in range(8):
        sheets = assemble(BatchBuilder(index, FORMAT, CONFIG), PAIRS, epoch).batch.sheets
        assert sheets[:, 2].max() < 80
        for i in range(2):
            red = sheets[:, 0, 8 * i : 8 * (i + 1)].float().mean()
            assert float(red) == pytest.approx(250 - 20 * i, abs=6)


def test_a_set_whose_only_views_are_crops_is_refused(shards: Path) -> None:
    for number in range(3, 9):  # all training scenes of two subjects
        only_crops(shards, f"{number:06d}")
    builder = BatchBuilder(open_shard_index(str(shards)), FORMAT, CONFIG)
    with pytest.raises(
        UserError, match=r"no sound scene of 2 .*: its only identity view is the crop"
    ):
        assemble(builder, PAIRS)


def test_both_forms_of_the_prompt_are_as_likely(index: ShardIndex) -> None:
    prompts = Counter(
        prompt
        for epoch in range(100)
        for prompt in assemble(BatchBuilder(index, FORMAT, CONFIG), PAIRS, epoch).batch.prompts
    )
    assert set(prompts) == {
        "Place these subjects in a hall.",
        "Place these subjects to compose: 2 boxes in a row, in a hall.",
    }
    assert prompts["Place these subjects in a hall."] == pytest.approx(200, abs=4 * 10)


def test_granularities_are_drawn_as_configured(index: ShardIndex) -> None:
    """And depth is there where one of them wants it."""
    draws = ControlSamplingConfig(mixed_share=0.4, channel_drop=0)
    builder = BatchBuilder(index, FORMAT, replace(CONFIG, draws=draws))
    batches = [assemble(builder, PAIRS, epoch).batch for epoch in range(250)]
    drawn = [one for batch in batches for one in batch.granularities]
    deviation = 1000**0.5 / 2
    # Two subjects that draw for themselves agree in 1 of 4 samples.
    assert sum(a != b for a, b in drawn) == pytest.approx(300, abs=4 * deviation)
    for one, share in Counter(first for first, _ in drawn).items():
        assert share == pytest.approx(250, abs=4 * deviation), one
    for batch in batches:
        for control, kinds in zip(batch.controls, batch.granularities, strict=True):
            assert bool(control[2].any()) == bool({"mask_depth", "box3d"} & set(kinds))


# Other samples of samples


def test_controls_are_sampled_after_augmentation(index: ShardIndex) -> None:
    def mirror(samples: Sequence[Sample], rng: np.random.Generator) -> Sample:
        one = samples[0]
        assert one.depth.any()  # whatever will be drawn
        assert one.image.shape == (24, 24, 3)
        return replace(one, image=one.image[:, ::-1], instances=one.instances[:, ::-1])

    draws = ControlSamplingConfig(("mask",), dilation=0, channel_drop=0)
    plain = BatchBuilder(index, FORMAT, replace(CONFIG, draws=draws))
    one = assemble(plain, PAIRS).batch
    other = assemble(replace(plain, augment=mirror), PAIRS).batch
    assert torch.equal(other.images, one.images.flip(3))
    assert torch.equal(other.subjects, one.subjects.flip(2))
    assert torch.equal(other.controls, one.controls.flip(3))


def test_augmentation_may_use_the_rest_of_the_batch(index: ShardIndex) -> None:
    seen = []

    def note(samples: Sequence[Sample], rng: np.random.Generator) -> Sample:
        seen.append([sample.record.key for sample in samples])
        return samples[0]

    assemble(BatchBuilder(index, FORMAT, CONFIG, augment=note), PAIRS[:3])
    a, b, c, _ = PAIRS
    assert seen == [[a, b, c], [b, a, c], [c, a, b]]


def test_augmentation_must_keep_the_number_of_subjects(index: ShardIndex) -> None:
    def lose(samples: Sequence[Sample], rng: np.random.Generator) -> Sample:
        record = samples[0].record
        return replace(
            samples[0], record=replace(record, n_subjects=1, subjects=record.subjects[:1])
        )

    with pytest.raises(ValueError, match="000003: augmented, it has 1 subjects"):
        assemble(BatchBuilder(index, FORMAT, CONFIG, augment=lose), PAIRS)


# Damage


def record_of(shards: Path, key: str, **changes: object) -> bytes:
    """Its JSON with some fields changed, however absurd."""
    fields = msgspec.json.decode(open_shard_index(str(shards)).verified_members(key)["json"])
    return msgspec.json.encode(fields | changes)


def test_a_damaged_sample_is_replaced_by_the_next_sound_one(shards: Path) -> None:
    builder = BatchBuilder(open_shard_index(str(shards)), FORMAT, CONFIG)
    whole = assemble(builder, PAIRS)
    cut(shards, "000004")
    made = assemble(builder, PAIRS)
    assert made.batch.keys == ["000003", "000005", "000005", "000006"]
    assert [str(error) for error in made.damaged] == [
        "000004: train-n02-00000.tar is truncated: it ends before this sample does"
    ]
    assert torch.equal(made.batch.controls[2:], whole.batch.controls[2:])
    assert same(made, assemble(builder, PAIRS))


def test_the_replacement_of_the_last_sample_is_the_first(shards: Path) -> None:
    cut(shards, "000015")
    made = assemble(BatchBuilder(open_shard_index(str(shards)), FORMAT, CONFIG), ["000015"])
    assert made.batch.keys == ["000013"]


@pytest.mark.parametrize(
    ("member", "changes", "words"),
    [
        ("json", {"n_subjects": 11}, "n_subjects: 11, expected 1 to 10"),
        ("identities.webp", None, "cannot be decoded"),
        ("depth.png", None, "cannot be decoded"),
    ],
)
def test_damage_that_the_index_vouches_for(
    shards: Path, member: str, changes: dict[str, object] | None, words: str
) -> None:
    forge(shards, "000003", member, record_of(shards, "000003", **changes) if changes else b"")
    config = replace(CONFIG, draws=ControlSamplingConfig(("mask_depth",)))
    builder = BatchBuilder(open_shard_index(str(shards)), FORMAT, config)
    made = assemble(builder, ["000003"])
    assert made.batch.keys == ["000004"]
    assert [(e.key, e.member) for e in made.damaged] == [("000003", member)]
    assert words in made.damaged[0].reason


def test_a_record_of_another_number_of_subjects_than_planned(shards: Path) -> None:
    index = open_shard_index(str(shards))
    for name, data in index.verified_members("000009").items():
        forge(shards, "000003", name, data.replace(b'"000009"', b'"000003"'))
    made = assemble(BatchBuilder(open_shard_index(str(shards)), FORMAT, CONFIG), ["000003"])
    assert made.batch.keys == ["000004"]
    assert "n_subjects is 3, the set's tables say 2" in made.damaged[0].reason


def test_a_record_without_a_valid_control_is_damaged(shards: Path) -> None:
    camera = {
        "intrinsics": [[0.0, 0.0, 48.0], [0.0, 80.0, 32.0], [0.0, 0.0, 1.0]],
        "camera_to_world": np.eye(4).tolist(),
        "estimated": False,
    }
    forge(shards, "000003", "json", record_of(shards, "000003", camera=camera))
    builder = BatchBuilder(
        open_shard_index(str(shards)),
        FORMAT,
        replace(CONFIG, draws=ControlSamplingConfig(("box3d",))),
    )
    made = assemble(builder, ["000003", "000006"])
    assert made.batch.keys == ["000004", "000006"]
    assert "camera.intrinsics[0][0]: 0.0, expected 1 to 1000000" in made.damaged[0].reason


def test_too_many_damaged_samples_end_the_run(shards: Path) -> None:
    for key in ("000000", "000001", "000002"):
        forge(shards, key, "image.jpg", b"")
    builder = BatchBuilder(open_shard_index(str(shards)), FORMAT, CONFIG)
    with pytest.raises(UserError, match=r"no sound scene of 1 subjects at 000001.*sigma verify"):
        assemble(builder, ["000001"])


def test_a_missing_shard_is_not_a_damaged_sample(shards: Path) -> None:
    (shards / "train-n02-00000.tar").unlink()
    with pytest.raises(UserError, match=r"train-n02-00000\.tar: missing"):
        assemble(BatchBuilder(open_shard_index(str(shards)), FORMAT, CONFIG), PAIRS)


# Given samples


def test_load_batches_groups_samples_by_subject_count(index: ShardIndex) -> None:
    keys = ["000014", "000003", "000000", "000005", "000004", "000006", "000007", "000015"]
    batches = load_batches(BatchBuilder(index, FORMAT, CONFIG), keys)
    assert [(batch.n_subjects, batch.keys) for batch in batches] == [
        (1, ["000000"]),
        (2, ["000003", "000005", "000004", "000006"]),
        (2, ["000007"]),
        (6, ["000014", "000015"]),
    ]
    again = load_batches(BatchBuilder(index, FORMAT, CONFIG), ["000015"])
    assert torch.equal(again[0].controls, batches[-1].controls[1:])


def test_load_batches_refuses_missing_and_damaged_samples(shards: Path) -> None:
    builder = BatchBuilder(open_shard_index(str(shards)), FORMAT, CONFIG)
    with pytest.raises(KeyError):
        load_batches(builder, ["000099"])
    with pytest.raises(UserError, match="6 subjects, the one_hot routing has room for 4"):
        load_batches(
            replace(builder, format=replace(FORMAT, encoding=RoutingEncoding("one_hot", slots=4))),
            ["000014"],
        )
    cut(shards, "000004")
    with pytest.raises(UserError, match=r"000004: .* is truncated"):
        load_batches(builder, ["000003", "000004"])


def test_held_out_scenes_are_spread_over_subject_counts(index: ShardIndex) -> None:
    assert held_out_keys(index, 2) == ("000016", "000017")
    assert held_out_keys(index, 10) == ("000016", "000017", "000018")
    assert set(held_out_keys(index, 10, most=1)) < {"000016", "000017", "000018"}
    train = held_out_keys(index, 9, "train")
    assert Counter(index.counts[key] for key in train) == {1: 3, 2: 2, 3: 2, 6: 2}
    with pytest.raises(UserError, match="the model has room for 0 subjects"):
        held_out_keys(index, 2, most=0)
    with pytest.raises(UserError, match="no scenes of split test"):
        held_out_keys(index, 2, "test")
