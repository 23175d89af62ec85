"""``sigma view``: the server, for as long as it is wanted; or a page that needs none."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvicorn

from datagen.errors import UserError
from pipelines.view.access import EVERYWHERE, access_to
from pipelines.view.app import make_app
from pipelines.view.compare import Comparison
from pipelines.view.dataset_index import open_catalogue
from pipelines.view.review import Flagged, flags_of
from pipelines.view.viewer import Viewer


def view(
    shards: str,
    flags: Path | None,
    host: str,
    port: int,
    told: Callable[[str], None],
    compare: str = "",
) -> None:
    """Serve until interrupted. ``told`` gets the address. ``port`` 0: any that is free.
    ``compare``: another set, to be seen beside. Raises UserError."""
    catalogue = open_catalogue(shards)
    comparison = Comparison(catalogue, open_catalogue(compare)) if compare else None
    viewer = Viewer(catalogue, Flagged(flags or flags_of(shards)), comparison)
    access = access_to(host)
    if not 0 <= port < 2**16:
        raise UserError(f"--port: {port}, expected 0 to 65535")
    try:
        listening = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        raise UserError(
            f"{host}:{port}: {error.strerror or error}; choose another --port, or --port 0"
        ) from None
    with listening:
        # What other machines may know this one by, where it listens at all of its addresses.
        name = socket.gethostname() if host in EVERYWHERE else host
        place = f"[{name}]" if ":" in name else name
        token = f"/?token={access.token}" if access.token else "/"
        told(f"http://{place}:{listening.getsockname()[1]}{token}")
        config = uvicorn.Config(
            make_app(viewer, access), log_level="error", lifespan="off", server_header=False
        )
        with suppress(KeyboardInterrupt):  # its ordinary end
            uvicorn.Server(config).run(sockets=[listening])


def export(shards: str, flags: Path | None, filters: str, out: Path) -> None:
    """Write the scenes that ``filters``, a query string of the viewer, leaves. Raises UserError."""
    viewer = Viewer(open_catalogue(shards), Flagged(flags or flags_of(shards)))
    out.write_text(viewer.page(filters))
