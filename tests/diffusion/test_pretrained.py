"""Local diffusers folders: right numbers, right gradients, and one clear message for each thing that can be wrong."""
from __future__ import annotations

import json
import shutil

import pytest
import torch

from dipir.diffusion.denoiser import AbstractDenoiser, Condition, GuidedDenoiser
from dipir.diffusion.pretrained import MemoryOptions, load_pretrained
from dipir.diffusion.sampler import euler
from dipir.diffusion.schedule import ladder, scaled_linear_alphas, sigmas_from_alphas
from dipir.errors import ConfigError, PriorError
from dipir.guidance.distillation import apply_score, lds, sds

KINDS = ("sd1", "sd2", "xl")


@pytest.fixture(scope="module")
def priors(folders):
    return {kind: load_pretrained(folders[kind]) for kind in KINDS}


@pytest.fixture
def broken(folders, tmp_path):
    """A copy of the SD 1 folder to be damaged."""
    return shutil.copytree(folders["sd1"], tmp_path / "prior")


# ------------------------------------------------------------------------------------------------------------ numbers
@pytest.mark.parametrize("kind", KINDS)
def test_estimate_is_the_suppliers_pred_original_sample(folders, priors, kind):
    """Independent path: their U-Net at an integer time and their scheduler's formula."""
    from diffusers import DDPMScheduler, UNet2DConditionModel

    prior, t = priors[kind], 321
    unet = UNet2DConditionModel.from_pretrained(folders[kind] / "unet", use_safetensors=True)
    scheduler = DDPMScheduler.from_pretrained(folders[kind] / "scheduler")
    condition = prior.encode_text("a car")
    gen = torch.Generator().manual_seed(0)
    z = torch.randn(2, 4, 8, 8, generator=gen)
    added = {"text_embeds": condition.text_pooled.expand(2, -1),
             "time_ids": torch.tensor([[16.0, 16, 0, 0, 16, 16]] * 2)} if kind == "xl" else None
    with torch.no_grad():
        out = unet(z, t, encoder_hidden_states=condition.text.expand(2, -1, -1), added_cond_kwargs=added).sample
        theirs = scheduler.step(out, t, z).pred_original_sample
        sigma = prior.parts.table[t].float().expand(2)
        ours = prior(z * (sigma[0] ** 2 + 1).sqrt(), sigma, condition)
    assert scheduler.config.prediction_type == ("v_prediction" if kind == "sd2" else "epsilon")
    assert torch.allclose(ours, theirs, atol=1e-3) and float(ours.std()) > 0.05


def test_noise_range_is_that_of_the_scheduler_file(priors):
    table = sigmas_from_alphas(scaled_linear_alphas())
    assert priors["sd1"].sigma_min == pytest.approx(float(table[0]), rel=1e-3)
    assert priors["sd1"].sigma_max == pytest.approx(float(table[-1]), rel=1e-3)


@pytest.mark.parametrize("kind,width", [("sd1", 8), ("sd2", 8), ("xl", 16)])
def test_text(priors, kind, width):
    condition = priors[kind].encode_text(["a car", "z"])
    assert condition.text.shape == (2, 77, width)
    assert (condition.text_pooled is None) == (kind != "xl")
    assert not torch.allclose(condition.text[0], condition.text[1])
    alone = priors[kind].encode_text("z")
    assert torch.allclose(alone.text[0], condition.text[1], atol=1e-5)
    positive, negative = priors[kind].encode_pair("a car", "")
    assert torch.allclose(positive.text, condition.text[:1], atol=1e-5)
    assert not torch.allclose(positive.text, negative.text)


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_what_the_suppliers_pipeline_feeds_its_network(priors, kind):
    from diffusers import DDPMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

    parts, given = priors[kind].parts, {"prompt": "a car", "device": "cpu", "num_images_per_prompt": 1,
                                        "do_classifier_free_guidance": False}
    shared = {"vae": parts.vae, "text_encoder": parts.text_encoders[0], "tokenizer": parts.tokenizers[0],
              "unet": parts.unet,
              "scheduler": DDPMScheduler(steps_offset=1, clip_sample=False)}
    ours = priors[kind].encode_text("a car")
    if kind == "xl":
        pipeline = StableDiffusionXLPipeline(**shared, text_encoder_2=parts.text_encoders[1],
                                             tokenizer_2=parts.tokenizers[1], add_watermarker=False)
        text, _, pooled, _ = pipeline.encode_prompt(**given)
        assert torch.allclose(ours.text_pooled, pooled, atol=1e-5)
    else:
        pipeline = StableDiffusionPipeline(**shared, safety_checker=None, feature_extractor=None,
                                           requires_safety_checker=False)
        text, _ = pipeline.encode_prompt(**given)
    assert torch.allclose(ours.text, text, atol=1e-5)


