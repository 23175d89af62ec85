"""The wheel is complete without the checkout, and puts no `assets` at the top of site-packages."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("datagen", "model", "pipelines")


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = ("-m", "uv", "build", "--quiet", "--wheel", "--out-dir", folder)
    # hatchling is in uv's cache where the checkout was installed; else the registry has it.
    if run(*build, "--offline").returncode:
        done = run(*build)
        assert done.returncode == 0, done.stderr
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Files under ``folder`` by relative path, without what Python compiled."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_wheel_installs_our_packages_and_nothing_else_at_the_top(unpacked: Path) -> None:
    names = {entry.name for entry in unpacked.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == set(PACKAGES)


def test_wheel_carries_assets_inside_datagen(unpacked: Path) -> None:
    assert files(unpacked / "datagen" / "assets") == files(ROOT / "assets")


@pytest.mark.parametrize("package", PACKAGES)
def test_wheel_carries_every_file_of_the_package(package: str, unpacked: Path) -> None:
    """Modules, presets, the viewer's page and templates, the Blender worker."""
    expected = files(ROOT / package)
    found = files(unpacked / package)
    assert {name: found.get(name) for name in expected} == expected


def test_wheel_reads_its_own_assets_and_presets(unpacked: Path) -> None:
    code = (
        "from datagen import resources\n"
        "from pipelines.cli.main import script\n"
        "print(resources.ASSETS)\n"
        "script()\n"
    )
    environment = {"PYTHONPATH": str(unpacked), "PYTHONDONTWRITEBYTECODE": "1"}
    done = run("-P", "-c", code, "dataset", "--preset", "real", "--print_config", **environment)
    assert done.returncode == 0, done.stderr
    assets, *config = done.stdout.splitlines()
    assert assets == str(unpacked / "datagen" / "assets")
    assert "name: real" in config
