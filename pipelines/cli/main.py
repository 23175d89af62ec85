"""The command line: ``sigma VERB``.

Each verb builds its own parser and imports what it needs when it is called: looking at shards
must not want what making them wants.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.table import Table

from datagen.errors import UserError
from datagen.scene import SPLITS
from pipelines.cli.arguments import (
    TrainingPreset,
    about,
    add_cache,
    add_keys,
    cache_of,
    dataset_parser,
    explained,
    need,
    parse_dataset,
    parse_preset,
    shipped_presets,
    verb_parser,
)
from pipelines.cli.interrupts import Interrupt, stopped

if TYPE_CHECKING:
    from datagen.compose.plan import ScenePlan
    from pipelines.dataset.job import Summary


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit code: 0, 1 for shards with problems, 2 for a mistake of
    the user's, 130 for an interrupted job."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["assets"]:
        words[:2] = [" ".join(words[:2])]
    if not words or words[0] in ("-h", "--help", "assets", "assets -h", "assets --help"):
        print(_overview())
        return 0
    interrupt = Interrupt()
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    # Ray's own handler for crashes would answer a SIGTERM while Ray starts, by aborting.
    os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")
    # Of packages that it could use and we do not.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.basicConfig(format="%(message)s")
    logging.getLogger("datagen").setLevel(logging.INFO)
    try:
        if words[0] not in VERBS:
            raise UserError(f"unknown verb {words[0]!r}, expected one of: {', '.join(VERBS)}")
        return VERBS[words[0]](words[1:])
    except KeyboardInterrupt as interruption:
        return stopped(str(interruption))
    except (Exception, SystemExit) as error:
        # A library that an interrupt surprises may make any error of it: Ray, an import.
        if interrupt.came:
            return stopped()
        print(f"error: {_mistake(error)}", file=sys.stderr)
        return 2


def script() -> NoReturn:
    """``main`` as a program. One that did not end well leaves without goodbyes: Ray's threads may
    be anywhere, and have crashed the interpreter while it cleared up."""
    code = main()
    if code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _mistake(error: BaseException) -> str:
    """What the user is told, in a line. Errors that are no mistake of the user's pass through."""
    if isinstance(error, argparse.ArgumentError):
        return explained(error)
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if isinstance(error, OSError):
        # A disk that is full, a folder that is another's: nothing that we could mend or explain.
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    raise error


def plan(arguments: list[str]) -> int:
    """Decide what every scene will show, and write OUT/plan.parquet."""
    parser = dataset_parser(
        "plan",
        plan,
        "sigma plan --preset mini --plan.train 100 --out out/big",
        "[--preset NAME|FILE] [--out OUT] [--KEY VALUE ...]",
    )
    args, config = parse_dataset(parser, arguments)
    from pipelines.dataset.job import plan_alone

    scenes = plan_alone(config, cache_of(args), args.out)
    Console().print(_plan_table(scenes))
    print(f"{args.out}/plan.parquet")
    return 0


def check_assets(arguments: list[str]) -> int:
    """Say which assets of a folder can be used, and why the others cannot."""
    parser = verb_parser(
        "assets check", check_assets, "sigma assets check /usr/share/sweethome3d/furniture"
    )
    parser.add_argument("path", help="a folder of .sh3f libraries, or a tree of model files")
    add_cache(parser)
    args = parser.parse_args(arguments)
    from collections import Counter

    from datagen.catalog.catalog import CatalogConfig, open_catalog

    libraries = any(Path(args.path).rglob("*.sh3f"))
    config = CatalogConfig("sweethome3d" if libraries else "folder", args.path)
    catalog = open_catalog(config, cache_of(args))
    assets, rejections = catalog.assets(), catalog.rejections()
    for rejection in rejections:
        print(f"{rejection.asset}: {rejection.reason}: {rejection.detail}")
    table = Table("category", "usable", box=None)
    for category, count in sorted(Counter(asset.category for asset in assets).items()):
        table.add_row(category, str(count))
    Console().print(table)
    reasons = Counter(rejection.reason for rejection in rejections)
    why = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common())
    print(f"{len(assets)} usable, {len(rejections)} not" + (f": {why}" if why else ""))
    return 0 if assets else 1


def dataset(arguments: list[str]) -> int:
    """Make a dataset, or what is missing of it: plan, render, pack, verify."""
    parser = dataset_parser(
        "dataset",
        dataset,
        "sigma dataset --preset mini --render.samples 64 --out out/mini",
        "[--preset NAME|FILE] [--out OUT] [--KEY VALUE ...]",
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="KEY", help="make these scenes")
    parser.add_argument("--address", default="", help="a Ray cluster to work on")
    args, config = parse_dataset(parser, arguments)
    from pipelines.dataset.job import run

    summary = run(config, args.out, cache_of(args), only=args.only, address=args.address)
    if summary.packed < summary.planned:
        print(f"some scenes were given up, for the reasons in {args.out}/failures.jsonl")
    return _conclude(summary)


