"""glTF files are read as the specification says, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from datagen.catalog.ingest.gltf.document import read_container
from datagen.catalog.ingest.gltf.extensions import APPLIED, IGNORED
from datagen.catalog.ingest.meshes import MaterialMesh
from datagen.catalog.ingest.model_files import AssetRejected
from tests.datagen.catalog.gltf_files import (
    CORNERS,
    UV,
    GltfFile,
    Read,
    color_at,
    container,
    halves,
    refusal,
    textured,
)

RED, BLUE = (255, 0, 0), (0, 0, 255)
TURNED = [0.0, 0.0, float(np.sqrt(0.5)), float(np.sqrt(0.5))]  # a quarter turn about z


def area_vector(mesh: MaterialMesh) -> np.ndarray:
    """Area of the triangles along x, y and z, with the sign of the side that they face."""
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    return np.cross(b - a, c - a).sum(axis=0) / 2


@pytest.mark.parametrize(("kind", "top"), [("u1", 255), ("u2", 65535)])
def test_normalized_integer_coordinates(kind: str, top: int, read: Read) -> None:
    file = GltfFile()
    file.square(textured(file.texture(halves(RED, BLUE))), TEXCOORD_0=(UV * top).astype(kind))
    file.normalize("TEXCOORD_0")
    (mesh,) = read(file)
    np.testing.assert_allclose(color_at(mesh, 0.2, 0.5), [1, 0, 0], atol=0.01)
    np.testing.assert_allclose(color_at(mesh, 0.8, 0.5), [0, 0, 1], atol=0.01)


def test_quantized_positions_with_a_stride(read: Read) -> None:
    file = GltfFile()
    file.square()
    positions = np.zeros((4, 8), "i1")
    positions[:, :3] = CORNERS * 127
    view = file.view(positions.tobytes(), byteStride=8)
    file.tree["accessors"][0] |= {"bufferView": view, "componentType": 5120, "normalized": True}
    file.tree["extensionsRequired"] = ["KHR_mesh_quantization"]
    (mesh,) = read(file)
    np.testing.assert_allclose(mesh.vertices, CORNERS, atol=1e-6)


@pytest.mark.parametrize("based", [True, False])
def test_sparse_accessors(based: bool, read: Read) -> None:
    file = GltfFile()
    file.square()
    accessor = file.tree["accessors"][0]
    if not based:
        del accessor["bufferView"]
    accessor["sparse"] = {
        "count": 2,
        "indices": {
            "bufferView": file.view(np.array([1, 2], "u2").tobytes()),
            "componentType": 5123,
        },
        "values": {"bufferView": file.view(np.array([[3, 0, 0], [3, 1, 0]], "f4").tobytes())},
    }
    (mesh,) = read(file)
    left = CORNERS[[0, 3]] if based else np.zeros((2, 3))
    np.testing.assert_allclose(mesh.vertices[[0, 3]], left)
    np.testing.assert_allclose(mesh.vertices[[1, 2]], [[3, 0, 0], [3, 1, 0]])


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize(
    ("mode", "order"), [(4, [0, 1, 2, 0, 2, 3]), (5, [0, 1, 3, 2]), (6, [0, 1, 2, 3])]
)
def test_lists_strips_and_fans_of_triangles(
    mode: int, order: list[int], indexed: bool, read: Read
) -> None:
    file = GltfFile()
    positions = CORNERS if indexed else CORNERS[order]
    primitive: dict[str, Any] = {"attributes": {"POSITION": file.accessor(positions)}, "mode": mode}
    if indexed:
        primitive["indices"] = file.accessor(np.array(order, "u1"))
    lines = {"attributes": {"POSITION": file.accessor(CORNERS)}, "mode": 1}
    file.append("meshes", {"primitives": [primitive, lines]})
    (mesh,) = read(file)
    assert len(mesh.faces) == 2
    np.testing.assert_allclose(area_vector(mesh), [0, 0, 1])


def test_a_skin_is_in_the_pose_of_its_joints(read: Read) -> None:
    """The transform of the mesh's own node does not count; the joints' and the inverse bind
    matrices do."""
    file = GltfFile()
    weights = np.tile(np.array([1, 0, 0, 0], "f4"), (4, 1))
    weights[2:] = [1, 3, 0, 0]  # not of sum 1
    file.square(
        JOINTS_0=np.tile(np.array([0, 1, 0, 0], "u1"), (4, 1)),
        WEIGHTS_0=weights,
        NORMAL=np.tile(np.array([1, 0, 0], "f4"), (4, 1)),
    )
    bind = np.tile(np.eye(4, dtype="f4"), (2, 1, 1))
    bind[0, :3, 3] = [-1, 0, 0]
    file.tree["nodes"] = [
        {"mesh": 0, "skin": 0, "scale": [50, 50, 50], "translation": [9, 9, 9]},
        {"rotation": TURNED, "children": [2]},
        {"translation": [0, 0, 4]},
    ]
    file.tree["scenes"] = [{"nodes": [0, 1]}]
    matrices = file.accessor(bind.transpose(0, 2, 1).reshape(2, 16))
    file.append("skins", {"joints": [1, 2], "inverseBindMatrices": matrices})
    (mesh,) = read(file)
    first = (CORNERS - [1, 0, 0]) @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    second = CORNERS @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]) + [0, 0, 4]
    np.testing.assert_allclose(mesh.vertices[:2], first[:2], atol=1e-6)
    np.testing.assert_allclose(mesh.vertices[2:], (first / 4 + second * 3 / 4)[2:], atol=1e-6)
    np.testing.assert_allclose(mesh.normals, np.tile([0, 1, 0], (4, 1)), atol=1e-6)


@pytest.mark.parametrize("owner", ["mesh", "node"])
def test_default_morph_weights(owner: str, read: Read) -> None:
    file = GltfFile()
    file.square()
    lift = file.accessor(np.tile(np.array([0, 0, 2], "f4"), (4, 1)))
    file.tree["meshes"][0]["primitives"][0]["targets"] = [{"POSITION": lift}]
    file.tree["meshes"][0]["weights"] = [0.25 if owner == "mesh" else 0.9]
    file.tree["nodes"] = [{"mesh": 0} | ({"weights": [0.25]} if owner == "node" else {})]
    (mesh,) = read(file)
    np.testing.assert_allclose(mesh.vertices[:, 2], 0.5)


def test_instances_of_a_mesh(read: Read) -> None:
    file = GltfFile()
    file.square()
    attributes = {
        "TRANSLATION": file.accessor(np.array([[0, 0, 0], [5, 0, 0]], "f4")),
        "ROTATION": file.accessor(np.array([[0, 0, 0, 1], TURNED], "f4")),
        "SCALE": file.accessor(np.array([[1, 1, 1], [2, 2, 2]], "f4")),
    }
    file.tree["nodes"] = [
        {"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": {"attributes": attributes}}}
    ]
    file.tree["extensionsRequired"] = ["EXT_mesh_gpu_instancing"]
    (mesh,) = read(file)
    assert len(mesh.faces) == 4
    np.testing.assert_allclose(mesh.vertices[4:].min(axis=0), [3, 0, 0], atol=1e-6)
    np.testing.assert_allclose(mesh.vertices[4:].max(axis=0), [5, 2, 0], atol=1e-6)


def test_instances_are_counted_before_they_are_copied(read: Read) -> None:
    file = GltfFile()
    file.square()
    many = file.append("accessors", {"componentType": 5126, "count": 1_000_000, "type": "VEC3"})
    instancing = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": many}}}
    file.tree["nodes"] = [{"mesh": 0, "extensions": instancing}]
    assert refusal(file, read).detail == "2000000, limit 100000"


def test_hidden_nodes_are_not_shown(read: Read) -> None:
    file = GltfFile()
    file.square()
    hidden = {"extensions": {"KHR_node_visibility": {"visible": False}}}
    file.tree["nodes"] = [{"mesh": 0}, {"children": [2], **hidden}, {"mesh": 0}]
    file.tree["scenes"] = [{"nodes": [0, 1]}]
    assert len(read(file)) == 1


def test_only_the_files_scene_is_shown(read: Read) -> None:
    file = GltfFile()
    file.square()
    file.tree["nodes"] = [{"mesh": 0}, {"mesh": 0, "translation": [7, 0, 0]}, {"mesh": 0}]
    file.tree["scenes"] = [{"nodes": [0]}, {"nodes": [1]}]
    file.tree["scene"] = 1
    (mesh,) = read(file)
    assert mesh.vertices[:, 0].min() == 7


@pytest.mark.parametrize(
    "name",
    ["KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_texture_basisu", "ACME_teapot"],
)
def test_an_unknown_required_extension_is_refused_by_name(name: str, read: Read) -> None:
    file = GltfFile()
    file.square()
    file.tree["extensionsUsed"] = [name]
    assert len(read(file)) == 1
    file.tree["extensionsRequired"] = ["KHR_texture_transform", name]
    found = refusal(file, read)
    assert (found.reason, found.detail) == ("unsupported extension", name)


def test_known_extensions_may_be_required(read: Read) -> None:
    file = GltfFile()
    file.square()
    file.tree["extensionsRequired"] = sorted(APPLIED | IGNORED.keys())
    assert len(read(file)) == 1


def test_compressed_data_without_a_fallback_is_refused_by_name(read: Read) -> None:
    draco, meshopt, basis = GltfFile(), GltfFile(), GltfFile()
    draco.square()
    draco.tree["meshes"][0]["primitives"][0]["extensions"] = {
        "KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {"POSITION": 0}}
    }
    meshopt.square()
    meshopt.tree["bufferViews"][0]["extensions"] = {
        "EXT_meshopt_compression": {"buffer": 0, "byteLength": 8, "byteStride": 12, "count": 4}
    }
    basis.square(textured(basis.texture(halves(RED, BLUE))))
    basis.tree["textures"][0] = {"extensions": {"KHR_texture_basisu": {"source": 0}}}
    for file in (draco, meshopt, basis):
        assert refusal(file, read).reason == "unsupported extension"


def _cycle(tree: dict[str, Any]) -> None:
    tree["nodes"] = [{"mesh": 0}, {"children": [2]}, {"children": [1]}]
    tree["scenes"] = [{"nodes": [1]}]


def _two_parents(tree: dict[str, Any]) -> None:
    tree["nodes"] = [{"children": [1, 1]}, {"mesh": 0}]


def _cut_buffer(tree: dict[str, Any]) -> None:
    tree["bufferViews"][0]["byteLength"] += 10_000


def _index_out_of_range(tree: dict[str, Any]) -> None:
    tree["accessors"][0]["count"] = 3


def _nested(tree: dict[str, Any]) -> None:
    tree["extras"] = json.loads("[" * 900 + "]" * 900)
    tree["nodes"] = "none"


@pytest.mark.parametrize(
    "damage", [_cycle, _two_parents, _cut_buffer, _index_out_of_range, _nested]
)
def test_broken_files_are_refused(damage: Callable[[dict[str, Any]], None], read: Read) -> None:
    file = GltfFile()
    file.square()
    file.tree["nodes"] = [{"mesh": 0}]
    damage(file.tree)
    assert refusal(file, read).reason == "invalid glTF"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"glTF", "invalid glTF"),
        (container(b"{}"), "invalid glTF"),
        (container(b'{"asset": {"version": "2.0"}}')[:-4], "invalid glTF"),
        (container(b"[" * 100_000), "invalid glTF"),
        (b'{"asset": {"version": "1.0"}, "nodes": {}}', "unsupported glTF version"),
        (b'{"asset": {"version": "2.1", "minVersion": "2.1"}}', "unsupported glTF version"),
    ],
)
def test_containers_that_are_not_gltf_2(data: bytes, reason: str) -> None:
    with pytest.raises(AssetRejected) as caught:
        read_container(data)
    assert caught.value.reason == reason


def test_a_long_chain_of_nodes_is_read(read: Read) -> None:
    file = GltfFile()
    file.square()
    count = 5_000
    file.tree["nodes"] = [{"children": [i + 1]} for i in range(count)] + [{"mesh": 0}]
    assert len(read(file)) == 1


def test_whatever_number_stands_in_a_file_it_is_read_or_refused(read: Read) -> None:
    """Every number of a file with all that we read is replaced by hostile ones, one at a time."""
    file = GltfFile()
    transform = {"KHR_texture_transform": {"offset": [0, 1], "rotation": 1, "scale": [1, 1]}}
    material = textured(file.texture(halves(RED, BLUE, 2), wrapS=33071), extensions=transform)
    joints = np.zeros((4, 4), "u1")
    weights = np.tile(np.array([1, 0, 0, 0], "f4"), (4, 1))
    file.square(material, JOINTS_0=joints, WEIGHTS_0=weights, COLOR_0=CORNERS)
    primitive = file.tree["meshes"][0]["primitives"][0]
    primitive["targets"] = [{"POSITION": primitive["attributes"]["POSITION"]}]
    file.tree["meshes"][0]["weights"] = [0.5]
    file.tree["nodes"] = [
        {"children": [1, 2], "rotation": [0, 0, 0, 1]},
        {"mesh": 0, "skin": 0},
        {
            "mesh": 0,
            "extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": 0}}},
        },
    ]
    bind = file.accessor(np.eye(4, dtype="f4").reshape(1, 16))
    file.append("skins", {"joints": [0], "inverseBindMatrices": bind})
    assert len(read(file)) == 2
    text = json.dumps(file.tree)
    outcomes: set[str] = set()
    for number, path in enumerate(_numbers(file.tree)):
        for value in (-1, (10**6, 2**62, 1e300)[number % 3]):
            file.tree = json.loads(text)
            _set(file.tree, path, value)
            try:
                read(file)
                outcomes.add("read")
            except AssetRejected as rejection:
                outcomes.add(rejection.reason)
    assert {"read", "invalid glTF"} <= outcomes
    assert outcomes <= {
        "read",
        "invalid glTF",
        "too many faces",
        "no faces",
        "unreadable texture",
        "unsupported glTF version",
    }


def _numbers(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(tree, dict):
        return [p for key, value in tree.items() for p in _numbers(value, (*path, key))]
    if isinstance(tree, list):
        return [p for i, value in enumerate(tree) for p in _numbers(value, (*path, i))]
    return [path] if isinstance(tree, int | float) else []


def _set(tree: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value
