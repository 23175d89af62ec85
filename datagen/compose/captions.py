"""Words for subjects, for how they stand, and for whole scenes. Nothing that is not certain is
said; the grammar is data (assets/prompts.yaml)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import Literal

import numpy as np

from datagen import resources
from datagen.articles import with_article
from datagen.catalog.looks.colors import name_color
from datagen.catalog.looks.patterns import patterns
from datagen.compose.environment import worlds
from datagen.geometry import corners, pose_matrix, project
from datagen.scene import (
    Asset,
    Camera,
    Environment,
    Finish,
    Identity,
    Part,
    Prompt,
    SubjectSpec,
)

# Share of the surface from which on a colour is the whole's: of procedural assets, of which the
# largest part is the thing itself; of others where all of it is painted; where some is measured.
_WHOLE_PROCEDURAL, _WHOLE_PAINTED, _WHOLE_MEASURED = 0.45, 0.6, 0.7
# Smaller parts are not spoken of, and of patterns and the other parts only so many.
_SMALLEST_PART, _MOST_DETAILS = 0.05, 2
# Most relations told of one scene.
_MOST_RELATIONS = 2
# Scenery is told of where the horizon leaves it this share of the picture's height.
_SKY = 0.15

Kind = Literal["left", "right", "front", "behind"]


@dataclass(frozen=True)
class Grammar:
    """assets/prompts.yaml."""

    looks: dict[str, str]
    before_noun: tuple[str, ...]
    one: tuple[str, ...]
    many: tuple[str, ...]
    scenes: tuple[str, ...]
    relations: dict[Kind, str]


@cache
def grammar() -> Grammar:
    return resources.load("prompts.yaml", Grammar)


@dataclass(frozen=True)
class Relation:
    """Subject number ``a`` (from 1) is ``kind`` of subject number ``b``, as the camera sees it."""

    kind: Kind
    a: int
    b: int


@dataclass(frozen=True)
class _Description:
    """ "a {look} {noun} with {details}" """

    look: str
    noun: str
    details: tuple[str, ...]

    def names(self) -> Iterator[str]:
        """From the noun to everything, without an article."""
        yield self.noun
        name = f"{self.look} {self.noun}".strip()
        yield name
        for detail in self.details:
            name += f" {'and' if ' with ' in name else 'with'} {detail}"
            yield name

    @property
    def full(self) -> str:
        *_, full = self.names()
        return full


def describe(identity: Identity) -> str:
    """The caption of an identity: "a red mug with white stripes and a blue handle".

    Finishes are named where they make up most of the surface, parts of procedural assets too;
    the colours of other assets only as far as they were measured and agree.
    """
    return with_article(_describe(identity).full)


def relations(subjects: Sequence[SubjectSpec], camera: Camera) -> tuple[Relation, ...]:
    """Every relation that plainly holds between two subjects in the camera's view.

    Left and right: apart in the picture by most of their widths, and more aside than above.
    Front and behind: in the same columns of the picture, one wholly nearer than the other.
    """
    boxes = {subject.index: _seen(subject, camera) for subject in subjects}
    found = []
    for a, b in permutations(boxes, 2):
        kind = _kind(boxes[a], boxes[b], camera.width)
        if kind:
            found.append(Relation(kind, a, b))
    return tuple(found)


def write_prompt(
    rng: np.random.Generator,
    subjects: Sequence[SubjectSpec],
    camera: Camera,
    environment: Environment,
) -> Prompt:
    """``full``: every subject by its caption, once, where they are, and up to two relations.
    ``background``: the place alone, such that "Place these subjects in {background}." reads."""
    place = f"{environment.phrase} {_scenery(camera, environment)}".strip()
    names = _enumerated([subject.caption for subject in subjects])
    pattern = grammar().scenes[int(rng.integers(len(grammar().scenes)))]
    is_are = "is" if len(subjects) == 1 else "are"
    sentences = [pattern.format(subjects=names, place=place, **{"is": is_are})]
    told = _chosen(rng, relations(subjects, camera), _short_names(subjects))
    if told:
        sentences.append(f"{', and '.join(told)}.")
    return Prompt(
        full=" ".join(sentence[0].upper() + sentence[1:] for sentence in sentences),
        background=place.removeprefix("in "),
    )


def _describe(identity: Identity) -> _Description:
    finishes = {finish.part: finish for finish in identity.appearance.finishes}
    parts = sorted(identity.asset.parts, key=lambda part: (-part.area, part.name))
    color, main = _whole(identity.asset, parts, finishes)
    look, details = color, []
    if color and main in finishes:
        finish = finishes[main]
        if finish.pattern in grammar().before_noun:
            look = _look(finish)
        elif words := patterns()[finish.pattern].words:
            details.append(
                words.format(color=finish.color, accent=finish.accent).removeprefix("with ")
            )
    if identity.asset.source == "procedural":
        spoken = grammar().one + grammar().many
        details += [
            _part_words(finishes[part.name])
            for part in parts
            if part.area >= _SMALLEST_PART
            and part.name in spoken
            and finishes[part.name].color != color
        ]
    return _Description(look, identity.asset.noun, tuple(details[:_MOST_DETAILS]))


def _whole(asset: Asset, parts: Sequence[Part], finishes: dict[str, Finish]) -> tuple[str, str]:
    """The colour of the asset as a whole, and the largest part that has it; both empty where
    there is none. ``parts``: the largest first."""
    areas: dict[str, float] = {}
    largest: dict[str, str] = {}
    measured: set[str] = set()
    for part in parts:
        if part.name in finishes:
            color = finishes[part.name].color
        else:
            # What keeps its colours (people, food) is not called by them.
            color = (asset.recolorable and name_color(part.rgb, part.spread)) or ""
            measured.add(color)
        areas[color] = areas.get(color, 0.0) + part.area
        largest.setdefault(color, part.name)
    areas.pop("", None)
    if asset.source == "procedural":
        color, enough = finishes[parts[0].name].color, _WHOLE_PROCEDURAL
    else:
        color = max(areas, key=lambda name: (areas[name], name), default="")
        enough = _WHOLE_MEASURED if color in measured else _WHOLE_PAINTED
    return (color, largest[color]) if color and areas[color] >= enough else ("", "")


def _look(finish: Finish) -> str:
    template = grammar().looks.get(finish.pattern, "{color}")
    return template.format(color=finish.color, accent=finish.accent)


def _part_words(finish: Finish) -> str:
    """ "a red handle", "brown wooden legs" """
    words = f"{_look(finish)} {finish.part}"
    return words if finish.part in grammar().many else with_article(words)


def _enumerated(captions: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"; with a comma before "and" where a caption has parts."""
    *before, last = captions
    if not before:
        return last
    comma = "," if len(before) > 1 or any(" with " in caption for caption in captions) else ""
    return f"{', '.join(before)}{comma} and {last}"


