"""Materials and textures of glTF files look as the specification says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datagen.catalog.mesh_sampling import look_up
from datagen.color import linear_to_srgb
from tests.datagen.catalog.gltf_files import (
    CORNERS,
    UV,
    GltfFile,
    Read,
    color_at,
    encoded,
    halves,
    refusal,
    textured,
)

RED, BLUE, GREEN, WHITE = (255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255)


def test_vertex_colors_multiply_the_texture(read: Read) -> None:
    file = GltfFile()
    colors = np.array([[1, 1, 1], [1, 1, 1], [0.2, 1, 1], [0.2, 1, 1]], "f4")  # linear
    file.square(textured(file.texture(halves((255, 0, 0), (255, 255, 0)))), COLOR_0=colors)
    (mesh,) = read(file)
    np.testing.assert_allclose(color_at(mesh, 0.2, 0.01), [1, 0, 0], atol=0.03)
    np.testing.assert_allclose(color_at(mesh, 0.8, 0.01), [1, 1, 0], atol=0.03)
    dark = linear_to_srgb(np.array(0.2))
    np.testing.assert_allclose(color_at(mesh, 0.2, 0.99), [dark, 0, 0], atol=0.03)
    half = linear_to_srgb(np.array(0.6))
    np.testing.assert_allclose(color_at(mesh, 0.8, 0.5), [half, 1, 0], atol=0.03)


@pytest.mark.parametrize("kind", ["f4", "u1", "u2"])
def test_equal_vertex_colors_tint_the_material(kind: str, read: Read) -> None:
    scale = 1 if kind == "f4" else np.iinfo(kind).max
    file = GltfFile()
    colors = np.tile((np.array([0.2, 1, 0.4, 1]) * scale).astype(kind), (4, 1))
    file.square(textured(file.texture(halves(WHITE, WHITE))), COLOR_0=colors)
    if kind != "f4":
        file.normalize("COLOR_0")
    (mesh,) = read(file)
    assert mesh.material.image.size == (32, 32)
    np.testing.assert_allclose(mesh.material.factor, [0.2, 1, 0.4], atol=0.01)


def test_unlit_surfaces_are_matte(read: Read) -> None:
    file = GltfFile()
    file.square(
        {
            "pbrMetallicRoughness": {"baseColorFactor": [1, 0.5, 0, 1]},
            "extensions": {"KHR_materials_unlit": {}},
        }
    )
    (mesh,) = read(file)
    assert mesh.material.metallic == 0
    assert mesh.material.roughness > 0.8
    np.testing.assert_allclose(mesh.material.factor, [1, 0.5, 0])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (10497, [RED, BLUE, RED, BLUE, RED, BLUE]),
        (33071, [RED, RED, RED, BLUE, BLUE, BLUE]),
        (33648, [BLUE, RED, RED, BLUE, BLUE, RED]),
    ],
)
@pytest.mark.parametrize("axis", ["S", "T"])
def test_wrap_modes(mode: int, expected: list[tuple[int, ...]], axis: str, read: Read) -> None:
    """The square shows the texture from -1 to 2 along one axis."""
    file = GltfFile()
    image, uv = halves(RED, BLUE), UV.copy()
    if axis == "S":
        uv[:, 0] = uv[:, 0] * 3 - 1
    else:
        image = image.transpose(Image.Transpose.ROTATE_270)  # red above
        uv[:, 1] = uv[:, 1] * 3 - 1
    texture = file.texture(image, **{f"wrap{axis}": mode})
    file.square(textured(texture), TEXCOORD_0=uv)
    (mesh,) = read(file)
    along = (np.arange(6) + 0.5) / 6
    points = [(a, 0.5) if axis == "S" else (0.5, 1 - a) for a in along]
    found = np.array([color_at(mesh, x, y) for x, y in points])
    np.testing.assert_allclose(found, np.array(expected) / 255, atol=0.02)


def test_each_texture_may_have_coordinates_of_its_own(read: Read) -> None:
    file = GltfFile()
    mirrored = UV * [-1, 1] + np.array([1, 0], "f4")
    base = file.texture(halves(RED, BLUE))
    material = textured(base, texCoord=1) | {
        "emissiveTexture": {"index": file.texture(halves(GREEN, WHITE))},
        "emissiveFactor": [1, 1, 1],
    }
    file.square(material, TEXCOORD_1=mirrored.astype("f4"))
    (mesh,) = read(file)
    np.testing.assert_allclose(color_at(mesh, 0.2, 0.5), [0, 0, 1], atol=0.02)
    np.testing.assert_allclose(color_at(mesh, 0.8, 0.5), [1, 0, 0], atol=0.02)
    np.testing.assert_allclose(color_at(mesh, 0.2, 0.5, "emission"), [0, 1, 0], atol=0.02)
    np.testing.assert_allclose(color_at(mesh, 0.8, 0.5, "emission"), [1, 1, 1], atol=0.02)


def test_of_a_texture_without_coordinates_the_mean_is_used(read: Read) -> None:
    """The other textures, and the colours of the vertices, stay as they are."""
    file = GltfFile()
    base = textured(file.texture(halves(RED, BLUE)))
    missing = {"index": file.texture(halves(GREEN, WHITE)), "texCoord": 1}
    file.square(
        base | {"emissiveTexture": missing, "emissiveFactor": [1, 1, 1], "normalTexture": missing}
    )
    (mesh,) = read(file)
    assert mesh.material.normal is None
    for x, color in ((0.2, [1, 0, 0]), (0.8, [0, 0, 1])):
        np.testing.assert_allclose(color_at(mesh, x, 0.5), color, atol=0.02)
        np.testing.assert_allclose(color_at(mesh, x, 0.5, "emission"), [0.5, 1, 0.5], atol=0.02)

    file = GltfFile()
    colors = np.array([[1, 1, 1], [0, 1, 1], [0, 1, 1], [1, 1, 1]], "f4")  # linear
    file.square(textured(file.texture(halves(WHITE, WHITE)), texCoord=1), COLOR_0=colors)
    (mesh,) = read(file)
    np.testing.assert_allclose(color_at(mesh, 0, 0.5), [1, 1, 1], atol=0.01)
    np.testing.assert_allclose(color_at(mesh, 1, 0.5), [0, 1, 1], atol=0.01)


def test_a_baked_normal_map_is_turned_with_its_coordinates(read: Read) -> None:
    """A normal that leans along +x of the square, seen in whichever coordinates the result has."""
    file = GltfFile()
    # u runs along -y, v (downward) along -x; the map leans towards -v, that is, towards +x.
    turned = np.column_stack([1 - CORNERS[:, 1], 1 - CORNERS[:, 0]]).astype("f4")
    leaning = Image.new("RGB", (8, 8), (128, 218, 218))
    material = textured(file.texture(halves(RED, BLUE))) | {
        "normalTexture": {"index": file.texture(leaning), "texCoord": 1}
    }
    file.square(material, TEXCOORD_1=turned)
    (mesh,) = read(file)
    face = mesh.faces[0]
    steps = np.linalg.solve(
        np.diff(mesh.uv[face], axis=0), np.diff(mesh.vertices[face], axis=0)
    )  # directions of u and v
    texel = look_up(mesh.material.normal, mesh.uv[face].mean(axis=0)[None])[0] * 2 - 1
    directions = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    np.testing.assert_allclose(texel[:2] @ directions, [0.707, 0, 0], atol=0.03)


def test_texture_transform(read: Read) -> None:
    """The lower left quarter of the image, turned: the specification's own example."""
    image = Image.new("RGB", (32, 32), WHITE)
    image.paste(RED, (0, 16, 8, 24))
    image.paste(GREEN, (8, 16, 16, 24))
    image.paste(BLUE, (0, 24, 8, 32))
    file = GltfFile()
    transform = {"offset": [0, 1], "rotation": np.pi / 2, "scale": [0.5, 0.5], "texCoord": 1}
    texture = file.texture(image)
    file.square(
        textured(texture, extensions={"KHR_texture_transform": transform}),
        TEXCOORD_0=np.zeros((4, 2), "f4"),
        TEXCOORD_1=UV,
    )
    file.tree["extensionsRequired"] = ["KHR_texture_transform"]
    (mesh,) = read(file)
    found = [color_at(mesh, x, y) for x, y in ((0.2, 0.8), (0.8, 0.8), (0.2, 0.2), (0.8, 0.2))]
    np.testing.assert_allclose(found, np.array([BLUE, RED, WHITE, GREEN]) / 255, atol=0.02)


