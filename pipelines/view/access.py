"""Access control of the viewer: allowed Host headers, and a token for other machines."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse

ALL_ADDRESSES = ("0.0.0.0", "::")
"""Addresses to bind to that mean all addresses of a machine."""


@dataclass(frozen=True)
class Access:
    """Who may use the server."""

    hosts: tuple[str, ...]
    """Allowed values of the Host header, without the port; ``("*",)`` allows all. This stops DNS
    rebinding: a web page whose name was redirected to our address still sends its own name as
    Host. A server bound to all addresses cannot know its names; there the token protects, because
    such a page does not have it."""
    token: str = field(default="", repr=False)
    """A client sends it once as ``?token=`` and gets it as a cookie. Empty: no token is needed,
    because only this machine can connect."""

    def guard(self, app: Any) -> Any:
        """Middleware (ASGI) that answers 403 to requests without the token."""

        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http" or not self.token:
                await app(scope, receive, send)
                return
            request = HTTPConnection(scope)
            query_token = request.query_params.get("token", "")
            # The name has the port: browsers send a host's cookies to all servers of that host.
            cookie_name = f"sigma-view-{scope['server'][1]}"
            cookie_token = request.cookies.get(cookie_name, "")
            if not (self._is_token(query_token) or self._is_token(cookie_token)):
                refusal = PlainTextResponse("give the token that `sigma view` printed", 403)
                await refusal(scope, receive, send)
                return

            async def send_with_cookie(message: Any) -> None:
                if query_token and message["type"] == "http.response.start":
                    cookie = f"{cookie_name}={self.token}; HttpOnly; SameSite=Strict; Path=/"
                    message["headers"] = [*message["headers"], (b"set-cookie", cookie.encode())]
                await send(message)

            await app(scope, receive, send_with_cookie)

        return guarded

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self.token.encode())


def access_to(name: str, address: str) -> Access:
    """The access to a server. Without a token on the loopback interface, with a new random token
    elsewhere.

    Args:
        name: the IP address or host name that the server was asked to listen on.
        address: the IP address that it listens on.
    """
    if address in ALL_ADDRESSES:
        return Access(("*",), secrets.token_urlsafe(16))
    own = (in_url(name), in_url(address))
    if ipaddress.ip_address(address).is_loopback:
        return Access(tuple(dict.fromkeys((*own, "127.0.0.1", "localhost", "[::1]"))))
    return Access(tuple(dict.fromkeys(own)), secrets.token_urlsafe(16))


def in_url(host: str) -> str:
    """An IP address or host name as browsers write it in a URL and in the Host header."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower()
    return f"[{address}]" if address.version == 6 else str(address)
