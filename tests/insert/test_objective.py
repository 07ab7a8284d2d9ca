"""The objective finds what is known: light, tint; two maps are fused; parts are named."""
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dipir.diffusion.toy import GaussianDenoiser
from dipir.errors import SceneError
from dipir.fit.loop import minimise
from dipir.image import latlong
from dipir.image.metrics import direction_error_deg, si_rmse
from dipir.insert import method
from dipir.insert.config import load_config
from dipir.insert.objective import (
    Objective,
    final_light,
    light_of,
    make_parameters,
    maps_of,
    material_values,
    unfitted,
    with_source,
)
from dipir.insert.problem import composite, prepare
from dipir.priors.insertion import InsertionPrior
from dipir.priors.plate_light import Shade, decided
from dipir.scene.assets.asset import Material
from dipir.scene.light import SphericalGaussians, dominant_direction, fit_gaussians
from dipir.scene.source import Source
from dipir.workshop.things.objects import simple_asset
from tests.support.insertions import matching, quick, run
from tests.support.looks import look
from tests.support.scenes import MATERIALS, placed, scene_of, sphere_scene, sunny


@pytest.mark.parametrize("material", list(MATERIALS))
def test_known_light_is_recovered(material):
    """The prior is replaced by the true image: direction within 5 degrees, foreground si-RMSE below 0.05."""
    truth = SphericalGaussians.of(torch.tensor([[0.55, 0.6, -0.6], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]),
                                  torch.tensor([[30.0, 27.0, 22.0], [0.5, 0.6, 0.8], [0.25, 0.2, 0.15]]),
                                  torch.tensor([0.12, 1.0, 1.0]))
    scene = sphere_scene(material, size=96)
    config = load_config("default", None, ["light.start=ambient", "light.anchor=0", "optimize=[light]", "fit.steps=400",
                                           "transport.samples=4"])
    work = prepare(scene, config, 64, None)
    target = work.transport.passes(truth.envmap(16, 32))
    samples = GaussianDenoiser(torch.zeros(3)).encode(composite(work, target, None, None).clamp(0, 1).detach())
    parameters = make_parameters(config, fit_gaussians(work.start, config.light.lobes), None)
    objective = Objective(work, config, parameters, matching(work, config, samples))
    minimise(objective, parameters, config.fit)
    found = final_light(parameters, config)
    true_direction, found_direction = (dominant_direction(light.envmap(64, 128)) for light in (truth, found))
    angle = float(direction_error_deg(true_direction, found_direction))
    got = work.transport.passes(found.envmap(16, 32))
    error = float(si_rmse(got.object_rgb, target.object_rgb, target.alpha))
    assert angle < 5.0, f"{material}: dominant direction off by {angle:.1f} degrees"
    assert error < 0.05, f"{material}: foreground si-RMSE {error:.3f}"


def test_two_maps_are_fused_by_the_schedule():
    """Half way, none leaves the object's map alone, step fuses all of it, linear half of it."""
    found = {}
    for schedule in ("none", "linear", "step"):
        config = quick("light.two_maps=true", f"light.fusion={schedule}")
        parameters = make_parameters(config, fit_gaussians(sunny([0.5, 0.6, -0.6]), config.light.lobes), None)
        state = parameters.state_dict()
        parameters.load_state_dict({**state, "shadow.log_amplitude": state["shadow.log_amplitude"] + 1})
        found[schedule] = [m.detach() for m in maps_of(parameters, config, 0.5)]
    alone, shadow = found["none"]
    assert torch.equal(alone, light_of(parameters).envmap(16, 32))
    assert all(torch.equal(both[1], shadow) for both in found.values())
    assert float((found["step"][0] - alone).abs().max()) > 0.1 * float(alone.max())
    assert torch.allclose(found["linear"][0], (alone + found["step"][0]) / 2, rtol=1e-5)


