import dataclasses
import io
import json
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datagen.scene import Sample
from datagen.shards import codec
from datagen.shards.codec import BadSample

MakeSample = Callable[..., Sample]


def members_of(sample: Sample) -> dict[str, bytes]:
    return codec.members(codec.encode(sample))


def edited(sample: Sample, change: Callable[[dict[str, Any]], None]) -> dict[str, bytes]:
    """The members with the JSON changed behind the encoder's back."""
    found = members_of(sample)
    document = json.loads(found["json"])
    change(document)
    return found | {"json": json.dumps(document).encode()}


STRETCHED = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]]
MIRRORED = [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth else {}


def picture(array: np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 10),
    split=st.sampled_from(["train", "val", "test"]),
    key=st.from_regex(r"[0-9A-Za-z_-]{1,64}", fullmatch=True),
    seed=st.integers(0, 2**32),
    opaque=st.booleans(),
    words=st.text(min_size=1),
)
def test_lossless_members_round_trip_exactly(
    make_sample: MakeSample, n: int, split: str, key: str, seed: int, opaque: bool, words: str
) -> None:
    sample = make_sample(key, n, split, seed)
    rng = np.random.default_rng(seed)
    depth = rng.integers(0, 2**16, sample.depth.shape).astype(np.uint16)
    sheet = sample.identities.copy()
    sheet[..., 3] = 255 if opaque else rng.integers(0, 256, sheet.shape[:2])
    environment = {"place": words, "size": 1.25}
    sample = dataclasses.replace(
        sample,
        depth=depth,
        identities=sheet,
        record=dataclasses.replace(sample.record, environment=environment),
    )
    back = codec.decode(members_of(sample), key)
    assert np.array_equal(back.depth, depth)
    assert back.depth.dtype == np.uint16
    assert np.array_equal(back.instances, sample.instances)
    assert np.array_equal(back.identities[..., 3], sheet[..., 3])
    assert back.identities.shape == sheet.shape
    assert back.record.environment == environment
    # RoutingEncoding what came back changes nothing: rounding happens once.
    assert codec.encode_record(back.record) == codec.encode_record(sample.record)


def test_lossy_colours_round_trip_closely(make_sample: MakeSample) -> None:
    sample = make_sample(n=4)
    back = codec.decode(members_of(sample))
    assert np.abs(back.image.astype(int) - sample.image).mean() < 3
    shown = sample.identities[..., 3] > 0
    error = np.abs(back.identities[..., :3].astype(int) - sample.identities[..., :3])
    assert error[shown].mean() < 8  # WebP halves the resolution of colour


def test_jpeg_chroma_is_not_subsampled(make_sample: MakeSample) -> None:
    with Image.open(io.BytesIO(members_of(make_sample())["image.jpg"])) as image:
        assert {layer[1:3] for layer in image.layer} == {(1, 1)}


def test_equal_samples_give_equal_bytes_in_any_process(make_sample: MakeSample) -> None:
    assert codec.encode(make_sample(n=3)) == codec.encode(make_sample(n=3))


def test_fragment_is_plain_ustar(make_sample: MakeSample) -> None:
    with tarfile.open(fileobj=io.BytesIO(codec.encode(make_sample("000007")))) as archive:
        infos = archive.getmembers()
    assert [info.name for info in infos] == [f"000007.{name}" for name in codec.MEMBERS]
    assert {(i.mtime, i.uid, i.gid, i.mode, i.isreg()) for i in infos} == {(0, 0, 0, 0o644, True)}


def test_json_floats_are_rounded_and_typed(make_sample: MakeSample) -> None:
    sample = make_sample()
    sample = dataclasses.replace(
        sample,
        record=dataclasses.replace(
            sample.record,
            camera=dataclasses.replace(
                sample.record.camera,
                intrinsics=((100, 0, 1 / 3), (0, 100, -1e-9), (0, 0, 1)),
            ),
        ),
    )
    text = members_of(sample)["json"].decode()
    assert '"intrinsics":[[100.0,0.0,0.333333],[0.0,100.0,0.0],[0.0,0.0,1.0]]' in text


@pytest.mark.parametrize(
    ("environment", "where"),
    [
        ({"a": {"b": None}}, r"\$\.environment\.a\.b: None"),
        ({"lights": []}, r"\$\.environment\.lights: an empty list"),
        ({"x": [1.0, float("nan")]}, r"\$\.environment\.x\[1\]: nan"),
        ({"seed": 2**63}, r"\$\.environment\.seed: .* 64 bits"),
    ],
)
def test_encoder_refuses_values_that_readers_cannot_type(
    make_sample: MakeSample, environment: dict[str, Any], where: str
) -> None:
    sample = make_sample()
    record = dataclasses.replace(sample.record, environment=environment)
    with pytest.raises(ValueError, match=where):
        codec.encode(dataclasses.replace(sample, record=record))


