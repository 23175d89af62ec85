"""Who may ask the viewer's server, and by which name."""

from __future__ import annotations

import socket

import pytest

from pipelines.view.access import Access, access_to
from tests.pipelines.view.conftest import serve


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1.example.org", "localhost.example.org", ""]
)
def test_another_name_for_this_machine_is_refused(served, host):
    assert served.ask("/api/set", Host=host)[0] == 400
    assert served.ask("/api/set", Host="localhost:1")[0] == 200


def test_from_afar_a_token_is_asked_for():
    assert access_to("127.0.0.1") == access_to("localhost") == access_to("127.8.8.8")
    assert not access_to("127.0.0.1").token
    assert len(access_to("0.0.0.0").token) > 20
    assert access_to("192.0.2.1").hosts == ("192.0.2.1",)
    assert access_to("0.0.0.0").token != access_to("0.0.0.0").token
    assert "secret" not in repr(Access(("*",), "secret"))


def test_the_token_opens_once_and_for_all(made):
    with serve(made(), "--host", "0.0.0.0") as running:
        token = running.address.partition("token=")[2]
        assert running.ask("/api/set")[0] == 403
        assert running.ask("/")[0] == 403
        assert running.ask("/api/set?token=wrong")[0] == 403
        assert running.ask("/api/set", Cookie="sigma-view=wrong")[0] == 403
        name = socket.gethostname()
        assert running.address.startswith(f"http://{name}:")  # what another machine can ask for
        status, _, headers = running.ask(f"/?token={token}")
        assert status == 200
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie
        mine = cookie.partition(";")[0]
        assert running.ask("/api/set", Cookie=mine)[0] == 200
        # Other servers of this host have left theirs, one of them another viewer.
        others = "odd/name=1; sigma-view-1=another; =; plain"
        assert running.ask("/api/set", Cookie=f"{others}; {mine}")[0] == 200
        assert running.ask("/api/set", Cookie=others)[0] == 403
