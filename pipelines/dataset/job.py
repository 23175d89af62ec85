"""The dataset job: plan, scenes on Ray, pack, verify.

Scenes are computed at least once and committed once: a job is passes over the scenes that
are missing, until none is. Whatever ends the process, running it again goes on from there.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.util.annotations import RayDeprecationWarning
from rich.console import Console

from datagen.catalog.catalog import open_catalog
from datagen.compose.plan import ScenePlan, make_plan, read_plan, write_plan
from datagen.errors import UserError
from datagen.scene import Sample
from datagen.shards.files import Folder
from datagen.shards.pack import pack
from datagen.shards.reader import open_shards
from datagen.shards.review_marks import read_flags
from datagen.shards.store import Event, Store
from datagen.shards.verify import Problem, verify
from datagen.validation import convert
from pipelines.dataset.config import DatasetConfig, JobConfig
from pipelines.dataset.ledger import Ledger
from pipelines.dataset.progress import Progress
from pipelines.dataset.stages import Annotate, Compose, Render, Row, Stage, events_of, new_row
from pipelines.ray_session import alone, cluster
from pipelines.run_config import CONFIG, encode_config, refuse_change, save_config, saved_config
from pipelines.visualize.figures import annotated_sample, contact_sheet

CONTACT_SHEET, ANNOTATED = "contact_sheet.png", "annotated_sample.png"

# First attempts that the failure rate is measured on, at least.
ENOUGH_ATTEMPTS = 20


@dataclass(frozen=True)
class Summary:
    """What a finished job leaves. ``excluded``: scenes that were left out by hand; ``problems``:
    what the shards fail verification by."""

    planned: int
    packed: int
    excluded: int
    shards: str
    pictures: tuple[str, ...]
    problems: tuple[Problem, ...]


def run(
    config: DatasetConfig,
    out: str,
    cache: Path,
    *,
    only: Sequence[str] = (),
    address: str = "",
    console: Console | None = None,
) -> Summary:
    """Make the dataset at ``out``, or what is missing of it.

    Args:
        config: what to make.
        out: a folder or an fsspec URL.
        cache: folder of prepared assets.
        only: keys of the scenes to make and pack; empty for all.
        address: a Ray cluster to work on; empty starts a local one.
        console: where progress is shown.

    Returns:
        What was planned and packed, and what fails verification.

    Raises:
        UserError: ``out`` belongs to another configuration or another job; the assets are too few;
            too many scenes fail; nothing came out.
    """
    console = console or Console()
    with alone(out):
        plan = _chosen(_plan_scenes(config, cache, out), only)
        store = Store(out)
        ledger = Ledger(store.events())
        if _missing(plan, store, ledger, config.job):
            progress = Progress(len(plan), len(store.committed()), console)
            with cluster(address, cache), progress:
                _settle_ray_data()
                while todo := _missing(plan, store, ledger, config.job):
                    _one_pass(todo, config, cache, store, ledger, progress)
        store.sweep()
        given_up = {scene.key for scene in plan} - store.committed()
        Folder(out).write("failures.jsonl", ledger.report(given_up, config.job))
        if len(given_up) == len(plan):
            raise UserError(f"{out}: no scene came out; {out}/failures.jsonl has the reasons")
        return _pack(plan, config, store, ledger, out)


def write_plan_only(config: DatasetConfig, cache: Path, out: str) -> tuple[ScenePlan, ...]:
    """Plan every scene of ``config`` and write OUT/plan.parquet, without making any.

    Raises:
        UserError: as ``run`` does.
    """
    with alone(out):
        return _plan_scenes(config, cache, out)


def _plan_scenes(config: DatasetConfig, cache: Path, out: str) -> tuple[ScenePlan, ...]:
    """The plan of ``config``, written to OUT/plan.parquet, or found there unchanged. ``out``
    belongs to ``config`` from then on, and not before: a configuration that cannot be planned
    leaves nothing behind."""
    keys = config.reproducibility_keys()
    refuse_change(keys, out)
    plan = make_plan(config.plan, open_catalog(config.catalog, cache).assets())
    if saved_config(out) is None:
        save_config(keys, out)
    write_plan(plan, f"{out}/plan.parquet")
    return plan


def _chosen(plan: Sequence[ScenePlan], only: Sequence[str]) -> Sequence[ScenePlan]:
    if unknown := set(only) - {scene.key for scene in plan}:
        raise UserError(
            f"--only: {min(unknown)} is no scene of the plan; its keys are "
            f"{plan[0].key} to {plan[-1].key}"
        )
    return [scene for scene in plan if scene.key in only] if only else plan


def _missing(
    plan: Sequence[ScenePlan], store: Store, ledger: Ledger, job: JobConfig
) -> list[ScenePlan]:
    committed = store.committed()
    return [
        scene
        for scene in plan
        if scene.key not in committed and not ledger.given_up(scene.key, job)
    ]


def _one_pass(
    todo: Sequence[ScenePlan],
    config: DatasetConfig,
    cache: Path,
    store: Store,
    ledger: Ledger,
    progress: Progress,
) -> None:
    """Send each scene through Ray once, and record what came of it."""
    rows = [new_row(scene, ledger.draw(scene.key), ledger.attempt(scene.key)) for scene in todo]

    def record(event: Event) -> None:
        ledger.record(event)
        progress.count_failure(event.reason)

    lost = {row["key"]: row["attempt"] for row in rows}
    first_attempts, failures = 0, list[Event]()
    for row in _through_ray(rows, config, cache, store):
        attempt = lost.pop(row["key"])
        events = events_of(row)
        for event in events:
            record(event)
        if row["outcome"] == "done":
            progress.count_finished()
        if row["outcome"] == "stop":
            raise UserError(row["message"])
        if attempt == 0:
            first_attempts += 1
            failures += [event for event in events if event.kind == "failed"]
        if (
            first_attempts >= ENOUGH_ATTEMPTS
            and len(failures) > config.job.max_failure_rate * first_attempts
        ):
            last = failures[-1]
            raise UserError(
                f"{len(failures)} of {first_attempts} scenes failed, scene {last.key} in "
                f"{last.stage}: {last.reason}: {last.message}; look at `sigma status`, mend the "
                "cause, and run again (job.max_attempts gives more attempts)"
            )
    for key, attempt in lost.items():
        message = "the scene did not come back: its Ray worker died"
        event = Event(key, "failed", attempt, "ray", "lost", message, "")
        store.record(event)
        record(event)


def _through_ray(
    rows: Sequence[Row], config: DatasetConfig, cache: Path, store: Store
) -> Iterator[Row]:
    """The rows as they finish. A row may be missing; none comes twice."""
    worker = config.job.worker
    cores, gpus = (ray.cluster_resources().get(kind, 0) for kind in ("CPU", "GPU"))
    slots = int(gpus) if worker.gpu else int(cores // worker.threads)
    renderers = min(config.job.workers or max(slots, 1), len(rows))
    helpers = -(-renderers // 4)
    # All actors together claim no more than there is: one that finds no room waits for ever.
    claim = min(float(worker.threads), cores / renderers)
    stages: tuple[tuple[type[Stage], int, float, int], ...] = (
        (Compose, helpers, claim / 10, 0),
        (Render, renderers, claim * 3 / 4, int(worker.gpu)),
        (Annotate, helpers, claim / 10, 0),
    )
    # Ray warns that 2.64 will take max_restarts and max_task_retries elsewhere; it names no place.
    warnings.simplefilter("ignore", RayDeprecationWarning)
    scenes: Dataset = ray.data.from_items(list(rows), override_num_blocks=len(rows))
    for stage, size, cpus, gpus_each in stages:
        scenes = scenes.map(
            cast(Any, stage),
            fn_constructor_args=(config, cache, store),
            # One scene at a time: a second one could only wait for the first.
            compute=ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
            num_cpus=cpus,
            num_gpus=gpus_each,
            max_restarts=-1,
            max_task_retries=1,
        )
    yield from cast(Iterator[Row], scenes.iter_rows())


def _settle_ray_data() -> None:
    context = DataContext.get_current()
    context.max_errored_blocks = -1
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Its own log file keeps everything; what matters of it reaches the ledger.
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":
            handler.setLevel(logging.CRITICAL)


def repack(out: str, flags: Path | None = None) -> Summary:
    """Pack what is finished at ``out``, whose job need not be over, but for what ``flags``
    (``datagen.shards.review_marks``) drops. Raises ``UserError``."""
    keys = saved_config(out)
    if keys is None:
        raise UserError(f"{out}: no config.yaml there; expected the output of `sigma dataset`")
    try:
        config = convert(keys, DatasetConfig)
    except UserError as error:
        raise UserError(
            f"{out}/config.yaml: {error}; expected the file that was written there"
        ) from None
    if flags is not None and not flags.exists():
        raise UserError(f"{flags}: no such file; expected lines of `keep KEY` or `drop KEY`")
    dropped = {key for key, flag in read_flags(flags).items() if flag == "drop"} if flags else set()
    with alone(out):
        store, plan = Store(out), read_plan(f"{out}/plan.parquet")
        if unknown := dropped - {scene.key for scene in plan}:
            raise UserError(f"{flags}: {min(unknown)} is no scene of {out}; expected its keys")
        return _pack(plan, config, store, Ledger(store.events()), out, dropped)


def _pack(
    plan: Sequence[ScenePlan],
    config: DatasetConfig,
    store: Store,
    ledger: Ledger,
    out: str,
    dropped: Set[str] = frozenset(),
) -> Summary:
    """Pack what is committed, read it back, and draw it."""
    shards = f"{out}/shards"
    manifest = pack(
        store,
        [(scene.key, scene.split, len(scene.identities)) for scene in plan],
        config.pack,
        shards,
        name=config.name,
        config_digest=config.digest(),
        setbacks=ledger.refusals() | ({"dropped by hand": len(dropped)} if dropped else {}),
        exclude=dropped,
    )
    # With it, whoever has the shards can make each of them again.
    Folder(shards).write(CONFIG, encode_config(config.reproducibility_keys()))
    problems = verify(shards)
    if not problems:
        samples = _some_samples(shards)
        Folder(out).write(CONTACT_SHEET, contact_sheet(samples))
        Folder(out).write(ANNOTATED, annotated_sample(_telling(samples)))
    pictures = (f"{out}/{CONTACT_SHEET}", f"{out}/{ANNOTATED}")
    return Summary(len(plan), manifest.samples, len(dropped), shards, pictures, problems)


def _telling(samples: Sequence[Sample]) -> Sample:
    """The one with most subjects, as long as a figure of them can be read."""
    return max(
        samples, key=lambda sample: (sample.record.n_subjects <= 4, sample.record.n_subjects)
    )


def _some_samples(shards: str) -> list[Sample]:
    """Scenes from everywhere in a set, twelve at most."""
    opened = open_shards(shards)
    keys = list(opened.keys())
    step = max(len(keys) / 12, 1)
    return [opened.sample(keys[int(i * step)]) for i in range(min(len(keys), 12))]
