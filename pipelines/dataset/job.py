"""The dataset job: plan, scenes on Ray, pack, verify.

Scenes are computed at least once and committed once: a job makes passes over the missing scenes
until none is missing. Whatever ends the process, running it again continues from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from datagen.catalog.catalog import open_catalog
from datagen.compose.plan import ScenePlan, make_plan, read_plan, write_plan
from datagen.errors import UserError
from datagen.shards.files import Folder
from datagen.shards.review_marks import read_marks
from datagen.shards.store import Event, Store
from datagen.validation import convert
from pipelines.dataset.config import DatasetConfig, JobConfig
from pipelines.dataset.ledger import Ledger
from pipelines.dataset.packing import Summary, pack_output
from pipelines.dataset.ray_stages import run_through_ray
from pipelines.dataset.stages import events_of, first_row
from pipelines.progress import Progress
from pipelines.ray_session import exclusive_lock, ray_session
from pipelines.run_config import CONFIG, refuse_change, save_config, saved_config

PLAN = "plan.parquet"

ENOUGH_ATTEMPTS = 20
"""First attempts before the failure rate can stop the job."""


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
    with exclusive_lock(out):
        whole = _plan_scenes(config, cache, out, console)
        plan = _chosen(whole, only)
        store = Store(out)
        ledger = Ledger(store.events())
        if _missing(plan, store, ledger, config.job):
            # From here on, as Ray and Blender take half a minute to start.
            with (
                Progress("scene", len(plan), console, len(store.committed())) as progress,
                ray_session(address, cache),
            ):
                while todo := _missing(plan, store, ledger, config.job):
                    _one_pass(todo, config, cache, store, ledger, progress)
        store.sweep()
        # A bucket may be emptied while a job runs. Scenes that are lost are made again, as all that
        # are missing; what the folder is the output of would be missing at the end.
        if lost := _save_state(config, whole, out):
            were = f"{' and '.join(lost)} {'were' if len(lost) > 1 else 'was'}"
            console.print(f"{out}: {were} lost while the job ran; written again", soft_wrap=True)
        given_up = {scene.key for scene in plan} - store.committed()
        Folder(out).write("failures.jsonl", ledger.report(given_up, config.job))
        if len(given_up) == len(plan):
            raise UserError(f"{out}: no scene came out; {out}/failures.jsonl has the reasons")
        return pack_output(plan, config, store, ledger, out, console)


def repack(out: str, flags: Path | None = None, console: Console | None = None) -> Summary:
    """Pack what is finished at ``out``, whether or not its job is over.

    Args:
        out: the output of a dataset job.
        flags: a file of review marks (``datagen.shards.review_marks``); scenes that it drops are
            left out.
        console: where progress is shown.

    Raises:
        UserError: ``out`` is no such output, or ``flags`` names scenes that it does not have.
    """
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
    dropped = {key for key, flag in read_marks(flags).items() if flag == "drop"} if flags else set()
    with exclusive_lock(out):
        store, plan = Store(out), read_plan(f"{out}/{PLAN}")
        if unknown := dropped - {scene.key for scene in plan}:
            raise UserError(f"{flags}: {min(unknown)} is no scene of {out}; expected its keys")
        ledger = Ledger(store.events())
        return pack_output(plan, config, store, ledger, out, console or Console(), dropped)


def write_plan_only(
    config: DatasetConfig, cache: Path, out: str, console: Console | None = None
) -> tuple[ScenePlan, ...]:
    """Plan every scene of ``config`` and write OUT/plan.parquet, without making any.

    Raises:
        UserError: as ``run`` does.
    """
    with exclusive_lock(out):
        return _plan_scenes(config, cache, out, console or Console())


def _plan_scenes(
    config: DatasetConfig, cache: Path, out: str, console: Console
) -> tuple[ScenePlan, ...]:
    """The plan of ``config``, written to OUT/plan.parquet, or found there unchanged. ``out``
    belongs to ``config`` from then on, and not before: a configuration that cannot be planned
    leaves nothing behind."""
    refuse_change(config.reproducibility_keys(), out)
    console.print(f"planning; assets ({config.catalog.provider}) are prepared once, then cached")
    assets = open_catalog(config.catalog, cache).assets()
    plan = make_plan(config.plan, assets, config.catalog.recolor)
    _save_state(config, plan, out)
    return plan


def _save_state(config: DatasetConfig, plan: Sequence[ScenePlan], out: str) -> tuple[str, ...]:
    """Write what ``out`` is the output of: configuration and plan. What is there already must be
    the same, and is left.

    Returns:
        The names of the files that were not there.

    Raises:
        UserError: ``out`` belongs to another configuration or plan.
    """
    keys, folder = config.reproducibility_keys(), Folder(out)
    refuse_change(keys, out)
    absent = tuple(name for name in (CONFIG, PLAN) if not folder.exists(name))
    if CONFIG in absent:
        save_config(keys, out)
    write_plan(plan, f"{out}/{PLAN}")
    return absent


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
    rows = [first_row(scene, ledger.draw(scene.key), ledger.attempt(scene.key)) for scene in todo]

    def record(event: Event) -> None:
        ledger.record(event)
        progress.count_failure(event.reason)

    lost = {row["key"]: row["attempt"] for row in rows}
    first_attempts, failures = 0, list[Event]()
    for row in run_through_ray(rows, config, cache, store):
        attempt = lost.pop(row["key"])
        events = events_of(row)
        for event in events:
            record(event)
        if row["outcome"] == "done":
            progress.advance()
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
