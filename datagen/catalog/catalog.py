"""The catalogue: the assets of one provider, and the meshes of their identities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datagen.atomic import write_file
from datagen.catalog.glb import encode_glb, load_scene
from datagen.catalog.ingest.ingest import IngestedModels
from datagen.catalog.looks.appearance import fingerprint
from datagen.catalog.looks.dress import DRESS_VERSION, dress
from datagen.catalog.provider import Provider, Rejection
from datagen.catalog.providers import folder, sweethome3d
from datagen.catalog.providers.procedural import Procedural
from datagen.errors import UserError
from datagen.scene import Asset, Identity
from datagen.validation import CountOrZero

LISTINGS = {"sweethome3d": sweethome3d.model_sources, "folder": folder.model_sources}
"""Providers that read model files: each lists the sources in a folder."""


@dataclass(frozen=True)
class CatalogConfig:
    """The assets that scenes are made of."""

    provider: Literal["procedural", "sweethome3d", "folder"]
    """Where assets come from."""
    path: str = ""
    """The provider's files (a folder of .sh3f libraries, or a tree of models); the procedural
    provider has none."""
    assets: CountOrZero = 0
    """How many shapes the procedural provider makes; elsewhere the first so many by id, and 0 means
    all."""


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
        """Path of the canonical GLB of an identity: its finishes on it, its scale applied.

        The bytes are always the same, whichever process builds them.
        """
        name = fingerprint(identity.asset, identity.appearance)
        path = self._cache / f"identities-{DRESS_VERSION}" / name[:2] / f"{name}.glb"
        if not path.exists():
            scene = load_scene(self._provider.model(identity.asset))
            write_file(path, encode_glb(dress(scene, identity.appearance)))
        return path


def open_catalog(config: CatalogConfig, cache: Path) -> Catalog:
    """The catalogue that ``config`` describes, caching under ``cache``.

    Raises:
        UserError: a path or a number of assets that the provider cannot use.
    """
    if config.provider == "procedural":
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
    if not config.path or not Path(config.path).is_dir():
        raise UserError(
            f"catalog.path: {config.path!r} is not a folder; "
            f"the {config.provider} provider reads its assets from one"
        )
    sources = sorted(LISTINGS[config.provider](Path(config.path)), key=lambda source: source.id)
    return Catalog(IngestedModels(sources[: config.assets or None], cache), cache)
