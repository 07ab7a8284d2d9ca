"""Recorded attention: it changes nothing, and is what the layers use, for our prior and for those of diffusers."""
from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dipir.diffusion.attention import AttentionMaps, layers_after_downsampling, recording
from dipir.diffusion.denoiser import GuidedDenoiser
from dipir.diffusion.pretrained import MemoryOptions, load_pretrained
from dipir.diffusion.toy import GaussianDenoiser
from dipir.errors import PriorError
from dipir.priors.captions import LONGEST
from dipir.priors.nets.text_unet import WordAttention
from tests.priors.test_layout import scrambled

KINDS = ("sd1", "sd2", "xl")
SAID = ["a red cube on a grey floor", "a mug"]


@pytest.fixture(scope="module")
def priors(folders):
    return {kind: load_pretrained(folders[kind]) for kind in KINDS}


def _hooks(module: torch.nn.Module) -> int:
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in module.modules())


def _noise(channels: int, *size: int) -> torch.Tensor:
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(1))


# ---- maps ------------------------------------------------------------------------------------------------------------

def test_mean_over_calls_then_layers_by_hand() -> None:
    maps, rising = AttentionMaps(), torch.arange(6.0).reshape(1, 2, 1, 3)
    maps.add("a", torch.ones(1, 2, 1, 3))
    maps.add("a", 3 * torch.ones(1, 2, 1, 3))
    maps.add("b", rising)
    torch.testing.assert_close(maps.mean(1, 3), (2 + rising) / 2)


def test_layers_of_any_size_are_resized_and_still_sum_to_one() -> None:
    g = torch.Generator().manual_seed(0)
    fine, coarse = (torch.randn(2, 5, n, n, generator=g).softmax(1) for n in (16, 4))
    maps = AttentionMaps()
    maps.add("fine", fine)
    maps.add("coarse", coarse)
    for size in ((8, 8), (4, 4), (64, 48)):
        mean = maps.mean(*size)
        assert mean.shape == (2, 5, *size)
        torch.testing.assert_close(mean.sum(1), torch.ones(2, *size))
    only = AttentionMaps()
    only.add("coarse", coarse)
    torch.testing.assert_close(only.mean(8, 8), functional.interpolate(coarse, (8, 8), mode="bilinear"))
    torch.testing.assert_close(only.mean(4, 4), coarse)


def test_nothing_recorded_and_sizes_that_do_not_agree() -> None:
    with pytest.raises(PriorError, match="no attention was recorded"):
        AttentionMaps().mean(8, 8)
    maps = AttentionMaps()
    maps.add("a", torch.ones(1, 2, 4, 4))
    with pytest.raises(PriorError, match=r"\(2, 2, 4, 4\).*after one of \(1, 2, 4, 4\)"):
        maps.add("a", torch.ones(2, 2, 4, 4))


# ---- layout prior ----------------------------------------------------------------------------------------------------

def test_recording_the_layout_prior_changes_nothing() -> None:
    prior, x, sigma = scrambled(), _noise(3, 16, 24), torch.tensor([0.5, 9.0])
    condition = prior.encode_text(SAID)
    before = prior(x, sigma, condition)
    with recording(prior) as maps:
        assert torch.equal(prior(x, sigma, condition), before)
    assert _hooks(prior.net) == 0 and torch.equal(prior(x, sigma, condition), before)
    mean = maps.mean(64, 64)
    assert mean.shape == (2, LONGEST, 64, 64) and not mean.requires_grad
    torch.testing.assert_close(mean.sum(1), torch.ones(2, 64, 64))
    # Padding gets nothing; the start and the words all get something.
    assert (mean.amax((2, 3)) > 0).sum(1).tolist() == [8, 3]


def test_layout_maps_are_the_mean_of_its_layers() -> None:
    prior, x = scrambled(), _noise(3, 16, 16)
    condition, given = prior.encode_text(SAID), []
    layers = [m for m in prior.net.modules() if isinstance(m, WordAttention)]
    handles = [m.register_forward_hook(lambda m, args, out: given.append(m.weights(*args))) for m in layers]
    with recording(prior) as maps:
        prior(x, torch.ones(2), condition)
    for handle in handles:
        handle.remove()
    assert len(given) == 5
    expected = torch.stack([functional.interpolate(w, (4, 4), mode="bilinear", antialias=True) for w in given]).mean(0)
    torch.testing.assert_close(maps.mean(4, 4), expected)


def test_only_what_happens_inside_is_recorded_and_graphs_are_not_kept() -> None:
    prior, sigma, condition = scrambled(), torch.ones(2), scrambled().encode_text(SAID)
    one, other = _noise(3, 16, 16).requires_grad_(), _noise(3, 16, 16).flip(0)
    prior(other, sigma, condition)
    with recording(prior) as first:
        prior(one, sigma, condition)
    with recording(prior) as second:
        prior(other, sigma, condition)
    with recording(prior) as both:
        prior(one, sigma, condition)
        prior(other, sigma, condition)
    assert not torch.allclose(first.mean(8, 8), second.mean(8, 8), atol=1e-4)
    torch.testing.assert_close(both.mean(8, 8), (first.mean(8, 8) + second.mean(8, 8)) / 2)
    assert not first.mean(8, 8).requires_grad


