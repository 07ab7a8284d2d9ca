"""insert(): known light is recovered, runs resume exactly, nothing changes where nothing was inserted."""
from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from dipir.errors import FitError
from dipir.image import latlong
from dipir.insert import method
from dipir.insert.config import load_config
from dipir.insert.result import load_light, save
from tests.support.insertions import QUICK, quick, run
from tests.support.looks import SayingPrior, look
from tests.support.scenes import sphere_scene


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
    lights = (made.light.joined().parameters().values() for made in (whole, resumed))
    for a, b in zip(*lights, strict=True):
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


def test_a_result_names_the_guesses_and_a_chosen_one_lights_the_scene(tmp_path):
    """result.json holds them as the light prior gives them; with light.guess=2 the main light comes from the second."""
    config = load_config("default", None, [*QUICK, "light.start=prior", "light.guess=2", "guidance.kind=none"])
    result = method.insert(sphere_scene(), config)
    save(result, tmp_path)
    guesses = json.loads((tmp_path / "result.json").read_text())["provenance"]["light_guesses"]
    assert len(guesses) >= 2 and all(set(g) == {"azimuth_deg", "elevation_deg", "chance", "share"} for g in guesses)
    chances = [g["chance"] for g in guesses]
    assert chances == sorted(chances, reverse=True) and 0 < sum(chances) <= 1
    even = method.insert(sphere_scene(), replace(config, light=replace(config.light, guess=0)))
    a, e = (math.radians(guesses[1][k]) for k in ("azimuth_deg", "elevation_deg"))
    second = torch.tensor([-math.sin(a) * math.cos(e), math.sin(e), -math.cos(a) * math.cos(e)])
    def towards(r):
        return float((r.light.envmap(32, 64).mean(-1) * (latlong.directions(32, 64) @ second > 0.9)).sum()
                                  / r.light.envmap(32, 64).mean(-1).sum())
    # The plate is an even grey: its dominant light is faint.
    assert towards(result) > 1.02 * towards(even)


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


def test_every_pixel_of_the_plate_counts_for_a_checkpoint():
    """The last pixel too: a plate that differs there is another run."""
    scene = sphere_scene("diffuse", size=48)
    disp = scene.plate.disp.clone()
    disp[..., -1, -1] += 0.01
    other = replace(scene, plate=replace(scene.plate, disp=disp))
    assert method.plate_hash(scene) == method.plate_hash(replace(scene)) != method.plate_hash(other)


@pytest.mark.parametrize("guess, share", [(0, 0.8), (2, 0.6)])
def test_a_sun_is_decided_told_and_kept(tmp_path, guess, share):
    """Said once before the fit; in the result a lamp that leaves the share which the guess itself has; the
    shadow is as dark."""
    notes = []
    config = load_config("default", None, [*QUICK, "light.start=prior", f"light.guess={guess}", "guidance.kind=none",
                                           "final.spp=64"])
    result = method.insert(sphere_scene(size=48), config, light_prior=SayingPrior(),
                           on_event=lambda e: notes.append(e.note) if e.note else None)
    save(result, tmp_path)
    provenance = json.loads((tmp_path / "result.json").read_text())["provenance"]
    assert notes == [provenance["light"]["decided"]] and f"{100 * share:.0f} % of the ground" in notes[0]
    assert provenance["light"]["committed"] and provenance["light"]["share"] == pytest.approx(share, abs=1e-3)
    assert provenance["light"]["share_fitted"] == pytest.approx(share, abs=0.03)
    assert [g["share"] for g in provenance["light_guesses"]] == [0.8, 0.6, 0.4]
    assert [tuple(picture.shape) for picture in result.guess_pictures] == [(1, 3, 48, 48)] * 3
    assert (tmp_path / "guess_3.jpg").is_file() and "--guess 3" in (tmp_path / "report.html").read_text()
    again = load_light(tmp_path)
    rest, sun = again.split(0.01)
    source = look().sources[max(guess, 1) - 1]
    assert len(sun.axis) == 1 and float(sun.mu[0] @ source.direction) > 1 - 1e-6
    torch.testing.assert_close(sun.energy[0], source.irradiance, rtol=1e-3, atol=0)
    assert [lamp.name for lamp in again.lamps] == ["sun"] and again.share("sun") == pytest.approx(share, abs=0.03)
    # In the umbra only a part of what is around arrives.
    assert float(result.passes.shadow_ratio.amin()) < 1.02 - share


def test_a_soft_light_is_told_too():
    notes = []
    config = load_config("default", None, [*QUICK, "light.start=prior", "guidance.kind=none"])
    result = method.insert(sphere_scene(size=48), config, light_prior=SayingPrior(0.2),
                           on_event=lambda e: notes.append(e.note) if e.note else None)
    assert notes == ["light: soft, no single source (chance of one 0.20); --guess 1, 2, 3 for one"]
    told = result.provenance["light"]
    assert not told["committed"] and told["share_fitted"] is None and result.light.split(0.01)[1] is None
