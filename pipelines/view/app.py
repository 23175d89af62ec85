"""The viewer's web application: routes, middleware, and headers of every response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
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
from pipelines.view.viewer import Viewer, json_response

STATIC = Path(__file__).parent / "static"
"""The page: HTML, CSS, JavaScript."""

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every response."""


def make_app(viewer: Viewer, access: Access) -> Starlette:
    """The web application (ASGI) of a viewer.

    Args:
        viewer: answers the API requests.
        access: requests that it does not allow are refused, with 400 for a Host header that is
            not in ``access.hosts`` and 403 for a missing token.
    """
    routes = [
        Route("/api/set", viewer.describe_dataset),
        Route("/api/statistics", viewer.statistics),
        Route("/api/suspects", viewer.suspects, methods=["GET", "POST"]),
        Route("/api/scenes", viewer.select),
        Route("/api/export.html", viewer.export),
        Route("/api/summaries", viewer.summaries),
        Route("/api/scenes/{scene}", viewer.scene),
        Route("/api/scenes/{scene}/flag", viewer.set_mark, methods=["POST"]),
        Route("/api/scenes/{scene}/other", viewer.other),
        Route("/api/scenes/{scene}/other/{part}", viewer.other),
        Route("/api/scenes/{scene}/{part}", viewer.part),
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
