"""A scene's way through the job, one stage a class, one scene a row. Knows nothing of Ray.

A stage takes a row and returns it, further along or finished. It never raises: what goes
wrong with a scene is that scene's ``Event``, and the row goes on to tell the driver.
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
from datagen.errors import UserError
from datagen.raycast import Shape
from datagen.render import renderer
from datagen.render.environment_mesh import write_environment_mesh
from datagen.render.renderer import RenderFailed
from datagen.render.rendering import Rendering
from datagen.scene import Identity, SceneSpec
from datagen.shards import codec
from datagen.shards.store import Event, Store
from pipelines.dataset.config import DatasetConfig

Outcome = Literal["", "done", "refused", "failed", "stop"]


class Row(TypedDict):
    """What travels. ``plan`` and ``spec`` are JSON, ``render`` is the worker's ``.npz`` file; each
    is emptied once it is used. ``draw`` and ``attempt`` are the numbers that the scene has now.
    ``outcome`` is empty while the scene is on its way; "stop" means that nothing can go on and
    ``message`` says why. ``events``: JSON of the setbacks on the way."""

    key: str
    plan: bytes
    spec: bytes
    render: bytes
    draw: int
    attempt: int
    outcome: Outcome
    message: str
    events: bytes


def new_row(plan: ScenePlan, draw: int, attempt: int) -> Row:
    """The row of a scene that sets out."""
    return Row(
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


def events_of(row: Row) -> list[Event]:
    """The setbacks of the scene of ``row``."""
    return msgspec.json.decode(row["events"], type=list[Event])


class Stage(ABC):
    """The boundary around one stage's work.

    Building a stage does nothing but keep its arguments, so that whatever goes wrong does so
    under ``__call__``, where it is caught. Setbacks are recorded as they happen: before a scene
    is committed, everything about it is.
    """

    name: str

    def __init__(self, config: DatasetConfig, cache: Path, store: Store) -> None:
        self.config, self.cache, self.store = config, cache, store

    @cached_property
    def catalog(self) -> Catalog:
        return open_catalog(self.config.catalog, self.cache)

    def __call__(self, row: Row) -> Row:
        if row["outcome"]:
            return row
        try:
            return self.work(row)
        except RenderFailed as error:
            return self._fail(row, error.reason, error.message, error.log_tail)
        except annotate.AnnotationError as error:
            # The same pixels would come again: another draw is wanted, not another attempt.
            return _finished(self.refuse(row, error.reason, error.message), "refused")
        except UserError as error:
            return _finished(row, "stop") | {"message": str(error)}
        except Exception as error:  # The last resort: what nobody foresaw, told with its traceback.
            trace = "".join(traceback.format_exception(error))
            return self._fail(row, type(error).__name__, str(error), trace[-4000:])

    @abstractmethod
    def work(self, row: Row) -> Row:
        """The row, one stage further. May raise anything."""

    def refuse(self, row: Row, reason: str, message: str = "") -> Row:
        """The row with its draw refused and the next one in its place."""
        event = Event(row["key"], "refused", row["draw"], self.name, reason, message, "")
        return self._record(row, event) | {"draw": row["draw"] + 1}

    def _shapes(self, identities: Iterable[Identity]) -> list[Shape]:
        return [Shape(load_mesh(self.catalog.mesh(identity))) for identity in identities]

    def _fail(self, row: Row, reason: str, message: str, tail: str = "") -> Row:
        event = Event(row["key"], "failed", row["attempt"], self.name, reason, message, tail)
        return _finished(self._record(row, event), "failed")

    def _record(self, row: Row, event: Event) -> Row:
        self.store.record(event)
        return row | {"events": msgspec.json.encode([*events_of(row), event])}


class Compose(Stage):
    """Plan and draw -> a spec. Layouts that do not fit are drawn again at once."""

    name = "compose"

    def work(self, row: Row) -> Row:
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


class Render(Stage):
    """Spec -> pixels, by the one Blender process that belongs to this object."""

    name = "render"
    _renderer: renderer.Renderer | None = None

    def work(self, row: Row) -> Row:
        spec = msgspec.json.decode(row["spec"], type=SceneSpec)
        if self._renderer is None:
            self._renderer = renderer.Renderer(self.config.render, self.config.job.worker)
        meshes = [self.catalog.mesh(subject.identity) for subject in spec.subjects]
        with tempfile.TemporaryDirectory(prefix="sigma-environment_mesh-") as folder:
            environment_mesh = Path(folder) / f"{spec.key}.glb"
            pixels = max(spec.camera.width, spec.camera.height)
            write_environment_mesh(spec.environment, environment_mesh, pixels)
            rendered = self._renderer.render(spec, meshes, environment_mesh)
        return row | {"render": rendered}


class Annotate(Stage):
    """Spec and pixels -> a sample, judged, encoded and committed."""

    name = "annotate"

    def work(self, row: Row) -> Row:
        spec = msgspec.json.decode(row["spec"], type=SceneSpec)
        shapes = self._shapes(subject.identity for subject in spec.subjects)
        pixels = Rendering.from_npz(row["render"])
        made_by = {"config_digest": self.config.digest(), "code_version": version("sigma-set")}
        sample = annotate.annotate(spec, pixels, shapes, made_by)
        reasons = quality.rejection_reasons(sample, self.config.gate)
        if reasons:
            return _finished(self.refuse(row, reasons[0], ", ".join(reasons)), "refused")
        self.store.commit(row["key"], codec.encode(sample))
        return _finished(row, "done")


def _finished(row: Row, outcome: Outcome) -> Row:
    """``row`` with its verdict and without its burden."""
    return row | {"plan": b"", "spec": b"", "render": b"", "outcome": outcome}
