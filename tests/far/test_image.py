"""Every function of image on another device than the CPU: the same bits, the result on the device of the input."""
from __future__ import annotations

import pytest
import torch

from dipir.device import moved
from dipir.image import color, composite, editing, guided, latlong, metrics
from dipir.image.palette import palette_vector, parse_palette
from dipir.image.tone import ToneCurve
from tests.support.far import KIND, far_device

CPU = torch.device("cpu")


def pictures(*shapes):
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(shape, generator=generator) for shape in shapes)


RGB, MASK, ENV = (2, 3, 16, 20), (2, 1, 16, 20), (16, 32, 3)


def curve(channels: int = 1) -> ToneCurve:
    widths, heights, slopes = pictures((channels, 5), (channels, 5), (channels, 6))
    return ToneCurve(widths, heights, slopes - 0.5)


def inserted(plate, colour, alpha, shadow, tone_fg, tone_shadow):
    alpha = (alpha - 0.3).clamp(0, 1)
    layers = composite.insert_layers(color.srgb_to_linear(plate), plate, colour * alpha, alpha, shadow,
                                     tone_fg=tone_fg, tone_shadow=tone_shadow)
    return layers, composite.flatten_lin(layers), composite.flatten_disp(layers)


def stacked(plate, image, alpha):
    layers = [composite.Layer(blend.value, image + 0.1, mask, blend) for blend in composite.Blend
              for mask in (None, alpha)]
    return composite.flatten_disp(composite.Layers(plate, plate, tuple(layers)))


CASES = {
    "srgb_to_linear": (color.srgb_to_linear, pictures(RGB)),
    "linear_to_srgb": (color.linear_to_srgb, pictures(RGB)),
    "luminance": (color.luminance, pictures(RGB)),
    "insert_layers": (inserted, (*pictures(RGB, RGB, MASK, RGB), curve(), curve(3))),
    "all blends": (stacked, pictures(RGB, RGB, MASK)),
    "tone": (lambda c, x: (c(x), c.inverse(c(x)), c.knots()), (curve(), *pictures(RGB))),
    "tone per channel": (lambda c, x: (c(4 * x - 2), c.with_parameters({"widths": c.heights})(x)),
                         (curve(3), *pictures(RGB))),
    "tone identity": (lambda x: ToneCurve.identity(4, 3, device=x.device)(x), pictures(RGB)),
    "multiply_divide": (editing.multiply_divide, pictures(RGB, MASK, MASK)),
    "luminosity": (editing.luminosity, pictures(RGB, MASK)),
    "additive": (editing.additive, pictures(RGB, MASK)),
    "factors_of": (editing.factors_of, pictures(MASK)),
    "masked": (editing.masked, pictures(MASK, MASK)),
    "luminosity_bound": (editing.luminosity_bound, pictures(RGB, RGB)),
    "layer_cost": (lambda a, b: editing.layer_cost((a, b)), pictures(MASK, MASK)),
    "guided_upsample grey": (guided.guided_upsample, pictures((1, 2, 8, 10), (1, 1, 8, 10), (1, 1, 16, 20))),
    "guided_upsample colour": (guided.guided_upsample, pictures((1, 2, 8, 10), (1, 3, 8, 10), (1, 3, 16, 20))),
    "ssim_loss": (metrics.ssim_loss, pictures(RGB, RGB)),
    "edge_loss": (metrics.edge_loss, pictures(RGB, RGB)),
    "loss_weights": (metrics.LossWeights(), pictures(RGB, RGB)),
    **{name: (getattr(metrics, name), pictures(RGB, RGB, MASK))
       for name in ("rmse", "si_rmse", "normalized_rmse", "psnr", "ssim", "angular_error_deg")},
    "rmse without mask": (metrics.rmse, pictures(RGB, RGB)),
    "direction_error": (metrics.direction_error_deg, pictures((4, 3), (4, 3))),
    "azimuth_error": (metrics.azimuth_error_deg, pictures((4, 3), (4, 3))),
    "latlong": (lambda env: (latlong.directions(4, 8, device=env.device), latlong.solid_angles(4, 8, device=env.device),
                             latlong.plane_weights(4, 8, env.device), latlong.rotate_yaw(env, 33.0),
                             latlong.resize(env, 4, 8)), pictures(ENV)),
    "latlong sample": (latlong.sample, pictures(ENV, (5, 7, 3))),
    "palette_vector": (lambda c: palette_vector(c, c[..., 0] > 0.5), pictures((2, 3, 3))),
}


def near(value):
    """Back on the CPU; fails for what never left it."""
    leaves = torch.utils._pytree.tree_leaves(value)
    assert all(leaf.device.type == KIND for leaf in leaves if isinstance(leaf, torch.Tensor))
    return moved(value, CPU)


@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_on_the_far_device(name):
    function, given = CASES[name]
    wanted = function(*given)
    with far_device() as far:
        got = near(_leaves(function(*moved(given, far.torch))))
    for a, b in zip(_leaves(wanted), got, strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def _leaves(value) -> list:
    """Tensors of nested tuples and of Layers."""
    if isinstance(value, composite.Layers):
        value = (value.base_lin, value.base_disp, tuple((layer.image, layer.alpha) for layer in value.layers))
    if isinstance(value, (tuple, list)):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


@pytest.mark.parametrize("name", ["insert_layers", "tone per channel", "guided_upsample colour", "loss_weights"])
def test_gradients_too(name):
    function, given = CASES[name]

    def gradient(given):
        given = [x.clone().requires_grad_() if isinstance(x, torch.Tensor) else x for x in given]
        total = sum(x.sum() for x in _leaves(function(*given)) if isinstance(x, torch.Tensor) and x.requires_grad)
        return torch.autograd.grad(total, [x for x in given if isinstance(x, torch.Tensor)], allow_unused=True)

    wanted = gradient(given)
    with far_device() as far:
        got = near(gradient(moved(given, far.torch)))
    assert any(g is not None for g in wanted)
    for a, b in zip(wanted, got, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


def test_a_curve_that_is_not_finite_is_named_on_the_far_device():
    bad = curve()
    bad = {"heights": bad.heights * float("nan"), "slopes": bad.slopes / 0}
    with far_device() as far, pytest.raises(Exception, match="heights and slopes that are not finite"):
        moved(curve(), far.torch).with_parameters(moved(bad, far.torch))


def test_what_was_typed_stays_on_the_cpu():
    with far_device():
        assert parse_palette("a red apple").vector.device == CPU
        assert ToneCurve.from_dict(curve().to_dict()).widths.device == CPU
