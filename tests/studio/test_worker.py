"""The worker's thread: calls in order, only the newest picture, idle work that gives way."""
from __future__ import annotations

import asyncio
import threading
import time

import pytest

from dipir.studio.worker import Ending, Superseded, Worker


class Recording:
    """An easel that notes what it was asked; ``gate`` holds it up."""

    def __init__(self) -> None:
        self.shown, self.rests, self.stopped, self.threads = [], 0, 0, set()
        self.gate, self.entered, self.idle = threading.Event(), threading.Event(), 0
        self.gate.set()

    def show(self, wish, newer) -> None:
        self.threads.add(threading.get_ident())
        self.entered.set()
        self.gate.wait(10)
        if wish == "bad":
            raise ZeroDivisionError
        self.shown.append(wish)
        self.idle = 3

    def rest(self, newer):
        self.threads.add(threading.get_ident())
        if not self.idle:
            return None
        self.rests += 1
        while self.idle == 99:
            self.entered.set()
            time.sleep(0.001)
            if newer():
                self.stopped += 1
                self.idle = 0
                raise Superseded
        self.idle -= 1
        return 0.0


@pytest.fixture
def easel():
    return Recording()


@pytest.fixture
def worker(easel):
    worker = Worker(easel)
    worker.start()
    yield worker
    easel.gate.set()
    worker.stop()


def until(ready) -> None:
    end = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_calls_come_back_in_their_order_from_one_thread(worker):
    done = []

    async def all_of_them():
        return await asyncio.gather(*(worker.call(lambda k=k: (done.append(k), threading.get_ident(), k)[1:])
                                      for k in range(20)))

    answers = asyncio.run(all_of_them())
    assert done == list(range(20)) and [k for _, k in answers] == done
    assert {thread for thread, _ in answers} != {threading.get_ident()} and len({t for t, _ in answers}) == 1


def test_an_exception_goes_to_who_called(worker):
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(worker.call(fail))
    assert asyncio.run(worker.call(lambda: 5)) == 5


def test_of_pictures_only_the_newest_is_made(worker, easel):
    easel.gate.clear()
    worker.wish(0)
    assert easel.entered.wait(10)
    for k in range(1, 50):
        worker.wish(k)
    easel.gate.set()
    until(lambda: len(easel.shown) == 2)
    assert easel.shown == [0, 49]


def test_idle_work_follows_and_gives_way(worker, easel):
    worker.wish("a")
    until(lambda: easel.rests == 3)
    easel.idle = 99
    easel.entered.clear()
    assert asyncio.run(worker.call(lambda: 1)) == 1
    assert easel.entered.wait(10)
    worker.wish("b")
    until(lambda: easel.shown == ["a", "b"])
    assert easel.stopped == 1 and len(easel.threads) == 1


def test_one_bad_picture_is_not_the_end(worker, easel, capfd):
    worker.wish("bad")
    until(easel.entered.is_set)
    until(lambda: not worker.newer())
    worker.wish("good")
    until(lambda: easel.shown == ["good"])
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_who_waits_for_a_long_call_is_told_at_once(easel):
    worker, go, entered = Worker(easel), threading.Event(), threading.Event()
    worker.start()

    async def waiting():
        call = asyncio.ensure_future(worker.call(lambda: entered.set() or go.wait(10)))
        await asyncio.to_thread(entered.wait, 10)
        stopping = asyncio.ensure_future(asyncio.to_thread(worker.stop))
        with pytest.raises(Ending):
            await call
        go.set()
        await stopping

    asyncio.run(waiting())


def test_stopping_gives_up_what_waits(easel):
    worker = Worker(easel)
    worker.start()
    easel.gate.clear()
    worker.wish("slow")
    assert easel.entered.wait(10)

    async def waiting():
        call = asyncio.ensure_future(worker.call(lambda: 1))
        await asyncio.sleep(0)
        stopping = asyncio.ensure_future(asyncio.to_thread(worker.stop))
        with pytest.raises(Ending, match="session is kept"):
            await call
        easel.gate.set()
        await stopping
        with pytest.raises(Ending):
            await worker.call(lambda: 1)

    asyncio.run(waiting())
