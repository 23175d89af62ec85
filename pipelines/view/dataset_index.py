"""Filter, search and sort the scenes of a dataset, without opening its shards.

A scene's id is its position in the index: 0 is the first sample of the first shard.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import islice
from urllib.parse import parse_qs

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datagen.errors import UserError
from datagen.shards.metadata import METADATA
from datagen.shards.reader import ShardSet
from datagen.shards.scan import find

SHARE_NAMES = ("none", "up to 10%", "10% to 30%", "30% to 60%", "over 60%")
_SHARE_EDGES = (0.005, 0.1, 0.3, 0.6)
UNLISTED_FACETS = ("key", "asset", "identity")
"""Facets that one can filter by, but that have too many values to list and count."""
ORDERS = ("shards", "subjects", "occlusion", "truncation", "smallest")
"""Sort keys: position in the shards, number of subjects, the largest occluded and the largest
truncated share of a subject, the area of the smallest subject."""

_TERM = re.compile(r'["“”]([^"“”]*)["“”]?|([^\s,"“”]+)')


@dataclass(frozen=True, eq=False)
class Facet:
    """A property to filter by, as P pairs of a scene and a value. A scene may have several values;
    no pair occurs twice."""

    names: tuple[str, ...]
    """The values that the property can have."""
    scenes: np.ndarray
    """(P,) int: the scene's id."""
    values: np.ndarray
    """(P,) int: the value, as an index into ``names``."""

    def matches(self, chosen: Collection[str], total: int) -> np.ndarray:
        """(total,) bool: whether a scene has at least one of the ``chosen`` values."""
        wanted = np.array([name in chosen for name in self.names], bool)
        mask = np.zeros(total, bool)
        mask[self.scenes[wanted[self.values]]] = True
        return mask

    def counts(self, mask: np.ndarray) -> dict[str, int]:
        """For each value, how many scenes have it, among those where ``mask`` (total,) is True."""
        found = np.bincount(self.values[mask[self.scenes]], minlength=len(self.names))
        return dict(zip(self.names, found.tolist(), strict=True))


@dataclass(frozen=True)
class Query:
    """Filters and sort order."""

    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Values by facet. A scene must have at least one of the values of each facet."""
    terms: tuple[str, ...] = ()
    """Words and phrases in lower case. Each of them must occur in the key, prompts or captions;
    case is ignored."""
    order: str = ORDERS[0]
    """One of ``ORDERS``."""
    descending: bool = False

    @staticmethod
    def parse(text: str, facets: Collection[str]) -> Query:
        """Parse the query string of the page's URL.

        Args:
            text: such as ``subjects=2&subjects=3&q=red+chair&order=occlusion``.
            facets: the names of all facets.

        Raises:
            UserError: a parameter is neither a facet nor ``q``, ``order`` or ``descending``; the
                order is unknown.
        """
        parameters = parse_qs(text.removeprefix("?"), keep_blank_values=True)
        known = {*facets, "q", "order", "descending"}
        if unknown := sorted(parameters.keys() - known):
            raise UserError(f"{unknown[0]!r}: expected one of {', '.join(sorted(known))}")
        order = parameters.get("order", [ORDERS[0]])[-1]
        if order not in ORDERS:
            raise UserError(f"order: {order!r}, expected one of {', '.join(ORDERS)}")
        return Query(
            chosen={name: tuple(values) for name, values in parameters.items() if name in facets},
            terms=search_terms(" ".join(parameters.get("q", []))),
            order=order,
            descending="descending" in parameters,
        )


@dataclass(frozen=True, eq=False)
class Selection:
    """The scenes that match a query."""

    ids: np.ndarray
    """(S,) int: ids of scenes in the order of the query."""
    counts: dict[str, dict[str, int]]
    """By facet and value: how many scenes have the value and match all filters except those of
    this facet."""


@dataclass(frozen=True, eq=False)
class DatasetIndex:
    """A dataset, prepared for queries. Sequences have one entry per scene, at the scene's id."""

    shards: ShardSet
    table: pa.Table
    """The rows of metadata.parquet."""
    problems: tuple[str, ...]
    """One message for each thing that is missing or could not be read."""
    keys: tuple[str, ...]
    facets: dict[str, Facet]
    prompts: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]
    """Of the subjects of each scene."""
    texts: tuple[str, ...]
    """Key, prompts and captions of a scene in lower case, to search in."""
    sort_values: dict[str, np.ndarray]
    """By the names in ``ORDERS``: (total,) numbers to sort scenes by."""

    def __len__(self) -> int:
        return len(self.keys)

    def select(self, query: Query, more_facets: Mapping[str, Facet] | None = None) -> Selection:
        """The scenes that match a query, and counts for the filters.

        Args:
            query: its facets must be in ``facets`` or ``more_facets``.
            more_facets: facets that are not part of the index because they change while the
                viewer runs.
        """
        facets = self.facets | dict(more_facets or {})
        total = len(self)
        facet_matches = {
            name: facets[name].matches(values, total)
            for name, values in query.chosen.items()
            if values
        }
        term_matches = np.ones(total, bool)
        if query.terms:
            hits = (all(term in text for term in query.terms) for text in self.texts)
            term_matches = np.fromiter(hits, bool, total)

        def matches_except(facet: str) -> np.ndarray:
            masks = (mask for name, mask in facet_matches.items() if name != facet)
            return reduce(np.logical_and, masks, term_matches)

        ids = np.flatnonzero(matches_except(""))
        order = np.argsort(
            self.sort_values[query.order][ids] * (-1 if query.descending else 1), kind="stable"
        )
        listed = [name for name in facets if name not in UNLISTED_FACETS]
        counts = {name: facets[name].counts(matches_except(name)) for name in listed}
        return Selection(ids[order], counts)


