"""One scene without a browser: tables in the terminal, a figure, a recording."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from datagen.scene import Prompt
from datagen.shards.reader import open_shards
from pipelines.cli.main import main
from pipelines.visualize.inspection import record_tables


@pytest.fixture(scope="module")
def shards(finished):
    return open_shards(str(finished.out / "shards"))


def printed(record) -> str:
    stream = io.StringIO()
    Console(file=stream, width=100, force_terminal=True, color_system=None).print(
        record_tables(record, "a.tar")
    )
    return stream.getvalue()


def test_inspect_prints_the_record_and_draws_the_scene(finished, shards, tmp_path, capsys):
    key = shards.keys()[-1]
    out = tmp_path / "scene.png"
    assert main(["inspect", str(finished.out / "shards"), key, "--out", str(out)]) == 0
    told = capsys.readouterr().out
    record = shards.record(key)
    assert shards.shard_of(key) in told
    for subject in record.subjects:
        assert subject.identity in told
        assert subject.asset.license in told
    assert np.asarray(Image.open(out).convert("RGB")).std() > 10


def test_record_tables_escape_markup_and_control_characters(shards):
    record = shards.record(shards.keys()[0])
    told = printed(replace(record, prompt=Prompt("[bold]loud[/bold] \x1b[2Jgone", "A place.")))
    assert "[bold]loud[/bold]" in told
    assert "\x1b[2J" not in told


def test_missing_key_is_refused_with_similar_keys(finished, shards, capsys):
    assert main(["inspect", str(finished.out / "shards"), "nobody"]) == 2
    error = capsys.readouterr().err
    assert "no scene 'nobody'" in error
    assert shards.keys()[0] in error
    assert len(error.splitlines()) == 1
