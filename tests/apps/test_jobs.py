"""Jobs run in their own process: events arrive in order with pixels, errors arrive as themselves."""
import os
from pathlib import Path

import pytest
import torch

from dipir.apps.jobs import Job, JobFailed, run
from dipir.errors import SceneError
from dipir.fit.loop import Event


def work(scene, config, *, out, on_event):
    """A method small enough to watch; what it does is told by ``config``."""
    image = torch.arange(12.0).reshape(1, 3, 2, 2)
    for step in range(3):
        on_event(Event(scene, step + 1, 3, None, {"pid": os.getpid()}, {"composite": image * step}))
    if config == "user":
        raise SceneError("no ground in view")
    if config == "bug":
        raise ZeroDivisionError("one over nothing")
    if config == "die":
        os._exit(7)
    Path(out, "result").write_text(config)


def test_events_come_in_order_from_another_process(tmp_path):
    events = list(run(Job(work, "yard", "fine", tmp_path)))
    assert [e.step for e in events] == [1, 2, 3] and {e.stage for e in events} == {"yard"}
    assert torch.equal(events[2].images["composite"], torch.arange(12.0).reshape(1, 3, 2, 2) * 2)
    assert {e.scalars["pid"] for e in events} != {os.getpid()}
    assert (tmp_path / "result").read_text() == "fine"


@pytest.mark.parametrize("config, kind, text", [("user", SceneError, "^no ground in view$"),
                                                ("bug", JobFailed, "ZeroDivisionError: one over nothing"),
                                                ("die", JobFailed, "code 7")])
def test_errors_come_across(tmp_path, config, kind, text):
    with pytest.raises(kind, match=text):
        list(run(Job(work, "yard", config, tmp_path)))


def test_leaving_early_stops_the_process(tmp_path):
    events = run(Job(work, "yard", "fine", tmp_path))
    pid = next(events).scalars["pid"]
    events.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
