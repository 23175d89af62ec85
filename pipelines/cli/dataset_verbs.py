"""The verbs that make a dataset: plan, assets check, dataset, status, verify, pack."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

from rich.console import Console
from rich.table import Table

from datagen.errors import UserError
from datagen.scene import SPLITS, Asset
from pipelines.cli.arguments import VerbParser, cache_folder, option_of, require_extra
from pipelines.cli.keys import add_keys, parse_with_keys

if TYPE_CHECKING:
    from datagen.compose.plan import ScenePlan
    from datagen.shards.verify import Problem
    from pipelines.dataset.config import DatasetConfig
    from pipelines.dataset.packing import Summary


def plan(arguments: list[str]) -> int:
    """Decide what every scene will show, and write OUT/plan.parquet."""
    parser = _dataset_parser(
        "plan", plan, "sigma plan --preset mini --plan.train 100 --out out/big"
    )
    args, config, out = _parse_dataset(parser, arguments)
    from pipelines.dataset.job import write_plan_only

    scenes = write_plan_only(config, cache_folder(args), out)
    Console().print(_plan_table(scenes))
    print(f"{out}/plan.parquet")
    return 0


def check_assets(arguments: list[str]) -> int:
    """List which assets of a folder can be used, and why the others cannot."""
    parser = VerbParser(
        "assets check", check_assets, "sigma assets check /usr/share/sweethome3d/furniture"
    )
    from datagen.catalog.catalog import CatalogConfig, open_catalog
    from datagen.catalog.providers.folder import unread_files, unread_message

    parser.add_argument("path", help="a folder of .sh3f libraries, or a tree of model files")
    for key in ("unit", "up", "front", "max_faces"):
        kind = get_type_hints(CatalogConfig, include_extras=True)[key]
        parser.add_argument(
            f"--{key}",
            type=option_of(kind),
            default=getattr(CatalogConfig, key),
            help=f"as catalog.{key} of a dataset",
        )
    parser.add_cache()
    args = parser.parse_args(arguments)
    if not Path(args.path).is_dir():
        raise UserError(f"{args.path}: expected a folder of .sh3f libraries, or of model files")
    libraries = any(Path(args.path).rglob("*.sh3f"))
    config = CatalogConfig(
        "sweethome3d" if libraries else "folder",
        args.path,
        unit=args.unit,
        up=args.up,
        front=args.front,
        max_faces=args.max_faces,
    )
    catalog = open_catalog(config, cache_folder(args))
    assets, rejections = catalog.assets(), catalog.rejections()
    for rejection in rejections:
        print(f"{rejection.asset}: {rejection.reason}: {rejection.detail}")
    table = Table("category", "usable", box=None)
    for category, count in sorted(Counter(asset.category for asset in assets).items()):
        table.add_row(category, str(count))
    Console().print(table)
    counts = Counter(rejection.reason for rejection in rejections)
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
    print(f"{len(assets)} usable, {len(rejections)} not" + (f": {reasons}" if reasons else ""))
    print(f"{len({asset.shape for asset in assets})} shapes; assets of one shape share a split")
    nameless = [asset.id for asset in assets if asset.noun == "object"]
    if nameless:
        print(
            f'{len(nameless)} are called "object", because no name says what they are: write '
            f"{args.path}/metadata.csv with the columns path and noun, and a row such as "
            f"{nameless[0]},crate"
        )
    for note in _asset_notes(assets):
        print(note)
    if config.provider == "folder" and (others := unread_files(Path(args.path))):
        print(unread_message(others))
    return 0 if assets else 1


def _asset_notes(assets: Sequence[Asset]) -> Iterator[str]:
    """Lines on what had to be guessed, assumed or changed in the usable assets."""
    if guessed := sum(asset.size_guessed for asset in assets):
        yield (
            f"{guessed} of unknown unit, their size guessed; set catalog.unit, or unit or size in "
            "metadata.csv"
        )
    if assumed := sum(asset.color_assumed for asset in assets):
        yield f"{assumed} with a part whose colour the file does not state; gray is assumed"
    if decimated := [asset.decimated_from for asset in assets if asset.decimated_from]:
        yield f"{len(decimated)} decimated, the largest from {max(decimated):,} faces"


def dataset(arguments: list[str]) -> int:
    """Make a dataset, or what is missing of it: plan, render, pack, verify."""
    parser = _dataset_parser(
        "dataset", dataset, "sigma dataset --preset mini --render.samples 64 --out out/mini"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="KEY", help="make these scenes")
    parser.add_argument("--address", default="", help="a Ray cluster to work on")
    args, config, out = _parse_dataset(parser, arguments)
    from pipelines.dataset.job import run

    summary = run(config, out, cache_folder(args), only=args.only, address=args.address)
    if summary.packed < summary.planned:
        print(f"some scenes were given up, for the reasons in {out}/failures.jsonl")
    return _conclude(summary)


def status(arguments: list[str]) -> int:
    """Say how far a job has come, running or not."""
    parser = VerbParser("status", status, "sigma status out/mini")
    parser.add_argument("out", help="the output of `sigma dataset`")
    args = parser.parse_args(arguments)
    from pipelines.dataset.status import status_table

    Console().print(status_table(args.out))
    return 0


def verify(arguments: list[str]) -> int:
    """Read every byte of a set of shards, and name what is wrong."""
    parser = VerbParser("verify", verify, "sigma verify out/mini/shards")
    parser.add_argument("shards", help="the folder that holds manifest.json")
    args = parser.parse_args(arguments)
    from datagen.shards.verify import verify as problems_of

    problems = problems_of(args.shards)
    if not problems:
        print(f"{args.shards}: sound")
    return _report(problems)


def pack(arguments: list[str]) -> int:
    """Pack what is finished so far into OUT/shards; `sigma dataset` does it at its end."""
    parser = VerbParser("pack", pack, "sigma pack out/mini --exclude out/mini/shards-flags.txt")
    parser.add_argument("out", help="the output of `sigma dataset`")
    parser.add_argument(
        "--exclude", help="flags, as `sigma view` writes them: leave out what is dropped"
    )
    args = parser.parse_args(arguments)
    require_extra("ray", "dataset")
    from pipelines.dataset.job import repack

    return _conclude(repack(args.out, Path(args.exclude) if args.exclude else None))


def _dataset_parser(name: str, verb: Callable[..., int], example: str) -> VerbParser:
    """A parser with every key of ``DatasetConfig``."""
    from pipelines.dataset.config import DatasetConfig

    usage = "[--preset NAME|FILE] [--out OUT] [--KEY VALUE ...]"
    parser = VerbParser(name, verb, example, usage)
    parser.add_argument("--out", help="a folder or an fsspec URL (default: out/NAME)")
    parser.add_cache()
    add_keys(parser, DatasetConfig, "dataset", "mini")
    return parser


def _parse_dataset(
    parser: VerbParser, arguments: list[str]
) -> tuple[argparse.Namespace, DatasetConfig, str]:
    """The options, the configuration, and the output."""
    from pipelines.dataset.config import DatasetConfig

    args, config = parse_with_keys(parser, arguments, DatasetConfig, "dataset")
    return args, config, args.out or f"out/{config.name}"


def _plan_table(scenes: Sequence[ScenePlan]) -> Table:
    counts = sorted({len(scene.identities) for scene in scenes})
    table = Table("split", *(f"{n} subjects" for n in counts), "scenes", box=None)
    for split in SPLITS:
        mine = [len(scene.identities) for scene in scenes if scene.split == split]
        table.add_row(split, *(str(mine.count(n)) for n in counts), str(len(mine)))
    return table


def _conclude(summary: Summary) -> int:
    excluded = f", {summary.excluded} excluded" if summary.excluded else ""
    print(f"{summary.packed} of {summary.planned} scenes{excluded}")
    print(f"shards:   {summary.shards}\npictures: {', '.join(summary.pictures)}")
    return _report(summary.problems)


def _report(problems: Sequence[Problem]) -> int:
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0
