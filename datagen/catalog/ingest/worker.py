"""The process in which files from strangers are read: ``python -m datagen.catalog.worker``.

Started and watched by supervisor.py. Takes jobs and gives verdicts as JSON messages over an
inherited socket. A file that breaks it breaks nothing else.
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
from datagen.catalog.ingest.material_meshes import Resolver, read_surfaces
from datagen.catalog.ingest.model_files import AssetRejected, open_library
from datagen.scene import Mat3, Part, Vec3

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Job:
    """Normalise ``file`` of ``library``, mesh to ``output``; the rest as in ``ModelSource`` and
    ``Limits``."""

    library: str
    file: str
    rotation: Mat3
    extent: Vec3 | float | None
    output: str
    max_faces: int
    max_bytes: int


@dataclass(frozen=True)
class IngestResult:
    """``reason``, not empty: refused, and why. Else the measures, as ``Asset`` has them.
    ``used``: stamps of the other files that went in, empty for one that is not there."""

    reason: str = ""
    detail: str = ""
    size: Vec3 = (0.0, 0.0, 0.0)
    silhouette: float = 0.0
    parts: tuple[Part, ...] = ()
    digest: str = ""
    used: dict[str, str] = field(default_factory=dict)


def normalize(job: Job) -> IngestResult:
    """Do the job. Only a lack of memory is raised: after that nothing here can be trusted."""
    library = open_library(job.library)
    resolver = Resolver(library, posixpath.dirname(job.file), job.max_bytes)
    try:
        surfaces = read_surfaces(
            library, job.file, resolver, max_faces=job.max_faces, max_bytes=job.max_bytes
        )
        made = canonicalize(surfaces, job.rotation, job.extent)
    except AssetRejected as refusal:
        reason, detail = refusal.reason, refusal.detail
    except MemoryError:
        raise
    except Exception as error:  # parsers raise anything at all
        reason, detail = "unreadable file", f"{type(error).__name__}: {error}"[:300]
    else:
        write_file(Path(job.output), made.glb)
        used = {name: library.stamp(name) for name in sorted(resolver.used)}
        return IngestResult(
            size=made.size,
            silhouette=made.silhouette,
            parts=made.parts,
            digest=made.digest,
            used=used,
        )
    used = {name: library.stamp(name) for name in sorted(resolver.used)}
    return IngestResult(reason=reason, detail=detail, used=used)


def main() -> None:
    """Arguments: the socket's file descriptor, and the limit of address space in bytes."""
    descriptor, memory = map(int, sys.argv[1:])
    # No orphans: the kernel ends this process when its parent dies.
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
        try:
            verdict = normalize(msgspec.json.decode(message, type=Job))
        except MemoryError:
            verdict = IngestResult(reason="out of memory", detail=f"limit {memory >> 20} MiB")
            connection.send_bytes(msgspec.json.encode(verdict))
            os._exit(0)
        connection.send_bytes(msgspec.json.encode(verdict))


if __name__ == "__main__":
    main()
