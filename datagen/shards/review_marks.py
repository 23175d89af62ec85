"""Review marks: which scenes a person wants to keep or to drop.

A text file with one line ``keep KEY`` or ``drop KEY`` per scene. `sigma view` writes it, and so may
a text editor; `sigma pack --exclude` leaves out the scenes that are marked ``drop``. ``#`` begins a
remark. Several viewers may write to the file at once, if its filesystem has locks (``flock``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from filelock import FileLock, Timeout

from datagen.atomic import write_file
from datagen.errors import UserError
from datagen.shards import tar

Mark = Literal["keep", "drop"]
MARKS: tuple[Mark, ...] = ("keep", "drop")
LOCK_SECONDS = 10
"""How long to wait for another program that holds the lock. Writing takes milliseconds."""


def read_marks(path: Path) -> dict[str, Mark]:
    """Read the marks of a file, by key; none where there is no file. ``#`` begins a remark.

    Raises:
        UserError: the file is not a text in UTF-8, or a line is not a mark; the error names it.
    """
    return {line.key: line.mark for line in _read_lines(path) if line.mark}


def set_mark(path: Path, key: str, mark: Mark | None) -> None:
    """Set the mark of a scene, or remove it.

    Other lines stay as they are, and so does a remark on the line of the mark. The file is replaced
    as a whole, or not at all. A lock file beside it keeps other processes from writing meanwhile.

    Args:
        path: the file; it is created where there is none.
        key: the scene's key.
        mark: its new mark; None removes the one that it has.

    Raises:
        UserError: the file holds something else than marks and remarks, and stays as it is; another
            program holds the lock for longer than ``LOCK_SECONDS``.
        OSError: the file cannot be written.
    """
    path = path.resolve()  # a link stays a link, and its target has one lock
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    try:
        with FileLock(lock, timeout=LOCK_SECONDS):
            lines = _read_lines(path)
            texts = [line.text for line in lines if line.key != key]
            remarks = "".join(
                f"  {line.remark}" for line in lines if line.key == key and line.remark
            )
            if mark is not None:
                texts.append(f"{mark} {key}{remarks}")
            elif remarks:
                texts.append(f"# {key}{remarks}")
            write_file(path, "".join(f"{text}\n" for text in texts).encode(), durable=True)
    except Timeout:
        raise UserError(
            f"{path}: another program has kept it locked for {LOCK_SECONDS} s; end that program"
        ) from None


class _Line(NamedTuple):
    text: str
    """The line as it stands in the file."""
    mark: Mark | None = None
    key: str = ""
    """Empty in a line without a mark."""
    remark: str = ""
    """From ``#`` on."""


def _read_lines(path: Path) -> list[_Line]:
    """The lines of a file of marks; none where there is no file. Raises UserError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: {error}; expected lines of `keep KEY` or `drop KEY` in UTF-8"
        ) from None
    # Not splitlines, which ends a line at characters that a remark may contain.
    lines = text.removesuffix("\n").split("\n") if text else []
    return [_parse_line(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]


def _parse_line(text: str, where: str) -> _Line:
    marked, sign, remark = text.partition("#")
    words = marked.split()
    if not words:
        return _Line(text)
    mark = next((mark for mark in MARKS if [mark] == words[:1]), None)
    if mark is None or len(words) != 2 or not tar.is_key(words[1]):
        raise UserError(f"{where}: {text!r}, expected `keep KEY` or `drop KEY`")
    return _Line(text, mark, words[1], (sign + remark).rstrip())
