"""Everything that `sigma train` can be told, and the pin that keeps a run to what it was told."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from datagen.errors import UserError
from model.data.augmentation.augment import AugmentConfig
from model.data.batch import DataConfig
from model.sigma_gen import ModelConfig
from model.training.train import TrainConfig
from pipelines.dataset.config import differences
from pipelines.training.limits import check

CONFIG = "config.yaml"
NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"


@dataclass(frozen=True)
class ReportConfig:
    """What the report at the end measures."""

    scenes: int = 96
    """Of the test split; 0: no report."""
    steps: int = 12
    """Of sampling."""
    image_guidance: float = 1.0
    """1 is none."""
    seed: int = 0
    """Of the noise that pictures begin with: another one tells luck from learning."""
    mixed: bool = False
    """Each subject draws its control by itself; else all of a scene have the same kind."""
    beside: dict[str, str] = field(default_factory=dict)
    """Other runs, or models that were saved, to be measured on the same scenes, by the names of
    their rows."""


@dataclass(frozen=True)
class JobConfig:
    """How the work is done."""

    processes: int = 1
    """That share each step (DDP), each on a GPU of its own where ``gpu`` is set, else on
    ``threads`` cores."""
    gpu: bool = False
    """Each process on a GPU of its own."""
    threads: int = 1
    """Cores of each process; on a CPU the last bits of what is learned depend on it."""
    validate_every: int = 250
    """Steps between validations."""
    sample_every: int = 500
    """Steps between pictures."""
    save_every: int = 500
    """Steps between checkpoints."""
    keep: int = 2
    """Checkpoints that are kept."""
    retries: int = 2
    """Of processes that died."""
    encode: bool = False
    """Let the frozen encoders of a pretrained base make all of the set first; on several machines
    the cache must then be a folder that all of them see."""
    wandb: str = ""
    """A project of Weights & Biases to report to as well, none by default."""


@dataclass(frozen=True)
class TrainingConfig:
    """A training run: its model, its data, its steps."""

    name: str
    """Of the run; its folder is out/train/NAME where no other is given."""
    dataset: str
    """The preset of the set that it is made for."""
    model: ModelConfig
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig | None = None
    """What stretches a small set: flips, other colours, new layouts; null for none."""
    train: TrainConfig = field(default_factory=TrainConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    job: JobConfig = field(default_factory=JobConfig)

    def __post_init__(self) -> None:
        """Raises UserError naming the first key whose value cannot be."""
        if not re.fullmatch(NAME, self.name):
            raise UserError(f"name: {self.name!r}, expected up to 64 letters, digits, _ and -")
        check(self)

    def lasting(self) -> dict[str, Any]:
        """The keys that decide what comes out, as plain data: all but how the work is done. How
        many processes share a step belongs to the first, as each draws noise of its own; of where
        a pretrained base lies only its name does."""
        data: dict[str, Any] = yaml.safe_load(yaml.safe_dump(_plain(asdict(self))))
        data["processes"] = data.pop("job")["processes"]
        if isinstance(base := data["model"]["base"], str):
            data["model"]["base"] = Path(base).name
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
