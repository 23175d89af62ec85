"""The process that reads untrusted model files: ``python -m datagen.catalog.ingest.worker``.

Started and watched by supervisor.py. It receives jobs and returns results as JSON messages over an
inherited socket. A file that crashes it does no harm to other processes.
"""

from __future__ import annotations

import ctypes
import os
import posixpath
import resource
import signal
import sys
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from datagen.atomic import write_file
from datagen.catalog.ingest.canonical import canonicalize
from datagen.catalog.ingest.gltf.credits import Credits, read_credits
from datagen.catalog.ingest.material_meshes import read_material_meshes
from datagen.catalog.ingest.model_files import AssetRejected, open_library
from datagen.catalog.ingest.resolver import Resolver
from datagen.scene import Mat3, Part, Vec3

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Job:
    """Make the model ``file`` of ``library`` canonical and write the GLB to the path ``output``.
    The other fields are as in ``ModelSource`` and ``Limits``."""

    library: str
    file: str
    rotation: Mat3
    extent: Vec3 | float | None
    units: tuple[float, ...]
    srgb_materials: bool
    output: str
    max_faces: int
    max_source_faces: int
    max_bytes: int
    seconds: float


@dataclass(frozen=True)
class IngestResult:
    """The result of a job: ``reason``, if not empty, why the model is rejected, and ``detail`` what
    was found; otherwise the measures, as in ``Canonical``. ``used``: the stamps of the other files
    that the model names, by name; empty for a file that is absent. ``credits``: what the file
    itself states."""

    reason: str = ""
    detail: str = ""
    size: Vec3 = (0.0, 0.0, 0.0)
    silhouette: float = 0.0
    parts: tuple[Part, ...] = ()
    digest: str = ""
    size_guessed: bool = False
    color_assumed: bool = False
    decimated_from: int = 0
    shape: tuple[float, ...] = ()
    used: dict[str, str] = field(default_factory=dict)
    credits: Credits = field(default_factory=Credits)


def run_job(job: Job) -> IngestResult:
    """Runs a job.

    Raises:
        MemoryError: the process is out of memory and must end; all other errors become a result.
    """
    library = open_library(job.library)
    resolver = Resolver(library, posixpath.dirname(job.file), job.max_bytes)
    try:
        meshes = read_material_meshes(
            library,
            job.file,
            resolver,
            srgb_materials=job.srgb_materials,
            max_faces=job.max_source_faces,
            max_bytes=job.max_bytes,
        )
        canonical = canonicalize(meshes, job.rotation, job.extent, job.units, job.max_faces)
        credits = read_credits(library, job.file, job.max_bytes)
    except AssetRejected as rejection:
        reason, detail = rejection.reason, rejection.detail
    except MemoryError:
        raise
    except Exception as error:  # a parser may raise anything
        reason, detail = "unreadable file", f"{type(error).__name__}: {error}"[:300]
    else:
        write_file(Path(job.output), canonical.glb)
        used = {name: library.stamp(name) for name in sorted(resolver.used)}
        return IngestResult(
            size=canonical.size,
            silhouette=canonical.silhouette,
            parts=canonical.parts,
            digest=canonical.digest,
            size_guessed=job.extent is None and len(job.units) > 1,
            color_assumed=canonical.color_assumed,
            decimated_from=canonical.decimated_from,
            shape=canonical.shape,
            used=used,
            credits=credits,
        )
    used = {name: library.stamp(name) for name in sorted(resolver.used)}
    return IngestResult(reason=reason, detail=detail, used=used)


def main() -> None:
    """Serves jobs. Arguments: file descriptor of the socket, and limit of address space in
    bytes."""
    descriptor, memory = map(int, sys.argv[1:])
    # The kernel kills this process when its parent dies.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection = Connection(descriptor)
    connection.send_bytes(b"ready")
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:
            return
        job = msgspec.json.decode(message, type=Job)
        try:
            # SIGPROF ends this process when it has used this much processor time.
            signal.setitimer(signal.ITIMER_PROF, job.seconds)
            result = run_job(job)
            signal.setitimer(signal.ITIMER_PROF, 0)
        except MemoryError:
            result = IngestResult(reason="out of memory", detail=f"limit {memory >> 20} MiB")
            connection.send_bytes(msgspec.json.encode(result))
            os._exit(0)
        connection.send_bytes(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
