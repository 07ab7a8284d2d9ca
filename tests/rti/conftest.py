"""One tiny fit for all tests of the folder."""
from __future__ import annotations

import pytest

from dipir.rti.method import train
from tests.support.rti_captures import TINY, lights, photos


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("fit")
    events = []
    fitted = train(lights(), photos(lights()), TINY, out=out, on_event=events.append)
    return fitted, out, events
