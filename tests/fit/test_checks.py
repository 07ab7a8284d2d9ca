"""Checks of a step wait on a device and are made in order; on the CPU at once. One look a step, counted."""
import pytest
import torch

from dipir.errors import FitError, PriorError
from dipir.fit.checks import require, together
from dipir.fit.loop import FitConfig, minimise
from dipir.fit.parameters import Parameters
from tests.support.far import Far, far_device

NO, YES = torch.tensor(False), torch.tensor(True)


def test_on_the_cpu_and_outside_a_block_a_check_is_made_at_once():
    with pytest.raises(FitError, match="one"):
        require(NO, lambda: FitError("one"))
    with pytest.raises(FitError, match="one"), together():
        require(NO, lambda: FitError("one"))
        raise AssertionError("not reached")
    with far_device() as device, pytest.raises(FitError, match="one"):
        require(NO.to(device.torch), lambda: FitError("one"))


def test_on_a_device_they_wait_and_the_first_that_came_speaks():
    with far_device() as device:
        no, yes = NO.to(device.torch), YES.to(device.torch)
        passed = []
        with pytest.raises(FitError, match="first"), together():
            require(yes, lambda: FitError("fine"))
            require(no, lambda: FitError("first"))
            require(no, lambda: FitError("second"))
            passed.append(1)
        assert passed
        with together() as checks:
            require(yes, lambda: FitError("fine"))
            assert checks.read(torch.tensor(0.1).to(device.torch), torch.tensor(2.5)) == [
                pytest.approx(0.1, abs=1e-7), 2.5]


def test_a_check_that_came_before_explains_an_error():
    with far_device() as device:
        with pytest.raises(FitError, match="cause"), together():
            require(NO.to(device.torch), lambda: FitError("cause"))
            raise PriorError("consequence")


def test_blocks_inside_each_other_wait_for_the_outer_one():
    @together()
    def inner(flag):
        require(flag, lambda: FitError("inner"))
        return "through"

    with far_device() as device:
        no = NO.to(device.torch)
        with pytest.raises(FitError, match="inner"):
            inner(no)
        with pytest.raises(FitError, match="inner"), together():
            assert inner(no) == "through"


def _run(place, objective, steps=3):
    p = Parameters()
    p.add("a", torch.tensor([3.0, -2.0]).to(place), rate=0.1)
    p.add("b", torch.tensor([1.0]).to(place), rate=0.1)
    return minimise(lambda step: objective(p, step), p, FitConfig(steps=steps, clip=1.0)), p


def _bowl(p, step):
    loss = p["a"].square().sum() + p["b"].sum()
    return loss, {"first": p["a"][0].detach(), "plain": 0.25}, {"a": p["a"].detach()}


def test_a_step_on_a_device_has_the_bits_of_the_cpu_and_looks_there_once(monkeypatch):
    near, p = _run("cpu", _bowl)
    looks = []
    with far_device() as device:
        start = Parameters()
        start.add("a", torch.tensor([3.0, -2.0]).to(device.torch), rate=0.1)
        start.add("b", torch.tensor([1.0]).to(device.torch), rate=0.1)
        monkeypatch.setattr("tests.support.far._run", _counting(looks))
        far = minimise(lambda step: _bowl(start, step), start, FitConfig(steps=3, clip=1.0, preview_every=0))
        monkeypatch.undo()
    assert far == near and all(torch.equal(start.raw[n].detach().cpu(), p.raw[n].detach()) for n in p)
    assert len(looks) == 3, looks


def _counting(looks):
    from tests.support import far

    real = far._run

    def run(func, args, kwargs):
        to_cpu = func is torch.ops.aten._to_copy.default and isinstance(args[0], Far) and torch.device(
            kwargs.get("device") or "meta").type == "cpu"
        if to_cpu or (func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], Far)):
            looks.append(func)
        return real(func, args, kwargs)
    return run


@pytest.mark.parametrize("bad, text", [
    (lambda p, s: p["a"].sum() * (float("nan") if s == 1 else 1.0), r"(?s)fit, step 1: the loss is nan.*a: shape \(2,"),
    (lambda p, s: p["a"].sum() + (torch.sqrt(p["b"].sum() * 0) if s == 1 else 0.0), "step 1: gradient of 'b' is not")])
def test_errors_of_a_device_are_those_of_the_cpu_before_a_parameter_moves(bad, text):
    values = []

    def objective(p, step):
        values[:] = [p["a"].detach().cpu().clone(), p]
        return bad(p, step), {}, {}
    with pytest.raises(FitError, match=text) as near:
        _run("cpu", objective)
    with far_device() as device, pytest.raises(FitError, match=text) as far:
        _run(device.torch, objective)
    assert str(near.value) == str(far.value) and torch.equal(values[1]["a"].detach().cpu(), values[0])
