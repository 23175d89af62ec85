"""Families of figures: robots, teddy bears, rubber ducks and snowmen."""

from __future__ import annotations

import numpy as np

from datagen.catalog.shapes.outline import circle, curve, rectangle, rounded
from datagen.catalog.shapes.part_meshes import Parts
from datagen.catalog.shapes.solid import Solid, ball, box, lathe, prism, tube


def robot(
    height: float, width: float, head: float, arms: float, stance: float, antenna: float
) -> Parts:
    """A robot. ``head`` and ``antenna``: heights as shares of the whole height. ``arms``: length as
    a share of the trunk's height. ``stance``: distance of the feet as a share of the trunk's
    width."""
    skull = head * height
    mast = antenna * height
    leg = 0.2 * height
    trunk = height - skull - mast - leg - 0.03 * height
    torso = 0.66 * width
    deep = 0.62 * torso
    neck = leg + trunk
    chin = neck + 0.03 * height
    face = 0.78 * torso
    eye = 0.13 * face
    front = -0.39 * torso
    button = 0.055 * torso
    disc = rounded([(0, 0), (1, 0), (1, 1), (0, 1)], 0.3)

    def dial(radius: float, depth: float) -> Solid:
        return lathe(disc * [radius, depth], 28).turn("x", np.pi / 2)

    limbs: list[Solid] = []
    joints: list[Solid] = []
    for side in (-1, 1):
        shoulder = leg + 0.82 * trunk
        hand = shoulder - arms * trunk
        x = side * (torso / 2 + 0.09 * width)
        path = [
            (side * 0.46 * torso, 0, shoulder),
            (x, 0, shoulder),
            (x, -0.02 * width, hand + 0.35 * arms * trunk),
            (x, -0.14 * width, hand),
        ]
        limbs.append(tube(rounded(path, 0.1 * width, 6), 0.052 * width))
        joints.append(ball(0.085 * width, 0.085 * width, 0.085 * width).at(x, -0.15 * width, hand))
        foot = side * stance * torso / 2
        limbs.append(lathe(disc * [0.075 * width, leg]).at(foot, 0, 0.02 * height))
        shoe = prism(
            rectangle(0.22 * width, 0.36 * width, 0.08 * width), 0.07 * height, 0.02 * height
        )
        joints.append(shoe.at(foot, -0.05 * width, 0))
        joints.append(
            lathe(disc * [0.13 * face, 0.08 * face], 28)
            .turn("y", side * np.pi / 2)
            .at(side * 0.48 * face, 0, chin + 0.5 * skull)
        )
    body = box(torso, deep, trunk, 0.06 * torso).at(z=leg)
    skull_box = box(face, 0.8 * face, skull, 0.12 * face).at(z=chin)
    collar = lathe(disc * [0.2 * torso, 0.06 * height], 32).at(z=neck - 0.015 * height)
    panel = box(0.66 * torso, 0.05 * torso, 0.42 * trunk, 0.02 * torso)
    eyes = [
        dial(eye, 0.05 * face).at(side * 0.23 * face, -0.39 * face, chin + 0.58 * skull)
        for side in (-1, 1)
    ]
    mouth = box(0.4 * face, 0.04 * face, 0.07 * face, 0.015 * face)
    buttons = [
        dial(button, 0.05 * torso).at(x * torso, 0.8 * front - 0.02 * torso, leg + 0.66 * trunk)
        for x in (-0.2, 0.0, 0.2)
    ]
    rod = lathe(disc * [0.014 * width, mast]).at(z=chin + skull - 0.01 * height)
    tip = 0.045 * width
    return {
        "body": [body, skull_box],
        "limbs": [*limbs, collar, rod],
        "joints": [*joints, ball(tip, tip, tip).at(z=height - tip)],
        "panel": [panel.at(0, 0.8 * front, leg + 0.4 * trunk)],
        "lights": [*eyes, *buttons, mouth.at(0, -0.395 * face, chin + 0.2 * skull)],
    }


