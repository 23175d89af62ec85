"""The configuration of a training job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datagen.errors import UserError
from datagen.validation import Count, CountOrZero, Name, PositiveOrZero, Seed
from model.data.augmentation.augment import AugmentConfig
from model.data.batch import DataConfig
from model.sigma_gen import ModelConfig, ScratchConfig
from model.training.train import TrainConfig
from pipelines.run_config import plain

VAE_PIXELS = 16
"""Pixels along a token of Flux: the autoencoder reduces to an eighth, and latents are packed two
by two."""


@dataclass(frozen=True)
class ReportConfig:
    """What the report at the end measures."""

    scenes: CountOrZero = 96
    """Scenes of the test split that are measured; 0: no report."""
    num_inference_steps: Count = 12
    """Sampling steps."""
    image_guidance_scale: PositiveOrZero = 1.0
    """Classifier-free guidance on references and controls; 1 is none."""
    seed: Seed = 0
    """Seed of the noise that sampling starts from; another one separates luck from learning."""
    mixed: bool = False
    """Each subject has a control kind of its own; otherwise all subjects of a scene have the
    same."""
    baselines: dict[str, str] = field(default_factory=dict)
    """Other runs, or saved models, to be measured on the same scenes, by the names of their
    rows: --report.baselines.NAME FOLDER."""


@dataclass(frozen=True)
class JobConfig:
    """How the work is done."""

    processes: Count = 1
    """Processes that share each step (DDP), each on a GPU of its own where ``gpu`` is set, else on
    ``threads`` cores."""
    gpu: bool = False
    """Each process on a GPU of its own."""
    threads: Count = 1
    """Cores per process; on a CPU the last bits of what is learned depend on it."""
    validate_every: Count = 250
    """Steps between validations."""
    sample_every: Count = 500
    """Steps between pictures."""
    save_every: Count = 500
    """Steps between checkpoints."""
    keep: Count = 2
    """Checkpoints that are kept."""
    retries: CountOrZero = 2
    """Restarts after a process has died."""
    encode: bool = False
    """Encode the whole set with the frozen encoders of a pretrained base before the first step; on
    several machines the cache must then be a folder that all of them see."""
    wandb: str = ""
    """A project of Weights & Biases to report to as well, none by default."""


@dataclass(frozen=True)
class TrainingConfig:
    """A training run: its model, its data, its steps."""

    name: Name
    """Name of the run; its folder is out/train/NAME where --out is not given."""
    dataset: str
    """The dataset preset that the run is made for."""
    model: ModelConfig
    """The model."""
    data: DataConfig = field(default_factory=DataConfig)
    """What is read, drawn and stacked."""
    augment: AugmentConfig | None = None
    """What stretches a small set: flips, other colours, new layouts; null for none."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """The steps."""
    report: ReportConfig = field(default_factory=ReportConfig)
    """The report at the end."""
    job: JobConfig = field(default_factory=JobConfig)
    """How the work is done."""

    def __post_init__(self) -> None:
        """Raises:
        UserError: keys that contradict each other.
        """
        for contradiction in self._contradictions():
            raise UserError(contradiction)

    def _contradictions(self) -> Iterator[str]:
        model, shown, base = self.model, self.model.format, self.model.base
        if isinstance(base, ScratchConfig):
            pixels = base.patch
            if any(size < 4 or size % 2 for size in base.rope):
                yield f"model.base.rope: {list(base.rope)}, expected even numbers of 4 or more"
            if base.double_blocks + base.single_blocks < 1:
                yield "model.base: no blocks, expected one at least"
            if model.lora is not None:
                yield "model.lora: given, but model.base is no pretrained one: set it to null"
            if self.job.encode:
                yield "job.encode: true, but model.base is no pretrained one: set it to false"
        else:
            pixels = VAE_PIXELS
            if shown.encoding.routing == "one_hot":
                yield (
                    "model.format.encoding.routing: one_hot, which a pretrained base cannot take, "
                    f"and model.base is the folder of one, {base!r}; expected intensity"
                )
        for key, size in (("size", shown.size), ("identity_size", shown.identity_size)):
            if size % pixels:
                yield f"model.format.{key}: {size}, expected a multiple of {pixels}, a token's edge"
        if not self.train.curriculum:
            yield "train.curriculum: no stages, expected at least one"
        for number, stage in enumerate(self.train.curriculum, start=1):
            if stage.min_subjects > stage.max_subjects:
                yield (
                    f"train.curriculum: stage {number} has {stage.min_subjects} to "
                    f"{stage.max_subjects} subjects, expected the smaller number first"
                )
        if self.data.split == "test" and self.report.scenes:
            yield (
                "data.split: test, which the report measures on; "
                "train on another, or set report.scenes to 0"
            )
        if self.report.image_guidance_scale != 1 and not self.train.image_dropout:
            yield (
                f"report.image_guidance_scale: {self.report.image_guidance_scale:g}, which is "
                "learned only where train.image_dropout is above 0: set it to 1"
            )
        if not self.data.draws.granularities:
            yield "data.draws.granularities: none, expected one at least"
        if self.data.batch_size % self.job.processes:
            yield (
                f"data.batch_size: {self.data.batch_size}, expected a multiple of the "
                f"{self.job.processes} of job.processes"
            )

    def reproducibility_keys(self) -> dict[str, Any]:
        """The keys that decide what comes out, as plain data: all but how the work is done.

        The number of processes that share a step belongs to them, as each process draws noise of
        its own. Of a pretrained base only the name of its folder does, not where it lies.
        """
        keys: dict[str, Any] = plain(self)
        keys["processes"] = keys.pop("job")["processes"]
        if isinstance(base := keys["model"]["base"], str):
            keys["model"]["base"] = Path(base).name
        del keys["report"], keys["data"]["workers"]
        return keys
