"""Ingest: makes the models of a library canonical once and keeps them in the cache.

Untrusted files are read in worker processes with limits on memory and time. A file that crashes
its worker, hangs or uses up the memory costs that asset and nothing else. The result, either
measures or a reason to reject the model, is stored beside the mesh:

    CACHE/models-{INGEST_VERSION}/{first two digits}/{key}/verdict.json, model.glb

The key is a digest of the input. The result names the other files that were read (materials,
textures) with their stamps. Opening the library again compares the stamps and reads no model.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from datagen.catalog.ingest.model_files import open_library
from datagen.catalog.ingest.supervisor import Limits, run_jobs
from datagen.catalog.ingest.worker import IngestResult, Job
from datagen.catalog.provider import Rejection
from datagen.catalog.shape_descriptor import equal_shapes
from datagen.scene import Asset, Mat3, Vec3

# Part of the cache's path: to be raised when the same file would give another mesh or measure.
INGEST_VERSION = 4

UPRIGHT: Mat3 = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

log = logging.getLogger(__name__)
LOG_INTERVAL = 100
"""Models between two lines of the log."""


@dataclass(frozen=True)
class ModelSource:
    """A model as its library lists it.

    ``library``: path of a folder or zip archive; ``file``: the model's name in it. ``rotation``:
    from the file's frame to glTF's (y up, front +z). ``extent``: size in metres along glTF's
    x, y, z, or the largest extent alone, or None where the library does not state it. Then
    ``units`` are metres per unit of the file: one that is known, or several to be tried in turn, of
    which the first that gives a usable size is a guess. ``srgb_materials``: ``Kd`` in MTL files is
    sRGB, whatever program has written them. ``reason``, if not empty: why the model is rejected
    without being read; ``detail``: what was found. The other fields are as in ``Asset``.
    """

    id: str
    library: str
    file: str
    category: str = ""
    noun: str = ""
    license: str = "unknown"
    author: str = "unknown"
    title: str = ""
    source: str = "unknown"
    recolorable: bool = True
    rotation: Mat3 = UPRIGHT
    extent: Vec3 | float | None = None
    units: tuple[float, ...] = (1.0,)
    srgb_materials: bool = False
    reason: str = ""
    detail: str = ""


class IngestedModels:
    """The provider for any list of model sources.

    Construction ingests the models that are not in the cache, on all cores: minutes for a thousand
    models the first time, a second after that.

    Args:
        sources: the models; of several with one id, the first is used.
        cache: folder of the cache.
        limits: what one model may cost.
    """

    def __init__(
        self, sources: Sequence[ModelSource], cache: Path, limits: Limits | None = None
    ) -> None:
        self._limits = limits or Limits()
        self._cache = cache / f"models-{INGEST_VERSION}"
        listed = sorted(sources, key=lambda source: source.id)
        self._sources = {source.id: source for source in reversed(listed)}
        results = self._results([source for source in listed if not source.reason])
        self._assets, self._rejections = _assets_and_rejections(listed, results)

    def assets(self) -> tuple[Asset, ...]:
        """The usable assets, sorted by id."""
        return self._assets

    def rejections(self) -> tuple[Rejection, ...]:
        """The assets that cannot be used, once each, sorted by id."""
        return self._rejections

    def model(self, asset: Asset) -> Path:
        """Path of the asset's canonical GLB; it is made again if the cache has lost it."""
        source = self._sources[asset.id]
        path = self._entry(source) / "model.glb"
        if not path.exists():
            self._ingest([source])
        return path

    def _results(self, sources: Sequence[ModelSource]) -> dict[ModelSource, IngestResult]:
        """The result for each source, from the cache or else from a worker."""
        cached = {source: self._cached(source) for source in sources}
        found = {source: result for source, result in cached.items() if result}
        return found | self._ingest([source for source in cached if source not in found])

    def _entry(self, source: ModelSource) -> Path:
        """The cache's folder for this source with the present content of its model file."""
        stamp = open_library(source.library).stamp(source.file)
        # Files in two folders may have the same name and time; the checksums of an archive's
        # members identify them without its path.
        folder = source.library if Path(source.library).is_dir() else ""
        reading = (source.rotation, source.extent, source.units, source.srgb_materials)
        inputs = (folder, source.file, stamp, reading, self._limits)
        key = hashlib.sha256(msgspec.json.encode(inputs)).hexdigest()[:32]
        return self._cache / key[:2] / key

    def _cached(self, source: ModelSource) -> IngestResult | None:
        """The result in the cache; None where there is none or a file that was read has changed."""
        entry = self._entry(source)
        try:
            result = msgspec.json.decode((entry / "verdict.json").read_bytes(), type=IngestResult)
        except FileNotFoundError:
            return None
        if not result.reason and not (entry / "model.glb").exists():
            return None
        library = open_library(source.library)
        unchanged = all(library.stamp(name) == stamp for name, stamp in result.used.items())
        return result if unchanged else None

    def _ingest(self, sources: Sequence[ModelSource]) -> dict[ModelSource, IngestResult]:
        """Reads the models in workers and stores the results."""
        if not sources:
            return {}
        log.info("reading %d models, once; the next run finds them in the cache", len(sources))
        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._cache, prefix=".") as scratch:
            jobs = {self._job(s, Path(scratch, str(i))): s for i, s in enumerate(sources)}
            results = {}
            for job, result in run_jobs(list(jobs), self._limits):
                results[jobs[job]] = result
                if len(results) % LOG_INTERVAL == 0:
                    log.info("%d of %d models read", len(results), len(sources))
                self._store(jobs[job], Path(job.output).parent, result)
        return results

    def _job(self, source: ModelSource, folder: Path) -> Job:
        return Job(
            library=source.library,
            file=source.file,
            rotation=source.rotation,
            extent=source.extent,
            units=source.units,
            srgb_materials=source.srgb_materials,
            output=str(folder / "model.glb"),
            max_faces=self._limits.max_faces,
            max_source_faces=self._limits.max_source_faces,
            max_bytes=self._limits.max_bytes,
            seconds=self._limits.seconds,
        )

    def _store(self, source: ModelSource, folder: Path, result: IngestResult) -> None:
        """Moves ``folder`` to its place in the cache, with the result in it. Of two processes that
        do so at once, the first one's folder stays."""
        folder.mkdir(exist_ok=True)
        (folder / "verdict.json").write_bytes(msgspec.json.encode(result, order="deterministic"))
        entry = self._entry(source)
        if self._cached(source) is None:
            shutil.rmtree(entry, ignore_errors=True)
            entry.parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):  # the other process was first
                os.rename(folder, entry)


