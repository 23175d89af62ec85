"""What a dataset job is asked to do, and how an existing output remembers what it was asked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import yaml

from datagen.catalog.base import CatalogConfig
from datagen.layout import LayoutConfig
from datagen.plan import PlanConfig
from datagen.quality import GateConfig
from datagen.render.renderer import RenderConfig, WorkerConfig
from datagen.scene import UserError
from datagen.shards.files import Folder
from datagen.shards.pack import PackConfig


@dataclass(frozen=True)
class JobConfig:
    """How the work is done; nothing here changes a byte of a scene.

    ``workers``: Blender processes at a time, 0 for as many as the cores (or GPUs) serve.
    ``max_draws``: refusals after which a scene is given up; ``max_attempts``: failures after
    which it is. ``max_failure_rate``: share of first attempts that may fail before the job stops.
    """

    workers: int = 0
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    max_draws: int = 24
    max_attempts: int = 3
    max_failure_rate: float = 0.3


@dataclass(frozen=True)
class DatasetConfig:
    """A dataset: its assets, its plan, its pictures, its gate and its files."""

    name: str
    catalog: CatalogConfig
    plan: PlanConfig
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    render: RenderConfig = field(default_factory=RenderConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    pack: PackConfig = field(default_factory=PackConfig)
    job: JobConfig = field(default_factory=JobConfig)

    def lasting(self) -> dict[str, Any]:
        """The keys that decide what comes out, as plain data: all but ``job``."""
        data: dict[str, Any] = msgspec.to_builtins(self)
        del data["job"]
        return data

    def digest(self) -> str:
        """Fingerprint of ``lasting``: 16 hexadecimal digits."""
        encoded = msgspec.json.encode(self.lasting(), order="deterministic")
        return hashlib.sha256(encoded).hexdigest()[:16]


def pin(config: DatasetConfig, out: str) -> None:
    """Let ``out`` belong to ``config``: write OUT/config.yaml, or compare with the one there.

    Raises ``UserError`` naming the keys that differ.
    """
    before = pinned(out)
    if before is None:
        Folder(out).write("config.yaml", _dump(config.lasting()))
        return
    old, new = _flat(before), _flat(yaml.safe_load(_dump(config.lasting())))
    changes = [
        f"{key} {old.get(key, '(absent)')} -> {new.get(key, '(absent)')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if changes:
        raise UserError(
            f"{out} was begun with another configuration: {', '.join(changes)}; "
            "go back to it, or choose another output"
        )


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


def _dump(data: Mapping[str, Any]) -> bytes:
    text: str = yaml.safe_dump(data, sort_keys=False)
    return text.encode()


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
