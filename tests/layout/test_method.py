"""layout() on a prior whose captions are Gaussians: identities, what is drawn where, batches, editing; then tiny random
models of both real kinds."""
from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import pytest
import torch

from dipir.arrays import split_seed
from dipir.diffusion import sampler as samplers
from dipir.diffusion.denoiser import GuidedDenoiser
from dipir.diffusion.pretrained import load_pretrained
from dipir.diffusion.schedule import karras, ladder
from dipir.errors import ConfigError, ImageError, PriorError, SceneError
from dipir.image.palette import NAMED
from dipir.layout.config import LayoutConfig, LayoutSampler
from dipir.layout.method import LayoutRequest, layout, layouts
from dipir.layout.regions import Region, box_mask
from dipir.layout.work import canvas_of, start_noise
from dipir.priors.captions import COLOURS
from dipir.priors.layout import LayoutPrior
from dipir.settings import read
from tests.support.tiny_diffusion import build_pipeline
from tests.support.toy_layout import ColourToy

LEFT, RIGHT, ALL = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0)
SIZE = 8
TOY = ColourToy(size=SIZE)
PLAIN = ["attention=false", "width=8", "height=8", "sampler.steps=10", "sampler.scale=1", "guidance.strength=0",
         "guidance.steps=0"]
WHITE = ("guidance.delta=constant", "guidance.colour='#ffffff'")


def settings(*pairs) -> LayoutConfig:
    return read.override(LayoutConfig(), [*PLAIN, *pairs])


def wanted(caption, *regions, **more) -> LayoutRequest:
    return LayoutRequest(caption, tuple(Region(*r) for r in regions), **more)


def sampled(caption, config, prior=TOY, negative="") -> torch.Tensor:
    """What the plain sampler makes of the caption, decoded."""
    kinds = {"ddim": samplers.ddim, "euler": samplers.euler, "heun": samplers.heun}
    sigmas = karras(config.sampler.steps, prior.sigma_min, prior.sigma_max)
    noise = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(
        split_seed(config.seed, "layout noise", 0)))
    if config.sampler.scale != 1:
        prior = GuidedDenoiser(prior, config.sampler.scale, prior.encode_text([negative]))
    return prior.decode(kinds[config.sampler.kind](prior, noise * sigmas[0], sigmas, TOY.encode_text([caption])))


# ----------------------------------------------------------------------------------------------------------- identities
@pytest.mark.parametrize("pairs", [
    (), ("sampler.kind=heun",), ("sampler.kind=euler",), ("seed=7",), ("guidance.kind=multidiffusion",),
    ("sampler.scale=4", "sampler.negative=a blue cube")])
def test_no_regions_is_the_sampler_bit_for_bit(pairs):
    config = settings("guidance.strength=0.5", *pairs)
    got = layout(wanted("a red cube"), config, prior=TOY)
    assert torch.equal(got.image, sampled("a red cube", config, negative=config.sampler.negative))
    assert got.layers == () and got.attention == ()


@pytest.mark.parametrize("kind", ["vision", "multidiffusion"])
@pytest.mark.parametrize("composition", ["per_step", "at_t0"])
def test_one_full_region_without_delta_is_its_captions_sampling(kind, composition):
    config = settings(f"guidance.kind={kind}", f"layers.composition={composition}", "guidance.bootstrap=0")
    got = layout(wanted("a red cube", ("a red cube", ALL)), config, prior=TOY)
    assert torch.equal(got.image, sampled("a red cube", config))
    whole = settings(f"guidance.kind={kind}", f"layers.composition={composition}", "layers.share=1",
                     "guidance.bootstrap=0")
    got = layout(wanted("a blue cube", ("a red cube", ALL)), whole, prior=TOY)
    assert torch.equal(got.image, sampled("a red cube", whole)), "layered to the end, the whole's caption is not heard"


def test_zero_delta_is_no_shift():
    request = wanted("a red cube", ("a red cube", LEFT))
    plain = layout(request, settings("guidance.delta=dynamic"), prior=TOY).image
    assert torch.equal(layout(request, settings(*WHITE), prior=TOY).image, plain)
    grey = settings("guidance.delta=constant", "guidance.strength=0.7", "guidance.colour='#808080'")
    assert float((layout(request, grey, prior=TOY).image - plain).abs().max()) < 0.01, "the code of grey is near 0"
    white = layout(request, settings(*WHITE, "guidance.strength=0.7"), prior=TOY).image
    assert float((white - plain).abs().max()) > 0.05


