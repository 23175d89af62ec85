"""Data types of scenes, shared by all packages: what is planned, rendered and recorded.

All are frozen dataclasses and, except ``Sample``, JSON through ``msgspec``. In the order in which
a scene is made:

- ``Asset`` and ``Identity``: what a subject is, before any scene.
- ``SceneSpec``: a scene as composed: every pose, light and word; nothing in it is measured.
- ``SceneRecord`` and ``Sample``: a scene as rendered and annotated: the JSON of the shard format
  and the four images beside it (docs/shard-format.md).

Frames. World: metres, z up. Camera: OpenCV (x right, y down, z forward), metres. Asset: x right,
y back, z up, metres, so that the front of an asset faces -y; the origin is the centre of the
bounding box's bottom face. Pixel boxes are half-open. Angles are radians. Colours are sRGB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from datagen.bounds import (
    MAX_RUNS,
    MAX_VIEWS,
    Angle,
    Axis,
    Box2D,
    Extent,
    Intrinsics,
    Label,
    Metres,
    RigidTransform,
    Side,
    Text,
)
from datagen.validation import CountOrZero, Share

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
"""A subject is called occluded if less than this share of its silhouette is visible."""


@dataclass(frozen=True)
class Part:
    """One material slot of an asset, as measured when the asset was made or ingested.

    ``area``: its share of the asset's visible area, a mean over views from all around, 0 to 1.
    ``rgb``: mean sRGB colour, 0 to 1. ``spread``: standard deviation of the colour over the part;
    above about 0.1 no single colour name is true of it. ``azimuth_areas``: its share of the visible
    area from each of some azimuths evenly spread around the asset, the first at the front; empty
    where only the mean is known. ``textured``: its colour comes from a texture.
    """

    name: str
    area: float
    rgb: Vec3
    spread: float
    azimuth_areas: tuple[float, ...] = ()
    textured: bool = False


@dataclass(frozen=True)
class Asset:
    """A 3D model that can be a subject.

    ``id`` is unique in the catalogue and stable between runs. ``category`` is the kind of object
    ("chair"), ``noun`` what a caption calls it, without an article ("office chair"). ``size``:
    real extent in metres along the asset's own x, y, z. ``silhouette``: area of its silhouette in
    square metres, a mean over views from all around. ``recolorable`` is False where other colours
    would be absurd (people, for example). ``source``: the library it comes from. ``digest``
    identifies the geometry and its textures. ``size_guessed``: the unit of ``size`` is a guess.
    ``color_assumed``: the colour of a part is not stated and gray is assumed. ``decimated_from``:
    number of faces before decimation, 0 where there was none. ``shape``: id of the first asset with
    the same geometry, whatever the materials; its own id if there is no other, empty if unknown.
    ``title``: what its author calls the work; empty if unknown.
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
    size_guessed: bool = False
    color_assumed: bool = False
    decimated_from: int = 0
    shape: str = ""
    title: str = ""


@dataclass(frozen=True)
class Finish:
    """A new material for one part: a named colour, and a pattern in a second colour, ``accent``.

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
class Tint:
    """A change of the colours of a texture; its detail stays. In Oklab: ``hue`` is added to the
    hue, in radians; ``saturation`` is a factor of the chroma; the lightness, 0 to 1, is raised to
    the power ``gamma``."""

    hue: float
    saturation: float
    gamma: float


@dataclass(frozen=True)
class Appearance:
    """What an identity changes about its asset: a uniform scale, finishes, and a tint of all
    textures (length 0 or 1). A part without a texture and without a finish keeps its material."""

    scale: float
    finishes: tuple[Finish, ...]
    tint: tuple[Tint, ...] = ()


@dataclass(frozen=True)
class Identity:
    """An asset with an appearance. ``id`` is a fingerprint of both, unique in a dataset."""

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
        """Edge in metres of a square with the area of its silhouette. A fork is apparently smaller
        than a cup of the same length."""
        return self.appearance.scale * math.sqrt(self.asset.silhouette)


@dataclass(frozen=True)
class Pose:
    """Pose of an upright asset in the world: ``position`` of its origin in metres, ``yaw`` about
    the world's z axis in radians."""

    position: Vec3
    yaw: float


@dataclass(frozen=True)
class Camera:
    """A pinhole camera. ``intrinsics`` in pixels, with pixel (0, 0) covering [0, 1) x [0, 1),
    so that the centre of an image of width w is at x = w / 2. ``camera_to_world`` transforms
    OpenCV camera coordinates to the world."""

    width: int
    height: int
    intrinsics: Mat3
    camera_to_world: Mat4


@dataclass(frozen=True)
class Light:
    """A key light in the world. ``sun``: ``strength`` in W/m2, ``size`` its angular diameter in
    radians; it shines along ``direction``. ``area``: ``strength`` in W, ``size`` its edge in
    metres; it is at ``position`` and faces ``direction``."""

    kind: Literal["sun", "area"]
    position: Vec3
    direction: Vec3
    strength: float
    size: float
    color: Vec3


@dataclass(frozen=True)
class EnvironmentMap:
    """An environment map that ships with Blender: ``name`` is its file stem ("sunset"),
    ``rotation`` in radians about the world's z axis, ``strength`` a factor."""

    name: str
    rotation: float
    strength: float


@dataclass(frozen=True)
class Surface:
    """Material of a ground or wall: ``material`` and ``color`` are keys of assets/surfaces.yaml and
    assets/colors.yaml. ``span``: metres that one repeat of its texture covers."""

    material: str
    color: str
    span: float = 2.0


@dataclass(frozen=True)
class Room:
    """Four walls around the world's origin, without a ceiling. ``size``: length (x) and width (y)
    inside, in metres."""

    size: tuple[float, float]
    height: float
    walls: Surface


