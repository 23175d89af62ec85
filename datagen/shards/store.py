"""OUT while it fills: one file a finished scene, one small file an event.

Files only ever appear whole, and a name says everything about when: writing twice, from two
workers, or again after a crash, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from datagen.errors import UserError
from datagen.shards import codec, tar
from datagen.shards.files import Folder


@dataclass(frozen=True)
class Event:
    """Something that kept a scene from being finished. ``number`` is the draw of a scene that
    the gate "refused", the attempt of one that "failed". ``stage`` and ``reason`` are short
    and countable, ``message`` and ``log_tail`` for a reader."""

    key: str
    kind: Literal["refused", "failed"]
    number: int
    stage: str
    reason: str
    message: str
    log_tail: str


@dataclass(frozen=True)
class Store:
    """``root``: a path or an fsspec URL. May be pickled and used from many processes."""

    root: str

    def commit(self, key: str, fragment: bytes) -> bool:
        """Keeps a finished scene; once this returns, a power cut does not undo it. False, and
        nothing done, where the scene is there already. Raises BadSample for a fragment that is
        not of ``key``."""
        found = codec.member_list(fragment)[0].key
        if found != key:
            raise codec.BadSample(key, "", f"the fragment is of {found}")
        name = _scene(key)
        if self._folder.exists(name):
            return False
        self._folder.write(name, fragment)
        return True

    def committed(self) -> set[str]:
        """Keys of the finished scenes."""
        names = self._folder.names("scenes")
        return {name.removesuffix(".tar") for name in names if name.endswith(".tar")}

    def read(self, key: str) -> bytes:
        """The fragment of a finished scene. Raises FileNotFoundError."""
        return self._folder.read(_scene(key))

    def record(self, event: Event) -> None:
        """Keeps an event; the first of its key, kind and number stays."""
        if not tar.is_key(event.key):
            raise ValueError(f"{event.key!r} is no key")
        name = f"events/{event.key}.{event.kind}.{event.number:04d}.json"
        if not self._folder.exists(name):
            self._folder.write(name, msgspec.json.encode(event, order="deterministic"))

    def events(self) -> tuple[Event, ...]:
        """All events, by key, kind and number. Raises UserError."""
        names = [name for name in self._folder.names("events") if name.endswith(".json")]
        texts = self._folder.read_many([f"events/{name}" for name in names])
        events = []
        for name, text in zip(names, texts, strict=True):
            try:
                events.append(msgspec.json.decode(text, type=Event))
            except msgspec.MsgspecError as error:
                raise UserError(
                    f"{self.root}/events/{name}: {error}; delete it: an event is lost, no scene"
                ) from None
        return tuple(sorted(events, key=lambda event: (event.key, event.kind, event.number)))

    def sweep(self) -> None:
        """Removes the temporary files of killed workers. Only while no worker runs."""
        self._folder.sweep("scenes")
        self._folder.sweep("events")

    @property
    def _folder(self) -> Folder:
        return Folder(self.root)


def _scene(key: str) -> str:
    if not tar.is_key(key):
        raise ValueError(f"{key!r} is no key")
    return f"scenes/{key}.tar"
