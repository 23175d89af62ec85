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


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if EXTERNAL & set(getattr(item, "fixturenames", ())):
            item.add_marker("external")
        # One process runs all whole jobs, one after the other: two of them on two cores would
        # wait for each other longer than they save. The other process runs the rest, by file.
        group = "jobs" if _is_whole_job(item) else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: not _is_whole_job(item))


def _is_whole_job(item: pytest.Item) -> bool:
    return item.path.name in ("test_job.py", "test_end_to_end.py")
