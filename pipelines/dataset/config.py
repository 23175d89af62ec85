"""What a dataset job is asked to do, and how an existing output remembers what it was asked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec
import yaml

from datagen.annotate.quality import GateConfig
from datagen.catalog.catalog import CatalogConfig
from datagen.compose.compose import ComposeConfig
from datagen.compose.plan import PlanConfig
from datagen.errors import UserError
from datagen.render.renderer import RenderConfig, WorkerConfig
from datagen.shards.codec import MAX_SIDE
from datagen.shards.files import Folder
from datagen.shards.pack import PackConfig

BOUNDS: dict[str, tuple[float, float]] = {
    "layout.width": (16, MAX_SIDE),
    "layout.height": (16, MAX_SIDE),
    "layout.fov_degrees": (5, 140),
    "layout.elevation_degrees": (0, 85),
    "layout.occluded_share": (0, 1),
    "layout.min_area": (0, 0.5),
    "layout.min_visibility": (0, 1),
    "layout.tries": (1, 10_000),
    "layout.identity_views": (1, 32),
    "render.samples": (1, 65_536),
    "render.view_samples": (1, 65_536),
    "render.identity_size": (16, 4096),
    "gate.min_area": (0, 0.5),
    "gate.min_visibility": (0, 1),
    "gate.min_brightness": (0, 1),
    "gate.max_brightness": (0, 1),
    "gate.max_clipped": (0, 1),
    "gate.min_view_coverage": (0, 1),
    "pack.samples_per_shard": (1, 1_000_000),
    "job.workers": (0, 100_000),
    "job.worker.threads": (1, 1024),
    "job.worker.timeout": (1, 1_000_000),
    "job.worker.recycle_after": (1, 1_000_000),
    "job.worker.max_rss_gb": (0.5, 10_000),
    "job.max_draws": (1, 10_000),
    "job.max_attempts": (1, 10_000),
    "job.max_failure_rate": (0, 1),
}
"""What the value of a key may be; both ends of a range, and in order. Plan and catalogue check
their own."""


@dataclass(frozen=True)
class JobConfig:
    """How the work is done; nothing here changes a byte of a scene."""

    workers: int = 0
    """Blender processes at a time, 0 for as many as the cores (or GPUs) serve."""
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    max_draws: int = 24
    """Refusals after which a scene is given up."""
    max_attempts: int = 3
    """Failures after which a scene is given up."""
    max_failure_rate: float = 0.3
    """Share of first attempts that may fail before the job stops."""


@dataclass(frozen=True)
class DatasetConfig:
    """A dataset: its assets, its plan, its pictures, its gate and its files."""

    name: str
    """Of the dataset; its output is out/NAME where no other is given."""
    catalog: CatalogConfig
    plan: PlanConfig
    layout: ComposeConfig = field(default_factory=ComposeConfig)
    render: RenderConfig = field(default_factory=RenderConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    pack: PackConfig = field(default_factory=PackConfig)
    job: JobConfig = field(default_factory=JobConfig)

    def __post_init__(self) -> None:
        """Raises ``UserError`` naming the first key whose value cannot be."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", self.name):
            raise UserError(f"name: {self.name!r}, expected up to 64 letters, digits, _ and -")
        given = _flat(asdict(self))
        for key, (low, high) in BOUNDS.items():
            value = given[key]
            ends = value if isinstance(value, (list, tuple)) else [value]
            if not all(low <= end <= high for end in ends) or list(ends) != sorted(ends):
                rising = ", rising" if len(ends) > 1 else ""
                raise UserError(f"{key}: {value}, expected {low:g} to {high:g}{rising}")
        views, edge = self.layout.identity_views + 1, self.render.identity_size
        if edge * max(views, self.plan.max_subjects) > MAX_SIDE:
            raise UserError(
                f"render.identity_size: {edge}: a sheet of {self.plan.max_subjects} subjects and "
                f"{views} views is over {MAX_SIDE} pixels a side"
            )

    def lasting(self) -> dict[str, Any]:
        """The keys that decide what comes out, as plain data: all but ``job``."""
        data = asdict(self)
        del data["job"]
        return data

    def digest(self) -> str:
        """Fingerprint of ``lasting``: 16 hexadecimal digits."""
        encoded = msgspec.json.encode(self.lasting(), order="deterministic")
        return hashlib.sha256(encoded).hexdigest()[:16]


def pin(config: DatasetConfig, out: str) -> None:
    """Let ``out`` belong to ``config`` from now on, in OUT/config.yaml."""
    if pinned(out) is None:
        Folder(out).write("config.yaml", dump(config))


def refuse_change(config: DatasetConfig, out: str) -> None:
    """Raises ``UserError``, naming the keys that differ, where ``out`` belongs to another
    configuration."""
    before = pinned(out)
    if before is None:
        return
    if changes := differences(before, yaml.safe_load(dump(config))):
        raise UserError(
            f"{out} was begun with another configuration: {', '.join(changes)}; "
            "go back to it, or choose another output"
        )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The keys of two nested configurations that differ, with both values."""
    old, new = _flat(before), _flat(after)
    return [
        f"{key} {old.get(key, '(absent)')} -> {new.get(key, '(absent)')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def pinned(out: str) -> dict[str, Any] | None:
    """What OUT/config.yaml holds, None where there is none."""
    try:
        data = yaml.safe_load(Folder(out).read("config.yaml"))
    except FileNotFoundError:
        return None
    except yaml.YAMLError as error:
        raise UserError(f"{out}/config.yaml is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise UserError(f"{out}/config.yaml: expected the configuration of a dataset")
    return data


def dump(config: DatasetConfig) -> bytes:
    """Its lasting keys, as a preset in YAML."""
    text: str = yaml.safe_dump(config.lasting(), sort_keys=False)
    return text.encode()


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
