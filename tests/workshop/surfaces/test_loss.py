"""How far guessed surfaces are from true ones: terms and figures by hand."""
from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dipir.priors.relit.surfaces import Surfaces
from dipir.workshop.surfaces.loss import WEIGHTS, figures, surface_loss
from dipir.workshop.surfaces.photos import Photos

SIDE = 4


def true(count: int = 1) -> Photos:
    """The left half is an object, the right its backdrop; all face the camera."""
    flat = torch.zeros(count, 1, SIDE, SIDE)
    subject = flat.clone()
    subject[..., :2] = 1
    normal = torch.zeros(count, 3, SIDE, SIDE)
    normal[:, 2] = 1
    grey = torch.full((count, 3, SIDE, SIDE), 0.25)
    return Photos(grey, normal, grey, flat, flat, flat, flat + 1, flat + 1, subject,
                  torch.tensor([[0.0, 1.0, 0.0]]).expand(count, 3), grey[:, None][:, :0], torch.zeros(count, 0, 4),
                  torch.ones(count))


def perfect(of: Photos) -> Surfaces:
    return Surfaces(of.normal, of.albedo, of.shading, of.depth, of.shadow, of.solid, of.up, of.solid)


def changed(where: tuple[slice, ...], value: torch.Tensor, by: float) -> torch.Tensor:
    made = value.clone()
    made[where] += by
    return made


LEFT, RIGHT = (..., slice(0, 2)), (..., slice(2, 4))


def test_a_perfect_answer_has_nearly_no_loss():
    loss, terms = surface_loss(perfect(true()), true())
    assert set(terms) == set(WEIGHTS) and float(loss) < 5e-3
    assert float(loss) == pytest.approx(sum(WEIGHTS[k] * float(v) for k, v in terms.items()), rel=1e-5)


@pytest.mark.parametrize("part, share", [(LEFT, 0.8), (RIGHT, 0.2)])
def test_objects_weigh_four_times_as_much(part, share):
    """Half of the pixels each: 4 of 5 parts and 1 of 5."""
    of = true()
    made = perfect(of)
    terms = surface_loss(replace(made, shading=changed(part, made.shading, 0.5)), of)[1]
    assert float(terms["shading"]) == pytest.approx(0.5 * share)
    normal = made.normal.clone()
    normal[part] = torch.tensor([0.6, 0.0, 0.8])[:, None, None]
    expected = math.sqrt(0.6**2 + 0.2**2)
    assert float(surface_loss(replace(made, normal=normal), of)[1]["normal"]) == pytest.approx(
        expected * share + 1e-3 * (1 - share), rel=1e-3)


def test_levels_that_no_picture_tells_are_left_out():
    """A stop of albedo costs a fifth of what it would as an error, a shift of depth nothing."""
    of = true()
    made = perfect(of)
    terms = surface_loss(replace(made, albedo=made.albedo * 2, depth=made.depth + 0.7), of)[1]
    assert float(terms["albedo"]) == pytest.approx(0.2, rel=1e-4)
    assert float(terms["depth"]) < 1e-6 and float(terms["edges"]) < 1e-6


def test_albedo_in_parts():
    """Twice as bright on the object: the mean is 4 / 5 of a stop, what is left 1/5 and 4/5."""
    of = true()
    made = perfect(of)
    albedo = made.albedo.clone()
    albedo[LEFT] *= 2
    assert float(surface_loss(replace(made, albedo=albedo), of)[1]["albedo"]) == pytest.approx(
        0.8 * 0.2 + 0.2 * 0.8 + 0.2 * 0.8, rel=1e-4)


def test_depth_and_its_edges():
    """The object 0.3 stops too far: 4/5 of it is the level; the slope is wrong between the two columns."""
    of = true()
    made = perfect(of)
    terms = surface_loss(replace(made, depth=changed(LEFT, made.depth, 0.3)), of)[1]
    assert float(terms["depth"]) == pytest.approx(0.8 * 0.06 + 0.2 * 0.24, rel=1e-4)
    # Weights of pairs: within the object 16, across 4, within the backdrop 1. Distances 1 and 2; 4 is out.
    expected = (0.3 * 4 / (16 + 4 + 1) + 0.3 * 8 / 8) / 3
    assert float(terms["edges"]) == pytest.approx(expected, rel=1e-4)


