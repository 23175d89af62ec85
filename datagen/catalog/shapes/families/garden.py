"""Families of garden objects: watering cans, mushrooms, birdhouses and cacti."""

from __future__ import annotations

import numpy as np

from datagen.catalog.shapes.outline import circle, curve, rectangle, rounded
from datagen.catalog.shapes.part_meshes import Parts
from datagen.catalog.shapes.solid import Solid, ball, box, lathe, loft, prism, tube


def watering_can(
    height: float, width: float, taper: float, spout: float, lift: float, grip: float
) -> Parts:
    """A watering can. ``height``: of the body. ``taper``: how much narrower the body is at the top,
    as a share. As shares of the body's height: ``spout``, its horizontal length; ``lift``, height
    of its mouth; ``grip``, height of the handle above the body."""
    foot = width / 2
    rim = foot * (1 - taper)
    wall = 0.012 * width
    floor = 0.06 * height
    body = [
        (0, 0),
        (foot, 0),
        (foot, 0.03 * height),
        (0.97 * foot, 0.06 * height),
        (rim, 0.96 * height),
        (1.05 * rim, 0.97 * height),
        (1.05 * rim, height),
        (rim - wall, height),
        (0.95 * foot - wall, floor),
        (0, floor),
    ]
    mouth = np.array([foot + spout * height, 0.0, lift * height])
    root = np.array([0.86 * foot, 0.0, 0.22 * height])
    pipe = curve([root, 0.5 * (root + mouth) + [0.02 * height, 0, -0.04 * height], mouth], 24)
    along = (pipe[-1] - pipe[-2]) / np.linalg.norm(pipe[-1] - pipe[-2])
    rose = 0.15 * height
    head = (
        lathe(
            rounded(
                [
                    (0, 0),
                    (0.04 * height, 0),
                    (0.13 * height, 0.8 * rose),
                    (0.13 * height, 0.9 * rose),
                    (0, 1.05 * rose),
                ],
                0.012 * height,
            ),
            40,
        )
        .turn("y", float(np.arccos(along[2])))
        .at(*(mouth - 0.02 * height * along))
    )
    top = height * (1 + grip)
    bow = curve(
        [
            (0.8 * rim, 0, 0.97 * height),
            (0.35 * rim, 0, top),
            (-0.75 * rim, 0, top * 0.98),
            (-1.75 * rim, 0, 0.82 * height),
            (-0.97 * foot, 0, 0.34 * height),
        ],
        44,
    )
    brace = [pipe[13] + [0, 0, 0.0], (0.93 * rim, 0, 0.86 * height)]
    return {
        "body": [lathe(rounded(body, 0.02 * height), 64)],
        "spout": [
            tube(pipe, np.linspace(0.085, 0.042, 24) * height),
            tube(brace, 0.018 * height, 12),
        ],
        "rose": [head],
        "handle": [tube(bow, 0.036 * height, squash=1.4)],
    }


def mushroom(
    height: float, width: float, dome: float, stalk: float, swell: float, skirt: float
) -> Parts:
    """A mushroom. ``dome``: height of the cap as a share of the whole. ``stalk``: width of the
    stalk as a share of the cap's. ``skirt`` and ``swell``: how much wider than the stalk its ring
    and its foot are, as shares of the stalk's width."""
    radius = width / 2
    edge = height * (1 - dome)
    stem = stalk * radius
    cap = curve(
        [
            (0.0, height),
            (0.5 * radius, height - 0.13 * dome * height),
            (0.87 * radius, height - 0.48 * dome * height),
            (radius, edge + 0.06 * height),
        ],
        28,
    )
    brim = rounded(
        [
            cap[-1],
            (0.99 * radius, edge),
            (0.8 * radius, edge + 0.05 * height),
            (0.0, edge + 0.07 * height),
        ],
        0.03 * height,
    )
    gills = [
        (0, edge + 0.1 * height),
        (0.86 * radius, edge + 0.05 * height),
        (0.82 * radius, edge + 0.024 * height),
        (0.5 * radius, edge + 0.015 * height),
        (0, edge),
    ]
    foot = curve(
        [
            (stem * (0.8 + swell), 0.0),
            (stem * (1 + swell), 0.1 * height),
            (stem * (1 + 0.35 * swell), 0.32 * height),
            (0.92 * stem, edge + 0.06 * height),
        ],
        24,
    )
    ring = [
        (0.8 * stem, 0.68 * edge),
        (stem * (1 + skirt), 0.6 * edge),
        (stem * (1.02 + skirt), 0.63 * edge),
        (0.9 * stem, 0.76 * edge),
    ]
    return {
        "cap": [_from_above(lathe([*cap, *brim], 72))],
        "gills": [lathe(rounded(gills, 0.02 * height), 64)],
        "stem": [
            lathe([(0, 0), *foot, (0, foot[-1][1])], 48),
            lathe(rounded(ring, 0.01 * height, closed=True), 48, loop=True),
        ],
    }


