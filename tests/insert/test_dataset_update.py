"""insert's fit by dataset update: moves the light, resumes bit for bit between two edits; concept images are
optional."""
from __future__ import annotations

import pytest
import torch

from dipir.diffusion.toy import GaussianDenoiser
from dipir.errors import ConfigError
from dipir.guidance.dataset_update import KEPT
from dipir.insert import method
from dipir.insert.config import load_config
from dipir.insert.objective import light_of
from dipir.insert.problem import prepare
from dipir.priors.insertion import InsertionPrior
from dipir.scene.light import fit_gaussians
from tests.support.scenes import sphere_scene

SETTINGS = ["light.start=ambient", "light.anchor=0", "light.lobes=6", "guidance.kind=dataset_update",
            "guidance.sampler_steps=2", "guidance.update_every=4", "fit.steps=9", "transport.samples=1",
            "checkpoint_every=3"]


@pytest.fixture(autouse=True)
def quick_start(monkeypatch):
    """The start is fitted in a few steps; how well does not matter here."""
    monkeypatch.setattr(method, "fit_gaussians", lambda target, count: fit_gaussians(target, count, steps=5))


@pytest.fixture(scope="module")
def stage():
    """A scene and what is recorded of it at 32 x 32 pixels."""
    scene = sphere_scene("diffuse", size=32)
    return scene, prepare(scene, load_config("default", None, SETTINGS), 32, None)


def fit(stage, out, *settings: str, prior=None, on_event=lambda event: None, resume=False):
    config = load_config("default", None, [*SETTINGS, *settings])
    prior = prior or GaussianDenoiser(torch.zeros(3, 32, 32), 0.3)
    start = fit_gaussians(stage[1].start, config.light.lobes)
    return method.fit(*stage, start, config, prior, on_event=on_event, out=out, resume=resume)


class Stop(Exception):
    """Raised in the middle of a run."""


@pytest.mark.parametrize("stop_at", [3, 6])  # One step before an update, and two after one.
def test_resumed_run_equals_unbroken_one(stage, tmp_path, stop_at):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    whole, _ = fit(stage, tmp_path / "a")

    def interrupt(event):
        if event.stage == "fit" and event.step == stop_at:
            raise Stop

    with pytest.raises(Stop):
        fit(stage, tmp_path / "b", on_event=interrupt)
    resumed, history = fit(stage, tmp_path / "b", resume=True)
    assert len(history) == 9
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_the_light_follows_what_the_prior_draws(stage):
    """A prior that wants everything bright makes the light brighter, one that wants it dark makes it darker."""
    total = {}
    for wanted in (-0.8, 0.8):
        prior = GaussianDenoiser(torch.full((3, 32, 32), wanted), 0.02)
        parameters, _ = fit(stage, None, "fit.steps=25", prior=prior)
        total[wanted] = float(light_of(parameters).detach().envmap(16, 32).mean())
    assert total[0.8] > 1.5 * total[-0.8]


def test_the_target_changes_at_updates_only(stage, monkeypatch):
    seen = []
    objective = method.Objective.__call__

    def watched(self, step):
        out = objective(self, step)
        seen.append(self.parameters.raw[KEPT].clone())
        return out

    monkeypatch.setattr(method.Objective, "__call__", watched)
    _, history = fit(stage, None)
    assert [step for step in range(1, 9) if not torch.equal(seen[step], seen[step - 1])] == [4, 8]
    assert history[0]["sigma"] > history[8]["sigma"] > 0


def test_personalisation_without_concept_images(tmp_path):
    """`guidance.concepts=0` trains on the plate alone: another adapter than the one with concepts."""
    scene = sphere_scene("diffuse", size=48)
    settings = [*SETTINGS, "guidance.personalise=true", "personalise.steps=1", "personalise.batch=1"]
    work, stages = prepare(scene, load_config("default", None, settings), 64, None), []
    for concepts in (0, 2):
        config = load_config("default", None, [*settings, f"guidance.concepts={concepts}"])
        prior = InsertionPrior.untrained()
        method.make_guidance(scene, work, config, prior, lambda e: stages.append(e.stage), tmp_path)
    assert len(list(tmp_path.glob("lora*.safetensors"))) == 2 and stages.count("personalise") == 2


def test_updates_need_a_step():
    with pytest.raises(ConfigError, match="update_every"):
        load_config("default", None, ["guidance.update_every=0"])