def status(arguments: list[str]) -> int:
    """Say how far a job has come, running or not."""
    parser = verb_parser("status", status, "sigma status out/mini")
    parser.add_argument("out", help="the output of `sigma dataset`")
    args = parser.parse_args(arguments)
    from pipelines.dataset.status import status_table

    Console().print(status_table(args.out))
    return 0


def verify(arguments: list[str]) -> int:
    """Read every byte of a set of shards, and name what is wrong."""
    parser = verb_parser("verify", verify, "sigma verify out/mini/shards")
    parser.add_argument("shards", help="the folder that holds manifest.json")
    args = parser.parse_args(arguments)
    from datagen.shards.verify import verify as problems_of

    problems = problems_of(args.shards)
    if not problems:
        print(f"{args.shards}: sound")
    return _report(problems)


def pack(arguments: list[str]) -> int:
    """Pack what is finished so far into OUT/shards; `sigma dataset` does it at its end."""
    parser = verb_parser("pack", pack, "sigma pack out/mini --exclude out/mini/shards-flags.txt")
    parser.add_argument("out", help="the output of `sigma dataset`")
    parser.add_argument(
        "--exclude", help="flags, as `sigma view` writes them: leave out what is dropped"
    )
    args = parser.parse_args(arguments)
    need("ray", "dataset")
    from pipelines.dataset.job import repack

    return _conclude(repack(args.out, Path(args.exclude) if args.exclude else None))


def train(arguments: list[str]) -> int:
    """Train a model on shards, or go on with a run, and say what it has learned."""
    parser = verb_parser(
        "train",
        train,
        "sigma train out/tiny/shards --train.seed 1 --out out/run",
        "[SHARDS] [--preset NAME|FILE] [--resume latest] [--KEY VALUE ...]",
    )
    need("diffusers", "train")
    from pipelines.training.config import TrainingConfig

    parser.add_argument(
        "shards", nargs="?", help="a packed set (default: out/DATASET/shards, made if absent)"
    )
    parser.add_argument(
        "--preset",
        action=TrainingPreset,
        help="tiny (the default), small, kontext, or a YAML file",
    )
    parser.add_argument("--out", help="the folder of the run (default: out/train/NAME)")
    parser.add_argument("--resume", choices=["latest"], help="go on from the last checkpoint")
    parser.add_argument(
        "--allow_changed_data",
        action="store_true",
        help="with --resume: go on though the set is not the one that the run was started on",
    )
    parser.add_argument("--address", default="", help="a Ray cluster to work on")
    add_cache(parser)
    add_keys(parser, TrainingConfig)
    args, made = parse_preset(parser, arguments, "tiny")
    config = TrainingConfig(**{field: made[field] for field in TrainingConfig.__dataclass_fields__})
    from pipelines.training.job import check, check_room, run
    from pipelines.training.report import make_report, models_beside, write_report

    beside = models_beside(config)

    if args.out and "://" in args.out:
        raise UserError(f"--out: {args.out}, expected a folder that all machines of a run see")
    out, resume = Path(args.out or f"out/train/{config.name}"), args.resume is not None
    if args.allow_changed_data and not resume:
        raise UserError("--allow_changed_data: goes with --resume latest only")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out: {out} is a file, expected a folder")
    check(config, out, resume=resume)
    shards = args.shards or f"out/{config.dataset}/shards"
    if args.shards is None and not Path(shards).exists():
        if config.dataset not in (presets := shipped_presets("dataset")):
            raise UserError(
                f"dataset: {config.dataset}, expected one of {', '.join(presets)}, or SHARDS "
                "before the keys: a set that is there"
            )
        check_room(config.job, args.address, cache_of(args))  # before minutes go into a set
        words = ["--preset", config.dataset, "--cache", args.cache, "--address", args.address]
        if code := dataset(words):
            return code
    outcome = run(
        config,
        shards,
        out,
        cache_of(args),
        resume=resume,
        changed_data=args.allow_changed_data,
        address=args.address,
    )
    print(f"{outcome.step} steps\nmodel:  {outcome.model}")
    if config.report.scenes:
        report = make_report(config, shards, outcome.model, beside)
        text, picture = write_report(report, outcome.model.parent)
        print(f"{text.read_text()}\nreport: {text}, {picture}")
    return 0


