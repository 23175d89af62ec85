"""What the viewer's server answers: to its page, to strangers, about damage."""

from __future__ import annotations

import hashlib
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from datagen.shards.reader import open_shards
from datagen.shards.rle import decode_rle
from model.controls import control_image, region_of
from pipelines.cli import main
from pipelines.view.access import Access, access_to
from tests.pipelines.view.conftest import serve


def test_every_scene_is_told_as_it_is_recorded(served):
    for number, sample in enumerate(served.shards):
        told = served.json(f"/api/scenes/{number}")
        assert told["key"] == sample.record.key
        assert told["record"]["prompt"]["full"] == sample.record.prompt.full
        assert len(told["boxes"]) == sample.record.n_subjects
        raw = {name: served.ask(f"/api/scenes/{number}/{name}.raw")[1] for name in RAW}
        assert raw["depth"] == sample.depth.astype("<u2").tobytes()
        assert raw["instances"] == sample.instances.tobytes()
        bits = np.frombuffer(raw["amodal"], "<u2").reshape(sample.instances.shape)
        for subject in sample.record.subjects:
            mask = (bits >> (subject.index - 1)) & 1
            assert np.array_equal(mask, decode_rle(subject.amodal_rle))


RAW = ("depth", "instances", "amodal")


@pytest.mark.parametrize("granularity", ["mask_depth", "box3d", "box2d"])
def test_controls_are_those_of_the_model(served, granularity):
    for number, sample in enumerate(served.shards):
        n = sample.record.n_subjects
        expected = control_image([region_of(sample, i, granularity) for i in range(1, n + 1)])
        for channel, name in enumerate(("ascending", "descending", "structure")):
            _, data, _ = served.ask(f"/api/scenes/{number}/{granularity}-{name}.png")
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), expected[..., channel])


def test_thumbnails_are_small_pictures(served):
    _, data, headers = served.ask("/api/scenes/0/thumbnail.jpg")
    assert headers["content-type"] == "image/jpeg"
    assert max(Image.open(io.BytesIO(data)).size) <= 256


def test_filters_count_what_they_find(served):
    records = [sample.record for sample in served.shards]
    everything = served.json("/api/scenes")
    assert everything["ids"] == list(range(len(records)))
    for facet, values in everything["facets"].items():
        for value, count in values.items():
            found = served.json(
                f"/api/scenes?{facet}={value.replace(' ', '+').replace('%', '%25')}"
            )
            assert len(found["ids"]) == count, (facet, value)
            # What else could be chosen of this facet is not narrowed by what is.
            assert found["facets"][facet] == values
    two = served.json("/api/scenes?subjects=2&split=train")["ids"]
    assert two == [
        i for i, record in enumerate(records) if record.n_subjects == 2 and record.split == "train"
    ]
    asset = records[0].subjects[0].asset.id
    assert 0 in served.json(f"/api/scenes?asset={asset}")["ids"]


def test_words_and_order(served):
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
def test_what_is_not_there_is_refused(served, path):
    status, data, _ = served.ask(path)
    assert status in (400, 404)
    assert b"import" not in data
    assert b"root:" not in data


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1.example.org", "localhost.example.org", ""]
)
def test_another_name_for_this_machine_is_refused(served, host):
    assert served.ask("/api/set", Host=host)[0] == 400
    assert served.ask("/api/set", Host="localhost:1")[0] == 200


def test_every_answer_forbids_what_the_page_does_not_need(served):
    for path in ("/", "/main.js", "/api/set", "/api/scenes/0/image.jpg", "/nothing"):
        headers = served.ask(path)[2]
        assert headers["content-security-policy"].startswith("default-src 'self';")
        assert headers["x-content-type-options"] == "nosniff"


def test_from_afar_a_token_is_asked_for():
    assert access_to("127.0.0.1") == access_to("localhost") == access_to("127.8.8.8")
    assert not access_to("127.0.0.1").token
    assert len(access_to("0.0.0.0").token) > 20
    assert access_to("192.0.2.1").hosts == ("192.0.2.1",)
    assert access_to("0.0.0.0").token != access_to("0.0.0.0").token
    assert "secret" not in repr(Access(("*",), "secret"))


def test_the_token_opens_once_and_for_all(made):
    with serve(made(), "--host", "0.0.0.0") as running:
        token = running.address.partition("token=")[2]
        assert running.ask("/api/set")[0] == 403
        assert running.ask("/")[0] == 403
        assert running.ask("/api/set?token=wrong")[0] == 403
        assert running.ask("/api/set", Cookie="sigma-view=wrong")[0] == 403
        status, _, headers = running.ask(f"/?token={token}")
        assert status == 200
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert running.ask("/api/set", Cookie=cookie.partition(";")[0])[0] == 200


