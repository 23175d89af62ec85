"""Families of furniture: chairs, stools, tables, lamps, cabinets and armchairs."""

from __future__ import annotations

import numpy as np

from datagen.catalog.shapes.outline import circle, rectangle, rounded
from datagen.catalog.shapes.part_meshes import Parts
from datagen.catalog.shapes.solid import Solid, ball, box, lathe, loft, prism, tube


def leg(
    top: tuple[float, float, float],
    foot: tuple[float, float],
    thick: float,
    thin: float,
    outline: np.ndarray | None = None,
) -> Solid:
    """A tapered leg from ``top`` down to ``foot`` on the ground; ``thick`` and ``thin`` are its
    half-widths at the top and at the foot. ``outline``: its cross-section with half-width 1, a
    circle if None."""
    section = circle(sections=24) if outline is None else outline
    head, toe = np.array(top), np.array([*foot, 0.0])
    bevel = 0.25 * thin / top[2]
    rings = []
    for share, width in ((0.0, 0.75 * thin), (bevel * 0.3, 0.93 * thin), (bevel, thin), (1, thick)):
        center = toe + (head - toe) * share
        rings.append(np.column_stack([center[:2] + section * width, [center[2]] * len(section)]))
    return loft(np.stack(rings))


def four_legs(
    width: float, depth: float, height: float, thick: float, splay: float, square: bool = False
) -> list[Solid]:
    """Four legs below the corners of a ``width`` by ``depth`` board at ``height``. ``splay``: how
    far the feet are outside of the tops, in metres."""
    outline = rectangle(2, 2, 0.3, 4) if square else None
    return [
        leg(
            (sx * (width / 2 - 1.5 * thick), sy * (depth / 2 - 1.5 * thick), height),
            (sx * (width / 2 - 1.5 * thick + splay), sy * (depth / 2 - 1.5 * thick + splay)),
            thick,
            0.62 * thick,
            outline,
        )
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]


def chair(
    width: float, seat: float, height: float, slats: float, tilt: float, splay: float, pad: float
) -> Parts:
    """A chair. ``seat``: height of the seat. ``slats``: their number in the back; 1 makes it a
    solid panel. ``tilt`` of the back and ``splay`` of the legs in metres. ``pad``: thickness of the
    cushion."""
    depth = 0.95 * width
    board = 0.032
    thick = 0.02 + 0.012 * width
    rise = height - seat
    posts: list[Solid] = []
    for side in (-1, 1):
        x = side * (width / 2 - 1.4 * thick)
        y = depth / 2 - 1.5 * thick
        path = [(x, y, seat - 0.02), (x, y + 0.3 * tilt, seat + 0.4 * rise), (x, y + tilt, height)]
        posts.append(tube(rounded(path, 0.15, 6), np.linspace(thick, 0.75 * thick, 9)))
    count = int(slats)
    span = width - 2.8 * thick
    tall = 0.5 * rise if count == 1 else 0.62 * rise / (1.6 * count - 0.6)
    back: list[Solid] = []
    for index in range(count):
        z = 0.97 * rise - tall - index * 1.6 * tall
        y = depth / 2 - 1.5 * thick + tilt * (z + tall / 2) / rise
        slat = box(span + thick, 0.022, tall, 0.009).turn("x", -np.arctan2(tilt, rise))
        back.append(slat.at(0, y, seat + z))
    parts = {
        "seat": [prism(rectangle(width, depth, 0.05), board, 0.01).at(z=seat - board)],
        "back": back,
        "legs": [*four_legs(width, depth, seat - 0.5 * board, thick, splay), *posts],
    }
    cushion = prism(rectangle(width - 0.05, depth - 0.07, 0.07), pad, 0.48 * pad, steps=6)
    return {**parts, "cushion": [cushion.at(0, -0.015, seat - 0.003)]}


