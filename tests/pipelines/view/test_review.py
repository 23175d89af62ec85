"""Review marks: set in the viewer, in an editor, in a second viewer; used by `sigma pack`."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock
from playwright.sync_api import expect

from datagen.errors import UserError
from datagen.shards import review_marks
from datagen.shards.review_marks import read_marks, set_mark
from pipelines.cli.main import main
from pipelines.view.review import ReviewMarks, default_marks_file
from tests.pipelines.view.conftest import Served, serve


def post_mark(running: Served, number: int, value: str, kind: str = "application/json") -> int:
    body = json.dumps({"flag": value})
    return running.request(f"/api/scenes/{number}/flag", "POST", body, Content_Type=kind)[0]


def copy_of(finished, folder: Path) -> Path:
    """A copy of a job's output that a test may pack again."""
    out = folder / "out"
    out.mkdir()
    for part in ("config.yaml", "plan.parquet"):
        shutil.copy(finished.out / part, out)
    for part in ("scenes", "shards"):
        shutil.copytree(finished.out / part, out / part)
    return out


def test_review_marks_are_saved_and_pack_excludes_dropped_scenes(
    finished, job_of, tmp_path, capsys
):
    out = copy_of(finished, tmp_path)
    marks_file = out / "shards-flags.txt"
    with serve(out / "shards") as running:
        keys = running.shards.keys()
        for number, value in ((0, "drop"), (1, "keep"), (2, "drop"), (2, "")):
            assert post_mark(running, number, value) == 200
        assert post_mark(running, 3, "burn") == 400
        assert post_mark(running, 3, "drop", kind="text/plain") == 415
        assert post_mark(running, 3, "drop" * 1000) == 413
        assert running.request("/api/scenes/0/flag")[0] == 404  # marks are read with the scene
        assert running.json("/api/scenes?flag=drop")["ids"] == [0]
        assert running.json("/api/scenes")["facets"]["flag"] == {"keep": 1, "drop": 1}
    assert sorted(marks_file.read_text().splitlines()) == sorted(
        [f"drop {keys[0]}", f"keep {keys[1]}"]
    )
    with serve(out / "shards") as running:
        assert running.json("/api/scenes/0")["flag"] == "drop"
        assert main(["pack", str(out), "--exclude", str(marks_file)]) == 0
        packed = f"{len(keys) - 1} of {len(keys)} scenes, 1 excluded"
        assert packed in capsys.readouterr().out
        assert set(running.shards.keys()) == set(keys) - {keys[0]}
        # The running viewer shows what is packed now.
        assert running.json("/api/scenes")["ids"] == list(range(len(keys) - 1))
        for number, key in enumerate(running.shards.keys()):
            scene = running.json(f"/api/scenes/{number}")
            assert scene["key"] == key
            assert "broken" not in scene
            assert running.request(f"/api/scenes/{number}/thumbnail.jpg")[0] == 200
    assert "dropped by hand" in (out / "shards" / "README.md").read_text()
    with serve(out / "shards") as running:
        command = running.json("/api/scenes/0")["command"]
        assert f"sigma dataset --preset {out}/shards/config.yaml --only {keys[1]} " in command
    marks_file.write_text("".join(f"drop {key}\n" for key in keys))
    assert main(["pack", str(out), "--exclude", str(marks_file)]) == 2
    assert "all finished scenes are excluded" in capsys.readouterr().err
    for text, message in (("burn it\n", "keep KEY"), ("drop nosuchscene\n", "nosuchscene")):
        marks_file.write_text(text)
        assert main(["pack", str(out), "--exclude", str(marks_file)]) == 2
        assert message in capsys.readouterr().err


def test_concurrent_edits_of_the_marks_file_are_read_and_kept(make_shards):
    with serve(make_shards()) as one, serve(one.path) as other:
        keys = one.shards.keys()
        file = default_marks_file(str(one.path))
        assert post_mark(one, 0, "drop") == 200
        assert post_mark(other, 1, "keep") == 200
        with file.open("a") as editor:
            editor.write(f"keep {keys[2]}  # nice one\n")
        assert one.json("/api/scenes?flag=keep")["ids"] == [1, 2]
        assert post_mark(one, 0, "keep") == 200
        lines = [f"keep {keys[1]}", f"keep {keys[2]}  # nice one", f"keep {keys[0]}"]
        assert file.read_text().splitlines() == lines
        with file.open("a") as editor:
            editor.write("burn it\n")
        status, data, _ = one.request("/api/scenes")
        assert status == 400
        assert "expected `keep KEY` or `drop KEY`" in json.loads(data)["error"]
        assert post_mark(one, 0, "drop") == 410
        assert file.read_text().splitlines() == [*lines, "burn it"]


