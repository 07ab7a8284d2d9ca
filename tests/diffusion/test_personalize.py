"""LoRA: off equals base bit for bit, training learns, files are trusted only when they fit."""
from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from dipir.diffusion.denoiser import AbstractDenoiser, Condition
from dipir.diffusion.lora import (
    PersonalizeConfig,
    add_lora,
    disable_lora,
    load_lora,
    lora_state,
    remove_lora,
    save_lora,
)
from dipir.diffusion.personalize import Examples, FrozenBase, adapter_key, concept_images, personalise, train_lora
from dipir.diffusion.pretrained import load_pretrained
from dipir.diffusion.sampler import euler
from dipir.diffusion.schedule import karras
from dipir.diffusion.toy import GaussianDenoiser
from dipir.errors import ConfigError, FitError, PriorError
from dipir.guidance.distillation import constant, lds


class Attention(nn.Module):
    """Self-attention with the layer names of the embedded U-Net: ``to_out`` is a linear layer itself."""

    def __init__(self, width):
        super().__init__()
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        weights = (self.to_q(x) @ self.to_k(x).transpose(1, 2) / x.shape[-1] ** 0.5).softmax(-1)
        return x + self.to_out(weights @ self.to_v(x))


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.attention, self.outer = nn.Conv2d(3, 8, 1), Attention(8), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        tokens = self.attention(self.inner(x).flatten(2).transpose(1, 2))
        return self.outer(tokens.transpose(1, 2).reshape(len(x), 8, *x.shape[2:]))


class PixelPrior(AbstractDenoiser):
    sigma_min, sigma_max = 0.03, 14.0

    def __init__(self):
        self.network = Body().requires_grad_(False)

    def __call__(self, x, sigma, condition):
        s = sigma.reshape(-1, 1, 1, 1)
        return x / (1 + s**2) + s / (1 + s**2).sqrt() * self.network(x / (1 + s**2).sqrt())

    def encode(self, image_disp):
        return 2 * image_disp - 1

    def decode(self, latent):
        return ((latent + 1) / 2).clamp(0, 1)


@pytest.fixture
def sd(folders):
    return load_pretrained(folders["sd1"])


def images(n=2, size=16):
    ramp = torch.linspace(0.1, 0.9, size)
    picture = torch.stack([ramp.expand(size, size), ramp[:, None].expand(size, size), torch.full((size, size), 0.3)])
    return picture.expand(n, 3, size, size).contiguous()


def move(module, size=0.3):
    """Give the adapter a value as training would: B is not zero any more."""
    gen = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for tensor in lora_state(module).values():
            tensor.add_(torch.randn(tensor.shape, generator=gen) * size)


SMALL = PersonalizeConfig(rank=2, learning_rate=1e-2, steps=5, batch=2)


# ------------------------------------------------------------------------------------------------------------ adapter
def test_fresh_adapter_and_switched_off_adapter_are_the_base_bit_for_bit(sd):
    x, sigma, condition = torch.randn(2, 4, 8, 8), torch.tensor([0.4, 3.0]), sd.encode_text("car")
    with torch.no_grad():
        base = sd(x, sigma, condition)
        add_lora(sd.network, SMALL)
        assert torch.equal(sd(x, sigma, condition), base)  # B = 0
        move(sd.network)
        personal = sd(x, sigma, condition)
        assert not torch.allclose(personal, base, atol=1e-4)
        with disable_lora(sd.network):
            assert torch.equal(sd(x, sigma, condition), base)
        assert torch.equal(FrozenBase(sd, sd.network)(x, sigma, condition), base)
        assert torch.equal(sd(x, sigma, condition), personal)
        remove_lora(sd.network)
        assert torch.equal(sd(x, sigma, condition), base) and not lora_state(sd.network)


def test_disabling_restores_flags_also_after_an_error():
    prior = PixelPrior()
    add_lora(prior.network, SMALL)
    frozen = next(iter(lora_state(prior.network).values())).requires_grad_(False)
    flags = [p.requires_grad for p in prior.network.parameters()]
    move(prior.network)
    x = torch.randn(1, 3, 4, 4)
    before = prior.network(x)
    with pytest.raises(RuntimeError), disable_lora(prior.network):
        raise RuntimeError
    assert [p.requires_grad for p in prior.network.parameters()] == flags and not frozen.requires_grad
    with disable_lora(prior.network):
        with disable_lora(prior.network):
            pass
        assert not torch.equal(prior.network(x), before)  # The inner block leaves the outer one in force.
    assert torch.equal(prior.network(x), before)


