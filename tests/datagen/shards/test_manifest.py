"""A manifest is sound, or the user is told in one line."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datagen.errors import UserError
from datagen.shards.files import Folder
from datagen.shards.manifest import MANIFEST, MANIFEST_LIMIT, read_manifest


def refusal(packed: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_manifest(Folder(str(packed)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.update(samples=-1), "$.samples"),
        (lambda d: d.update(planned=2**62), "$.planned"),
        (lambda d: d["shards"][0].update(samples=2**31 - 1), "$.shards[0].samples"),
        (lambda d: d["shards"][0].update(bytes=-1), "$.shards[0].bytes"),
        (lambda d: d["shards"][0].update(subjects={"11": 1}), "$.shards[0].subjects"),
        (lambda d: d["shards"].append(d["shards"][0]), "lists train-n01-00000.tar 2 times"),
        (lambda d: d["shards"][0].update(file="../a.tar"), "'../a.tar' is not a plain file name"),
        (lambda d: d.update(format_version=2), "format version 2, expected 1"),
    ],
)
def test_what_no_set_has(packed: Path, change: Callable[[Any], None], reason: str) -> None:
    document = json.loads((packed / MANIFEST).read_bytes())
    change(document)
    (packed / MANIFEST).write_text(json.dumps(document))
    assert reason in refusal(packed)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff\xfe{}", b"[" * 10**5, b'{"format_version":1,"a":' + b"[" * 10**5]
)
def test_what_is_no_json(packed: Path, text: bytes) -> None:
    (packed / MANIFEST).write_bytes(text)
    assert refusal(packed).startswith(f"{packed}/{MANIFEST}: ")


def test_sizes_are_asked_before_reading(packed: Path) -> None:
    os.truncate(packed / MANIFEST, 2**40)  # a sparse file
    assert f"{2**40} bytes, expected at most {MANIFEST_LIMIT}" in refusal(packed)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", [MANIFEST, "index.parquet", "metadata.parquet"])
def test_a_pipe_is_not_waited_for(packed: Path, name: str) -> None:
    from datagen.shards.scan import find

    (packed / name).unlink()
    os.mkfifo(packed / name)
    with pytest.raises(UserError, match="not a regular file"):
        find(str(packed))