def test_tokens_are_what_the_hand_written_vocabulary_says(priors):
    ids = priors["sd1"].parts.tokenizers[0]("a car").input_ids
    assert ids == [54, 26, 53, 55]  # <start> a</w> car</w> <end>


def test_prompt_changes_the_estimate_and_batches_agree(priors):
    prior, x, sigma = priors["xl"], torch.randn(2, 4, 8, 8), torch.tensor([0.5, 3.0])
    with torch.no_grad():
        a, b = (prior(x, sigma, prior.encode_text(p)) for p in ("a car", "zz"))
        assert float((a - b).abs().max()) > 1e-6
        alone = prior(x[1:], sigma[1:], prior.encode_text("a car"))
    assert torch.allclose(alone, a[1:], atol=1e-5)


def test_long_prompt_is_cut_with_a_warning(priors):
    with pytest.warns(UserWarning, match="only the first 77"):
        assert priors["sd1"].encode_text("car " * 90).text.shape[1] == 77


def test_sampling_and_decoding(priors):
    prior = priors["sd1"]
    guided = GuidedDenoiser(prior, 5.0, prior.encode_text(""))
    levels = ladder(prior.parts.table, 3)
    out = prior.decode(euler(guided, torch.randn(1, 4, 8, 8) * levels[0], levels, prior.encode_text("a car")))
    assert out.shape == (1, 3, 16, 16) and 0 <= float(out.min()) and float(out.max()) <= 1


# ---------------------------------------------------------------------------------------------------------- gradients
def test_encode_is_the_scaled_posterior_mean_or_a_sample(priors):
    prior, image = priors["sd1"], torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        posterior = prior.parts.vae.encode(2 * image - 1).latent_dist
        assert torch.allclose(prior.encode(image), posterior.mean * 0.18215, atol=1e-6)
        def draw(seed):
            return prior.encode(image, torch.Generator().manual_seed(seed))
        assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))


def test_gradient_through_the_vae_equals_finite_differences(folders):
    prior = load_pretrained(folders["sd1"])
    prior.parts.vae.double()
    gen = torch.Generator().manual_seed(0)
    image = (0.2 + 0.6 * torch.rand(1, 3, 16, 16, dtype=torch.float64, generator=gen)).requires_grad_()
    weights = torch.randn(1, 4, 8, 8, dtype=torch.float64, generator=gen)
    (prior.encode(image) * weights).sum().backward()
    direction = torch.randn(image.shape, dtype=torch.float64, generator=gen)
    with torch.no_grad():
        up, down = ((prior.encode(image + h * direction) * weights).sum() for h in (1e-5, -1e-5))
    assert float((image.grad * direction).sum()) == pytest.approx(float((up - down) / 2e-5), rel=1e-5)
    assert float(image.grad.abs().max()) > 1e-6


def test_vae_stays_in_float32_under_autocast(priors):
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        plain = priors["sd1"].encode(image)
        with torch.autocast("cpu", torch.bfloat16):
            inside = priors["sd1"].encode(image)
            decoded = priors["sd1"].decode(inside)
    assert inside.dtype == torch.float32 and torch.equal(inside, plain) and decoded.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_score_reaches_the_image(priors, kind):
    prior = priors[kind]
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    z = prior.encode(image)
    condition, empty = prior.encode_pair("a car")
    draw = (torch.tensor([0.8]), torch.randn(1, 4, 8, 8))
    for score in (sds(prior, z, condition, *draw), lds((prior, prior), z, (condition, empty), *draw)):
        image.grad = None
        apply_score(z, score).backward(retain_graph=True)
        assert bool(torch.isfinite(image.grad).all()) and float(image.grad.abs().max()) > 0
    assert all(not p.requires_grad for p in prior.network.parameters())


def test_memory_options_change_no_number(folders, priors):
    thrifty = load_pretrained(folders["sd1"], options=MemoryOptions(True, True, True))
    assert thrifty.parts.vae.use_slicing and thrifty.network.is_gradient_checkpointing
    x, sigma, condition = torch.randn(2, 4, 8, 8), torch.tensor([0.3, 2.0]), thrifty.encode_text("car")
    with torch.no_grad():
        assert torch.allclose(thrifty(x, sigma, condition), priors["sd1"](x, sigma, condition), atol=1e-4)
    image = torch.rand(2, 3, 16, 16)
    grads = []
    for prior in (thrifty, priors["sd1"]):
        leaf = image.clone().requires_grad_()
        prior.encode(leaf).square().sum().backward()
        grads.append(leaf.grad)
    assert torch.allclose(*grads, atol=1e-6)


