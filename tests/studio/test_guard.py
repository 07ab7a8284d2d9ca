"""The door: token, cookie, Host, Origin; for pages, for the API and for the live socket."""
from __future__ import annotations

import hmac

import pytest

pytest.importorskip("starlette")
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from dipir.studio import guard
from dipir.studio.guard import Guard, address_of, host_names, new_token, opens

OURS, TOKEN = "127.0.0.1:8765", "the-token"
PAGE = {"host": OURS, "origin": f"http://{OURS}"}


async def _fine(request):
    return PlainTextResponse("fine")


async def _socket(socket):
    await socket.accept()
    await socket.send_text("fine")
    await socket.close()


@pytest.fixture
def door() -> Guard:
    methods = ["GET", "POST", "DELETE"]
    app = Starlette(routes=[Route("/", _fine), Route("/api/edit", _fine, methods=methods),
                            Route("/static/a.js", _fine), WebSocketRoute("/api/live", _socket)])
    return Guard(app, TOKEN, host_names("127.0.0.1", 8765), 8765)


@pytest.fixture
def stranger(door) -> TestClient:
    return TestClient(door, base_url=f"http://{OURS}", follow_redirects=False)


@pytest.fixture
def friend(door) -> TestClient:
    client = TestClient(door, base_url=f"http://{OURS}", follow_redirects=False)
    assert client.get(f"/?token={TOKEN}").status_code == 303
    return client


def refused(answer, says: str) -> None:
    assert answer.status_code == 403 and says in answer.text
    assert answer.text.count("\n") == 1 and "fine" not in answer.text
    assert answer.headers["content-type"].startswith("text/plain")


# ------------------------------------------------------------------------------------------------- token and cookie
def test_the_token_is_exchanged_for_a_cookie_that_scripts_and_other_sites_do_not_get(stranger):
    answer = stranger.get(f"/?token={TOKEN}")
    assert answer.status_code == 303 and answer.headers["location"] == "/" and answer.text == ""
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie and TOKEN not in cookie
    assert stranger.get("/").text == "fine"


@pytest.mark.parametrize("path", ["/", "/?token=", "/?token=the-tokem", "/?token=the-token2", "/?toke=the-token",
                                  "/api/edit", "/api/edit?token=the-token", "/static/a.js", "/nothing", "/?token=ä"])
def test_nothing_without_it(stranger, path):
    refused(stranger.get(path), "?token=")


@pytest.mark.parametrize("cookie", ["x", "", "the-token", "\"", "a;b=c"])
def test_another_cookie_is_none(stranger, door, cookie):
    refused(stranger.get("/", headers={"cookie": f"{door.cookie}={cookie}"}), "?token=")


def test_the_cookie_of_another_studio_is_none(friend):
    other = Guard(_fine, TOKEN, host_names("127.0.0.1", 8765), 8765)
    client = TestClient(other, base_url=f"http://{OURS}")
    refused(client.get("/", headers={"cookie": f"{other.cookie}={friend.cookies[other.cookie]}"}), "?token=")


def test_secrets_are_compared_in_constant_time(stranger, monkeypatch):
    asked, really = [], hmac.compare_digest

    def compare(given, ours):
        asked.append((given, ours))
        return really(given, ours)

    monkeypatch.setattr(guard.hmac, "compare_digest", compare)
    stranger.get("/?token=wrong")
    assert asked == [(b"wrong", TOKEN.encode())]


def test_tokens_are_long_and_never_the_same():
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100 and min(map(len, tokens)) >= 32


# ----------------------------------------------------------------------------------------------------- Host, Origin
@pytest.mark.parametrize("host", ["evil.example:8765", "127.0.0.1", "127.0.0.1:80", "localhost:8766", "[::1]:8765", ""])
def test_other_names_are_refused_even_with_the_cookie(friend, host):
    refused(friend.get("/", headers={"host": host}), "--host")
    refused(friend.get(f"/?token={TOKEN}", headers={"host": host}), "--host")


def test_localhost_is_a_name_of_ours(friend):
    cookie = "; ".join(f"{k}={v}" for k, v in friend.cookies.items())
    assert friend.get("/", headers={"host": "localhost:8765", "cookie": cookie}).text == "fine"


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_changes_need_the_origin(friend, method):
    assert friend.request(method, "/api/edit", headers={"origin": f"http://{OURS}"}).text == "fine"
    refused(friend.request(method, "/api/edit"), "another page")
    for origin in ("http://evil.example", "null", "https://127.0.0.1:8765", "http://127.0.0.1:8765.evil.example"):
        refused(friend.request(method, "/api/edit", headers={"origin": origin}), "another page")


def test_a_foreign_origin_is_refused_when_only_reading_too(friend):
    refused(friend.get("/", headers={"origin": "http://evil.example"}), "another page")


def test_the_socket_needs_cookie_host_and_origin(friend, stranger):
    good = {**PAGE, "cookie": "; ".join(f"{k}={v}" for k, v in friend.cookies.items())}
    with friend.websocket_connect("/api/live", headers=good) as socket:
        assert socket.receive_text() == "fine"
    for bad in (PAGE, {k: v for k, v in good.items() if k != "origin"}, {**good, "origin": "http://a.b"},
                {**good, "host": "a.b:8765"}, {**good, "cookie": good["cookie"][:-1]}):
        with pytest.raises(WebSocketDisconnect) as caught, stranger.websocket_connect("/api/live", headers=bad):
            pass
        assert caught.value.code == 1008


# ---------------------------------------------------------------------------------------------------------- headers
def test_every_answer_has_our_headers(friend, stranger):
    for answer in (friend.get("/"), friend.get("/static/a.js"), friend.get("/api/edit"), stranger.get("/")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert "img-src 'self' blob: data:" in policy and f"connect-src 'self' ws://{OURS}" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert friend.get("/api/edit").headers["cache-control"] == "no-store"


def test_a_foreign_host_does_not_get_into_the_policy(stranger):
    policy = stranger.get("/", headers={"host": "evil.example; script-src *"}).headers["content-security-policy"]
    assert "evil" not in policy


# ------------------------------------------------------------------------------------------------------------ names
def test_names_of_a_host():
    assert host_names("127.0.0.1", 80) == ("127.0.0.1:80", "localhost:80")
    assert "studio.lan:80" in host_names("studio.lan", 80)
    everywhere = host_names("0.0.0.0", 80)
    assert len(everywhere) > 2 and not any(name.startswith("0.0.0.0") for name in everywhere)


@pytest.mark.parametrize("host, address", [
    ("127.0.0.1", "http://127.0.0.1:80/"), ("0.0.0.0", "http://127.0.0.1:80/"), ("10.0.0.3", "http://10.0.0.3:80/"),
    ("::1", "http://[::1]:80/"), ("studio.lan", "http://studio.lan:80/")])
def test_the_printed_address_is_one_that_it_answers_to(host, address):
    assert address_of(host, 80) == address
    assert address.removeprefix("http://").rstrip("/") in host_names(host, 80)


def test_what_listening_elsewhere_opens_is_said_in_words():
    assert opens("127.0.0.1") == opens("localhost") == ""
    assert "every network" in opens("0.0.0.0") and "nothing is encrypted" in opens("10.0.0.3")
