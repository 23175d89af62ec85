"""The same batches from any number of workers and ranks, from any place, and never a hang."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import s3fs
import torch

from datagen.errors import UserError
from datagen.scene import Sample
from model.controls.control_image import InputSpec, RoutingEncoding
from model.data.batch import Batch, BatchBuilder, DataConfig
from model.data.curriculum import CurriculumStage
from model.data.loader import Loader
from model.data.shard_index import open_shard_index
from tests import boxes
from tests.model.sets import TRAIN, cut, forge

FORMAT = InputSpec(size=24, identity_size=8)
CONFIG = DataConfig(batch_size=4, seed=5, workers=0)
STAGES = (CurriculumStage(6, 1, 2), CurriculumStage(5, 3, 6))


def loader(
    place: Path | str,
    stages: Sequence[CurriculumStage] = STAGES,
    rank: int = 0,
    world_size: int = 1,
    **config: object,
) -> Loader:
    builder = BatchBuilder(open_shard_index(str(place)), FORMAT, replace(CONFIG, **config))  # type: ignore[arg-type]
    return Loader(builder, stages, rank=rank, world_size=world_size)


def same(some: Sequence[Batch], others: Sequence[Batch]) -> bool:
    return len(some) == len(others) and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for one, other in zip(some, others, strict=True)
        for a, b in zip(vars(one).values(), vars(other).values(), strict=True)
    )


# The order


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batches_do_not_depend_on_the_number_of_workers(made: Path, workers: int) -> None:
    alone = list(loader(made).batches())
    assert len(alone) == len(loader(made)) == 11
    assert same(list(loader(made, workers=workers).batches()), alone)


def test_more_workers_than_shards(tmp_path: Path) -> None:
    boxes.pack_samples([boxes.make_sample("000000", 2)], tmp_path)
    batches = list(
        loader(tmp_path / "shards", [CurriculumStage(5)], workers=3, batch_size=2).batches()
    )
    assert [batch.keys for batch in batches] == [["000000"] * 2] * 5
    controls = [control.tobytes() for batch in batches for control in batch.controls.numpy()]
    assert len(set(controls)) > 5  # of other epochs, and so drawn anew


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_at_a_batch_number(made: Path, workers: int) -> None:
    whole = list(loader(made).batches())
    for start in (1, 6, 8, 11):
        assert same(list(loader(made, workers=workers).batches(start)), whole[start:])


def test_ranks_share_each_batch(made: Path) -> None:
    whole = list(loader(made).batches())
    parts = [list(loader(made, rank=rank, world_size=2).batches()) for rank in range(2)]
    for one, first, second in zip(whole, *parts, strict=True):
        assert first.keys + second.keys == one.keys
        assert torch.equal(torch.cat([first.controls, second.controls]), one.controls)


def test_batches_are_as_planned_and_full(made: Path) -> None:
    """Of six and three scenes, three epochs make nine batches of three."""
    three = loader(made, [CurriculumStage(9, 1, 2)], batch_size=3)
    batches = list(three.batches())
    assert [batch.keys for batch in batches] == [
        [key for key, _ in planned.items] for planned in three.planned()
    ]
    assert [planned.n_subjects for planned in three.planned()] == [b.n_subjects for b in batches]
    times = Counter(key for batch in batches for key in batch.keys)
    assert set(times.values()) == {3}
    assert len(times) == TRAIN[1] + TRAIN[2]


def test_accumulation_lengthens_stages(made: Path) -> None:
    builder = BatchBuilder(open_shard_index(str(made)), FORMAT, CONFIG)
    planned = list(Loader(builder, STAGES, accumulation=3).planned())
    assert [batch.stage for batch in planned] == [0] * 18 + [1] * 15


def test_the_global_torch_generator_is_not_advanced(made: Path) -> None:
    before = torch.random.get_rng_state()
    for workers in (0, 1):
        next(loader(made, workers=workers).batches())
    assert torch.equal(torch.random.get_rng_state(), before)


# What cannot be


def test_invalid_configurations_are_refused(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="batch_size: 4, expected a multiple of the 3 processes"):
        loader(made, world_size=3)
    with pytest.raises(UserError, match=r"stage 2 \(7 to 10 subjects\).*of 1, 2, 3, 6 subjects"):
        loader(made, [CurriculumStage(5), CurriculumStage(5, 7)])
    builder = BatchBuilder(
        open_shard_index(str(made)),
        replace(FORMAT, encoding=RoutingEncoding("one_hot", slots=4)),
        CONFIG,
    )
    assert Loader(builder, [CurriculumStage(5, 1, 3)])
    with pytest.raises(UserError, match="6 subjects, the one_hot routing has room for 4"):
        Loader(builder, STAGES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**14))
    assert loader(made)
    with pytest.raises(UserError, match=r"/dev/shm: 0 MiB free, 2 data workers need.*--shm-size"):
        loader(made, workers=2)


def test_warnings_about_unusual_curricula_and_sizes(
    made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "model.data.loader"):
        loader(made)
        assert "fewer than a batch of 4, and repeat in it: 3 of 1, 3 of 6" in caplog.text
        assert "enlarged" not in caplog.text
        assert "names scenes of 4, 5 subjects, the set has none" in caplog.text
        caplog.clear()
        loader(made, [CurriculumStage(1, 2, 3), CurriculumStage(1, 3)])
        assert "the set has none" not in caplog.text
        builder = BatchBuilder(open_shard_index(str(made)), replace(FORMAT, size=65), CONFIG)
        Loader(builder, STAGES)
    assert "19 of 19 pictures have sides below 65 pixels: they are enlarged" in caplog.text


# Damage


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_samples_are_counted_and_logged_once(
    shards: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    forge(shards, "000010", "image.jpg", b"")
    cut(shards, "000004")
    broken = loader(shards, [CurriculumStage(20, 2, 3)], workers=workers)
    with caplog.at_level(logging.WARNING, "model.data.loader"):
        batches = list(broken.batches())
    assert {len(batch.keys) for batch in batches} == {4}
    assert set(broken.skipped) == {"000004", "000010"}
    assert "is truncated" in broken.skipped["000004"]
    assert "image.jpg" in broken.skipped["000010"]
    assert caplog.text.count("skipped a damaged sample") == 2
    assert same(batches, list(loader(shards, [CurriculumStage(20, 2, 3)]).batches()))


@pytest.mark.parametrize("workers", [0, 2])
def test_no_sound_sample_left_is_a_user_error(shards: Path, workers: int) -> None:
    (shards / "train-n01-00000.tar").write_bytes(b"")
    (shards / "train-n01-00001.tar").write_bytes(b"")
    with pytest.raises(UserError, match="no sound scene of 1 subjects") as caught:
        list(loader(shards, [CurriculumStage(9, 1, 1)], workers=workers).batches())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_missing_shard_is_a_user_error(shards: Path, workers: int) -> None:
    (shards / "train-n01-00000.tar").unlink()
    with pytest.raises(UserError, match=r"train-n01-00000\.tar: missing") as caught:
        list(loader(shards, [CurriculumStage(9, 1, 1)], workers=workers).batches())
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_worker_that_dies_is_a_user_error(made: Path) -> None:
    others = set(multiprocessing.active_children())  # of tests that ran before in this process
    batches = loader(made, [CurriculumStage(10_000)], workers=2).batches()
    next(batches)
    victim = (set(multiprocessing.active_children()) - others).pop()
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    # Where torch's signal handler comes first, it is torch's own words.
    with pytest.raises((UserError, RuntimeError), match=r"data worker died|DataLoader worker"):
        list(islice(batches, 1000))


@pytest.mark.slow
def test_a_bug_in_a_worker_keeps_its_traceback(made: Path) -> None:
    def stumble(samples: Sequence[Sample], rng: np.random.Generator) -> Sample:
        raise ZeroDivisionError("in the augmentation")

    builder = BatchBuilder(
        open_shard_index(str(made)), FORMAT, replace(CONFIG, workers=1), augment=stumble
    )
    with pytest.raises(ZeroDivisionError, match="stumble"):
        next(Loader(builder, STAGES).batches())


# From elsewhere


@pytest.mark.slow
def test_from_s3(made: Path) -> None:
    with boxes.s3_folder() as url:
        s3fs.S3FileSystem().put(f"{made}/", f"{url}/", recursive=True)
        alone = list(loader(made, [CurriculumStage(4)]).batches())
        assert same(list(loader(url, [CurriculumStage(4)], workers=2).batches()), alone)


@pytest.mark.slow
def test_a_truncated_shard_on_s3(shards: Path) -> None:
    cut(shards, "000004")
    with boxes.s3_folder() as url:
        s3fs.S3FileSystem().put(f"{shards}/", f"{url}/", recursive=True)
        broken = loader(url, [CurriculumStage(6, 2, 2)])
        assert same(
            list(broken.batches()), list(loader(shards, [CurriculumStage(6, 2, 2)]).batches())
        )
        assert "is truncated" in broken.skipped["000004"]


class Plain(SimpleHTTPRequestHandler):
    """The standard library's: it knows nothing of ranges, and sends whole files."""

    def log_message(self, *_: object) -> None:
        pass