def test_guidance_none_does_not_see_the_regions():
    config = settings("guidance.kind=none")
    got = layout(wanted("a red cube", ("a blue cube", LEFT)), config, prior=TOY)
    assert torch.equal(got.image, sampled("a red cube", config)) and got.provenance["layered_steps"] == 0


@pytest.mark.parametrize("kind, composition, every", [
    ("vision", "per_step", True), ("vision", "at_t0", False), ("multidiffusion", "at_t0", True),
    ("multidiffusion", "per_step", True), ("paste", "per_step", False)])
def test_when_the_layers_meet(kind, composition, every):
    """Every pixel hears of the mean of the picture: layers that meet only at the end show their captions alone."""
    mixing = ColourToy(mix=0.5)
    config = settings(f"guidance.kind={kind}", f"layers.composition={composition}", "layers.share=1",
                      "guidance.bootstrap=0")
    got = layout(wanted("", ("a red cube", LEFT), ("a blue mug", RIGHT)), config, prior=mixing).image
    alone = [sampled(caption, config, mixing).mean((0, 2, 3)) for caption in ("a red cube", "a blue mug")]
    sides = [half.mean((0, 2, 3)) for half in (got[..., :4], got[..., 4:])]
    apart = float((sides[0] - sides[1]).norm() / (alone[0] - alone[1]).norm())
    assert (apart < 0.8) == every


def test_the_same_request_again_is_the_same_picture():
    request = wanted("", ("a red cube", LEFT), ("a blue mug", RIGHT))
    config = settings("guidance.delta=constant", "guidance.strength=0.3", "sampler.scale=2")
    first, again = (layout(request, config, prior=TOY).image for _ in range(2))
    assert torch.equal(first, again)
    other = layout(dataclasses.replace(request, seed=1), config, prior=TOY).image
    assert not torch.equal(first, other)
    assert torch.equal(other, layout(request, dataclasses.replace(config, seed=1), prior=TOY).image)


# --------------------------------------------------------------------------------------------------------------- oracle
@pytest.mark.parametrize("kind", ["vision", "multidiffusion"])
def test_each_region_shows_its_own_caption(kind):
    """Pixels are independent, so each side is exactly the sampling of its own caption from the same noise."""
    config = settings(f"guidance.kind={kind}", "layers.share=1", "guidance.bootstrap=0")
    got = layout(wanted("", ("a red cube", LEFT), ("a blue mug", (0.5, 0.0, 1.0, 0.5)), background="an empty floor"),
                 config, prior=TOY).image
    for caption, box in (("a red cube", LEFT), ("a blue mug", (0.5, 0.0, 1.0, 0.5)),
                         ("an empty floor", (0.5, 0.5, 1.0, 1.0))):
        part = box_mask(box, SIZE, SIZE).expand(1, 3, -1, -1) == 1
        assert torch.allclose(got[part], sampled(caption, config)[part], atol=1e-6)


def test_smaller_regions_lie_above():
    small = (0.25, 0.25, 0.75, 0.75)
    config = settings("layers.share=1")
    for regions in ([("a red cube", ALL), ("a blue mug", small)], [("a blue mug", small), ("a red cube", ALL)]):
        got = layout(wanted("", *regions), config, prior=TOY).image
        inside = box_mask(small, SIZE, SIZE).expand(1, 3, -1, -1) == 1
        assert torch.allclose(got[inside], sampled("a blue mug", config)[inside], atol=1e-6)
        assert torch.allclose(got[~inside], sampled("a red cube", config)[~inside], atol=1e-6)


def test_a_constant_delta_moves_the_region_as_predicted():
    """White's code is 1 in all channels; a Gaussian's Euler steps are linear (tests/layout/test_layers.py)."""
    strength, steps, applied = 0.2, 10, 3
    config = settings(*WHITE, f"guidance.strength={strength}", f"guidance.steps={applied}")
    request = wanted("a black cube", ("a black cube", LEFT), background="black")
    toy = ColourToy(std=0.05, size=SIZE)   # Narrow, so that clipping when decoding plays no part.
    moved = layout(request, config, prior=toy)
    plain = layout(request, settings(), prior=toy)
    levels = [float(s) for s in karras(steps, 0.02, 40.0)]
    left = [math.prod(1 + (b - a) * a / (0.05**2 + a**2) for a, b in pairwise(levels[i:])) for i in range(applied)]
    expected = strength * sum(math.sqrt(levels[i] ** 2 + 1) * left[i] for i in range(applied)) / 2
    difference = (moved.image - plain.image) / expected
    inside = box_mask(LEFT, SIZE, SIZE).expand(1, 3, -1, -1) == 1
    assert expected > 0.005 and torch.equal(moved.image[~inside], plain.image[~inside])
    free = inside & (plain.image > 0) & (moved.image > 0)
    assert torch.allclose(difference[free], torch.ones_like(difference[free]), atol=0.02) and int(free.sum()) > 40
    assert moved.provenance["deltas"] == {"01_black_cube": [1.0, 1.0, 1.0]}


