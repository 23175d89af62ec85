"""The catalogue: the assets of one provider, and the meshes of their identities.

To add a provider, implement ``datagen.catalog.provider.Provider``, or, for model files, only a
listing (``_model_sources``); then name it in ``CatalogConfig.provider`` and ``open_catalog``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from datagen.atomic import write_file
from datagen.catalog.glb import encode_glb, load_scene
from datagen.catalog.ingest.ingest import IngestedModels, ModelSource
from datagen.catalog.ingest.supervisor import Limits
from datagen.catalog.looks.appearance import fingerprint
from datagen.catalog.looks.apply_appearance import IDENTITY_MESH_VERSION, apply_appearance
from datagen.catalog.provider import Provider, Rejection
from datagen.catalog.providers import folder, sweethome3d
from datagen.catalog.providers.metadata import Axis, Unit, complete_frame
from datagen.catalog.providers.procedural import Procedural
from datagen.errors import UserError
from datagen.scene import Asset, Identity
from datagen.validation import CountOrZero

MAX_SOURCE_FACES = 2_000_000
"""Largest number of triangles of a model file; one with more is rejected."""


@dataclass(frozen=True)
class CatalogConfig:
    """The assets that subjects are made from."""

    provider: Literal["procedural", "sweethome3d", "folder"]
    """Source of the assets: shapes from code, Sweet Home 3D libraries, or a folder of models."""
    path: str = ""
    """Folder that the provider reads: .sh3f libraries for sweethome3d, a tree of model files for
    folder. Empty for procedural, which reads no files."""
    assets: CountOrZero = 0
    """Number of assets. The procedural provider makes this many, 1 or more; the others take the
    first this many by id, and 0 means all."""
    unit: Literal["guess"] | Unit = "guess"
    """Unit of obj, ply and stl files in a folder, which do not state it; glTF is in metres. With
    guess, each file gets the first unit of metre, centimetre, millimetre (stl: millimetre, metre,
    centimetre) in which its size is usable, and its assets are marked."""
    up: Axis | None = None
    """Axis that points up in the obj, ply and stl files of a folder. By default y in obj, z in ply
    and stl."""
    front: Axis | None = None
    """Axis that points to the front in the obj, ply and stl files of a folder; needs catalog.up. By
    default -y where z is up, z where y is up."""
    max_faces: Annotated[int, Meta(ge=1_000, le=MAX_SOURCE_FACES)] = 100_000
    """Largest number of triangles of an asset. A model file with more is decimated to this many;
    one with more than 2,000,000 is rejected."""
    recolor: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """Share of the identities of models from files that get other colours: parts without a texture
    get a new colour or pattern, textures another hue, saturation and lightness. 0: all models keep
    their own colours. Procedural shapes, which have none, are always coloured."""

    def __post_init__(self) -> None:
        """Raises:
        UserError: the provider cannot use the path, the number of assets, or the conventions of
            model files.
        """
        if self.provider != "folder":
            for key, default in (("unit", "guess"), ("up", None), ("front", None)):
                if getattr(self, key) != default:
                    raise UserError(
                        f"catalog.{key}: {getattr(self, key)}, which the {self.provider} provider "
                        "does not use; it is for model files of the folder provider"
                    )
        try:
            complete_frame(self.up, self.front)
        except ValueError as error:
            raise UserError(f"catalog.{error}") from None
        if self.provider == "procedural":
            if self.path:
                raise UserError(
                    f"catalog.path: {self.path!r}, which the procedural provider does not read; to "
                    "read it, set catalog.provider to sweethome3d or folder, and catalog.assets to "
                    "0 (all)"
                )
            if self.assets < 1:
                raise UserError(
                    f"catalog.assets: {self.assets}, expected the number of shapes for the "
                    "procedural provider to make, 1 or more"
                )
        elif not self.path:
            raise UserError(
                f"catalog.path: '', expected the folder that the {self.provider} provider reads"
            )


class Catalog:
    """The assets of one provider, and the meshes of identities made from them.

    Cheap to pickle. Meshes are files in ``cache``, built at the first request; several processes
    may request the same mesh at once.
    """

    def __init__(self, provider: Provider, cache: Path) -> None:
        self._provider = provider
        self._cache = cache

    def assets(self) -> tuple[Asset, ...]:
        """The usable assets, sorted by id."""
        return tuple(sorted(self._provider.assets(), key=lambda asset: asset.id))

    def rejections(self) -> tuple[Rejection, ...]:
        """The assets that cannot be used and why, sorted by id."""
        return tuple(sorted(self._provider.rejections(), key=lambda rejection: rejection.asset))

    def mesh(self, identity: Identity) -> Path:
        """Path of an identity's canonical GLB, with its finishes and scale applied.

        The bytes are the same in whichever process the file is built.
        """
        name = fingerprint(identity.asset, identity.appearance)
        path = self._cache / f"identities-{IDENTITY_MESH_VERSION}" / name[:2] / f"{name}.glb"
        if not path.exists():
            scene = load_scene(self._provider.model(identity.asset))
            write_file(path, encode_glb(apply_appearance(scene, identity.appearance)))
        return path


def open_catalog(config: CatalogConfig, cache: Path) -> Catalog:
    """Opens the catalogue that ``config`` describes.

    Args:
        config: the provider and what it reads.
        cache: folder for ingested models and identity meshes, shared by all datasets.

    Raises:
        UserError: the path is not a folder, or the provider finds no assets in it.
    """
    if config.provider == "procedural":
        return Catalog(Procedural(config.assets, cache), cache)
    if not Path(config.path).is_dir():
        raise UserError(
            f"catalog.path: {config.path!r}, expected the folder that the {config.provider} "
            "provider reads"
        )
    sources = sorted(_model_sources(config), key=lambda source: source.id)
    limits = Limits(max_faces=config.max_faces, max_source_faces=MAX_SOURCE_FACES)
    return Catalog(IngestedModels(sources[: config.assets or None], cache, limits), cache)


def _model_sources(config: CatalogConfig) -> tuple[ModelSource, ...]:
    """Lists the models of a provider of model files; ``IngestedModels`` does the rest."""
    if config.provider == "sweethome3d":
        return sweethome3d.model_sources(Path(config.path))
    unit = None if config.unit == "guess" else config.unit
    conventions = folder.FileConventions(unit, config.up, config.front)
    return folder.model_sources(Path(config.path), conventions)
