"""The output folder of a dataset job while scenes are made: one file per finished scene, one
small file per event.

Files appear only as a whole, and their names depend on nothing but the scene and the event: to
write one twice, from two workers or again after a crash, changes nothing.
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
    """Why a scene was not finished this time.

    Attributes:
        key: the scene's key.
        kind: "refused" by the quality gate, or "failed" with an error.
        number: the draw that was refused, or the attempt that failed.
        stage: name of the stage.
        reason: a short phrase, to be counted.
        message: for a reader.
        log_tail: the end of the renderer's log, for a reader.
    """

    key: str
    kind: Literal["refused", "failed"]
    number: int
    stage: str
    reason: str
    message: str
    log_tail: str


@dataclass(frozen=True)
class Store:
    """Finished scenes and events of a job. It may be pickled and used by many processes.

    Attributes:
        root: the output folder, a path or an fsspec URL.
    """

    root: str

    def commit(self, key: str, fragment: bytes) -> bool:
        """Store a finished scene. Once this returns, a power cut does not undo it.

        Args:
            key: the scene's key.
            fragment: the encoded sample.

        Returns:
            False where the scene was stored already: then nothing is written.

        Raises:
            BadSample: the fragment is damaged, or has another key.
        """
        found = codec.member_list(fragment)[0].key
        if found != key:
            raise codec.BadSample(key, "", f"the fragment has the key {found}")
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
        """The encoded sample of a finished scene. Raises FileNotFoundError."""
        return self._folder.read(_scene(key))

    def record(self, event: Event) -> None:
        """Store an event. The first one of a key, kind and number stays."""
        if not tar.is_key(event.key):
            raise ValueError(f"{event.key!r} is not a key")
        name = f"events/{event.key}.{event.kind}.{event.number:04d}.json"
        if not self._folder.exists(name):
            self._folder.write(name, msgspec.json.encode(event, order="deterministic"))

    def events(self) -> tuple[Event, ...]:
        """All events, ordered by key, kind and number. Raises UserError for a damaged one."""
        names = [name for name in self._folder.names("events") if name.endswith(".json")]
        texts = self._folder.read_many([f"events/{name}" for name in names])
        events = []
        for name, text in zip(names, texts, strict=True):
            try:
                events.append(msgspec.json.decode(text, type=Event))
            except msgspec.MsgspecError as error:
                raise UserError(
                    f"{self.root}/events/{name}: {error}; delete it: only an event is lost"
                ) from None
        return tuple(sorted(events, key=lambda event: (event.key, event.kind, event.number)))

    def sweep(self) -> None:
        """Remove the temporary files of killed workers. Call it only while no worker runs."""
        self._folder.sweep("scenes")
        self._folder.sweep("events")

    @property
    def _folder(self) -> Folder:
        return Folder(self.root)


def _scene(key: str) -> str:
    if not tar.is_key(key):
        raise ValueError(f"{key!r} is not a key")
    return f"scenes/{key}.tar"
