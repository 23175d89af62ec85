"""Sets as they lie there: half-copied, damaged, in a bucket, beside another, or not at all."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest
import s3fs

from datagen.shards.reader import open_shards
from pipelines.cli.main import main
from tests.boxes import s3_folder
from tests.pipelines.view.conftest import serve


def test_damaged_samples_are_told_of_and_the_others_shown(made):
    path = made()
    shards = {file.name: file for file in path.glob("train-*.tar")}
    cut = shards["train-n02-00000.tar"]
    with serve(path) as running:
        keys = running.shards.keys()
        numbers = {running.shards.shard_of(key): number for number, key in enumerate(keys)}
        last = numbers[cut.name]
        whole = cut.read_bytes()
        cut.write_bytes(whole[: len(whole) // 2])
        told = running.json(f"/api/scenes/{last}")
        assert "is truncated" in told["broken"]
        assert not told["broken"].startswith(told["key"])
        assert running.ask(f"/api/scenes/{last}/image.jpg")[0] == 422
        cut.unlink()
        assert "missing" in running.json(f"/api/scenes/{last}")["broken"]
        status, data, _ = running.ask(f"/api/scenes/{last}/depth.raw")
        assert status == 410
        assert "missing" in json.loads(data)["error"]
        other = next(number for shard, number in numbers.items() if shard != cut.name)
        assert running.ask(f"/api/scenes/{other}/image.jpg")[0] == 200


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["view", "/nowhere"], "/nowhere: there is no such folder"),
        (["view", "PARENT"], "/shards is: give that"),
        (["view", "FILE"], "not a folder of shards"),
        (["inspect", "SET", "0"], "some it has: 000000"),
        (["view", "SET", "--host", "203.0.113.1"], "203.0.113.1"),
        (["view", "SET", "--port", "99999"], "99999"),
        (["view", "SET", "--flags", "/etc/hostname"], "/etc/hostname"),
        (["view", "SET", "--choose", "q=red"], "--export"),
        (["view", "/dev/null.tar"], "no sample in null.tar"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(served, words, named, capsys):
    path = served.path
    meant = {"SET": path, "PARENT": path.parent, "FILE": path / "README.md"}
    assert main([str(meant.get(word, word)) for word in words]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert len(error.splitlines()) == 1


def test_a_set_without_an_index_is_found_in_its_tars(made):
    path = made()
    with serve(path) as running:
        whole = running.json("/api/scenes")
    for table in ("manifest.json", "index.parquet", "metadata.parquet"):
        (path / table).unlink()
    with serve(path) as running:
        assert len(running.json("/api/scenes")["ids"]) == len(whole["ids"])
        assert running.json("/api/scenes")["facets"]["subjects"] == whole["facets"]["subjects"]
        assert running.json("/api/set")["faults"] == []
        for number in range(len(whole["ids"])):
            assert "broken" not in running.json(f"/api/scenes/{number}")
            assert running.ask(f"/api/scenes/{number}/thumbnail.jpg")[0] == 200


def test_one_tar_is_a_set_and_a_cut_one_says_where(made, capsys):
    shard = next(made().glob("train-n02-*.tar"))
    with serve(shard) as running:
        keys = [one["key"] for one in running.json("/api/summaries?id=0&id=1")]
        assert running.json("/api/set")["scenes"] == len(keys) == 2
    data = shard.read_bytes()
    second = data.index(f"{keys[1]}.depth.png".encode())
    shard.write_bytes(data[: second + 600])
    with serve(shard) as running:
        assert running.json("/api/set")["scenes"] == 2
        (fault,) = running.json("/api/set")["faults"]
        assert f"byte {second}: {keys[1]}.depth.png is truncated" in fault
        assert "broken" not in running.json("/api/scenes/0")
        assert "depth.png" in running.json("/api/scenes/1")["broken"]
    shard.write_bytes(b"no tar" * 1000)
    assert main(["view", str(shard)]) == 2
    assert "damaged header" in capsys.readouterr().err


def test_one_wrong_byte_is_seen_in_the_grid(made):
    """Though it may decode, and look right: it is not what was packed."""
    path = made()
    with serve(path) as running:
        key = running.shards.keys()[0]
        shard = path / running.shards.shard_of(key)
        data = bytearray(shard.read_bytes())
        start = data.index(f"{key}.identities.webp".encode()) + 512
        data[start + 300] ^= 1
        shard.write_bytes(data)
        status, answer, _ = running.ask("/api/scenes/0/thumbnail.jpg")
        assert status == 422
        assert "not the bytes of the index" in json.loads(answer)["error"]
        assert running.json("/api/scenes/0")["broken"]
        assert running.ask("/api/scenes/0/image.jpg")[0] == 200  # what is left to see


def test_what_is_no_picture_is_told_without_the_programs_own_words(made):
    path = made()
    for table in ("manifest.json", "index.parquet", "metadata.parquet"):
        (path / table).unlink()
    shard = sorted(path.glob("*.tar"))[0]
    data = bytearray(shard.read_bytes())
    start = data.index(b".depth.png") // 512 * 512 + 512
    data[start : start + 8] = b"scrambled"[:8]
    shard.write_bytes(data)
    with serve(path) as running:
        assert (
            running.json("/api/scenes/0")["broken"] == "depth.png: cannot be decoded: no PNG file"
        )


def test_a_half_copied_set_says_what_is_missing(made):
    path = made()
    gone = sorted(path.glob("*.tar"))[0]
    gone.unlink()
    (path / "index.parquet").unlink()
    with serve(path) as running:
        (fault,) = running.json("/api/set")["faults"]
        assert fault.startswith(f"{gone.name}: missing, though the manifest lists it")


def test_two_sets_are_compared_by_key(made):
    mine = made()
    keys = open_shards(str(mine)).keys()
    other = made(without=keys[1], reworded=keys[2])
    with serve(mine, "--compare", str(other)) as running:
        counts = running.json("/api/scenes")["facets"]["compared"]
        assert counts == {
            "same by index": len(keys) - 2, "differs": 1, "no index to tell": 0, "only here": 1
        }  # fmt: skip
        assert running.json("/api/scenes?compared=differs")["ids"] == [2]
        assert running.json("/api/scenes/2")["compared"]
        assert running.json("/api/scenes/2/other")["record"]["prompt"]["full"] == "Another."
        same = [running.ask(f"/api/scenes/2/{part}depth.raw")[1] for part in ("", "other/")]
        assert same[0] == same[1]
        assert not running.json("/api/scenes/1")["compared"]
        assert running.ask("/api/scenes/1/other")[0] == 404
        assert running.ask("/api/scenes/2/other/nothing")[0] == 404
    with serve(other, "--compare", str(mine)) as running:
        assert running.json("/api/set")["only_there"] == [keys[1]]
    (other / "index.parquet").unlink()
    with serve(mine, "--compare", str(other)) as running:
        counts = running.json("/api/scenes")["facets"]["compared"]
        assert counts["no index to tell"] == len(keys) - 1


def test_a_bucket_that_goes_away_is_told_of(made, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with ExitStack() as bucket:
        url = bucket.enter_context(s3_folder())
        s3fs.S3FileSystem().put(str(made()), url, recursive=True)
        with serve(url) as running:
            assert running.ask("/api/scenes/0/thumbnail.jpg")[0] == 200
            s3fs.S3FileSystem().rm(url, recursive=True)
            status, data, _ = running.ask("/api/scenes/1/thumbnail.jpg")
            assert status == 410
            assert "missing" in json.loads(data)["error"]
            bucket.close()
            status, data, _ = running.ask("/api/scenes/1/thumbnail.jpg")
            assert status == 500
            assert url in json.loads(data)["error"]