@dataclass(frozen=True)
class _Seen:
    """Where a subject's box is in the picture: pixels, and metres of depth."""

    left: float
    right: float
    middle: tuple[float, float]
    near: float
    far: float


def _seen(subject: SubjectSpec, camera: Camera) -> _Seen:
    matrix = pose_matrix(subject.pose)
    box = corners(subject.identity.size) @ matrix[:3, :3].T + matrix[:3, 3]
    x, _, depth = project(camera, box).T
    middle = project(camera, box.mean(axis=0)[None])[0]
    return _Seen(x.min(), x.max(), (middle[0], middle[1]), depth.min(), depth.max())


def _kind(a: _Seen, b: _Seen, width: int) -> Kind | None:
    if min(a.near, b.near) <= 0:
        return None
    narrower = min(a.right - a.left, b.right - b.left)
    shared = min(a.right, b.right) - max(a.left, b.left)
    aside, above = a.middle[0] - b.middle[0], a.middle[1] - b.middle[1]
    if shared < 0.2 * narrower and abs(aside) > max(1.2 * abs(above), 0.08 * width):
        return "left" if aside < 0 else "right"
    if shared > 0.4 * narrower:
        if a.far < b.near:
            return "front"
        if b.far < a.near:
            return "behind"
    return None


def _short_names(subjects: Sequence[SubjectSpec]) -> dict[int, str]:
    """For each subject, the shortest name that no other subject answers to; subjects that have
    none are left out."""
    described = {subject.index: _describe(subject.identity) for subject in subjects}
    names = {}
    for index, own in described.items():
        others = [set(other.full.split()) for i, other in described.items() if i != index]
        for name in own.names():
            if not any(set(name.split()) <= other for other in others):
                names[index] = f"the {name}"
                break
    return names


def _chosen(rng: np.random.Generator, held: Sequence[Relation], names: dict[int, str]) -> list[str]:
    """Up to ``_MOST_RELATIONS`` of the relations in words, each about another pair, and no
    subject twice on the same side of a relation."""
    wanted = int(rng.integers(_MOST_RELATIONS + 1))
    told: list[Relation] = []
    for place in rng.permutation(len(held)):
        relation = held[place]
        fresh = all(
            relation.a != other.a and {relation.a, relation.b} != {other.a, other.b}
            for other in told
        )
        if len(told) < wanted and fresh and {relation.a, relation.b} <= names.keys():
            told.append(relation)
    return [
        grammar().relations[relation.kind].format(a=names[relation.a], b=names[relation.b])
        for relation in told
    ]


def _scenery(camera: Camera, environment: Environment) -> str:
    """What the world shows at the horizon, where there is a horizon to be seen."""
    if environment.room:
        return ""
    forward = np.array(camera.camera_to_world)[:3, 2]
    slope = forward[2] / np.hypot(forward[0], forward[1])
    horizon = camera.intrinsics[1][2] + camera.intrinsics[1][1] * slope
    return (
        worlds()[environment.environment_map.name].scenery if horizon > _SKY * camera.height else ""
    )
