"""The viewer's API: JSON, images and raw arrays."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from PIL import Image

from datagen.shards.rle import decode_rle
from model.controls.control_image import control_image
from model.controls.kinds import region_of


def test_scene_json_and_raw_arrays_equal_the_shards(served):
    for number, sample in enumerate(served.shards):
        scene = served.json(f"/api/scenes/{number}")
        assert scene["key"] == sample.record.key
        assert scene["record"]["prompt"]["full"] == sample.record.prompt.full
        assert len(scene["boxes"]) == sample.record.n_subjects
        raw = {name: served.request(f"/api/scenes/{number}/{name}.raw")[1] for name in RAW}
        assert raw["depth"] == sample.depth.astype("<u2").tobytes()
        assert raw["instances"] == sample.instances.tobytes()
        bits = np.frombuffer(raw["amodal"], "<u2").reshape(sample.instances.shape)
        for subject in sample.record.subjects:
            mask = (bits >> (subject.index - 1)) & 1
            assert np.array_equal(mask, decode_rle(subject.amodal_rle))


RAW = ("depth", "instances", "amodal")


def test_the_page_gets_the_kinds_of_control_from_the_server(served):
    assert served.json("/api/set")["controls"] == [
        {"name": "mask_depth", "label": "mask and depth", "has_depth": True},
        {"name": "box3d", "label": "3D box", "has_depth": True},
        {"name": "box2d", "label": "2D box", "has_depth": False},
    ]


@pytest.mark.parametrize("granularity", ["mask_depth", "box3d", "box2d"])
def test_control_channels_equal_the_models_control_image(served, granularity):
    for number, sample in enumerate(served.shards):
        n = sample.record.n_subjects
        expected = control_image([region_of(sample, i, granularity) for i in range(1, n + 1)])
        for channel, name in enumerate(("ascending", "descending", "structure")):
            _, data, _ = served.request(f"/api/scenes/{number}/{granularity}-{name}.png")
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), expected[..., channel])


def test_thumbnail_is_a_small_jpeg(served):
    _, data, headers = served.request("/api/scenes/0/thumbnail.jpg")
    assert headers["content-type"] == "image/jpeg"
    assert max(Image.open(io.BytesIO(data)).size) <= 256


def test_facet_counts_equal_the_number_of_filtered_scenes(served):
    records = [sample.record for sample in served.shards]
    everything = served.json("/api/scenes")
    assert everything["ids"] == list(range(len(records)))
    for facet, values in everything["facets"].items():
        for value, count in values.items():
            found = served.json(
                f"/api/scenes?{facet}={value.replace(' ', '+').replace('%', '%25')}"
            )
            assert len(found["ids"]) == count, (facet, value)
            # The counts of a facet ignore the filter by this facet.
            assert found["facets"][facet] == values
    two = served.json("/api/scenes?subjects=2&split=train")["ids"]
    assert two == [
        i for i, record in enumerate(records) if record.n_subjects == 2 and record.split == "train"
    ]
    asset = records[0].subjects[0].asset.id
    assert 0 in served.json(f"/api/scenes?asset={asset}")["ids"]


def test_word_search_and_sort_order(served):
    records = [sample.record for sample in served.shards]
    word = records[-1].subjects[0].category.upper()
    found = served.json(f"/api/scenes?q={word.replace(' ', '+')}")["ids"]
    assert len(records) - 1 in found
    assert served.json("/api/scenes?q=nosuchword")["ids"] == []
    falling = served.json("/api/scenes?order=subjects&descending=1")["ids"]
    assert [records[i].n_subjects for i in falling] == sorted(
        (record.n_subjects for record in records), reverse=True
    )


@pytest.mark.parametrize(
    "path",
    [
        "/api/scenes/999999",
        "/api/scenes/-1",
        "/api/scenes/1e0",
        "/api/scenes/%D9%A1",
        "/api/scenes/99999999999999999999999",
        "/api/scenes/0/..%2f..%2fmanifest.json",
        "/api/scenes/..%2f0",
        "/api/scenes/..%2f..%2f",
        "/api/scenes/..%2f..%2fmain.js",
        "/api/scenes/0/image.jpg%00",
        "/api/scenes/0/json",
        "/api/scenes?order=%27",
        "/api/summaries?id=x",
        "/api/nothing",
        "/..%2fapp.py",
        "/../app.py",
        "/%2e%2e/app.py",
        "/vendor/..%2f..%2fapp.py",
        "//etc/passwd",
    ],
)
def test_unknown_and_traversing_paths_are_refused(served, path):
    status, data, _ = served.request(path)
    assert status in (400, 404)
    assert b"import" not in data
    assert b"root:" not in data


def test_responses_have_security_headers(served):
    for path in ("/", "/main.js", "/api/set", "/api/scenes/0/image.jpg", "/nothing"):
        headers = served.request(path)[2]
        assert headers["content-security-policy"].startswith("default-src 'self';")
        assert headers["x-content-type-options"] == "nosniff"


def test_memory_stays_constant_over_2000_requests_from_8_clients(served):
    process = psutil.Process(served.process.pid)
    total = len(served.shards)
    parts = ("", "/image.jpg", "/thumbnail.jpg", "/depth.raw")

    def client(number):
        return [
            served.request(f"/api/scenes/{(number + i) % total}{parts[i % len(parts)]}")[0]
            for i in range(250)
        ]

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(client, range(8)))  # caches are filled now
        before = process.memory_info().rss
        statuses = [status for each in clients.map(client, range(8)) for status in each]
    assert statuses == [200] * 2000
    assert process.memory_info().rss < before + 20 * 2**20


def test_suspect_search_starts_on_post_and_finishes(served):
    assert searched_scenes(served) == 0
    assert served.request("/api/suspects", "POST", "{}")[0] == 415
    assert served.request("/api/suspects", "POST", "{}", Content_Type="application/json")[0] == 200
    end = time.monotonic() + 30
    while searched_scenes(served) < len(served.shards):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert not any(served.json("/api/scenes")["facets"]["suspect"].values())


def searched_scenes(served):
    return served.json("/api/suspects")["done"]


def test_histograms_count_all_scenes_and_subjects(served):
    charts = dict(served.json("/api/statistics"))
    subjects = sum(sample.record.n_subjects for sample in served.shards)
    for title, bars in charts.items():
        expected = len(served.shards) if title.startswith("scenes") else subjects
        assert sum(count for _, count in bars) == expected