def test_material_is_recovered_from_the_true_image():
    """A part whose base colour is wrong by a tint finds the tint when everything else is known."""
    env = sunny((0.4, 0.7, -0.6), peak=8.0)
    true, wrong = (scene_of(placed(simple_asset("sphere", Material(base_color=c, roughness=0.7))), size=48)
                   for c in ((0.6, 0.3, 0.15), (0.4, 0.4, 0.4)))
    config = load_config("default", None, ["light.start=ambient", "light.anchor=0", "optimize=[material]",
                                           "fit.steps=140", "transport.samples=2", "material.rate=0.08"])
    work, target = prepare(wrong, config, 32, None), prepare(true, config, 32, None)
    start = fit_gaussians(env, 32)
    radiance = start.envmap(16, 32)
    prior = GaussianDenoiser(torch.zeros(3))
    samples = prior.encode(composite(target, target.transport.passes(radiance), None, None).clamp(0, 1))
    parameters = make_parameters(config, start, work.tracer)
    minimise(Objective(work, config, parameters, matching(work, config, samples)), parameters, config.fit)
    (colour,) = [v for k, v in material_values(parameters, work.tracer).items() if ".base_color." in k]
    torch.testing.assert_close(colour.detach(), torch.tensor([0.6, 0.3, 0.15]), atol=0.05, rtol=0)


def test_emission_needs_an_emitting_part(tmp_path):
    with pytest.raises(SceneError, match="emission"):
        run(tmp_path, quick("optimize=[light, emission]"))


def test_unknown_part_names_the_parts(tmp_path):
    with pytest.raises(SceneError, match="parts are"):
        run(tmp_path, quick("optimize=[material]", "material.part=nothing"))


def test_colours_of_vertices_that_no_fit_moves_are_said(tmp_path):
    """A sphere with colours at its vertices beside a plain one: the warning names the first alone, and exactly the
    parts that it does not name have a base colour among what is fitted."""
    plain = simple_asset("sphere", MATERIALS["diffuse"])
    (ball,) = plain.parts
    painted = replace(ball, name="painted\x1b", colors=np.full((len(ball.vertices), 3), 0.3, np.float32), uvs=None)
    scene = scene_of(placed(replace(plain, parts=(ball, painted))), size=48)
    config = quick("optimize=[material]", "fit.steps=1", "material.spp=1")
    (said,) = unfitted(scene, config)
    assert said.warning and "'painted\\x1b'" in said and ball.name not in said
    told = []
    made = method.insert(scene, config, prior=InsertionPrior.untrained(), on_event=lambda e: told.extend(e.remarks))
    assert told == [said] and made.provenance["warnings"] == [said] and said in made.provenance["notes"]
    work = prepare(scene, config, 32, None)
    fitted = [n for n in make_parameters(config, fit_gaussians(work.start, 8), work.tracer) if ".base_color." in n]
    assert len(fitted) == 1, "the plain sphere's"
    for other in (["optimize=[light]"], ["optimize=[material]", f"material.part={ball.name}"],
                  ["optimize=[material]", "guidance.kind=none"]):
        assert unfitted(scene, quick(*other)) == []


def committed_work(*settings: str, shade: Shade | None = None):
    """(settings, working problem of a sphere that begins with a sun)"""
    config = load_config("default", None, ["light.start=ambient", "optimize=[light]", "fit.steps=150",
                                           "transport.samples=4", *settings])
    light = decided(look(), torch.zeros(16, 32, 3), shade=shade and (lambda: shade))
    return config, prepare(sphere_scene(size=64), config, 32, None, light)


def fitted(config, work, target):
    """The light found when the prior knows the composite under (rest, irradiance) ``target``, and what was logged."""
    passes = work.transport.passes(target[0], irradiance=target[1])
    samples = GaussianDenoiser(torch.zeros(3)).encode(composite(work, passes, None, None).clamp(0, 1).detach())
    parameters = make_parameters(config, fit_gaussians(work.start, config.light.lobes), None, work.light)
    objective = Objective(work, config, parameters, matching(work, config, samples))
    begun = final_light(parameters, config).joined()
    return begun, minimise(objective, parameters, config.fit), final_light(parameters, config).joined()