def bear(
    height: float, belly: float, head: float, ears: float, limbs: float, snout: float
) -> Parts:
    """A sitting teddy bear. As shares of the height: widths of ``belly``, ``head`` and ``ears``,
    thickness of the ``limbs``, length of the ``snout``."""
    skull = head * height / 2
    body = belly * height / 2
    ear = ears * height / 2
    limb = limbs * height / 2
    up = height - 0.86 * skull - 0.55 * ear
    trunk = 0.5 * (up - 0.55 * skull) + 0.02 * height
    face = -0.9 * skull
    muzzle = snout * height
    fur = [
        ball(body, 0.88 * body, trunk).at(z=trunk),
        ball(skull, 0.92 * skull, 0.88 * skull).at(z=up),
    ]
    light = [
        ball(0.5 * skull, 0.3 * skull + 0.5 * muzzle, 0.38 * skull).at(
            0, face + 0.25 * skull - 0.5 * muzzle, up - 0.24 * skull
        ),
        ball(0.62 * body, 0.5 * body, 0.66 * trunk).at(0, -0.42 * body, 0.98 * trunk),
    ]
    for side in (-1.0, 1.0):
        at_ear = (side * 0.74 * skull, 0.02 * skull, up + 0.68 * skull)
        fur.append(ball(ear, 0.5 * ear, ear).at(*at_ear))
        light.append(
            ball(0.62 * ear, 0.25 * ear, 0.62 * ear).at(
                at_ear[0], at_ear[1] - 0.35 * ear, at_ear[2]
            )
        )
        arm = curve(
            [
                (side * 0.62 * body, -0.1 * body, 1.55 * trunk),
                (side * (body + 0.5 * limb), -0.5 * body, 1.2 * trunk),
                (side * 0.95 * body, -1.05 * body, 0.82 * trunk),
            ],
            16,
        )
        fur.append(tube(arm, np.linspace(0.8 * limb, limb, 16), 24))
        leg = curve(
            [
                (side * 0.5 * body, -0.2 * body, limb * 1.15),
                (side * 0.85 * body, -0.95 * body, limb * 1.1),
                (side * 1.0 * body, -1.4 * body, limb * 1.15),
            ],
            16,
        )
        fur.append(tube(leg, np.linspace(limb, 1.12 * limb, 16), 24))
        pad = ball(0.72 * limb, 0.22 * limb, 0.72 * limb).turn("z", side * 0.3)
        light.append(pad.at(side * 1.09 * body, -1.4 * body - 1.02 * limb, limb * 1.18))
    nose = up - 0.1 * skull
    dark = [
        ball(0.15 * skull, 0.1 * skull, 0.11 * skull).at(0, face + 0.02 * skull - muzzle, nose),
        *(
            ball(0.1 * skull, 0.07 * skull, 0.11 * skull).at(
                side * 0.36 * skull, face + 0.13 * skull, up + 0.2 * skull
            )
            for side in (-1, 1)
        ),
    ]
    knot = up - 0.86 * skull
    wing = 0.3 * skull
    bow = [ball(0.13 * skull, 0.11 * skull, 0.13 * skull).at(0, -0.72 * body, knot)]
    bow += [
        ball(wing, 0.3 * wing, 0.62 * wing)
        .turn("y", side * 0.25)
        .at(side * 1.05 * wing, -0.7 * body, knot)
        for side in (-1.0, 1.0)
    ]
    return {"fur": fur, "patches": light, "eyes": dark, "bow": bow}


def duck(length: float, girth: float, head: float, neck: float, tail: float, beak: float) -> Parts:
    """A rubber duck. As shares of the length: ``girth``, the width; ``head``, its diameter;
    ``neck``, height of the head above the body; ``beak``, how far the beak extends. ``tail``: how
    far the tail rises, relative to the height of the body."""
    half = length / 2
    wide = girth * half
    deep = 0.56 * half
    skull = head * half
    spine = curve(
        [
            (0, -0.72 * half, 0.92 * deep),
            (0, -0.3 * half, 0.98 * deep),
            (0, 0.25 * half, deep),
            (0, 0.68 * half, (1.12 + tail) * deep),
            (0, 0.97 * half, (1.5 + 2.5 * tail) * deep),
        ],
        32,
    )
    t = np.linspace(0, 1, 32)
    fat = deep * np.interp(
        t, [0, 0.12, 0.3, 0.5, 0.7, 0.88, 1.0], [0.7, 0.9, 0.985, 1.0, 0.8, 0.42, 0.1]
    )
    body = tube(spine, np.asarray(curve(np.column_stack([t, fat]), 32)[:, 1]), 40, squash=1.0)
    body = _scale_width(body, wide / deep)
    up = deep * 1.75 + neck * length
    fore = -0.52 * half
    wing = ball(0.14 * wide, 0.42 * half, 0.42 * deep)
    bill = [
        ball(0.42 * skull, beak * length, 0.15 * skull).turn("x", turn).at(0, y, up + z)
        for turn, y, z in (
            (-0.16, fore - 0.85 * skull, -0.08 * skull),
            (0.14, fore - 0.8 * skull, -0.26 * skull),
        )
    ]
    eyes = [
        ball(0.09 * skull, 0.1 * skull, 0.13 * skull)
        .turn("z", side * -0.55)
        .at(side * 0.5 * skull, fore - 0.78 * skull, up + 0.3 * skull)
        for side in (-1.0, 1.0)
    ]
    throat = tube(
        [(0, -0.45 * half, deep), (0, fore + 0.1 * skull, up - 0.2 * skull)], 0.62 * skull, 36
    )
    return {
        "body": [body, ball(skull, skull, 0.95 * skull).at(0, fore, up), throat],
        "wings": [
            wing.turn("x", 0.3)
            .turn("z", side * 0.2)
            .at(side * 0.88 * wide, -0.02 * half, 1.12 * deep)
            for side in (-1.0, 1.0)
        ],
        "beak": bill,
        "eyes": eyes,
    }


