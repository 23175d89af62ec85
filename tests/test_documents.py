"""The documents: their links exist, their `sigma` commands exist, the citation is current."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from pipelines.cli.main import VERBS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_and_images_of_the_page_exist(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    files = [target.partition("#")[0] for target in targets if "://" not in target]
    assert [file for file in files if not (page.parent / file).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sigma_commands_of_the_page_exist(page: Path) -> None:
    commands = re.findall(r"(?:^|`|/)sigma ((?:assets )?[a-z]+)", page.read_text(), re.M)
    assert set(commands) <= set(VERBS)


def test_readme_lists_every_sigma_command() -> None:
    table = (ROOT / "README.md").read_text().partition("## Commands")[2]
    assert set(re.findall(r"^\| `sigma ((?:assets )?[a-z]+)", table, re.M)) == set(VERBS)


def test_index_of_docs_lists_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    for page in ROOT.glob("docs/*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index


def test_every_image_of_docs_is_shown_and_below_200_kb() -> None:
    shown = "".join(page.read_text() for page in PAGES)
    for image in ROOT.glob("docs/images/*.jpg"):
        assert f"images/{image.name})" in shown
        assert image.stat().st_size < 200_000


def test_citation_names_the_version_and_licence_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["cff-version"] == "1.2.0"
