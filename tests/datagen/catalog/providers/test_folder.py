"""Folders of model files, with and without metadata, and Objaverse's."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
import trimesh

from datagen.catalog.catalog import CatalogConfig, open_catalog
from datagen.catalog.ingest.ingest import IngestedModels, ModelSource
from datagen.catalog.providers.folder import (
    FileConventions,
    model_sources,
    unread_files,
    unread_message,
)
from datagen.errors import UserError


def write_box(path: Path, extents: tuple[float, float, float] = (1.0, 2.0, 0.5)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = trimesh.creation.box(extents).export(file_type=path.suffix[1:].lower())
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def by_id(root: Path) -> dict[str, ModelSource]:
    return {source.id: source for source in model_sources(root)}


def test_model_sources_lists_every_model_file_by_name(tmp_path: Path) -> None:
    names = ["b/officeChair-02.glb", "a/mug/model.obj", "Red Sofa.STL", "a/d0e1f2a3.ply"]
    for name in names:
        write_box(tmp_path / name)
    (tmp_path / "a/readme.txt").write_text("no model")
    write_box(tmp_path / ".hidden/x.glb")
    listed = by_id(tmp_path)
    assert list(listed) == sorted(names)
    nouns = {name: listed[name].noun for name in names}
    assert nouns == {
        "b/officeChair-02.glb": "office chair",
        "a/mug/model.obj": "mug",
        "Red Sofa.STL": "sofa",
        "a/d0e1f2a3.ply": "object",
    }
    assert {source.license for source in listed.values()} == {"unknown"}


def test_up_axis_of_each_format(tmp_path: Path) -> None:
    for name in ("a.glb", "b.obj", "c.ply", "d.stl"):
        write_box(tmp_path / name, (1.0, 2.0, 0.5) if name[0] in "ab" else (1.0, 0.5, 2.1))
    provider = IngestedModels(model_sources(tmp_path), tmp_path / "cache")
    sizes = {asset.id: asset.size for asset in provider.assets()}
    # c and d are equal: one asset. Of a and b, only glTF says what a plain material looks like.
    box, other = (1.0, 0.5, 2.0), (1.0, 0.5, 2.1)
    assert sizes == {"a.glb": box, "b.obj": box, "c.ply": other}


@pytest.mark.parametrize("form", ["csv", "json"])
def test_metadata_table_is_used(form: str, tmp_path: Path) -> None:
    write_box(tmp_path / "x/1.stl", (1.0, 2.0, 4.0))
    write_box(tmp_path / "other.glb")
    row = {
        "path": "x/1.stl",
        "id": "crate-1",
        "noun": "wooden crate",
        "category": "crate",
        "license": "CC0-1.0",
        "author": "Ada",
        "source": "attic",
        "up": "x",
        "front": "-z",
        "size": 2.0,
        "recolorable": False,
    }
    if form == "json":
        (tmp_path / "metadata.json").write_text(json.dumps([row, {"path": "other.glb"}]))
    else:
        head, cells = ",".join(row), ",".join(map(str, row.values()))
        (tmp_path / "metadata.csv").write_text(f"{head}\n{cells}\nother.glb{',' * 10}\n")
    crate = by_id(tmp_path)["crate-1"]
    assert (crate.noun, crate.category) == ("wooden crate", "crate")
    assert (crate.license, crate.author, crate.source) == ("CC0-1.0", "Ada", "attic")
    assert not crate.recolorable
    assert crate.extent == 2.0
    assert crate.rotation == ((0, 1, 0), (1, 0, 0), (0, 0, -1))  # left to right is y


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path,sise\na.glb,3\n", r"metadata\.csv, line 2: .*sise"),
        ("path,size\na.glb,big\n", r"line 2: .*size"),
        ("path,size\na.glb,-1\n", r"line 2: size: .*metres"),
        ("path,size\na.glb,nan\n", r"line 2: size: .*metres"),
        ("path,up,front\na.glb,w,x\n", r"line 2: .*up"),
        ("path,up\na.glb,x\n", r"line 2: front: missing, expected with up"),
        ("path,front\na.glb,x\n", r"line 2: up: missing, expected with front"),
        ("path,unit\na.glb,cubit\n", r"line 2: .*unit"),
        ("path,noun\nmeshes/*.glb,cup\n", r"line 2: path: .* no model file 'meshes/\*.glb'"),
        ("path,id\n*.glb,x\n", r"line 2: id: 'x', expected none for a pattern"),
        ("path,up,front\na.glb,z,-z\n", r"line 2: front: -z is parallel to up"),
        ("id\nx\n", r"line 2: .*path"),
        ("path\ngone.glb\n", r"line 2: path: there is no model file 'gone.glb'"),
        ("path\n../a.glb\n", r"line 2: path: there is no model file"),
        ("path\na.glb\na.glb\n", r"line 3: path: 'a.glb' has an earlier row already"),
        ("path,id\na.glb,x\nb.glb,x\n", r"line 3: id: 'x' is also the id of 'a.glb'"),
        ("path\na.glb,1\n", r"line 2: has more cells"),
    ],
)
def test_a_wrong_row_of_metadata_csv_is_a_user_error(
    table: str, message: str, tmp_path: Path
) -> None:
    write_box(tmp_path / "a.glb")
    write_box(tmp_path / "b.glb")
    (tmp_path / "metadata.csv").write_text(table)
    with pytest.raises(UserError, match=message) as caught:
        model_sources(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("{", r"metadata\.json: not JSON"),
        ('{"path": "a.glb"}', r"metadata\.json: expected a list"),
        ("[3]", r"metadata\.json, row 1: "),
        ('[{"path": "a.glb", "size": "x"}]', r"metadata\.json, row 1: .*size"),
    ],
)
def test_a_wrong_metadata_json_is_a_user_error(table: str, message: str, tmp_path: Path) -> None:
    write_box(tmp_path / "a.glb")
    (tmp_path / "metadata.json").write_text(table)
    with pytest.raises(UserError, match=message):
        model_sources(tmp_path)


@pytest.mark.parametrize("noun", ["   ", "\ud800", "a\u0000b"])
def test_unprintable_nouns_in_metadata_are_user_errors(noun: str, tmp_path: Path) -> None:
    write_box(tmp_path / "a.glb")
    (tmp_path / "metadata.json").write_text(json.dumps([{"path": "a.glb", "noun": noun}]))
    with pytest.raises(UserError, match=r"metadata\.json"):
        model_sources(tmp_path)


@pytest.mark.timeout(20)
def test_a_metadata_table_that_is_not_a_regular_file_is_a_user_error(tmp_path: Path) -> None:
    write_box(tmp_path / "a.glb")
    os.mkfifo(tmp_path / "metadata.json")
    with pytest.raises(UserError, match="not a regular file"):
        model_sources(tmp_path)


def test_broken_links_and_unprintable_names_reject_one_model(tmp_path: Path) -> None:
    library = tmp_path / "procedural"
    library.mkdir()
    write_box(library / "good.glb")
    (library / "loop.glb").symlink_to("loop.glb")
    write_box(tmp_path / "bad.glb")
    os.rename(tmp_path / "bad.glb", os.fsencode(library) + b"/\xff\xfe.glb")
    (library / "metadata.csv").write_text("path,source\ngood.glb,attic\n")
    provider = IngestedModels(model_sources(library), tmp_path / "cache")
    assert [asset.id for asset in provider.assets()] == ["good.glb"]
    assert [rejection.reason for rejection in provider.rejections()] == ["missing file"] * 2


def test_source_procedural_is_reserved(tmp_path: Path) -> None:
    library = tmp_path / "procedural"
    library.mkdir()
    write_box(library / "good.glb")
    provider = IngestedModels(model_sources(library), tmp_path / "cache")
    assert provider.assets() == ()
    assert [rejection.reason for rejection in provider.rejections()] == ["reserved source"]


def test_a_folder_without_models_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no model file"):
        model_sources(tmp_path)


def test_links_out_of_the_folder_are_rejected(tmp_path: Path) -> None:
    write_box(tmp_path / "outside/secret.glb")
    write_box(tmp_path / "tree/fits.glb")
    (tmp_path / "tree/link.glb").symlink_to(tmp_path / "outside/secret.glb")
    (tmp_path / "tree/folder").symlink_to(tmp_path / "outside")
    listed = by_id(tmp_path / "tree")
    assert set(listed) == {"fits.glb", "link.glb"}
    assert listed["link.glb"].reason == "file outside the library"
    (tmp_path / "tree/metadata.csv").symlink_to(tmp_path / "outside/secret.glb")
    with pytest.raises(UserError, match="leads outside"):
        model_sources(tmp_path / "tree")


def test_objaverse_annotations_are_used(tmp_path: Path) -> None:
    uids = {name: f"{number:032x}" for number, name in enumerate(("lvis", "title", "blurb"), 10)}
    base = tmp_path / "hf-objaverse-v1"
    for number, uid in enumerate(uids.values()):
        write_box(base / f"glbs/000-{number:03d}/{uid}.glb", (1.0 + number, 1.0, 1.0))
    said = {
        uids["lvis"]: {"name": "X", "license": "by-sa", "user": {"displayName": "Ada L."}},
        uids["title"]: {"name": "Wooden Chair 3", "license": "cc0", "user": {"username": "bob"}},
        uids["blurb"]: {"name": "My FREE chair - game ready!!", "license": "by-nc"},
        "elsewhere": {"name": "not downloaded"},
    }
    (base / "metadata").mkdir()
    (base / "metadata/000-000.json.gz").write_bytes(gzip.compress(json.dumps(said).encode()))
    lvis = {"bow_(decorative_ribbons)": ["elsewhere"], "coffee_table": [uids["lvis"]]}
    (base / "lvis-annotations.json.gz").write_bytes(gzip.compress(json.dumps(lvis).encode()))
    listed = by_id(tmp_path)
    facts = {
        name: (listed[uid].noun, listed[uid].category, listed[uid].license, listed[uid].author)
        for name, uid in uids.items()
    }
    assert facts == {
        "lvis": ("coffee table", "table", "CC-BY-SA-4.0", "Ada L."),
        "title": ("wooden chair", "chair", "CC0-1.0", "bob"),
        "blurb": ("object", "object", "CC-BY-NC-4.0", "unknown"),
    }
    assert {source.source for source in listed.values()} == {"Objaverse"}


@pytest.mark.parametrize(
    "data", [b"not gzip", gzip.compress(b"[]", mtime=0), gzip.compress(b"{}", mtime=0)[:-9]]
)
def test_a_broken_objaverse_annotation_file_is_a_user_error(data: bytes, tmp_path: Path) -> None:
    write_box(tmp_path / "a.glb")
    (tmp_path / "object-annotations.json.gz").write_bytes(data)
    with pytest.raises(UserError, match=r"object-annotations\.json\.gz"):
        model_sources(tmp_path)


def test_folder_provider_in_open_catalog(tmp_path: Path) -> None:
    write_box(tmp_path / "tree/stool.stl", (1.0, 2.0, 4.0))
    (tmp_path / "tree/metadata.csv").write_text("path,up,front,size\nstool.stl,x,-z,2\n")
    config = CatalogConfig("folder", path=str(tmp_path / "tree"))
    (asset,) = open_catalog(config, tmp_path / "cache").assets()
    assert (asset.id, asset.noun, asset.category) == ("stool.stl", "stool", "stool")
    # Left to right is y (2), front to back z (4, the largest, now 2 m), up x (1).
    assert asset.size == (1.0, 2.0, 0.5)


def test_rows_of_patterns(tmp_path: Path) -> None:
    """Of each column, the most exact row decides; what no row says is known otherwise."""
    for name in ("a.stl", "meshes/b.stl", "meshes/deep/c.stl", "meshes/deep/d.glb"):
        write_box(tmp_path / name)
    (tmp_path / "metadata.csv").write_text(
        "path,noun,author,license,up,front,unit,size\n"
        "meshes/b.stl,mug,,,,,,0.3\n"
        "**/*.stl,,Ada,CC0-1.0,y,,millimetre,\n"
        "meshes/*.stl,cup,,CC-BY-4.0,z,,,\n"
    )
    listed = by_id(tmp_path)
    facts = {id: (s.noun, s.author, s.license, s.units, s.extent) for id, s in listed.items()}
    assert facts["a.stl"][1:] == ("Ada", "CC0-1.0", (0.001,), None)
    assert facts["meshes/b.stl"][:3] == ("mug", "Ada", "CC-BY-4.0")
    assert facts["meshes/b.stl"][4] == 0.3
    assert facts["meshes/deep/c.stl"][1:3] == ("Ada", "CC0-1.0")
    assert facts["meshes/deep/d.glb"][1:] == ("unknown", "unknown", (1.0,), None)
    y_up, z_up = listed["a.stl"].rotation, listed["meshes/b.stl"].rotation
    assert y_up == ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    assert z_up == ((1, 0, 0), (0, 0, 1), (0, -1, 0))


def test_conventions_hold_for_formats_that_state_nothing(tmp_path: Path) -> None:
    for name in ("a.obj", "b.stl", "c.glb", "d.obj"):
        write_box(tmp_path / name)
    (tmp_path / "metadata.csv").write_text("path,up,unit\nd.obj,y,inch\n")
    conventions = FileConventions(unit="centimetre", up="z")
    listed = {source.id: source for source in model_sources(tmp_path, conventions)}
    lying, standing = ((1, 0, 0), (0, 0, 1), (0, -1, 0)), ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    assert {id: source.rotation for id, source in listed.items()} == {
        "a.obj": lying,
        "b.stl": lying,
        "c.glb": standing,
        "d.obj": standing,
    }
    assert {id: source.units for id, source in listed.items()} == {
        "a.obj": (0.01,),
        "b.stl": (0.01,),
        "c.glb": (1.0,),
        "d.obj": (0.0254,),
    }
    assert len(by_id(tmp_path)["a.obj"].units) > 1


def test_metadata_is_added_to_objaverse_annotations(tmp_path: Path) -> None:
    uid = f"{10:032x}"
    write_box(tmp_path / f"glbs/{uid}.glb")
    said = {uid: {"name": "Chair", "license": "cc0", "user": {"username": "bob"}}}
    (tmp_path / "object-annotations.json").write_text(json.dumps(said))
    (tmp_path / "metadata.csv").write_text("path,size\nglbs/*.glb,0.8\n")
    (source,) = model_sources(tmp_path)
    assert (source.id, source.author, source.license, source.extent) == (uid, "bob", "CC0-1.0", 0.8)


def test_files_of_other_kinds_are_counted(tmp_path: Path) -> None:
    for name in ("a.fbx", "deep/b.FBX", "c.dae", "notes.txt", "skin.png", "d.usdz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    message = unread_message(unread_files(tmp_path))
    assert message == "4 files of other kinds are not read: fbx 2, dae 1, usdz 1"
    with pytest.raises(UserError, match=r"holds no model file .* but 4 files of other kinds"):
        model_sources(tmp_path)
