"""The verbs that look at shards: view, inspect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta
from rich.console import Console

from datagen.atomic import write_file
from datagen.errors import UserError
from datagen.shards.files import local_path
from pipelines.cli.arguments import VerbParser, option_of, require_extra

Port = Annotated[int, Meta(ge=0, le=65_535)]


def view(arguments: list[str]) -> int:
    """Look at shards in the browser: a page of this machine's own, until Ctrl-C."""
    parser = VerbParser("view", view, "sigma view out/mini/shards")
    parser.add_argument("shards", help="a folder of shards, an fsspec URL, or one tar")
    parser.add_argument("--host", default="127.0.0.1", help="elsewhere, a token is asked for")
    parser.add_argument(
        "--port", type=option_of(Port), default=8027, help="0: any free port (default: 8027)"
    )
    parser.add_argument("--compare", default="", help="another set, to be seen beside this one")
    parser.add_argument("--flags", help="where to keep flags (default: SHARDS-flags.txt)")
    parser.add_argument("--export", metavar="FILE", help="no server: scenes as one HTML page")
    parser.add_argument(
        "--choose",
        default="",
        metavar="FILTERS",
        help="with --export: what the viewer's address says behind its ?, as in 'flag=keep&q=red'",
    )
    args = parser.parse_args(arguments)
    if args.choose and not args.export:
        raise UserError("--choose: goes with --export only; in the browser, filters do it")
    require_extra("starlette", "view")
    from pipelines.view import server

    flags = local_path(args.flags) if args.flags else None
    if args.flags and flags is None:
        raise UserError(f"--flags: {args.flags}, expected a file on this machine")
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


def inspect(arguments: list[str]) -> int:
    """Print what is recorded of a scene, and draw all of it into a picture."""
    parser = VerbParser("inspect", inspect, "sigma inspect out/mini/shards 000003")
    parser.add_argument("shards", help="a folder of shards, an fsspec URL, or one tar")
    parser.add_argument("key", help="of the scene")
    parser.add_argument("--out", help="the picture, a PNG (default: KEY.png)")
    args = parser.parse_args(arguments)
    require_extra("matplotlib", "dataset")
    from datagen.shards.scan import find
    from pipelines.visualize.figures import annotated_sample
    from pipelines.visualize.inspection import record_tables, sample_of

    shards = find(args.shards).shards
    sample = sample_of(shards, args.key)
    Console().print(record_tables(sample.record, shards.shard_of(args.key)))
    picture = Path(args.out or f"{args.key}.png")
    write_file(picture, annotated_sample(sample))
    print(picture)
    return 0