def open_dataset_index(path: str) -> DatasetIndex:
    """Read what queries need of a dataset.

    Args:
        path: a folder of shards, an fsspec URL or one tar.

    Raises:
        UserError: there is no dataset at ``path``; its metadata and its index disagree.
    """
    found = find(path)
    shards, table = found.shards, found.table
    keys = shards.keys()
    if tuple(table["key"].to_pylist()) != keys:
        raise UserError(f"{path}/{METADATA}: its keys differ from those of the index; pack again")
    subjects = table["subjects"]
    # The id of the scene that each row of the flattened subject columns belongs to.
    owners = np.repeat(np.arange(len(keys)), _to_numpy(pc.list_value_length(subjects)))
    flat = pc.list_flatten(subjects)

    def subject_column(*path: str) -> pa.ChunkedArray:
        return pc.struct_field(flat, list(path))

    occluded = _maximum_per_scene(1 - _to_numpy(subject_column("visibility")), owners, len(keys))
    truncated = _maximum_per_scene(_to_numpy(subject_column("truncation")), owners, len(keys))
    smallest = -_maximum_per_scene(-_to_numpy(subject_column("area")), owners, len(keys))
    count = _to_numpy(table["n_subjects"])
    ids = np.arange(len(keys))
    facets = {
        "key": _column_facet(ids, table["key"]),
        "subjects": _column_facet(ids, pc.cast(table["n_subjects"], pa.string())),
        "split": _column_facet(ids, table["split"]),
        "source": _column_facet(ids, table["source"]),
        "category": _column_facet(owners, subject_column("category")),
        "occlusion": _share_facet(occluded),
        "truncation": _share_facet(truncated),
        "shard": _column_facet(ids, table["shard"]),
        "asset": _column_facet(owners, subject_column("asset", "id")),
        "identity": _column_facet(owners, subject_column("identity")),
    }
    prompts = table["prompt"].to_pylist()
    backgrounds = table["background"].to_pylist()
    flat_captions = iter(subject_column("caption").to_pylist())
    lengths = np.bincount(owners, minlength=len(keys)).tolist()
    captions = tuple(tuple(islice(flat_captions, length)) for length in lengths)
    texts = zip(keys, prompts, backgrounds, captions, strict=True)
    sort_values = {
        "shards": ids,
        "subjects": count,
        "occlusion": occluded,
        "truncation": truncated,
        "smallest": smallest,
    }
    lower_texts = tuple(_searchable(*parts, *row) for *parts, row in texts)
    return DatasetIndex(
        shards, table, found.problems, keys, facets, tuple(prompts), captions, lower_texts,
        sort_values,
    )  # fmt: skip


def search_terms(text: str) -> tuple[str, ...]:
    """The words and phrases of a search, in lower case. A phrase is in double quotes; a quote that
    is not closed begins a phrase, too. Between terms stand spaces or commas."""
    found = ((phrase or word).lower().split() for phrase, word in _TERM.findall(text))
    return tuple(" ".join(words) for words in found if words)


def facet_of(values: Mapping[int, Sequence[str]], names: Sequence[str]) -> Facet:
    """A facet from the values of some scenes.

    Args:
        values: values by the scene's id. Another thread may add to it meanwhile.
        names: all values that can occur.
    """
    position = {name: i for i, name in enumerate(names)}
    # A copy, because another thread may add to it.
    pairs = [(scene, position[value]) for scene, each in dict(values).items() for value in each]
    scene_ids, positions = np.array(pairs, int).reshape(-1, 2).T
    return Facet(tuple(names), scene_ids, positions)


def _searchable(*parts: str) -> str:
    """Texts in lower case, in lines. Spaces and line breaks within a text are single spaces."""
    return "\n".join(" ".join(part.split()) for part in parts).lower()


def _column_facet(scenes: np.ndarray, column: pa.ChunkedArray) -> Facet:
    """The facet of a column whose row i belongs to scene ``scenes[i]``. Its values are sorted,
    those that are numbers by value."""
    encoded = pc.dictionary_encode(column).combine_chunks()
    names = [str(name) for name in encoded.dictionary.to_pylist()]
    order = sorted(
        range(len(names)),
        key=lambda i: names[i].zfill(8) if names[i].isdigit() else names[i],
    )
    position = np.empty(len(names), int)
    position[order] = np.arange(len(names))
    pairs = np.unique(scenes * len(names) + position[np.from_dlpack(encoded.indices)])
    return Facet(tuple(names[i] for i in order), *divmod(pairs, max(len(names), 1)))


def _to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    return np.from_dlpack(column.combine_chunks())  # pyarrow's to_numpy imports pandas: 0.2 s


def _share_facet(values: np.ndarray) -> Facet:
    return Facet(SHARE_NAMES, np.arange(len(values)), np.digitize(values, _SHARE_EDGES))


def _maximum_per_scene(values: np.ndarray, owners: np.ndarray, total: int) -> np.ndarray:
    """(total,): the maximum of each scene's values; ``owners`` has the scene of each value."""
    maximum = np.full(total, -np.inf)
    np.maximum.at(maximum, owners, values)
    return maximum
