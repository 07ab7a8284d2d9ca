import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dipir.errors import ConfigError
from dipir.image.tone import MIN_BIN, MIN_SLOPE, ToneCurve


def _curve(seed: int, channels: int = 1, bins: int = 5, scale: float = 1.5) -> ToneCurve:
    g = torch.Generator().manual_seed(seed)
    counts = (bins, bins, bins + 1)
    return ToneCurve(*(scale * torch.randn(channels, n, generator=g, dtype=torch.float64) for n in counts))


def _oracle(curve: ToneCurve, x: float, channel: int = 0) -> float:
    """methods 1.7 by plain loops, with the constraints written out."""
    def edges(raw):
        e = np.exp(raw - raw.max())
        return np.concatenate([[0], np.cumsum(MIN_BIN + (1 - MIN_BIN * len(raw)) * e / e.sum())])

    xs, ys = edges(curve.widths[channel].numpy()), edges(curve.heights[channel].numpy())
    offset = np.log(np.exp(1 - MIN_SLOPE) - 1)
    d = MIN_SLOPE + np.log1p(np.exp(curve.slopes[channel].numpy() + offset))
    if x < 0:
        return d[0] * x
    if x > 1:
        return 1 + d[-1] * (x - 1)
    k = min(max(i for i in range(len(xs) - 1) if xs[i] <= x or i == 0), len(xs) - 2)
    s, xi = (ys[k + 1] - ys[k]) / (xs[k + 1] - xs[k]), (x - xs[k]) / (xs[k + 1] - xs[k])
    top = s * xi**2 + d[k] * xi * (1 - xi)
    return ys[k] + (ys[k + 1] - ys[k]) * top / (s + (d[k] + d[k + 1] - 2 * s) * xi * (1 - xi))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bins", [1, 5, 16])
def test_identity(channels, bins):
    x = torch.linspace(-1, 3, 3 * 401).reshape(1, 3, 1, 401)
    curve = ToneCurve.identity(bins, channels)
    torch.testing.assert_close(curve(x), x, rtol=1e-6, atol=2e-7)
    torch.testing.assert_close(curve.inverse(x), x, rtol=1e-6, atol=2e-7)


@given(st.integers(0, 10**6), st.floats(-1, 3))
@settings(max_examples=60, deadline=None)
def test_oracle(seed, x):
    curve = _curve(seed)
    assert curve(torch.tensor([x], dtype=torch.float64)).item() == pytest.approx(_oracle(curve, x), abs=1e-10)


