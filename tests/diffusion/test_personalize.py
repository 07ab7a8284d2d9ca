"""LoRA: off equals base bit for bit, training learns, files are trusted only when they fit."""
from __future__ import annotations

import pytest
import torch

from dipir.diffusion.denoiser import Condition
from dipir.diffusion.lora import (
    PersonalizeConfig,
    add_lora,
    disable_lora,
    lora_state,
)
from dipir.diffusion.personalize import Examples, FrozenBase, adapter_key, concept_images, personalise, train_lora
from dipir.diffusion.pretrained import load_pretrained
from dipir.diffusion.sampler import euler
from dipir.diffusion.schedule import karras
from dipir.diffusion.toy import GaussianDenoiser
from dipir.errors import ConfigError, FitError, PriorError
from dipir.guidance.distillation import constant, lds
from tests.support.adapters import SMALL, Body, PixelPrior, images, move


@pytest.fixture
def sd(folders):
    return load_pretrained(folders["sd1"])


# ----------------------------------------------------------------------------------------------------------- training
@pytest.mark.parametrize("which", ["latent", "pixel"])
def test_training_lowers_the_denoising_error_on_the_plate(sd, which):
    prior = sd if which == "latent" else PixelPrior()
    condition = sd.encode_text("car") if which == "latent" else Condition()
    sets = [Examples(images(1), condition), Examples(1 - images(3), condition)]
    kept = {n: p.clone() for n, p in prior.network.named_parameters()}

    def error():
        gen = torch.Generator().manual_seed(11)
        z = prior.encode(images(1)).expand(32, -1, -1, -1)
        noise, sigma = torch.randn(z.shape, generator=gen), torch.rand(32, generator=gen) * 3 + 0.1
        s = sigma.reshape(-1, 1, 1, 1)
        with torch.no_grad():
            return float((((z + s * noise - prior(z + s * noise, sigma, condition)) / s - noise) ** 2).mean())

    add_lora(prior.network, SMALL)
    before, events = error(), []
    config = PersonalizeConfig(rank=4, learning_rate=3e-2, steps=60, batch=4, prior_weight=0.5)
    history = train_lora(prior, prior.network, sets, config, events.append)
    assert error() < 0.97 * before
    assert [e.step for e in events] == list(range(1, 61)) and events[-1].seconds_left == 0
    assert [e.scalars["loss"] for e in events] == history and {e.stage for e in events} == {"personalise"}
    for name, parameter in prior.network.named_parameters():
        if "lora_" not in name:
            assert torch.equal(parameter, kept[name.replace(".base_layer", "")])
    with disable_lora(prior.network):
        assert error() == before


def test_training_repeats_with_its_seed_and_prior_weight_counts():
    def run(**change):
        prior = PixelPrior()
        config = PersonalizeConfig(**({"rank": 2, "learning_rate": 1e-2, "steps": 4, "batch": 2} | change))
        add_lora(prior.network, config)
        train_lora(prior, prior.network, [Examples(images(), Condition()), Examples(1 - images(), Condition())], config)
        return torch.cat([t.detach().flatten() for t in lora_state(prior.network).values()])
    assert torch.equal(run(), run()) and not torch.equal(run(), run(seed=1))
    assert not torch.equal(run(), run(prior_weight=0.0))


def test_loss_is_the_epsilon_error():
    """For the oracle the loss has a closed form: E (eps_hat - eps)^2 = std^2 / (std^2 + sigma^2) on its own data."""
    class Oracle(GaussianDenoiser):
        def __init__(self):
            super().__init__(torch.zeros(3, 8, 8), 0.25)
            self.network = Body()
            add_lora(self.network, SMALL)

        def __call__(self, x, sigma, condition):
            # The network takes part with weight 0 so that there is something to differentiate.
            return super().__call__(x, sigma, condition) + 0 * self.network(x)

    oracle = Oracle()
    pictures = oracle.decode(oracle.draw(64, torch.Generator().manual_seed(0)))
    config = PersonalizeConfig(rank=2, steps=20, batch=32, learning_rate=1e-6)
    history = train_lora(oracle, oracle.network, [Examples(pictures, Condition())], config,
                         draw_sigma=lambda n, gen: torch.full((n,), 0.5))
    assert sum(history) / 20 == pytest.approx(0.0625 / (0.0625 + 0.25), rel=0.03)


