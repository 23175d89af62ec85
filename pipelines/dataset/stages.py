"""The stages of the dataset job: one class per stage, one scene per row. Knows nothing of Ray.

A stage takes a row and returns it, further along or finished. It never raises: whatever goes
wrong with a scene becomes an ``Event`` of that scene, and the row carries it to the driver.

To add a stage, write a class with a ``name`` and a ``work``, and list it in
``ray_stages.run_through_ray`` with the processors that it needs. The computation itself belongs in
``datagen/``, as a function that knows nothing of rows.
"""

from __future__ import annotations

import tempfile
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypedDict

import msgspec

from datagen.annotate import annotate, quality
from datagen.catalog.catalog import Catalog, open_catalog
from datagen.catalog.glb import load_mesh
from datagen.compose import compose
from datagen.compose.layout import LayoutRejected
from datagen.compose.plan import ScenePlan
from datagen.errors import UserError, is_out_of_space, os_error_line
from datagen.raycast import Shape
from datagen.render.environment_mesh import write_environment_mesh
from datagen.render.renderer import Renderer, RenderFailed
from datagen.render.rendering import Rendering
from datagen.scene import Identity, SceneSpec
from datagen.shards import codec
from datagen.shards.store import Event, Store
from pipelines.dataset.config import DatasetConfig

Outcome = Literal["", "done", "refused", "failed", "stop"]


class SceneRow(TypedDict):
    """One scene on its way through the stages.

    ``plan`` and ``spec`` are JSON, ``render`` is the worker's ``.npz`` file; each is emptied once
    it is used. ``draw`` and ``attempt`` are the scene's current numbers. ``outcome`` is empty
    while the scene is on its way; "stop" means that no scene can be made, and ``message`` says
    why. ``events``: JSON of the rejected draws and failed attempts so far.
    """

    key: str
    plan: bytes
    spec: bytes
    render: bytes
    draw: int
    attempt: int
    outcome: Outcome
    message: str
    events: bytes


def first_row(plan: ScenePlan, draw: int, attempt: int) -> SceneRow:
    """The row that a scene starts as."""
    return SceneRow(
        key=plan.key,
        plan=msgspec.json.encode(plan, order="deterministic"),
        spec=b"",
        render=b"",
        draw=draw,
        attempt=attempt,
        outcome="",
        message="",
        events=b"[]",
    )


def events_of(row: SceneRow) -> list[Event]:
    """The rejected draws and failed attempts of a row's scene."""
    return msgspec.json.decode(row["events"], type=list[Event])


class Stage(ABC):
    """The boundary around one stage's work.

    The constructor only keeps its arguments, so that whatever can go wrong does so under
    ``__call__``, where it is caught. Events are recorded as they happen: before a scene is
    committed, everything about it is on disk.
    """

    name: str

    def __init__(self, config: DatasetConfig, cache: Path, store: Store) -> None:
        self.config, self.cache, self.store = config, cache, store

    @cached_property
    def catalog(self) -> Catalog:
        return open_catalog(self.config.catalog, self.cache)

    def __call__(self, row: SceneRow) -> SceneRow:
        if row["outcome"]:
            return row
        try:
            return self._work_or_event(row)
        except UserError as error:
            return _finished(row, "stop") | {"message": str(error)}
        except OSError as error:
            if not is_out_of_space(error):
                raise
            return _finished(row, "stop") | {"message": os_error_line(error)}

    def _work_or_event(self, row: SceneRow) -> SceneRow:
        """What comes of ``work``. Raises UserError and OSError for what would stop every scene."""
        try:
            return self.work(row)
        except RenderFailed as error:
            return self._fail(row, error.reason, error.message, error.log_tail)
        except annotate.AnnotationError as error:
            # The same pixels would come again: the scene needs another draw, not another attempt.
            return _finished(self.refuse(row, error.reason, error.message), "refused")
        except UserError:
            raise
        except Exception as error:  # Last resort: an error that nobody foresaw, with its traceback.
            if is_out_of_space(error):
                raise
            trace = "".join(traceback.format_exception(error))
            return self._fail(row, type(error).__name__, str(error), trace[-4000:])

    @abstractmethod
    def work(self, row: SceneRow) -> SceneRow:
        """The row, one stage further. May raise anything."""

    def refuse(self, row: SceneRow, reason: str, message: str = "") -> SceneRow:
        """The row with its draw rejected and the next draw in its place."""
        event = Event(row["key"], "refused", row["draw"], self.name, reason, message, "")
        return self._record(row, event) | {"draw": row["draw"] + 1}

    def _shapes(self, identities: Iterable[Identity]) -> list[Shape]:
        return [Shape(load_mesh(self.catalog.mesh(identity))) for identity in identities]

    def _fail(self, row: SceneRow, reason: str, message: str, log_tail: str = "") -> SceneRow:
        event = Event(row["key"], "failed", row["attempt"], self.name, reason, message, log_tail)
        return _finished(self._record(row, event), "failed")

    def _record(self, row: SceneRow, event: Event) -> SceneRow:
        self.store.record(event)
        return row | {"events": msgspec.json.encode([*events_of(row), event])}


class ComposeStage(Stage):
    """Plan and draw to a scene spec. A layout that does not fit is drawn again at once."""

    name = "compose"

    def work(self, row: SceneRow) -> SceneRow:
        plan = msgspec.json.decode(row["plan"], type=ScenePlan)
        shapes = self._shapes(plan.identities)
        while row["draw"] < self.config.job.max_draws:
            try:
                spec = compose.compose(plan, row["draw"], shapes, self.config.layout)
            except LayoutRejected as error:
                row = self.refuse(row, error.reason)
            else:
                return row | {"plan": b"", "spec": msgspec.json.encode(spec, order="deterministic")}
        return _finished(row, "refused")


class RenderStage(Stage):
    """Scene spec to pixels, by the one Blender process that belongs to this object."""

    name = "render"
    _renderer: Renderer | None = None

    def work(self, row: SceneRow) -> SceneRow:
        spec = msgspec.json.decode(row["spec"], type=SceneSpec)
        if self._renderer is None:
            self._renderer = Renderer(self.config.render, self.config.job.worker)
        meshes = [self.catalog.mesh(subject.identity) for subject in spec.subjects]
        with tempfile.TemporaryDirectory(prefix="sigma-environment-") as folder:
            environment_mesh = Path(folder) / f"{spec.key}.glb"
            pixels = max(spec.camera.width, spec.camera.height)
            write_environment_mesh(spec.environment, environment_mesh, pixels)
            return row | {"render": self._renderer.render(spec, meshes, environment_mesh)}


class AnnotateStage(Stage):
    """Scene spec and pixels to a sample: annotated, judged by the gate, encoded and committed."""

    name = "annotate"

    def work(self, row: SceneRow) -> SceneRow:
        spec = msgspec.json.decode(row["spec"], type=SceneSpec)
        shapes = self._shapes(subject.identity for subject in spec.subjects)
        rendering = Rendering.from_npz(row["render"])
        provenance = {"config_digest": self.config.digest(), "code_version": version("sigma-set")}
        sample = annotate.annotate(spec, rendering, shapes, provenance)
        reasons = quality.rejection_reasons(sample, self.config.gate)
        if reasons:
            return _finished(self.refuse(row, reasons[0], ", ".join(reasons)), "refused")
        self.store.commit(row["key"], codec.encode(sample))
        return _finished(row, "done")


def _finished(row: SceneRow, outcome: Outcome) -> SceneRow:
    """``row`` with its outcome and without its payload."""
    return row | {"plan": b"", "spec": b"", "render": b"", "outcome": outcome}
