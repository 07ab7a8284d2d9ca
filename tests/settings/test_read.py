"""dipir.settings.read: every problem at once, exact round trips, atomic files."""
from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dipir.errors import ConfigError
from dipir.settings import read
from dipir.settings.yaml import dump_yaml, load_yaml, to_dict


@dataclass(frozen=True)
class Fit:
    steps: int = 300
    rate: float = 0.01
    weighting: Literal["uniform", "snr", 3] = "snr"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")


@dataclass(frozen=True)
class Config:
    plate: Path
    name: str = "scene"
    fit: Fit = Fit()
    at: tuple[float, float] = (0.0, 0.0)
    lobes: tuple[int, ...] = ()
    mask: Optional[Path] = None  # noqa: UP045  # The old spelling is another type at run time; both must work.
    parts: dict[str, Fit] = field(default_factory=dict)
    fits: tuple[Fit, ...] = ()
    mixed: float | int | str = 0
    quiet: bool = False
    extra: Any = None


def test_types_are_converted_to_the_declared_ones():
    cfg = read.from_dict(Config, {"plate": "a.png", "at": [1, 2], "fit": {"rate": 1}, "mask": "m.png",
                                    "parts": {"seat": {"steps": 2}}, "fits": [{"steps": 4}], "mixed": 3})
    assert cfg == Config(Path("a.png"), at=(1.0, 2.0), fit=Fit(rate=1.0), mask=Path("m.png"),
                         parts={"seat": Fit(2)}, fits=(Fit(4),), mixed=3)
    assert [type(v) for v in (cfg.fit.rate, cfg.at[0], cfg.mixed, cfg.at)] == [float, float, int, tuple]


def test_every_problem_is_reported_at_once():
    bad = {"plat": "a", "name": 3, "fit": {"stepz": 1, "rate": "fast", "weighting": "uniforn"}, "at": [1],
           "lobes": [1, 2.5], "quiet": 1, "parts": {"seat": {"steps": 0}}, "fits": 7, "mask": True}
    with pytest.raises(ConfigError) as caught:
        read.from_dict(Config, bad, "my.yaml")
    text = str(caught.value)
    assert text.startswith("my.yaml: 12 problems")
    for piece in ["unknown key 'plat'. Did you mean 'plate'?", "missing key 'plate' (expected a path)",
                  "name: expected text, got 3. Put it in quotes.", "fit: unknown key 'stepz'. Did you mean 'steps'?",
                  "fit.rate: expected a number, got fast", "Did you mean 'uniform'?",
                  "at: expected a list of 2 (a number), got [1]", "lobes[1]: expected an integer, got 2.5",
                  "quiet: expected true or false, got 1", "parts.seat: steps must be at least 1, got 0",
                  "fits: expected a list (a mapping each), got 7", "mask: expected a path, got True"]:
        assert piece in text, piece


@pytest.mark.parametrize("value", [True, 1.5, "1", None, [1]])
def test_an_integer_is_only_an_integer(value):
    with pytest.raises(ConfigError, match="expected an integer"):
        read.from_dict(Fit, {"steps": value})


@pytest.mark.parametrize("value", [float("nan"), True, "0.1", None])
def test_a_number_is_a_number_and_not_nan(value):
    with pytest.raises(ConfigError, match="expected a number"):
        read.from_dict(Fit, {"rate": value})


def test_literals_compare_types_too():
    assert read.from_dict(Fit, {"weighting": 3}).weighting == 3
    with pytest.raises(ConfigError, match="expected one of 'uniform', 'snr', 3"):
        read.from_dict(Fit, {"weighting": 3.0})


@pytest.mark.parametrize("data", [[], "text", 3])
def test_a_config_must_be_a_mapping(data):
    with pytest.raises(ConfigError, match="expected a mapping with the keys steps, rate, weighting"):
        read.from_dict(Fit, data)


def test_an_empty_section_means_defaults():
    assert read.from_dict(Config, {"plate": "a", "fit": None, "parts": None}) == Config(Path("a"))


