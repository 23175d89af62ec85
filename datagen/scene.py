"""The vocabulary: what is planned, what is rendered, what is recorded.

Three tenses of one scene, all frozen dataclasses, all JSON through ``msgspec``:

- ``Asset`` and ``Identity``: what a subject is, before any scene.
- ``SceneSpec``: a scene as decided: every pose, light and word, and nothing measured.
- ``SceneRecord`` and ``Sample``: a scene as it came out: the JSON of the shard format and
  the four pictures beside it (docs/shard-format.md).

Frames. World: metres, z up. Camera: OpenCV (x right, y down, z forward). Asset: x right,
y back, z up, so that the front of an asset looks along -y; the origin is the centre of the
bounding box's bottom face. Pixel boxes are half-open. Angles are radians. Colours are sRGB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

Vec3 = tuple[float, float, float]
Mat3 = tuple[Vec3, Vec3, Vec3]
Vec4 = tuple[float, float, float, float]
Mat4 = tuple[Vec4, Vec4, Vec4, Vec4]

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
FORMAT_VERSION = 1
MAX_SUBJECTS = 10
OCCLUDED = 0.9
"""A subject is called occluded that shows less than this share of its silhouette."""


@dataclass(frozen=True)
class Part:
    """One material slot of an asset, as measured at ingest.

    ``area``: its share in what one sees who walks around the asset, 0..1. ``rgb``: mean sRGB
    colour, 0..1. ``spread``: standard deviation of the colour over the part; above about 0.1 no
    single colour word is true of it.
    """

    name: str
    area: float
    rgb: Vec3
    spread: float


@dataclass(frozen=True)
class Asset:
    """A shape that can stand in a scene.

    ``id`` is unique in the catalogue and stable between runs. ``category`` is the kind of thing
    ("chair"), ``noun`` what a caption calls it, without an article ("office chair"). ``size``:
    real extent in metres along the asset's own x, y, z. ``silhouette``: square metres that it
    hides from one who walks around it, on average. ``recolorable`` is False where other colours
    would be absurd (people, say). ``digest`` fingerprints the geometry and its textures.
    """

    id: str
    category: str
    noun: str
    size: Vec3
    silhouette: float
    parts: tuple[Part, ...]
    recolorable: bool
    source: str
    author: str
    license: str
    digest: str


@dataclass(frozen=True)
class Finish:
    """New surface for one part: a named colour, and a pattern in a second colour.

    ``part`` names a ``Part``. ``color`` and ``accent`` are keys of assets/colors.yaml,
    ``pattern`` a key of assets/patterns.yaml ("plain" ignores ``accent``).
    """

    part: str
    color: str
    pattern: str
    accent: str
    roughness: float
    metallic: float


@dataclass(frozen=True)
class Appearance:
    """How an asset looks this time: uniform scale, and finishes; a part without one keeps
    its own material."""

    scale: float
    finishes: tuple[Finish, ...]


@dataclass(frozen=True)
class Identity:
    """An asset with an appearance. ``id`` is a fingerprint of both, unique in a set."""

    id: str
    asset: Asset
    appearance: Appearance

    @property
    def size(self) -> Vec3:
        """Extent in metres along the asset's own axes, scale applied."""
        x, y, z = self.asset.size
        scale = self.appearance.scale
        return (x * scale, y * scale, z * scale)

    @property
    def apparent_size(self) -> float:
        """How big it looks, in metres: the edge of a square of its silhouette. A fork looks
        smaller than a cup of its length."""
        return self.appearance.scale * math.sqrt(self.asset.silhouette)


@dataclass(frozen=True)
class Pose:
    """Stands on the ground: ``position`` of the asset's origin, ``yaw`` about world z."""

    position: Vec3
    yaw: float


@dataclass(frozen=True)
class Camera:
    """A pinhole camera. ``intrinsics`` in pixels, with pixel (0, 0) covering [0, 1) x [0, 1),
    so that the centre of an image of width w lies at x = w / 2. ``camera_to_world`` takes
    OpenCV camera coordinates to the world."""

    width: int
    height: int
    intrinsics: Mat3
    camera_to_world: Mat4


@dataclass(frozen=True)
class Light:
    """A key light. ``sun``: ``strength`` in W/m2, ``size`` its angle in radians, shining
    along ``direction``. ``area``: ``strength`` in W, ``size`` its edge in metres, placed at
    ``position``."""

    kind: Literal["sun", "area"]
    position: Vec3
    direction: Vec3
    strength: float
    size: float
    color: Vec3


@dataclass(frozen=True)
class EnvironmentMap:
    """An environment map that ships with Blender: ``name`` is its file stem ("sunset")."""

    name: str
    rotation: float
    strength: float


