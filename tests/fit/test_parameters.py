"""Constraints are inverses, keep their promise, and carry right gradients; bad values are named."""
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dipir.errors import FitError
from dipir.fit.parameters import Bounded, Exponential, Free, Parameters, UnitSphere, describe

CASES = [(Free(), torch.linspace(-3, 3, 7)),
         (Exponential(), torch.tensor([1e-6, 1.0, 1e6])),
         (Bounded(-1.0, 3.0), torch.tensor([-0.99, 0.0, 2.99])),
         (UnitSphere(), torch.nn.functional.normalize(torch.tensor([[1.0, 2, 3], [0, -1, 0]]), dim=-1))]


@pytest.mark.parametrize("transform, value", CASES)
def test_forward_undoes_inverse(transform, value):
    torch.testing.assert_close(transform.forward(transform.inverse(value)), value, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("transform, value", CASES)
def test_gradient(transform, value):
    raw = transform.inverse(value.double()).requires_grad_()
    assert torch.autograd.gradcheck(transform.forward, (raw,), atol=1e-6, rtol=1e-4)


@given(st.lists(st.floats(-80, 80, width=32), min_size=3, max_size=3))
def test_range_holds_for_any_raw(numbers):
    raw = torch.tensor(numbers)
    assert (Exponential().forward(raw) > 0).all()
    bounded = Bounded(0.5, 2.0).forward(raw)
    assert ((bounded >= 0.5) & (bounded <= 2.0)).all()
    if raw.norm() > 1e-20:
        torch.testing.assert_close(UnitSphere().forward(raw).norm(), torch.tensor(1.0))


@pytest.mark.parametrize("transform, value, text", [
    (Exponential(), torch.tensor([1.0, 0.0]), "values > 0"),
    (Bounded(0.0, 1.0), torch.tensor(1.0), r"\(0.0, 1.0\)"), (UnitSphere(), torch.zeros(3), "length > 0"),
    (Free(), torch.tensor([1.0, float("nan")]), "1 NaN")])
def test_values_outside_the_constraint_are_named(transform, value, text):
    with pytest.raises(FitError, match=f"'light'.*{text}"):
        Parameters().add("light", value, rate=0.1, transform=transform)


def test_retract_keeps_the_value_and_shortens_raw():
    p = Parameters()
    p.add("axis", torch.tensor([[0.0, 0, 5]]), rate=0.1, transform=UnitSphere())
    with torch.no_grad():
        p.raw["axis"] += torch.tensor([[4.0, 0, 2]])
    before = p["axis"].detach().clone()
    p.retract()
    torch.testing.assert_close(p["axis"].detach(), before)
    torch.testing.assert_close(p.raw["axis"].detach().norm(), torch.tensor(1.0))


def test_owns_a_copy():
    start = torch.ones(2)
    p = Parameters()
    p.add("a", start, rate=1.0)
    with torch.no_grad():
        p.raw["a"].add_(1)
    assert start.tolist() == [1, 1] and p["a"].tolist() == [2, 2]


def test_state_round_trip_is_bit_exact_and_order_is_kept():
    p, q = Parameters(), Parameters()
    for params, scale in ((p, 1.0), (q, 2.0)):
        params.add("b", torch.rand(4) * scale + 0.1, rate=0.1, transform=Exponential())
        params.add("a", torch.rand(2, 3) + scale, rate=0.0)
    q.load_state_dict(p.state_dict())
    assert list(q) == ["b", "a"]
    assert all(torch.equal(p[name], q[name]) for name in p)
    assert not q.raw["a"].requires_grad and q.raw["b"].requires_grad


@pytest.mark.parametrize("state, text", [
    ({}, "'tone' is missing"), ({"tone": torch.zeros(3)}, r"\(3,\).*needed \(2,\)"),
    ({"tone": torch.zeros(2), "tona": torch.zeros(2)}, "'tona'.*Did you mean 'tone'"),
    ({"tone": torch.zeros(2).double()}, "float64")])
def test_foreign_state_is_refused_and_changes_nothing(state, text):
    p = Parameters()
    p.add("tone", torch.ones(2), rate=0.1)
    with pytest.raises(FitError, match=text):
        p.load_state_dict(state)
    assert p["tone"].tolist() == [1, 1]


def test_describe_counts():
    text = describe(torch.tensor([1.0, 3.0, float("nan"), float("inf")]))
    assert "1 NaN" in text and "1 infinite of 4" in text and "[1, 3]" in text and "mean 2" in text
