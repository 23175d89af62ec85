"""The viewer on datasets that are half-copied, damaged, remote, compared, or missing."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack

import pytest
import s3fs

from datagen.shards.reader import open_shards
from model.data.shard_index import open_shard_index
from pipelines.cli.main import main
from tests.boxes import s3_folder
from tests.pipelines.view.conftest import serve


def test_truncated_or_missing_shard_breaks_only_its_scenes(make_shards):
    path = make_shards()
    shards = {file.name: file for file in path.glob("train-*.tar")}
    cut = shards["train-n02-00000.tar"]
    with serve(path) as running:
        keys = running.shards.keys()
        numbers = {running.shards.shard_of(key): number for number, key in enumerate(keys)}
        last = numbers[cut.name]
        whole = cut.read_bytes()
        cut.write_bytes(whole[: len(whole) // 2])
        scene = running.json(f"/api/scenes/{last}")
        assert "is truncated" in scene["broken"]
        assert not scene["broken"].startswith(scene["key"])
        assert running.request(f"/api/scenes/{last}/image.jpg")[0] == 422
        cut.unlink()
        assert "missing" in running.json(f"/api/scenes/{last}")["broken"]
        status, data, _ = running.request(f"/api/scenes/{last}/depth.raw")
        assert status == 410
        assert "missing" in json.loads(data)["error"]
        other = next(number for shard, number in numbers.items() if shard != cut.name)
        assert running.request(f"/api/scenes/{other}/image.jpg")[0] == 200


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
def test_invalid_arguments_are_one_line_errors(served, words, named, capsys):
    path = served.path
    meant = {"SET": path, "PARENT": path.parent, "FILE": path / "README.md"}
    assert main([str(meant.get(word, word)) for word in words]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert len(error.splitlines()) == 1


def test_folder_whose_name_looks_like_a_chain_of_urls(make_shards, tmp_path, monkeypatch, capsys):
    path = tmp_path / "s3::bucket [1]" / "shards"
    shutil.copytree(make_shards(), path)
    with serve(path) as running:
        assert running.request("/api/scenes/0/image.jpg")[0] == 200
        assert running.json("/api/set")["flags"] == str(path.parent / "shards-flags.txt")
    key = open_shards(str(path)).keys()[0]
    picture = str(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    for place in (str(path), "s3::bucket [1]/shards"):
        assert main(["verify", place]) == 0
        assert main(["inspect", place, key, "--out", picture]) == 0
        assert open_shard_index(place).keys() == open_shards(place).keys()
    assert not capsys.readouterr().err


def test_dataset_without_manifest_and_index_is_read_from_its_tars(make_shards):
    path = make_shards()
    with serve(path) as running:
        whole = running.json("/api/scenes")
    for table in ("manifest.json", "index.parquet", "metadata.parquet"):
        (path / table).unlink()
    with serve(path) as running:
        assert len(running.json("/api/scenes")["ids"]) == len(whole["ids"])
        assert running.json("/api/scenes")["facets"]["subjects"] == whole["facets"]["subjects"]
        assert running.json("/api/set")["problems"] == []
        for number in range(len(whole["ids"])):
            assert "broken" not in running.json(f"/api/scenes/{number}")
            assert running.request(f"/api/scenes/{number}/thumbnail.jpg")[0] == 200


def test_single_tar_is_a_dataset_and_truncation_is_located(make_shards, capsys):
    shard = next(make_shards().glob("train-n02-*.tar"))
    with serve(shard) as running:
        keys = [one["key"] for one in running.json("/api/summaries?id=0&id=1")]
        assert running.json("/api/set")["scenes"] == len(keys) == 2
    data = shard.read_bytes()
    second = data.index(f"{keys[1]}.depth.png".encode())
    shard.write_bytes(data[: second + 600])
    with serve(shard) as running:
        assert running.json("/api/set")["scenes"] == 2
        (fault,) = running.json("/api/set")["problems"]
        assert f"byte {second}: {keys[1]}.depth.png is truncated" in fault
        assert "broken" not in running.json("/api/scenes/0")
        assert "depth.png" in running.json("/api/scenes/1")["broken"]
    shard.write_bytes(b"no tar" * 1000)
    assert main(["view", str(shard)]) == 2
    assert "damaged header" in capsys.readouterr().err


def test_one_wrong_byte_marks_the_scene_as_broken(make_shards):
    """The image may decode and look right, but its bytes are not those that were packed."""
    path = make_shards()
    with serve(path) as running:
        key = running.shards.keys()[0]
        shard = path / running.shards.shard_of(key)
        data = bytearray(shard.read_bytes())
        start = data.index(f"{key}.identities.webp".encode()) + 512
        data[start + 300] ^= 1
        shard.write_bytes(data)
        status, data, _ = running.request("/api/scenes/0/thumbnail.jpg")
        assert status == 422
        assert "are not those of the index" in json.loads(data)["error"]
        assert running.json("/api/scenes/0")["broken"]
        assert running.request("/api/scenes/0/image.jpg")[0] == 200  # the image itself is intact


def test_undecodable_image_is_a_plain_error_message(make_shards):
    path = make_shards()
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


def test_missing_shard_of_a_half_copied_dataset_is_reported(make_shards):
    path = make_shards()
    gone = sorted(path.glob("*.tar"))[0]
    gone.unlink()
    (path / "index.parquet").unlink()
    with serve(path) as running:
        (fault,) = running.json("/api/set")["problems"]
        assert fault.startswith(f"{gone.name}: missing, though the manifest lists it")


def test_comparison_of_two_datasets_by_key(make_shards):
    viewed = make_shards()
    keys = open_shards(str(viewed)).keys()
    other = make_shards(without=keys[1], reworded=keys[2])
    with serve(viewed, "--compare", str(other)) as running:
        counts = running.json("/api/scenes")["facets"]["compared"]
        assert counts == {
            "same by index": len(keys) - 2, "differs": 1, "unknown: no index": 0, "only here": 1
        }  # fmt: skip
        assert running.json("/api/scenes?compared=differs")["ids"] == [2]
        assert running.json("/api/scenes/2")["compared"]
        assert running.json("/api/scenes/2/other")["record"]["prompt"]["full"] == "Another."
        same = [running.request(f"/api/scenes/2/{part}depth.raw")[1] for part in ("", "other/")]
        assert same[0] == same[1]
        assert not running.json("/api/scenes/1")["compared"]
        assert running.request("/api/scenes/1/other")[0] == 404
        assert running.request("/api/scenes/2/other/nothing")[0] == 404
    with serve(other, "--compare", str(viewed)) as running:
        assert running.json("/api/set")["only_there"] == [keys[1]]
    (other / "index.parquet").unlink()
    with serve(viewed, "--compare", str(other)) as running:
        counts = running.json("/api/scenes")["facets"]["compared"]
        assert counts["unknown: no index"] == len(keys) - 1


def test_s3_bucket_that_disappears_is_an_http_error(make_shards, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with ExitStack() as bucket:
        url = bucket.enter_context(s3_folder())
        s3fs.S3FileSystem().put(str(make_shards()), url, recursive=True)
        with serve(url) as running:
            assert running.request("/api/scenes/0/thumbnail.jpg")[0] == 200
            s3fs.S3FileSystem().rm(url, recursive=True)
            status, data, _ = running.request("/api/scenes/1/thumbnail.jpg")
            assert status == 410
            assert "missing" in json.loads(data)["error"]
            bucket.close()
            status, data, _ = running.request("/api/scenes/1/thumbnail.jpg")
            assert status == 500
            assert url in json.loads(data)["error"]
