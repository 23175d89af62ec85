"""The viewer's server: bytes and JSON of one set of shards, and the page that shows them.

Scenes are asked for by number and parts of them by names from a list, never by path. What is
wrong with a sample is an answer (422), like what is not there (404) or no longer there (410).
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from datagen.scene import UserError
from datagen.shards.codec import BadSample
from datagen.shards.flags import FLAGS, Flag, read_flags, write_flags
from pipelines.view.access import Access
from pipelines.view.catalogue import ORDERS, Catalogue, Facet, Query, marks_facet
from pipelines.view.scenes import Scenes

STATIC = Path(__file__).parent / "static"
MOST_SUMMARIES = 500

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(eq=False)
class Viewer:
    """``flags`` is a file that is read once and written at every change."""

    catalogue: Catalogue
    flags: Path
    marked: dict[str, Flag] = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.scenes = Scenes(self.catalogue.shards)
        self.marked = read_flags(self.flags)
        self._ids = {key: i for i, key in enumerate(self.catalogue.keys)}

    def marks(self) -> dict[str, Facet]:
        here = {self._ids[k]: [flag] for k, flag in self.marked.items() if k in self._ids}
        return {"flag": marks_facet(here, FLAGS)}

    def mark(self, key: str, flag: str) -> None:
        """``flag``: one of ``FLAGS``, or "" for none. Raises OSError."""
        with self._lock:
            marked = {k: f for k, f in self.marked.items() if k != key}
            if flag in FLAGS:
                marked[key] = flag
            write_flags(self.flags, marked)
            self.marked = marked

    def about(self, request: Request) -> Response:
        manifest = self.catalogue.shards.manifest
        return _json(
            {
                "name": manifest.name,
                "place": self.catalogue.shards.folder.url,
                "scenes": len(self.catalogue),
                "planned": manifest.planned,
                "orders": ORDERS,
                "flags": str(self.flags),
                "facets": [*self.catalogue.facets, *self.marks()],
            }
        )

    def search(self, request: Request) -> Response:
        """Which scenes, in which order, and how many there are of what."""
        marks = self.marks()
        asked = request.query_params
        order = asked.get("order", ORDERS[0])
        if order not in ORDERS:
            raise HTTPException(400, f"order: {order!r}, expected one of {', '.join(ORDERS)}")
        query = Query(
            chosen={name: tuple(asked.getlist(name)) for name in (*self.catalogue.facets, *marks)},
            words=tuple(asked.get("q", "").lower().split()),
            order=order,
            descending="descending" in asked,
        )
        found = self.catalogue.select(query, marks)
        return _json({"ids": found.ids.tolist(), "facets": found.counts})

    def summaries(self, request: Request) -> Response:
        """What a grid says below its pictures: ``?id=3&id=4``."""
        ids = [self._known(text) for text in request.query_params.getlist("id")[:MOST_SUMMARIES]]
        keys = [self.catalogue.keys[i] for i in ids]
        return _json(
            [
                {
                    "id": i,
                    "key": key,
                    "text": self.catalogue.prompts[i],
                    "flag": self.marked.get(key),
                }
                for i, key in zip(ids, keys, strict=True)
            ]
        )

    def scene(self, request: Request) -> Response:
        number, key = self._asked(request)
        shards = self.catalogue.shards
        told = {
            "id": number,
            "key": key,
            "shard": shards.shard_of(key),
            "flag": self.marked.get(key),
        }
        try:
            told |= self.scenes.told(key)
        except (BadSample, UserError) as error:
            told["broken"] = str(error)
        return _json(told)

    def part(self, request: Request) -> Response:
        _, key = self._asked(request)
        try:
            data, media = self.scenes.part(key, request.path_params["part"])
        except KeyError:
            raise HTTPException(404, "no such part of a scene") from None
        except BadSample as error:
            raise HTTPException(422, str(error)) from None
        return Response(data, media_type=media)

    async def flag(self, request: Request) -> Response:
        """JSON ``{"flag": "keep" | "drop" | ""}``. Another site's form cannot send this type, and
        its script may not."""
        if request.headers.get("content-type") != "application/json":
            raise HTTPException(415, "expected application/json")
        _, key = self._asked(request)
        try:
            flag = msgspec.json.decode(await request.body(), type=dict[str, str])["flag"]
        except (msgspec.MsgspecError, KeyError):
            raise HTTPException(400, 'expected {"flag": ...}') from None
        if flag not in ("", *FLAGS):
            raise HTTPException(400, f"flag: {flag!r}, expected keep, drop or nothing")
        self.mark(key, flag)
        return _json({"flag": flag})

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


def make_app(viewer: Viewer, access: Access) -> Starlette:
    """Only requests that name one of ``access.hosts`` are answered."""
    routes = [
        Route("/api/set", viewer.about),
        Route("/api/scenes", viewer.search),
        Route("/api/summaries", viewer.summaries),
        Route("/api/scenes/{scene}", viewer.scene),
        Route("/api/scenes/{scene}/flag", viewer.flag, methods=["POST"]),
        Route("/api/scenes/{scene}/{part}", viewer.part),
        Mount("/", StaticFiles(directory=STATIC, html=True)),
    ]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(_Headers),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(access.hosts), www_redirect=False),
            Middleware(access.guard),
            Middleware(GZipMiddleware, minimum_size=20_000, compresslevel=1),
        ],
        exception_handlers={
            HTTPException: _refused,
            UserError: lambda request, error: _told(410, str(error)),
            OSError: lambda request, error: _told(500, f"{error.strerror or error}"),
        },
    )


class _Headers:
    """``HEADERS`` on every answer."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *more]
            await send(message)

        await self.app(scope, receive, with_headers)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _told(error.status_code, error.detail)


def _told(status: int, message: str) -> Response:
    return _json({"error": message}, status)


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
