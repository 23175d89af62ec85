"""Hypothesis draws the same examples every time, and the clock of a busy machine fails no test."""

from hypothesis import settings

settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")
