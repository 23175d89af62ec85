"""Hypothesis draws the same examples every time, and the clock of a busy machine fails no test.

Tests that need Blender, Ray or a browser are marked ``external``, and those that need a catalogue
``slow``, by the fixtures that they use: `make check` leaves both out.
"""

from pathlib import Path

import pytest
from hypothesis import settings

EXTERNAL = {"renderer", "own_renderer", "job", "job_of", "tiny", "finished", "browser"}
"""Fixtures that start Blender, Ray or a browser, or that other such fixtures need."""

settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all workers of pytest-xdist share in one run of the tests."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def asset_cache(shared: Path) -> Path:
    """A cache of assets for all tests that do not care whether it was empty."""
    return shared / "cache"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if EXTERNAL & set(getattr(item, "fixturenames", ())):
            item.add_marker("external")
        if "asset_cache" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")
