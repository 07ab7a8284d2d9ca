"""dipir.render.transport_record: the recorded plane is the exact one, and pixels can be chosen."""
from __future__ import annotations

import pytest
import torch

from dipir.image import latlong
from dipir.render.mitsuba_scene import build
from dipir.render.transport_record import Recorder, TransportSettings
from tests.support.scenes import sphere_scene


@pytest.fixture(scope="module")
def recorder():
    scene = sphere_scene(size=16)
    return Recorder(build(scene), scene.camera, TransportSettings(env_height=8, samples=2, bsdf_samples=2))


def test_what_the_plane_receives_is_exact_and_what_is_blocked_is_a_part_of_it(recorder):
    blocked, pixels, lit = recorder.proxy_map()
    torch.testing.assert_close(lit.cpu(), latlong.plane_weights(8, 16).reshape(-1))
    assert 0 < len(pixels) < 256 and float(blocked.min()) >= 0
    # A pixel's samples that miss the plane block nothing; jitter within a texel leaves its weight.
    assert bool((blocked.cpu() <= lit.cpu() * (1 + 1e-5)).all())


def test_the_object_reflects_no_more_than_it_receives(recorder):
    """Row sums are the colour under a sky of 1: that of the paint (0.7, 0.4, 0.2), and a little white gloss."""
    maps, pixels = recorder.object_map()
    total = maps.sum(2)
    assert len(pixels) == len(maps) and bool((pixels.diff() > 0).all())
    assert float(total.min()) > 0 and float(total.max()) < 1
    red, green, blue = total.median(0).values.tolist()
    assert 0.7 / 0.4 > red / green > 0.95 * 0.7 / 0.4 and 0.4 / 0.2 > green / blue > 0.9 * 0.4 / 0.2


def test_pixels_that_are_not_looked_at_have_no_shadow_and_the_others_keep_theirs(recorder):
    blocked, pixels, lit = recorder.proxy_map()
    near = pixels[len(pixels) // 3:]
    some, kept, same = recorder.proxy_map(near)
    assert torch.isin(kept, near).all() and torch.equal(lit, same)
    strong = blocked[len(pixels) // 3:].sum(1) > 0.05
    assert torch.isin(near[strong], kept).all()
    # Other random numbers: the sums over all pixels are alike.
    assert float(some.sum()) == pytest.approx(float(blocked[len(pixels) // 3:].sum()), rel=0.02)
    none, nowhere, _ = recorder.proxy_map(pixels[:0])
    assert none.shape == (0, recorder.texels) and len(nowhere) == 0
