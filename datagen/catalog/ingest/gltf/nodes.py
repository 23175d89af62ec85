"""The node tree: which meshes a glTF file shows, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from datagen.catalog.ingest.gltf.accessors import Arrays
from datagen.catalog.ingest.gltf.document import INVALID, item
from datagen.catalog.ingest.gltf.schema import Document, Node
from datagen.catalog.ingest.model_files import AssetRejected


@dataclass(frozen=True, eq=False)
class MeshNode:
    """A visible node that has a mesh.

    ``transforms`` (N, 4, 4): from the mesh to the scene, one per instance. ``joints`` (J, 4, 4), or
    None where the mesh has no skin: from the mesh to the scene, per joint, in the pose of the file;
    they replace ``transforms``. ``weights``: of the morph targets, empty for the mesh's own.
    """

    mesh: int
    transforms: np.ndarray
    joints: np.ndarray | None
    weights: tuple[float, ...]

    @property
    def copies(self) -> int:
        """Number of times that the mesh is shown."""
        return 1 if self.joints is not None else len(self.transforms)


def visible_meshes(document: Document, arrays: Arrays) -> list[MeshNode]:
    """The mesh nodes of the file's scene; of all nodes where the file has no scene.

    Raises:
        AssetRejected: the nodes are not a forest, or refer to what is not there.
    """
    roots = _roots(document)
    if document.scenes:
        shown = item(document.scenes, document.scene or 0, "scenes").nodes
        if len(set(shown)) < len(shown):
            raise AssetRejected(INVALID, "a scene lists a node twice")
    else:
        shown = roots
    # A skin may use joints outside the scene.
    world = dict(_walk(document, roots, hidden=True))
    return [
        _mesh_node(document.nodes[index], matrix, world, document, arrays)
        for index, matrix in _walk(document, shown, hidden=False)
        if document.nodes[index].mesh is not None
    ]


def _roots(document: Document) -> tuple[int, ...]:
    """The nodes without a parent. Raises ``AssetRejected`` where a node has two parents."""
    children = [child for node in document.nodes for child in node.children]
    if len(set(children)) < len(children):
        raise AssetRejected(INVALID, "a node has two parents")
    return tuple(sorted(set(range(len(document.nodes))) - set(children)))


def _walk(
    document: Document, start: tuple[int, ...], *, hidden: bool
) -> Iterator[tuple[int, np.ndarray]]:
    """The nodes below ``start`` in the order of the file, and their transforms (4, 4) to the scene.
    ``hidden``: with the nodes that KHR_node_visibility hides."""
    stack = [(index, np.eye(4)) for index in reversed(start)]
    steps = 0
    while stack:
        index, parent = stack.pop()
        node = item(document.nodes, index, "nodes")
        steps += 1
        if steps > len(document.nodes):
            raise AssetRejected(INVALID, "the nodes have a cycle")
        if not hidden and not node.extensions.visibility.visible:
            continue
        matrix = parent @ _local(node)
        yield index, matrix
        stack += [(child, matrix) for child in reversed(node.children)]


def _local(node: Node) -> np.ndarray:
    """Transform (4, 4) from a node to its parent."""
    if node.matrix is not None:
        return np.array(node.matrix, float).reshape(4, 4).T
    return _compose(
        np.array([node.translation], float),
        np.array([node.rotation], float),
        np.array([node.scale], float),
    )[0]


def _compose(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Transforms (N, 4, 4) from translations (N, 3), quaternions (N, 4) as x, y, z, w, and scales
    (N, 3). A quaternion of no length, which some exporters write, turns nothing."""
    length = np.linalg.norm(rotation, axis=1, keepdims=True)
    unit = np.where(length > 1e-12, rotation, [0.0, 0.0, 0.0, 1.0])
    matrices = np.tile(np.eye(4), (len(translation), 1, 1))
    matrices[:, :3, :3] = Rotation.from_quat(unit).as_matrix() * scale[:, None]
    matrices[:, :3, 3] = translation
    return matrices


def _mesh_node(
    node: Node,
    matrix: np.ndarray,
    world: dict[int, np.ndarray],
    document: Document,
    arrays: Arrays,
) -> MeshNode:
    assert node.mesh is not None
    joints = None
    if node.skin is not None:
        # Section 3.7.3.3 of the specification: the transform of a skinned mesh's node is ignored.
        skin = item(document.skins, node.skin, "skins")
        if missing := [joint for joint in skin.joints if joint not in world]:
            raise AssetRejected(INVALID, f"skins[{node.skin}]: joint {missing[0]} is not a node")
        joints = np.array([world[joint] for joint in skin.joints])
        if skin.inverse_bind_matrices is not None:
            inverse = arrays.read(skin.inverse_bind_matrices, "MAT4")
            if len(inverse) < len(joints):
                raise AssetRejected(
                    INVALID, f"skins[{node.skin}]: {len(inverse)} matrices, {len(joints)} joints"
                )
            columns = inverse[: len(joints)].reshape(-1, 4, 4).astype(float)
            joints = joints @ columns.transpose(0, 2, 1)
    return MeshNode(node.mesh, matrix @ _instances(node, arrays), joints, node.weights)


def _instances(node: Node, arrays: Arrays) -> np.ndarray:
    """Transforms (N, 4, 4) of the instances of a node's mesh; one identity without
    EXT_mesh_gpu_instancing."""
    instancing = node.extensions.instancing
    if instancing is None:
        return np.eye(4)[None]
    kinds = {"TRANSLATION": "VEC3", "ROTATION": "VEC4", "SCALE": "VEC3"}
    given = {
        name: arrays.read(instancing.attributes[name], kind).astype(float)
        for name, kind in kinds.items()
        if name in instancing.attributes
    }
    counts = {len(values) for values in given.values()}
    if len(counts) != 1:
        raise AssetRejected(INVALID, f"EXT_mesh_gpu_instancing: counts {sorted(counts)}")
    (count,) = counts
    return _compose(
        given.get("TRANSLATION", np.zeros((count, 3))),
        given.get("ROTATION", np.tile([0.0, 0.0, 0.0, 1.0], (count, 1))),
        given.get("SCALE", np.ones((count, 3))),
    )
