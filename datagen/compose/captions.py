"""Captions of subjects, spatial relations between them, and prompts of scenes.

A caption or prompt states only what is certain to be visible. The grammar is data:
assets/prompts.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import Literal

import numpy as np

from datagen import resources
from datagen.articles import with_article
from datagen.catalog.looks.colors import name_color, tinted
from datagen.catalog.looks.patterns import patterns
from datagen.compose.environment import environment_maps
from datagen.geometry import corners, pose_matrix, project
from datagen.scene import (
    Camera,
    Environment,
    Finish,
    Identity,
    Part,
    Prompt,
    SubjectSpec,
)

# Least share of the visible area, from every azimuth, from which an asset as a whole is called by a
# colour: for procedural assets, where no other colour may have more from any azimuth; for other
# assets where finishes alone make up that area; and where measured colours contribute.
_WHOLE_PROCEDURAL, _WHOLE_FINISHED, _WHOLE_MEASURED = 0.45, 0.6, 0.7
# Least visible area of a part that a caption mentions, and most details (pattern and parts) in it.
_MIN_PART_AREA, _MAX_DETAILS = 0.05, 2
# Most relations stated in a prompt.
_MAX_RELATIONS = 2
# Share of the image's height that the horizon must lie below its top for scenery to be mentioned.
_MIN_SKY = 0.15

Kind = Literal["left", "right", "front", "behind"]


@dataclass(frozen=True)
class Grammar:
    """The content of assets/prompts.yaml."""

    looks: dict[str, str]
    before_noun: tuple[str, ...]
    one: tuple[str, ...]
    many: tuple[str, ...]
    scenes: tuple[str, ...]
    relations: dict[Kind, str]


@cache
def grammar() -> Grammar:
    """The grammar of captions and prompts."""
    return resources.load("prompts.yaml", Grammar)


@dataclass(frozen=True)
class Relation:
    """Subject number ``a`` (from 1) is left of, right of, in front of or behind subject number
    ``b``, as the camera sees them."""

    kind: Kind
    a: int
    b: int


@dataclass(frozen=True)
class _Description:
    """The words of a caption, "a {adjectives} {noun} with {details}"."""

    adjectives: str
    noun: str
    details: tuple[str, ...]

    def names(self) -> Iterator[str]:
        """Names without an article, from the noun alone to the full description."""
        yield self.noun
        name = f"{self.adjectives} {self.noun}".strip()
        yield name
        for detail in self.details:
            name += f" {'and' if ' with ' in name else 'with'} {detail}"
            yield name

    @property
    def full(self) -> str:
        *_, full = self.names()
        return full


def describe(identity: Identity) -> str:
    """The caption of an identity, such as "a red mug with white stripes and a blue handle".

    A colour or pattern of the whole is named if it makes up most of the visible area from wherever
    one looks: a wardrobe is not black whose front is white. Parts are named for procedural assets
    only. Colours of an asset without finishes are named only where the measured colours of its
    parts have one certain name.
    """
    return with_article(_describe(identity).full)


def relations(subjects: Sequence[SubjectSpec], camera: Camera) -> tuple[Relation, ...]:
    """Every relation that clearly holds between two subjects in the camera's image.

    Left and right: the subjects overlap horizontally by little of their widths, and are further
    apart horizontally than vertically. Front and behind: they overlap horizontally, and one is
    nearer than the other by its whole depth.
    """
    extents = {subject.index: _image_extent(subject, camera) for subject in subjects}
    found = []
    for a, b in permutations(extents, 2):
        kind = _relation_kind(extents[a], extents[b], camera.width)
        if kind:
            found.append(Relation(kind, a, b))
    return tuple(found)


def write_prompt(
    rng: np.random.Generator,
    subjects: Sequence[SubjectSpec],
    camera: Camera,
    environment: Environment,
) -> Prompt:
    """The prompt of a scene.

    Returns:
        ``full`` lists every subject once by its caption, states the place, and up to two relations.
        ``background`` is the place alone, a noun phrase that completes "Place these subjects in
        {background}."
    """
    place = f"{environment.phrase} {_scenery(camera, environment)}".strip()
    captions = _enumerated([subject.caption for subject in subjects])
    template = grammar().scenes[int(rng.integers(len(grammar().scenes)))]
    is_are = "is" if len(subjects) == 1 else "are"
    sentences = [template.format(subjects=captions, place=place, **{"is": is_are})]
    clauses = _sample_relations(rng, relations(subjects, camera), _unique_names(subjects))
    if clauses:
        sentences.append(f"{', and '.join(clauses)}.")
    return Prompt(
        full=" ".join(sentence[0].upper() + sentence[1:] for sentence in sentences),
        background=place.removeprefix("in "),
    )


def _describe(identity: Identity) -> _Description:
    finishes = {finish.part: finish for finish in identity.appearance.finishes}
    parts = sorted(identity.asset.parts, key=lambda part: (-part.area, part.name))
    color, main_part = _whole_color(identity, parts, finishes)
    adjectives, details = color, []
    if color and main_part in finishes:
        finish = finishes[main_part]
        if finish.pattern in grammar().before_noun:
            adjectives = _adjectives(finish)
        elif words := patterns()[finish.pattern].words:
            details.append(
                words.format(color=finish.color, accent=finish.accent).removeprefix("with ")
            )
    if identity.asset.source == "procedural":
        named_parts = grammar().one + grammar().many
        details += [
            _part_words(finishes[part.name])
            for part in parts
            if part.area >= _MIN_PART_AREA
            and part.name in named_parts
            and finishes[part.name].color != color
        ]
    return _Description(adjectives, identity.asset.noun, tuple(details[:_MAX_DETAILS]))


def _whole_color(
    identity: Identity, parts: Sequence[Part], finishes: dict[str, Finish]
) -> tuple[str, str]:
    """The colour name of an identity as a whole and the largest part of that colour; both empty
    where no colour is certain. ``parts``: the largest first."""
    areas: dict[str, np.ndarray] = {}
    largest: dict[str, str] = {}
    measured: set[str] = set()
    for part in parts:
        if part.name in finishes:
            color = finishes[part.name].color
        else:
            color = _measured_color(identity, part)
            measured.add(color)
        seen = np.array(part.azimuth_areas or (part.area,))
        areas[color] = areas.get(color, np.zeros(1)) + seen
        largest.setdefault(color, part.name)
    procedural = identity.asset.source == "procedural"
    for color, seen in areas.items():
        if procedural:
            certain = seen.min() >= _WHOLE_PROCEDURAL
            certain &= all((seen >= other).all() for other in areas.values())
        else:
            certain = seen.min() >= (_WHOLE_MEASURED if color in measured else _WHOLE_FINISHED)
        if color and certain:
            return color, largest[color]
    return "", ""


def _measured_color(identity: Identity, part: Part) -> str:
    """The colour name of a part that has no finish; empty where it is uncertain."""
    # Assets that keep their own colours (people, food) are not called by a colour.
    if not identity.asset.recolorable:
        return ""
    rgb, spread = part.rgb, part.spread
    for tint in identity.appearance.tint if part.textured else ():
        red, green, blue = tinted(np.array(rgb), tint).tolist()
        rgb, spread = (red, green, blue), spread * max(1.0, tint.saturation)
    return name_color(rgb, spread) or ""


def _adjectives(finish: Finish) -> str:
    """Colour and pattern of a finish before a noun: "red and white striped"."""
    template = grammar().looks.get(finish.pattern, "{color}")
    return template.format(color=finish.color, accent=finish.accent)


def _part_words(finish: Finish) -> str:
    """A part with its finish: "a red handle", "brown wooden legs"."""
    words = f"{_adjectives(finish)} {finish.part}"
    return words if finish.part in grammar().many else with_article(words)


def _enumerated(captions: Sequence[str]) -> str:
    """Joins captions to "a", "a and b" or "a, b and c", with a comma before "and" where a caption
    contains "with". A caption that is repeated says so: "an object and another object"."""
    *before, last = (
        re.sub("^an? ", "another ", caption) if caption in captions[:i] else caption
        for i, caption in enumerate(captions)
    )
    if not before:
        return last
    comma = "," if len(before) > 1 or any(" with " in caption for caption in captions) else ""
    return f"{', '.join(before)}{comma} and {last}"


@dataclass(frozen=True)
class _ImageExtent:
    """Extent of a subject's 3D box in the image: ``left``, ``right`` and ``center`` in pixels,
    ``near`` and ``far`` z-depth in metres."""

    left: float
    right: float
    center: tuple[float, float]
    near: float
    far: float


def _image_extent(subject: SubjectSpec, camera: Camera) -> _ImageExtent:
    matrix = pose_matrix(subject.pose)
    box = corners(subject.identity.size) @ matrix[:3, :3].T + matrix[:3, 3]
    x, _, depth = project(camera, box).T
    center = project(camera, box.mean(axis=0)[None])[0]
    return _ImageExtent(x.min(), x.max(), (center[0], center[1]), depth.min(), depth.max())


def _relation_kind(a: _ImageExtent, b: _ImageExtent, width: int) -> Kind | None:
    """How ``a`` stands to ``b`` in an image ``width`` pixels wide; None where it is not clear."""
    if min(a.near, b.near) <= 0:
        return None
    smaller_width = min(a.right - a.left, b.right - b.left)
    overlap = min(a.right, b.right) - max(a.left, b.left)
    dx, dy = a.center[0] - b.center[0], a.center[1] - b.center[1]
    if overlap < 0.2 * smaller_width and abs(dx) > max(1.2 * abs(dy), 0.08 * width):
        return "left" if dx < 0 else "right"
    if overlap > 0.4 * smaller_width:
        if a.far < b.near:
            return "front"
        if b.far < a.near:
            return "behind"
    return None


def _unique_names(subjects: Sequence[SubjectSpec]) -> dict[int, str]:
    """The shortest name of each subject that fits no other subject, by index; subjects without such
    a name are left out."""
    descriptions = {subject.index: _describe(subject.identity) for subject in subjects}
    names = {}
    for index, description in descriptions.items():
        others = [set(other.full.split()) for i, other in descriptions.items() if i != index]
        for name in description.names():
            if not any(set(name.split()) <= other for other in others):
                names[index] = f"the {name}"
                break
    return names


def _sample_relations(
    rng: np.random.Generator, candidates: Sequence[Relation], names: dict[int, str]
) -> list[str]:
    """Up to ``_MAX_RELATIONS`` of the relations in words, each about another pair of subjects, and
    no subject twice as the first of its pair."""
    count = int(rng.integers(_MAX_RELATIONS + 1))
    chosen: list[Relation] = []
    for position in rng.permutation(len(candidates)):
        relation = candidates[position]
        is_new = all(
            relation.a != other.a and {relation.a, relation.b} != {other.a, other.b}
            for other in chosen
        )
        if len(chosen) < count and is_new and {relation.a, relation.b} <= names.keys():
            chosen.append(relation)
    return [
        grammar().relations[relation.kind].format(a=names[relation.a], b=names[relation.b])
        for relation in chosen
    ]


def _scenery(camera: Camera, environment: Environment) -> str:
    """What the environment map shows at the horizon; empty in a room and where the horizon is too
    close to the top of the image."""
    if environment.room:
        return ""
    forward = np.array(camera.camera_to_world)[:3, 2]
    slope = forward[2] / np.hypot(forward[0], forward[1])
    horizon = camera.intrinsics[1][2] + camera.intrinsics[1][1] * slope
    if horizon <= _MIN_SKY * camera.height:
        return ""
    return environment_maps()[environment.environment_map.name].scenery
