"""What the page can ask for: bytes and JSON of a set of shards.

Scenes are asked for by number and parts of them by names from a list, never by path. What is
wrong with a sample is an answer (422), like what is not there (404) or no longer there (410).
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from datagen.errors import UserError
from datagen.shards.codec import BadSample
from datagen.shards.files import absolute
from datagen.shards.review_marks import MARKS
from pipelines.view.compare import Comparison
from pipelines.view.dataset_index import ORDERS, Catalogue, Facet, Query, Selection, marks_facet
from pipelines.view.export import export_page
from pipelines.view.review import Flagged
from pipelines.view.scenes import Scenes
from pipelines.view.statistics import histograms
from pipelines.view.suspects import KINDS, Search

MOST_SUMMARIES = 500
MOST_BODY = 1000


@dataclass(eq=False)
class Viewer:
    """``comparison``: with another set, if there is one."""

    catalogue: Catalogue
    flagged: Flagged
    comparison: Comparison | None = None

    def __post_init__(self) -> None:
        shards = self.catalogue.shards
        self.scenes = Scenes(shards)
        self.search = Search(shards)
        self._ids = {key: i for i, key in enumerate(self.catalogue.keys)}
        self._tells_how = shards.folder.exists("config.yaml")

    def marks(self) -> dict[str, Facet]:
        """The facets that change while one looks."""
        flags = self.flagged.flags()
        here = {self._ids[key]: [flag] for key, flag in flags.items() if key in self._ids}
        marks = {"flag": marks_facet(here, MARKS), "suspect": marks_facet(self.search.found, KINDS)}
        return marks | ({"compared": self.comparison.facet} if self.comparison else {})

    def about(self, request: Request) -> Response:
        manifest = self.catalogue.shards.manifest
        told = {
            "name": manifest.name,
            "place": self.catalogue.shards.folder.url,
            "scenes": len(self.catalogue),
            "shards": len(manifest.shards),
            "missing": manifest.missing,
            "faults": self.catalogue.faults,
            "orders": ORDERS,
            "flags": str(self.flagged.path),
        }
        if self.comparison:
            told["other"] = self.comparison.other.shards.folder.url
            told["only_there"] = self.comparison.only_there
        return answer(told)

    def statistics(self, request: Request) -> Response:
        return answer(histograms(self.catalogue.table))

    def chosen(self, filters: str) -> Selection:
        """By what the page's URL says. Raises UserError."""
        marks = self.marks()
        query = Query.parse(filters, (*self.catalogue.facets, *marks))
        return self.catalogue.select(query, marks)

    def page(self, filters: str) -> str:
        """The chosen scenes as a page of its own. Raises UserError."""
        keys = [self.catalogue.keys[i] for i in self.chosen(filters).ids]
        return "".join(export_page(self.catalogue.shards, keys))

    def select(self, request: Request) -> Response:
        """Which scenes, in which order, and how many there are of what."""
        with _mistakes():
            found = self.chosen(request.url.query)
        return answer({"ids": found.ids.tolist(), "facets": found.counts})

    def export(self, request: Request) -> Response:
        with _mistakes():
            page = self.page(request.url.query)
        # To be kept, not opened: here it would be one of our own pages.
        headers = {"Content-Disposition": 'attachment; filename="scenes.html"'}
        return Response(page, media_type="text/html", headers=headers)

    def summaries(self, request: Request) -> Response:
        """What a grid says below its pictures: ``?id=3&id=4``."""
        ids = [self._known(text) for text in request.query_params.getlist("id")[:MOST_SUMMARIES]]
        keys = [self.catalogue.keys[i] for i in ids]
        prompts, flags = self.catalogue.prompts, self.flagged.flags()
        return answer(
            [
                {"id": i, "key": key, "text": prompts[i], "flag": flags.get(key)}
                for i, key in zip(ids, keys, strict=True)
            ]
        )

    def scene(self, request: Request) -> Response:
        number, key = self._asked(request)
        more = {
            "flag": self.flagged.flags().get(key),
            "command": self._command(key),
            "compared": bool(self.comparison and self.comparison.has(key)),
        }
        return answer(_told(self.scenes, number, key) | more)

    def part(self, request: Request) -> Response:
        _, key = self._asked(request)
        return _part(self.scenes, key, request.path_params["part"])

    def other(self, request: Request) -> Response:
        """The scene of the same key in the set that this one is compared with, or a part of it."""
        number, key = self._asked(request)
        if not (self.comparison and self.comparison.has(key)):
            raise HTTPException(404, f"no other set has {key}")
        part = request.path_params.get("part")
        if part is not None:
            return _part(self.comparison.scenes, key, part)
        return answer(_told(self.comparison.scenes, number, key))

    def suspects(self, request: Request) -> Response:
        """How far the search has come; a POST begins it."""
        if request.method == "POST":
            _expect_json(request)
            self.search.start()
        return answer({"done": self.search.done, "total": len(self.catalogue)})

    async def flag(self, request: Request) -> Response:
        """JSON ``{"flag": "keep" | "drop" | ""}``."""
        _expect_json(request)
        _, key = self._asked(request)
        try:
            flag = msgspec.json.decode(await _body(request), type=dict[str, str])["flag"]
        except (msgspec.MsgspecError, KeyError):
            raise HTTPException(400, 'expected {"flag": ...}') from None
        chosen = next((known for known in MARKS if known == flag), None)
        if flag and chosen is None:
            raise HTTPException(400, f"flag: {flag!r}, expected keep, drop or nothing")
        self.flagged.set(key, chosen)
        return answer({"flag": flag})

    def _command(self, key: str) -> str:
        """Makes a scene again; "" where the set does not say how it was made."""
        if not self._tells_how:
            return ""
        sigma = "sigma" if shutil.which("sigma") else str(Path(sys.executable).with_name("sigma"))
        config = f"{absolute(self.catalogue.shards.folder.url)}/config.yaml"
        words = [sigma, "dataset", "--preset", config, "--only", key, "--out", f"out/{key}"]
        return shlex.join(words)

    def _asked(self, request: Request) -> tuple[int, str]:
        number = self._known(request.path_params["scene"])
        return number, self.catalogue.keys[number]

    def _known(self, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 12):
            raise HTTPException(404, "scenes are asked for by number")
        number = int(text)
        if number >= len(self.catalogue):
            raise HTTPException(404, f"there are {len(self.catalogue)} scenes, from 0")
        return number