@pytest.mark.parametrize("kind", ["gray16", "WEBP", "DDS", "palette", "rgba"])
def test_kinds_of_images(kind: str, read: Read) -> None:
    file = GltfFile()
    if kind == "gray16":
        texture = file.texture(Image.fromarray(np.full((8, 8), 30_000, np.uint16)))
    elif kind == "palette":
        texture = file.texture(Image.new("RGB", (8, 8), (117, 117, 117)).quantize())
    elif kind == "rgba":  # the alpha of an opaque material means nothing
        texture = file.texture(Image.new("RGBA", (2048, 2048), (117, 117, 117, 0)))
    else:
        texture = file.texture(encoded(Image.new("RGB", (8, 8), (117, 117, 117)), kind))
        extension = {"WEBP": "EXT_texture_webp", "DDS": "MSFT_texture_dds"}[kind]
        source = file.tree["textures"][texture].pop("source")
        file.tree["textures"][texture]["extensions"] = {extension: {"source": source}}
        file.tree["extensionsRequired"] = [extension]
    file.square(textured(texture))
    (mesh,) = read(file)
    assert mesh.material.image.mode == "RGB"
    np.testing.assert_allclose(color_at(mesh, 0.5, 0.5), 117 / 255, atol=0.01)


@pytest.mark.parametrize("uri", ["%20two%20%20spaces%20.png", " two  spaces .png"])
def test_spaces_in_the_name_of_an_image(uri: str, read: Read, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), GREEN).save(tmp_path / " two  spaces .png")
    file = GltfFile()
    texture = file.texture(halves(RED, RED))
    file.tree["images"][0] = {"uri": uri}
    file.square(textured(texture))
    (mesh,) = read(file)
    np.testing.assert_allclose(color_at(mesh, 0.5, 0.5), [0, 1, 0])


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_huge_image_is_refused(side: int, read: Read) -> None:
    file = GltfFile()
    file.square(textured(file.texture(encoded(Image.new("1", (side, side)), "PNG"))))
    assert refusal(file, read).reason == "texture too large"


