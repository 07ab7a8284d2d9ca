"""The one thread that owns Mitsuba, torch and previews: calls in their order, the newest picture, then idle work."""
from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from dipir.errors import DipirError

T = TypeVar("T")


class Superseded(Exception):
    """Idle work stops: something newer is wanted."""


class Ending(DipirError):
    """What was asked for is not made any more."""

    status = 503

    def __init__(self) -> None:
        super().__init__("the studio is ending; start it again with `dipir studio`: the session is kept.")


class Easel(Protocol):
    """What makes pictures in the worker's thread."""

    def show(self, wish: Any, newer: Callable[[], bool]) -> None:
        """Make a picture now. ``newer()`` : whether something newer is wanted meanwhile."""

    def rest(self, newer: Callable[[], bool]) -> float | None:
        """Do one piece of idle work if its time has come. Seconds until there is some; None = nothing to do."""


class Worker:
    """Owner of the thread. Its methods may be called from any other thread."""

    def __init__(self, easel: Easel) -> None:
        self._easel = easel
        self._calls: deque[tuple[Future, Callable, tuple]] = deque()
        self._wish: Any = None
        self._news = threading.Condition()
        self._stopped, self._running = False, None
        self._thread = threading.Thread(target=self._run, name="dipir-studio-worker", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """Let it end after what it is doing; who waits for something is told so (Ending)."""
        with self._news:
            self._stopped = True
            for future in (self._running, *(call[0] for call in self._calls)):
                if future is not None and not future.done():
                    future.set_exception(Ending())
            self._calls.clear()
            self._news.notify_all()
        if self._thread.is_alive():
            self._thread.join(seconds)

    async def call(self, function: Callable[..., T], *given: Any) -> T:
        """Its value, worked out in the thread after the calls before it; its exception where it raises one. Ending when
        the worker stops."""
        future: Future = Future()
        with self._news:
            if self._stopped:
                raise Ending
            self._calls.append((future, function, given))
            self._news.notify_all()
        return await asyncio.wrap_future(future)

    def wish(self, wish: Any) -> None:
        """A picture that is wanted, in place of one that waits."""
        with self._news:
            self._wish = wish
            self._news.notify_all()

    def newer(self) -> bool:
        """Whether something waits."""
        return self._stopped or bool(self._calls) or self._wish is not None

    # ---- in the thread ----
    def _run(self) -> None:
        wait: float | None = 0.0
        while True:
            with self._news:
                if not self.newer() and (wait is None or wait > 0):
                    self._news.wait(wait)
                if self._stopped:
                    return
                call = self._calls.popleft() if self._calls else None
                wish = None if call else self._wish
                if wish is not None:
                    self._wish = None
            if call:
                self._answer(*call)
                wait = 0.0
            elif wish is not None:
                self._guarded(self._easel.show, wish)
                wait = 0.0
            else:
                wait = self._guarded(self._easel.rest)

    def _answer(self, future: Future, function: Callable, given: tuple) -> None:
        if not future.set_running_or_notify_cancel():
            return
        self._running, answer, problem = future, None, None
        try:
            answer = function(*given)
        except BaseException as raised:
            problem = raised
        with self._news:
            self._running = None
            if future.done():
                # Stopped meanwhile.
                return
            if problem is None:
                future.set_result(answer)
            else:
                future.set_exception(problem)

    def _guarded(self, work: Callable, *given: Any) -> float | None:
        """The thread outlives whatever happens to one picture."""
        try:
            return work(*given, self.newer)
        except Superseded:
            return 0.0
        except Exception:
            traceback.print_exc(file=sys.stderr)
            return None