# ---- pretrained ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
def test_recording_a_pretrained_prior_changes_nothing(priors, kind: str) -> None:
    prior, x, sigma = priors[kind], _noise(4, 8, 12), torch.tensor([0.5, 9.0])
    condition = prior.encode_text(["a car", "ox"])
    processors = dict(prior.network.attn_processors)
    with torch.no_grad():
        before = prior(x, sigma, condition)
        with recording(prior) as maps:
            assert torch.equal(prior(x, sigma, condition), before)
        assert torch.equal(prior(x, sigma, condition), before)
    assert _hooks(prior.network) == 0
    assert all(prior.network.attn_processors[k] is v for k, v in processors.items())
    mean = maps.mean(8, 12)
    assert mean.shape == (2, 77, 8, 12)
    torch.testing.assert_close(mean.sum(1), torch.ones(2, 8, 12))
    assert float(mean.std(1).min()) > 0


def test_maps_are_the_probabilities_that_diffusers_computes(priors) -> None:
    """Independent path: their slow processor, which asks the layer for its scores."""
    from diffusers.models.attention_processor import AttnProcessor

    prior, x, sigma = priors["sd1"], _noise(4, 8, 12), torch.tensor([0.5, 9.0])
    layer = prior.network.down_blocks[1].attentions[0].transformer_blocks[0].attn2
    kept, scores, seen = layer.processor, layer.get_attention_scores, []
    layer.set_processor(AttnProcessor())
    layer.get_attention_scores = lambda *args: seen.append(scores(*args)) or seen[-1]
    try:
        with torch.no_grad(), recording(prior) as maps:
            prior(x, sigma, prior.encode_text(["a car", "ox"]))
    finally:
        layer.set_processor(kept)
        del layer.get_attention_scores
    (theirs,) = seen  # (batch x heads, places, words)
    expected = theirs.unflatten(0, (2, -1)).mean(1).transpose(1, 2).reshape(2, 77, 4, 6)
    torch.testing.assert_close(maps.mean(4, 6), expected, atol=1e-6, rtol=1e-5)


def test_sliced_attention_is_recorded_alike(folders, priors) -> None:
    sliced = load_pretrained(folders["sd1"], options=MemoryOptions(attention_slicing=True))
    means = []
    for prior in (priors["sd1"], sliced):
        with torch.no_grad(), recording(prior) as maps:
            prior(_noise(4, 8, 8), torch.ones(2), prior.encode_text("a car"))
        means.append(maps.mean(8, 8))
    torch.testing.assert_close(means[0], means[1], atol=1e-5, rtol=1e-4)


def test_which_blocks_are_recorded() -> None:
    """Stable Diffusion 1.x in small: the first transformer after each down-sampling, the middle for the last."""
    from diffusers import UNet2DConditionModel

    cross = "CrossAttnDownBlock2D"
    def unet(down):
        return UNet2DConditionModel(
            sample_size=16, block_out_channels=(8,) * len(down), layers_per_block=2, norm_num_groups=4,
            down_block_types=down, up_block_types=("UpBlock2D",) * len(down), attention_head_dim=4,
            cross_attention_dim=8)
    layer = "{}.attentions.0.transformer_blocks.0.attn2".format
    block = "{}.attentions.0".format
    def names(*parts):
        return {block(part): [layer(part)] for part in parts}
    assert layers_after_downsampling(unet((cross, cross, cross, "DownBlock2D"))) == names(
        "down_blocks.1", "down_blocks.2", "mid_block")
    assert layers_after_downsampling(unet(("DownBlock2D", cross, cross))) == names("down_blocks.1", "down_blocks.2")
    assert layers_after_downsampling(unet((cross, "DownBlock2D"))) == names("mid_block")


# ---- errors ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["layout", "sd1"])
def test_everything_is_put_back_after_an_exception(priors, kind: str) -> None:
    prior = scrambled() if kind == "layout" else priors[kind]
    module = prior.net if kind == "layout" else prior.network
    with pytest.raises(KeyError), recording(prior):
        assert _hooks(module) > 0
        raise KeyError
    assert _hooks(module) == 0


def test_priors_without_words(priors) -> None:
    toy = GaussianDenoiser(torch.zeros(1, 3, 8, 8), 1.0)
    for prior in (toy, GuidedDenoiser(scrambled(), 3.0, scrambled().encode_text(""))):
        with pytest.raises(PriorError, match=f"{type(prior).__name__} has no cross-attention.*Give the prior itself"):
            with recording(prior):
                pass