def test_where_there_is_no_surface_only_sky_counts():
    of = true()
    solid = of.solid.clone()
    solid[RIGHT] = 0
    of = replace(of, solid=solid)
    made = perfect(of)
    wrong = replace(made, **{name: changed(RIGHT, getattr(made, name), 0.4)
                             for name in ("normal", "albedo", "shading", "depth", "shadow")})
    assert float(surface_loss(wrong, of)[0]) == pytest.approx(float(surface_loss(made, of)[0]), abs=1e-5)
    half = replace(made, solid=torch.full_like(solid, 0.5))
    assert float(surface_loss(half, of)[1]["solid"]) == pytest.approx(math.log(2), rel=1e-3)
    known = of.known.clone()
    known[RIGHT] = 0
    told = replace(half, solid=torch.where(of.subject > 0, 1.0, 0.5))
    assert float(surface_loss(told, replace(of, known=known))[1]["solid"]) < 1e-3
    assert float(surface_loss(told, of)[1]["solid"]) == pytest.approx(math.log(2) / 2, rel=1e-3)


def test_shadow_and_up():
    of = true(2)
    made = perfect(of)
    terms = surface_loss(replace(made, shadow=made.shadow + 0.5, up=torch.tensor([[0.0, 0.8, 0.6]] * 2)), of)[1]
    assert float(terms["shadow"]) == pytest.approx(math.log(2), rel=1e-4)
    assert float(terms["up"]) == pytest.approx(0.8, rel=1e-5)


def test_gradients_are_finite_at_a_perfect_answer():
    of = true()
    leaves = {name: value.clone().requires_grad_() for name, value in vars(perfect(of)).items()}
    surface_loss(Surfaces(**leaves), of)[0].backward()
    assert all(bool(torch.isfinite(leaf.grad).all()) for name, leaf in leaves.items() if name != "fine")


# ---- figures ---------------------------------------------------------------------------------------------------------

def test_figures_of_a_perfect_answer():
    made = figures(perfect(true(2)), true(2))
    perfect_ones = ("within_11", "within_22", "within_30")
    assert all(made.pop(name) == 1 for name in perfect_ones)
    # The arccosine of one is known to 0.03 degrees.
    assert all(abs(value) < 0.05 for value in made.values()), made


def test_figures_by_hand():
    """An object turned by 20 degrees, shaded two stops too bright at two of four rows, its shadow denied."""
    of = true(2)
    shadow = of.shadow.clone()
    shadow[:, :, :2] = 1
    of = replace(of, shadow=shadow)
    made = perfect(of)
    a = math.radians(20)
    normal = made.normal.clone()
    normal[LEFT] = torch.tensor([math.sin(a), 0.0, math.cos(a)])[:, None, None]
    shading = made.shading.clone()
    shading[:, :, :2] += 1.0
    solid = made.solid.clone()
    solid[:, :, :1] = 0
    depth = changed((slice(None), slice(None), slice(0, 1), slice(0, 2)), made.depth, 0.8)
    albedo = made.albedo * 3
    got = figures(replace(made, normal=normal, shading=shading, shadow=torch.zeros_like(shadow), solid=solid,
                          depth=depth, albedo=albedo, up=torch.tensor([[0.0, 0.8, 0.6]] * 2)), of)
    expected = {"angle_median": 20, "angle_mean": 20, "facing_median": 0, "within_11": 0, "within_22": 1,
                "within_30": 1, "albedo_si_rmse": 0, "shading_stops": 1.0, "even_stops": 0, "depth_stops": 0.2,
                "shadow_wrong": 0.5, "shadow_share": 0.5, "up_deg": math.degrees(math.acos(0.8)), "sky_wrong": 0.25}
    assert {k: got[k] for k in expected} == pytest.approx(expected, abs=0.05)
    # As many pixels each, of which the lower of the two in the middle is taken.
    assert got["angle_all"] == pytest.approx(0, abs=0.05)


def test_albedo_is_judged_up_to_scale():
    of = true()
    albedo = of.albedo.clone()
    albedo[..., 0] = 0.5
    got = figures(replace(perfect(of), albedo=albedo), of)
    # 0.5 and 0.25 against 0.25 and 0.25: the best scale is 0.6.
    assert got["albedo_si_rmse"] == pytest.approx(math.sqrt((0.05**2 + 0.1**2) / 2), rel=1e-4)
