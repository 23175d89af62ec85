"""The command line, in this process: what is asked wrongly is answered in one line."""

import pytest
import yaml

from model.data.curriculum import CurriculumStage
from pipelines.cli.keys import key_groups
from pipelines.cli.main import VERBS, main
from pipelines.dataset.config import DatasetConfig
from pipelines.training.config import TrainingConfig

TALL = ["--plan.train", "2", "--plan.val", "1", "--plan.test", "1", "--plan.max_subjects", "2"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*verb.split(), "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"example: sigma {verb} " in " ".join(text.split())


@pytest.mark.parametrize("config", [DatasetConfig, TrainingConfig, CurriculumStage])
def test_every_key_has_a_help_text(config):
    keys = [key for _, group in key_groups(config) for key in group]
    assert len(keys) >= 2
    assert [key.path for key in keys if not key.help] == []


@pytest.mark.parametrize("config", [DatasetConfig, TrainingConfig])
def test_the_title_above_keys_is_no_cut_sentence(config):
    titles = [title for title, _ in key_groups(config)]
    assert len(titles) > 5
    assert [title for title in titles if not title.endswith(".")] == []


@pytest.mark.parametrize("verb", ["plan", "dataset", "train"])
def test_usage_is_a_line(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    usage, below = capsys.readouterr().out.split("\n")[:2]
    assert usage.startswith(f"usage: sigma {verb} [")
    assert below == ""


def test_alone_it_lists_the_verbs(capsys):
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {verb} " in listed for verb in VERBS)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["datset"], "datset"),
        (["assets", "chekc"], "assets chekc"),
        (["dataset", "--plan.trian", "3"], "plan.trian: unknown key; did you mean plan.train?"),
        (["dataset", "--plan.train"], "--plan.train: expected one argument"),
        (["dataset", "--nmae", "x"], "--nmae"),
        (["dataset", "--plan.train", "many"], "plan.train: 'many', expected a whole number"),
        (["dataset", "--preset", "nothing"], "nothing"),
        (["plan", "--catalog.provider", "shop"], "catalog.provider"),
        (["plan", "--catalog.path", "/nowhere", "--catalog.provider", "folder"], "catalog.path"),
        (["plan", "--print_config", "--catalog.path", "x"], "catalog.path: 'x', which"),
        (["plan", "--print_config", "--plan.min_subjects", "9"], "plan.min_subjects: 9, expected"),
        (["plan", "--layout.width", "0"], "layout.width"),
        (["plan", "--layout.fov_degrees", "[60,30]"], "layout.fov_degrees"),
        (["plan", "--layout.tries", "0"], "layout.tries"),
        (["plan", "--render.samples", "0"], "render.samples"),
        (["plan", "--render.identity_size", "2048"], "render.identity_size"),
        (["plan", "--pack.samples_per_shard", "0"], "pack.samples_per_shard"),
        (["dataset", "--job.max_draws", "0"], "job.max_draws"),
        (["dataset", "--job.worker.threads", "0"], "job.worker.threads"),
        (["plan", "--name", "../evil"], "name"),
        (
            ["train", "--augment", "{recolour: 0.4}"],
            "augment.recolour: unknown key, expected one of recompose, recolor, flip",
        ),
        (["train", "--augment.recolor", "many"], "augment.recolor: 'many', expected a number"),
        (["train", "--data.workers", "2.5"], "data.workers: 2.5, expected a whole number"),
        (
            ["train", "--train.optimizer.name", "sgd"],
            "train.optimizer.name: 'sgd', expected one of 'adamw', 'muon', 'prodigy'",
        ),
        (["train", "--model.base.rope", "[8,12]"], "model.base.rope: [8, 12], expected 3 values"),
        (["train", "--out", "/etc/hostname"], "--out: /etc/hostname is a file, expected a folder"),
        (["train", "--allow_changed_data"], "--allow_changed_data: goes with --resume latest"),
        (["train", "--dataset", "nope"], "dataset: nope, expected one of mini, real, small, tiny"),
        (["train", "--model.base", "{ptch: 4}"], "model.base.ptch: unknown key, expected"),
        (["train", "--model.base", "nowhere"], "model.base is the folder of one, 'nowhere'"),
        (["view", "there", "--port", "x"], "port: 'x', expected a whole number"),
        (
            ["sample", "s.yaml", "--checkpoint", "c", "--steps", "0"],
            "--steps: 0, expected 1 or more",
        ),
        (
            ["sample", "s.yaml", "--checkpoint", "c", "--image_guidance", "lots"],
            "image_guidance: 'lots', expected a number",
        ),
        (["train", "--augment", "3"], "augment: 3, expected the keys recompose, recolor, flip"),
        (
            ["train", "--train.curriculum", "[{steps: a}]"],
            "train.curriculum[0].steps: 'a', expected a whole number, 1 or more",
        ),
        (["plan", "--out", "/dev/null"], "/dev/null"),
        (["dataset", "--out", "/proc/nope"], "/proc/nope"),
        (["dataset", "--out", "nosuch://x/y"], "nosuch://x/y"),
        (["assets", "check", ".", "--cache", "/dev/null"], "no model file"),
        (["assets", "check", "/nowhere"], "/nowhere: expected a folder of .sh3f libraries"),
        (["status", "/nowhere"], "/nowhere"),
        (["verify", "/nowhere"], "/nowhere"),
        (["verify"], "shards"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(words, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert named in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.rglob("config.yaml"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"a: &a [*a]\n", "line 1: *a stands inside itself"),
        (b"", "empty"),
        (b"name: [", "line 1, column 8: expected the node content"),
        (b"name: " + b"[" * 5000, "nested too deeply"),
        (b"name: 3\n", "name: 3, expected"),
        (b"name: ''\n", "name: '', expected"),
    ],
)
def test_a_preset_that_cannot_be_read_is_named(content, reason, tmp_path, capsys):
    preset = tmp_path / "mine.yaml"
    preset.write_bytes(content)
    assert main(["plan", "--preset", str(preset), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "mine.yaml: " in error
    assert reason in error
    assert len(error.splitlines()) == 1


def test_what_could_not_be_planned_does_not_bind_the_output(tmp_path, asset_cache):
    places = ["--out", str(tmp_path / "out"), "--cache", str(asset_cache)]
    assert main(["plan", *places, "--plan.train", "-5"]) == 2
    provider = ["--catalog.provider", "folder", "--catalog.path", "/nowhere"]
    assert main(["plan", *places, *provider]) == 2
    assert main(["plan", *places, "--catalog.assets", "30", "--plan.max_subjects", "2"]) == 0


def test_a_key_that_a_preset_cannot_have_is_named(tmp_path, capsys):
    preset = tmp_path / "mine.yaml"
    preset.write_text("name: mine\ncatalog: {provider: procedural, asets: 9}\n")
    assert main(["plan", "--preset", str(preset)]) == 2
    assert "asets" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("name: mine\ncatalog: {provider: procedural}\n", "catalog: unknown key"),
        ("model: {lora: {rnk: 4}}\n", "model.lora.rnk: unknown key, expected one of rank"),
        ("train: {optimizer: {lr: fast}}\n", "train.optimizer.lr: "),
        ("name: one\ntrain: {ema: 0}\nname: two\n", "line 3: name is given twice"),
        ("train:\n  ema: 0\n  ema: 1\n", "line 3: ema is given twice"),
        ("- name\n", "no keys in it; expected the keys of a preset"),
        ("", "empty; expected the keys of a preset"),
    ],
)
def test_what_a_preset_cannot_have_is_said_with_its_file(content, named, tmp_path, capsys):
    preset = tmp_path / "mine.yaml"
    preset.write_text(content)
    assert main(["train", "--preset", str(preset)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --preset: {preset}: ")
    assert named in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("preset", ["mini", "real"])
def test_a_printed_configuration_is_a_preset(preset, tmp_path, capsys):
    def printed(*words):
        with pytest.raises(SystemExit) as ended:
            main(["dataset", *words, "--print_config"])
        assert ended.value.code == 0
        return capsys.readouterr().out

    text = printed("--preset", preset, "--plan.train", "9")
    assert yaml.safe_load(text)["plan"]["train"] == 9
    copy = tmp_path / "copy.yaml"
    copy.write_text(text)
    assert printed("--preset", str(copy)) == text


def test_a_plan_is_written_and_shown(tmp_path, asset_cache, capsys):
    words = ["plan", *TALL, "--out", str(tmp_path / "out"), "--cache", str(asset_cache)]
    assert main(words) == 0
    assert (tmp_path / "out" / "plan.parquet").exists()
    assert "train" in capsys.readouterr().out
    assert main(words) == 0
    capsys.readouterr()
    assert main([*words, "--plan.seed", "4"]) == 2
    assert "plan.seed" in capsys.readouterr().err
    assert main(["status", str(tmp_path / "out")]) == 0
    assert "train" in capsys.readouterr().out
    assert main(["pack", str(tmp_path / "out")]) == 2


def test_assets_are_checked(tmp_path, capsys):
    import trimesh

    models = tmp_path / "models"
    models.mkdir()
    trimesh.creation.box((1, 1, 1)).export(models / "crate.glb")
    (models / "broken.glb").write_bytes(b"glTF no more")
    assert main(["assets", "check", str(models), "--cache", str(tmp_path / "cache")]) == 0
    told = capsys.readouterr().out
    assert "broken" in told
    assert "1 usable, 1 not" in told


@pytest.mark.slow
def test_assets_check_says_what_was_guessed_and_what_is_not_read(tmp_path, capsys):
    import trimesh

    models = tmp_path / "models"
    models.mkdir()
    trimesh.creation.icosphere(subdivisions=4, radius=50).export(models / "ball.obj")
    for name in ("a.fbx", "b.fbx", "c.dae"):
        (models / name).write_bytes(b"x")
    words = ["assets", "check", str(models), "--cache", str(tmp_path / "cache")]
    assert main([*words, "--max_faces", "2000"]) == 0
    told = capsys.readouterr().out
    assert "1 of unknown unit, their size guessed" in told
    assert "1 with a part whose colour the file does not state" in told
    assert "1 decimated, the largest from 5,120 faces" in told
    assert "3 files of other kinds are not read: fbx 2, dae 1" in told
    assert main([*words, "--unit", "millimetre", "--up", "z"]) == 0
    assert "unknown unit" not in capsys.readouterr().out
    assert main([*words, "--unit", "cubit"]) == 2
    assert "--unit" in capsys.readouterr().err


def test_sound_and_damaged_shards_are_told_apart(finished, tmp_path, capsys):
    import shutil

    assert main(["verify", str(finished.out / "shards")]) == 0
    assert "sound" in capsys.readouterr().out
    copy = tmp_path / "shards"
    shutil.copytree(finished.out / "shards", copy)
    tar = min(copy.glob("*.tar"))
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)
    assert main(["verify", str(copy)]) == 1
    assert tar.name in capsys.readouterr().err
