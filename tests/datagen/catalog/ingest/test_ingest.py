"""Ingest: model files give canonical GLBs or reasons, also files that crash or hang their
worker."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import threading
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import trimesh
from trimesh.visual.material import PBRMaterial

from datagen.catalog.ingest.ingest import IngestedModels, ModelSource
from datagen.catalog.ingest.supervisor import Limits
from tests.datagen.catalog.gltf_files import GltfFile
from tests.datagen.catalog.models import box, glb, picture, quad, write_obj


@pytest.fixture
def ingest(library: Path, tmp_path: Path) -> Callable[..., IngestedModels]:
    """Ingests files of the library by name, with one cache."""

    def run(*files: str, limits: Limits | None = None, **facts: object) -> IngestedModels:
        sources = [
            ModelSource(id=file, library=str(library), file=file, noun="thing", category="thing")
            for file in files
        ]
        return IngestedModels([replace(s, **facts) for s in sources], tmp_path / "cache", limits)

    return run


def reasons(provider: IngestedModels) -> dict[str, str]:
    return {rejection.asset: rejection.reason for rejection in provider.rejections()}


def test_reasons_of_rejected_models(
    library: Path, ingest: Callable[..., IngestedModels], tmp_path: Path
) -> None:
    nan = box()
    nan.vertices[3, 1] = np.nan
    leaf = picture((0, 99, 0, 255))
    leaf.paste((0, 0, 0, 0), (0, 0, 4, 8))
    (tmp_path / "secret.png").write_bytes(b"not for the likes of you")
    files = {
        "garbage.glb": b"glTF\2\0\0\0\xd0\0\0\0" + os.urandom(196),
        "garbage.obj": os.urandom(200),
        "garbage.stl": b"",
        "garbage.ply": b"ply\nformat binary_little_endian 1.0\nelement vertex 9999999\n",
        "points.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\n",
        "nan.ply": nan.export(file_type="ply"),
        "flat.glb": glb(box((1, 1, 0.0005))),
        "leaf.glb": glb(quad(leaf, alphaMode="MASK")),
        "sphere.stl": trimesh.creation.icosphere(subdivisions=6).export(file_type="stl"),
        "empty.glb": b"",
        "pointer.gltf": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
        "page.ply": b"\n<!DOCTYPE html>\n<html><body>404</body></html>",
        "cut.glb": glb(box())[:-40],
        "cut.gltf": _gltf(box(), "model.bin")[:200],
        "cut.stl": box().export(file_type="stl")[:-40],
        "cut_text.stl": box().export(file_type="stl_ascii").encode()[:-60],
        "cut.ply": box().export(file_type="ply")[:-9],
        "cut_text.ply": box().export(file_type="ply", encoding="ascii")[:-20],
        "cut.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 1\nf 1 2 3\nf 2 1",
        "pointed.obj": b"mtllib pointed.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 1\nusemtl a\nf 1 2 3\n",
        "pointed.mtl": b"newmtl a\nmap_Kd pointed.png\n",
        "pointed.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
        "missing.obj": b"mtllib missing.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 1\nusemtl a\nf 1 2 3\n",
        "missing.mtl": b"newmtl a\nmap_Kd gone.png\n",
        "climbs.obj": b"mtllib climbs.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 1\nusemtl a\nf 1 2 3\n",
        "climbs.mtl": b"newmtl a\nmap_Kd ../secret.png\n",
        "absolute.obj": b"mtllib /etc/passwd\nv 0 0 0\nv 1 0 0\nv 0 1 1\nf 1 2 3\n",
        "remote.gltf": _gltf(box(), "http://localhost/model.bin"),
        "linked.obj": b"mtllib linked.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 1\nusemtl a\nf 1 2 3\n",
        "linked.mtl": b"newmtl a\nmap_Kd link.png\n",
        "broken.obj": b"mtllib broken.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 1\nusemtl a\nf 1 2 3\n",
        "broken.mtl": b"newmtl a\nmap_Kd broken.png\n",
        "broken.png": b"\x89PNG\r\n\x1a\n" + bytes(50),
        "fits.glb": glb(box()),
    }
    for name, data in files.items():
        (library / name).write_bytes(data)
    (library / "link.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(library / "pipe.glb")
    models = [name for name in files if name.endswith((".glb", ".gltf", ".obj", ".ply", ".stl"))]
    provider = ingest(*models, "pipe.glb", limits=Limits(max_source_faces=50_000))
    assert [asset.id for asset in provider.assets()] == ["fits.glb"]
    found = reasons(provider)
    assert found == {
        "garbage.glb": "invalid glTF",
        "garbage.obj": found["garbage.obj"],
        "garbage.stl": "empty file",
        "empty.glb": "empty file",
        "pointer.gltf": "Git LFS pointer",
        "page.ply": "HTML page",
        "cut.glb": "cut file",
        "cut.gltf": "cut file",
        "cut.stl": "cut file",
        "cut_text.stl": "cut file",
        "cut.ply": "cut file",
        "cut_text.ply": "cut file",
        "cut.obj": "cut file",
        "pointed.obj": "Git LFS pointer",
        "garbage.ply": "cut file",
        "points.obj": "no faces",
        "nan.ply": "NaN vertices",
        "flat.glb": "flat",
        "leaf.glb": "cut-out texture",
        "sphere.stl": "too many faces",
        "missing.obj": "missing texture",
        "climbs.obj": "file outside the library",
        "absolute.obj": "file outside the library",
        "remote.gltf": "file outside the library",
        "linked.obj": "file outside the library",
        "broken.obj": "unreadable texture",
        "pipe.glb": "not a regular file",
    }
    assert found["garbage.obj"] in {"unreadable file", "no faces"}


def _gltf(mesh: trimesh.Trimesh, uri: str) -> bytes:
    tree = json.loads(trimesh.Scene(mesh).export(file_type="gltf")["model.gltf"])
    for buffer in tree["buffers"]:
        buffer["uri"] = uri
    return json.dumps(tree).encode()


def test_a_model_that_runs_out_of_memory_is_rejected(
    library: Path, ingest: Callable[..., IngestedModels]
) -> None:
    """An accessor without data is all zeros, as many as the header says."""
    file = GltfFile()
    file.square()
    del file.tree["accessors"][0]["bufferView"]
    file.tree["accessors"][0]["count"] = 900_000_000
    (library / "zeros.glb").write_bytes(file.glb())
    (library / "fits.glb").write_bytes(glb(box()))
    provider = ingest("zeros.glb", "fits.glb")
    assert reasons(provider) == {"zeros.glb": "out of memory"}
    assert [asset.id for asset in provider.assets()] == ["fits.glb"]


def _workers() -> list[psutil.Process]:
    """The ingest workers of this process that run. One that has just ended has no command."""
    workers = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "datagen.catalog.ingest.worker" in child.cmdline():
                workers.append(child)
    return workers


def _slow_obj(library: Path) -> str:
    """Faces of mixed lengths, which can only be read one by one."""
    lines = ["v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 1\nf 1 2 3 4"] + ["f 1 2 3"] * 1_000_000
    (library / "slow.obj").write_text("\n".join(lines))
    return "slow.obj"


def test_a_model_that_takes_too_long_is_rejected(
    library: Path, ingest: Callable[..., IngestedModels]
) -> None:
    (library / "fits.glb").write_bytes(glb(box()))
    provider = ingest(_slow_obj(library), "fits.glb", limits=Limits(seconds=0.7))
    assert reasons(provider) == {"slow.obj": "took too long"}
    assert [asset.id for asset in provider.assets()] == ["fits.glb"]


@pytest.mark.slow
def test_a_killed_worker_rejects_one_model(
    library: Path, ingest: Callable[..., IngestedModels]
) -> None:
    """The worker that reads the slow file is killed, at the second attempt too."""
    (library / "fits.glb").write_bytes(glb(box()))
    slow = _slow_obj(library)
    stop = threading.Event()

    def hunt() -> None:
        while not stop.is_set():
            for worker in _workers():
                # Only the slow file makes a worker grow so large.
                with suppress(psutil.NoSuchProcess):
                    if worker.memory_info().rss > 250 << 20:
                        worker.send_signal(signal.SIGKILL)
            time.sleep(0.02)

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        provider = ingest(slow, "fits.glb")
    finally:
        stop.set()
        hunter.join()
    (rejection,) = provider.rejections()
    assert (rejection.reason, rejection.detail) == ("crashed", "SIGKILL")
    assert [asset.id for asset in provider.assets()] == ["fits.glb"]


def test_second_opening_reads_the_cache_only(
    library: Path, ingest: Callable[..., IngestedModels], tmp_path: Path
) -> None:
    (library / "box.glb").write_bytes(glb(box()))
    (library / "bad.glb").write_bytes(b"bad")
    first = ingest("box.glb", "bad.glb")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.*")}
    second = ingest("box.glb", "bad.glb")
    assert second.assets() == first.assets()
    assert second.rejections() == first.rejections()
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.*")}
    assert after == before
    assert not _workers()


def test_a_changed_model_file_is_ingested_again(
    library: Path, ingest: Callable[..., IngestedModels]
) -> None:
    (library / "box.glb").write_bytes(glb(box()))
    (old,) = ingest("box.glb").assets()
    (library / "box.glb").write_bytes(glb(box((1, 1, 1.5))))
    (new,) = ingest("box.glb").assets()
    assert new.size == (1.0, 1.5, 1.0)
    assert new.digest != old.digest


def test_a_model_with_a_changed_texture_is_ingested_again(
    library: Path, ingest: Callable[..., IngestedModels]
) -> None:
    file = write_obj(library, "map_Kd skin.png")
    assert reasons(ingest(file)) == {file: "missing texture"}
    picture((200, 0, 0)).save(library / "skin.png")
    (red,) = ingest(file).assets()
    picture((0, 0, 200), size=9).save(library / "skin.png")
    (blue,) = ingest(file).assets()
    assert red.parts[0].rgb[0] > 0.7
    assert blue.parts[0].rgb[2] > 0.7


@pytest.mark.slow
def test_ingested_models_are_deterministic(
    library: Path, ingest: Callable[..., IngestedModels], tmp_path: Path
) -> None:
    names = [f"{i}.glb" for i in range(6)]
    for i, name in enumerate(names):
        mesh = quad(picture((40 * i, 99, 0)))
        mesh.apply_scale(1 + i / 10)
        (library / name).write_bytes(glb(mesh))
    one = ingest(*names)
    sources = [ModelSource(id=name, library=str(library), file=name) for name in reversed(names)]
    other = IngestedModels(sources, tmp_path / "other cache")
    for mine, theirs in zip(one.assets(), other.assets(), strict=True):
        assert mine.digest == theirs.digest
        assert one.model(mine).read_bytes() == other.model(theirs).read_bytes()
    first = one.assets()[0]
    data = one.model(first).read_bytes()
    one.model(first).unlink()
    assert pickle.loads(pickle.dumps(one)).model(first).read_bytes() == data


def test_duplicate_models_are_one_asset(
    library: Path, ingest: Callable[..., IngestedModels]
) -> None:
    for name in ("a.glb", "b.glb"):
        (library / name).write_bytes(glb(box()))
    provider = ingest("b.glb", "a.glb")
    assert [asset.id for asset in provider.assets()] == ["a.glb"]
    assert reasons(provider) == {"b.glb": "duplicate"}


def test_a_model_in_two_formats_and_two_colors_is_one_shape(
    library: Path, ingest: Callable[..., IngestedModels]
) -> None:
    """What KayKit ships: a GLB, an OBJ of the same name, and variants of other textures."""
    lamp = trimesh.util.concatenate(
        [box((0.3, 0.05, 0.3)), trimesh.creation.cone(0.3, 1.0).apply_translation((0, 0.1, 0.1))]
    )
    for name, color in (("lamp", (200, 30, 30)), ("lamp_blue", (30, 30, 200))):
        mesh = lamp.copy()
        mesh.visual = trimesh.visual.TextureVisuals(
            uv=mesh.vertices[:, :2], material=PBRMaterial(baseColorTexture=picture(color))
        )
        (library / f"{name}.glb").write_bytes(glb(mesh))
    (library / "lamp.obj").write_text(lamp.export(file_type="obj", digits=5))
    (library / "crate.glb").write_bytes(glb(box()))
    assets = {
        asset.id: asset
        for asset in ingest("lamp.glb", "lamp_blue.glb", "lamp.obj", "crate.glb").assets()
    }
    shapes = {name: asset.shape for name, asset in assets.items()}
    assert shapes == {
        "lamp.glb": "lamp.glb",
        "lamp_blue.glb": "lamp.glb",
        "lamp.obj": "lamp.glb",
        "crate.glb": "crate.glb",
    }
    assert [assets[name].parts[0].textured for name in ("lamp.glb", "lamp.obj")] == [True, False]
    assert len(assets["crate.glb"].parts[0].azimuth_areas) == 12


def test_models_in_a_zip_archive(tmp_path: Path) -> None:
    skin = io.BytesIO()
    picture((0, 150, 0)).save(skin, "PNG")
    path = tmp_path / "models.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/m.obj", "mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 .1\nusemtl p\nf 1 2 3\n")
        archive.writestr("a/m.mtl", "newmtl p\nmap_Kd ../b/skin.png\n")
        archive.writestr("b/skin.png", skin.getvalue())
        archive.writestr("c/m.obj", "mtllib ../../m.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 1\nf 1 2 3\n")
        archive.writestr("bomb.obj", b"\n" * 2_000_000, zipfile.ZIP_DEFLATED)
    sources = [
        ModelSource(id=file, library=str(path), file=file)
        for file in ("a/m.obj", "c/m.obj", "bomb.obj")
    ]
    provider = IngestedModels(sources, tmp_path / "cache", Limits(max_bytes=1_000_000))
    (asset,) = provider.assets()
    np.testing.assert_allclose(asset.parts[0].rgb, [0, 150 / 255, 0], atol=0.01)
    assert reasons(provider) == {
        "bomb.obj": "file too large",
        "c/m.obj": "file outside the library",
    }
