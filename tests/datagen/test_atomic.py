"""A file is whole or absent, whatever ends its writer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from datagen.atomic import create_file, is_temporary, write_file
from datagen.errors import is_out_of_space, os_error_line
from tests.limits import largest_file


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_appears_whole_in_folders_that_are_made_for_it(
    tmp_path: Path, durable: bool
) -> None:
    path = tmp_path / "a" / "b" / "file"
    with create_file(path, durable=durable) as stream:
        stream.write(b"half")
        stream.flush()
        assert not path.exists()
        stream.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert os.listdir(path.parent) == ["file"]


def test_a_writer_that_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"old")

    def fail_half_way() -> None:
        with create_file(tmp_path / "file") as stream:
            stream.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"old")
    with largest_file(1000), pytest.raises(OSError, match="File too large") as caught:
        write_file(tmp_path / "file", bytes(2000))
    assert caught.value.filename == str(tmp_path / "file")
    assert is_out_of_space(caught.value)
    assert os_error_line(caught.value).startswith(f"{tmp_path}/file: File too large; make room")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_killed_writer_leaves_the_old_file_and_a_name_that_is_known_as_temporary(
    tmp_path: Path,
) -> None:
    write_file(tmp_path / "file", b"old")
    code = (
        "import os, signal, sys; from pathlib import Path; from datagen.atomic import create_file\n"
        "with create_file(Path(sys.argv[1])) as stream:\n"
        "    stream.write(b'new'); stream.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], check=False)
    assert (tmp_path / "file").read_bytes() == b"old"
    (left,) = set(os.listdir(tmp_path)) - {"file"}
    assert is_temporary(left)
    assert not is_temporary("file")
