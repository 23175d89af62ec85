"""Appearances: sampled within bounds, true to their colour names, with unique fingerprints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from trimesh.visual.material import PBRMaterial

from datagen.catalog.glb import encode_glb
from datagen.catalog.looks.appearance import fingerprint, finish_ranges
from datagen.catalog.looks.appearance import sample_appearance as sample_with_share
from datagen.catalog.looks.apply_appearance import apply_appearance, surface_colors
from datagen.catalog.looks.colors import color_names, color_rgb, lab, name_color, srgb, tinted
from datagen.catalog.looks.patterns import coverage, patterns, texture
from datagen.catalog.shapes.families import families
from datagen.compose.captions import describe
from datagen.scene import Appearance, Asset, Finish, Identity, Part, Tint


def sample_appearance(asset: Asset, rng: np.random.Generator) -> Appearance:
    return sample_with_share(asset, rng, 0.5)


def asset(source: str = "procedural", recolorable: bool = True) -> Asset:
    family = families()["mug"]
    areas = (0.6, 0.3, 0.1)
    return Asset(
        id="procedural/mug/0000",
        category=family.category,
        noun=family.noun,
        size=(0.1, 0.1, 0.1),
        silhouette=0.01,
        parts=tuple(
            Part(name, area, (0.5, 0.5, 0.5), 0.0)
            for name, area in zip(family.parts, areas, strict=True)
        ),
        recolorable=recolorable,
        source=source,
        author="",
        license="",
        digest="d",
    )


def textured_box(image: Image.Image | None, factor: list[int], uv: bool = True) -> trimesh.Scene:
    """A box with a part named "cloth", as it comes from a GLB."""
    box = trimesh.creation.box((0.4, 0.4, 0.4))
    box.unmerge_vertices()
    box.visual = trimesh.visual.TextureVisuals(
        uv=np.tile([[0, 0], [1, 0], [1, 1]], (12, 1)) if uv else None,
        material=PBRMaterial(name="cloth", baseColorTexture=image, baseColorFactor=factor),
    )
    return trimesh.load_scene(
        trimesh.util.wrap_as_stream(encode_glb({"cloth": box})), file_type="glb"
    )


def photo(low: int, high: int) -> Image.Image:
    """A noisy image with a hue of its own."""
    pixels = np.random.default_rng(0).integers(low, high, (64, 64, 3))
    return Image.fromarray((pixels * [1.0, 0.8, 0.6]).astype("u1"))


def name_of(mesh: trimesh.Trimesh) -> str | None:
    seen = surface_colors(mesh)
    red, green, blue = seen.mean(axis=0).tolist()
    return name_color((red, green, blue), float(np.sqrt(seen.var(axis=0).mean())))


@pytest.mark.parametrize("name", color_names())
def test_name_color_of_named_colors(name: str) -> None:
    assert name_color(color_rgb(name), 0.0) == name
    assert name_color(color_rgb(name), 0.3) is None


@pytest.mark.parametrize(
    "pair",
    [
        ("red", "orange"),
        ("orange", "yellow"),
        ("red", "brown"),
        ("pink", "red"),
        ("blue", "purple"),
        ("green", "teal"),
        ("white", "beige"),
        ("gray", "black"),
    ],
)
def test_name_color_between_two_colors_is_none(pair: tuple[str, str]) -> None:
    red, green, blue = srgb(np.mean([lab(np.array(color_rgb(n))) for n in pair], axis=0)).tolist()
    assert name_color((red, green, blue), 0.0) is None


@given(st.tuples(*[st.floats(0, 1)] * 3))
def test_oklab_round_trip(rgb: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(srgb(lab(np.array(rgb))), rgb, atol=1e-6)


def test_oklab_of_known_colors() -> None:
    """Values from Ottosson's article: white, and pure red."""
    np.testing.assert_allclose(lab(np.ones(3)), [1, 0, 0], atol=1e-4)
    np.testing.assert_allclose(lab(np.array([1.0, 0, 0])), [0.628, 0.225, 0.126], atol=1e-3)


def spotted_photo(hue: int) -> Image.Image:
    """A photograph of one colour with dark spots and noise."""
    rng = np.random.default_rng(hue)
    hsv = np.empty((64, 64, 3), "u1")
    hsv[..., 0], hsv[..., 1] = hue, 150
    hsv[..., 2] = rng.integers(150, 200, (64, 64))
    hsv[::8, ::8, 2] = 60
    return Image.fromarray(hsv, "HSV").convert("RGB")


@pytest.mark.parametrize("hue", range(0, 256, 32))
def test_a_tinted_texture_keeps_its_detail(hue: int) -> None:
    """Lighter stays lighter, and hues stay as far apart; only their place changes."""
    image = spotted_photo(hue)
    for seed in range(5):
        appearance = sample_with_share(textured_asset(), np.random.default_rng(seed), 1.0)
        assert not appearance.finishes
        mesh = apply_appearance(textured_box(image, [255, 255, 255, 255]), appearance)["cloth"]
        after = mesh.visual.material.baseColorTexture.convert("RGB")
        assert after.size == image.size
        light, before = (lab(np.asarray(one) / 255.0)[..., 0] for one in (after, image))
        assert np.corrcoef(light.ravel(), before.ravel())[0, 1] > 0.95
        assert light.std() > 0.5 * before.std()
        assert np.abs(np.asarray(after, float) - np.asarray(image)).mean() > 1


