"""insert(): known light is recovered, runs resume exactly, nothing changes where nothing was inserted."""
from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from dipir.diffusion.denoiser import Condition
from dipir.diffusion.toy import GaussianDenoiser
from dipir.errors import ConfigError, FitError, PriorError, SceneError
from dipir.fit.loop import minimise
from dipir.guidance.guidance import Asked
from dipir.guidance.posterior import PosteriorMatching
from dipir.image import latlong
from dipir.image.metrics import direction_error_deg, si_rmse
from dipir.insert import method
from dipir.insert.config import InsertConfig, load_config
from dipir.insert.objective import Objective, final_light, light_of, make_parameters, maps_of, material_values
from dipir.insert.problem import composite, prepare
from dipir.insert.result import save
from dipir.priors.insertion import EmbeddedPrior
from dipir.scene.assets.asset import Material
from dipir.scene.light import SphericalGaussians, dominant_direction, fit_gaussians
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import MATERIALS, placed, scene_of, sphere_scene, sunny

QUICK = ["light.start=ambient", "guidance.samples=2", "guidance.sampler_steps=3", "fit.steps=6", "final.spp=4",
         "transport.samples=2", "checkpoint_every=2"]


def matching(work, config: InsertConfig, samples: torch.Tensor) -> PosteriorMatching:
    """Guidance whose prior has drawn just these images."""
    return PosteriorMatching(Asked(GaussianDenoiser(torch.zeros(3)), Condition(), config.guidance, 0, work.plate_disp,
                                   mask=work.region()), samples)


def quick(*settings: str) -> InsertConfig:
    return load_config("default", None, [*QUICK, *settings])


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


def run(tmp_path, config, **kwargs):
    return method.insert(sphere_scene("glossy", size=48), config, prior=EmbeddedPrior.untrained(), out=tmp_path,
                         **kwargs)


class Stop(Exception):
    """Raised in the middle of a run."""