def _from_above(solid: Solid) -> Solid:
    """The solid with texture coordinates projected from above and stretched with the slope, so that
    they have no pole."""
    radius = np.hypot(solid.points[:, 0], solid.points[:, 1])
    drop = solid.points[:, 2].max() - solid.points[:, 2]
    # On a dome the distance from the top along the surface is close to the chord.
    stretch = np.hypot(radius, drop) / np.maximum(radius, 1e-9)
    uv = (solid.points[:, :2] * np.where(radius > 0, stretch, 1.0)[:, None])[solid.faces]
    return Solid(solid.points, solid.faces, uv, np.zeros(len(solid.faces)))


def birdhouse(
    width: float, depth: float, wall: float, gable: float, eaves: float, hole: float, post: float
) -> Parts:
    """A birdhouse, all in metres. ``wall``: height of the walls; ``gable``: height of the roof.
    ``eaves``: how far the roof extends beyond the walls. ``hole``: diameter of the entrance.
    ``post``: height of the stand."""
    half = width / 2
    outline = [(-half, 0), (half, 0), (half, wall), (0, wall + gable), (-half, wall)]
    body = prism(rounded(outline, 0.006, 2, closed=True), depth, 0.003)
    body = body.turn("x", np.pi / 2).at(0, depth / 2, post)
    slope = float(np.arctan2(gable, half))
    run = float(np.hypot(gable, half)) + eaves
    slab = 0.09 * width
    roof = [
        box(run + 0.45 * slab, depth + 2 * eaves, slab, 0.15 * slab)
        .at(run / 2 - 0.22 * slab, 0, 0)
        .turn("y", slope)
        .at(0, 0, post + wall + gable - 0.25 * slab)
    ]
    roof.append(roof[0].mirror().at(0, 0, 0))
    entry = post + 0.62 * wall

    def disc(radius: float, length: float) -> Solid:
        profile = rounded([(0, 0), (radius, 0), (radius, length), (0, length)], 0.3 * length)
        return lathe(profile, 40).turn("x", np.pi / 2).at(0, -depth / 2 + 0.004, entry)

    peg = 0.03 * width
    perch = tube(
        [(0, -depth / 2 + 0.01, entry - hole), (0, -depth / 2 - 0.3 * width, entry - hole)], peg, 20
    )
    foot = prism(rectangle(0.8 * width, 0.8 * depth, 0.1 * width), 0.09 * width, 0.02 * width)
    stand = box(0.22 * width, 0.22 * width, post, 0.01 * width).at(z=0.002)
    floor = box(1.12 * width, 1.12 * depth, 0.07 * width, 0.015 * width).at(z=post - 0.05 * width)
    return {
        "walls": [body],
        "roof": roof,
        "hole": [disc(hole / 2, 0.0055)],
        "trim": [_ring(hole / 2, 0.012 * width + 0.003).at(0, -depth / 2 + 0.002, entry), perch],
        "stand": [foot, stand, floor],
    }