def sample(arguments: list[str]) -> int:
    """Paint the picture that a scene file describes, with a trained model."""
    from jsonargparse.typing import PositiveInt, restricted_number_type

    seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**63)])
    scale = restricted_number_type("Scale", float, [(">=", 0), ("<", math.inf)])
    parser = verb_parser("sample", sample, "sigma sample scene.yaml --checkpoint out/train/tiny")
    parser.add_argument("scene", help="a YAML file (docs/sampling.md tells what is in it)")
    parser.add_argument("--checkpoint", required=True, help="a run, its checkpoint, or a model")
    parser.add_argument(
        "--base", metavar="FOLDER", help="the FLUX.1-Kontext-dev that it was trained on, if moved"
    )
    parser.add_argument("--out", default="sample.png", help="the picture")
    parser.add_argument("--steps", type=PositiveInt, default=28)
    parser.add_argument("--guidance", type=scale, default=2.5, help="for distilled models")
    parser.add_argument("--image_guidance", type=scale, default=1.0, help="1 is none")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, or with a GPU cuda")
    add_cache(parser)
    args = parser.parse_args(arguments)
    need("diffusers", "train")
    from pipelines.sampling.run import picture_path
    from pipelines.sampling.run import sample as paint

    out = picture_path(args.out)
    picture = paint(
        Path(args.scene),
        Path(args.checkpoint),
        cache_of(args),
        num_inference_steps=args.steps,
        guidance_scale=args.guidance,
        image_guidance_scale=args.image_guidance,
        seed=args.seed,
        device=args.device,
        base=args.base,
        warn=lambda fault: print(f"warning: {fault}", file=sys.stderr),
    )
    picture.save(out)
    print(out)
    return 0


def view(arguments: list[str]) -> int:
    """Look at shards in the browser: a page of this machine's own, until Ctrl-C."""
    parser = verb_parser("view", view, "sigma view out/mini/shards")
    parser.add_argument("shards", help="a folder of shards, an fsspec URL, or one tar")
    parser.add_argument("--host", default="127.0.0.1", help="elsewhere, a token is asked for")
    parser.add_argument("--port", type=int, default=8027, help="0: any that is free")
    parser.add_argument("--compare", default="", help="another set, to be seen beside this one")
    parser.add_argument("--flags", help="where to keep flags (default: SHARDS-flags.txt)")
    parser.add_argument("--export", metavar="FILE", help="no server: scenes as one HTML page")
    parser.add_argument(
        "--choose",
        default="",
        metavar="FILTERS",
        help="with --export: what the viewer's address says behind its ?, as in 'flag=keep&q=red'",
    )
    parser.add_argument(
        "--rrd", nargs=2, metavar=("KEY", "FILE"), help="no server: one scene for Rerun"
    )
    args = parser.parse_args(arguments)
    if args.choose and not args.export:
        raise UserError("--choose: goes with --export only; in the browser, filters do it")
    if args.rrd:
        return _record(args.shards, *args.rrd)
    need("starlette", "view")
    from pipelines.view import server

    flags = Path(args.flags) if args.flags else None
    if args.export:
        server.export(args.shards, flags, args.choose, Path(args.export))
        print(args.export)
        return 0
    server.view(
        args.shards,
        flags,
        args.host,
        args.port,
        lambda address: print(f"{address}\nCtrl-C ends it", flush=True),
        args.compare,
    )
    return 0


def _record(path: str, key: str, file: str) -> int:
    from datagen.shards.scan import find
    from pipelines.view.recording import record
    from pipelines.visualize.inspection import sample_of

    record(sample_of(find(path).shards, key), Path(file))
    print(file)
    return 0


def inspect(arguments: list[str]) -> int:
    """Print what is recorded of a scene, and draw all of it into a picture."""
    parser = verb_parser("inspect", inspect, "sigma inspect out/mini/shards 000003")
    parser.add_argument("shards", help="a folder of shards, an fsspec URL, or one tar")
    parser.add_argument("key", help="of the scene")
    parser.add_argument("--out", help="the picture, a PNG (default: KEY.png)")
    args = parser.parse_args(arguments)
    need("matplotlib", "dataset")
    from datagen.shards.scan import find
    from pipelines.visualize.figures import annotated_sample
    from pipelines.visualize.inspection import record_tables, sample_of

    shards = find(args.shards).shards
    sample = sample_of(shards, args.key)
    Console().print(record_tables(sample.record, shards.shard_of(args.key)))
    picture = Path(args.out or f"{args.key}.png")
    picture.write_bytes(annotated_sample(sample))
    print(picture)
    return 0


VERBS: dict[str, Callable[[list[str]], int]] = {
    "plan": plan,
    "assets check": check_assets,
    "dataset": dataset,
    "status": status,
    "verify": verify,
    "pack": pack,
    "train": train,
    "sample": sample,
    "view": view,
    "inspect": inspect,
}


def _overview() -> str:
    lines = [f"  {name:14} {about(verb)}" for name, verb in VERBS.items()]
    return "\n".join(["usage: sigma VERB ... (sigma VERB --help)", "", *lines])


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


def _report(problems: Sequence[Any]) -> int:
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0
