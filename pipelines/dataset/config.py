"""The configuration of a dataset job."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from datagen.annotate.quality import GateConfig
from datagen.bounds import MAX_PIXELS, MAX_SIDE
from datagen.catalog.catalog import CatalogConfig
from datagen.compose.compose import ComposeConfig
from datagen.compose.plan import PlanConfig
from datagen.errors import UserError
from datagen.render.renderer import RenderConfig, WorkerConfig
from datagen.shards.pack import PackConfig
from datagen.validation import Name, Share


@dataclass(frozen=True)
class JobConfig:
    """How the work is done; nothing here changes a byte of a scene."""

    workers: Annotated[int, Meta(ge=0, le=100_000)] = 0
    """Blender processes at a time, 0 for as many as the cores (or GPUs) serve."""
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    """Each Blender process."""
    max_draws: Annotated[int, Meta(ge=1, le=10_000)] = 24
    """Rejected draws after which a scene is given up."""
    max_attempts: Annotated[int, Meta(ge=1, le=10_000)] = 3
    """Failed attempts after which a scene is given up."""
    max_failure_rate: Share = 0.3
    """Share of first attempts that may fail before the job stops."""


@dataclass(frozen=True)
class DatasetConfig:
    """A dataset: its assets, its plan, its pictures, its gate and its files."""

    name: Name
    """Name of the dataset; its output is out/NAME where --out is not given."""
    catalog: CatalogConfig
    """Assets that scenes are made of."""
    plan: PlanConfig
    """Scenes, and subjects per scene."""
    layout: ComposeConfig = field(default_factory=ComposeConfig)
    """Picture, camera and placement."""
    render: RenderConfig = field(default_factory=RenderConfig)
    """Rendering."""
    gate: GateConfig = field(default_factory=GateConfig)
    """What a scene must show to be accepted."""
    pack: PackConfig = field(default_factory=PackConfig)
    """Shards."""
    job: JobConfig = field(default_factory=JobConfig)
    """How the work is done."""

    def __post_init__(self) -> None:
        """Raises:
        UserError: an image or an identity sheet would be larger than shards may hold.
        """
        width, height = self.layout.width, self.layout.height
        if width * height > MAX_PIXELS:
            raise UserError(
                f"layout.width: {width}, expected less: with layout.height {height} an image is "
                f"over {MAX_PIXELS} pixels"
            )
        views, edge = self.layout.identity_views + 1, self.render.identity_size
        subjects = self.plan.max_subjects
        if edge * max(views, subjects) > MAX_SIDE or edge**2 * views * subjects > MAX_PIXELS:
            raise UserError(
                f"render.identity_size: {edge}, expected less: a sheet of {subjects} subjects and "
                f"{views} views is over {MAX_SIDE} pixels a side or {MAX_PIXELS} in all"
            )

    def reproducibility_keys(self) -> dict[str, Any]:
        """The keys that decide what comes out, as plain data: all but ``job``."""
        keys = asdict(self)
        del keys["job"]
        return keys

    def digest(self) -> str:
        """Fingerprint of ``reproducibility_keys``: 16 hexadecimal digits."""
        encoded = msgspec.json.encode(self.reproducibility_keys(), order="deterministic")
        return hashlib.sha256(encoded).hexdigest()[:16]