@pytest.mark.parametrize("region, colour, expected", [
    (("a red cube", LEFT), "words", NAMED["red"]), (("a cube", LEFT), "'#ff00ff'", (1, 0, 1)),
    (("a red cube", LEFT), "blue", NAMED["blue"]), (("a red cube", LEFT, None, "", "green"), "blue", NAMED["green"])])
def test_whose_colour_a_constant_delta_has(region, colour, expected):
    config = settings("guidance.delta=constant", f"guidance.colour={colour}", "guidance.strength=0.1")
    delta, = layout(wanted("", region), config, prior=TOY).provenance["deltas"].values()
    assert delta == pytest.approx([2 * v - 1 for v in expected], abs=1e-4)


def test_without_a_colours_name_any_colour_by_the_seed():
    config, request = settings("guidance.strength=0.1"), wanted("", ("a cube", LEFT), ("a mug", RIGHT))
    seen = set()
    for seed in range(12):
        got = layout(dataclasses.replace(request, seed=seed), config, prior=TOY).provenance["deltas"]
        assert got == layout(dataclasses.replace(request, seed=seed), config, prior=TOY).provenance["deltas"]
        seen |= {tuple(delta) for delta in got.values()}
    assert seen <= {tuple(round(2 * v - 1, 5) for v in colour) for colour in COLOURS.values()} and len(seen) > 4


def test_negative_prompts_reach_their_layers():
    """Guided sampling of Gaussians of one width is sampling around negative + scale (positive - negative)."""
    config = settings("layers.share=1", "sampler.scale=2", "layers.avoid=true")
    red = Region("a red cube", LEFT, negative="a green cube")
    got = layout(LayoutRequest("a red cube on a blue floor", (red,), "a blue floor"), config, prior=TOY).image
    noise = start_noise(canvas_of(TOY, config), 0) * 40.0

    def around(positive, negative):
        mean = TOY.encode_text(negative).planes * -1 + 2 * TOY.encode_text(positive).planes
        told = dataclasses.replace(TOY.encode_text(positive), planes=mean)
        return TOY.decode(samplers.euler(TOY, noise, karras(10, 0.02, 40.0), told))

    inside = box_mask(LEFT, SIZE, SIZE).expand(1, 3, -1, -1) == 1
    assert torch.allclose(got[inside], around("a red cube", "a green cube")[inside], atol=1e-5)
    assert torch.allclose(got[~inside], around("a blue floor", "a red cube")[~inside], atol=1e-5), "it avoids objects"


def test_layers_are_one_batch_and_below_t0_there_is_one_picture():
    toy = ColourToy(size=SIZE)
    layout(wanted("", ("a red cube", LEFT), ("a blue mug", RIGHT), ("a mug", (0.2, 0.2, 0.4, 0.4))),
           settings("layers.stage=4"), prior=toy)
    assert toy.calls == [3] * 4 + [1] * 6, "nothing of the background is seen, so it is no layer"


def test_layers_have_their_own_estimates():
    got = layout(wanted("", ("a red cube", LEFT), background="a floor"), settings("layers.stage=9"),
                 prior=ColourToy(0.01, SIZE))
    assert [name for name, _ in got.layers] == ["00_background", "01_red_cube"]
    assert torch.allclose(got.layers[1][1].mean((0, 2, 3)), torch.tensor(COLOURS["red"]), atol=0.01)
    assert torch.allclose(got.layers[0][1], torch.full((1, 3, SIZE, SIZE), 0.5), atol=0.1)


