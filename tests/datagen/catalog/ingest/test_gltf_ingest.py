"""Ingest of glTF files: what reaches the canonical GLB, and the credits that a file states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from datagen.catalog.glb import load_scene
from datagen.catalog.ingest.ingest import IngestedModels, ModelSource
from datagen.catalog.ingest.licenses import spdx_license
from datagen.catalog.ingest.worker import IngestResult, run_job
from datagen.color import linear_to_srgb
from tests.datagen.catalog.gltf_files import GltfFile, halves
from tests.datagen.catalog.models import ingest_job


def box_file(material: dict[str, Any]) -> GltfFile:
    """A cube with the material."""
    file = GltfFile()
    box = trimesh.creation.box((1, 1, 1))
    file.append("materials", material)
    corners = box.triangles.reshape(-1, 3).astype("f4")
    attributes = {
        "POSITION": file.accessor(corners),
        "TEXCOORD_0": file.accessor((corners[:, :2] + 0.5).astype("f4")),
    }
    file.append("meshes", {"primitives": [{"attributes": attributes, "material": 0}]})
    return file


def ingest(
    file: GltfFile, folder: Path
) -> tuple[IngestResult, trimesh.visual.material.PBRMaterial]:
    """The result, and the material of the canonical GLB."""
    (folder / "box.glb").write_bytes(file.glb())
    output = folder / "canonical.glb"
    result = run_job(ingest_job(folder, "box.glb", output))
    assert result.reason == ""
    (mesh,) = load_scene(output).geometry.values()
    return result, mesh.visual.material


def test_maps_of_a_material_reach_the_canonical_glb(tmp_path: Path) -> None:
    file = box_file({})
    normal = Image.new("RGB", (8, 8), (200, 128, 230))
    rough = Image.new("RGB", (8, 8), (0, 64, 255))
    glow = halves((255, 0, 0), (0, 0, 0), size=8)
    file.tree["materials"][0] = {
        "pbrMetallicRoughness": {
            "baseColorFactor": [0, 0, 0, 1],
            "metallicRoughnessTexture": {"index": file.texture(rough)},
            "roughnessFactor": 0.5,
        },
        "normalTexture": {"index": file.texture(normal)},
        "emissiveTexture": {"index": file.texture(glow)},
        "emissiveFactor": [1, 1, 1],
        "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": 3.0}},
    }
    result, material = ingest(file, tmp_path)
    np.testing.assert_array_equal(np.asarray(material.normalTexture)[0, 0], [200, 128, 230])
    np.testing.assert_array_equal(np.asarray(material.metallicRoughnessTexture)[0, 0], [0, 64, 255])
    assert material.roughnessFactor == pytest.approx(0.5)
    np.testing.assert_allclose(material.emissiveFactor, [3, 3, 3])
    np.testing.assert_array_equal(np.asarray(material.emissiveTexture)[0, 0], [255, 0, 0])
    (part,) = result.parts
    # Black where it is not red, as the viewer sees it.
    assert part.rgb[0] == pytest.approx(0.5, abs=0.2)
    assert part.rgb[1:] == (0, 0)
    assert part.spread > 0.1


def test_the_color_of_a_part_includes_its_light(tmp_path: Path) -> None:
    file = box_file(
        {
            "pbrMetallicRoughness": {"baseColorFactor": [0, 0.2, 0, 1]},
            "emissiveFactor": [0.5, 0, 0],
        }
    )
    result, material = ingest(file, tmp_path)
    expected = linear_to_srgb(np.array([0.5, 0.2, 0]))
    np.testing.assert_allclose(result.parts[0].rgb, expected, atol=0.01)
    np.testing.assert_allclose(material.emissiveFactor, [0.5, 0, 0])


SKETCHFAB = {
    "author": "Ada L. (https://sketchfab.com/ada)",
    "license": "CC-BY-SA-4.0 (http://creativecommons.org/licenses/by-sa/4.0/)",
    "source": "https://sketchfab.com/3d-models/x",
    "title": "Chair",
}


def test_credits_of_the_file_are_used_where_the_library_has_none(tmp_path: Path) -> None:
    stated, copyrighted, silent, odd = (box_file({}) for _ in range(4))
    for number, file in enumerate((stated, copyrighted, silent, odd), 1):
        file.tree["nodes"] = [{"mesh": 0, "scale": [1, 1, number]}]  # no duplicates
    stated.tree["asset"]["extras"] = SKETCHFAB
    copyrighted.tree["asset"]["copyright"] = "(c) 2020 Bob, CC BY 4.0"
    odd.tree["asset"] |= {"copyright": 7, "extras": {"author": ["x"], "license": "a\nb" * 999}}
    library = tmp_path / "models"
    library.mkdir()
    for name, file in {"a": stated, "b": copyrighted, "c": silent, "d": odd, "e": stated}.items():
        file.tree["nodes"][0]["scale"][0] = 1 if name != "e" else 2
        (library / f"{name}.glb").write_bytes(file.glb())
    listed = {"e": {"author": "Listed", "license": "MIT", "title": "Throne"}}
    sources = [
        ModelSource(id=name, library=str(library), file=f"{name}.glb", **listed.get(name, {}))
        for name in "abcde"
    ]
    provider = IngestedModels(sources, tmp_path / "cache")
    found = {a.id: (a.author, a.license, a.title) for a in provider.assets()}
    assert found.keys() == set("abcde")
    assert found["a"] == (SKETCHFAB["author"], "CC-BY-SA-4.0", "Chair")
    assert found["b"] == ("(c) 2020 Bob, CC BY 4.0", "CC-BY-4.0", "")
    assert found["c"] == ("unknown", "unknown", "")
    assert found["d"][0] == "unknown"
    assert found["d"][1].isprintable()
    assert len(found["d"][1]) <= 200
    assert found["e"] == ("Listed", "MIT", "Throne")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("by-nc", "CC-BY-NC-4.0"),
        ("CC0", "CC0-1.0"),
        ("CC-BY-4.0 (http://creativecommons.org/licenses/by/4.0/)", "CC-BY-4.0"),
        ("CC Attribution-NC https://creativecommons.org/licenses/by-nc/3.0/", "CC-BY-NC-3.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("CC BY-NC-SA 4.0", "CC-BY-NC-SA-4.0"),
        ("SKETCHFAB Standard (https://sketchfab.com/licenses)", "SKETCHFAB Standard"),
        ("MIT", "MIT"),
        ("", ""),
    ],
)
def test_spdx_identifiers(text: str, expected: str) -> None:
    assert spdx_license(text) == expected