def _scale_width(solid: Solid, share: float) -> Solid:
    """The solid scaled along x."""
    points = solid.points * np.array([share, 1.0, 1.0])
    return Solid(points, solid.faces, solid.uv, solid.ring_length)


def snowman(
    height: float, girth: float, waist: float, head: float, hat: float, nose: float
) -> Parts:
    """A snowman. As shares of the height: ``girth``, its width; ``hat``, its height; ``nose``, its
    length. ``waist`` and ``head``: sizes of the upper balls as shares of the ball below."""
    low = girth * height / 2
    mid, top = waist * low, waist * head * low
    brim = 0.98 * top
    hat_height = hat * height
    # The height left below the hat decides how far the balls overlap.
    stack = height - 0.8 * hat_height
    sink = stack / (1.84 * low + 2 * mid + 1.9 * top)
    z_low = 0.92 * low * sink
    z_mid = z_low + (0.86 * low + 0.8 * mid) * sink
    z_top = z_mid + (0.86 * mid + 0.84 * top) * sink
    crown = [
        (0, 0),
        (brim, 0),
        (brim, 0.07 * hat_height),
        (0.62 * brim, 0.1 * hat_height),
        (0.56 * brim, hat_height),
        (0, hat_height),
    ]
    seat = z_top + 0.62 * top
    hat_height_left = height - seat
    crown = [(r, z * hat_height_left / hat_height) for r, z in crown]
    band = [(0.5, 0.1), (0.65, 0.1), (0.64, 0.3), (0.5, 0.3)]
    ribbon = [(r * brim, z * hat_height_left) for r, z in band]
    tip = nose * height
    carrot = lathe(
        [
            (0.16 * top, 0),
            (0.11 * top, 0.5 * tip),
            (0.05 * top, 0.94 * tip),
            (0.03 * top, 0.985 * tip),
            (0, tip),
        ],
        28,
    )
    coal = 0.11 * top

    def on(radius: float, z: float, up: float, across: float) -> tuple[float, float, float]:
        """A point on the front of a ball at height ``z``, by its elevation and azimuth."""
        return (
            radius * np.cos(up) * np.sin(across),
            -radius * np.cos(up) * np.cos(across),
            z + radius * np.sin(up),
        )

    dots = [on(0.97 * top, z_top, 0.28, side * 0.38) for side in (-1, 1)]
    dots += [on(0.97 * mid, z_mid, up, 0.0) for up in (0.45, 0.0, -0.45)]
    knot = z_top - 0.66 * top
    loop = np.column_stack([circle(0.86 * top, 48), np.full(48, knot)])
    end = curve(
        [
            (0.34 * top, -0.86 * top, knot),
            (0.44 * top, -1.0 * mid, knot - 0.5 * mid),
            (0.5 * top, -1.02 * mid, knot - 0.95 * mid),
        ],
        14,
    )
    twigs: list[Solid] = []
    for side in (-1.0, 1.0):
        shoulder = np.array([side * 0.8 * mid, 0.0, z_mid + 0.25 * mid])
        reach = np.array([side * 1.15 * mid, -0.15 * mid, 0.75 * mid])
        twigs.append(tube([shoulder, shoulder + 0.55 * reach, shoulder + reach], 0.055 * mid, 12))
        fork = shoulder + 0.68 * reach
        twigs.append(tube([fork, fork + 0.3 * mid * np.array([side, -0.3, 0.05])], 0.04 * mid, 12))
    return {
        "snow": [
            ball(low, low, 0.92 * low).at(z=z_low),
            ball(mid, mid, 0.92 * mid).at(z=z_mid),
            ball(top, top, 0.95 * top).at(z=z_top),
        ],
        "hat": [lathe(rounded(crown, 0.03 * height), 56).at(z=seat)],
        "ribbon": [lathe(ribbon, 56, loop=True).at(z=seat)],
        "nose": [carrot.turn("x", np.pi / 2).at(0, -0.9 * top, z_top + 0.02 * top)],
        "coal": [ball(coal, coal, coal).at(*position) for position in dots],
        "scarf": [
            tube(loop, 0.24 * top, 20, squash=0.8, loop=True),
            tube(end, 0.17 * top, 20, squash=0.4),
        ],
        "arms": twigs,
    }
