import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from datagen.errors import UserError
from datagen.scene import Sample
from datagen.shards import codec, tar
from datagen.shards.manifest import Manifest
from datagen.shards.verify import Problem, verify

MakeSample = Callable[..., Sample]
PackSamples = Callable[..., Manifest]
EditSubject = Callable[..., Sample]

SHARD = "train-n01-00000.tar"  # holds 000000 and 000002


def about(problems: tuple[Problem, ...], shard: str, key: str, *words: str) -> bool:
    return any(p.shard == shard and p.key == key and all(w in p.reason for w in words)
               for p in problems)  # fmt: skip


def keys_of(problems: tuple[Problem, ...]) -> set[str]:
    return {problem.key for problem in problems} - {""}


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in pq.read_table(folder / "index.parquet").to_pylist()}


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def test_a_sound_set_has_no_problems(packed: Path) -> None:
    assert verify(str(packed)) == ()


def test_a_folder_without_a_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder of shards"):
        verify(str(tmp_path))


# Damage to files.


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_shard_that_is_not_a_file(make: Callable[[Path], None], packed: Path) -> None:
    (packed / SHARD).unlink()
    make(packed / SHARD)
    assert about(verify(str(packed)), SHARD, "", "cannot be read")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
@pytest.mark.slow
def test_any_flipped_byte_is_found_and_its_sample_named(packed: Path, data: st.DataObject) -> None:
    row = rows_of(packed)["000000"]
    shard = packed / SHARD
    whole = shard.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[place] ^= data.draw(st.integers(1, 255))
    shard.write_bytes(flipped)
    try:
        problems = verify(str(packed))
    finally:
        shard.write_bytes(whole)
    assert about(problems, SHARD, "", "sha256")
    struck = "000000" if place < row["length"] else "000002"
    if place < len(whole) - len(tar.END):
        assert keys_of(problems) == {struck}
    assert {problem.shard for problem in problems} == {SHARD}


def test_damage_in_any_tar_header_is_found(packed: Path) -> None:
    """A damaged header hides its member; what follows is read all the same."""
    row = rows_of(packed)["000000"]
    whole = (packed / SHARD).read_bytes()
    for name in ("json", "image", "depth", "instances", "identities"):
        damaged = bytearray(whole)
        damaged[row[f"{name}_offset"] - 512 + 130] ^= 4
        (packed / SHARD).write_bytes(damaged)
        problems = verify(str(packed))
        assert about(problems, SHARD, "000000", "damaged header")
        assert keys_of(problems) == {"000000"}


@pytest.mark.parametrize("into", [0, 100, 600, 2000])
def test_a_truncated_tar_names_the_lost_samples(packed: Path, into: int) -> None:
    """At a sample's boundary, within its first header, within its data."""
    start = rows_of(packed)["000002"]["offset"]
    rewrite(packed / SHARD, lambda data: data[: start + into])
    problems = verify(str(packed))
    assert about(problems, SHARD, "000002", "truncated")
    assert about(problems, SHARD, "", "sha256", "bytes of")
    assert keys_of(problems) == {"000002"}


def test_a_tar_without_its_end_of_archive_mark(packed: Path) -> None:
    rewrite(packed / SHARD, lambda data: data[: -len(tar.END)])
    problems = verify(str(packed))
    assert about(problems, SHARD, "", "without its end-of-archive mark")
    assert keys_of(problems) == set()


def test_a_tar_truncated_between_samples_and_closed(packed: Path) -> None:
    start = rows_of(packed)["000002"]["offset"]
    rewrite(packed / SHARD, lambda data: data[:start] + tar.END)
    problems = verify(str(packed))
    assert about(problems, SHARD, "000002", "missing, though the index lists it")
    assert about(problems, SHARD, "", "holds 1 samples, expected 2")


def test_swapped_shards(packed: Path) -> None:
    one, two = packed / SHARD, packed / "train-n03-00000.tar"
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert set(verify(str(packed))) == {
        Problem(SHARD, "", "has the content of train-n03-00000.tar"),
        Problem("train-n03-00000.tar", "", f"has the content of {SHARD}"),
    }


def test_missing_and_extra_shards(packed: Path) -> None:
    (packed / SHARD).rename(packed / "train-n01-00007.tar")
    problems = verify(str(packed))
    assert about(problems, SHARD, "", "missing, with 2 samples")
    assert about(problems, "train-n01-00007.tar", "", "not in the manifest")


def test_bytes_after_the_end(packed: Path) -> None:
    rewrite(packed / SHARD, lambda data: data + b"x")
    assert about(verify(str(packed)), SHARD, "", "bytes after the end-of-archive mark")


def test_a_key_twice_in_a_shard(packed: Path) -> None:
    length = rows_of(packed)["000000"]["length"]
    rewrite(packed / SHARD, lambda data: data[: -len(tar.END)] + data[:length] + tar.END)
    assert about(verify(str(packed)), SHARD, "000000", "already")


def test_a_key_twice_in_the_set(packed: Path) -> None:
    other = "train-n01-00001.tar"
    length = rows_of(packed)["000000"]["length"]
    extra = (packed / SHARD).read_bytes()[:length]
    rewrite(packed / other, lambda data: extra + data)
    problems = verify(str(packed))
    assert about(problems, other, "000000", f"is already in {SHARD}")
    assert about(problems, other, "000005", "is not where the index says")


def test_a_sample_that_the_index_does_not_list(packed: Path, make_sample: MakeSample) -> None:
    extra = codec.encode(make_sample("000099", 1, seed=5))
    rewrite(packed / SHARD, lambda data: data[: -len(tar.END)] + extra + tar.END)
    assert about(verify(str(packed)), SHARD, "000099", "not in the index")


