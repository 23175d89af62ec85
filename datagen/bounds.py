"""Bounds of the numbers and texts in a record.

They are part of the shard format (docs/shard-format.md): a record that breaks one is neither
written nor read, so that nothing behind the decoder has to check it.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

MAX_SIDE = 8192  # pixels, of any picture of a sample
MAX_PIXELS = 2**24  # of any picture of a sample: 4096 x 4096
MAX_VIEWS = 64  # identity views of a subject, the crop included
MAX_TEXT = 10_000  # characters of a prompt, a caption or a name
MAX_RUNS = 2**20  # characters of a mask's run lengths

Side = Annotated[int, Meta(ge=1, le=MAX_SIDE)]
Text = Annotated[
    str, Meta(pattern=r"\S", max_length=MAX_TEXT, description="text that is not blank")
]
Label = Annotated[str, Meta(max_length=MAX_TEXT)]
Coordinate = Annotated[int, Meta(ge=-(10**6), le=10**6)]
Metres = Annotated[float, Meta(ge=-1e6, le=1e6)]
Extent = Annotated[float, Meta(ge=1e-6, le=1e6)]
FocalLength = Annotated[float, Meta(ge=1, le=1e6)]
Pixels = Annotated[float, Meta(ge=-1e6, le=1e6)]
Zero = Annotated[float, Meta(ge=0, le=0)]
One = Annotated[float, Meta(ge=1, le=1)]
Cosine = Annotated[float, Meta(ge=-1.001, le=1.001)]
Angle = Annotated[float, Meta(ge=-1000, le=1000)]

Box2D = tuple[Coordinate, Coordinate, Coordinate, Coordinate]
Axis = tuple[Cosine, Cosine, Cosine]
PoseRow = tuple[Cosine, Cosine, Cosine, Metres]
Intrinsics = tuple[
    tuple[FocalLength, Pixels, Pixels], tuple[Zero, FocalLength, Pixels], tuple[Zero, Zero, One]
]
"""Of a pinhole camera, in pixels: ((fx, skew, cx), (0, fy, cy), (0, 0, 1))."""
RigidTransform = tuple[PoseRow, PoseRow, PoseRow, tuple[Zero, Zero, Zero, One]]
