"""`sigma view`: run the viewer's server, or export scenes to one HTML page."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvicorn

from datagen.atomic import write_file
from datagen.errors import UserError
from pipelines.view.access import ALL_ADDRESSES, access_to, in_url
from pipelines.view.app import make_app
from pipelines.view.reload import ViewerLoader


def view(
    shards: str,
    marks_file: Path | None,
    host: str,
    port: int,
    announce: Callable[[str], None],
    compare: str = "",
) -> None:
    """Serve the viewer until SIGINT.

    Args:
        shards: a folder of shards, an fsspec URL or one tar.
        marks_file: where review marks are kept; None for ``default_marks_file(shards)``.
        host: the address to listen on.
        port: the port to listen on, 0 for any free port.
        announce: called with the URL, token included, once the server listens.
        compare: another dataset to show beside this one; empty for none.

    Raises:
        UserError: a dataset or the file of marks cannot be read; the server cannot listen on
            ``host`` and ``port``.
    """
    loader = ViewerLoader(shards, marks_file, compare)
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
        address, bound_port = listening.getsockname()[:2]
        access = access_to(host, address)
        # On all addresses, the host name is what other machines most likely know.
        name = socket.gethostname() if address in ALL_ADDRESSES else host
        token = f"/?token={access.token}" if access.token else "/"
        announce(f"http://{in_url(name)}:{bound_port}{token}")
        app = make_app(loader.current, access)
        config = uvicorn.Config(app, log_level="error", lifespan="off", server_header=False)
        with suppress(KeyboardInterrupt):  # the normal way to stop the server
            uvicorn.Server(config).run(sockets=[listening])


def export(shards: str, marks_file: Path | None, filters: str, out: Path) -> None:
    """Write selected scenes as one HTML page.

    Args:
        shards: a folder of shards, an fsspec URL or one tar.
        marks_file: review marks to filter by; None for ``default_marks_file(shards)``.
        filters: query string of the viewer's URL, such as ``flag=keep&q=red``.
        out: the HTML file to write.

    Raises:
        UserError: the dataset cannot be read, ``filters`` are not valid, or they select no scene or
            too many.
    """
    viewer = ViewerLoader(shards, marks_file).current()
    write_file(out, viewer.exported_page(filters).encode())