def stool(height: float, width: float, legs: float, splay: float, pad: float, rung: float) -> Parts:
    """A round stool. ``legs``: their number. ``pad``: thickness of the cushion. ``rung``: height of
    the foot ring as a share of the stool's height."""
    radius = width / 2
    count = int(legs)
    board = 0.03
    under = height - pad - board
    thick = 0.019
    posts = []
    for index in range(count):
        angle = 2 * np.pi * (index + 0.5) / count - np.pi / 2
        x, y = np.cos(angle), np.sin(angle)
        inner, outer = 0.68 * radius, 0.68 * radius + splay
        posts.append(
            leg((inner * x, inner * y, under + 0.5 * board), (outer * x, outer * y), thick, 0.014)
        )
    reach = 0.68 * radius + splay * (1 - rung * height / under)
    loop = np.column_stack([circle(reach, 64), np.full(64, rung * height)])
    seat = [(0, under), (0.94 * radius, under), (radius, under + board), (0, under + board)]
    top = [(0, 0), (0.99 * radius, 0), (0.99 * radius, pad), (0, pad * 1.06)]
    return {
        "seat": [lathe(rounded(seat, 0.01), 64)],
        "legs": posts,
        "rung": [tube(loop, 0.0085, 14, loop=True)],
        "cushion": [lathe(rounded(top, 0.5 * pad, 7), 64).at(z=height - pad)],
    }


def table(
    width: float, depth: float, height: float, board: float, splay: float, disc: float, shelf: float
) -> Parts:
    """A table. ``disc``: 1 makes the top round. ``shelf``: 1 adds a second board below the top."""
    under = height - board
    if disc:
        radius = width / 2
        profile = [(0, under), (radius, under), (radius, height), (0, height)]
        top = lathe(rounded(profile, 0.4 * board), 80)
        stance = 0.64 * width
        legs = four_legs(stance, stance, under + 0.4 * board, 0.024, splay)
        # Radius of the circle through the legs, to which the boards between them extend.
        reach = float(np.hypot(1, 1)) * (stance / 2 - 0.036)
        low = [(0, 0), (reach + 0.7 * splay, 0), (reach + 0.7 * splay, 0.02), (0, 0.02)]
        tray = lathe(rounded(low, 0.006), 64)
        hoop = [(0, 0), (reach, 0), (reach, 0.04), (0, 0.04)]
        frame = [lathe(rounded(hoop, 0.005), 64).at(z=under - 0.036)]
    else:
        top = prism(rectangle(width, depth, 0.03), board, 0.3 * board).at(z=under)
        stance, across = 0.94 * width, 0.94 * depth
        legs = four_legs(stance, across, under + 0.4 * board, 0.026, 0.4 * splay, square=True)
        tray = box(0.9 * stance, 0.86 * across, 0.02, 0.005)
        frame = [box(0.92 * stance, 0.9 * across, 0.06, 0.004).at(z=under - 0.056)]
    parts = {"top": [top], "legs": legs, "frame": frame}
    return {**parts, "shelf": [tray.at(z=0.3 * height)]} if shelf else parts