def test_controlnet_from_its_folder(folders, tmp_path, priors):
    from diffusers import ControlNetModel

    net = ControlNetModel.from_unet(priors["sd1"].network, conditioning_channels=3,
                                    conditioning_embedding_out_channels=(8, 8))
    for parameter in net.parameters():  # Its outputs start at zero; make them matter.
        torch.nn.init.normal_(parameter, std=0.05)
    net.save_pretrained(tmp_path / "control")
    prior = load_pretrained(folders["sd1"], options=MemoryOptions(controlnet=str(tmp_path / "control")))
    x, sigma, text = torch.randn(1, 4, 8, 8), torch.tensor([1.0]), prior.encode_text("car").text
    with torch.no_grad():
        plain = prior(x, sigma, Condition(text=text))
        black, white = (prior(x, sigma, Condition(text=text, control=torch.full((1, 3, 16, 16), v)))
                        for v in (0.0, 1.0))
    assert torch.equal(plain, priors["sd1"](x, sigma, Condition(text=text)))
    assert not torch.allclose(black, white) and not torch.allclose(black, plain)
    with pytest.raises(PriorError, match="no ControlNet was loaded"):
        priors["sd1"](x, sigma, Condition(text=text, control=torch.zeros(1, 3, 8, 8)))


# ------------------------------------------------------------------------------------------------- published variants
def test_old_attention_names_of_the_vae_are_read(broken, priors):
    """Folders of SD 1.x were saved with query, key, value, proj_attn."""
    from safetensors.torch import load_file, save_file

    file = broken / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = load_file(file)
    renamed = {}
    for name, value in state.items():
        for new, before in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        renamed[name] = value
    assert renamed.keys() != state.keys()
    save_file(renamed, file, metadata={"format": "pt"})
    image = torch.rand(1, 3, 16, 16)
    assert torch.allclose(load_pretrained(broken).encode(image), priors["sd1"].encode(image), atol=1e-6)


def test_other_scheduler_class_and_zero_terminal_snr(broken):
    config = {"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012,
              "beta_schedule": "scaled_linear",
              "num_train_timesteps": 1000, "skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1}
    (broken / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    assert load_pretrained(broken).sigma_max == pytest.approx(14.61, abs=0.01)
    (broken / "scheduler" / "scheduler_config.json").write_text(json.dumps(
        config | {"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}))
    prior = load_pretrained(broken)
    assert prior.parts.prediction == "v_prediction" and 1000 < prior.sigma_max < 1e5


# ---------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize("part,name", [("unet", "diffusion_pytorch_model.safetensors"), ("unet", "config.json"),
                                       ("vae", "diffusion_pytorch_model.safetensors"),
                                       ("text_encoder", "model.safetensors"),
                                       ("tokenizer", "vocab.json"), ("scheduler", "scheduler_config.json")])
@pytest.mark.parametrize("keep", [0, 100])
def test_truncated_files(broken, part, name, keep):
    file = broken / part / name
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(PriorError, match=part):
        load_pretrained(broken)


@pytest.mark.parametrize("part,name,word", [("unet", "diffusion_pytorch_model.safetensors", "conv_in.weight"),
                                            ("text_encoder", "model.safetensors", "token_embedding")])
def test_absent_weights_are_not_filled_with_noise(broken, part, name, word):
    from safetensors.torch import load_file, save_file

    file = broken / part / name
    state = {k: v for k, v in load_file(file).items() if word not in k}
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(PriorError, match=word):
        load_pretrained(broken)


def test_weights_of_another_architecture(broken, folders):
    shutil.copy(folders["xl"] / "unet" / "diffusion_pytorch_model.safetensors", broken / "unet")
    shutil.copy(folders["xl"] / "vae" / "diffusion_pytorch_model.safetensors", broken / "vae")
    with pytest.raises(PriorError, match="unet"):
        load_pretrained(broken)


def test_tokenizer_of_another_model(broken):
    vocab = json.loads((broken / "tokenizer" / "vocab.json").read_text())
    (broken / "tokenizer" / "vocab.json").write_text(json.dumps(vocab | {f"w{i}": len(vocab) + i for i in range(9)}))
    with pytest.raises(PriorError, match="different models"):
        load_pretrained(broken)


def test_other_prediction_type(broken):
    file = broken / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"prediction_type": "sample"}))
    with pytest.raises(PriorError, match="prediction_type is 'sample'"):
        load_pretrained(broken)


def test_half_floats_need_a_gpu(folders):
    with pytest.raises(ConfigError, match="half floats are for a GPU"):
        load_pretrained(folders["sd1"], dtype=torch.float16)


def test_bad_images_and_conditions(priors):
    prior = priors["sd1"]
    with pytest.raises(PriorError, match="multiples of 2"):
        prior.encode(torch.rand(1, 3, 15, 16))
    with pytest.raises(PriorError, match="text condition"):
        prior(torch.zeros(1, 4, 8, 8), torch.ones(1), Condition())
    with pytest.raises(PriorError, match="text_pooled"):
        priors["xl"](torch.zeros(1, 4, 8, 8), torch.ones(1), Condition(text=torch.zeros(1, 77, 16)))


def test_nothing_is_fetched(folders, monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError("network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert isinstance(load_pretrained(folders["sd2"]), AbstractDenoiser)
