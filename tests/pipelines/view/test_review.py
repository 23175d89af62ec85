"""Flags: set in the viewer, by hand, by another viewer; honoured by `sigma pack`."""

from __future__ import annotations

import json

import pytest

from datagen.errors import UserError
from pipelines.cli.main import main
from pipelines.view.review import Flagged, flags_of
from tests.pipelines.view.conftest import Served, serve


def flag(running: Served, number: int, value: str, kind: str = "application/json") -> int:
    body = json.dumps({"flag": value})
    return running.ask(f"/api/scenes/{number}/flag", "POST", body, Content_Type=kind)[0]


def test_flags_are_kept_and_honoured_by_pack(finished, job_of, tmp_path, capsys):
    out = tmp_path / "out"
    for part in ("config.yaml", "plan.parquet"):
        out.mkdir(exist_ok=True)
        (out / part).write_bytes((finished.out / part).read_bytes())
    for part in ("scenes", "shards"):
        (out / part).mkdir()
        for file in (finished.out / part).iterdir():
            (out / part / file.name).write_bytes(file.read_bytes())
    flags = out / "shards-flags.txt"
    with serve(out / "shards") as running:
        keys = running.shards.keys()
        for number, value in ((0, "drop"), (1, "keep"), (2, "drop"), (2, "")):
            assert flag(running, number, value) == 200
        assert flag(running, 3, "burn") == 400
        assert flag(running, 3, "drop", kind="text/plain") == 415
        assert flag(running, 3, "drop" * 1000) == 413
        assert running.ask("/api/scenes/0/flag")[0] == 404  # there is nothing to read
        assert running.json("/api/scenes?flag=drop")["ids"] == [0]
        assert running.json("/api/scenes")["facets"]["flag"] == {"keep": 1, "drop": 1}
    assert sorted(flags.read_text().splitlines()) == sorted([f"drop {keys[0]}", f"keep {keys[1]}"])
    with serve(out / "shards") as running:
        assert running.json("/api/scenes/0")["flag"] == "drop"
        assert main(["pack", str(out), "--exclude", str(flags)]) == 0
        packed = f"{len(keys) - 1} of {len(keys)} scenes, 1 excluded"
        assert packed in capsys.readouterr().out
        assert set(running.shards.keys()) == set(keys) - {keys[0]}
    assert "dropped by hand" in (out / "shards" / "README.md").read_text()
    with serve(out / "shards") as running:
        command = running.json("/api/scenes/0")["command"]
        assert f"sigma dataset --preset {out}/shards/config.yaml --only {keys[1]} " in command
    flags.write_text("".join(f"drop {key}\n" for key in keys))
    assert main(["pack", str(out), "--exclude", str(flags)]) == 2
    assert "all finished scenes are excluded" in capsys.readouterr().err
    for text, told in (("burn it\n", "keep KEY"), ("drop nosuchscene\n", "nosuchscene")):
        flags.write_text(text)
        assert main(["pack", str(out), "--exclude", str(flags)]) == 2
        assert told in capsys.readouterr().err


def test_what_others_write_is_neither_missed_nor_lost(made):
    with serve(made()) as one, serve(one.path) as other:
        keys = one.shards.keys()
        file = flags_of(str(one.path))
        assert flag(one, 0, "drop") == 200
        assert flag(other, 1, "keep") == 200
        with file.open("a") as editor:
            editor.write(f"keep {keys[2]}  # nice one\n")
        assert one.json("/api/scenes?flag=keep")["ids"] == [1, 2]
        assert flag(one, 0, "keep") == 200
        lines = [f"keep {keys[1]}", f"keep {keys[2]}  # nice one", f"keep {keys[0]}"]
        assert file.read_text().splitlines() == lines
        with file.open("a") as editor:
            editor.write("burn it\n")
        status, data, _ = one.ask("/api/scenes")
        assert status == 400
        assert "expected `keep KEY` or `drop KEY`" in json.loads(data)["error"]
        assert flag(one, 0, "drop") == 410
        assert file.read_text().splitlines() == [*lines, "burn it"]


def test_every_set_has_flags_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    beside = tmp_path / "set" / "shards-flags.txt"
    for place in ("set/shards", f"{tmp_path}/set/shards/", f"file://{tmp_path}/set/shards"):
        assert flags_of(place) == beside
    assert flags_of("set/shards/train-n01-00000.tar") == beside
    elsewhere = {flags_of(f"s3://bucket/{name}/shards") for name in ("one", "two")}
    assert len(elsewhere) == 2
    assert all(path.parent.resolve() == tmp_path for path in elsewhere)


def test_a_file_that_is_none_of_flags_is_refused_at_once(tmp_path):
    (tmp_path / "notes.txt").write_text("buy milk\n")
    with pytest.raises(UserError, match=r"notes.txt:1: 'buy milk'"):
        Flagged(tmp_path / "notes.txt")
