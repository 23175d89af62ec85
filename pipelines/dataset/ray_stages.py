"""The stages of the dataset job on Ray Data."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.util.annotations import RayDeprecationWarning

from datagen.shards.store import Store
from pipelines.dataset.config import DatasetConfig
from pipelines.dataset.stages import AnnotateStage, ComposeStage, RenderStage, SceneRow, Stage


def run_through_ray(
    rows: Sequence[SceneRow], config: DatasetConfig, cache: Path, store: Store
) -> Iterator[SceneRow]:
    """Send rows through all stages, on actors. Ray is up.

    Yields:
        The rows as they finish, in any order. A row whose worker died twice does not come back;
        none comes twice.
    """
    _configure_ray_data()
    worker = config.job.worker
    cores, gpus = (ray.cluster_resources().get(kind, 0) for kind in ("CPU", "GPU"))
    slots = int(gpus) if worker.gpu else int(cores // worker.threads)
    renderers = min(config.job.workers or max(slots, 1), len(rows))
    helpers = -(-renderers // 4)
    # All actors together claim no more than there is: an actor without resources waits for ever.
    claim = min(float(worker.threads), cores / renderers)
    stages: tuple[tuple[type[Stage], int, float, int], ...] = (
        (ComposeStage, helpers, claim / 10, 0),
        (RenderStage, renderers, claim * 3 / 4, int(worker.gpu)),
        (AnnotateStage, helpers, claim / 10, 0),
    )
    # Ray announces that 2.64 will take max_restarts and max_task_retries by another way, and does
    # not say which.
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
    yield from cast(Iterator[SceneRow], scenes.iter_rows())


def _configure_ray_data() -> None:
    context = DataContext.get_current()
    context.max_errored_blocks = -1
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Ray's own log file keeps everything, and what matters of it reaches the ledger.
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":
            handler.setLevel(logging.CRITICAL)
