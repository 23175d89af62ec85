"""Access to the viewer's server: Host header and token."""

from __future__ import annotations

import socket
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from pipelines.view.access import Access, access_to
from tests.pipelines.view.conftest import serve


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1.example.org", "localhost.example.org", ""]
)
def test_unknown_host_header_is_refused(served, host):
    assert served.request("/api/set", Host=host)[0] == 400
    assert served.request("/api/set", Host="localhost:1")[0] == 200


@pytest.mark.parametrize("host", ["127.0.0.2", "0:0:0:0:0:0:0:1"])
def test_printed_address_answers(make_shards, host):
    with serve(make_shards(), "--host", host) as running:
        with urlopen(f"{running.address}api/set") as response:
            assert response.status == 200
        with pytest.raises(HTTPError, match="400"):
            urlopen(Request(f"{running.address}api/set", headers={"Host": "example.org"}))


def test_access_from_other_machines_needs_a_token():
    for name, address in (("LOCALHOST", "127.0.0.1"), ("127.1", "127.0.0.1"), ("::1", "::1")):
        assert not access_to(name, address).token
    assert len(access_to("0.0.0.0", "0.0.0.0").token) > 20
    assert access_to("Box", "192.0.2.1").hosts == ("box", "192.0.2.1")
    assert access_to("::", "::").token != access_to("::", "::").token
    assert "secret" not in repr(Access(("*",), "secret"))


def test_token_in_the_url_sets_a_cookie(make_shards):
    with serve(make_shards(), "--host", "0.0.0.0") as running:
        token = running.address.partition("token=")[2]
        assert running.request("/api/set")[0] == 403
        assert running.request("/")[0] == 403
        assert running.request("/api/set?token=wrong")[0] == 403
        assert running.request("/api/set", Cookie="sigma-view=wrong")[0] == 403
        name = socket.gethostname()
        assert running.address.startswith(f"http://{name}:")  # a name that other machines can use
        status, _, headers = running.request(f"/?token={token}")
        assert status == 200
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie
        own = cookie.partition(";")[0]
        assert running.request("/api/set", Cookie=own)[0] == 200
        # Cookies of other servers on this host, one of them another viewer.
        others = "odd/name=1; sigma-view-1=another; =; plain"
        assert running.request("/api/set", Cookie=f"{others}; {own}")[0] == 200
        assert running.request("/api/set", Cookie=others)[0] == 403