def test_two_viewers_that_write_at_once_lose_no_mark(make_shards):
    with serve(make_shards()) as one, serve(one.path) as other:
        keys = one.shards.keys()
        file = default_marks_file(str(one.path))

        def write_marks(viewer: Served, numbers: range) -> None:
            for value in ("keep", "drop") * 5:
                for number in numbers:
                    assert post_mark(viewer, number, value) == 200
                    assert read_marks(file)[keys[number]] == value

        with ThreadPoolExecutor() as threads:
            halves = (one, range(3)), (other, range(3, 6))
            for half in [threads.submit(write_marks, *half) for half in halves]:
                half.result()


def test_page_shows_a_dataset_that_was_packed_again(browser, finished, tmp_path):
    out = copy_of(finished, tmp_path)
    with serve(out / "shards") as running:
        keys = running.shards.keys()
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(f"{running.address}?scene=2")
        expect(page.locator("#key")).to_have_text(keys[2])
        version = running.json("/api/version")["version"]
        (out / "flags.txt").write_text(f"drop {keys[0]}\n")
        assert main(["pack", str(out), "--exclude", str(out / "flags.txt")]) == 0
        # A page of the former packing cannot mark a scene, whose number has changed.
        body = json.dumps({"flag": "drop"})
        stale = {"Content_Type": "application/json", "Dataset_Version": version}
        assert running.request("/api/scenes/2/flag", "POST", body, **stale)[0] == 409
        assert running.json("/api/scenes")["facets"]["flag"] == {"keep": 0, "drop": 0}
        expect(page.locator("#message")).to_contain_text("packed again", timeout=20_000)
        expect(page.locator("#count")).to_have_text(f"{len(keys) - 1} of {len(keys) - 1} scenes")
        expect(page.locator("#key")).to_have_text(keys[2])
        expect(page.locator("#picture")).to_be_visible()
        assert page.url.endswith("?scene=1")
        page.close()


def test_marks_wait_for_a_lock_and_then_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(review_marks, "LOCK_SECONDS", 0.2)
    file = tmp_path / "flags.txt"
    set_mark(file, "a", "keep")
    with FileLock(tmp_path / ".flags.txt.lock"), pytest.raises(UserError, match="locked"):
        set_mark(file, "b", "drop")
    assert read_marks(file) == {"a": "keep"}


@pytest.mark.parametrize("kept", ["# only a remark", "#1\n\n#2 \x0b\u2028 3", "keep b # c"])
def test_remarks_and_other_lines_are_kept(tmp_path, kept):
    file = tmp_path / "flags.txt"
    file.write_text(f"{kept}\n", encoding="utf-8")
    set_mark(file, "a", "drop")
    assert file.read_text(encoding="utf-8") == f"{kept}\ndrop a\n"
    set_mark(file, "a", None)
    assert file.read_text(encoding="utf-8") == f"{kept}\n"


def test_remark_on_the_line_of_a_mark_survives_its_change(tmp_path):
    file = tmp_path / "flags.txt"
    link = tmp_path / "link.txt"
    link.symlink_to(file)
    file.write_text("\ufeffkeep a  # blurred\r\n", encoding="utf-8")
    set_mark(link, "a", "drop")
    assert file.read_text() == "drop a  # blurred\n"
    set_mark(link, "a", None)
    assert file.read_text() == "# a  # blurred\n"
    assert link.is_symlink()


def test_marks_that_are_not_utf8_are_one_line(served, tmp_path, capsys):
    file = tmp_path / "flags.txt"
    file.write_bytes("keep 000001  # sch\u00f6n\n".encode("latin-1"))
    assert main(["view", str(served.path), "--flags", str(file)]) == 2
    assert main(["view", str(served.path), "--flags", "s3://bucket/flags.txt"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "expected lines of `keep KEY` or `drop KEY` in UTF-8" in errors[0]
    assert "expected a file on this machine" in errors[1]
    assert len(errors) == 2
    body = '{"flag": "k\u00f6ep"}'.encode("latin-1")
    answer = served.request("/api/scenes/0/flag", "POST", body, Content_Type="application/json")
    assert answer[0] == 400


def test_default_marks_file_of_each_dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    beside = tmp_path / "set" / "shards-flags.txt"
    for place in ("set/shards", f"{tmp_path}/set/shards/", f"file://{tmp_path}/set/shards"):
        assert default_marks_file(place) == beside
    assert default_marks_file("set/shards/train-n01-00000.tar") == beside
    elsewhere = {default_marks_file(f"s3://bucket/{name}/shards") for name in ("one", "two")}
    assert len(elsewhere) == 2
    assert all(path.parent.resolve() == tmp_path for path in elsewhere)


def test_file_without_review_marks_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("buy milk\n")
    with pytest.raises(UserError, match=r"notes.txt:1: 'buy milk'"):
        ReviewMarks(tmp_path / "notes.txt")