def _assets_and_rejections(
    sources: Sequence[ModelSource], results: dict[ModelSource, IngestResult]
) -> tuple[tuple[Asset, ...], tuple[Rejection, ...]]:
    """The usable assets and the rejections. A model that is listed twice is one asset."""
    assets: dict[str, Asset] = {}
    descriptors: dict[str, tuple[float, ...]] = {}
    digests: dict[str, str] = {}
    rejections = []
    for source in sources:
        result = results.get(source) or IngestResult(reason=source.reason, detail=source.detail)
        reason, detail = result.reason, result.detail
        if not reason and source.source == "procedural":
            reason, detail = "reserved source", "rename the folder, or give a source in metadata"
        elif not reason and source.id in assets:
            reason, detail = "duplicate id", source.file
        elif not reason and result.digest in digests:
            reason, detail = "duplicate", f"same as {digests[result.digest]}"
        if reason:
            rejections.append(Rejection(source.id, reason, detail))
            continue
        digests[result.digest] = source.id
        descriptors[source.id] = result.shape
        assets[source.id] = Asset(
            id=source.id,
            category=source.category,
            noun=source.noun,
            size=result.size,
            silhouette=result.silhouette,
            parts=result.parts,
            recolorable=source.recolorable,
            source=source.source,
            author=_known(source.author, result.credits.author),
            license=_known(source.license, result.credits.license),
            digest=result.digest,
            size_guessed=result.size_guessed,
            color_assumed=result.color_assumed,
            decimated_from=result.decimated_from,
            title=source.title or result.credits.title,
        )
    shapes = equal_shapes(descriptors)
    return (
        tuple(replace(asset, shape=shapes[asset.id]) for asset in assets.values()),
        tuple(rejections),
    )


def _known(listed: str, stated: str) -> str:
    """What the library lists, or else what the model file itself states."""
    return stated if listed == "unknown" and stated else listed