def test_layers_of_both_naming_styles_are_found(sd):
    assert sorted(add_lora(PixelPrior().network, SMALL)) == [f"attention.to_{n}" for n in ("k", "out", "q", "v")]
    names = add_lora(sd.network, SMALL)
    endings = {re.search(r"to_\w+(\.0)?$", name).group() for name in names}
    assert endings == {"to_q", "to_k", "to_v", "to_out.0"}
    trainable = {n for n, p in sd.network.named_parameters() if p.requires_grad}
    assert trainable == set(lora_state(sd.network)) and len(trainable) == 2 * len(names)
    assert all(min(t.shape) == 2 for t in lora_state(sd.network).values())


def test_all_layers_can_be_adapted():
    """Convolutions and linear layers outside the attention too, for a prior in which attention has little say."""
    body = Body()
    x = torch.rand(1, 3, 4, 4)
    before = body(x)
    names = add_lora(body, PersonalizeConfig(rank=2, layers="all"))
    assert set(names) == {"inner", "outer", *(f"attention.{n}" for n in ("to_q", "to_k", "to_v", "to_out"))}
    assert torch.equal(body(x), before)
    with torch.no_grad():
        for name, weight in lora_state(body).items():
            if name.startswith("outer") and "lora_B" in name:
                weight.fill_(0.1)
    assert not torch.allclose(body(x), before)
    with disable_lora(body):
        assert torch.equal(body(x), before)


def test_adapter_start_depends_on_its_seed_and_leaves_the_global_generator_alone():
    def weights(seed):
        module = PixelPrior().network
        add_lora(module, PersonalizeConfig(seed=seed))
        return torch.cat([t.detach().flatten() for t in lora_state(module).values()])
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    module = Body()
    torch.manual_seed(5)
    add_lora(module, SMALL)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))


def test_networks_that_cannot_be_adapted():
    with pytest.raises(PriorError, match="no attention layer"):
        add_lora(nn.Sequential(nn.Linear(2, 2)), SMALL)
    module = PixelPrior().network
    add_lora(module, SMALL)
    with pytest.raises(PriorError, match="adapter already"):
        add_lora(module, SMALL)


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
    score = lds(prior, FrozenBase(prior, prior.network), z, Condition(), Condition(), torch.full((16,), 1.0),
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
    got = concept_images(toy, Condition(), 6, torch.zeros(1, 3, 4, 4), karras(16, 0.01, 20.0), euler, seed=1)
    assert got.shape == (6, 3, 4, 4) and float(got.mean()) == pytest.approx(0.75, abs=0.02)
    assert not torch.equal(got[0], got[1])
    fewer = concept_images(toy, Condition(), 2, torch.zeros(1, 3, 4, 4), karras(16, 0.01, 20.0), euler, seed=1)
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


def test_files_that_do_not_fit(tmp_path):
    module = Body()
    add_lora(module, SMALL)
    move(module)
    file = tmp_path / "deep" / "a.safetensors"
    save_lora(file, module, "key")
    target = Body()
    add_lora(target, PersonalizeConfig(rank=2))
    load_lora(file, target, "key")
    assert all(torch.equal(a, b) for a, b in zip(lora_state(module).values(), lora_state(target).values(), strict=True))
    kept = {n: t.detach().clone() for n, t in lora_state(target).items()}
    with pytest.raises(PriorError, match="other images, settings or weights"):
        load_lora(file, target, "another")
    whole = file.read_bytes()
    for size in (0, 7, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(PriorError, match="cannot be read"):
            load_lora(file, target, "key")
    file.write_bytes(b"PK not weights at all" * 40)
    with pytest.raises(PriorError, match="cannot be read"):
        load_lora(file, target, "key")
    with pytest.raises(PriorError, match="cannot be read"):
        load_lora(tmp_path / "absent.safetensors", target)
    wide = Body()
    add_lora(wide, PersonalizeConfig(rank=3))
    save_lora(file, wide, "key")
    with pytest.raises(PriorError, match="do not fit"):
        load_lora(file, target, "key")
    with torch.no_grad():
        next(iter(lora_state(module).values()))[0, 0] = float("nan")
    save_lora(file, module, "key")
    with pytest.raises(PriorError, match="NaN"):
        load_lora(file, target, "key")
    assert all(torch.equal(t, kept[n]) for n, t in lora_state(target).items())


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    module = Body()
    add_lora(module, SMALL)
    with pytest.raises(PriorError, match="cannot be written"):
        save_lora(tmp_path / "file" / "a.safetensors", module, "key")
