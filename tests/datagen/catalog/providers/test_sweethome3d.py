"""Sweet Home 3D's libraries: a small one made by the test, and those of the Debian package."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from datagen.catalog.catalog import CatalogConfig, open_catalog
from datagen.catalog.glb import load_mesh
from datagen.catalog.ingest.ingest import IngestedModels
from datagen.catalog.looks.colors import color_names
from datagen.catalog.providers import nouns
from datagen.catalog.providers.sweethome3d import model_sources, parse_properties
from datagen.errors import UserError

REAL = Path("/usr/share/sweethome3d/furniture")

HEADER = """\
# A comment
id=Test#Library
name=Test models
license=Creative Commons Attribution 3.0 license \\u00a9 Somebody
"""

# One triangle upright and one on the ground; 1 wide, 2 high, 4 deep.
OBJ = "v 0 0 0\nv 1 0 0\nv 0 2 0\nv 0 0 4\nf 1 2 3\nf 1 2 4\n"


def write_library(folder: Path, pieces: list[dict[str, str]], header: str = HEADER) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [header]
    for number, piece in enumerate(pieces, 1):
        facts = {
            "id": f"Test#piece{number}",
            "category": "Living room",
            "model": "/models/piece.obj",
            "width": "50",
            "depth": "40.5",
            "height": "100",
            "doorOrWindow": "false",
            "creator": "Jos\\u00e9",
        } | piece
        lines += [f"{key}#{number}={value}" for key, value in facts.items()]
    path = folder / "test.sh3f"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", "\n".join(lines).encode("latin-1"))
        archive.writestr("models/piece.obj", OBJ)
    return path


def test_model_source_of_a_piece(tmp_path: Path) -> None:
    library = write_library(tmp_path / "lib", [{"name": "Black office chair 2", "tags": "Seat"}])
    (source,) = model_sources(tmp_path / "lib")
    assert source.id == "test/piece1"
    assert (source.library, source.file) == (str(library), "models/piece.obj")
    assert (source.noun, source.category) == ("office chair", "chair")
    assert source.extent == (0.5, 1.0, 0.405)
    assert (source.license, source.author) == ("CC-BY-3.0", "José")
    assert source.source == "Test models"
    assert source.recolorable
    assert not source.reason


def test_each_axis_is_scaled_after_the_rotation(tmp_path: Path) -> None:
    turn = "0 0 -1 0 1 0 1 0 0"  # what was along z is along -x
    write_library(tmp_path / "lib", [{"name": "Chair", "modelRotation": turn}])
    provider = IngestedModels(model_sources(tmp_path / "lib"), tmp_path / "cache")
    (asset,) = provider.assets()
    assert asset.size == (0.5, 0.405, 1.0)
    mesh = load_mesh(provider.model(asset))
    # The upright triangle stood at z = 0 and reached to x = 1: now at x = 0, the right side.
    top = mesh.vertices[mesh.vertices[:, 2].argmax()]
    np.testing.assert_allclose(top, [0.25, 0.2025, 1.0], atol=1e-4)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"name": "Front entrance", "doorOrWindow": "true"}, "door or window"),
        ({"name": "Shower door"}, "door or window"),
        ({"name": "Stairs", "staircaseCutOutShape": "M 0,0"}, "staircase"),
        ({"name": "Lamp", "elevation": "190.5"}, "hangs above the ground"),
        ({"name": "007"}, "name says nothing"),
        ({"name": "Chair", "width": "wide"}, "bad catalogue entry"),
        ({"name": "Chair", "height": "0"}, "bad catalogue entry"),
        ({"name": "Chair", "modelRotation": "1 0 0"}, "bad catalogue entry"),
    ],
)
def test_pieces_that_cannot_stand_alone_are_rejected(
    facts: dict[str, str], reason: str, tmp_path: Path
) -> None:
    write_library(tmp_path / "lib", [facts])
    provider = IngestedModels(model_sources(tmp_path / "lib"), tmp_path / "cache")
    assert not provider.assets()
    (rejection,) = provider.rejections()
    assert (rejection.asset, rejection.reason) == ("test/piece1", reason)
    assert rejection.detail


def test_pieces_with_drop_on_top_elevation_are_accepted(tmp_path: Path) -> None:
    facts = {"name": "Table", "dropOnTopElevation": "74", "elevation": "0"}
    write_library(tmp_path / "lib", [facts])
    assert not model_sources(tmp_path / "lib")[0].reason


@pytest.mark.parametrize(
    "facts",
    [
        {"name": "Male", "tags": "Human, People"},
        {"name": "Dog", "category": "Characters"},
        {"name": "Steak", "tags": "Food"},
    ],
)
def test_people_animals_and_food_are_not_recolorable(facts: dict[str, str], tmp_path: Path) -> None:
    write_library(tmp_path / "lib", [facts])
    assert not model_sources(tmp_path / "lib")[0].recolorable


def test_missing_or_broken_libraries_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no \.sh3f library"):
        model_sources(tmp_path)
    (tmp_path / "broken.sh3f").write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"broken\.sh3f: not a Sweet Home 3D furniture library"):
        model_sources(tmp_path)


def test_parse_properties() -> None:
    text = (
        "! comment\n  key = value with = signs \nlong: one \\\n    two\n"
        "spaced\\ key\\:=x\nempty=\naccent=caf\\u00E9\nback\\\\slash=a\\\\\n"
    )
    assert parse_properties(text) == {
        "key": "value with = signs",
        "long": "one two",
        "spaced key:": "x",
        "empty": "",
        "accent": "café",
        "back\\slash": "a\\",
    }


@given(
    st.dictionaries(
        st.text("abc#.é", min_size=1).filter(lambda key: key[0] != "#"), st.text("ab =:\\é#!")
    )
)
def test_parse_properties_round_trip(facts: dict[str, str]) -> None:
    def escaped(text: str) -> str:
        return re.sub(r"([\\=: #!])", r"\\\1", text).replace("é", "\\u00e9")

    text = "\n".join(f"{escaped(key)}={escaped(value)}" for key, value in facts.items())
    assert parse_properties(text) == {key: value.strip() for key, value in facts.items()}


def test_every_piece_of_the_debian_package_has_a_valid_noun() -> None:
    listed = model_sources(REAL)
    assert len(listed) == 820
    assert len({source.id for source in listed}) == 820
    assert {source.license for source in listed} == {"CC0-1.0", "CC-BY-3.0", "CC-BY-3.0-US"}
    usable = [source for source in listed if not source.reason]
    assert len(usable) > 600
    for source in usable:
        words = source.noun.split()
        assert re.fullmatch(r"[A-Za-z][A-Za-z' -]*[A-Za-z]", source.noun), source
        assert not set(words) & set(color_names()), source
        assert source.category == source.category.lower(), source
        countable = nouns.noun(source.noun)
        assert countable == source.noun, f"{source.noun!r} is not one thing"
    people = [source for source in usable if source.category == "person"]
    assert len(people) > 20
    assert not any(source.recolorable for source in people)


@pytest.mark.slow
def test_ingest_of_a_sample_of_the_debian_package(tmp_path: Path) -> None:
    sample = model_sources(REAL)[7::41]
    provider = IngestedModels(sample, tmp_path)
    assets, rejections = provider.assets(), provider.rejections()
    assert len(assets) + len(rejections) == len(sample) == 20
    assert len(assets) >= 10
    by_id = {source.id: source for source in sample}
    reasons = Counter(rejection.reason for rejection in rejections)
    assert set(reasons) <= {
        "cut-out texture",
        "door or window",
        "file outside the library",
        "flat on the ground",
        "hangs above the ground",
        "missing texture",
        "part of a street",
        "see-through",
        "too large",
        "too many faces",
        "parts hang in the air",
        "scene",
        "tips over",
    }
    for asset in assets:
        width, height, depth = by_id[asset.id].extent
        np.testing.assert_allclose(asset.size, [width, depth, height], atol=2e-3)
        mesh = load_mesh(provider.model(asset))
        low, high = mesh.bounds
        np.testing.assert_allclose(high - low, asset.size, atol=1e-4)
        np.testing.assert_allclose([*(low + high)[:2], low[2]], 0, atol=1e-4)
        assert sum(part.area for part in asset.parts) == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_fronts_face_minus_y(tmp_path: Path) -> None:
    """The back of a chair is at y > 0: most of the surface above its seat is there."""
    chairs = ["scopia/silla_teca", "scopia/chair", "scopia/kids_desk_chair", "scopia/leather_sofa"]
    provider = IngestedModels([s for s in model_sources(REAL) if s.id in chairs], tmp_path)
    assert len(provider.assets()) == 4
    for asset in provider.assets():
        mesh = load_mesh(provider.model(asset))
        points = trimesh.sample.sample_surface(mesh, 2000, seed=0)[0]
        high = points[points[:, 2] > 0.75 * asset.size[2]]
        assert high[:, 1].mean() > 0.15 * asset.size[1], asset.id


def test_sweethome3d_provider_in_open_catalog(tmp_path: Path) -> None:
    write_library(tmp_path / "lib", [{"name": "Chair"}, {"name": "Lamp", "elevation": "200"}])
    config = CatalogConfig("sweethome3d", path=str(tmp_path / "lib"))
    catalog = open_catalog(config, tmp_path / "cache")
    assert [asset.noun for asset in catalog.assets()] == ["chair"]
    assert [rejection.asset for rejection in catalog.rejections()] == ["test/piece2"]