@pytest.mark.parametrize(
    "change",
    [
        {"image": np.zeros((64, 95, 3), np.uint8)},
        {"depth": np.zeros((64, 96), np.float32)},
        {"instances": np.zeros((64, 96, 1), np.uint8)},
        {"identities": np.zeros((33, 32, 4), np.uint8)},
        {"identities": np.zeros((32, 32, 3), np.uint8)},
    ],
)
def test_encoder_refuses_pictures_that_do_not_fit(
    make_sample: MakeSample, change: dict[str, np.ndarray]
) -> None:
    with pytest.raises(ValueError, match=r"expected|square blocks"):
        codec.encode(dataclasses.replace(make_sample(n=2), **change))


@pytest.mark.parametrize("key", ["", "a.b", "../a", "a/b", "a b", "é", "a" * 65])
def test_encoder_refuses_invalid_keys(make_sample: MakeSample, key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        codec.encode(make_sample(key))


@pytest.mark.parametrize("name", codec.MEMBERS)
def test_decoder_names_a_missing_member(make_sample: MakeSample, name: str) -> None:
    found = members_of(make_sample())
    del found[name]
    with pytest.raises(BadSample, match="missing") as caught:
        codec.decode(found, "000001")
    assert (caught.value.key, caught.value.member) == ("000001", name)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d["subjects"][1].update(index="2"), r"subjects\[1\]\.index"),
        (lambda d: d["subjects"][0].update(views=None), r"subjects\[0\]\.views"),
        (lambda d: d["camera"]["intrinsics"].pop(), r"camera\.intrinsics"),
        (lambda d: d.pop("prompt"), "prompt"),
        (lambda d: d.update(split="dev"), r"split"),
        (lambda d: d.update(format_version=2), "format version 2, expected 1"),
        (lambda d: d.update(n_subjects=3), "2 subjects are listed"),
        (lambda d: d.update(n_subjects=11), "n_subjects: 11, expected 1 to 10"),
        (lambda d: d.update(width=10**6), r"width: 1000000, expected 1 to 8192"),
        (lambda d: d.update(width=0), r"width: 0, expected 1 to 8192"),
        (lambda d: d.update(width=8192, height=8192), "8192 x 8192 pixels, expected at most 16777"),
        (lambda d: d.update(environment={"seed": 2**70}), r"environment\.seed: .* 64 bits"),
        (lambda d: d.update(environment=nested(40)), r"environment\.a\.a.*: nested more than"),
        (lambda d: d["depth"].update(meters_per_unit=0.0), r"depth\.meters_per_unit"),
        (lambda d: d["prompt"].update(full=" "), r"prompt\.full"),
        (lambda d: d["subjects"][0].update(visibility=1.2), r"subjects\[0\]\.visibility"),
        (lambda d: d["subjects"][1].update(truncation=-0.1), r"subjects\[1\]\.truncation"),
        (lambda d: d["subjects"][1].update(caption=" "), r"subjects\[1\]\.caption"),
        (lambda d: d["subjects"][0].update(index=2), r"indices are \[2, 2\], expected 1 to 2"),
        (lambda d: d["subjects"].reverse(), r"indices are \[2, 1\], expected 1 to 2"),
        (lambda d: d["subjects"][1].update(identity="train-000001-1"), "an identity occurs twice"),
        (
            lambda d: d["subjects"][0].update(box2d=[9, 9, 8, 20]),
            r"box2d is \[9, 9, 8, 20",
        ),
        (lambda d: d["subjects"][0].update(box2d=[0, 0, 97, 20]), "within 96 x 64 pixels"),
        (
            lambda d: d["subjects"][1].update(box2d_amodal=[5, 5, 5, 9]),
            "2: box2d_amodal is",
        ),
        (lambda d: d["subjects"][1]["box3d"]["size"].__setitem__(1, 0.0), r"box3d\.size"),
        (lambda d: d["subjects"][1]["box3d"].update(rotation=STRETCHED), r"box3d\.rotation"),
        (
            lambda d: d["subjects"][1]["box3d"].update(rotation=MIRRORED),
            "2: .*not a rotation",
        ),
        (lambda d: d["camera"]["camera_to_world"][0].__setitem__(0, -1.0), "not a rigid transform"),
        (lambda d: d["camera"]["intrinsics"][0].__setitem__(0, 0.0), r"camera\.intrinsics"),
        (lambda d: d["subjects"][0]["amodal_rle"].update(size=[96, 64]), r"amodal_rle\.size is"),
        (lambda d: d["subjects"][0]["amodal_rle"].update(counts="12"), "amodal_rle: run lengths"),
        (lambda d: [s.update(views=s["views"] * 40) for s in d["subjects"]], "expected 1 to 64"),
        (lambda d: d.update(key="000002"), "'000002'"),
        (lambda d: d["subjects"][0]["views"].pop(), "number of views"),
    ],
)
def test_decoder_is_strict_about_the_record(
    make_sample: MakeSample, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    with pytest.raises(BadSample, match=reason) as caught:
        codec.decode(edited(make_sample(n=2), change), "000001")
    assert caught.value.member == "json"


def test_decoder_survives_hostile_json(make_sample: MakeSample) -> None:
    found = members_of(make_sample())
    deep = found["json"].replace(b'"place":"hall"', b'"place":' + b"[" * 10**5 + b"]" * 10**5)
    for text in (b"", b"\xff\xfe", b"[]", b"{", found["json"][:-1], deep, b" " * 10**7):
        with pytest.raises(BadSample):
            codec.decode(found | {"json": text})


def test_decoder_ignores_unknown_json_keys(make_sample: MakeSample) -> None:
    sample = make_sample()
    back = codec.decode(edited(sample, lambda document: document.update(later="more")))
    assert back.record.key == sample.record.key


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("image.jpg", picture(np.zeros((64, 95, 3), np.uint8), "JPEG"), "the record says"),
        ("image.jpg", picture(np.zeros((64, 96), np.uint8), "JPEG"), "mode L"),
        ("image.jpg", picture(np.zeros((64, 96, 3), np.uint8), "PNG"), "cannot be decoded"),
        ("depth.png", picture(np.zeros((64, 96), np.uint8), "PNG"), "mode L"),
        ("instances.png", picture(np.zeros((64, 96, 3), np.uint8), "PNG"), "mode RGB"),
        ("instances.png", picture(np.zeros((64, 96), np.uint8), "PNG")[:-30], "cannot be"),
        (
            "instances.png",
            picture(np.full((64, 96), 7, np.uint8), "PNG"),
            "holds 7, expected",
        ),
        ("identities.webp", picture(np.zeros((32, 48, 4), np.uint8), "WEBP"), "square blocks"),
        ("identities.webp", b"RIFF", "cannot be decoded"),
        ("identities.webp", b"", "cannot be decoded"),
    ],
)
def test_decoder_checks_pictures(
    make_sample: MakeSample, name: str, data: bytes, reason: str
) -> None:
    with pytest.raises(BadSample, match=reason) as caught:
        codec.decode(members_of(make_sample()) | {name: data})
    assert caught.value.member == name