def textured_asset(rgb: tuple[float, float, float] = (0.5, 0.5, 0.5), spread: float = 0.1) -> Asset:
    parts = (Part("cloth", 1.0, rgb, spread, (), True),)
    return replace(asset("folder"), noun="cushion", parts=parts)


def test_a_tint_changes_textures_only_and_keeps_the_rest_of_their_material() -> None:
    scene = textured_box(photo(90, 200), [255, 128, 255, 255])
    material = scene.geometry["cloth"].visual.material
    material.roughnessFactor, material.normalTexture = 0.37, photo(0, 9)
    plain = textured_box(None, [200, 10, 10, 255]).geometry["cloth"]
    plain.visual.material.name = "frame"
    scene.add_geometry(plain, node_name="frame", geom_name="frame")
    meshes = apply_appearance(scene, Appearance(1.0, (), (Tint(0.5, 0.8, 1.2),)))
    after = meshes["cloth"].visual.material
    assert (after.roughnessFactor, after.normalTexture.size) == (0.37, (64, 64))
    assert list(meshes["frame"].visual.material.baseColorFactor) == [200, 10, 10, 255]
    # The factor is in the texture now: the colours are those of texture times factor, tinted.
    before = surface_colors(textured_box(photo(90, 200), [255, 128, 255, 255]).geometry["cloth"])
    expected = tinted(before, Tint(0.5, 0.8, 1.2)).mean(axis=0)
    np.testing.assert_allclose(surface_colors(meshes["cloth"]).mean(axis=0), expected, atol=0.02)


@given(hue=st.integers(0, 255), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_captions_of_tinted_textures_are_true(hue: int, seed: int) -> None:
    """The colour that a caption names is the one that is measured on the tinted texture."""
    image = spotted_photo(hue)
    colors = np.asarray(image).reshape(-1, 3) / 255.0
    red, green, blue = colors.mean(axis=0).tolist()
    one = textured_asset((red, green, blue), float(np.sqrt(colors.var(axis=0).mean())))
    appearance = sample_with_share(one, np.random.default_rng(seed), 1.0)
    caption = describe(Identity("0", one, appearance))
    after = tinted(colors, appearance.tint[0])
    red, green, blue = after.mean(axis=0).tolist()
    measured = name_color((red, green, blue), float(np.sqrt(after.var(axis=0).mean())))
    nearest = min(color_names(), key=lambda name: _distance(name, after.mean(axis=0)))
    assert caption in {"a cushion", f"a {measured} cushion", f"an {measured} cushion"} or (
        # Measured just inside, predicted just outside the margin between two names.
        nearest in caption
    )


def _distance(name: str, color: np.ndarray) -> float:
    return float(np.linalg.norm((lab(np.array(color_rgb(name))) - lab(color)) * [1, 2, 2]))


def test_textured_parts_get_tints_and_the_others_finishes() -> None:
    parts = (Part("wood", 0.6, (0.5,) * 3, 0.1, (), True), Part("metal", 0.4, (0.5,) * 3, 0.0))
    one = replace(asset("folder"), parts=parts)
    sampled = [sample_with_share(one, np.random.default_rng(i), 1.0) for i in range(60)]
    assert {tuple(f.part for f in a.finishes) for a in sampled} == {(), ("metal",)}
    assert all(a.tint or a.finishes for a in sampled)


def test_the_id_of_an_identity_without_a_tint_is_that_of_before_there_were_tints() -> None:
    appearance = Appearance(1.1, (Finish("body", "red", "plain", "white", 0.5, 0.0),))
    assert fingerprint(asset(), appearance) == "430e2052fd6028e2"
    assert (
        fingerprint(asset(), replace(appearance, tint=(Tint(0.1, 1.0, 1.0),))) != "430e2052fd6028e2"
    )


@pytest.mark.parametrize("name", color_names())
@pytest.mark.parametrize("uv", [True, False])
def test_apply_appearance_gives_a_plain_part_the_named_color(name: str, uv: bool) -> None:
    scene = textured_box(None, [200, 10, 10, 255], uv)
    appearance = Appearance(1.0, (Finish("cloth", name, "plain", "white", 0.5, 0.0),))
    mesh = apply_appearance(scene, appearance)["cloth"]
    assert name_of(mesh) == name
    np.testing.assert_allclose(surface_colors(mesh)[0], color_rgb(name), atol=0.03)


@pytest.mark.parametrize("image", [None, photo(0, 256)])
def test_apply_appearance_projects_a_pattern_without_usable_uvs(
    image: Image.Image | None,
) -> None:
    """The box's picture is stretched over triangles; the checks are not."""
    scene = textured_box(image, [255, 255, 255, 255], uv=image is not None)
    appearance = Appearance(1.0, (Finish("cloth", "red", "checks", "white", 0.5, 0.0),))
    mesh = apply_appearance(scene, appearance)["cloth"]
    seen = surface_colors(mesh)
    for name in ("red", "white"):
        near = np.linalg.norm(seen - color_rgb(name), axis=1) < 0.05
        assert near.mean() == pytest.approx(0.5, abs=0.05)
    a, b, c = mesh.visual.uv[mesh.faces].transpose(1, 0, 2)
    ab, ac = b - a, c - a
    repeats = np.abs(ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]) / 2
    # Four repeats along the longest side, here all sides.
    np.testing.assert_allclose(repeats / mesh.area_faces, (4 / 0.4) ** 2, rtol=1e-4)