def lamp(
    height: float, foot: float, bulge: float, shade: float, slant: float, drop: float
) -> Parts:
    """A table lamp. ``foot`` and ``shade``: diameters. ``slant``: the shade's upper diameter as a
    share of its lower diameter. ``drop``: the shade's height as a share of the lamp's. ``bulge``:
    radius of the stem where it is thickest."""
    low = height * (1 - drop)
    base = [
        (0, 0),
        (foot / 2, 0),
        (foot / 2, 0.03 * height),
        (0.16 * foot, 0.055 * height),
        (0, 0.055 * height),
    ]
    stem = rounded(
        [
            (0.011, 0.04 * height),
            (0.011, 0.1 * height),
            (bulge, 0.3 * low),
            (0.3 * bulge + 0.006, 0.72 * low),
            (0.014, 0.8 * low),
            (0.0095, 0.9 * low),
            (0.0095, low + 0.3 * drop * height),
        ],
        0.09 * height,
        9,
    )
    wide, slim, wall = shade / 2, slant * shade / 2, 0.0025
    cover = [(wide - wall, low), (wide, low), (slim, height), (slim - wall, height)]
    bulb = 0.032
    spider = lathe([(0, 0), (slim, 0), (slim, 0.004), (0, 0.004)], 48)
    return {
        "base": [lathe(rounded(base, 0.012 * height), 64)],
        "stem": [lathe([(0, stem[0][1]), *stem, (0, stem[-1][1])], 48)],
        "shade": [lathe(rounded(cover, 0.001, 2, closed=True), 64, loop=True)],
        "bulb": [
            ball(bulb, bulb, 1.25 * bulb).at(z=low + 0.42 * drop * height),
            spider.at(z=height - 0.1 * drop * height).at(z=-0.004),
        ],
    }


def cabinet(
    width: float, depth: float, height: float, rows: float, columns: float, lift: float
) -> Parts:
    """A cabinet with ``rows`` times ``columns`` drawers. ``lift``: length of the feet in metres."""
    board = 0.022
    body = box(width, depth, height - lift - board, 0.006).at(z=lift)
    lid = box(width + 0.03, depth + 0.02, board, 0.007).at(z=height - board)
    gap = 0.012
    tall = (height - lift - board - gap) / int(rows) - gap
    wide = (width - gap) / int(columns) - gap
    fronts, knobs = [], []
    for row in range(int(rows)):
        for column in range(int(columns)):
            x = -width / 2 + gap + wide / 2 + column * (wide + gap)
            z = lift + gap + row * (tall + gap)
            fronts.append(box(wide, 0.03, tall, 0.006).at(x, -depth / 2 - 0.003, z))
            grip = rounded(
                [(0.007, 0), (0.007, 0.014), (0.017, 0.016), (0.015, 0.03), (0, 0.03)], 0.004
            )
            knob = lathe([(0, 0), *grip], 28).turn("x", np.pi / 2)
            knobs.append(knob.at(x, -depth / 2 - 0.017, z + tall / 2))
    return {
        "body": [body, lid],
        "drawers": fronts,
        "knobs": knobs,
        "feet": four_legs(width, depth, lift + 0.01, 0.024, 0.012),
    }


def armchair(
    width: float, depth: float, height: float, seat: float, arm: float, lean: float
) -> Parts:
    """An armchair. ``seat``: height of the cushion's top. ``arm``: thickness of the arms. ``lean``:
    how far the back leans back, in metres."""
    lift = 0.1
    cushion = 0.15
    rest = seat + 0.2
    inner = width - 2 * arm
    base = box(width - 0.04, depth - 0.06, seat - cushion - lift + 0.03, 0.03).at(z=lift)
    sides = [
        prism(rectangle(depth - 0.03, rest - lift, 0.1, 9), arm, 0.045, steps=6)
        .turn("x", np.pi / 2)
        .turn("z", np.pi / 2)
        .at(sx * (width - arm) / 2 - arm / 2, -0.005, (rest + lift) / 2)
        for sx in (-1, 1)
    ]
    back = (
        prism(rectangle(inner + 0.5 * arm, height - seat + cushion, 0.12, 9), 0.17, 0.06, steps=6)
        .turn("x", np.pi / 2)
        .turn("x", -np.arctan2(lean, height - seat))
        .at(0, depth / 2 - 0.06 - 0.3 * lean, (height + seat - cushion) / 2)
    )
    pad = prism(rectangle(inner - 0.004, depth - 0.2, 0.07, 7), cushion, 0.06, steps=6)
    return {
        "frame": [base, *sides, back],
        "cushion": [pad.at(0, -0.085, seat - cushion)],
        "feet": four_legs(width - 0.06, depth - 0.08, lift + 0.02, 0.026, 0.01),
    }