def test_a_fit_finds_the_suns_strength_and_colour_and_leaves_it_where_it_is():
    """The truth has a third less of it, redder: found within 10 %; direction and size stay, bit for bit."""
    config, work = committed_work("light.anchor=0")
    source = work.light.source
    wanted = source.irradiance * torch.tensor([0.75, 0.65, 0.5])
    begun, _, found = fitted(config, work, (work.start, wanted))
    torch.testing.assert_close(begun.energy[-1], source.irradiance, rtol=1e-3, atol=0)
    torch.testing.assert_close(found.energy[-1], wanted, rtol=0.1, atol=0)
    assert torch.equal(found.axis[-1], begun.axis[-1]) and torch.equal(found.raw_width[-1], begun.raw_width[-1])
    assert float(found.mu[-1] @ source.direction) > 1 - 1e-6
    assert float(found.sigma[-1]) == pytest.approx(source.sigma, rel=1e-3)
    assert len(found.axis) == config.light.lobes + 1


def test_the_anchor_holds_the_rest_by_the_rest_and_the_sun_by_the_sun():
    """At the start nothing is pulled but what the Gaussians miss; each alone is felt."""
    config, work = committed_work()
    def anchor(rest_gain: float, sun_gain: float) -> float:
        parameters = make_parameters(config, fit_gaussians(work.start, config.light.lobes), None, work.light)
        state = parameters.state_dict()
        state["light.log_amplitude"] += math.log(rest_gain)
        state["source.log_irradiance"] += math.log(sun_gain)
        parameters.load_state_dict(state)
        objective = Objective(work, config, parameters, matching(work, config, torch.zeros(1, 3, 32, 32)))
        return float(objective(0)[1]["anchor"])
    begun = anchor(1, 1)
    assert begun < 0.1
    assert anchor(1, 2) == pytest.approx(begun + math.log(2), abs=1e-3)
    assert anchor(2, 1) == pytest.approx(math.log(2), abs=0.1)


def test_the_plates_own_shadow_stays_what_the_inserted_one_leaves():
    """However guidance changes the rest, the sun keeps the share that was measured."""
    config, work = committed_work("light.anchor=0", shade=Shade(0.14, 0.22, 1.0))
    assert work.light.share == pytest.approx(0.78, rel=1e-4)
    _, _, found = fitted(config, work, (0.5 * work.start, 2 * work.light.source.irradiance))
    rest, sun = found.split(0.01)
    share = Source(sun.mu[0], sun.energy[0]).ground_share(rest.envmap(64, 128))
    assert share == pytest.approx(0.78, abs=0.01)
    assert abs(float(rest.energy.sum() / (4 * torch.pi * 3 * work.start.mean())) - 1) > 0.1


@pytest.mark.parametrize("settings", [["light.two_maps=true"], ["optimize=[light, tone, material]", "material.spp=2"]])
def test_two_maps_and_materials_know_the_sun(settings):
    """Every objective's gradient reaches it; the final mixture ends with it."""
    config, work = committed_work("light.lobes=8", *settings)
    parameters = make_parameters(config, fit_gaussians(work.start, 8, steps=5), work.tracer, work.light)
    objective = Objective(work, config, parameters, matching(work, config, torch.zeros(1, 3, 32, 32)))
    objective(1)[0].backward()
    assert float(parameters.raw["source.log_irradiance"].grad.abs().min()) > 0
    assert parameters.raw["source.direction"].grad is None
    found = final_light(parameters, config).joined()
    assert len(found.axis) == 9 and float(found.sigma[-1]) == pytest.approx(0.0023, rel=1e-3)


def test_the_map_of_a_sun_for_the_path_tracer_has_all_its_light():
    sun = look().sources[0]
    envmap = with_source(torch.full((16, 32, 3), 0.5), sun)
    total = (envmap * latlong.solid_angles(256, 512)[..., None]).sum((0, 1))
    torch.testing.assert_close(total, 2 * torch.pi + sun.irradiance, rtol=1e-3, atol=0)
