"""Where a process of Ray begins to train.

A module that imports nothing heavy: Ray's controller reads it, too, and would wait a quarter of a
minute for diffusers, which it has no use for.
"""

from __future__ import annotations


def enter(config: str, shards: str, run: str, data: str, encoded: str) -> None:
    """``loop.work``, told in plain text. ``config``: a TrainingConfig as JSON."""
    import msgspec

    from pipelines.training.config import TrainingConfig
    from pipelines.training.loop import Task, work

    work(Task(msgspec.json.decode(config, type=TrainingConfig), shards, run, data, encoded))
