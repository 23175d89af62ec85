import os
import pickle
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from datagen.errors import UserError
from datagen.shards.files import EXTRAS, Folder, absolute, local_path


@pytest.fixture(params=["local", "odd name", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "odd name":
        return Folder(str(tmp_path / "zip::a [1] *?#%20" / "file::set"))
    if request.param == "s3":
        return Folder(request.getfixturevalue("bucket"))
    return Folder(str(tmp_path / "set"))


def test_files_round_trip(folder: Folder) -> None:
    folder.write("part/a", b"0123456789")
    folder.write("part/b", b"")
    folder.write("top", b"t")
    assert folder.read("part/a") == b"0123456789"
    assert folder.read("part/a", 2, 5) == b"234"
    assert folder.read_many(["part/b", "part/a"]) == [b"", b"0123456789"]
    assert folder.read_many(["top"]) == [b"t"]
    assert folder.names("part") == ["a", "b"]
    assert "top" in folder.names()
    assert folder.exists("part/a")
    with folder.open("part/a") as stream:
        assert stream.read(4) + stream.read() == b"0123456789"
    folder.remove("part/a")
    folder.remove("part/a")
    assert not folder.exists("part/a")
    assert folder.names("part") == ["b"]


def test_a_missing_protocol_package_names_the_extra_that_installs_it() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert set(EXTRAS.values()) <= set(project["project"]["optional-dependencies"])
    with pytest.raises(UserError, match=r"^gs://bucket: .*gcsfs.*uv pip install -e '\.\[gcs\]'"):
        Folder("gs://bucket").read("part/a")


def test_a_missing_file_differs_from_an_empty_one(folder: Folder) -> None:
    assert folder.names() == []
    assert folder.names("part") == []
    assert not folder.exists("part/a")
    with pytest.raises(FileNotFoundError):
        folder.read("part/a")
    with pytest.raises(FileNotFoundError), folder.open("part/a"):
        pass


def test_writes_of_another_process_are_seen_at_once(folder: Folder) -> None:
    folder.write("part/a", b"1")
    assert folder.names("part") == ["a"]
    pickle.loads(pickle.dumps(folder)).write("part/b", b"2")
    assert folder.names("part") == ["a", "b"]
    assert folder.exists("part/b")


@pytest.mark.parametrize("size", [10, 60 * 2**20])
def test_a_writer_that_fails_leaves_the_old_file(folder: Folder, size: int) -> None:
    """60 MiB: past what S3 takes in one piece, so that an upload has begun."""

    def fail() -> None:
        with folder.create("a") as stream:
            stream.write(bytes(size))
            raise RuntimeError("disk")

    folder.write("a", b"old")
    with pytest.raises(RuntimeError, match="disk"):
        fail()
    assert folder.read("a") == b"old"
    assert folder.names() == ["a"]


def test_large_files_round_trip(folder: Folder) -> None:
    piece = os.urandom(2**20)
    with folder.create("a") as stream:
        for _ in range(60):
            stream.write(piece)
    assert folder.read("a") == piece * 60


def test_temporary_files_are_ignored_and_swept(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    folder.write("part/a", b"1")
    leftover = tmp_path / "part" / ".b.0123.tmp"
    leftover.write_bytes(b"half")
    assert folder.names("part") == ["a"]
    folder.sweep("part")
    assert not leftover.exists()
    assert folder.read("part/a") == b"1"


def test_files_are_readable_by_others(tmp_path: Path) -> None:
    Folder(str(tmp_path)).write("a", b"1")
    (tmp_path / "b").write_bytes(b"1")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"}
    assert len(modes) == 1


@pytest.mark.parametrize("prefix", ["", "file://", "local://", "relative"])
def test_a_local_name_with_two_colons_is_no_chain_of_urls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    place = "s3::x/shards" if prefix == "relative" else f"{prefix}{tmp_path}/s3::x/shards"
    Folder(place).write("a", b"1")
    assert (tmp_path / "s3::x" / "shards" / "a").read_bytes() == b"1"
    assert local_path(place) == tmp_path / "s3::x" / "shards"
    assert absolute(place) == f"{tmp_path}/s3::x/shards"


def test_a_replaced_file_has_another_fingerprint(folder: Folder) -> None:
    assert folder.fingerprint("a") == ""
    folder.write("a", b"1")
    first = folder.fingerprint("a")
    assert first == folder.fingerprint("a")
    folder.write("a", b"2")
    assert folder.fingerprint("a") != first


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_only_regular_files_are_opened(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "a")
    folder = Folder(str(tmp_path))
    readings: list[Callable[[], object]] = [
        lambda: folder.read("a"),
        lambda: folder.read("a", 0, 10),
        lambda: folder.read_many(["a", "a"]),
        lambda: folder.read_whole("a", 10),
        lambda: folder.open("a").__enter__(),
    ]
    for reading in readings:
        with pytest.raises(OSError, match="not a regular file") as caught:
            reading()
        assert caught.value.filename == str(tmp_path / "a")


def test_a_file_over_the_limit_is_not_read(folder: Folder) -> None:
    folder.write("a", b"0123456789")
    assert folder.read_whole("a", 10) == b"0123456789"
    with pytest.raises(OSError, match="10 bytes, expected at most 9") as caught:
        folder.read_whole("a", 9)
    assert caught.value.filename == f"{folder.url}/a"


def test_trouble_with_a_bucket_names_the_place(bucket: str) -> None:
    nowhere = Folder("s3://no-such-bucket-anywhere/set")
    with pytest.raises(OSError, match="check the name of the bucket") as caught:
        nowhere.write("a", b"1")
    assert caught.value.filename == "s3://no-such-bucket-anywhere/set/a"
    with pytest.raises(FileNotFoundError) as missing:
        Folder(bucket).read("part/a")
    assert missing.value.filename == f"{bucket}/part/a"


def test_a_refused_bucket_names_the_place_and_what_to_check(bucket: str) -> None:
    """From here on, the server wants to know who asks."""
    Folder(bucket).write("a", b"1")
    url = f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
    urlopen(Request(url, b"0", {"Content-Type": "text/plain"}), timeout=10)
    try:
        with pytest.raises(PermissionError, match="check the credentials") as caught:
            Folder(bucket).read("a")
    finally:
        urlopen(Request(url, b"inf", {"Content-Type": "text/plain"}), timeout=10)
    assert caught.value.filename == f"{bucket}/a"
