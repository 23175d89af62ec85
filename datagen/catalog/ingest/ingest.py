"""Models of any library, made canonical once and kept in the cache.

Files from strangers are read in worker processes with limits on memory and time. Whatever a
file does there, crash, hang or eat the memory, costs that asset and nothing else. The verdict,
measures or a reason to refuse, is stored beside the mesh:

    CACHE/models-{INGEST_VERSION}/{first two digits}/{key}/verdict.json, model.glb

The key is a digest of what goes in; the verdict names the other files that went in (materials,
textures) with their stamps. A second opening compares stamps and reads no model.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from datagen.catalog.ingest.model_files import open_library
from datagen.catalog.ingest.supervisor import Limits, run_jobs
from datagen.catalog.ingest.worker import IngestResult, Job
from datagen.catalog.provider import Rejection
from datagen.scene import Asset, Mat3, Vec3

# Raised when the same file would come out otherwise.
INGEST_VERSION = 2

UPRIGHT: Mat3 = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

log = logging.getLogger(__name__)
TELL_EVERY = 100


@dataclass(frozen=True)
class ModelSource:
    """A model as its library lists it.

    ``library``: folder or zip archive; ``file``: the model's name in it. ``rotation`` takes
    the file's frame to glTF's (y up, front +z). ``extent``: what it measures in metres along
    glTF's x, y, z, or the largest of them, or None where the library does not say.
    ``reason``, not empty: refused unseen, and why; ``detail`` what was found. The rest as in
    ``Asset``.
    """

    id: str
    library: str
    file: str
    category: str = ""
    noun: str = ""
    license: str = "unknown"
    author: str = "unknown"
    source: str = "unknown"
    recolorable: bool = True
    rotation: Mat3 = UPRIGHT
    extent: Vec3 | float | None = None
    reason: str = ""
    detail: str = ""


class IngestedModels:
    """The provider over any list of sources.

    Construction normalises what the cache does not hold yet, on all cores: minutes for a
    thousand models the first time, a second after that.
    """

    def __init__(
        self, sources: Sequence[ModelSource], cache: Path, limits: Limits | None = None
    ) -> None:
        self._limits = limits or Limits()
        self._cache = cache / f"models-{INGEST_VERSION}"
        listed = sorted(sources, key=lambda source: source.id)
        self._sources = {source.id: source for source in reversed(listed)}
        verdicts = self._verdicts([source for source in listed if not source.reason])
        self._assets, self._rejections = _judge(listed, verdicts)

    def assets(self) -> tuple[Asset, ...]:
        """The usable assets, sorted by id."""
        return self._assets

    def rejections(self) -> tuple[Rejection, ...]:
        """The others, once each, sorted by id."""
        return self._rejections

    def model(self, asset: Asset) -> Path:
        """The canonical GLB. Made again where it is gone (another machine's cache, say)."""
        source = self._sources[asset.id]
        path = self._entry(source) / "model.glb"
        if not path.exists():
            self._make([source])
        return path

    def _verdicts(self, sources: Sequence[ModelSource]) -> dict[ModelSource, IngestResult]:
        """From the cache, else from a worker."""
        stored = {source: self._stored(source) for source in sources}
        found = {source: verdict for source, verdict in stored.items() if verdict}
        return found | self._make([source for source in stored if source not in found])

    def _entry(self, source: ModelSource) -> Path:
        """The folder of the cache for this source, in the state its model file is in."""
        stamp = open_library(source.library).stamp(source.file)
        # Names and times recur in other folders; the checksums of an archive are enough.
        place = source.library if Path(source.library).is_dir() else ""
        facts = (place, source.file, stamp, source.rotation, source.extent, self._limits)
        key = hashlib.sha256(msgspec.json.encode(facts)).hexdigest()[:32]
        return self._cache / key[:2] / key

    def _stored(self, source: ModelSource) -> IngestResult | None:
        entry = self._entry(source)
        try:
            verdict = msgspec.json.decode((entry / "verdict.json").read_bytes(), type=IngestResult)
        except FileNotFoundError:
            return None
        if not verdict.reason and not (entry / "model.glb").exists():
            return None
        library = open_library(source.library)
        fresh = all(library.stamp(name) == stamp for name, stamp in verdict.used.items())
        return verdict if fresh else None

    def _make(self, sources: Sequence[ModelSource]) -> dict[ModelSource, IngestResult]:
        if not sources:
            return {}
        log.info("reading %d models, once; the next run finds them in the cache", len(sources))
        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._cache, prefix=".") as scratch:
            jobs = {self._job(s, Path(scratch, str(i))): s for i, s in enumerate(sources)}
            made = {}
            for job, verdict in run_jobs(list(jobs), self._limits):
                made[jobs[job]] = verdict
                if len(made) % TELL_EVERY == 0:
                    log.info("%d of %d models read", len(made), len(sources))
                self._store(jobs[job], Path(job.output).parent, verdict)
        return made

    def _job(self, source: ModelSource, folder: Path) -> Job:
        return Job(
            library=source.library,
            file=source.file,
            rotation=source.rotation,
            extent=source.extent,
            output=str(folder / "model.glb"),
            max_faces=self._limits.max_faces,
            max_bytes=self._limits.max_bytes,
        )

    def _store(self, source: ModelSource, folder: Path, verdict: IngestResult) -> None:
        """Put the folder in its place, whole. Of two processes at it the first one wins."""
        folder.mkdir(exist_ok=True)
        (folder / "verdict.json").write_bytes(msgspec.json.encode(verdict, order="deterministic"))
        entry = self._entry(source)
        if self._stored(source) is None:
            shutil.rmtree(entry, ignore_errors=True)
            entry.parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):  # the other process was quicker
                os.rename(folder, entry)


def _judge(
    sources: Sequence[ModelSource], verdicts: dict[ModelSource, IngestResult]
) -> tuple[tuple[Asset, ...], tuple[Rejection, ...]]:
    """Assets and rejections. A model that is listed twice is one asset: under two ids it
    could end up on both sides of a split."""
    assets: dict[str, Asset] = {}
    digests: dict[str, str] = {}
    rejections = []
    for source in sources:
        verdict = verdicts.get(source) or IngestResult(reason=source.reason, detail=source.detail)
        reason, detail = verdict.reason, verdict.detail
        if not reason and source.source == "procedural":
            reason, detail = "reserved source", "rename the folder, or give a source in metadata"
        elif not reason and source.id in assets:
            reason, detail = "duplicate id", source.file
        elif not reason and verdict.digest in digests:
            reason, detail = "duplicate", f"same as {digests[verdict.digest]}"
        if reason:
            rejections.append(Rejection(source.id, reason, detail))
            continue
        digests[verdict.digest] = source.id
        assets[source.id] = Asset(
            id=source.id,
            category=source.category,
            noun=source.noun,
            size=verdict.size,
            silhouette=verdict.silhouette,
            parts=verdict.parts,
            recolorable=source.recolorable,
            source=source.source,
            author=source.author,
            license=source.license,
            digest=verdict.digest,
        )
    return tuple(assets.values()), tuple(rejections)
