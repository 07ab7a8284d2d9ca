"""The live socket: edits come in while a person drags, states and pictures go out to every open page."""
from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from dipir.errors import ConfigError, DipirError

MOST_SOCKETS = 16
_WAITING = 200


def frame(about: Mapping[str, Any], jpeg: bytes) -> bytes:
    """A picture as it is sent: 4 bytes little-endian length of the JSON, the JSON, the JPEG."""
    head = json.dumps(dict(about), separators=(",", ":")).encode()
    return len(head).to_bytes(4, "little") + head + jpeg


class Page:
    """One open page. What is sent never waits for a slow reader: of pictures only the newest is kept."""

    def __init__(self) -> None:
        self._texts: deque[str] = deque(maxlen=_WAITING)
        self._picture: bytes | None = None
        self._state: str | None = None
        self._news = asyncio.Event()

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a text event; of states only the newest."""
        text = json.dumps(dict(message), allow_nan=False)
        if message.get("event") == "state":
            self._state = text
        else:
            self._texts.append(text)
        self._news.set()

    def show(self, picture: bytes) -> None:
        """Send a picture, in place of one that waits."""
        self._picture = picture
        self._news.set()

    async def next(self) -> list[str | bytes]:
        """All that waits, once there is something: events in their order, the state, the picture."""
        await self._news.wait()
        self._news.clear()
        waiting: list[str | bytes] = list(self._texts)
        self._texts.clear()
        waiting += [item for item in (self._state, self._picture) if item is not None]
        self._state = self._picture = None
        return waiting


class Pages:
    """All open pages."""

    def __init__(self) -> None:
        self._open: set[Page] = set()
        self._newest: bytes | None = None

    def __len__(self) -> int:
        return len(self._open)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a text event to all."""
        for page in self._open:
            page.tell(message)

    def show(self, picture: bytes) -> None:
        """Send a picture to all; pages that come later begin with it."""
        self._newest = picture
        for page in self._open:
            page.show(picture)

    @contextlib.contextmanager
    def opened(self):
        """A page, as long as its socket is open. ConfigError for one too many."""
        if len(self._open) >= MOST_SOCKETS:
            raise ConfigError(f"{MOST_SOCKETS} pages show this session already; close one of them.")
        page = Page()
        if self._newest is not None:
            page.show(self._newest)
        self._open.add(page)
        try:
            yield page
        finally:
            self._open.discard(page)


async def serve_socket(socket: WebSocket, pages: Pages, state: Callable[[], dict],
                       said: Callable[[Mapping[str, Any]], None]) -> None:
    """One socket until it closes. ``said`` does what a page asks for; DipirErrors of it go back to that page."""
    await socket.accept()
    try:
        with pages.opened() as page:
            page.tell({"event": "state", "state": state()})
            sender = asyncio.create_task(_send(socket, page))
            try:
                while True:
                    await _hear(socket, page, said)
            finally:
                sender.cancel()
    except ConfigError as problem:
        await socket.send_text(json.dumps({"event": "error", "text": str(problem), "n": None}))
        await socket.close(1013)
    except (WebSocketDisconnect, RuntimeError):
        return


async def _hear(socket: WebSocket, page: Page, said: Callable[[Mapping[str, Any]], None]) -> None:
    text, number = await socket.receive_text(), None
    try:
        message = json.loads(text)
        if not isinstance(message, dict):
            raise ValueError("no mapping")
        number = message.get("n") if isinstance(message.get("n"), int) else None
        said(message)
    except (ValueError, RecursionError) as problem:
        page.tell({"event": "error", "text": f"a message of the page could not be read ({problem}); reload it.",
                   "n": number})
    except DipirError as problem:
        page.tell({"event": "error", "text": str(problem), "n": number})


async def _send(socket: WebSocket, page: Page) -> None:
    with contextlib.suppress(RuntimeError, WebSocketDisconnect, OSError):
        while True:
            for item in await page.next():
                await (socket.send_bytes(item) if isinstance(item, bytes) else socket.send_text(item))
