import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datagen.scene import Sample
from datagen.shards import codec
from datagen.shards.codec import BadSample
from datagen.shards.store import Event, Store

MakeSample = Callable[..., Sample]

DIE_BEFORE_RENAME = """
import os, signal, sys
from datagen.shards.store import Store
sys.addaudithook(lambda e, a: os.kill(os.getpid(), signal.SIGKILL) if e == "os.rename" else None)
Store(sys.argv[1]).commit("a", sys.stdin.buffer.read())
"""


def event(key: str, kind: str = "failed", number: int = 0, message: str = "m") -> Event:
    return Event(key, kind, number, "render", "killed", message, "…\nlast words")  # type: ignore[arg-type]


def test_a_second_commit_of_a_scene_is_ignored(tmp_path: Path, make_sample: MakeSample) -> None:
    store = Store(str(tmp_path))
    first, second = codec.encode(make_sample("a", seed=1)), codec.encode(make_sample("a", seed=2))
    assert store.committed() == set()
    assert store.commit("a", first)
    assert not store.commit("a", second)
    assert store.committed() == {"a"}
    assert store.read("a") == first


def test_commits_of_damaged_samples_or_other_keys_are_refused(
    tmp_path: Path, make_sample: MakeSample
) -> None:
    store = Store(str(tmp_path))
    fragment = codec.encode(make_sample("a"))
    for key, data in (("b", fragment), ("a", fragment[:-512]), ("a", b"")):
        with pytest.raises(BadSample):
            store.commit(key, data)
    with pytest.raises(ValueError, match="not a key"):
        store.read("../a")
    assert store.committed() == set()


def test_a_kill_before_the_rename_leaves_nothing(tmp_path: Path, make_sample: MakeSample) -> None:
    fragment = codec.encode(make_sample("a"))
    done = subprocess.run([sys.executable, "-c", DIE_BEFORE_RENAME, str(tmp_path)], input=fragment)
    assert done.returncode == -signal.SIGKILL
    store = Store(str(tmp_path))
    assert len(list((tmp_path / "scenes").iterdir())) == 1  # the temporary file
    assert store.committed() == set()
    store.sweep()
    assert not list((tmp_path / "scenes").iterdir())
    assert store.commit("a", fragment)
    assert store.read("a") == fragment


def test_many_workers_on_the_same_scenes(tmp_path: Path, make_sample: MakeSample) -> None:
    store = pickle.loads(pickle.dumps(Store(str(tmp_path))))
    fragments = {f"{i}": codec.encode(make_sample(f"{i}")) for i in range(6)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: store.commit(f"{i % 6}", fragments[f"{i % 6}"]), range(60)))
    assert store.committed() == set(fragments)
    assert all(store.read(key) == fragment for key, fragment in fragments.items())
    assert len(list((tmp_path / "scenes").iterdir())) == 6


def test_events_are_ordered_and_unique(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert store.events() == ()
    kept = [event("a", number=1), event("a", "refused", 0), event("b"), event("a", number=12)]
    for one in (*kept, event("a", number=1, message="told again")):
        store.record(one)
    assert store.events() == (kept[0], kept[3], kept[1], kept[2])
    with pytest.raises(ValueError, match="not a key"):
        store.record(event("../a"))


def test_on_s3(bucket: str, make_sample: MakeSample) -> None:
    store = Store(bucket)
    assert store.committed() == set()
    assert store.events() == ()
    fragments = {key: codec.encode(make_sample(key)) for key in ("a", "b", "c")}
    for key, fragment in fragments.items():
        assert store.commit(key, fragment)
        assert not store.commit(key, fragment)
        store.record(event(key))
    assert store.committed() == set(fragments)
    assert store.read("b") == fragments["b"]
    assert [one.key for one in store.events()] == ["a", "b", "c"]
    store.sweep()
