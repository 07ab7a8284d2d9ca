"""Relighting by physics on known surfaces, and the network that corrects it."""
from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dipir.errors import PriorError
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.priors.relit.relighting import (
    FILL,
    GuessConfig,
    GuessNet,
    levelled,
    lit,
    load_guess,
    planned,
    save_guess,
)
from dipir.priors.relit.surfaces import Surfaces, see
from dipir.priors.weights import read_weights, write_weights
from dipir.scene.direction import LightDirection
from tests.support.surface_sets import FEATURES, ball_normals, frame, true_ball

SMALL = GuessConfig(widths=(16, 16, 16, 8, 8, FEATURES), heads=2, channels=(8, 8, 16), embedding=16, fine=8)
RIGHT, LEFT = (LightDirection(a, 10, 4).numbers[None] for a in (90, -90))


def _picture(size: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 0.7 + 0.1


# ---- physics ---------------------------------------------------------------------------------------------------------

def test_opposite_lights_on_a_ball_differ_by_stops():
    seen, (normal, inside) = true_ball(), ball_normals(64)
    right, left = planned(seen, RIGHT).gain[0, 0], planned(seen, LEFT).gain[0, 0]
    side = inside & (normal[0] > 0.6)
    apart = (right - left)[side]
    assert float(apart.min()) > 1 and float(apart.mean()) == pytest.approx(math.log2((0.8 + FILL) / FILL), abs=0.35)
    torch.testing.assert_close(right, left.flip(-1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("azimuth, elevation", [(60, 20), (-45, 50), (0, 0)])
@pytest.mark.parametrize("pitch", [0, 25])
def test_gain_is_lamberts_law(azimuth, elevation, pitch):
    """Against the cosine of the normals with the light turned by hand, away from the terminator, which is soft."""
    seen, light = true_ball(48, pitch), LightDirection(azimuth, elevation, 4)
    plan = planned(seen, light.numbers[None], shadows=False)
    cosine = torch.einsum("c,chw->hw", light.vector @ frame(pitch), seen.normal[0])
    bright, dark = cosine > 0.35, cosine < -0.35
    expected = (cosine + FILL).log2()
    assert float((plan.gain[0, 0] - expected)[bright].abs().max()) < 0.01
    if dark.any():
        assert float((plan.gain[0, 0] - math.log2(FILL))[dark].abs().max()) < 0.01
    assert torch.equal(plan.free, torch.ones_like(plan.free))


def test_light_that_was_there_is_taken_away():
    """Shading is half the stops: a part that was two stops brighter gains two stops less."""
    seen = true_ball()
    before = planned(seen, RIGHT, shadows=False).gain
    shading = torch.zeros_like(seen.shading)
    shading[..., :20] = 0.5
    apart = planned(replace(seen, shading=shading), RIGHT, shadows=False).gain - before
    free = (before > -2.9) & (before < 3.9)
    torch.testing.assert_close(apart[free], -2 * shading[free], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fill", [0.1, 0.2, 0.4])
def test_fill_sets_the_contrast(fill):
    """A wall that faces the light over one that turns away: (1 + f) / f. Less one, a fill twice as large halves it."""
    normal = torch.zeros(1, 3, 8, 8)
    normal[:, 2, :, :4], normal[:, 2, :, 4:] = 1, -1
    seen = replace(true_ball(8), normal=normal)
    front = LightDirection(0, 0, 4).numbers[None]
    gain = planned(seen, front, fill, shadows=False).gain[0, 0, 0]
    assert 2 ** float(gain[0] - gain[-1]) - 1 == pytest.approx(1 / fill, rel=2e-3)
    each = planned(seen, front, torch.full((1, 1, 1, 1), fill), shadows=False).gain
    torch.testing.assert_close(each[0, 0, 0], gain)


def test_wide_lights_reach_around():
    """Past the terminator, the farther the wider they are."""
    seen = true_ball()
    just_behind = (seen.normal[0, 0] < -0.05) & (seen.normal[0, 0] > -0.3)
    reached = [float(planned(seen, LightDirection(90, 0, size).numbers[None], shadows=False).cosine[0, 0][
        just_behind].mean()) for size in (2, 12, 40)]
    assert 4 * reached[0] < reached[1] < 0.4 * reached[2]


def test_shadows_are_in_the_gain():
    """A ball a little before a wall: lit from the side it darkens the wall on the other one."""
    size = 64
    seen, (normal, inside) = true_ball(size), ball_normals(size)
    depth = torch.where(inside, (0.93 - 0.1 * normal[2]).log2(), 0.0)[None, None]
    seen = replace(seen, depth=depth)
    light = LightDirection(60, 0, 4).numbers[None]
    plan, without = planned(seen, light), planned(seen, light, shadows=False)
    column = torch.arange(size).expand(size, size)
    left, right = ~inside & (column < 8), ~inside & (column > 55)
    assert float(plan.free[0, 0][left].min()) < 0.75 and float(plan.free[0, 0][right].min()) > 0.9
    torch.testing.assert_close(plan.gain, (without.cosine * plan.free + FILL).log2().clamp(-4, 4))


def test_without_a_surface_nothing_changes():
    seen, image = true_ball(64, solid=0.0), _picture()
    for light in (RIGHT, LEFT):
        plan = planned(seen, light)
        assert not plan.gain.any()
        torch.testing.assert_close(lit(image, levelled(image, plan.gain, seen.solid)), image, atol=1e-5, rtol=1e-5)


def test_unsure_normals_change_little():
    """Where the network is unsure, its normals are short: opposite lights come nearer to each other."""
    seen = true_ball()
    apart = [float((planned(s, RIGHT, shadows=False).gain - planned(s, LEFT, shadows=False).gain).abs().mean())
             for s in (seen, replace(seen, normal=seen.normal * 0.5), replace(seen, normal=seen.normal * 0.01))]
    assert apart[0] > 1.3 * apart[1] > 1.3 * apart[2]


# ---- level -----------------------------------------------------------------------------------------------------------

def test_levelled_keeps_the_mean_light():
    image, seen = _picture(), true_ball()
    for light in (RIGHT, LEFT):
        made = lit(image, levelled(image, planned(seen, light).gain, seen.solid))
        before, after = (float(srgb_to_linear(x).mean()) for x in (image, made))
        assert after == pytest.approx(before, rel=2e-3)


def test_levelled_is_one_shift_of_what_is_solid():
    image, gain = _picture(), torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    solid = torch.ones(1, 1, 64, 64)
    solid[..., 32:] = 0
    shift = levelled(image, gain * solid, solid) - gain * solid
    assert not shift[..., 32:].any() and float(shift[..., :32].std()) < 1e-5 and float(shift[..., 0, 0].abs()) > 0.05
    made = lit(image, gain * solid + shift)
    assert float(srgb_to_linear(made)[..., :32].mean()) == pytest.approx(float(srgb_to_linear(image)[..., :32].mean()),
                                                                         rel=2e-3)


def test_lit_by_hand():
    image = torch.tensor([0.1, 0.4, 0.9])[None, :, None, None]
    made = lit(image, torch.ones(1, 1, 1, 1))
    torch.testing.assert_close(made, linear_to_srgb(2 * srgb_to_linear(image)))
    assert float(made.max()) > 1


# ---- network ---------------------------------------------------------------------------------------------------------

def correcting(seed: int = 1) -> GuessNet:
    """Weights that do something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = GuessNet(SMALL)
        for parameter in net.relighting.parameters():
            torch.nn.init.normal_(parameter, std=0.15)
        torch.nn.init.normal_(net.surfaces.out.weight, std=0.3)
    return net.eval().requires_grad_(False)


def _corrected(made: GuessNet, solid: float = 1.0) -> torch.Tensor:
    seen, image = true_ball(32, solid=solid), _picture(32)
    return made.relighting(image, seen, planned(seen, RIGHT), RIGHT)


def test_the_network_changes_nothing_at_first():
    assert _corrected(GuessNet(SMALL)).abs().max() == 0


def test_corrections_are_bounded_and_leave_the_sky():
    made = correcting()
    with torch.no_grad():
        for parameter in made.relighting.parameters():
            parameter *= 3
    assert 1 < float(_corrected(made).abs().max()) <= 3
    assert not _corrected(made, solid=0.0).any()


def test_what_the_network_knows_besides_counts():
    made, seen, image = correcting(), true_ball(32), _picture(32)
    plan, other = planned(seen, RIGHT), replace(seen, fine=torch.rand_like(seen.fine))
    assert not torch.allclose(made.relighting(image, other, plan, RIGHT), made.relighting(image, seen, plan, RIGHT))


def test_an_untrained_pair_relights_as_a_plain_level():
    """Nothing seen and nothing corrected: one gain for all pixels, which the level takes back."""
    image, net = _picture(), GuessNet(SMALL).requires_grad_(False)
    seen = replace(see(net.surfaces, image), solid=torch.ones(1, 1, 64, 64))
    plan = planned(seen, RIGHT, shadows=False)
    assert float(plan.gain.abs().min()) > 0.1
    gain = plan.gain + net.relighting(image, seen, plan, RIGHT)
    torch.testing.assert_close(lit(image, levelled(image, gain, seen.solid)), image, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["shading", "normal"])
def test_the_error_of_a_relit_picture_reaches_surfaces_through_physics(name):
    """Against finite differences, in float64."""
    seen = Surfaces(*(value.double() for value in vars(true_ball(32)).values()))
    random = torch.Generator().manual_seed(0)
    image, light = _picture(32).double(), RIGHT.double()
    value = (getattr(seen, name) * 0.8).requires_grad_()
    step = torch.randn(value.shape, generator=random).double()

    def mean(x: torch.Tensor) -> torch.Tensor:
        return (planned(replace(seen, **{name: x}), light, shadows=False).gain * image.mean(1, keepdim=True)).mean()

    mean(value).backward()
    with torch.no_grad():
        slope = (mean(value + 1e-6 * step) - mean(value - 1e-6 * step)) / 2e-6
    assert abs(float(slope)) > 1e-6
    assert float((value.grad * step).sum()) == pytest.approx(float(slope), rel=1e-4)


def test_no_gradient_passes_through_shadows():
    """Their edges on guessed depth say little about it."""
    seen = true_ball(64)
    depth = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)).mul(0.1).requires_grad_()
    assert not planned(replace(seen, depth=depth), RIGHT).gain.requires_grad


def test_weights_come_back(tmp_path):
    made, path = correcting(), tmp_path / "r.safetensors"
    digest = save_guess(made, path, {"steps": "7"})
    again, read = load_guess(path)
    assert read == digest and again.config == SMALL and not again.training
    assert read_weights(path, "dipir.relighting.2", "")[1]["steps"] == "7"
    torch.testing.assert_close(_corrected(again), _corrected(made), atol=0.02, rtol=0.02)
    assert float(_corrected(made).abs().max()) > 0.05
    picture = _picture()
    torch.testing.assert_close(see(again.surfaces, picture).normal, see(made.surfaces, picture).normal, atol=0.05,
                               rtol=0.05)


def test_files_that_are_none(tmp_path):
    with pytest.raises(PriorError, match="no such file.*prior train relighting"):
        load_guess(tmp_path / "none.safetensors")
    path = tmp_path / "r.safetensors"
    write_weights(path, {"x": torch.zeros(1)}, "dipir.surfaces.1", "{}")
    with pytest.raises(PriorError, match="architecture 'dipir.surfaces.1'; expected 'dipir.relighting.2'"):
        load_guess(path)
    path.write_bytes(b"not weights")
    with pytest.raises(PriorError, match="not a complete safetensors file"):
        load_guess(path)