@pytest.mark.parametrize(
    ("mode", "alpha", "opaque"),
    [("OPAQUE", 0.0, 1.0), ("MASK", 0.6, 1.0), ("MASK", 0.2, 0.0), ("BLEND", 0.2, 0.2)],
)
def test_alpha_modes(mode: str, alpha: float, opaque: float, read: Read) -> None:
    file = GltfFile()
    pbr = {"baseColorFactor": [1, 1, 1, alpha]}
    file.square({"alphaMode": mode, "pbrMetallicRoughness": pbr})
    (mesh,) = read(file)
    assert mesh.material.opacity == pytest.approx(opaque)


def test_alpha_cutoff_of_a_texture(read: Read) -> None:
    file = GltfFile()
    texture = file.texture(halves((255, 0, 0, 90), (255, 0, 0, 200)))
    material = textured(texture) | {"alphaMode": "MASK", "alphaCutoff": 0.3}
    material["pbrMetallicRoughness"]["baseColorFactor"] = [1, 1, 1, 0.5]
    file.square(material)
    (mesh,) = read(file)
    alpha = np.asarray(mesh.material.image)[:, :, 3]
    assert (alpha[:, :15] == 0).all()
    assert (alpha[:, 17:] == 255).all()


@pytest.mark.parametrize("with_diffuse", [True, False])
@pytest.mark.parametrize("with_specular", [True, False])
def test_specular_and_gloss(with_diffuse: bool, with_specular: bool, read: Read) -> None:
    file = GltfFile()
    gloss: dict[str, Any] = {
        "diffuseFactor": [0.5, 0.5, 0.5, 1],
        "specularFactor": [0.04, 0.04, 0.04],
        "glossinessFactor": 0.25,
    }
    if with_diffuse:
        gloss["diffuseTexture"] = {"index": file.texture(halves(RED, BLUE))}
    if with_specular:
        shiny = Image.new("RGBA", (8, 8), (255, 255, 255, 128))
        gloss["specularGlossinessTexture"] = {"index": file.texture(shiny)}
    file.square({"extensions": {"KHR_materials_pbrSpecularGlossiness": gloss}})
    file.tree["extensionsRequired"] = ["KHR_materials_pbrSpecularGlossiness"]
    (mesh,) = read(file)
    material, half = mesh.material, float(linear_to_srgb(np.array(0.5)))
    if with_diffuse or with_specular:
        expected = [half, 0, 0] if with_diffuse else [half] * 3
        np.testing.assert_allclose(color_at(mesh, 0.2, 0.5), expected, atol=0.03)
    else:
        np.testing.assert_allclose(material.factor, 0.5, atol=0.01)
    roughness, metallic = material.roughness, material.metallic
    if material.metallic_roughness is not None:
        _, roughness, metallic = np.asarray(material.metallic_roughness).mean(axis=(0, 1)) / 255
    assert roughness == pytest.approx(0.875 if with_specular else 0.75, abs=0.02)
    assert metallic == pytest.approx(0, abs=0.02)


def test_scale_of_a_normal_map(read: Read) -> None:
    file = GltfFile()
    leaning = Image.new("RGB", (8, 8), (218, 128, 218))
    file.square({"normalTexture": {"index": file.texture(leaning), "scale": 0.0}})
    (mesh,) = read(file)
    np.testing.assert_allclose(np.asarray(mesh.material.normal)[0, 0], [128, 128, 255], atol=1)
    assert mesh.material.image is not None