@dataclass(frozen=True)
class Table:
    """The table on which the subjects of a scene stand, around the world's origin. ``size`` of its
    top along x and y, in metres; ``height`` above the floor, which is at z = -``height``."""

    size: tuple[float, float]
    height: float
    floor: Surface


@dataclass(frozen=True)
class Prop:
    """A thing in the background that is no subject. ``kind`` is a key of assets/props.yaml,
    ``size`` its extent in metres along its own axes (as of an asset), ``color`` sRGB in
    hexadecimal."""

    kind: str
    size: Vec3
    pose: Pose
    color: str


@dataclass(frozen=True)
class Environment:
    """Where a scene takes place. ``phrase`` follows the subjects in a prompt ("in a room with ...")
    and states nothing that is not rendered. ``ground``: what the subjects stand on, at z = 0.
    ``room`` has length 0 (no walls) or 1, ``table`` likewise."""

    place: str
    phrase: str
    environment_map: EnvironmentMap
    lights: tuple[Light, ...]
    ground: Surface
    room: tuple[Room, ...]
    table: tuple[Table, ...] = ()
    props: tuple[Prop, ...] = ()


@dataclass(frozen=True)
class ViewSpec:
    """One identity view: the subject alone, turned by ``yaw`` in front of a camera at ``elevation``
    above the horizon (radians), under a light of its own, on a transparent background."""

    yaw: float
    elevation: float
    environment_map: EnvironmentMap


@dataclass(frozen=True)
class SubjectSpec:
    """One subject of a composed scene. ``index`` counts from 1."""

    index: int
    identity: Identity
    caption: str
    pose: Pose
    views: tuple[ViewSpec, ...]


@dataclass(frozen=True)
class Prompt:
    """Prompts of a scene: ``full`` names every subject and the place, ``background`` only the
    place."""

    full: Text
    background: Text


@dataclass(frozen=True)
class SceneSpec:
    """A composed scene: everything that decides its pixels. ``seed`` is the dataset's; ``draw``
    counts the draws of this scene that were rejected before."""

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
    """A 3D box in the camera frame, in metres. ``rotation`` (row-major) has the box's axes as
    columns: x right, y back, z up of the subject, so the front face is the one at -y.
    ``estimated``: predicted from the image, not known from the geometry."""

    center: tuple[Metres, Metres, Metres]
    size: tuple[Extent, Extent, Extent]
    rotation: tuple[Axis, Axis, Axis]
    estimated: bool


@dataclass(frozen=True)
class Rle:
    """A mask as COCO compressed run lengths: ``size`` is (height, width)."""

    size: tuple[Side, Side]
    counts: Annotated[str, Meta(max_length=MAX_RUNS)]


@dataclass(frozen=True)
class AssetCredit:
    """The asset of a subject, with its author and licence. ``size_guessed``, ``decimated_from`` and
    ``title`` are as in ``Asset``; sets made before these keys existed do not have them."""

    id: Label
    source: Label
    author: Label
    license: Label
    size_guessed: bool = False
    decimated_from: CountOrZero = 0
    title: Label = ""


@dataclass(frozen=True)
class View:
    """How one block of the identity sheet was made. ``azimuth`` in radians: 0 shows the front; it
    increases as the subject turns counter-clockwise seen from above. ``elevation`` of the camera
    above the horizon in radians. ``light``: name of the environment map, or of the lamp."""

    kind: Literal["crop", "render", "repose"]
    azimuth: Angle
    elevation: Angle
    light: Label


@dataclass(frozen=True)
class Subject:
    """One subject as recorded. Boxes are [x_min, y_min, x_max, y_max] in pixels, half-open;
    ``box2d_amodal`` may reach outside the image. ``visibility``: visible area over amodal area
    inside the image. ``truncation``: share of the silhouette outside the image. ``area``: visible
    pixels over all pixels of the image."""

    index: Annotated[int, Meta(ge=1, le=MAX_SUBJECTS)]
    identity: Text
    category: Text
    caption: Text
    box2d: Box2D
    box2d_amodal: Box2D
    box3d: Box3D
    visibility: Share
    truncation: Share
    area: Share
    amodal_rle: Rle
    asset: AssetCredit
    views: Annotated[tuple[View, ...], Meta(min_length=1, max_length=MAX_VIEWS)]


@dataclass(frozen=True)
class CameraRecord:
    """The camera as recorded, in the conventions of ``Camera``. ``estimated``: predicted from the
    image."""

    intrinsics: Intrinsics
    camera_to_world: RigidTransform
    estimated: bool


@dataclass(frozen=True)
class DepthScale:
    """Metres per unit of the depth image."""

    meters_per_unit: Annotated[float, Meta(ge=1e-6, le=1)] = 0.001


@dataclass(frozen=True, kw_only=True)
class SceneRecord:
    """The content of ``KEY.json`` in the shard format, key for key."""

    format_version: int = FORMAT_VERSION
    key: str
    source: Literal["render", "generate"]
    split: Split
    width: Side
    height: Side
    prompt: Prompt
    camera: CameraRecord
    depth: DepthScale = DepthScale()
    n_subjects: Annotated[int, Meta(ge=1, le=MAX_SUBJECTS)]
    subjects: tuple[Subject, ...]
    environment: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Sample:
    """A record with its decoded images.

    ``image`` (H, W, 3) uint8 sRGB; ``depth`` (H, W) uint16 in ``record.depth`` units, 0 where
    there is none; ``instances`` (H, W) uint8, 0 = background, i = subject i; ``identities``
    (N*S, V*S, 4) uint8 with straight alpha, the identity sheet: N rows of V square blocks; row
    i - 1 shows subject i, column 0 its crop from the image.
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