finite = st.floats(-1e299, 1e299)
whole = st.integers(1 - 2**63, 2**63 - 1)
fits = st.builds(Fit, st.integers(1, 10**9), finite, st.sampled_from(["uniform", "snr", 3]))
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
configs = st.builds(Config, names.filter(str.strip).map(Path), st.text(st.characters(exclude_categories=["Cs"])), fits,
                    st.tuples(finite, finite), st.lists(whole, max_size=3).map(tuple),
                    st.none() | st.just(Path("m.png")), st.dictionaries(names, fits, max_size=2),
                    st.lists(fits, max_size=2).map(tuple), finite | whole | names, st.booleans(),
                    st.none() | st.lists(whole))


@settings(max_examples=60, deadline=None)
@given(configs)
@example(Config(Path("0E0"), "\x85", extra=None))
@example(Config(Path("1e-3"), "a\u2028 b\u2029"))
def test_round_trip_through_dict_and_yaml(tmp_path_factory, cfg):
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    assert read.from_dict(Config, to_dict(cfg)) == cfg
    dump_yaml(cfg, path)
    assert read.from_dict(Config, load_yaml(path)) == cfg
    assert read.merge(cfg, {}) == cfg and read.override(cfg, []) == cfg


def test_merge_replaces_only_what_is_given():
    cfg = Config(Path("a"), fit=Fit(7, 0.5), parts={"a": Fit(1), "b": Fit(2)})
    merged = read.merge(cfg, {"fit": {"rate": 2}, "parts": {"b": {"rate": 9.0}}, "name": "x"})
    assert merged == Config(Path("a"), "x", Fit(7, 2.0), parts={"a": Fit(1), "b": Fit(2, 9.0)})
    with pytest.raises(ConfigError, match="unknown key 'fitt'. Did you mean 'fit'"):
        read.merge(cfg, {"fitt": {}})


def test_override_reads_yaml_values_in_order_and_reaches_list_items():
    cfg = Config(Path("a"), fits=(Fit(1), Fit(2)))
    new = read.override(cfg, ["fit.rate=1e-3", "at=[3, 4]", "fits.1.steps=5", "name=b=c", "mask=m.png", "fit.steps=2",
                                "fit.steps=3", "parts.seat.steps=8"])
    assert new == Config(Path("a"), "b=c", Fit(3, 1e-3), (3.0, 4.0), fits=(Fit(1), Fit(5)), mask=Path("m.png"),
                         parts={"seat": Fit(8)})
    assert read.override(new, ["mask="]).mask is None
    assert cfg == Config(Path("a"), fits=(Fit(1), Fit(2)))


def test_override_reports_every_problem():
    with pytest.raises(ConfigError) as caught:
        read.override(Config(Path("a")), ["steps", "fit.stepz=3", "name.x=1", "at.7=2", "fit.steps=x", "lobes=[",
                                            "=1"])
    text = str(caught.value)
    for piece in ["--set: 7 problems", "'steps': expected key=value", "Did you mean 'steps'?",
                  "'name' is a single value",
                  "'at' has items 0 to 1, not '7'", "fit.steps: expected an integer, got x", "not valid YAML"]:
        assert piece in text, piece


@pytest.mark.parametrize("value", [10**400, -10**400, math.inf, -math.inf, math.nan])
def test_numbers_that_are_none(value):
    @dataclass(frozen=True)
    class Numbers:
        whole: int = 1
        part: float = 1.0

    for key, what in (("whole", "an integer"), ("part", "a number")):
        with pytest.raises(ConfigError, match=f"{key}: expected {what}"):
            read.from_dict(Numbers, {key: value})


def test_many_unknown_keys():
    @dataclass(frozen=True)
    class Known:
        steps: int = 1

    with pytest.raises(ConfigError, match="100000 problems(?s:.*)Did you mean 'steps'(?s:.*)more") as error:
        read.from_dict(Known, {"stps": 1, **{f"key{i}": 1 for i in range(99999)}})
    assert len(str(error.value)) < 2100
