"""The viewer's web application: routes, middleware, and headers of every response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from datagen.errors import UserError
from datagen.shards.reader import ShardUnreadable
from pipelines.view.access import Access
from pipelines.view.viewer import Viewer, json_response, read_body

STATIC = Path(__file__).parent / "static"
"""The page: HTML, CSS, JavaScript."""

VERSION_HEADER = "dataset-version"
"""The page's requests carry the version that ``/api/set`` gave it."""

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every response."""


def make_app(current: Callable[[], Viewer], access: Access) -> Starlette:
    """The web application (ASGI) of a viewer.

    Args:
        current: gives the viewer that answers an API request.
        access: requests that it does not allow are refused, with 400 for a Host header that is
            not in ``access.hosts`` and 403 for a missing token.
    """

    def answered_by(method: Callable[[Viewer, Request], Response]) -> Callable[[Request], Response]:
        return lambda request: method(_viewer_for(request, current), request)

    async def set_mark(request: Request) -> Response:
        body = await read_body(request)
        # In a thread: it may wait until another viewer has written the file.
        return await run_in_threadpool(
            lambda: _viewer_for(request, current).set_mark(request, body)
        )

    routes = [
        Route("/api/version", answered_by(Viewer.describe_version)),
        Route("/api/set", answered_by(Viewer.describe_dataset)),
        Route("/api/statistics", answered_by(Viewer.statistics)),
        Route("/api/suspects", answered_by(Viewer.suspects), methods=["GET", "POST"]),
        Route("/api/scenes", answered_by(Viewer.select)),
        Route("/api/export.html", answered_by(Viewer.export)),
        Route("/api/summaries", answered_by(Viewer.summaries)),
        Route("/api/scenes/{scene}", answered_by(Viewer.scene)),
        Route("/api/scenes/{scene}/flag", set_mark, methods=["POST"]),
        Route("/api/scenes/{scene}/other", answered_by(Viewer.other)),
        Route("/api/scenes/{scene}/other/{part}", answered_by(Viewer.other)),
        Route("/api/scenes/{scene}/{part}", answered_by(Viewer.part)),
        Route("/api/{rest:path}", _no_such_path),  # without it, a static file would be looked for
        Mount("/", StaticFiles(directory=STATIC, html=True)),
    ]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(_SecurityHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(access.hosts), www_redirect=False),
            Middleware(access.guard),
            Middleware(GZipMiddleware, minimum_size=20_000, compresslevel=1),
        ],
        exception_handlers={
            HTTPException: _http_error,
            ShardUnreadable: lambda request, error: _error_response(500, str(error)),
            UserError: lambda request, error: _error_response(410, str(error)),
            OSError: lambda request, error: _error_response(500, str(error)),
        },
    )


def _viewer_for(request: Request, current: Callable[[], Viewer]) -> Viewer:
    """The current viewer; 409 if the page that asks shows a former packing of the dataset, in which
    the numbers of scenes may have been others."""
    viewer = current()
    version = request.headers.get(VERSION_HEADER)
    if version is not None and version != viewer.version:
        raise HTTPException(409, "the dataset was packed again: load the page again")
    return viewer


class _SecurityHeaders:
    """Middleware (ASGI) that adds ``HEADERS`` to every response."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *more]
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _no_such_path(request: Request) -> Response:
    return _error_response(404, "the viewer has no such path")


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error_response(error.status_code, error.detail)


def _error_response(status: int, message: str) -> Response:
    return json_response({"error": message}, status)
