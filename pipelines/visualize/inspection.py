"""Tables of the record of one scene, for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from datagen.errors import UserError
from datagen.scene import Sample, SceneRecord, Subject
from datagen.shards.codec import BadSample
from datagen.shards.reader import ShardSet
from pipelines.visualize.drawing import printable


def sample_of(shards: ShardSet, key: str) -> Sample:
    """One sample of a set. Raises UserError where the set does not have it or it is damaged."""
    keys = shards.keys()
    if key not in keys:
        padded = key.zfill(len(keys[0])) if keys else key
        near = [padded] if padded in keys else get_close_matches(key, keys) or keys[:3]
        raise UserError(f"{shards.folder.url} has no scene {key!r}; some it has: {', '.join(near)}")
    try:
        return shards.sample(key)
    except BadSample as error:
        raise UserError(f"scene {error}") from None


def record_tables(record: SceneRecord, shard: str) -> Group:
    """A table of the scene as a whole, and three tables with a row per subject: what it is, where
    it comes from, where it is in the scene."""
    (focal, _, x), (_, _, y), _ = record.camera.intrinsics
    whole = Table(box=None, show_header=False)
    for name, value in (
        ("key", record.key),
        ("shard", shard),
        ("split", record.split),
        ("source", record.source),
        ("size", f"{record.width} x {record.height} px"),
        ("prompt", record.prompt.full),
        ("background", record.prompt.background),
        ("camera", f"focal length {focal:.1f} px, centre {x:.1f}, {y:.1f}"),
        ("environment", ", ".join(f"{key} {value}" for key, value in record.environment.items())),
    ):
        whole.add_row(name, _plain(value))
    return Group(
        whole,
        _table(record, ("caption", "category", "visible", "cut off", "area"), _what),
        _table(record, ("identity", "asset", "title", "author", "licence"), _origin),
        _table(record, ("box2d, px", "amodal, px", "3D centre, m", "3D size, m"), _where),
    )


def _table(
    record: SceneRecord, columns: Sequence[str], facts: Callable[[Subject], tuple[str, ...]]
) -> Table:
    table = Table("", box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")  # so that an identity can be copied whole
    for subject in record.subjects:
        table.add_row(str(subject.index), *map(_plain, facts(subject)))
    return table


def _what(subject: Subject) -> tuple[str, ...]:
    shares = (subject.visibility, subject.truncation, subject.area)
    return (subject.caption, subject.category, *(f"{share:.1%}" for share in shares))


def _origin(subject: Subject) -> tuple[str, ...]:
    asset = subject.asset
    return (subject.identity, asset.id, asset.title, asset.author, asset.license)


def _where(subject: Subject) -> tuple[str, ...]:
    flat = (", ".join(map(str, box)) for box in (subject.box2d, subject.box2d_amodal))
    box = subject.box3d
    solid = (", ".join(f"{value:.2f}" for value in values) for values in (box.center, box.size))
    return (*flat, *solid)


def _plain(text: str) -> Text:
    """Text of a set: without markup or control characters, since sets may come from anybody."""
    return Text(printable(text))
