"""Time per scene of each stage of the dataset job, run one after the other without Ray.

    python benchmarks/stages.py --preset mini --scenes 12

The job takes about the sum of these times, divided by its workers, plus half a minute for the start
of Ray.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import msgspec
import yaml
from rich.console import Console
from rich.table import Table

from datagen.catalog.catalog import open_catalog
from datagen.compose.plan import make_plan
from datagen.shards.store import Store
from pipelines.dataset.config import DatasetConfig
from pipelines.dataset.stages import (
    AnnotateStage,
    ComposeStage,
    RenderStage,
    SceneRow,
    Stage,
    first_row,
)

STAGES = (ComposeStage, RenderStage, AnnotateStage)
PRESETS = Path(__file__).parents[1] / "pipelines" / "presets" / "dataset"


def timed(stage: Stage, row: SceneRow) -> tuple[SceneRow, float]:
    start = time.perf_counter()
    row = stage(row)
    return row, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="mini", choices=("mini", "real", "tiny"))
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/sigma-set").expanduser())
    args = parser.parse_args()
    preset = yaml.safe_load((PRESETS / f"{args.preset}.yaml").read_text())
    config = msgspec.convert(preset, DatasetConfig)
    assets = open_catalog(config.catalog, args.cache).assets()
    plan = make_plan(config.plan, assets, config.catalog.recolor)
    seconds: dict[str, list[float]] = {}
    outcomes = []
    with tempfile.TemporaryDirectory() as out:
        stages = [
            kind(config, args.cache, Store(out))
            for kind in (ComposeStage, RenderStage, AnnotateStage)
        ]
        # The first scene starts Blender and imports Open3D: it is not counted.
        for i, scene in enumerate(plan[: args.scenes + 1]):
            row = first_row(scene, 0, 0)
            for stage in stages:
                row, took = timed(stage, row)
                if i:
                    seconds.setdefault(stage.name, []).append(took)
            outcomes.append(row["outcome"])
    total = sum(map(sum, seconds.values()))
    table = Table("stage", "median s", "share", box=None)
    for name, took in seconds.items():
        table.add_row(name, f"{median(took):.2f}", f"{sum(took) / total:.0%}")
    Console().print(table)
    print(f"{outcomes.count('done')} of {len(outcomes)} scenes done, {total:.1f} s")


if __name__ == "__main__":
    main()
