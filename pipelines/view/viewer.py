"""The viewer's API: answers the page's requests with JSON and bytes from a dataset.

The page requests scenes by number and parts of scenes by a name from a list, never by path. A
damaged sample is answered with status 422, a scene or part that does not exist with 404, a shard
that is missing with 410.
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
from pipelines.view.dataset_index import ORDERS, DatasetIndex, Facet, Query, Selection, facet_of
from pipelines.view.export import export_page
from pipelines.view.review import ReviewMarks
from pipelines.view.scenes import CONTROLS, Scenes
from pipelines.view.statistics import histograms
from pipelines.view.suspects import KINDS, SuspectSearch

MAX_SUMMARIES = 500
"""Scenes per request for summaries; more are ignored."""
MAX_BODY = 1000
"""Bytes in the body of a request."""


@dataclass(eq=False)
class Viewer:
    """Answers the API requests. Its public methods that take a ``Request`` are endpoints."""

    index: DatasetIndex
    review_marks: ReviewMarks
    comparison: Comparison | None = None
    version: str = ""
    """Differs once the dataset was packed again."""

    def __post_init__(self) -> None:
        shards = self.index.shards
        self.scenes = Scenes(shards)
        self.suspect_search = SuspectSearch(shards)
        self._ids = {key: i for i, key in enumerate(self.index.keys)}
        self._has_config = shards.folder.exists("config.yaml")

    def changing_facets(self) -> dict[str, Facet]:
        """The facets that are not in the index because they can change while the viewer runs:
        review marks, results of the search for suspects, and the comparison if there is one."""
        marks = self.review_marks.marks()
        marks_by_id = {self._ids[key]: [mark] for key, mark in marks.items() if key in self._ids}
        facets = {
            "flag": facet_of(marks_by_id, MARKS),
            "suspect": facet_of(self.suspect_search.found, KINDS),
        }
        return facets | ({"compared": self.comparison.facet} if self.comparison else {})

    def describe_version(self, request: Request) -> Response:
        """The version of the dataset, for pages that ask whether it was packed again."""
        return json_response({"version": self.version})

    def describe_dataset(self, request: Request) -> Response:
        """The dataset: name, location, counts, what is missing, and what the page offers."""
        manifest = self.index.shards.manifest
        description = {
            "version": self.version,
            "name": manifest.name,
            "place": self.index.shards.folder.url,
            "scenes": len(self.index),
            "shards": len(manifest.shards),
            "missing": manifest.missing,
            "problems": self.index.problems,
            "orders": ORDERS,
            "controls": [
                {"name": name, "label": kind.label, "has_depth": kind.has_depth}
                for name, kind in CONTROLS.items()
            ],
            "flags": str(self.review_marks.path),
        }
        if self.comparison:
            description["other"] = self.comparison.other.shards.folder.url
            description["only_there"] = self.comparison.only_there
        return json_response(description)

    def statistics(self, request: Request) -> Response:
        """The histograms of the dataset."""
        return json_response(histograms(self.index.table))

    def selection(self, filters: str) -> Selection:
        """The scenes that the query string of the page's URL selects. Raises UserError."""
        changing = self.changing_facets()
        query = Query.parse(filters, (*self.index.facets, *changing))
        return self.index.select(query, changing)

    def exported_page(self, filters: str) -> str:
        """The selected scenes as one HTML page. Raises UserError."""
        keys = [self.index.keys[i] for i in self.selection(filters).ids]
        return "".join(export_page(self.index.shards, keys))

    def select(self, request: Request) -> Response:
        """Ids of the selected scenes in order, the counts of every facet, and the facets of which
        some scene of the dataset has a value, selected or not."""
        with _user_error_is_bad_request():
            selection = self.selection(request.url.query)
        facets = self.index.facets | self.changing_facets()
        return json_response(
            {
                "ids": selection.ids.tolist(),
                "facets": selection.counts,
                "offered": [name for name in selection.counts if len(facets[name].scenes)],
            }
        )

    def export(self, request: Request) -> Response:
        """The selected scenes as one HTML page, to download."""
        with _user_error_is_bad_request():
            page = self.exported_page(request.url.query)
        # A download, because a page opened from this server would be trusted like the viewer's own.
        headers = {"Content-Disposition": 'attachment; filename="scenes.html"'}
        return Response(page, media_type="text/html", headers=headers)

    def summaries(self, request: Request) -> Response:
        """Key, prompt, captions and review mark of several scenes, as in ``?id=3&id=4``."""
        texts = request.query_params.getlist("id")[:MAX_SUMMARIES]
        ids = [self._parse_id(text) for text in texts]
        keys = [self.index.keys[i] for i in ids]
        index, marks = self.index, self.review_marks.marks()
        return json_response(
            [
                {
                    "id": i,
                    "key": key,
                    "text": index.prompts[i],
                    "subjects": index.captions[i],
                    "flag": marks.get(key),
                }
                for i, key in zip(ids, keys, strict=True)
            ]
        )

    def scene(self, request: Request) -> Response:
        """Everything about one scene that is not an image."""
        number, key = self._requested_scene(request)
        more = {
            "flag": self.review_marks.marks().get(key),
            "command": self._command(key),
            "compared": bool(self.comparison and self.comparison.has(key)),
        }
        return json_response(_describe(self.scenes, number, key) | more)

    def part(self, request: Request) -> Response:
        """An image or array of one scene."""
        _, key = self._requested_scene(request)
        return _part_response(self.scenes, key, request.path_params["part"])

    def other(self, request: Request) -> Response:
        """The scene with the same key in the dataset that is compared with, or a part of it."""
        number, key = self._requested_scene(request)
        if not (self.comparison and self.comparison.has(key)):
            raise HTTPException(404, f"there is no other dataset that has {key}")
        part = request.path_params.get("part")
        if part is not None:
            return _part_response(self.comparison.scenes, key, part)
        return json_response(_describe(self.comparison.scenes, number, key))

    def suspects(self, request: Request) -> Response:
        """Progress of the search for suspects. POST starts the search."""
        if request.method == "POST":
            _require_json(request)
            self.suspect_search.start()
        return json_response({"done": self.suspect_search.done, "total": len(self.index)})

    def set_mark(self, request: Request, body: bytes) -> Response:
        """Set the review mark of a scene from JSON ``{"flag": "keep" | "drop" | ""}``."""
        _require_json(request)
        _, key = self._requested_scene(request)
        try:
            text = msgspec.json.decode(body, type=dict[str, str])["flag"]
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
            raise HTTPException(400, 'expected {"flag": ...} in UTF-8') from None
        mark = next((known for known in MARKS if known == text), None)
        if text and mark is None:
            raise HTTPException(400, f'flag: {text!r}, expected "keep", "drop" or ""')
        self.review_marks.set_mark(key, mark)
        return json_response({"flag": text})

    def _command(self, key: str) -> str:
        """A shell command that makes the scene again; empty if the dataset has no config.yaml."""
        if not self._has_config:
            return ""
        sigma = "sigma" if shutil.which("sigma") else str(Path(sys.executable).with_name("sigma"))
        config = f"{absolute(self.index.shards.folder.url)}/config.yaml"
        words = [sigma, "dataset", "--preset", config, "--only", key, "--out", f"out/{key}"]
        return shlex.join(words)

    def _requested_scene(self, request: Request) -> tuple[int, str]:
        """Id and key of the scene in the request's path."""
        number = self._parse_id(request.path_params["scene"])
        return number, self.index.keys[number]

    def _parse_id(self, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 12):
            raise HTTPException(404, "scenes are requested by number")
        number = int(text)
        if number >= len(self.index):
            raise HTTPException(404, f"there are {len(self.index)} scenes, numbered from 0")
        return number