def test_resumed_run_equals_unbroken_one(tmp_path):
    config = quick()
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    whole = run(tmp_path / "a", config)

    def interrupt(event):
        if event.stage == "fit" and event.step == 4:
            raise Stop

    with pytest.raises(Stop):
        run(tmp_path / "b", config, on_event=interrupt)
    resumed = run(tmp_path / "b", config, resume=True)
    for a, b in zip(whole.light.parameters().values(), resumed.light.parameters().values(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(whole.composite_disp, resumed.composite_disp) and len(resumed.history) == 6


def test_resume_refuses_other_settings(tmp_path):
    run(tmp_path, quick())
    with pytest.raises(FitError, match="another run"):
        run(tmp_path, quick("seed=9"), resume=True)


def test_untouched_pixels_are_the_plate_bit_for_bit(tmp_path):
    result = run(tmp_path, quick("tone.rate=0.3"))
    free = (result.passes.alpha == 0) & (result.passes.shadow_ratio == 1).all(1, keepdim=True)
    assert free.sum() > 100
    assert torch.equal(result.composite_disp[free.expand(-1, 3, -1, -1)], result.plate_disp[free.expand(-1, 3, -1, -1)])
    assert not torch.equal(result.composite_disp, result.plate_disp)


@pytest.mark.parametrize("settings", [
    ["guidance.kind=sds"],
    ["guidance.kind=lds", "guidance.personalise=true", "personalise.steps=2", "guidance.concepts=2",
     "light.two_maps=true"],
    ["guidance.kind=none"]])
def test_every_kind_of_guidance_runs(tmp_path, settings):
    result = run(tmp_path, quick(*settings))
    assert torch.isfinite(result.composite_disp).all() and len(result.history) == (0 if "none" in settings[0] else 6)


def test_personalised_weights_are_kept_and_reused(tmp_path):
    settings = ["guidance.kind=lds", "guidance.personalise=true", "personalise.steps=2", "guidance.concepts=2"]
    stages = []
    run(tmp_path, quick(*settings))
    files = list(tmp_path.glob("lora*.safetensors"))
    run(tmp_path, quick(*settings), on_event=lambda e: stages.append(e.stage))
    assert len(files) == 1 and "personalise" not in stages and list(tmp_path.glob("lora*.safetensors")) == files


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


@pytest.mark.parametrize("bad, match", [("light.lobs=3", "lobes"), ("optimize=[lite]", "light"),
                                        ("fit.steps=many", "fit.steps"), ("guidance.kind=posterioir", "posterior")])
def test_wrong_settings_name_the_nearest_key(bad, match):
    with pytest.raises(ConfigError, match=match):
        quick(bad)


@pytest.mark.parametrize("bad", ["light.guess=4", "light.guess=-1", "light.guess=2"])
def test_guesses_are_those_of_the_light_prior(bad):
    """QUICK starts from ambient light, of which there are no guesses."""
    with pytest.raises(ConfigError, match="light.guess: .*accepted"):
        quick(bad)


def test_a_result_names_the_guesses_and_a_chosen_one_lights_the_scene(tmp_path):
    """result.json holds them as the light prior gives them; with light.guess=2 the main light comes from the second."""
    config = load_config("default", None, [*QUICK, "light.start=prior", "light.guess=2", "guidance.kind=none"])
    result = method.insert(sphere_scene(), config)
    save(result, tmp_path)
    guesses = json.loads((tmp_path / "result.json").read_text())["provenance"]["light_guesses"]
    assert len(guesses) >= 2 and all(set(g) == {"azimuth_deg", "elevation_deg", "chance"} for g in guesses)
    chances = [g["chance"] for g in guesses]
    assert chances == sorted(chances, reverse=True) and 0 < sum(chances) <= 1
    even = method.insert(sphere_scene(), replace(config, light=replace(config.light, guess=0)))
    a, e = (math.radians(guesses[1][k]) for k in ("azimuth_deg", "elevation_deg"))
    second = torch.tensor([-math.sin(a) * math.cos(e), math.sin(e), -math.cos(a) * math.cos(e)])
    towards = lambda r: float((r.light.envmap(32, 64).mean(-1) * (latlong.directions(32, 64) @ second > 0.9)).sum()
                              / r.light.envmap(32, 64).mean(-1).sum())
    # The plate is an even grey: its dominant light is faint.
    assert towards(result) > 1.02 * towards(even)


def test_presets_load_and_unknown_ones_are_listed():
    assert load_config("paper").light.two_maps and load_config("fast").fit.steps < load_config("default").fit.steps
    with pytest.raises(ConfigError, match="default"):
        load_config("defualt")


def test_prior_files_are_checked(tmp_path):
    for content in (b"", b"not safetensors at all"):
        bad = tmp_path / "bad.safetensors"
        bad.write_bytes(content)
        with pytest.raises(PriorError, match="bad.safetensors"):
            method.find_prior(str(bad), InsertConfig())
    with pytest.raises(PriorError):
        method.find_prior("stabilityai/stable-diffusion-2-1", replace(InsertConfig()))


def test_embedded_prior_round_trips(tmp_path):
    prior = EmbeddedPrior.untrained()
    prior.save(tmp_path / "p.safetensors")
    again = EmbeddedPrior.load(tmp_path / "p.safetensors")
    x, planes = torch.randn(1, 3, 64, 64), torch.rand(1, 21, 64, 64)
    a, b = (p(x, torch.ones(1), Condition(planes=planes)) for p in (prior, again))
    torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)
    data = (tmp_path / "p.safetensors").read_bytes()
    (tmp_path / "p.safetensors").write_bytes(data[:-100])
    with pytest.raises(PriorError):
        EmbeddedPrior.load(tmp_path / "p.safetensors")


def test_rendering_a_result_again_gives_the_same_picture(tmp_path):
    """Saved light and tone, same samples: the same composite; another size works too."""
    import trimesh

    from dipir.image.files import write_png
    from dipir.scene.scene_file import build_scene, load_scene_file, write_scene_file

    write_png(tmp_path / "plate.png", torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4)
    trimesh.creation.box((0.5, 0.8, 0.5)).export(tmp_path / "box.obj")
    (tmp_path / "s.yaml").write_text("plate: plate.png\ncamera: {fov_deg: 40, pitch_deg: 17, height_m: 1.2}\n"
                                     "objects: [{asset: box.obj, at: [32, 40], height_m: 0.6}]\n")
    scene_file = load_scene_file(tmp_path / "s.yaml")
    out = tmp_path / "out"
    first = method.insert(build_scene(scene_file), quick(), prior=EmbeddedPrior.untrained(), out=None)
    save(first, out)
    write_scene_file(scene_file, out / "scene.yaml")
    again = method.render_result(out)
    torch.testing.assert_close(again.composite_disp, first.composite_disp, atol=2e-3, rtol=0)
    assert method.render_result(out, size=(32, 32)).composite_disp.shape == (1, 3, 32, 32)
    with pytest.raises(ConfigError, match="aspect"):
        method.render_result(out, size=(32, 20))


def test_published_recipe_through_a_stable_diffusion_folder(tmp_path):
    """LDS with a personalised text model: plate, renders and images drawn by the prior itself train the adapter."""
    from tests.support.tiny_diffusion import build_pipeline

    build_pipeline(tmp_path / "sd", "sd1")
    config = load_config("paper", None, [f"prior={tmp_path / 'sd'}", "guidance.size=64", "personalise.steps=2",
                                         "guidance.concepts=2", "guidance.sampled_concepts=2",
                                         "guidance.sampler_steps=2", "fit.steps=3", "final.spp=4",
                                         "transport.samples=2"])
    with_drawn = method.insert(sphere_scene("glossy", size=48), config, out=tmp_path)
    without = replace(config, guidance=replace(config.guidance, sampled_concepts=0))
    assert torch.isfinite(with_drawn.composite_disp).all() and len(with_drawn.history) == 3
    # The drawn images are part of what the adapter depends on.
    method.insert(sphere_scene("glossy", size=48), without, out=tmp_path)
    assert len(list(tmp_path.glob("lora*.safetensors"))) == 2
