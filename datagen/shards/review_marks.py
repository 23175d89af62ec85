"""What a person thought of scenes: a text file with a line ``keep KEY`` or ``drop KEY`` each.

`sigma view` writes it, `sigma pack --exclude` leaves out what it drops; a text editor will do, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from datagen.errors import UserError
from datagen.shards import tar
from datagen.shards.files import Folder

Flag = Literal["keep", "drop"]
FLAGS: tuple[Flag, ...] = ("keep", "drop")


def read_flags(path: Path) -> dict[str, Flag]:
    """By key; none where there is no file. What follows ``#`` is a remark. Raises UserError."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: {error}; expected lines of `keep KEY` or `drop KEY`") from None
    flags: dict[str, Flag] = {}
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or words[0] not in FLAGS or not tar.is_key(words[1]):
            raise UserError(f"{path}:{number}: {line!r}, expected `keep KEY` or `drop KEY`")
        flags[words[1]] = words[0]
    return flags


def set_flag(path: Path, key: str, flag: Flag | None) -> None:
    """Give a scene ``flag`` in place of the one that it has, or none. Other lines stay as they
    are; the file is changed whole, or not at all. Raises UserError, OSError."""
    flags = read_flags(path)  # also refuses to add to a file that is something else
    lines = path.read_text().splitlines() if flags else []
    kept = [line for line in lines if line.partition("#")[0].split()[1:] != [key]]
    if flag is not None:
        kept.append(f"{flag} {key}")
    text = "".join(f"{line}\n" for line in kept)
    Folder(str(path.parent)).write(path.name, text.encode())