def test_paste_starts_every_layer_from_noise_of_its_own():
    config = settings("guidance.kind=paste", "layers.share=0.5")
    got = layout(wanted("a red cube", ("a red cube", LEFT)), config, prior=TOY).image
    sigmas = karras(10, 0.02, 40.0)
    noise = start_noise(canvas_of(TOY, config), 0, layer=1) * sigmas[0]
    alone = TOY.decode(samplers.euler(TOY, noise, sigmas, TOY.encode_text("a red cube")))
    assert torch.allclose(got[..., :4], alone[..., :4], atol=1e-5)


def test_multidiffusion_averages_where_regions_overlap():
    config = settings("guidance.kind=multidiffusion", "guidance.bootstrap=0")
    toy = ColourToy(0.01, SIZE)
    got = layout(wanted("", ("a red cube", ALL), ("a blue mug", LEFT)), config, prior=toy).image
    mean = (torch.tensor(COLOURS["red"]) + torch.tensor(COLOURS["blue"])) / 2
    assert torch.allclose(got[..., :4].mean((0, 2, 3)), mean, atol=0.01)
    assert torch.allclose(got[..., 4:].mean((0, 2, 3)), torch.tensor(COLOURS["red"]), atol=0.01)


def test_bootstrap_is_for_the_first_share_of_the_steps():
    """Pixels are independent, so what a layer sees outside of its region changes nothing of the picture."""
    request = wanted("", ("a red cube", LEFT))
    with_it, without = (layout(request, settings("guidance.kind=multidiffusion", f"guidance.bootstrap={b}"), prior=TOY)
                        for b in (0.5, 0))
    assert torch.allclose(with_it.image, without.image, atol=1e-6)


# -------------------------------------------------------------------------------------------------------------- batches
def test_pictures_made_together_are_those_made_alone():
    requests = [wanted("", ("a red cube", LEFT), ("a blue mug", RIGHT), seed=3), wanted("a green cube", seed=4),
                wanted("", ("a pink torus", (0.1, 0.3, 0.9, 0.8)), seed=5)]
    config = settings("guidance.delta=constant", "guidance.strength=0.2", "sampler.scale=2")
    together = layouts(requests, config, prior=TOY)
    for got, request in zip(together, requests, strict=True):
        alone = layout(request, config, prior=TOY)
        assert torch.allclose(got.image, alone.image, atol=1e-6) and got.caption == alone.caption
        assert [n for n, _ in alone.layers] in ([n for n, _ in got.layers], [])


def test_events_count_the_steps_and_show_previews():
    seen = []
    layout(wanted("", ("a red cube", LEFT)), settings("sampler.steps=12"), prior=TOY, on_event=seen.append)
    assert [e.step for e in seen] == list(range(1, 13)) and {e.steps for e in seen} == {12}
    shown = {e.step: e.images["composite"] for e in seen if e.images}
    assert sorted(shown) == [10, 12] and shown[12].shape == (1, 3, SIZE, SIZE)


# ------------------------------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize("make, kind, text", [
    (lambda: wanted(""), ConfigError, "nothing was asked for"),
    (lambda: wanted("a cube", image=torch.rand(1, 3, 32, 32)), ConfigError, "no region"),
    (lambda: wanted("", ("a cube", LEFT), image=torch.rand(1, 3, 8, 32)), ImageError, "at least 16"),
    (lambda: layout(wanted("", ("a cube", (0.01, 0.01, 0.02, 0.02))), settings(), prior=TOY), SceneError, "smaller"),
    (lambda: layout(wanted("", ("a cube", LEFT), ("a mug", LEFT)), settings(), prior=TOY), SceneError, "hidden"),
    (lambda: layout(wanted("", ("a cube", None, torch.ones(1, 1, 8, 16))), settings(), prior=TOY), ImageError, "shape"),
    (lambda: layout(wanted("", ("a cube", None, torch.ones(1, 1, 8, 8)), image=torch.rand(1, 3, 32, 32)), settings(),
                    prior=TOY), ImageError, "same size"),
    (lambda: layout(wanted("", ("a red cube", LEFT)), settings("guidance.delta=dynamic", "guidance.strength=1"),
                    prior=TOY), PriorError, "cross-attention"),
    (lambda: settings("layers.stage=11"), ConfigError, "11 of 10"),
    (lambda: settings("layers.share=1.5"), ConfigError, "share"),
    (lambda: settings("guidance.colour=mauve"), ConfigError, "mauve"),
    (lambda: settings("sampler.kind=heun", "sampler.eta=0.5"), ConfigError, "eta"),
])
def test_bad_input(make, kind, text):
    with pytest.raises(kind, match=text):
        make()