def _ring(radius: float, thick: float) -> Solid:
    """A torus around the y axis."""
    loop = np.column_stack([circle(radius, 48), np.zeros(48)])
    return tube(loop, thick, 14, loop=True).turn("x", np.pi / 2)


def cactus(
    height: float, width: float, ribs: float, arms: float, pot: float, bloom: float
) -> Parts:
    """A cactus in a pot. ``width``: of the trunk. ``ribs`` and ``arms``: their numbers. ``pot``:
    height of the pot as a share of the whole. ``bloom``: size of the flower as a share of the
    trunk's width."""
    radius = width / 2
    tall = pot * height
    rim = 1.75 * radius
    shell = [
        (0, 0),
        (0.7 * rim, 0),
        (0.9 * rim, 0.74 * tall),
        (rim, 0.75 * tall),
        (rim, tall),
        (0.86 * rim, tall),
        (0.84 * rim, 0.8 * tall),
        (0, 0.8 * tall),
    ]
    soil = [
        (0, 0.78 * tall),
        (0.85 * rim, 0.78 * tall),
        (0.84 * rim, 0.88 * tall),
        (0, 0.93 * tall),
    ]
    flower = bloom * radius
    top = height - 0.55 * flower
    trunk = [_ribbed(np.array([(0, 0, 0.84 * tall), (0, 0, top)]), radius, int(ribs))]
    for index in range(int(arms)):
        side = (1.0, -1.0)[index % 2]
        slim = 0.55 * radius
        start = tall + (top - tall) * (0.32, 0.46, 0.4)[index]
        reach = radius + 1.25 * slim
        path = rounded(
            [
                (side * 0.3 * radius, 0, start),
                (side * reach, 0, start + 0.1 * slim),
                (side * reach, 0, start + (top - start) * (0.62, 0.4, 0.5)[index]),
            ],
            1.4 * slim,
            8,
        )
        trunk.append(_ribbed(path, slim, max(6, int(ribs) - 3)).turn("z", 0.35 * index))
    petals = [
        ball(0.3 * flower, 0.52 * flower, 0.13 * flower)
        .at(0, -0.45 * flower)
        .turn("x", -0.55)
        .turn("z", 2 * np.pi * i / 6)
        .at(0, 0, top - 0.02 * flower)
        for i in range(6)
    ]
    return {
        "pot": [lathe(rounded(shell, 0.05 * tall), 64)],
        "soil": [lathe(soil, 48)],
        "cactus": trunk,
        "flower": petals,
        "pollen": [ball(0.26 * flower, 0.26 * flower, 0.26 * flower).at(z=top + 0.05 * flower)],
    }


def _ribbed(path: np.ndarray, radius: float, ribs: int) -> Solid:
    """A column with ``ribs`` along a path (K, 3) in the xz plane, with a round end."""
    line = _resample(path, 22)
    left = float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())
    tangents = np.gradient(line, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    arc_length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    to_end = np.clip((left - arc_length) / (1.1 * radius), 0.0, 1.0)
    swell = np.maximum(np.sqrt(1 - (1 - to_end) ** 2), 0.02)
    angle = np.linspace(0, 2 * np.pi, 6 * ribs, endpoint=False)
    flute = radius * (1 - 0.13 * (1 - np.abs(np.cos(ribs * angle / 2))) ** 0.8)
    rings = []
    for point, tangent, size in zip(line, tangents, swell, strict=True):
        side = np.array([0.0, 1.0, 0.0])
        other = np.cross(tangent, side)
        rim = np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * other
        rings.append(point + size * flute[:, None] * rim)
    return loft(np.stack(rings))


def _resample(path: np.ndarray, samples: int) -> np.ndarray:
    """Points (samples, 3) along a polyline (K, 3), evenly spaced at first and closer towards its
    end."""
    arc_length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    t = arc_length[-1] * np.sin(np.linspace(0, np.pi / 2, samples))
    return np.column_stack([np.interp(t, arc_length, path[:, axis]) for axis in range(3)])
