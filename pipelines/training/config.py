"""Everything that `sigma train` can be told, and the pin that keeps a run to what it was told."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from datagen.scene import UserError
from model.augmentation.augment import AugmentConfig
from model.data import DataConfig
from model.sigma import ModelConfig
from model.training import TrainConfig
from pipelines.config import differences

CONFIG = "config.yaml"


@dataclass(frozen=True)
class ReportConfig:
    """What the report at the end measures. ``scenes``: of the test split; ``steps``: of sampling;
    ``image_guidance``: 1 is none. ``scenes`` of 0: no report. ``beside``: other runs, or models
    that were saved, to be measured on the same scenes, by the names of their rows."""

    scenes: int = 96
    steps: int = 12
    image_guidance: float = 1.0
    beside: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JobConfig:
    """How the work is done. ``processes``: that share each step (DDP), each on a GPU of its own
    where ``gpu`` is set, else on ``threads`` cores. ``validate_every``, ``sample_every``,
    ``save_every``: steps between; ``keep``: checkpoints; ``retries``: of processes that died.
    ``encode``: let the frozen encoders of a pretrained base make all of the set first; on several
    machines the cache must then be a folder that all of them see. ``wandb``: a project of Weights
    & Biases to report to as well, none by default."""

    processes: int = 1
    gpu: bool = False
    threads: int = 1
    validate_every: int = 250
    sample_every: int = 500
    save_every: int = 500
    keep: int = 2
    retries: int = 2
    encode: bool = False
    wandb: str = ""


@dataclass(frozen=True)
class TrainingConfig:
    """A training run: its model, its data, its steps. ``dataset``: the preset of the set that it
    is made for. ``augment``: null for none."""

    name: str
    dataset: str
    model: ModelConfig
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig | None = None
    train: TrainConfig = field(default_factory=TrainConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    job: JobConfig = field(default_factory=JobConfig)

    def __post_init__(self) -> None:
        """Raises UserError naming the first key whose value cannot be."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", self.name):
            raise UserError(f"name: {self.name!r}, expected up to 64 letters, digits, _ and -")
        positive = {
            "data.batch_size": self.data.batch_size,
            "train.accumulation": self.train.accumulation,
            "job.processes": self.job.processes,
            "job.threads": self.job.threads,
            "job.validate_every": self.job.validate_every,
            "job.sample_every": self.job.sample_every,
            "job.save_every": self.job.save_every,
            "job.keep": self.job.keep,
            "report.steps": self.report.steps,
        }
        for key, value in positive.items():
            if value < 1:
                raise UserError(f"{key}: {value}, expected 1 or more")
        if self.job.encode and not isinstance(self.model.base, str):
            raise UserError(
                "job.encode: true, but model.base is no pretrained one: set it to false"
            )
        if self.data.batch_size % self.job.processes:
            raise UserError(
                f"data.batch_size: {self.data.batch_size}, expected a multiple of the "
                f"{self.job.processes} of job.processes"
            )

    def lasting(self) -> dict[str, Any]:
        """The keys that decide what comes out, as plain data: all but how the work is done. How
        many processes share a step belongs to the first, as each draws noise of its own."""
        data: dict[str, Any] = yaml.safe_load(yaml.safe_dump(_plain(asdict(self))))
        data["processes"] = data.pop("job")["processes"]
        del data["report"], data["data"]["workers"]
        return data


def pin(config: TrainingConfig, run: Path) -> None:
    """Let the folder ``run`` belong to ``config``."""
    (run / CONFIG).write_text(yaml.safe_dump(config.lasting(), sort_keys=False))


def refuse_change(config: TrainingConfig, run: Path) -> None:
    """Raises UserError, naming the keys that differ, where ``run`` was begun with others."""
    try:
        before = yaml.safe_load((run / CONFIG).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{run}/{CONFIG}: {error}; expected the one that was written") from None
    if changes := differences(before, config.lasting()):
        raise UserError(
            f"{run} was begun with another configuration: {', '.join(changes)}; "
            "go back to it, or choose another --out"
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
