"""Whatever a set holds: it is sound, and then training works on it, or the fault is named."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from datagen.errors import UserError
from datagen.shards import codec
from datagen.shards.codec import BadSample
from datagen.shards.consistency import check_sample
from datagen.shards.index import INDEX
from datagen.shards.metadata import METADATA
from datagen.shards.scan import find
from datagen.shards.verify import verify
from model.controls.control_image import InputSpec
from model.controls.control_sampling import ControlSamplingConfig
from model.data.augmentation.augment import AugmentConfig, augment
from model.data.batch import BatchBuilder, DataConfig
from model.data.curriculum import PlannedBatch
from model.data.shard_index import ShardIndex, open_shard_index
from tests.model.sets import forge, only_crops, vouch

KEYS = ("000003", "000004")  # training scenes of two subjects
EVERYTHING = AugmentConfig(recompose=1.0, recolor=1.0, flip=1.0)

ODD: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, True, [], {}, "", " ", "\ud800", "\x00", "x" * 20_000, [[1]] * 3]),
    st.sampled_from(
        [0, -1, 1, 2, 3, 11, 63, 64, 65, 8192, 2**24, 2**31 - 1, 2**63, 2**70, -(2**70)]
    ),
    st.sampled_from([0.0, -0.0, 1e-7, 1e-6, 0.5, 1.0, 1.0001, 999.0, 1e6, 1e39, 1e300, -1e300]),
    st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    st.integers(-200, 200),
    st.floats(-1e7, 1e7),
    st.integers(1, 2000).map(lambda depth: json.loads("[" * depth + "]" * depth)),
)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield (*path, key)
        yield from leaves(item, (*path, key))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    document = copy.deepcopy(document)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


def fault_of(members: dict[str, bytes], size: int | None) -> str:
    try:
        sample = codec.decode(members, KEYS[0], size=size)
    except BadSample as error:
        return error.what
    if size is None:
        check_sample(sample)
    return ""


def builder_of(index: ShardIndex, **config: Any) -> BatchBuilder:
    draws = ControlSamplingConfig(mixed_share=1.0)
    return BatchBuilder(
        index,
        InputSpec(size=48, identity_size=16),
        DataConfig(batch_size=2, workers=0, draws=draws, **config),
        augment=partial(augment, config=EVERYTHING),
    )


def test_any_leaf_of_a_record(made: Path) -> None:
    index = open_shard_index(str(made))
    builder = builder_of(index)
    members = {key: index.verified_members(key) for key in KEYS}
    document = json.loads(members[KEYS[0]]["json"])
    paths = list(leaves(document))

    @settings(max_examples=60, phases=[Phase.generate])
    @given(path=st.sampled_from(paths), value=ODD, epoch=st.integers(0, 1000))
    def check(path: tuple[Any, ...], value: Any, epoch: int) -> None:
        wrong = members[KEYS[0]] | {"json": json.dumps(changed(document, path, value)).encode()}
        named = fault_of(wrong, 48)
        planned = PlannedBatch(0, 2, tuple((key, epoch) for key in KEYS))
        built = builder.batch(planned, [lambda: wrong, lambda: members[KEYS[1]]])
        assert [error.key for error in built.damaged] == ([KEYS[0]] if named else [])
        assert len(built.batch.keys) == 2
        at_full_size = fault_of(wrong, None)
        # What training does not read, amodal masks, is decoded at full size only.
        assert at_full_size == named or ("amodal_rle" in at_full_size and not named)

    check()


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("depth", "meters_per_unit"), 0.0, "meters_per_unit"),
        (("depth", "meters_per_unit"), -0.001, "meters_per_unit"),
        (("camera", "intrinsics", 0, 0), 0.0, "camera.intrinsics"),
        (("camera", "intrinsics", 1, 1), 1e300, "camera.intrinsics"),
        (("subjects", 0, "index"), 2, "subject indices are [2, 2], expected 1 to 2"),
        (("subjects", 0, "box2d"), [40, 10, 20, 30], "box2d is [40, 10, 20, 30]"),
        (("subjects", 1, "box2d"), [0, 0, 97, 30], "within 96 x 64 pixels"),
        (("subjects", 1, "box3d", "rotation", 0, 0), 0.5, "subject 2: box3d.rotation"),
        (("subjects", 1, "box3d", "size", 1), 0.0, "box3d.size"),
        (("subjects", 0, "amodal_rle", "size"), [32768, 32768], "amodal_rle.size"),
    ],
)
def test_a_scene_that_lies_is_skipped_and_verify_finds_it(
    shards: Path, path: tuple[Any, ...], value: Any, named: str
) -> None:
    """Index and manifest vouch for it. Without them, the rest can be looked at all the same."""
    document = json.loads(open_shard_index(str(shards)).members(KEYS[0])["json"])
    forge(shards, KEYS[0], "json", json.dumps(changed(document, path, value)).encode())
    index = open_shard_index(str(shards))
    planned = PlannedBatch(0, 2, tuple((key, 0) for key in KEYS))
    reads = [partial(index.verified_members, key) for key in KEYS]
    built = builder_of(index).batch(planned, reads)
    assert [(error.key, named in str(error)) for error in built.damaged] == [(KEYS[0], True)]
    assert KEYS[0] not in built.batch.keys or built.batch.keys[0] == KEYS[0]
    found = verify(str(shards))
    assert [p.key for p in found if named in p.reason] == [KEYS[0]], found
    (shards / INDEX).unlink()
    scanned = find(str(shards))
    assert len(scanned.shards) == len(index)
    assert scanned.problems == ()


def test_a_scene_without_a_reference_is_skipped(shards: Path) -> None:
    only_crops(shards, KEYS[0])
    index = open_shard_index(str(shards))
    planned = PlannedBatch(0, 2, tuple((key, 0) for key in KEYS))
    built = builder_of(index).batch(planned, [partial(index.verified_members, k) for k in KEYS])
    assert [error.key for error in built.damaged] == [KEYS[0]]
    assert "its only identity view is the crop" in str(built.damaged[0])


def trained_on(folder: Path) -> tuple[str, tuple[BadSample, ...]]:
    """Why training refuses a set, "" if it does not, and the samples that a batch skips."""
    try:
        index = open_shard_index(str(folder))
        planned = PlannedBatch(0, 2, tuple((key, 0) for key in KEYS))
        reads = [partial(index.verified_members, key) for key in KEYS]
        return "", builder_of(index).batch(planned, reads).damaged
    except UserError as error:
        return str(error), ()


TEXTS = ["", "x", "000003", "../000003", "train", None]
NUMBERS = [0, -1, 1, 2, 10, 11, 512, 2**31 - 1, 2**62, -(2**62), None]


@pytest.mark.parametrize("name", [INDEX, METADATA])
@pytest.mark.slow
def test_any_column_of_a_table(made: Path, tmp_path: Path, name: str) -> None:
    """Every fault of a table is a UserError of one line, and verify finds it."""
    table = pq.read_table(made / name)
    folder = Path(shutil.copytree(made, tmp_path / "set"))

    @settings(max_examples=25, phases=[Phase.generate])
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        column = data.draw(st.sampled_from(table.column_names))
        how = data.draw(st.sampled_from(["cell", "cells", "drop", "retype", "twice", "reverse"]))
        values, field = table[column].to_pylist(), table.schema.field(column)
        number = table.column_names.index(column)
        place = data.draw(st.integers(0, len(values) - 1))
        fits = NUMBERS if pa.types.is_integer(field.type) else TEXTS
        odd = data.draw(st.sampled_from([[]] if pa.types.is_list(field.type) else fits))
        if how in ("cell", "cells"):
            values = [odd if how == "cells" or i == place else v for i, v in enumerate(values)]
            try:
                array = pa.array(values, field.type)
            except pa.ArrowInvalid:
                array = pa.array(values)  # a number that its type does not hold
            other = table.set_column(number, pa.field(column, array.type), array)
        elif how == "drop":
            other = table.drop_columns([column])
        elif how == "retype":
            array = pa.array(
                [str(v) for v in values] if fits is NUMBERS else list(range(len(values)))
            )
            other = table.set_column(number, column, array)
        elif how == "twice":
            other = pa.concat_tables([table, table])
        else:
            other = table.take(list(range(len(table)))[::-1])
        pq.write_table(other, folder / name)
        vouch(folder)
        problems = verify(str(folder))
        refusal, damaged = trained_on(folder)
        assert "\n" not in refusal
        assert problems or not (refusal or damaged)
        assert bool(problems) == (other.to_pylist() != table.to_pylist())

    check()