def test_apply_appearance_scales_and_keeps_parts_without_finish() -> None:
    scene = textured_box(photo(0, 256), [255, 255, 255, 255])
    mesh = apply_appearance(scene, Appearance(1.1, ()))["cloth"]
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), 0.44, atol=1e-6)
    before, after = photo(0, 256), mesh.visual.material.baseColorTexture.convert("RGB")
    assert np.array_equal(np.asarray(before), np.asarray(after))


def test_apply_appearance_with_a_finish_of_a_missing_part_is_an_error() -> None:
    appearance = Appearance(1.0, (Finish("wheels", "red", "plain", "white", 0.5, 0.0),))
    with pytest.raises(ValueError, match="no part 'wheels'; there are cloth"):
        apply_appearance(textured_box(None, [9, 9, 9, 255]), appearance)


@given(st.integers(0, 2**32))
def test_sample_appearance_stays_within_the_finish_ranges(seed: int) -> None:
    appearance = sample_appearance(asset(), np.random.default_rng(seed))
    assert 0.85 <= appearance.scale <= 1.15
    assert {finish.part for finish in appearance.finishes} == set(families()["mug"].parts)
    for finish in appearance.finishes:
        allowed = [finish_ranges()[name] for name in families()["mug"].parts[finish.part]]
        assert any(
            finish.color in (finish_range.colors or color_names())
            and finish.pattern in ("plain", *finish_range.patterns)
            and finish_range.roughness[0] <= finish.roughness <= finish_range.roughness[1]
            for finish_range in allowed
        )
        assert finish.accent != finish.color
    assert sample_appearance(asset(), np.random.default_rng(seed)) == appearance


def test_half_of_the_assets_from_files_keep_their_colors() -> None:
    appearances = [sample_appearance(asset("folder"), np.random.default_rng(i)) for i in range(300)]
    assert 0.4 < np.mean([not appearance.finishes for appearance in appearances]) < 0.6
    recolored = {tuple(finish.part for finish in appearance.finishes) for appearance in appearances}
    assert recolored == {(), ("body",), ("body", "handle")}
    for appearance in appearances:
        assert len({finish.color for finish in appearance.finishes}) == len(appearance.finishes)


def test_assets_that_are_not_recolorable_are_only_scaled() -> None:
    appearances = [
        sample_appearance(asset("folder", False), np.random.default_rng(i)) for i in range(20)
    ]
    assert all(not appearance.finishes for appearance in appearances)
    assert len({appearance.scale for appearance in appearances}) > 10


def test_fingerprints_of_identities_are_unique() -> None:
    one = asset()
    appearances = [sample_appearance(one, np.random.default_rng(i)) for i in range(200)]
    prints = {fingerprint(one, appearance) for appearance in appearances}
    assert len(prints) == len(set(appearances))
    assert fingerprint(replace(one, digest="e"), appearances[0]) not in prints
    assert fingerprint(one, appearances[0]) == fingerprint(replace(one, noun="cup"), appearances[0])
    assert all(len(value) == 16 and int(value, 16) >= 0 for value in prints)


@pytest.mark.parametrize("pattern", patterns())
def test_patterns_have_their_cover_and_are_seamless(pattern: str) -> None:
    share = coverage(pattern)
    assert share.mean() == pytest.approx(patterns()[pattern].cover, abs=0.02)
    for axis in (0, 1):
        steps = np.abs(np.diff(share, axis=axis)).mean(axis=1 - axis)
        seam = np.abs(share.take(0, axis) - share.take(-1, axis)).mean()
        assert seam <= steps.max() + 0.02
    tile = texture(pattern, "red", "white")
    assert (tile.size, tile.mode) == ((256, 256), "RGB")
    assert tile.tobytes() == texture(pattern, "red", "white").tobytes()


def test_finishes_and_families_name_only_existing_entries() -> None:
    for family in families().values():
        assert all(name in finish_ranges() for names in family.parts.values() for name in names)
    for finish_range in finish_ranges().values():
        assert set(finish_range.colors) | set(finish_range.accents) <= set(color_names())
        assert set(finish_range.patterns) <= set(patterns())