# ---------------------------------------------------------------------------------------------------------- real priors
def test_hits_of_a_masks_are_those_of_its_box():
    box = (0.25, 0.5, 0.75, 1.0)
    config = settings("guidance.delta=constant", "guidance.strength=0.3")
    boxed = layout(wanted("", ("a red cube", box)), config, prior=TOY)
    masked = layout(wanted("", ("a red cube", None, box_mask(box, 64, 64))), config, prior=TOY)
    assert torch.equal(boxed.image, masked.image)


SMALL = ["sampler.steps=3", "layers.stage=2", "guidance.strength=0.3", "guidance.top=5", "guidance.delta=dynamic"]


@pytest.mark.parametrize("delta", ["dynamic", "dynamic_colour"])
def test_smoke_of_the_embedded_prior(delta):
    config = read.override(LayoutConfig(), [*SMALL, f"guidance.delta={delta}"])
    request = wanted("a red cube and a mug", ("a red cube", (0.1, 0.5, 0.4, 0.9)), ("a mug", (0.5, 0.3, 0.9, 0.8)))
    got = layout(request, config, prior=LayoutPrior.untrained())
    assert got.image.shape == (1, 3, 64, 64) and bool(torch.isfinite(got.image).all())
    assert [words for words, _ in got.attention] == ["red cube", "mug"]
    assert got.attention[0][1].shape == (1, 1, 64, 64) and set(got.provenance["deltas"]) == {"01_red_cube", "02_mug"}
    with pytest.raises(ConfigError, match="64 x 64"):
        layout(request, dataclasses.replace(config, width=128), prior=LayoutPrior.untrained())


def test_the_dynamic_delta_is_the_noise_where_attention_is_highest():
    config = read.override(LayoutConfig(), [*SMALL, "guidance.top=1"])
    prior = LayoutPrior.untrained()
    got = layout(wanted("", ("a red cube", (0.1, 0.5, 0.4, 0.9))), config, prior=prior)
    canvas = canvas_of(prior, config)
    z = start_noise(canvas, 0) * canvas.sigmas[0] / math.sqrt(float(canvas.sigmas[0]) ** 2 + 1)
    inside = box_mask((0.1, 0.5, 0.4, 0.9), 64, 64)
    best = (got.attention[0][1] * inside).flatten().argmax()
    assert got.provenance["deltas"]["01_red_cube"] == pytest.approx(z.flatten(2)[0, :, best].tolist(), abs=1e-4)


@pytest.fixture(scope="module")
def stable(tmp_path_factory):
    return load_pretrained(build_pipeline(tmp_path_factory.mktemp("sd") / "sd1", "sd1"))


@pytest.mark.parametrize("pairs", [("guidance.delta=dynamic",), ("guidance.delta=dynamic_colour",),
                                   ("guidance.delta=constant", "layers.composition=at_t0"),
                                   ("guidance.kind=multidiffusion",), ("guidance.kind=paste",)])
def test_smoke_of_stable_diffusion(stable, pairs):
    config = read.override(LayoutConfig(), [*SMALL, "width=32", "height=16", *pairs])
    mask = torch.zeros(1, 1, 32, 64)
    mask[..., 8:30, 40:60] = 1
    got = layout(wanted("a car and a dog", ("a car", LEFT), ("a dog", None, mask)), config, prior=stable)
    assert got.image.shape == (1, 3, 16, 32) and bool(torch.isfinite(got.image).all())
    assert [n for n, _ in got.layers] == ["00_background", "01_car", "02_dog"] and len(got.attention) == 2
    assert got.attention[0][1].shape == (1, 1, 8, 16)


def test_stable_diffusion_without_regions_is_the_sampler(stable):
    config = LayoutConfig(width=16, height=16, sampler=LayoutSampler(steps=3, scale=2.0, negative="bad"))
    got = layout(wanted("a car"), config, prior=stable).image
    positive, negative = stable.encode_pair("a car", "bad")
    sigmas = ladder(stable.parts.table, 3)
    x = start_noise(canvas_of(stable, config), 0) * sigmas[0]
    assert torch.equal(got, stable.decode(samplers.ddim(GuidedDenoiser(stable, 2.0, negative), x, sigmas, positive)))


def test_sizes_that_stable_diffusion_cannot_make(stable):
    with pytest.raises(ConfigError, match="multiples of 2"):
        layout(wanted("a car"), LayoutConfig(width=17, height=16, sampler=LayoutSampler(steps=2)), prior=stable)
