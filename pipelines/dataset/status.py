"""How far an output has come, read from its files alone."""

from __future__ import annotations

from contextlib import suppress

from rich.table import Table

from datagen.compose.plan import read_plan
from datagen.errors import UserError
from datagen.scene import SPLITS
from datagen.shards.files import Folder
from datagen.shards.store import Store
from pipelines.dataset.config import pinned
from pipelines.dataset.ledger import Ledger


def status_table(out: str) -> Table:
    """Scenes by split and setbacks by reason. Raises ``UserError`` where ``out`` is no output."""
    config = pinned(out)
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
