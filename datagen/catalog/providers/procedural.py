"""The procedural provider: shapes made by code from sampled parameters.

An asset is one set of shape parameters of one of the n families. Asset number i of the catalogue
is number i // n of family i % n, and its parameters follow from family and number alone, so that a
longer catalogue begins with the shorter one. How to add a family:
``datagen.catalog.shapes.families``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import trimesh
from trimesh.visual.material import PBRMaterial

from datagen.atomic import write_file
from datagen.catalog.glb import encode_glb
from datagen.catalog.provider import Rejection
from datagen.catalog.shape_descriptor import equal_shapes, shape_descriptor
from datagen.catalog.shapes.families import VERSION, build, families, sample_parameters
from datagen.catalog.shapes.part_meshes import part_meshes
from datagen.catalog.visible_area import rounded_shares, visible_area
from datagen.scene import Asset, Part, Vec3

# Part of the cache's path, beside the shapes' own version: to be raised when more is measured.
_MEASURES_VERSION = 2
# Colour of a part without a finish. Every procedural identity has a finish on every part.
_CLAY: Vec3 = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class _Measures:
    """What is measured of a shape: ``size``, ``silhouette`` and ``parts`` as in ``Asset``, and the
    descriptor of its shape."""

    size: Vec3
    silhouette: float
    parts: tuple[Part, ...]
    shape: tuple[float, ...]


class Procedural:
    """The first ``count`` procedural assets; meshes and measures are cached on disk."""

    def __init__(self, count: int, cache: Path) -> None:
        self._count = count
        self._cache = cache / f"procedural-{VERSION}.{_MEASURES_VERSION}"

    @cached_property
    def _assets(self) -> tuple[Asset, ...]:
        names = list(families())
        measured = [
            self._asset(names[index % len(names)], index // len(names))
            for index in range(self._count)
        ]
        shapes = equal_shapes({asset.id: descriptor for asset, descriptor in measured})
        return tuple(replace(asset, shape=shapes[asset.id]) for asset, _ in measured)

    def assets(self) -> tuple[Asset, ...]:
        """The first ``count`` assets."""
        return self._assets

    def rejections(self) -> tuple[Rejection, ...]:
        """None: every shape is usable."""
        return ()

    def model(self, asset: Asset) -> Path:
        """Path of the asset's canonical GLB, without finishes."""
        path = self._cache / f"{asset.id.split('/', 1)[1]}-{asset.digest[:16]}.glb"
        if not path.exists():
            _, family, number = asset.id.split("/")
            write_file(path, encode_glb(_meshes(family, _parameters(family, int(number)))))
        return path

    def _asset(self, family: str, number: int) -> tuple[Asset, tuple[float, ...]]:
        """An asset, its shape still empty, and the descriptor of its shape."""
        parameters = _parameters(family, number)
        digest = hashlib.sha256(
            msgspec.json.encode([VERSION, family, parameters], order="deterministic")
        ).hexdigest()
        path = self._cache / family / f"{number:04d}-{digest[:16]}.json"
        if path.exists():
            measures = msgspec.json.decode(path.read_bytes(), type=_Measures)
        else:
            meshes = _meshes(family, parameters)
            measures = _measure(meshes)
            write_file(path.with_suffix(".glb"), encode_glb(meshes))
            write_file(path, msgspec.json.encode(measures))
        asset = Asset(
            id=f"procedural/{family}/{number:04d}",
            category=families()[family].category,
            noun=families()[family].noun,
            size=measures.size,
            silhouette=measures.silhouette,
            parts=measures.parts,
            recolorable=True,
            source="procedural",
            author="SIGMA-SET contributors",
            license="CC0-1.0",
            digest=digest,
        )
        return asset, measures.shape


def _measure(meshes: dict[str, trimesh.Trimesh]) -> _Measures:
    """Measures of a shape from its meshes in glTF's frame, by part; lengths to the micrometre."""
    visible = visible_area([(mesh.vertices, mesh.faces) for mesh in meshes.values()])
    shape = shape_descriptor(np.concatenate([mesh.triangles for mesh in meshes.values()]))
    width, height, depth = np.ptp([bound for m in meshes.values() for bound in m.bounds], axis=0)
    size = (round(float(width), 6), round(float(depth), 6), round(float(height), 6))
    parts = tuple(
        Part(part, round(float(share), 5), _CLAY, 0.0, rounded_shares(by_azimuth))
        for part, share, by_azimuth in zip(
            meshes, visible.shares, visible.azimuth_shares, strict=True
        )
    )
    return _Measures(size, round(visible.silhouette, 6), parts, shape)


def _parameters(family: str, number: int) -> dict[str, int | float]:
    family_seed = int.from_bytes(hashlib.sha256(family.encode()).digest()[:8], "big")
    rng = np.random.default_rng(np.random.SeedSequence([family_seed, number]))
    return sample_parameters(families()[family], rng)


def _meshes(family: str, parameters: dict[str, int | float]) -> dict[str, trimesh.Trimesh]:
    meshes = part_meshes(build(family, parameters))
    for part, mesh in meshes.items():
        mesh.visual.material = PBRMaterial(
            name=part, baseColorFactor=[55, 55, 55, 255], roughnessFactor=0.6, metallicFactor=0.0
        )
    return meshes
