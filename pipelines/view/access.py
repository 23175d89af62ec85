"""Who may ask: requests to a name that is ours, and from afar only with the token."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse

EVERYWHERE = ("0.0.0.0", "::")
"""Addresses that stand for all of a machine's."""


@dataclass(frozen=True)
class Access:
    """``hosts``: what the Host header may say, whatever its port; a page that had its name turned
    to our address (DNS rebinding) still says its own. Of a server at all addresses nobody knows
    the names; there the token, which such a page does not have, must do. ``token``: to be given
    once as ``?token=``, which leaves a cookie; "" where only this machine can ask."""

    hosts: tuple[str, ...]
    token: str = field(default="", repr=False)

    def guard(self, app: Any) -> Any:
        """Middleware that answers 403 to who has no token."""

        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http" or not self.token:
                await app(scope, receive, send)
                return
            request = HTTPConnection(scope)
            given = request.query_params.get("token", "")
            # By port: browsers send a host's cookies to all of its servers.
            cookie_name = f"sigma-view-{scope['server'][1]}"
            if not (self._fits(given) or self._fits(request.cookies.get(cookie_name, ""))):
                answer = PlainTextResponse("give the token that `sigma view` printed", 403)
                await answer(scope, receive, send)
                return

            async def with_cookie(message: Any) -> None:
                if given and message["type"] == "http.response.start":
                    cookie = f"{cookie_name}={self.token}; HttpOnly; SameSite=Strict; Path=/"
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
    hosts = ("*",) if host in EVERYWHERE else (host,)
    return Access(hosts, secrets.token_urlsafe(16))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
