"""The entry point of a training process on Ray.

This module imports nothing heavy: Ray's controller imports it, too, and would wait a quarter of a
minute for diffusers, which it does not use.
"""

from __future__ import annotations


def enter(config: str, shards: str, run: str, data: str, encoder_cache: str) -> None:
    """Run ``loop.work``. The arguments are the fields of ``loop.Task``, ``config`` as JSON."""
    import msgspec

    from pipelines.training.config import TrainingConfig
    from pipelines.training.loop import Task, work

    work(Task(msgspec.json.decode(config, type=TrainingConfig), shards, run, data, encoder_cache))