def test_personalised_minus_base_is_a_score_that_points_to_the_plate():
    prior = PixelPrior()
    config = PersonalizeConfig(rank=4, learning_rate=3e-2, steps=60, batch=8)
    add_lora(prior.network, config)
    train_lora(prior, prior.network, [Examples(images(1), Condition())], config)
    gen = torch.Generator().manual_seed(0)
    target, z = prior.encode(images(1)).expand(16, -1, -1, -1), torch.zeros(16, 3, 16, 16)
    score = lds((prior, FrozenBase(prior, prior.network)), z, (Condition(), Condition()), torch.full((16,), 1.0),
                torch.randn(z.shape, generator=gen), constant)
    assert float((-score.gradient * (target - z)).sum()) > 0  # Descending it comes closer.


def test_training_refuses_nan():
    prior = PixelPrior()
    add_lora(prior.network, SMALL)
    with torch.no_grad():
        next(iter(lora_state(prior.network).values())).fill_(float("nan"))
    with pytest.raises(FitError, match="loss is nan"):
        train_lora(prior, prior.network, [Examples(images(), Condition())], SMALL)


def test_bad_settings_and_images():
    for change in ({"rank": 0}, {"steps": 0}, {"batch": 0}, {"learning_rate": 0}, {"prior_weight": -1},
                   {"learning_rate": float("nan")}):
        with pytest.raises(ConfigError, match="needs"):
            PersonalizeConfig(**change)
    for bad in (torch.rand(3, 4, 4), torch.rand(0, 3, 4, 4), torch.rand(1, 3, 4, 4) * 20, images() * float("nan")):
        with pytest.raises(PriorError, match="training images"):
            Examples(bad, Condition())
    prior = PixelPrior()
    with pytest.raises(PriorError, match="add_lora first"):
        train_lora(prior, prior.network, [Examples(images(), Condition())], SMALL)


def test_concept_images_come_from_the_prior():
    toy = GaussianDenoiser(torch.full((3, 4, 4), 0.5), 0.02)
    got = concept_images(toy, Condition(), 6, torch.zeros(1, 3, 4, 4), karras(16, 0.01, 20.0), sampler=euler, seed=1)
    assert got.shape == (6, 3, 4, 4) and float(got.mean()) == pytest.approx(0.75, abs=0.02)
    assert not torch.equal(got[0], got[1])
    fewer = concept_images(toy, Condition(), 2, torch.zeros(1, 3, 4, 4), karras(16, 0.01, 20.0), sampler=euler, seed=1)
    assert torch.allclose(fewer, got[:2], atol=1e-6)


# -------------------------------------------------------------------------------------------------------------- files
def test_equal_inputs_reuse_the_file_and_others_do_not(tmp_path):
    sets, events = [Examples(images(), Condition(planes=torch.ones(1, 1, 16, 16)))], []
    first = PixelPrior()
    path = personalise(first, first.network, sets, SMALL, tmp_path, events.append)
    assert len(events) == SMALL.steps and path.suffix == ".safetensors"
    again = PixelPrior()
    assert personalise(again, again.network, sets, SMALL, tmp_path, events.append) == path
    assert len(events) == SMALL.steps  # Not trained a second time.
    x = torch.randn(1, 3, 4, 4)
    assert torch.equal(first.network(x), again.network(x))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # No temporary file is left.


def test_key_depends_on_every_input_but_not_on_the_adapter():
    module, sets = Body(), [Examples(images(), Condition(planes=torch.ones(1, 1, 2, 2)))]
    key = adapter_key(module, sets, SMALL)
    assert key == adapter_key(Body(), [Examples(images(), Condition(planes=torch.ones(1, 1, 2, 2)))], SMALL)
    other = Body()
    with torch.no_grad():
        other.attention.to_q.weight[0, 0] += 1e-3
    changed = images()
    changed[0, 0, 0, 0] += 0.01
    assert len({key, adapter_key(other, sets, SMALL), adapter_key(module, sets, PersonalizeConfig(rank=3)),
                adapter_key(module, [Examples(changed, sets[0].condition)], SMALL),
                adapter_key(module, [Examples(images(), Condition(planes=torch.zeros(1, 1, 2, 2)))], SMALL),
                adapter_key(module, [Examples(images(), Condition(text=torch.ones(1, 2, 2)))], SMALL)}) == 6
    add_lora(module, SMALL)
    move(module)
    assert adapter_key(module, sets, SMALL) == key
