"""Families of vehicles: toy cars and rockets."""

from __future__ import annotations

import numpy as np

from datagen.catalog.shapes.outline import curve, rectangle, rounded
from datagen.catalog.shapes.part_meshes import Parts
from datagen.catalog.shapes.solid import Solid, ball, box, lathe, prism


def _wheel(radius: float, width: float) -> tuple[Solid, Solid]:
    """A tyre and its hub, around the x axis."""
    tyre = [(0, -0.5), (1, -0.5), (1, 0.5), (0, 0.5)]
    rim = [(0, -0.56), (0.52, -0.56), (0.52, 0.56), (0, 0.56)]
    size = np.array([radius, width])
    turned = [
        lathe(rounded(np.array(profile) * size, 0.3 * width), 40).turn("y", np.pi / 2)
        for profile in (tyre, rim)
    ]
    return turned[0], turned[1]


def car(
    length: float, width: float, height: float, cabin: float, bonnet: float, wheel: float
) -> Parts:
    """A toy car. ``cabin`` and ``bonnet``: lengths as shares of the car's length. ``wheel``:
    diameter as a share of the car's height."""
    radius = wheel * height / 2
    low = 0.55 * radius
    waist = 0.58 * height
    nose, tail = -length / 2, length / 2
    side = rounded(
        [
            (nose, low),
            (tail, low),
            (tail - 0.02 * length, waist),
            (nose + bonnet * length, waist),
            (nose + 0.03 * length, waist - 0.13 * height),
        ],
        0.14 * height,
        6,
        closed=True,
    )
    body = prism(side, width, 0.07 * width, steps=5)
    # The outline is in (y, z): rotate it so that the extrusion is along x.
    body = body.turn("x", np.pi / 2).turn("z", np.pi / 2).at(-width / 2)
    glass_length = cabin * length
    center = nose + bonnet * length + 0.53 * glass_length
    floor = rectangle(0.88 * width, glass_length, 0.1 * width)
    shrunk = rectangle(0.72 * width, 0.62 * glass_length, 0.1 * width) + np.array(
        [0, 0.04 * glass_length]
    )
    glass_height = 0.9 * height - waist
    windows = prism(floor, glass_height + 0.04 * height, 0.01 * height, top=shrunk)
    roof = prism(shrunk * 1.06, 0.1 * height, 0.045 * height).at(0, center, 0.9 * height)
    thick = 0.24 * width
    tyres, hubs = [], []
    for x in (-width / 2 + 0.3 * thick, width / 2 - 0.3 * thick):
        for y in (nose + 0.2 * length, tail - 0.2 * length):
            tyre, hub = _wheel(radius, thick)
            tyres.append(tyre.at(x, y, radius))
            hubs.append(hub.at(x, y, radius))
    lamp = 0.075 * width
    lights = [
        ball(lamp, 0.4 * lamp, lamp).at(x * 0.3 * width, nose + 0.012 * length, 0.72 * waist)
        for x in (-1, 1)
    ]
    bumper = [
        box(0.9 * width, 0.04 * length, 0.1 * height, 0.02 * height).at(0, y, 1.05 * low)
        for y in (nose - 0.004 * length, tail + 0.004 * length)
    ]
    return {
        "body": [body, roof],
        "windows": [windows.at(0, center, waist - 0.03 * height)],
        "tyres": tyres,
        "hubs": hubs,
        "lights": lights,
        "bumpers": bumper,
    }


def rocket(
    height: float, width: float, belly: float, fins: float, sweep: float, nose: float
) -> Parts:
    """A rocket. ``belly``: height of the widest part as a share of the whole height. ``fins``:
    their number. ``sweep``: how far the fins extend, as a share of the hull's radius. ``nose``:
    height of the nose cone as a share of the whole height."""
    radius = width / 2
    foot = 0.1 * height
    side = curve(
        [
            (0.55 * radius, foot),
            (0.97 * radius, foot + 0.55 * (belly * height - foot)),
            (radius, belly * height),
            (0.66 * radius, (0.42 + 0.58 * belly) * height),
            (0.02 * radius, height),
        ],
        64,
    )
    cut = int(np.searchsorted(side[:, 1], (1 - nose) * height))
    offset = 0.02 * radius
    hull, cone = side[: cut + 1], side[cut:] + np.array([offset, 0.0])
    seam = side[cut]
    band = [
        (seam[0] + x * radius, seam[1] + z * height)
        for x, z in [(-0.1, -0.012), (0.07, -0.012), (0.07, 0.012), (-0.1, 0.012)]
    ]
    nozzle = [
        (0, foot * 1.1),
        (0.42 * radius, foot * 1.1),
        (0.55 * radius, 0.3 * foot),
        (0.45 * radius, 0.3 * foot),
        (0.3 * radius, 0.9 * foot),
        (0, 0.9 * foot),
    ]
    out = radius * (1 + sweep)
    blade = rounded(
        [
            (0.5 * radius, foot),
            (0.5 * out, 0.75 * foot),
            (0.86 * out, 0.0),
            (out, 0.0),
            (1.02 * out, 0.6 * foot),
            (0.98 * radius, 0.4 * height),
            (0.6 * radius, 0.4 * height),
        ],
        0.1 * radius,
        closed=True,
    )
    thick = 0.11 * radius
    fin = prism(blade, thick, 0.3 * thick).turn("x", np.pi / 2).at(0, thick / 2)
    count = int(fins)
    port = 0.62 * height
    depth = float(np.interp(port, side[:, 1], side[:, 0]))
    hole = 0.36 * radius
    lean = np.arctan2(depth - float(np.interp(port + hole, side[:, 1], side[:, 0])), hole)

    def round_window(radius: float, length: float) -> Solid:
        profile = rounded([(0, 0), (radius, 0), (radius, length), (0, length)], 0.3 * length)
        pane = lathe(profile, 40).turn("x", np.pi / 2 - lean)
        return pane.at(0, -depth + 0.62 * hole, port)

    return {
        "hull": [lathe([(0, foot), *hull, (0, hull[-1][1])], 64)],
        "nose": [lathe([(0, cone[0][1]), *cone, (0, cone[-1][1])], 64)],
        "fins": [fin.turn("z", 2 * np.pi * (i + 0.5) / count + np.pi / 2) for i in range(count)],
        "trim": [
            lathe(rounded(band, 0.01 * height, closed=True), 64, loop=True),
            lathe(rounded(nozzle, 0.05 * radius), 48),
            round_window(hole, 0.78 * hole),
        ],
        "window": [round_window(0.74 * hole, 0.86 * hole)],
    }
