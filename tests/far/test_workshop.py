"""Data made where the run's device is another one: the same bits, stored on the CPU."""
from __future__ import annotations

import pytest
import torch

from dipir.workshop.colour import data as sketches
from dipir.workshop.insertion import stages
from dipir.workshop.layout import data as layouts
from dipir.workshop.relight import data as relit
from dipir.workshop.worlds import panoramas, views
from tests.support.far import far_device

VIEWS = views.ViewSettings(height=24, width=32, spp=2, env_height=16, env_spp=2, lights=2, cameras=2, shard=1)
PANORAMA = panoramas.PanoramaSettings(height=32, width=64, spp=4)
MADE = {
    "views": lambda: views.scene_pairs(1, 0, VIEWS, None),
    "panoramas": lambda: {"map": panoramas.one(1, 0, PANORAMA)[0]},
    "relit": lambda: vars(relit.record(3, settings=relit.RelitSettings(size=32, spp=2, sky_spp=2))),
    "sketches": lambda: sketches.record(3),
    "layouts": lambda: vars(layouts.record(3, layouts.LayoutSettings(spp=4))),
    "stages": lambda: vars(stages.record(5))}


@pytest.mark.parametrize("kind", MADE)
def test_the_same_data(kind):
    here = MADE[kind]()
    with far_device():
        there = MADE[kind]()
    assert here.keys() == there.keys() and len(here)
    for key, value in here.items():
        assert there[key].device.type == "cpu", key
        # Several threads of the renderer may sum in another order.
        torch.testing.assert_close(there[key].float(), value.float(), rtol=1e-3, atol=2e-3, msg=f"{kind} {key}")
