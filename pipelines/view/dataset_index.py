"""What can be asked of a set without opening its shards: facets, words, order.

A scene's id is its place in the index: 0 is the first sample of the first shard.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from urllib.parse import parse_qs

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datagen.errors import UserError
from datagen.shards.metadata import METADATA
from datagen.shards.reader import ShardSet
from datagen.shards.scan import find

SHARES = ("none", "up to 10%", "10% to 30%", "30% to 60%", "over 60%")
_EDGES = (0.005, 0.1, 0.3, 0.6)
LINKS = ("asset", "identity")
"""Facets to filter by, of too many values to list."""
ORDERS = ("shards", "subjects", "occlusion", "truncation", "smallest")


@dataclass(frozen=True, eq=False)
class Facet:
    """Which scenes have which values: pairs of a scene's id and the place of a value in
    ``names``; a scene may have several values, and none twice."""

    names: tuple[str, ...]
    scenes: np.ndarray
    values: np.ndarray

    def holding(self, chosen: Collection[str], total: int) -> np.ndarray:
        """(total,) bool: the scenes that have at least one of the values."""
        wanted = np.array([name in chosen for name in self.names], bool)
        mask = np.zeros(total, bool)
        mask[self.scenes[wanted[self.values]]] = True
        return mask

    def counts(self, mask: np.ndarray) -> dict[str, int]:
        """Of each value, how many scenes of ``mask`` have it."""
        found = np.bincount(self.values[mask[self.scenes]], minlength=len(self.names))
        return dict(zip(self.names, found.tolist(), strict=True))


@dataclass(frozen=True)
class Query:
    """``chosen``: by facet the values of which a scene must have one; ``words``: all of which its
    key, prompts and captions must contain, whatever their case; ``order``: one of ``ORDERS``."""

    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    order: str = ORDERS[0]
    descending: bool = False

    @staticmethod
    def parse(text: str, facets: Collection[str]) -> Query:
        """What the page's URL says: ``subjects=2&subjects=3&q=red+chair&order=occlusion``. Raises
        UserError."""
        asked = parse_qs(text.removeprefix("?"), keep_blank_values=True)
        known = {*facets, "q", "order", "descending"}
        if unknown := sorted(asked.keys() - known):
            raise UserError(f"{unknown[0]!r}: expected one of {', '.join(sorted(known))}")
        order = asked.get("order", [ORDERS[0]])[-1]
        if order not in ORDERS:
            raise UserError(f"order: {order!r}, expected one of {', '.join(ORDERS)}")
        return Query(
            chosen={name: tuple(values) for name, values in asked.items() if name in facets},
            words=tuple(" ".join(asked.get("q", [])).lower().split()),
            order=order,
            descending="descending" in asked,
        )


@dataclass(frozen=True, eq=False)
class Selection:
    """``ids``: scenes in the order asked for. ``counts``: by facet and value, how many scenes
    there would be if that facet were not filtered by."""

    ids: np.ndarray
    counts: dict[str, dict[str, int]]


@dataclass(frozen=True, eq=False)
class Catalogue:
    """``table``: metadata.parquet. ``faults``: what could not be found. ``prompts``: of each scene.
    ``texts``: all its words in lower case. ``ranks``: by order, what scenes are sorted by."""

    shards: ShardSet
    table: pa.Table
    faults: tuple[str, ...]
    keys: tuple[str, ...]
    facets: dict[str, Facet]
    prompts: tuple[str, ...]
    texts: tuple[str, ...]
    ranks: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.keys)

    def select(self, query: Query, marks: Mapping[str, Facet] | None = None) -> Selection:
        """``marks``: more facets, that change while one looks."""
        facets = self.facets | dict(marks or {})
        total = len(self)
        every = np.ones(total, bool)
        held = {
            name: facets[name].holding(values, total)
            for name, values in query.chosen.items()
            if values
        }
        told = every
        if query.words:
            hits = (all(word in text for word in query.words) for text in self.texts)
            told = np.fromiter(hits, bool, total)

        def without(facet: str) -> np.ndarray:
            return reduce(np.logical_and, (m for f, m in held.items() if f != facet), told)

        ids = np.flatnonzero(without(""))
        order = np.argsort(
            self.ranks[query.order][ids] * (-1 if query.descending else 1), kind="stable"
        )
        listed = [name for name in facets if name not in LINKS]
        return Selection(ids[order], {name: facets[name].counts(without(name)) for name in listed})


def open_catalogue(path: str) -> Catalogue:
    """Raises UserError."""
    found = find(path)
    shards, table = found.shards, found.table
    keys = shards.keys()
    if tuple(table["key"].to_pylist()) != keys:
        raise UserError(f"{path}/{METADATA}: its keys are not those of the index; pack again")
    subjects = table["subjects"]
    # The scene that each row of the flat columns belongs to.
    owners = np.repeat(np.arange(len(keys)), _numbers(pc.list_value_length(subjects)))
    flat = pc.list_flatten(subjects)

    def of_subjects(*path: str) -> pa.ChunkedArray:
        return pc.struct_field(flat, list(path))

    hidden = _worst(1 - _numbers(of_subjects("visibility")), owners, len(keys))
    cut = _worst(_numbers(of_subjects("truncation")), owners, len(keys))
    smallest = -_worst(-_numbers(of_subjects("area")), owners, len(keys))
    count = _numbers(table["n_subjects"])
    each = np.arange(len(keys))
    facets = {
        "subjects": _facet(each, pc.cast(table["n_subjects"], pa.string())),
        "split": _facet(each, table["split"]),
        "source": _facet(each, table["source"]),
        "category": _facet(owners, of_subjects("category")),
        "occlusion": _shares(hidden),
        "truncation": _shares(cut),
        "shard": _facet(each, table["shard"]),
        "asset": _facet(owners, of_subjects("asset", "id")),
        "identity": _facet(owners, of_subjects("identity")),
    }
    captions = of_subjects("caption").to_pylist()
    prompts = table["prompt"].to_pylist()
    backgrounds = table["background"].to_pylist()
    texts = [list(words) for words in zip(keys, prompts, backgrounds, strict=True)]
    for owner, caption in zip(owners.tolist(), captions, strict=True):
        texts[owner].append(caption)
    ranks = {
        "shards": each,
        "subjects": count,
        "occlusion": hidden,
        "truncation": cut,
        "smallest": smallest,
    }
    words = tuple("\n".join(text).lower() for text in texts)
    return Catalogue(shards, table, found.faults, keys, facets, tuple(prompts), words, ranks)


def marks_facet(marks: Mapping[int, Sequence[str]], names: Sequence[str]) -> Facet:
    """The facet of what scenes were marked with, by id; others may go on marking."""
    marks = dict(marks)
    place = {name: i for i, name in enumerate(names)}
    pairs = [(scene, place[mark]) for scene, each in marks.items() for mark in each]
    scenes, values = np.array(pairs, int).reshape(-1, 2).T
    return Facet(tuple(names), scenes, values)


def _facet(scenes: np.ndarray, column: pa.ChunkedArray) -> Facet:
    """Values sorted, numbers as numbers."""
    encoded = pc.dictionary_encode(column).combine_chunks()
    names = [str(name) for name in encoded.dictionary.to_pylist()]
    order = sorted(
        range(len(names)),
        key=lambda i: names[i].zfill(8) if names[i].isdigit() else names[i],
    )
    place = np.empty(len(names), int)
    place[order] = np.arange(len(names))
    pairs = np.unique(scenes * len(names) + place[np.from_dlpack(encoded.indices)])
    return Facet(tuple(names[i] for i in order), *divmod(pairs, max(len(names), 1)))


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return np.from_dlpack(column.combine_chunks())  # to_numpy would import pandas: 0.2 s


def _shares(values: np.ndarray) -> Facet:
    return Facet(SHARES, np.arange(len(values)), np.digitize(values, _EDGES))


def _worst(values: np.ndarray, owners: np.ndarray, total: int) -> np.ndarray:
    """The greatest of each scene's values."""
    worst = np.full(total, -np.inf)
    np.maximum.at(worst, owners, values)
    return worst