def test_a_decompression_bomb_is_not_unpacked(make_sample: MakeSample) -> None:
    """A PNG of 30,000 x 30,000 pixels in a few bytes: refused by its header."""
    found = members_of(make_sample())
    bomb = bytearray(picture(np.zeros((64, 96), np.uint8), "PNG"))
    bomb[16:24] = (30_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    with pytest.raises(BadSample, match=r"30000|decompression bomb"):
        codec.decode(found | {"instances.png": bytes(bomb)})
    wide = edited(make_sample(), lambda d: d.update(width=30_000, height=30_000))
    with pytest.raises(BadSample, match="width: 30000, expected 1 to 8192"):
        codec.decode(wide | {"instances.png": bytes(bomb)})


def test_an_animation_is_refused(make_sample: MakeSample) -> None:
    frames = [Image.fromarray(np.full((32, 32, 4), value, np.uint8)) for value in (90, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(BadSample, match="animation"):
        codec.decode(members_of(make_sample(n=2)) | {"identities.webp": buffer.getvalue()})


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_bytes_raise_only_bad_sample(make_sample: MakeSample, data: st.DataObject) -> None:
    """Any one byte changed: a sample comes back, or BadSample; nothing else."""
    fragment = bytearray(codec.encode(make_sample()))
    place = data.draw(st.integers(0, len(fragment) - 1))
    fragment[place] ^= data.draw(st.integers(1, 255))
    with suppress(BadSample):
        codec.decode(codec.members(bytes(fragment)))


@settings(max_examples=60, deadline=None)
@given(fragment=st.binary(max_size=3000))
def test_random_bytes_are_not_a_fragment(fragment: bytes) -> None:
    with pytest.raises(BadSample):
        codec.members(fragment)


def test_members_must_be_of_one_sample(make_sample: MakeSample) -> None:
    one, two = codec.encode(make_sample("a")), codec.encode(make_sample("b"))
    with pytest.raises(BadSample, match="one sample was expected"):
        codec.members(one + two)
    with pytest.raises(BadSample, match="has members"):
        codec.members(one + one)


def test_the_format_needs_no_heavy_package() -> None:
    """The model half reads shards without what the dataset half is made with."""
    program = """
import sys
import datagen.shards.reader, datagen.shards.store, datagen.shards.verify
heavy = {"ray", "torch", "open3d", "trimesh", "scipy", "simplejpeg"}
assert not heavy & set(sys.modules) and "matplotlib" not in sys.modules
import datagen.shards.pack
assert not heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