def test_damaged_samples_are_told_of_and_the_others_shown(made):
    path = made()
    shards = {file.name: file for file in path.glob("train-*.tar")}
    cut = shards["train-n02-00000.tar"]
    with serve(path) as running:
        keys = running.shards.keys()
        numbers = {running.shards.shard_of(key): number for number, key in enumerate(keys)}
        last = numbers[cut.name]
        whole = cut.read_bytes()
        cut.write_bytes(whole[: len(whole) // 2])
        told = running.json(f"/api/scenes/{last}")
        assert "the shard is cut" in told["broken"]
        assert running.ask(f"/api/scenes/{last}/image.jpg")[0] == 422
        cut.unlink()
        assert "missing" in running.json(f"/api/scenes/{last}")["broken"]
        status, data, _ = running.ask(f"/api/scenes/{last}/depth.raw")
        assert status == 410
        assert "missing" in json.loads(data)["error"]
        other = next(number for shard, number in numbers.items() if shard != cut.name)
        assert running.ask(f"/api/scenes/{other}/image.jpg")[0] == 200


def test_flags_are_kept_and_honoured_by_pack(finished, job_of, tmp_path, capsys):
    out = tmp_path / "out"
    for part in ("config.yaml", "plan.parquet"):
        out.mkdir(exist_ok=True)
        (out / part).write_bytes((finished.out / part).read_bytes())
    for part in ("scenes", "shards"):
        (out / part).mkdir()
        for file in (finished.out / part).iterdir():
            (out / part / file.name).write_bytes(file.read_bytes())
    flags = out / "shards-flags.txt"
    with serve(out / "shards") as running:
        keys = running.shards.keys()

        def flag(number, value, kind="application/json"):
            body = json.dumps({"flag": value})
            return running.ask(f"/api/scenes/{number}/flag", "POST", body, Content_Type=kind)[0]

        assert flag(0, "drop") == flag(1, "keep") == flag(2, "drop") == flag(2, "") == 200
        assert flag(3, "burn") == 400
        assert flag(3, "drop", kind="text/plain") == 415
        assert running.ask("/api/scenes/0/flag")[0] == 404  # there is nothing to read
        assert running.json("/api/scenes?flag=drop")["ids"] == [0]
        assert running.json("/api/scenes")["facets"]["flag"] == {"keep": 1, "drop": 1}
    assert sorted(flags.read_text().splitlines()) == sorted([f"drop {keys[0]}", f"keep {keys[1]}"])
    with serve(out / "shards") as running:
        assert running.json("/api/scenes/0")["flag"] == "drop"
        assert main(["pack", str(out), "--exclude", str(flags)]) == 0
        assert set(running.shards.keys()) == set(keys) - {keys[0]}
    assert "dropped by hand" in (out / "shards" / "README.md").read_text()
    with serve(out / "shards") as running:
        command = running.json("/api/scenes/0")["command"]
        assert command.startswith(
            f"sigma dataset --preset {out}/shards/config.yaml --only {keys[1]}"
        )
    for text, told in (("burn it\n", "keep KEY"), ("drop nosuchscene\n", "nosuchscene")):
        flags.write_text(text)
        assert main(["pack", str(out), "--exclude", str(flags)]) == 2
        assert told in capsys.readouterr().err


def test_two_thousand_requests_from_eight_clients(served):
    process = psutil.Process(served.process.pid)
    total = len(served.shards)
    parts = ("", "/image.jpg", "/thumbnail.jpg", "/depth.raw")

    def client(number):
        return [
            served.ask(f"/api/scenes/{(number + i) % total}{parts[i % len(parts)]}")[0]
            for i in range(250)
        ]

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(client, range(8)))  # whatever is made once is made now
        before = process.memory_info().rss
        answers = [status for each in clients.map(client, range(8)) for status in each]
    assert answers == [200] * 2000
    assert process.memory_info().rss < before + 20 * 2**20


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["view", "/nowhere"], "/nowhere"),
        (["view", "SET", "--host", "203.0.113.1"], "203.0.113.1"),
        (["view", "SET", "--port", "99999"], "99999"),
        (["view", "SET", "--flags", "/etc/hostname"], "/etc/hostname"),
        (["view", "SET", "--choose", "q=red"], "--export"),
        (["view", "/dev/null.tar"], "no sample in null.tar"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(served, words, named, capsys):
    assert main([str(served.path) if word == "SET" else word for word in words]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert len(error.splitlines()) == 1


def test_a_set_without_an_index_is_found_in_its_tars(made):
    path = made()
    with serve(path) as running:
        whole = running.json("/api/scenes")
    for table in ("manifest.json", "index.parquet", "metadata.parquet"):
        (path / table).unlink()
    with serve(path) as running:
        assert len(running.json("/api/scenes")["ids"]) == len(whole["ids"])
        assert running.json("/api/scenes")["facets"]["subjects"] == whole["facets"]["subjects"]
        assert running.json("/api/set")["faults"] == []
        for number in range(len(whole["ids"])):
            assert "broken" not in running.json(f"/api/scenes/{number}")
            assert running.ask(f"/api/scenes/{number}/thumbnail.jpg")[0] == 200


def test_one_tar_is_a_set_and_a_cut_one_says_where(made, capsys):
    shard = next(made().glob("train-n02-*.tar"))
    with serve(shard) as running:
        keys = [one["key"] for one in running.json("/api/summaries?id=0&id=1")]
        assert running.json("/api/set")["scenes"] == len(keys) == 2
    data = shard.read_bytes()
    second = data.index(f"{keys[1]}.depth.png".encode())
    shard.write_bytes(data[: second + 600])
    with serve(shard) as running:
        assert running.json("/api/set")["scenes"] == 2
        (fault,) = running.json("/api/set")["faults"]
        assert f"byte {second}: {keys[1]}.depth.png is cut off" in fault
        assert "broken" not in running.json("/api/scenes/0")
        assert "depth.png" in running.json("/api/scenes/1")["broken"]
    shard.write_bytes(b"no tar" * 1000)
    assert main(["view", str(shard)]) == 2
    assert "damaged header" in capsys.readouterr().err


def test_two_sets_are_compared_by_key(made):
    mine, other = made(), made()
    shards = open_shards(str(mine))
    differs, gone = shards.keys()[0], shards.keys()[1]
    rows = pq.read_table(other / "index.parquet").to_pylist()
    rows = [row | {"sha256": "0" * 64} if row["key"] == differs else row for row in rows]
    for table, kept in (
        ("index.parquet", [row for row in rows if row["key"] != gone]),
        ("metadata.parquet", [r for r in pq.read_table(other / "metadata.parquet").to_pylist()
                              if r["key"] != gone]),
    ):  # fmt: skip
        schema = pq.read_schema(other / table)
        pq.write_table(pa.Table.from_pylist(kept, schema=schema), other / table)
        manifest = json.loads((other / "manifest.json").read_text())
        for entry in manifest["tables"]:
            data = (other / entry["file"]).read_bytes()
            entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for entry in manifest["shards"]:
            entry["samples"] -= entry["file"] == shards.shard_of(gone)
        manifest["samples"] = len(shards) - 1
        (other / "manifest.json").write_text(json.dumps(manifest))
    with serve(mine, "--compare", str(other)) as running:
        counts = running.json("/api/scenes")["facets"]["compared"]
        assert counts == {"same bytes": len(shards) - 2, "differs": 1, "only here": 1}
        assert running.json("/api/scenes?compared=differs")["ids"] == [0]
        assert running.json("/api/scenes/0")["compared"]
        told = running.json("/api/scenes/0/other")
        assert told["record"]["key"] == differs
        same = [running.ask(f"/api/scenes/0/{part}depth.raw")[1] for part in ("", "other/")]
        assert same[0] == same[1]
        assert not running.json("/api/scenes/1")["compared"]
        assert running.ask("/api/scenes/1/other")[0] == 404
        assert running.ask("/api/scenes/0/other/nothing")[0] == 404
    with serve(other, "--compare", str(mine)) as running:
        assert running.json("/api/set")["only_there"] == [gone]


def test_suspects_are_looked_for_when_asked(served):
    assert running_done(served) == 0
    assert served.ask("/api/suspects", "POST", "{}")[0] == 415
    assert served.ask("/api/suspects", "POST", "{}", Content_Type="application/json")[0] == 200
    end = time.monotonic() + 30
    while running_done(served) < len(served.shards):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert not any(served.json("/api/scenes")["facets"]["suspect"].values())


def running_done(served):
    return served.json("/api/suspects")["done"]


def test_histograms_count_all_scenes_and_subjects(served):
    told = dict(served.json("/api/statistics"))
    subjects = sum(sample.record.n_subjects for sample in served.shards)
    for title, bars in told.items():
        expected = len(served.shards) if title.startswith("scenes") else subjects
        assert sum(count for _, count in bars) == expected