@pytest.mark.parametrize("name", codec.MEMBERS)
def test_a_missing_member(packed: Path, name: str) -> None:
    """With the index and without: what is in the tar is looked at for itself."""
    row = rows_of(packed)["000002"]
    data = (packed / SHARD).read_bytes()
    found = codec.members(data[row["offset"] : row["offset"] + row["length"]])
    rest = b"".join(tar.member("000002", n, d) for n, d in found.items() if n != name)
    (packed / SHARD).write_bytes(data[: row["offset"]] + rest + tar.END)
    assert about(verify(str(packed)), SHARD, "000002", f"{name}: missing")
    (packed / "index.parquet").unlink()
    problems = verify(str(packed))
    assert about(problems, SHARD, "000002", f"{name}: missing")
    assert about(problems, "", "", "index.parquet: missing")
    assert keys_of(problems) == {"000002"}


@pytest.mark.parametrize("names", [codec.MEMBERS[::-1], (*codec.MEMBERS, "json")])
def test_members_out_of_order_or_twice(packed: Path, names: tuple[str, ...]) -> None:
    row = rows_of(packed)["000002"]
    data = (packed / SHARD).read_bytes()
    found = codec.members(data[row["offset"] : row["offset"] + row["length"]])
    parts = b"".join(tar.member("000002", name, found[name]) for name in names)
    (packed / SHARD).write_bytes(data[: row["offset"]] + parts + tar.END)
    assert about(verify(str(packed)), SHARD, "000002", "has members", "not [")


@pytest.mark.parametrize("name", ["index.parquet", "metadata.parquet"])
def test_tables_that_do_not_match_the_manifest(packed: Path, name: str) -> None:
    rewrite(packed / name, lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:])
    problems = verify(str(packed))
    assert len(problems) == 1
    assert f"{name}: not the table of this manifest" in problems[0].reason


def test_a_manifest_with_wrong_counts(packed: Path) -> None:
    manifest = json.loads((packed / "manifest.json").read_text())
    manifest["samples"] += 1
    manifest["shards"][0]["subjects"] = {"2": 2}
    (packed / "manifest.json").write_text(json.dumps(manifest))
    problems = verify(str(packed))
    assert about(problems, "", "", "the shards add up to 9 samples")
    assert about(problems, "", "", "do not add up to planned")
    assert about(problems, SHARD, "", "number of scenes by subject count is wrong")


def test_all_problems_are_reported(packed: Path) -> None:
    rewrite(packed / SHARD, lambda data: data[:700] + b"?" + data[701:])
    rewrite(packed / "train-n02-00000.tar", lambda data: data[:-3000])
    (packed / "val-n07-10-00000.tar").unlink()
    problems = verify(str(packed))
    assert keys_of(problems) >= {"000000", "000008"}
    assert {p.shard for p in problems} == {SHARD, "train-n02-00000.tar", "val-n07-10-00000.tar"}


# Sets that are whole, and wrong.


def test_undamaged_scenes_with_wrong_records(
    make_sample: MakeSample, edit_subject: EditSubject, pack_samples: PackSamples, tmp_path: Path
) -> None:
    wrong = edit_subject(make_sample("a", n=2), 2, area=0.5, box2d=(0, 0, 9, 9))
    pack_samples([wrong, make_sample("b", n=2)], tmp_path)
    problems = verify(str(tmp_path / "shards"))
    assert {(p.shard, p.key) for p in problems} == {("train-n02-00000.tar", "a")}
    assert len(problems) == 2
    assert all(p.reason.startswith("subject 2: ") for p in problems)


def test_an_asset_and_an_identity_in_two_splits(
    make_sample: MakeSample, edit_subject: EditSubject, pack_samples: PackSamples, tmp_path: Path
) -> None:
    sample, other = make_sample("a", n=1), make_sample("b", n=1, split="val")
    subject = sample.record.subjects[0]
    leak = edit_subject(other, 1, asset=subject.asset, identity=subject.identity)
    pack_samples([leak, sample], tmp_path)
    assert [str(problem) for problem in verify(str(tmp_path / "shards"))] == [
        "val-n01-00000.tar: b: identity train-a-1 is also in split train",
        "val-n01-00000.tar: b: asset train-a/1 is also in split train",
    ]


def test_pixels_of_another_size(packed: Path) -> None:
    """The encoder cannot write it; another tool could."""
    row = rows_of(packed)["000000"]
    data = (packed / SHARD).read_bytes()
    found = codec.members(data[: row["length"]])
    buffer = io.BytesIO()
    Image.new("L", (90, 60)).save(buffer, "PNG")
    parts = found | {"instances.png": buffer.getvalue()}
    fragment = b"".join(tar.member("000000", n, d) for n, d in parts.items())
    (packed / SHARD).write_bytes(fragment + data[row["length"] :])
    problems = verify(str(packed))
    assert about(problems, SHARD, "000000", "instances.png: is (90, 60), the record says (96, 64)")
    assert keys_of(problems) <= {"000000", "000002"}


def test_a_shard_of_the_wrong_bucket(packed: Path) -> None:
    text = (packed / "manifest.json").read_text()
    manifest = json.loads(text)
    entry = next(e for e in manifest["shards"] if e["file"] == SHARD)
    entry["bucket"], entry["split"] = "02", "val"
    (packed / "manifest.json").write_text(json.dumps(manifest))
    assert about(verify(str(packed)), SHARD, "000002", "is train with 1 subjects")


def test_a_copied_set_verifies(packed: Path, tmp_path: Path) -> None:
    assert verify(str(shutil.copytree(packed, tmp_path / "moved"))) == ()
