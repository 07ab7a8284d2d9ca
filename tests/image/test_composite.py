import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.image.composite import (
    Blend,
    Layer,
    Layers,
    flatten_disp,
    flatten_lin,
    insert_layers,
    over_shadowed,
)
from dipir.image.tone import ToneCurve


def _random(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _plate(seed: int = 0, h: int = 8, w: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    disp = (_random(seed, 1, 3, h, w) * 255).round() / 255
    return srgb_to_linear(disp), disp


def _curve(seed: int, channels: int = 1, dtype: torch.dtype = torch.float32) -> ToneCurve:
    g = torch.Generator().manual_seed(seed)
    return ToneCurve(*(torch.randn(channels, n, generator=g, dtype=dtype) for n in (5, 5, 6)))


@given(st.integers(0, 10**6), st.sampled_from([None, 1, 3]))
@settings(max_examples=40, deadline=None)
def test_untouched_pixels_keep_their_bits(seed, channels):
    lin, disp = _plate(seed)
    alpha = (_random(seed + 1, 1, 1, 8, 9) - 0.5).clamp_min(0)
    beta = (_random(seed + 2, 2, 3, 8, 9) * 2).clamp_max(1)
    # Light without coverage, as Monte Carlo noise leaves it, must not show.
    rgb = _random(seed + 3, 2, 3, 8, 9)
    curve = None if channels is None else _curve(seed, channels)
    out = flatten_disp(insert_layers(lin, disp, rgb, alpha, beta, tone_fg=curve, tone_shadow=curve))
    still = ((alpha == 0) & (beta == 1).all(1, keepdim=True)).expand(2, 3, 8, 9)
    assert still.any() and not still.all()
    assert torch.equal(out[still], disp.expand_as(out)[still])
    assert out.min() >= 0 and out.max() <= 1


def test_no_object_is_the_plate_even_for_curves_that_move_one():
    lin, disp = _plate()
    none = torch.zeros(1, 1, 8, 9)
    layers = insert_layers(lin, disp, torch.zeros(1, 3, 8, 9), none, torch.ones(1, 3, 8, 9),
                           tone_shadow=lambda b: b * 0.5)
    assert torch.equal(flatten_disp(layers), disp) and torch.equal(flatten_lin(layers), lin)


def test_identity_curves_change_nothing():
    lin, disp = _plate()
    args = (lin, disp, _random(1, 1, 3, 8, 9) * 3, torch.ones(1, 1, 8, 9) * 0.7, _random(2, 1, 3, 8, 9))
    plain = flatten_lin(insert_layers(*args))
    toned = flatten_lin(insert_layers(*args, tone_fg=ToneCurve.identity(), tone_shadow=ToneCurve.identity(channels=3)))
    torch.testing.assert_close(toned, plain, rtol=3e-6, atol=1e-6)


def test_hand_worked_pixel():
    """Plate 0.5, beta 0.4, object straight 0.2 at coverage 0.25: 0.25 * 0.2 + 0.75 * 0.4 * 0.5 = 0.2."""
    def full(v, c=3):
        return torch.full((1, c, 1, 1), v)
    layers = insert_layers(full(0.5), None, full(0.05), full(0.25, 1), full(0.4))
    torch.testing.assert_close(flatten_lin(layers), full(0.2))
    torch.testing.assert_close(flatten_disp(layers), linear_to_srgb(full(0.2)))


def test_tone_acts_on_straight_display_values_at_edges():
    """Half covered pixels get the colour of fully covered ones, halved; a curve on premultiplied pixels would not."""
    curve = _curve(4)
    straight = _random(5, 1, 3, 1, 6)
    alpha = torch.linspace(0.1, 1, 6).view(1, 1, 1, 6)
    black = torch.zeros(1, 3, 1, 6)
    out = flatten_lin(insert_layers(black, None, straight * alpha, alpha, torch.ones(1, 3, 1, 6), tone_fg=curve))
    wanted = srgb_to_linear(curve(linear_to_srgb(straight))) * alpha
    torch.testing.assert_close(out, wanted, rtol=1e-4, atol=1e-6)
    wrong = srgb_to_linear(curve(linear_to_srgb(straight * alpha)))
    assert (wrong - wanted).abs().max() > 0.02


def test_shadow_curve_acts_on_the_ratio_not_on_the_plate():
    lin, disp = _plate()
    beta = _random(3, 1, 3, 8, 9)
    layers = insert_layers(lin, disp, torch.zeros(1, 3, 8, 9), torch.zeros(1, 1, 8, 9), beta,
                           tone_shadow=lambda b: b * b)
    torch.testing.assert_close(flatten_lin(layers), lin * beta * beta)


def test_numpy_oracle():
    lin, disp = (t.numpy() for t in _plate(9))
    rgb, alpha, beta = (_random(s, 1, c, 8, 9).numpy() for s, c in ((1, 3), (2, 1), (3, 3)))
    rgb = rgb * alpha * 2
    out = flatten_disp(insert_layers(*map(torch.from_numpy, (lin, disp, rgb, alpha, beta))))
    mixed = np.clip(rgb + (1 - alpha) * beta * lin, 0, 1)
    wanted = np.where(mixed <= 0.0031308, mixed * 12.92, 1.055 * mixed ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(out.numpy(), wanted, atol=2e-6)


def test_bright_light_clips_in_display_only():
    lin = torch.full((1, 3, 1, 1), 7.0)
    assert flatten_disp(Layers(lin, None)).max() == 1 and flatten_lin(Layers(lin, None)).max() == 7


@pytest.mark.parametrize("alpha", [None, "random"])
def test_neutral_layers_are_exact_and_still_learn(alpha):
    lin, disp = _plate()
    image = torch.ones(1, 1, 8, 9, requires_grad=True)
    alpha = None if alpha is None else 0.1 + 0.9 * _random(4, 1, 1, 8, 9)
    layers = Layers(lin, disp, (Layer("m", image, alpha, Blend.MULTIPLY),))
    assert torch.equal(flatten_lin(layers), lin)
    out = flatten_disp(layers)
    assert torch.equal(out, disp)
    (grad,) = torch.autograd.grad(out.sum(), image)
    inside = ((disp > 0.02) & (disp < 0.98)).all(1, keepdim=True)
    assert (grad[inside] != 0).all()


def test_alpha_zero_is_exact_for_every_blend():
    lin, disp = _plate()
    zero = torch.zeros(1, 1, 8, 9)
    image = {Blend.OVER: torch.zeros(1, 3, 8, 9)}
    for blend in Blend:
        layer = Layer("l", image.get(blend, torch.full((1, 3, 8, 9), 0.3)), zero, blend)
        layers = Layers(lin, disp, (layer,))
        assert torch.equal(flatten_lin(layers), lin) and torch.equal(flatten_disp(layers), disp)


def test_blends_by_hand():
    def full(v, c=3):
        return torch.full((1, c, 1, 1), v)
    def result(*layers):
        return flatten_lin(Layers(full(0.8), None, layers)).unique().tolist()
    assert result(Layer("a", full(0.5), None, Blend.MULTIPLY)) == pytest.approx([0.4])
    assert result(Layer("a", full(0.5), full(0.5, 1), Blend.MULTIPLY)) == pytest.approx([0.6])
    assert result(Layer("a", full(0.3), full(0.5, 1))) == pytest.approx([0.7])
    assert result(Layer("a", full(0.3))) == pytest.approx([0.3])
    # Order matters: the lowest layer acts first.
    over, half = Layer("o", full(0.3), full(0.5, 1)), Layer("h", full(0.5), None, Blend.MULTIPLY)
    assert result(over, half) == pytest.approx([0.35]) and result(half, over) == pytest.approx([0.5])


def test_gradcheck():
    curve_fg, curve_shadow = _curve(1, dtype=torch.float64), _curve(2, 3, dtype=torch.float64)
    lin = 0.2 + 0.3 * _random(0, 1, 3, 2, 2).double()
    inputs = [0.1 + 0.2 * _random(1, 1, 3, 2, 2).double(), 0.3 + 0.4 * _random(2, 1, 1, 2, 2).double(),
              0.2 + 0.6 * _random(3, 1, 3, 2, 2).double(), curve_fg.slopes, curve_shadow.heights]

    def out(rgb, alpha, beta, slopes, heights):
        return flatten_disp(insert_layers(
            lin, None, rgb, alpha, beta, tone_fg=curve_fg.with_parameters({"slopes": slopes}),
            tone_shadow=curve_shadow.with_parameters({"heights": heights})))

    assert torch.autograd.gradcheck(out, [t.clone().requires_grad_() for t in inputs])


def test_nan_is_not_hidden():
    lin, disp = _plate()
    rgb, alpha, beta = torch.zeros(1, 3, 8, 9), torch.zeros(1, 1, 8, 9), torch.ones(1, 3, 8, 9)
    for k, curve in enumerate([None, None, None, ToneCurve.identity()]):
        args = [t.clone() for t in (rgb, alpha, beta)]
        args[k % 3][0, 0, 2, 3] = float("nan")
        assert flatten_disp(insert_layers(lin, disp, *args, tone_fg=curve, tone_shadow=curve))[0, 0, 2, 3].isnan(), k


def test_over_shadowed_is_the_flattened_insertion():
    g = torch.Generator().manual_seed(4)
    rgb, plate, ratio = (torch.rand(2, 3, 8, 9, generator=g) for _ in range(3))
    alpha = torch.rand(2, 1, 8, 9, generator=g).clamp_min(1e-3)
    layers = insert_layers(plate, None, rgb, alpha, ratio)
    torch.testing.assert_close(over_shadowed(rgb, alpha, plate, ratio), flatten_lin(layers), atol=2e-7, rtol=1e-6)
    untouched = over_shadowed(torch.zeros_like(rgb), torch.zeros_like(alpha), plate, torch.ones_like(ratio))
    assert torch.equal(untouched, plate)
