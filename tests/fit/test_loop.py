"""minimise(): agrees with torch's Adam, reports, and stops at NaN by name."""
import pytest
import torch

from dipir.errors import FitError
from dipir.fit.loop import Event, FitConfig, minimise, rate_factor
from dipir.fit.parameters import Parameters, UnitSphere

FLAT = FitConfig(steps=30, warm_up=0, final_rate=1.0, preview_every=0)


def _two() -> Parameters:
    p = Parameters()
    p.add("a", torch.tensor([3.0, -2.0]), rate=0.1)
    p.add("b", torch.tensor(1.0), rate=0.01)
    return p


def _bowl(p):
    return lambda step: ((p["a"] ** 2).sum() + (p["b"] - 5) ** 2, {"a0": p["a"][0].item()}, {})


def test_agrees_with_adam_at_two_rates():
    p = _two()
    minimise(_bowl(p), p, FLAT)
    a, b = torch.tensor([3.0, -2.0], requires_grad=True), torch.tensor(1.0, requires_grad=True)
    adam = torch.optim.Adam([{"params": [a], "lr": 0.1}, {"params": [b], "lr": 0.01}], betas=(0.9, 0.99))
    for _ in range(30):
        adam.zero_grad()
        ((a ** 2).sum() + (b - 5) ** 2).backward()
        adam.step()
    torch.testing.assert_close(p["a"].detach(), a.detach())
    torch.testing.assert_close(p["b"].detach(), b.detach())


def test_history_and_events_agree_and_images_are_made_only_when_wanted():
    p, events, made = _two(), [], []

    def objective(step):
        loss, scalars, _ = _bowl(p)(step)
        return loss, scalars, lambda: made.append(step) or {"preview": torch.zeros(1, 3, 2, 2)}
    history = minimise(objective, p, FitConfig(steps=7, preview_every=3), on_event=events.append, stage="fit")
    assert made == [2, 5, 6]
    assert [e.step for e in events] == list(range(1, 8)) and all(isinstance(e, Event) and e.steps == 7 for e in events)
    assert [dict(e.scalars) for e in events] == history
    assert [bool(e.images) for e in events] == [False, False, True, False, False, True, True]
    assert events[0].seconds_left is None and events[-1].seconds_left == 0
    assert history[0]["loss"] == pytest.approx(9 + 4 + 16) and history[0]["step"] == 0


def test_rate_follows_warm_up_and_cosine():
    p = _two()
    config = FitConfig(steps=21, warm_up=4, final_rate=0.2, preview_every=0)
    rates = [row["rate"] for row in minimise(_bowl(p), p, config)]
    assert rates[0] == pytest.approx(0.2) and rates[-1] == pytest.approx(0.2) and max(rates) < 1
    assert rates.index(max(rates)) == 4


def test_fixed_parameters_stay():
    p = _two()
    p.add("fixed", torch.tensor(2.0), rate=0.0)
    minimise(lambda s: ((p["a"] * p["fixed"]).square().sum(), {}, {}), p, FLAT)
    assert p["fixed"].item() == 2.0 and p["a"][0].item() < 3.0


def test_clip_bounds_each_parameter_alone():
    p, seen = _two(), []
    minimise(lambda s: (1e3 * (p["a"] ** 2).sum() + p["b"], {}, {}), p, FitConfig(steps=1, clip=0.5, preview_every=0),
             on_event=lambda e: seen.extend([p.raw["a"].grad.norm().item(), p.raw["b"].grad.norm().item()]))
    assert seen == pytest.approx([0.5, 0.5], rel=1e-4)


def test_sphere_rate_is_an_angle():
    """Without the retraction the vector grows and the angle made per step fades."""
    p, axes = Parameters(), []
    p.add("axis", torch.tensor([1.0, 0, 0]), rate=0.1, transform=UnitSphere())

    def objective(step):
        axes.append(p["axis"].detach().clone())
        tangent = torch.linalg.cross(torch.tensor([0.0, 0, 1]), axes[-1])
        return -(p["axis"] * tangent).sum(), {}, {}
    minimise(objective, p, FLAT)
    assert p.raw["axis"].detach().norm().item() == pytest.approx(1.0, abs=1e-6)
    angles = [torch.acos((a * b).sum().clamp(-1, 1)).item() for a, b in zip(axes[5:-1], axes[6:], strict=True)]
    assert min(angles) > 0.07


def test_nan_loss_names_stage_step_and_parameters():
    p = _two()
    with pytest.raises(FitError, match=r"(?s)fit, step 3: the loss is nan.*a: shape \(2,\).*b: shape"):
        minimise(lambda s: ((p["a"] ** 2).sum() * (float("nan") if s == 3 else 1.0), {}, {}), p, FLAT)


def test_nan_gradient_names_the_parameter_and_leaves_all_of_them_at_the_last_good_step():
    p, seen = _two(), []

    def objective(step):
        seen[:] = [p["a"].detach().clone(), p["b"].detach().clone()]
        # The value is finite; the derivative of sqrt at 0 is not.
        bad = torch.sqrt(p["b"] * 0) if step == 4 else 0.0
        return (p["a"] ** 2).sum() + bad, {}, {}
    with pytest.raises(FitError, match="light, step 4: gradient of 'b' is not finite"):
        minimise(objective, p, FLAT, stage="light")
    assert torch.equal(p["a"], seen[0]) and torch.equal(p["b"], seen[1])


@pytest.mark.parametrize("loss", [lambda p: torch.tensor(1.0), lambda p: p["a"]])
def test_loss_must_be_one_number_that_depends_on_a_parameter(loss):
    p = _two()
    with pytest.raises(FitError, match="one number that depends"):
        minimise(lambda s: (loss(p), {}, {}), p, FLAT)


def test_nothing_to_fit():
    p = Parameters()
    p.add("a", torch.ones(1), rate=0.0)
    with pytest.raises(FitError, match="nothing to fit"):
        minimise(lambda s: (p["a"].sum(), {}, {}), p, FLAT)


def test_global_generator_is_seeded_per_step_and_given_back():
    p, first, second = _two(), [], []
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    for seen in (first, second):
        def objective(step, seen=seen):
            seen.append(torch.rand(()).item())
            return (p["a"] ** 2).sum(), {}, {}
        minimise(objective, p, FitConfig(steps=3, seed=4, preview_every=0))
    assert first == second and len(set(first)) == 3
    assert torch.equal(before, torch.random.get_rng_state())


def test_rates_rise_and_fall_along_half_a_cosine():
    plain, warm = FitConfig(steps=11, warm_up=0, final_rate=0.25), FitConfig(steps=11, warm_up=3, final_rate=0.25)
    values = [rate_factor(plain, step) for step in range(11)]
    assert values[0] == 1.0 and values[-1] == pytest.approx(0.25) and values[5] == pytest.approx(0.625)
    assert values == sorted(values, reverse=True) and rate_factor(plain, 99) == pytest.approx(0.25)
    assert values[0] - values[1] < 0.2 * (values[5] - values[6])
    assert [rate_factor(warm, k) / values[k] for k in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rate_factor(FitConfig(steps=1, warm_up=0), 0) == 1.0
