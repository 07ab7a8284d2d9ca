"""The live socket: what a page sends and gets; slow pages get the newest picture only."""
from __future__ import annotations

import asyncio
import json

import pytest

pytest.importorskip("starlette")
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient

from dipir.errors import ConfigError, SceneError
from dipir.studio import live
from dipir.studio.live import Page, Pages, frame, serve_socket


def test_a_frame_is_length_json_jpeg():
    data = frame({"n": 3, "kind": "drag"}, b"\xff\xd8picture")
    length = int.from_bytes(data[:4], "little")
    assert json.loads(data[4:4 + length]) == {"n": 3, "kind": "drag"} and data[4 + length:] == b"\xff\xd8picture"


def test_what_waits_is_events_then_the_newest_state_and_picture():
    async def run():
        page = Page()
        page.tell({"event": "state", "state": 1})
        page.tell({"event": "note", "text": "a"})
        page.tell({"event": "state", "state": 2})
        page.tell({"event": "note", "text": "b"})
        page.show(b"one")
        page.show(b"two")
        items = await page.next()
        assert [json.loads(i) if isinstance(i, str) else i for i in items] == [
            {"event": "note", "text": "a"}, {"event": "note", "text": "b"}, {"event": "state", "state": 2}, b"two"]
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(page.next(), 0.02)

    asyncio.run(run())


def test_a_page_that_reads_nothing_takes_no_more_memory():
    async def run():
        page = Page()
        for k in range(10000):
            page.tell({"event": "note", "text": str(k)})
            page.show(bytes(1000))
        assert len(await page.next()) == live._WAITING + 1

    asyncio.run(run())


@pytest.fixture
def served():
    pages, heard = Pages(), []

    def said(message):
        heard.append(message)
        if message.get("fail"):
            raise SceneError("no ground there")
        pages.tell({"event": "note", "text": "done"})
        pages.show(b"picture")

    async def endpoint(socket):
        await serve_socket(socket, pages, lambda: {"rev": 7}, said)

    client = TestClient(Starlette(routes=[WebSocketRoute("/api/live", endpoint)]))
    return client, pages, heard


def test_a_page_gets_the_state_and_what_its_edits_lead_to(served):
    client, pages, heard = served
    with client.websocket_connect("/api/live") as socket:
        assert socket.receive_json() == {"event": "state", "state": {"rev": 7}}
        socket.send_json({"n": 12, "edit": {"op": "x"}})
        assert socket.receive_json() == {"event": "note", "text": "done"} and socket.receive_bytes() == b"picture"
        socket.send_json({"n": 13, "fail": True})
        assert socket.receive_json() == {"event": "error", "text": "no ground there", "n": 13}
        for text in ("{", "[1]", "3", "[" * 100000):
            socket.send_text(text)
            assert "could not be read" in socket.receive_json()["text"]
        socket.send_json({"n": True, "fail": 1})
        assert socket.receive_json()["n"] is True or heard
    assert heard[0] == {"n": 12, "edit": {"op": "x"}}


def test_all_pages_hear_and_one_that_closes_is_forgotten(served):
    client, pages, _ = served
    with client.websocket_connect("/api/live") as one:
        with client.websocket_connect("/api/live") as two:
            for socket in (one, two):
                socket.receive_json()
            one.send_json({"edit": {}})
            for socket in (one, two):
                assert socket.receive_json()["event"] == "note" and socket.receive_bytes() == b"picture"
            assert len(pages) == 2
        one.send_json({"edit": {}})
        assert one.receive_json()["event"] == "note" and one.receive_bytes() == b"picture"
        with client.websocket_connect("/api/live") as late:
            assert late.receive_json()["event"] == "state" and late.receive_bytes() == b"picture"
    assert len(pages) == 0


def test_there_is_an_end_to_pages(served, monkeypatch):
    monkeypatch.setattr(live, "MOST_SOCKETS", 1)
    client, pages, _ = served
    with client.websocket_connect("/api/live") as one:
        one.receive_json()
        with client.websocket_connect("/api/live") as two:
            assert "close one of them" in two.receive_json()["text"]
        with pytest.raises(ConfigError), pages.opened():
            pass
