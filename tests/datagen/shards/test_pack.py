import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from datagen.errors import UserError
from datagen.scene import Sample
from datagen.shards import codec
from datagen.shards.codec import BadSample
from datagen.shards.files import Folder
from datagen.shards.manifest import Manifest, bucket_of, read_manifest
from datagen.shards.pack import PackConfig, pack
from datagen.shards.store import Store

MakeSample = Callable[..., Sample]
PackSamples = Callable[..., Manifest]

BESIDE = {"README.md", "croissant.json", "index.parquet", "manifest.json", "metadata.parquet",
          "statistics.png"}  # fmt: skip

# For each n, a child packs ROOT/n and is killed as it is about to do its n-th change to the disk.
PACK_AND_DIE = """
import io, json, os, signal, sys
from matplotlib.figure import Figure
from datagen.shards.pack import PackConfig, pack
from datagen.shards.store import Store

def child(root, keys, n):
    def hook(event, args):
        nonlocal n
        written = event == "open" and str(args[0]).startswith(root) and args[2] & 3
        if written or event in ("os.rename", "os.remove"):
            n -= 1
            if n == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    store, out = Store(root), root + "/shards"
    pack(store, keys, PackConfig(2), out, name="Boxes", config_digest="abc")
    os._exit(0)

figure = Figure()
figure.subplots()
figure.savefig(io.BytesIO())  # loads fonts once for all children
root, keys = sys.argv[1], [tuple(key) for key in json.loads(sys.argv[2])]
for n in map(int, sys.argv[3:]):
    pid = os.fork()
    if pid == 0:
        child(f"{root}/{n}", keys, n)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def plan(samples: list[Sample]) -> list[tuple[str, str, int]]:
    return [(s.record.key, s.record.split, s.record.n_subjects) for s in samples]


def test_shards_are_of_one_split_and_bucket_in_plan_order(packed: Path) -> None:
    tars = {path.name: [n.partition(".")[0] for n in names(path)] for path in packed.glob("*.tar")}
    assert {name: sorted(set(keys)) for name, keys in tars.items()} == {
        "train-n01-00000.tar": ["000000", "000002"],
        "train-n01-00001.tar": ["000005"],
        "train-n02-00000.tar": ["000001", "000008"],
        "train-n03-00000.tar": ["000003"],
        "train-n04-00000.tar": ["000004"],
        "val-n07-10-00000.tar": ["000006"],
        "test-n05-06-00000.tar": ["000007"],
    }
    assert all(keys == sorted(keys) for keys in tars.values())
    assert set(contents(packed)) == set(tars) | BESIDE


def names(path: Path) -> list[str]:
    with tarfile.open(path) as archive:
        return archive.getnames()


@pytest.mark.parametrize(
    ("n", "bucket"), [(1, "01"), (4, "04"), (5, "05-06"), (6, "05-06"), (7, "07-10"), (10, "07-10")]
)
def test_buckets(n: int, bucket: str) -> None:
    assert bucket_of(n) == bucket


def test_manifest_matches_the_files(packed: Path, samples: list[Sample]) -> None:
    manifest = read_manifest(Folder(str(packed)))
    for entry in (*manifest.shards, *manifest.tables):
        data = (packed / entry.file).read_bytes()
        assert (entry.bytes, entry.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert manifest.samples == sum(s.samples for s in manifest.shards) == len(samples)
    assert manifest.splits == {"train": 7, "val": 1, "test": 1}
    assert manifest.planned == len(samples)
    by_file = {shard.file: shard for shard in manifest.shards}
    assert by_file["train-n02-00000.tar"].subjects == {2: 2}
    assert by_file["test-n05-06-00000.tar"].subjects == {6: 1}


def test_index_points_at_every_member(packed: Path, samples: list[Sample]) -> None:
    rows = pq.read_table(packed / "index.parquet").to_pylist()
    assert sorted(row["key"] for row in rows) == [s.record.key for s in samples]
    for row in rows:
        shard = (packed / row["shard"]).read_bytes()
        fragment = shard[row["offset"] : row["offset"] + row["length"]]
        assert hashlib.sha256(fragment).hexdigest() == row["sha256"]
        for extension, data in codec.members(fragment).items():
            name = extension.partition(".")[0]
            start = row[f"{name}_offset"]
            assert shard[start : start + row[f"{name}_size"]] == data


def test_metadata_matches_the_json_members(packed: Path, samples: list[Sample]) -> None:
    rows = {row["key"]: row for row in pq.read_table(packed / "metadata.parquet").to_pylist()}
    for sample in samples:
        record, row = sample.record, rows[sample.record.key]
        assert row["prompt"] == record.prompt.full
        assert row["bucket"] == bucket_of(record.n_subjects)
        assert json.loads(row["environment"]) == record.environment
        for subject, told in zip(record.subjects, row["subjects"], strict=True):
            assert tuple(told["box2d"]) == subject.box2d
            assert told["asset"]["license"] == subject.asset.license
            assert told["visibility"] == pytest.approx(subject.visibility, abs=1e-6)


def test_packing_again_changes_nothing_and_removes_stale_shards(
    samples: list[Sample], pack_samples: PackSamples, tmp_path: Path
) -> None:
    pack_samples(samples, tmp_path)
    before = contents(tmp_path / "shards")
    for name in ("train-n01-00009.tar", ".train-n01-00000.tar.0123.tmp"):
        (tmp_path / "shards" / name).write_bytes(b"stale")
    (tmp_path / "shards" / "train-n01-00000.tar").write_bytes(b"damaged")
    (tmp_path / "shards" / "LICENSE").write_bytes(b"the user's own")
    pack_samples(samples, tmp_path)
    assert contents(tmp_path / "shards") == before | {"LICENSE": b"the user's own"}


def test_the_order_of_commits_does_not_matter(
    samples: list[Sample], pack_samples: PackSamples, packed: Path, tmp_path: Path
) -> None:
    store = Store(str(tmp_path / "other"))
    for sample in random.Random(3).sample(samples, len(samples)):
        store.commit(sample.record.key, codec.encode(sample))
    pack_samples(samples, tmp_path / "other")
    assert contents(tmp_path / "other" / "shards") == contents(packed)


@pytest.mark.slow
def test_packing_that_was_killed_can_be_repeated(
    samples: list[Sample], packed: Path, tmp_path: Path
) -> None:
    """kill -9 as the n-th file is opened for writing, renamed or removed."""
    kills = (1, 2, 9, 18, 22, 27, 28)
    store = Store(str(tmp_path / "1"))
    for sample in samples:
        store.commit(sample.record.key, codec.encode(sample))
    Folder(store.root).write("shards/manifest.json", b"{}")  # of an earlier packing
    for n in kills[1:]:
        shutil.copytree(tmp_path / "1", tmp_path / f"{n}")
    program = [sys.executable, "-c", PACK_AND_DIE, str(tmp_path), json.dumps(plan(samples))]
    told = subprocess.run([*program, *map(str, kills)], check=True, capture_output=True, text=True)
    codes = [int(line) for line in told.stdout.split()]
    assert codes == [-signal.SIGKILL] * (len(kills) - 1) + [0], "the last one must just finish"
    assert contents(tmp_path / f"{kills[-1]}" / "shards") == contents(packed)
    for n in kills[:-1]:
        root, folder = tmp_path / f"{n}", tmp_path / f"{n}" / "shards"
        if n > 1:  # half done, and nobody may take it for finished
            with pytest.raises(UserError, match=r"no manifest\.json"):
                read_manifest(Folder(str(folder)))
        pack(
            Store(str(root)), plan(samples), PackConfig(2), str(folder), name="Boxes",
            config_digest="abc",
        )  # fmt: skip
        assert contents(folder) == contents(packed)


def test_missing_scenes_are_listed_in_manifest_and_card(
    samples: list[Sample], tmp_path: Path
) -> None:
    store = Store(str(tmp_path))
    store.commit("000003", codec.encode(samples[3]))
    manifest = pack(
        store, plan(samples), PackConfig(), str(tmp_path / "shards"), name="Boxes",
        config_digest="abc", failures={"too dark": 3, "crash": 11},
    )  # fmt: skip
    assert (manifest.planned, manifest.samples) == (9, 1)
    assert manifest.missing == tuple(s.record.key for s in samples if s is not samples[3])
    card = (tmp_path / "shards" / "README.md").read_text()
    assert "9 scenes were planned, 8 are not here" in card
    assert card.index("| crash | 11 |") < card.index("| too dark | 3 |")


def test_packing_without_finished_scenes_is_refused(samples: list[Sample], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished scene to pack"):
        pack(Store(str(tmp_path)), plan(samples), PackConfig(), str(tmp_path / "shards"),
             name="Boxes", config_digest="abc")  # fmt: skip


def test_a_scene_unlike_its_plan_is_refused(make_sample: MakeSample, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.commit("a", codec.encode(make_sample("a", n=2)))
    with pytest.raises(BadSample, match="planned was train with 3"):
        pack(store, [("a", "train", 3)], PackConfig(), str(tmp_path / "shards"), name="Boxes",
             config_digest="abc")  # fmt: skip
    assert not (tmp_path / "shards" / "manifest.json").exists()


def test_a_damaged_scene_is_named_with_what_to_do(samples: list[Sample], tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for sample in samples:
        store.commit(sample.record.key, codec.encode(sample))
    damaged = tmp_path / "scenes" / f"{samples[0].record.key}.tar"
    damaged.write_bytes(damaged.read_bytes()[:700])
    with pytest.raises(UserError, match=f"{damaged.name}: damaged .*delete it and run"):
        pack(store, plan(samples), PackConfig(), str(tmp_path / "shards"),
             name="Boxes", config_digest="abc")  # fmt: skip


def test_card_has_the_front_matter_that_hugging_face_reads(packed: Path) -> None:
    _, front, body = (packed / "README.md").read_text().split("---\n", 2)
    matter = yaml.safe_load(front)
    assert matter["configs"][0]["data_files"] == [
        {"split": "train", "path": "train-*.tar"},
        {"split": "val", "path": "val-*.tar"},
        {"split": "test", "path": "test-*.tar"},
    ]
    assert matter["size_categories"] == ["n<1K"]
    # Nine scenes, 30 subjects; every scene of two or more has a hidden edge.
    assert "9 pictures that show 30 subjects: 30 identities" in body
    assert "100% of the pictures with two subjects or more" in " ".join(body.split())
    assert "| train | 3 | 2 | 1 | 1 | 0 | 0 | 7 | 5 |" in body
    assert "| box | 17 |" in body
    assert r"| tests | A. \| Maker | CC-BY-4.0 | 19 | 30 |" in body
    assert (packed / "statistics.png").stat().st_size > 5000
    assert "Guessed sizes" not in body


def test_card_counts_guessed_sizes(
    samples: list[Sample], pack_samples: PackSamples, tmp_path: Path
) -> None:
    """Of the assets in the subjects at index 1, the size is a guess."""
    marked = [
        replace(sample, record=replace(sample.record, subjects=tuple(
            replace(s, asset=replace(s.asset, size_guessed=s.index == 1))
            for s in sample.record.subjects
        )))
        for sample in samples
    ]  # fmt: skip
    pack_samples(marked, tmp_path)
    card = " ".join((tmp_path / "shards" / "README.md").read_text().split())
    guessed = {s.asset.id for m in marked for s in m.record.subjects if s.asset.size_guessed}
    assert f"The files of {len(guessed)} of the 19 assets state no unit" in card


def test_croissant_names_every_file(packed: Path) -> None:
    document = json.loads((packed / "croissant.json").read_text())
    files = {d["@id"]: d for d in document["distribution"] if d["@type"] == "cr:FileObject"}
    assert set(files) == {p.name for p in packed.iterdir() if p.suffix in (".tar", ".parquet")}
    for name, entry in files.items():
        assert entry["sha256"] == hashlib.sha256((packed / name).read_bytes()).hexdigest()
    sets = {d["@id"] for d in document["distribution"] if d["@type"] == "cr:FileSet"}
    assert sets == set(codec.MEMBERS)
    for field in document["recordSet"][0]["field"]:
        assert field["source"]["fileObject"]["@id"] in files
