"""Review marks: which scenes a person wants to keep or to drop.

A text file with one line ``keep KEY`` or ``drop KEY`` per scene. `sigma view` writes it, and so may
a text editor; `sigma pack --exclude` leaves out the scenes that are marked ``drop``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from datagen.errors import UserError
from datagen.shards import tar
from datagen.shards.files import Folder

Mark = Literal["keep", "drop"]
MARKS: tuple[Mark, ...] = ("keep", "drop")


def read_marks(path: Path) -> dict[str, Mark]:
    """Read the marks of a file, by key; none where there is no file. ``#`` begins a comment.

    Raises:
        UserError: a line is not a mark; the error names it.
    """
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: {error}; expected lines of `keep KEY` or `drop KEY`") from None
    marks: dict[str, Mark] = {}
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or words[0] not in MARKS or not tar.is_key(words[1]):
            raise UserError(f"{path}:{number}: {line!r}, expected `keep KEY` or `drop KEY`")
        marks[words[1]] = words[0]
    return marks


def set_mark(path: Path, key: str, mark: Mark | None) -> None:
    """Set the mark of a scene, or remove it.

    Other lines stay as they are. The file is replaced as a whole, or not at all.

    Args:
        path: the file; it is created where there is none.
        key: the scene's key.
        mark: its new mark; None removes the one that it has.

    Raises:
        UserError: the file holds something else than marks.
        OSError: the file cannot be written.
    """
    marks = read_marks(path)  # also refuses a file that holds something else
    lines = path.read_text().splitlines() if marks else []
    kept = [line for line in lines if line.partition("#")[0].split()[1:] != [key]]
    if mark is not None:
        kept.append(f"{mark} {key}")
    text = "".join(f"{line}\n" for line in kept)
    Folder(str(path.parent)).write(path.name, text.encode())
