"""Puts the meshes of a model into the canonical frame and drops the faces that nobody can see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from datagen.catalog.ingest.meshes import MaterialMesh
from datagen.catalog.ingest.model_files import AssetRejected
from datagen.catalog.mesh_sampling import look_up, points_in
from datagen.scene import Vec3

# Metres. The depth image has steps of 1 mm and ends at 65.5 m: of a smaller asset it would show
# steps, and from a larger one the camera would stand too far away.
SMALLEST, LARGEST = 0.03, 6.0
# Metres. An asset is flat if its smallest extent is below this.
THINNEST = 0.001
# Below this opacity a mesh is a helper that is not meant to be seen.
INVISIBLE = 0.05


def to_canonical_frame(
    meshes: Sequence[MaterialMesh],
    rotation: np.ndarray,
    extent: Vec3 | float | None,
    units: Sequence[float],
) -> list[MaterialMesh]:
    """Rotates the meshes, scales them to metres, drops invisible faces, and puts the centre of the
    bottom at the origin.

    Args:
        meshes: in the file's frame and unit.
        rotation: (3, 3), from the file's frame to glTF's (y up, front +z).
        extent: as in ``ModelSource``.
        units: as in ``ModelSource``.

    Raises:
        AssetRejected: the model has no visible face, or its size cannot be used.
    """
    # Vertices without a face do not count. Faces that nobody sees (shadows painted on the floor)
    # do: the sizes that a library states are of the whole file.
    corners = _corners(meshes) @ rotation.T
    if not np.isfinite(corners).all():
        raise AssetRejected(
            "NaN vertices", f"{int((~np.isfinite(corners)).any(axis=1).sum())} corners"
        )
    scale = _scale(np.ptp(corners, axis=0), extent, units)
    visible = [
        replace(
            mesh,
            vertices=mesh.vertices @ rotation.T * scale,
            faces=mesh.faces[_visible_faces(mesh)],
            normals=None if mesh.normals is None else mesh.normals @ rotation.T / scale,
        )
        for mesh in meshes
    ]
    visible = _without_duplicate_faces([mesh for mesh in visible if len(mesh.faces)])
    if not visible:
        raise AssetRejected("no faces", "every face is transparent or has no area")
    corners = _corners(visible)
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = high - low
    measures = " x ".join(f"{edge:.4g}" for edge in size) + " m"
    if size.max() < SMALLEST:
        raise AssetRejected("too small", f"{measures}, expected {SMALLEST} m or more")
    if size.max() > LARGEST:
        raise AssetRejected("too large", f"{measures}, expected {LARGEST} m or less")
    if size.min() < THINNEST:
        raise AssetRejected("flat", measures)
    origin = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    return [replace(mesh, vertices=mesh.vertices - origin) for mesh in visible]


def _without_duplicate_faces(meshes: Sequence[MaterialMesh]) -> list[MaterialMesh]:
    """The meshes with one of several faces that have the same corners, as where each side of a
    sheet has a face of its own: a ray tracer would show either at random."""
    if not meshes:
        return []
    _, ids = np.unique(np.round(_corners(meshes), 5), axis=0, return_inverse=True)
    _, first = np.unique(np.sort(ids.reshape(-1, 3), axis=1), axis=0, return_index=True)
    kept = np.zeros(len(ids.ravel()) // 3, bool)
    kept[first] = True
    masks = np.split(kept, np.cumsum([len(mesh.faces) for mesh in meshes])[:-1])
    reduced = [replace(m, faces=m.faces[mask]) for m, mask in zip(meshes, masks, strict=True)]
    return [mesh for mesh in reduced if len(mesh.faces)]


def _corners(meshes: Sequence[MaterialMesh]) -> np.ndarray:
    """Positions (3F, 3) of the corners of all faces."""
    return np.concatenate([mesh.vertices[mesh.faces].reshape(-1, 3) for mesh in meshes])


def _visible_faces(mesh: MaterialMesh) -> np.ndarray:
    """(F,) bool: faces that have an area and are opaque somewhere (alpha of 0.5 or more)."""
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    edges = np.linalg.norm(b - a, axis=1) * np.linalg.norm(c - a, axis=1)
    visible = np.linalg.norm(np.cross(b - a, c - a), axis=1) > 1e-9 * np.maximum(edges, 1e-300)
    image = mesh.material.image
    if mesh.material.opacity < INVISIBLE:
        visible[:] = False
    elif image is not None and image.mode == "RGBA" and mesh.uv is not None:
        samples = 32
        face = np.repeat(np.arange(len(mesh.faces)), samples)
        alpha = look_up(image, points_in(mesh.uv[mesh.faces[face]]))[:, 3]
        visible = visible & (alpha.reshape(-1, samples).max(axis=1) >= 0.5)
    return np.asarray(visible)


def _scale(raw: np.ndarray, extent: Vec3 | float | None, units: Sequence[float]) -> np.ndarray:
    """Factors (3,) from the file's unit to metres. ``raw`` (3,): extent in the file's unit along
    glTF's axes. Of several ``units``, the first that gives a usable size."""
    if isinstance(extent, tuple):
        if raw.min() <= 1e-9 * raw.max():
            raise AssetRejected("flat", " x ".join(f"{edge:.4g}" for edge in raw))
        return np.asarray(np.array(extent) / raw)
    largest = float(raw.max())
    if largest <= 0:
        raise AssetRejected("flat", "all vertices coincide")
    if extent is not None:
        return np.full(3, extent / largest)
    usable = [unit for unit in units if SMALLEST <= largest * unit <= LARGEST]
    if not usable and len(units) > 1:
        raise AssetRejected(
            "unknown unit",
            f"{largest:.4g} units long, which is {SMALLEST} to {LARGEST} m in no unit tried; set "
            "catalog.unit, or unit or size in metadata",
        )
    return np.full(3, (usable or list(units))[0])