@given(st.integers(0, 10**6), st.floats(0.1, 6), st.sampled_from([1, 3]))
@settings(max_examples=60, deadline=None)
def test_inverse_round_trip_and_monotone(seed, scale, channels):
    curve = _curve(seed, channels, scale=scale)
    x = torch.linspace(-0.5, 1.5, 801, dtype=torch.float64).expand(1, 3, 1, 801)
    y = curve(x)
    assert (y.diff(dim=-1) > 0).all()
    # Where the curve is steep, its inverse is flat: judge each way by the better conditioned side.
    torch.testing.assert_close(curve(curve.inverse(y)), y, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(curve.inverse(y), x, rtol=1e-5, atol=1e-5)
    assert (curve.inverse(x).diff(dim=-1) > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ends_are_exact(dtype):
    ends = torch.tensor([0.0, 1.0], dtype=dtype)
    for seed in range(200):
        assert torch.equal(_curve(seed)(ends), ends)


def test_channels_are_independent():
    curve = _curve(3, 3)
    x = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    for c in range(3):
        alone = ToneCurve(*(p[c : c + 1] for p in curve.parameters().values()))
        torch.testing.assert_close(curve(x)[:, c], alone(x[:, c]))
        torch.testing.assert_close(curve.inverse(x)[:, c], alone.inverse(x[:, c]))
    with pytest.raises(ValueError, match="3 channels"):
        curve(x[:, :1])


@pytest.mark.parametrize("channels", [1, 3])
def test_gradcheck(channels):
    curve = _curve(7, channels, 4, 0.7)
    x = torch.rand(1, 3, 2, 3, dtype=torch.float64) * 2 - 0.5
    inputs = [t.clone().requires_grad_() for t in (x, *curve.parameters().values())]
    assert torch.autograd.gradcheck(lambda x, *p: ToneCurve(*p)(x), inputs)
    assert torch.autograd.gradcheck(lambda x, *p: ToneCurve(*p).inverse(x), inputs)


def test_gradient_at_the_ends_is_the_slope():
    curve = _curve(1)
    x = torch.tensor([-1e-9, 0.0, 1e-9, 1 - 1e-9, 1.0, 1 + 1e-9], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(curve(x).sum(), x)
    d = curve.knots()[2][0]
    torch.testing.assert_close(grad, torch.stack([d[0]] * 3 + [d[-1]] * 3), rtol=1e-6, atol=1e-6)


def test_extreme_values_stay_finite():
    x = torch.tensor([-1e30, 1e30, 1e-38, 1 - 1e-7])
    x.requires_grad_()
    curve = ToneCurve(*(p.float() for p in _curve(5, scale=40).parameters().values()))
    (grad,) = torch.autograd.grad(curve(x).sum(), x)
    assert torch.isfinite(grad).all()
    assert curve(torch.tensor([float("nan")])).isnan().all()


def test_dictionary_round_trip():
    curve = ToneCurve(*(p.float() for p in _curve(11, 3).parameters().values()))
    back = ToneCurve.from_dict(json.loads(json.dumps(curve.to_dict())))
    assert all(torch.equal(a, b) for a, b in zip(curve.parameters().values(), back.parameters().values(), strict=True))


def test_with_parameters():
    slopes = torch.ones(1, 6)
    curve = ToneCurve.identity().with_parameters({"slopes": slopes})
    assert curve.slopes is slopes and curve.widths.abs().max() == 0
    with pytest.raises(ConfigError, match="widths"):
        curve.with_parameters({"width": slopes})


@pytest.mark.parametrize("name", ["widths", "heights", "slopes"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_parameters_are_refused(name, value):
    with pytest.raises(ConfigError, match=name):
        ToneCurve.identity().with_parameters({name: torch.full((1, 6 if name == "slopes" else 5), value)})


@pytest.mark.parametrize("data", [{}, {"widths": 1}, 7, {"widths": [[0, 1], [2]], "heights": [[0]], "slopes": [[0, 0]]},
                                  {"widths": [["a"]], "heights": [[0]], "slopes": [[0, 0]]},
                                  {"widths": [[0, 0]], "heights": [[0]], "slopes": [[0, 0]]},
                                  {"widths": [0], "heights": [0], "slopes": [0]}])
def test_bad_dictionaries(data):
    with pytest.raises(ConfigError):
        ToneCurve.from_dict(data)


@pytest.mark.parametrize("amount", [-1.0, -0.4, 0.0, 0.7, 1.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_contrast_keeps_the_middle_and_tilts_it(amount, channels):
    curve = ToneCurve.contrast(amount, channels=channels)
    x = torch.tensor([0.0, 0.5 - 1e-3, 0.5, 0.5 + 1e-3, 1.0]).expand(1, channels, 1, 5)
    y = curve(x)[0, 0, 0]
    torch.testing.assert_close(y[[0, 2, 4]], torch.tensor([0.0, 0.5, 1.0]), atol=1e-4, rtol=0)
    assert float((y[3] - y[1]) / 2e-3) == pytest.approx(1 + 0.6 * amount, abs=0.05)
    assert bool((curve(torch.linspace(0, 1, 201).expand(1, channels, 1, 201)).diff(dim=-1) > 0).all())


def test_contrast_of_nothing_is_the_identity_and_too_much_is_refused():
    x = torch.linspace(-0.2, 1.2, 50)
    torch.testing.assert_close(ToneCurve.contrast(0.0)(x), ToneCurve.identity()(x))
    for bad in (1.1, -2, float("nan")):
        with pytest.raises(ConfigError, match="contrast"):
            ToneCurve.contrast(bad)
