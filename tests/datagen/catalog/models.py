"""Small models of every format, for tests that read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial

from datagen.catalog.ingest.ingest import UPRIGHT
from datagen.catalog.ingest.worker import Job


def box(extents: tuple[float, float, float] = (1.0, 2.0, 0.5)) -> trimesh.Trimesh:
    return trimesh.creation.box(extents)


def glb(mesh: trimesh.Trimesh) -> bytes:
    return trimesh.Scene(mesh).export(file_type="glb")


def picture(color: tuple[int, ...], size: int = 8) -> Image.Image:
    return Image.new("RGBA" if len(color) == 4 else "RGB", (size, size), color)


def quad(image: Image.Image | None = None, **facts: object) -> trimesh.Trimesh:
    """Two textured unit squares facing +z, one 0.1 above the other."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    depth = np.repeat([0.0, 0.1], 4)
    return trimesh.Trimesh(
        np.column_stack([np.tile(corners, (2, 1)), depth]),
        np.concatenate([faces, faces + 4]),
        visual=trimesh.visual.TextureVisuals(
            uv=np.tile(corners, (2, 1)), material=PBRMaterial(baseColorTexture=image, **facts)
        ),
        process=False,
    )


def write_obj(library: Path, mtl: str, faces: str = "f 1/1 2/2 3/3\nf 4/1 5/2 6/3\n") -> str:
    (library / "part.obj").write_text(
        "mtllib part.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nv 1 0 1\nv 0 1 1\n"
        f"vt 0 0\nvt 1 0\nvt 0 1\nusemtl paint\n{faces}"
    )
    (library / "part.mtl").write_text(f"newmtl paint\n{mtl}\n")
    return "part.obj"


def ingest_job(library: Path, file: str, output: Path) -> Job:
    """The ingest of a file in metres, with the limits of the provider."""
    return Job(
        library=str(library),
        file=file,
        rotation=UPRIGHT,
        extent=None,
        units=(1.0,),
        srgb_materials=False,
        output=str(output),
        max_faces=100_000,
        max_source_faces=2_000_000,
        max_bytes=100_000_000,
        seconds=60.0,
    )
