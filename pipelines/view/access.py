"""Who may ask: requests to a name that is ours, and from afar only with the token."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import PlainTextResponse

COOKIE = "sigma-view"


@dataclass(frozen=True)
class Access:
    """``hosts``: what the Host header may say, whatever its port; a page that had its name turned
    to our address (DNS rebinding) still says its own. ``token``: to be given once as ``?token=``,
    which leaves a cookie; "" where only this machine can ask."""

    hosts: tuple[str, ...]
    token: str = field(default="", repr=False)

    def guard(self, app: Any) -> Any:
        """Middleware that answers 403 to who has no token."""

        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http" or not self.token:
                await app(scope, receive, send)
                return
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if not (self._fits(given) or self._fits(_cookie(scope))):
                answer = PlainTextResponse("give the token that `sigma view` printed", 403)
                await answer(scope, receive, send)
                return

            async def with_cookie(message: Any) -> None:
                if given and message["type"] == "http.response.start":
                    cookie = f"{COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/"
                    message["headers"] = [*message["headers"], (b"set-cookie", cookie.encode())]
                await send(message)

            await app(scope, receive, with_cookie)

        return guarded

    def _fits(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self.token.encode())


def access_to(host: str) -> Access:
    """For a server that is bound to ``host``."""
    if _is_loopback(host):
        return Access(("127.0.0.1", "localhost", "[::1]"))
    everywhere = host in ("0.0.0.0", "::")
    return Access(("*",) if everywhere else (host,), secrets.token_urlsafe(16))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _cookie(scope: Any) -> str:
    found: SimpleCookie = SimpleCookie()
    try:
        for name, value in scope["headers"]:
            if name == b"cookie":
                found.load(value.decode("latin-1"))
    except CookieError:
        return ""
    return found[COOKIE].value if COOKIE in found else ""
