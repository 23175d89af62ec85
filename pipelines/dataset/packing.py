"""Finished scenes to shards, proved and drawn."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from rich.console import Console

from datagen.compose.plan import ScenePlan
from datagen.scene import Sample
from datagen.shards.files import Folder
from datagen.shards.pack import pack
from datagen.shards.reader import open_shards
from datagen.shards.store import Store
from datagen.shards.verify import Problem, verify
from pipelines.dataset.config import DatasetConfig
from pipelines.dataset.ledger import Ledger
from pipelines.run_config import CONFIG, encode_config
from pipelines.visualize.figures import annotated_sample, contact_sheet

CONTACT_SHEET, ANNOTATED = "contact_sheet.png", "annotated_sample.png"
CONTACT_SHEET_SCENES = 12


@dataclass(frozen=True)
class Summary:
    """What a finished job leaves.

    ``excluded``: number of scenes that were left out by hand. ``pictures``: paths of the contact
    sheet and the annotated sample. ``problems``: what verification found in the shards.
    """

    planned: int
    packed: int
    excluded: int
    shards: str
    pictures: tuple[str, ...]
    problems: tuple[Problem, ...]


def pack_output(
    plan: Sequence[ScenePlan],
    config: DatasetConfig,
    store: Store,
    ledger: Ledger,
    out: str,
    console: Console,
    dropped: Set[str] = frozenset(),
) -> Summary:
    """Pack the committed scenes of ``out`` but ``dropped``, verify the shards, and draw them."""
    shards = f"{out}/shards"
    console.print(f"packing into {shards}")
    manifest = pack(
        store,
        [(scene.key, scene.split, len(scene.identities)) for scene in plan],
        config.pack,
        shards,
        name=config.name,
        config_digest=config.digest(),
        failures=ledger.refusals() | ({"dropped by hand": len(dropped)} if dropped else {}),
        exclude=dropped,
    )
    # With it, whoever has the shards can make each of them again.
    Folder(shards).write(CONFIG, encode_config(config.reproducibility_keys()))
    problems = verify(shards)
    if not problems:
        samples = _spread_samples(shards)
        Folder(out).write(CONTACT_SHEET, contact_sheet(samples))
        Folder(out).write(ANNOTATED, annotated_sample(_most_instructive(samples)))
    pictures = (f"{out}/{CONTACT_SHEET}", f"{out}/{ANNOTATED}")
    return Summary(len(plan), manifest.samples, len(dropped), shards, pictures, problems)


def _most_instructive(samples: Sequence[Sample]) -> Sample:
    """The sample with most subjects, up to four: a figure of more is hard to read."""
    return max(
        samples, key=lambda sample: (sample.record.n_subjects <= 4, sample.record.n_subjects)
    )


def _spread_samples(shards: str) -> list[Sample]:
    """Samples spread evenly over a set, ``CONTACT_SHEET_SCENES`` at most."""
    opened = open_shards(shards)
    keys = list(opened.keys())
    count = min(len(keys), CONTACT_SHEET_SCENES)
    step = max(len(keys) / CONTACT_SHEET_SCENES, 1)
    return [opened.sample(keys[int(i * step)]) for i in range(count)]
