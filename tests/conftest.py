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
    # The jobs first: they take longest, and two processes then end together.
    items.sort(key=lambda item: (item.path.name != "test_job.py", not _is_external(item)))


def _is_external(item: pytest.Item) -> bool:
    return item.get_closest_marker("external") is not None
