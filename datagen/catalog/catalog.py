"""The catalogue: assets of one provider, and the meshes of their identities.

A provider hands out GLBs that all obey one convention, called canonical here:

- glTF's own frame (y up, front along +z, metres), unscaled: the asset's real size;
- the origin is the centre of the bounding box's bottom face, so that glTF's y-up to z-up
  step, (x, y, z) -> (x, -z, y), lands in our asset frame (x right, y back, z up);
- one primitive and one PBR material a ``Part``, the material named after the part;
- textures are PNG or JPEG, at most ``MAX_TEXTURE`` pixels a side;
- UVs of a part *without* a texture count repeats of a pattern (``patterns.REPEATS``). Parts that
  have none, or whose UVs mean something else, must come without.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import trimesh

from datagen.catalog.looks.appearance import fingerprint
from datagen.catalog.looks.dress import DRESS_VERSION, dress
from datagen.scene import Asset, Identity, UserError

MAX_TEXTURE = 1024


@dataclass(frozen=True)
class CatalogConfig:
    """The assets that scenes are made of."""

    provider: Literal["procedural", "sweethome3d", "folder"]
    """Where assets come from."""
    path: str = ""
    """The provider's files (a folder of .sh3f libraries, or a tree of models); the procedural
    provider has none."""
    assets: int = 0
    """How many shapes the procedural provider makes; elsewhere the first so many by id, and 0 means
    all."""


@dataclass(frozen=True)
class Rejection:
    """An asset that cannot be used. ``reason`` is a short stable phrase to count by ("no
    faces"), ``detail`` what was found."""

    asset: str
    reason: str
    detail: str


class Provider(Protocol):
    """A source of canonical meshes. Picklable; what it caches is on disk."""

    def assets(self) -> tuple[Asset, ...]:
        """The usable assets."""

    def rejections(self) -> tuple[Rejection, ...]:
        """The others, once each."""

    def model(self, asset: Asset) -> Path:
        """The asset's canonical GLB, its own materials on it."""


class Catalog:
    """The assets of one provider and the dressed meshes of their identities.

    Cheap to pickle. Meshes live in ``cache`` and are built when first asked for; any number
    of processes may ask at once.
    """

    def __init__(self, provider: Provider, cache: Path) -> None:
        self._provider = provider
        self._cache = cache

    def assets(self) -> tuple[Asset, ...]:
        """The usable assets, sorted by id."""
        return tuple(sorted(self._provider.assets(), key=lambda asset: asset.id))

    def rejections(self) -> tuple[Rejection, ...]:
        """The assets that cannot be used, sorted by id."""
        return tuple(sorted(self._provider.rejections(), key=lambda rejection: rejection.asset))

    def mesh(self, identity: Identity) -> Path:
        """The canonical GLB of an identity: its finishes on it, its scale applied.

        The same bytes always, whoever builds them.
        """
        name = fingerprint(identity.asset, identity.appearance)
        folder = f"identities-{DRESS_VERSION}"
        path = self._cache / folder / name[:2] / f"{name}.glb"
        if not path.exists():
            scene = load_scene(self._provider.model(identity.asset))
            write_atomically(path, glb(dress(scene, identity.appearance)))
        return path


def open_catalog(config: CatalogConfig, cache: Path) -> Catalog:
    """The catalogue that ``config`` describes, caching under ``cache``.

    Raises ``UserError`` for a path or a number of assets that cannot be.
    """
    # Imported here because providers import this module.
    if config.provider == "procedural":
        from datagen.catalog.providers.procedural import Procedural

        if config.path:
            raise UserError(
                f"catalog.path: {config.path!r}: the procedural provider reads no files; set "
                "catalog.provider to sweethome3d or folder, and catalog.assets to 0 for all"
            )
        if config.assets < 1:
            raise UserError(
                f"catalog.assets: {config.assets}: "
                "the procedural provider needs to know how many shapes to make, 1 or more"
            )
        return Catalog(Procedural(config.assets, cache), cache)

    from datagen.catalog.ingest import ingest
    from datagen.catalog.providers import folder, sweethome3d

    if not config.path or not Path(config.path).is_dir():
        raise UserError(
            f"catalog.path: {config.path!r} is not a folder; "
            f"the {config.provider} provider reads its assets from one"
        )
    listing = {"sweethome3d": sweethome3d.sources, "folder": folder.sources}[config.provider]
    sources = sorted(listing(Path(config.path)), key=lambda source: source.id)
    return Catalog(ingest.Ingested(sources[: config.assets or None], cache), cache)


def load_scene(path: Path) -> trimesh.Scene:
    """A canonical GLB with its materials, in glTF's frame."""
    return trimesh.load_scene(path, file_type="glb", process=False)


def load_mesh(path: Path) -> trimesh.Trimesh:
    """Geometry of a canonical GLB in the asset frame (z up): one mesh, no materials, vertices
    merged by position, so that closed parts are watertight."""
    scene = trimesh.load_scene(path, file_type="glb", skip_materials=True, process=False)
    mesh = scene.to_mesh()
    x, y, z = np.asarray(mesh.vertices).T
    return trimesh.Trimesh(np.column_stack([x, -z, y]), mesh.faces, process=True)


def glb(meshes: Mapping[str, trimesh.Trimesh]) -> bytes:
    """Bytes of a GLB with these meshes, in glTF's frame; same meshes, same bytes."""
    scene = trimesh.Scene()
    for name, mesh in meshes.items():
        scene.add_geometry(mesh, node_name=name, geom_name=name)
    data = scene.export(file_type="glb", include_normals=True)
    assert isinstance(data, bytes)
    return data


def write_atomically(path: Path, data: bytes) -> None:
    """Write under a temporary name and rename: readers see all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        # mkstemp keeps a file from other users; a cache may be shared.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
