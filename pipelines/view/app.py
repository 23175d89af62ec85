"""The viewer's server: which path leads where, and what every answer carries."""

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
from pipelines.view.access import Access
from pipelines.view.viewer import Viewer, answer

STATIC = Path(__file__).parent / "static"

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def make_app(viewer: Viewer, access: Access) -> Starlette:
    """Only requests that name one of ``access.hosts`` are answered."""
    routes = [
        Route("/api/set", viewer.about),
        Route("/api/statistics", viewer.statistics),
        Route("/api/suspects", viewer.suspects, methods=["GET", "POST"]),
        Route("/api/scenes", viewer.select),
        Route("/api/export.html", viewer.export),
        Route("/api/summaries", viewer.summaries),
        Route("/api/scenes/{scene}", viewer.scene),
        Route("/api/scenes/{scene}/flag", viewer.flag, methods=["POST"]),
        Route("/api/scenes/{scene}/other", viewer.other),
        Route("/api/scenes/{scene}/other/{part}", viewer.other),
        Route("/api/scenes/{scene}/{part}", viewer.part),
        Route("/api/{rest:path}", _unknown),  # or pages would be looked for under that name
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
            OSError: lambda request, error: _told(500, str(error)),
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


def _unknown(request: Request) -> Response:
    return _told(404, "the viewer has no such thing")


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _told(error.status_code, error.detail)


def _told(status: int, message: str) -> Response:
    return answer({"error": message}, status)
