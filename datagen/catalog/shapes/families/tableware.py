"""Families of tableware: mugs, teapots, vases and bottles."""

from __future__ import annotations

import numpy as np

from datagen.catalog.shapes.outline import curve, rounded
from datagen.catalog.shapes.part_meshes import Parts
from datagen.catalog.shapes.solid import ball, lathe, tube


def mug(height: float, width: float, taper: float, wall: float, grip: float, reach: float) -> Parts:
    """A mug. ``taper``: how much narrower the foot is than the rim, as a share. ``grip``: height of
    the handle as a share of the mug's; ``reach``: how far the handle extends, in metres."""
    rim = width / 2
    foot = rim * (1 - taper)
    floor = wall * 1.6
    body = [
        (0, 0),
        (foot, 0),
        (rim, height),
        (rim - wall, height),
        (foot - wall, floor),
        (0, floor),
    ]
    offset = 0.0006
    lining = [
        (0, floor - offset),
        (foot - wall + offset, floor - offset),
        (rim - wall + offset, height - wall),
        (rim - wall - offset, height - wall),
        (foot - wall - offset, floor + offset),
        (0, floor + offset),
    ]
    low, high = height * (0.5 - grip / 2), height * (0.5 + grip / 2)
    thickness = 0.055 * width

    def side(z: float) -> float:
        return foot + (rim - foot) * z / height + thickness - 0.7 * wall

    path = [
        (side(high), 0, high),
        (side(high) + 0.62 * reach, 0, high + 0.01 * height),
        (side(high) + reach, 0, 0.55 * high + 0.45 * low),
        (side(low) + 0.62 * reach, 0, low - 0.01 * height),
        (side(low), 0, low),
    ]
    return {
        "body": [lathe(rounded(body, 0.14 * foot), 56)],
        "handle": [tube(curve(path, 32), thickness, squash=1.35)],
        "inside": [lathe(rounded(lining, 0.14 * foot), 56)],
    }


def teapot(
    height: float, width: float, belly: float, spout: float, lift: float, knob: float
) -> Parts:
    """A teapot. ``belly``: height of the widest part as a share of the body's height. ``spout``:
    its horizontal length as a share of the body's radius. ``lift``: height of the spout's mouth as
    a share of the body's height. ``knob``: radius as a share of the body's radius."""
    body_height = 0.74 * height
    radius = width / 2
    mouth = 0.46 * radius
    side = curve(
        [
            (0.58 * radius, 0.0),
            (0.93 * radius, 0.5 * belly * body_height),
            (radius, belly * body_height),
            (0.84 * radius, (0.45 + 0.55 * belly) * body_height),
            (mouth, body_height),
        ],
        28,
    )
    lid_height = 0.11 * height
    ball_size = knob * radius
    lid = [
        (mouth * 1.1, body_height - 0.012 * height),
        (mouth * 1.1, body_height + 0.018 * height),
        (mouth * 0.72, body_height + 0.7 * lid_height),
        (0.32 * mouth, body_height + lid_height),
    ]
    top = body_height + lid_height
    stem = 0.13 * radius
    tip = lift * body_height
    nozzle = curve(
        [
            (0.72 * radius, 0, 0.36 * body_height),
            (1.12 * radius, 0, 0.5 * body_height),
            (1.0 * radius + 0.62 * spout * radius, 0, 0.5 * (0.52 * body_height + tip)),
            (1.0 * radius + spout * radius, 0, tip),
        ],
        28,
    )
    widths = [stem * (2.3 - 1.45 * (i / 27) ** 0.6) for i in range(28)]
    grip = curve(
        [
            (-0.74 * radius, 0, 0.86 * body_height),
            (-1.2 * radius, 0, 0.97 * body_height),
            (-1.6 * radius, 0, 0.72 * body_height),
            (-1.42 * radius, 0, 0.36 * body_height),
            (-0.86 * radius, 0, 0.22 * body_height),
        ],
        36,
    )
    return {
        "body": [lathe([(0, 0), *side, (0, body_height)], 64), tube(nozzle, widths)],
        "handle": [tube(grip, 0.095 * radius, squash=1.3)],
        "lid": [lathe([(0, body_height - 0.012 * height), *rounded(lid, 0.03), (0, top)], 56)],
        "knob": [ball(ball_size, ball_size, 0.85 * ball_size).at(z=top + 0.7 * ball_size)],
    }


def vase(
    height: float, width: float, neck: float, mouth: float, shoulder: float, foot: float
) -> Parts:
    """A vase. ``neck``, ``mouth`` and ``foot``: radii as shares of the largest radius.
    ``shoulder``: height of the widest part as a share of the vase's height."""
    radius = width / 2
    wall = 0.035 * width
    stand = 0.06 * height
    outside = curve(
        [
            (foot * radius, stand * 0.6),
            (0.5 * (1 + foot) * radius, 0.5 * shoulder * height),
            (radius, shoulder * height),
            (neck * radius, (0.38 + 0.62 * shoulder) * height),
            (mouth * radius, height),
        ],
        32,
    )
    inside = outside[::-1] - [wall, 0.0]
    inside = inside[inside[:, 1] > 2 * stand]
    lip = outside[-1] + wall * np.array([(-0.2, 0.35), (-0.5, 0.48), (-0.8, 0.35)])
    collar = outside[25]
    ring = [
        (collar[0] + 0.3 * wall * c, collar[1] + 0.5 * wall * s)
        for c, s in rounded([(-3, -1.6), (1.6, -1.6), (1.6, 1.6), (-3, 1.6)], 1.5, closed=True)
    ]
    base = [(0, 0), (1.12 * foot * radius, 0), (1.04 * foot * radius, stand), (0, stand)]
    return {
        "body": [
            lathe([(0, 0.6 * stand), *outside, *lip, *inside, (0, 2 * stand)], 56),
        ],
        "collar": [lathe(ring, 64, loop=True)],
        "foot": [lathe(rounded(base, 0.3 * stand), 64)],
    }


def bottle(
    height: float, width: float, neck: float, shoulder: float, label: float, cap: float
) -> Parts:
    """A bottle. ``neck``: radius of the neck as a share of the body's. As shares of the bottle's
    height: ``shoulder``, height of the body; ``label`` and ``cap``, their own heights."""
    radius = width / 2
    slim = neck * radius
    bend = shoulder * height
    top = height * (1 - cap)
    side = rounded(
        [
            (radius, 0.0),
            (radius, bend),
            (slim, bend + 0.55 * (height - bend) * 0.6),
            (slim, top + 0.3 * cap * height),
        ],
        0.11 * height,
        8,
    )
    body = [(0, 0.012 * height), (0.8 * radius, 0.0), (radius, 0.06 * width), *side[1:]]
    low = 0.5 * (bend * 0.92 - label * height)
    offset = 0.006 * width
    sleeve = [
        (radius - offset, low),
        (radius + offset, low),
        (radius + offset, low + label * height),
        (radius - offset, low + label * height),
    ]
    lid = [(0, top), (1.28 * slim, top), (1.2 * slim, height), (0, height)]
    return {
        "body": [lathe([*body, (0, body[-1][1])], 56)],
        "label": [lathe(sleeve, 56, loop=True)],
        "cap": [lathe(rounded(lid, 0.25 * slim), 48)],
    }