@contextmanager
def _user_error_is_bad_request() -> Iterator[None]:
    """Answer 400 to a UserError: here its cause is the request."""
    try:
        yield
    except UserError as error:
        raise HTTPException(400, str(error)) from None


def json_response(value: Any, status: int = 200) -> Response:
    """``value`` as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def read_body(request: Request) -> bytes:
    """The body of a request. Reading stops at ``MAX_BODY``."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"expected {MAX_BODY} bytes at most")
    return body


def _require_json(request: Request) -> None:
    """Protect from requests of other sites: their forms cannot send this type, and browsers do not
    let their scripts send it."""
    if request.headers.get("content-type") != "application/json":
        raise HTTPException(415, "expected application/json")


def _describe(scenes: Scenes, number: int, key: str) -> dict[str, Any]:
    """``Scenes.describe`` with id and shard; of a damaged scene ``broken``, the reason."""
    location: dict[str, Any] = {"id": number, "key": key, "shard": scenes.shards.shard_of(key)}
    try:
        return location | scenes.describe(key)
    except BadSample as error:
        return location | {"broken": error.what}
    except UserError as error:
        return location | {"broken": str(error)}


def _part_response(scenes: Scenes, key: str, part: str) -> Response:
    try:
        data, media = scenes.part(key, part)
    except KeyError:
        raise HTTPException(404, "no such part of a scene") from None
    except BadSample as error:
        raise HTTPException(422, error.what) from None
    return Response(data, media_type=media)
