"""The error that a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """A mistake of the user's: one line that says what is wrong, where, what was expected, and
    how to mend it. The command line prints it without a traceback."""
