"""Progress of a dataset job, read from the files of its output."""

from __future__ import annotations

from contextlib import suppress

from rich.table import Table

from datagen.compose.plan import read_plan
from datagen.errors import UserError
from datagen.scene import SPLITS
from datagen.shards.files import Folder
from datagen.shards.store import Store
from pipelines.dataset.ledger import Ledger
from pipelines.run_config import saved_config


def status_table(out: str) -> Table:
    """A table of scenes by split, and of rejected draws and failed attempts by reason.

    Raises:
        UserError: ``out`` is not the output of a dataset job.
    """
    config = saved_config(out)
    if config is None:
        raise UserError(f"{out}: no config.yaml there; expected the output of `sigma dataset`")
    plan = read_plan(f"{out}/plan.parquet")
    store = Store(out)
    committed, ledger = store.committed(), Ledger(store.events())
    table = Table("", "done", "planned", box=None, title=f"{out} ({config.get('name', '?')})")
    for split in SPLITS:
        keys = [scene.key for scene in plan if scene.split == split]
        table.add_row(split, str(len(committed.intersection(keys))), str(len(keys)))
    for kind, reasons in (("refused", ledger.refusals()), ("failed", ledger.failures())):
        for reason, count in reasons.most_common():
            table.add_row(f"{kind}: {reason}", str(count), "")
    with suppress(FileNotFoundError):
        given_up = Folder(out).read("failures.jsonl").splitlines()
        table.add_row("given up (failures.jsonl)", str(len(given_up)), "")
    return table