@dataclass(frozen=True)
class Surface:
    """A ground or wall: ``material`` and ``color`` are keys of assets/surfaces.yaml and
    assets/colors.yaml. ``span``: metres that one repeat of its texture covers."""

    material: str
    color: str
    span: float = 2.0


@dataclass(frozen=True)
class Room:
    """Four walls around the world's origin, open above. ``size`` is inside length and width
    in metres."""

    size: tuple[float, float]
    height: float
    walls: Surface


@dataclass(frozen=True)
class Environment:
    """Where a scene takes place. ``phrase`` completes "... in the picture, {phrase}" and says
    nothing that is not rendered. ``room`` has length 0 (outdoors) or 1."""

    place: str
    phrase: str
    environment_map: EnvironmentMap
    lights: tuple[Light, ...]
    ground: Surface
    room: tuple[Room, ...]


@dataclass(frozen=True)
class ViewSpec:
    """One identity view: the subject alone, turned by ``yaw`` before a camera raised by
    ``elevation`` above the horizon, under a light of its own, against transparency."""

    yaw: float
    elevation: float
    environment_map: EnvironmentMap


@dataclass(frozen=True)
class SubjectSpec:
    """One subject as decided. ``index`` runs from 1."""

    index: int
    identity: Identity
    caption: str
    pose: Pose
    views: tuple[ViewSpec, ...]


@dataclass(frozen=True)
class Prompt:
    """``full`` names every subject and the place; ``background`` the place only."""

    full: str
    background: str


@dataclass(frozen=True)
class SceneSpec:
    """A scene as decided. ``seed`` is the set's; ``draw`` counts the deterministic rejections
    before it."""

    key: str
    split: Split
    seed: int
    draw: int
    camera: Camera
    environment: Environment
    subjects: tuple[SubjectSpec, ...]
    prompt: Prompt


@dataclass(frozen=True)
class Box3D:
    """Camera frame. ``rotation`` (row-major) has the box's axes as columns: x right, y back,
    z up of the subject, so the front face is the one at -y."""

    center: Vec3
    size: Vec3
    rotation: Mat3
    estimated: bool


@dataclass(frozen=True)
class Rle:
    """COCO compressed run lengths: ``size`` is (height, width)."""

    size: tuple[int, int]
    counts: str


@dataclass(frozen=True)
class AssetCredit:
    """Whose work a subject is."""

    id: str
    source: str
    author: str
    license: str


@dataclass(frozen=True)
class View:
    """How one column of the identity sheet was made. ``azimuth``: 0 sees the front, rising as
    the subject turns counter-clockwise seen from above. ``light``: the environment
    map, or the lamp."""

    kind: Literal["crop", "render", "repose"]
    azimuth: float
    elevation: float
    light: str


@dataclass(frozen=True)
class Subject:
    """One subject as recorded. Boxes are [x_min, y_min, x_max, y_max], half-open pixels;
    ``box2d_amodal`` may reach outside the frame."""

    index: int
    identity: str
    category: str
    caption: str
    box2d: tuple[int, int, int, int]
    box2d_amodal: tuple[int, int, int, int]
    box3d: Box3D
    visibility: float
    truncation: float
    area: float
    amodal_rle: Rle
    asset: AssetCredit
    views: tuple[View, ...]


@dataclass(frozen=True)
class CameraRecord:
    intrinsics: Mat3
    camera_to_world: Mat4
    estimated: bool


@dataclass(frozen=True)
class DepthScale:
    """What one unit of the depth picture is worth."""

    meters_per_unit: float = 0.001


@dataclass(frozen=True, kw_only=True)
class SceneRecord:
    """``KEY.json`` of the shard format, key for key."""

    format_version: int = FORMAT_VERSION
    key: str
    source: Literal["render", "generate"]
    split: Split
    width: int
    height: int
    prompt: Prompt
    camera: CameraRecord
    depth: DepthScale = DepthScale()
    n_subjects: int
    subjects: tuple[Subject, ...]
    environment: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Sample:
    """A record with its pixels, decoded.

    ``image`` (H, W, 3) uint8 sRGB; ``depth`` (H, W) uint16 in ``record.depth`` units, 0 where
    there is none; ``instances`` (H, W) uint8, 0 = background; ``identities`` (N*S, V*S, 4)
    uint8, the identity sheet: row i - 1 of square blocks is subject i, column 0 its crop.
    """

    record: SceneRecord
    image: np.ndarray
    depth: np.ndarray
    instances: np.ndarray
    identities: np.ndarray

    @property
    def views(self) -> np.ndarray:
        """The blocks of the identity sheet, (N, V, S, S, 4) uint8 RGBA: ``views[i - 1, j]`` is
        column j of subject i. It shares the memory of a contiguous ``identities``."""
        n = self.record.n_subjects
        size = len(self.identities) // n
        return self.identities.reshape(n, size, -1, size, 4).swapaxes(1, 2)
