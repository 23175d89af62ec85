"""Hypothesis draws the same examples every time, and the clock of a busy machine fails no test.

Tests that need Blender, Ray or a browser are marked ``external``, by the fixtures that they use:
`make check` leaves them out.
"""

import pytest
from hypothesis import settings

EXTERNAL = {"renderer", "own", "job_of", "tiny", "finished", "browser"}
"""Fixtures that start Blender, Ray or a browser, or that other such fixtures need."""

settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if EXTERNAL & set(getattr(item, "fixturenames", ())):
            item.add_marker("external")