@contextmanager
def _mistakes() -> Iterator[None]:
    """What is asked for cannot be."""
    try:
        yield
    except UserError as error:
        raise HTTPException(400, str(error)) from None


def answer(value: Any, status: int = 200) -> Response:
    """JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def _body(request: Request) -> bytes:
    """Of a request that has little to say; a long one is not read to its end."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY:
            raise HTTPException(413, f"expected {MOST_BODY} bytes at most")
    return body


def _expect_json(request: Request) -> None:
    """Another site's form cannot send this type, and its script may not."""
    if request.headers.get("content-type") != "application/json":
        raise HTTPException(415, "expected application/json")


def _told(scenes: Scenes, number: int, key: str) -> dict[str, Any]:
    told: dict[str, Any] = {"id": number, "key": key, "shard": scenes.shards.shard_of(key)}
    try:
        return told | scenes.told(key)
    except BadSample as error:
        return told | {"broken": error.what}
    except UserError as error:
        return told | {"broken": str(error)}


def _part(scenes: Scenes, key: str, part: str) -> Response:
    try:
        data, media = scenes.part(key, part)
    except KeyError:
        raise HTTPException(404, "no such part of a scene") from None
    except BadSample as error:
        raise HTTPException(422, error.what) from None
    return Response(data, media_type=media)
