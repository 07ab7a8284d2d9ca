"""The objective finds what is known: light, tint; two maps are fused; parts are named."""
from __future__ import annotations

import pytest
import torch

from dipir.diffusion.toy import GaussianDenoiser
from dipir.errors import SceneError
from dipir.fit.loop import minimise
from dipir.image.metrics import direction_error_deg, si_rmse
from dipir.insert.config import load_config
from dipir.insert.objective import Objective, final_light, light_of, make_parameters, maps_of, material_values
from dipir.insert.problem import composite, prepare
from dipir.scene.assets.asset import Material
from dipir.scene.light import SphericalGaussians, dominant_direction, fit_gaussians
from dipir.workshop.things.objects import simple_asset
from tests.support.insertions import matching, quick, run
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
