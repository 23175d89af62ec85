"""The error that a user can mend, and the words for errors of the operating system."""

from __future__ import annotations

import errno

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class UserError(Exception):
    """A mistake of the user's: one line that says what is wrong, where, what was expected, and
    how to mend it. The command line prints it without a traceback."""


def is_out_of_space(error: BaseException) -> bool:
    """Whether a file could not be written because the disk, a quota or a limit on sizes is full."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM


def os_error_line(error: OSError) -> str:
    """One line for the user: the file, what the system says, and what to do where that is known."""
    where = f"{error.filename}: " if error.filename else ""
    mend = "; make room there, then run the same command again" if is_out_of_space(error) else ""
    return f"{where}{error.strerror or error}{mend}"
