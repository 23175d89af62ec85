"""Fixtures of the tests that read models."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """An empty folder for models."""
    (tmp_path / "models").mkdir()
    return tmp_path / "models"