class Ranges(Plain):
    """As servers do that serve data."""

    def do_GET(self) -> None:
        if "Range" not in self.headers:
            super().do_GET()
            return
        data = Path(self.translate_path(self.path)).read_bytes()
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        if first >= len(data):
            self.send_error(416)
            return
        part = data[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)


class Flaky(Ranges):
    """Every part of a file is refused once."""

    refused: set[str]

    def do_GET(self) -> None:
        asked = self.path + self.headers.get("Range", "")
        if "Range" in self.headers and asked not in self.refused:
            self.refused.add(asked)
            self.send_error(503)
        else:
            super().do_GET()


@contextmanager
def served(folder: Path, handler: Callable[..., SimpleHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_from_http(made: Path) -> None:
    alone = list(loader(made).batches())
    with served(made, Ranges) as url:
        for workers in (0, 2):
            assert same(list(loader(url, workers=workers).batches()), alone)


@pytest.mark.slow
def test_a_truncated_shard_on_http(shards: Path) -> None:
    cut(shards, "000004")
    with served(shards, Ranges) as url:
        broken = loader(url, [CurriculumStage(6, 2, 2)])
        list(broken.batches())
    assert "is truncated" in broken.skipped["000004"]


@pytest.mark.slow
def test_failed_requests_are_tried_again(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datagen.shards.reader.WAITS", (0.0,))
    monkeypatch.setattr(Flaky, "refused", set(), raising=False)
    with served(made, Flaky) as url:
        flaky = loader(url)
        assert same(list(flaky.batches()), list(loader(made).batches()))
    assert flaky.skipped == {}
    assert Flaky.refused


@pytest.mark.slow
def test_a_server_that_stops_is_an_error(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datagen.shards.reader.WAITS", (0.0,))
    with served(made, Ranges) as url:
        gone = loader(url)
    with pytest.raises(
        UserError, match=r"\.tar: cannot be read, tried 2 times: Connect call failed"
    ):
        next(gone.batches())


@pytest.mark.slow
def test_a_server_without_ranges_is_refused(made: Path) -> None:
    with served(made, Plain) as url, pytest.raises(UserError, match="ignores range requests"):
        next(loader(url).batches())
