"""The catalogue: wrong configurations, cached meshes, and load_mesh's frame."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from datagen.atomic import write_file
from datagen.catalog.catalog import Catalog, CatalogConfig, open_catalog
from datagen.catalog.glb import encode_glb, load_mesh
from datagen.catalog.looks.appearance import fingerprint, sample_appearance
from datagen.errors import UserError
from datagen.scene import Asset, Identity


def identity(asset: Asset, seed: int = 0) -> Identity:
    appearance = sample_appearance(asset, np.random.default_rng(seed), 0.5)
    return Identity(fingerprint(asset, appearance), asset, appearance)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"provider": "procedural"}, "catalog.assets: 0"),
        ({"provider": "procedural", "assets": -1}, "catalog.assets: -1"),
        ({"provider": "procedural", "path": "/x", "assets": 3}, "catalog.path: '/x'"),
        ({"provider": "folder"}, "catalog.path: ''"),
        ({"provider": "sweethome3d", "path": "/no/such/place"}, "catalog.path: '/no/such/place'"),
        ({"provider": "procedural", "assets": 3, "up": "z"}, "catalog.up: z"),
        ({"provider": "sweethome3d", "path": "/x", "unit": "inch"}, "catalog.unit: inch"),
        ({"provider": "folder", "path": "/x", "front": "z"}, "catalog.up: missing"),
        ({"provider": "folder", "path": "/x", "up": "x"}, "catalog.front: missing"),
        ({"provider": "folder", "path": "/x", "up": "y", "front": "-y"}, "catalog.front: -y"),
    ],
)
def test_a_wrong_catalog_config_is_a_user_error_that_names_the_key(
    config: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        open_catalog(CatalogConfig(**config), tmp_path)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_assets_are_sorted_and_the_catalogue_can_be_pickled(tmp_path: Path) -> None:
    catalog = open_catalog(CatalogConfig("procedural", assets=7), tmp_path)
    ids = [asset.id for asset in catalog.assets()]
    assert len(set(ids)) == 7
    assert ids == sorted(ids)
    assert catalog.rejections() == ()
    again = pickle.loads(pickle.dumps(catalog))
    assert again.assets() == catalog.assets()
    wanted = identity(catalog.assets()[0])
    assert again.mesh(wanted) == catalog.mesh(wanted)


@pytest.mark.slow
def test_mesh_has_the_size_of_its_identity_with_its_origin_at_the_bottom(tmp_path: Path) -> None:
    catalog = open_catalog(CatalogConfig("procedural", assets=9), tmp_path)
    for asset in catalog.assets():
        wanted = identity(asset)
        low, high = load_mesh(catalog.mesh(wanted)).bounds
        np.testing.assert_allclose(high - low, wanted.size, atol=2e-6)
        np.testing.assert_allclose((low + high)[:2] / 2, 0.0, atol=2e-6)
        assert abs(low[2]) < 1e-6


def test_load_mesh_converts_gltf_axes_to_the_asset_frame(tmp_path: Path) -> None:
    """Right, up and front of glTF are +x, +y and +z; ours are +x, +z and -y."""
    corner = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], [[0, 1, 2], [0, 1, 3]])
    write_file(tmp_path / "a.glb", encode_glb({"corner": corner}))
    low, high = load_mesh(tmp_path / "a.glb").bounds
    np.testing.assert_allclose(low, [0, -3, 0], atol=1e-6)
    np.testing.assert_allclose(high, [1, 0, 2], atol=1e-6)


def test_identity_meshes_are_built_once_without_temporary_files(tmp_path: Path) -> None:
    catalog = open_catalog(CatalogConfig("procedural", assets=1), tmp_path)
    wanted = identity(catalog.assets()[0])
    path = catalog.mesh(wanted)
    written = path.stat().st_mtime_ns
    assert catalog.mesh(wanted) == path
    assert path.stat().st_mtime_ns == written
    assert not list(tmp_path.rglob("*.tmp"))


def test_write_file_failure_keeps_the_old_file(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"old")
    with pytest.raises(TypeError):
        write_file(tmp_path / "a", "not bytes")  # type: ignore[arg-type]
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def _build(catalog: Catalog, wanted: list[Identity], out: multiprocessing.Queue[str]) -> None:
    for one in wanted:
        out.put(hashlib.sha256(catalog.mesh(one).read_bytes()).hexdigest())


@pytest.mark.slow
def test_concurrent_processes_build_equal_identity_meshes(tmp_path: Path) -> None:
    """Fresh interpreters, one cache: every read is of a whole file, and the bytes are those
    that this process makes in a cache of its own."""
    config = CatalogConfig("procedural", assets=3)
    shared = open_catalog(config, tmp_path / "shared")
    wanted = [identity(asset) for asset in shared.assets()]
    context = multiprocessing.get_context("spawn")
    queues = [context.Queue() for _ in range(2)]
    workers = [context.Process(target=_build, args=(shared, wanted, queue)) for queue in queues]
    for worker in workers:
        worker.start()
    seen = [[queue.get(timeout=60) for _ in wanted] for queue in queues]
    for worker in workers:
        worker.join(timeout=60)
        assert worker.exitcode == 0
    own = open_catalog(config, tmp_path / "own")
    alone = [hashlib.sha256(own.mesh(one).read_bytes()).hexdigest() for one in wanted]
    assert seen == [alone, alone]
    assert not list(tmp_path.rglob("*.tmp"))
