"""dipir.event: what every listener reads, at hand without torch."""
from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from dipir.event import Event


def test_reports_are_fixed_and_share_nothing():
    a, b = Event("fit", 3, 10), Event("fit", 4, 10)
    assert a.seconds_left is None and a.scalars == {} and a.images == {}
    assert a.scalars is not b.scalars and a.images is not b.images
    with pytest.raises(FrozenInstanceError):
        a.step = 5


def test_who_only_passes_events_on_loads_nothing_heavy():
    code = "import dipir.event, sys; print({'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
