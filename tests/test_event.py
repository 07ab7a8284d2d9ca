"""dipir.event: what every listener reads, at hand without torch."""
from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from dipir.event import Event, Remark, between_pieces, is_warning, stoppable, warn, warnings_in


def test_reports_are_fixed_and_share_nothing():
    a, b = Event("fit", 3, 10), Event("fit", 4, 10)
    assert a.seconds_left is None and a.scalars == {} and a.images == {}
    assert a.scalars is not b.scalars and a.images is not b.images
    with pytest.raises(FrozenInstanceError):
        a.step = 5


def test_a_remark_is_a_text_that_knows_whether_it_warns():
    note, warning = "a.obj: grey", warn("half of it is missing")
    assert warning == "half of it is missing" and is_warning(warning) and not is_warning(note)
    assert warnings_in([note, warning, warning, Remark("plain")]) == ["half of it is missing"]
    assert is_warning(pickle.loads(pickle.dumps(warning))), "also after a way through another process"


def test_a_remark_says_what_it_is_about_once():
    said = Remark.about("a.obj", warn("a part is invisible"))
    assert said == "a.obj: a part is invisible" and is_warning(said)
    assert Remark.about("a.obj", said) == said and not is_warning(Remark.about("a.obj", "x"))
    assert Event.about([said, said]).remarks == (said,)


def test_who_only_passes_events_on_loads_nothing_heavy():
    code = "import dipir.event, sys; print({'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_long_work_is_asked_between_its_pieces_and_only_in_the_block():
    asked = []
    with stoppable(lambda: asked.append(1)):
        between_pieces()
        with stoppable(lambda: asked.append(2)):
            between_pieces()
        between_pieces()
    between_pieces()
    assert asked == [1, 2, 1]


def test_what_is_raised_ends_the_work_and_the_block():
    def stop():
        raise KeyError("enough")

    with pytest.raises(KeyError), stoppable(stop):
        between_pieces()
    between_pieces()
