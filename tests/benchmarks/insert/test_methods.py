"""Methods of the insertion benchmark."""
from __future__ import annotations

import math
import re

import pytest
import torch

from benchmarks.insert import methods
from dipir.errors import ConfigError
from dipir.image import latlong
from dipir.image.metrics import direction_error_deg
from dipir.insert.config import load_config
from dipir.scene.light import dominant_direction, fit_gaussians
from dipir.settings.yaml import load_yaml
from tests.support.scenes import sphere_scene, sunny

FILES = sorted(methods.ABLATION.glob("*.yaml"), key=lambda p: p.stem)


def test_names_and_groups():
    assert methods.chosen("default, ambient") == ["ambient", "default"]
    assert methods.chosen("baselines,default") == ["ambient", "projected", "oracle-sg", "default", "truth"]
    every = methods.chosen("all")
    assert every[-1] == "truth" and set(every) == set(methods.names()) and len(every) == 5 + len(FILES)
    ours, published = methods.chosen("ablation"), methods.chosen("published")
    assert sorted([*ours, *published]) == [p.stem for p in FILES] and set(published) == set(methods.PUBLISHED)


@pytest.mark.parametrize("text, match", [("defualt", "Did you mean 'default'"), ("", "nothing given"),
                                         ("default,oracle", "oracle-sg")])
def test_unknown_methods(text, match):
    with pytest.raises(ConfigError, match=match):
        methods.chosen(text)


def test_the_rows_of_the_published_table_are_there():
    assert {p.stem for p in FILES} >= {"lds", "sds-lora", "sds", "no-concepts", "no-tone", "single-map", "two-maps",
                                       "dataset-update", "light-prior", "posterior", "posterior-light", "soft",
                                       "no-shadows"}


def test_our_own_ablations_differ_from_the_default_in_one_thing():
    from dataclasses import replace

    full = methods.settings_of("default", 0)
    assert full.light.commit and full.light.shadows
    assert methods.settings_of("soft", 0) == replace(full, light=replace(full.light, commit=False))
    assert methods.settings_of("no-shadows", 0) == replace(full, light=replace(full.light, shadows=False))
    assert full.guidance.kind == "none" and methods.settings_of("light-prior", 0) == full
    guided = methods.settings_of("posterior-light", 0)
    assert guided == replace(full, guidance=replace(full.guidance, kind="posterior"))
    assert methods.settings_of("two-maps", 0) == replace(guided, light=replace(guided.light, two_maps=True))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_ablation_files_load_and_give_reasons(path):
    """Each is a delta over the default that `dipir insert --config` takes too; every setting line has its reason."""
    config = load_config("default", [path])
    assert isinstance(load_yaml(path), dict)
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    settings = [line for line in lines if line.strip() and not re.fullmatch(r"#.*|\w+:", line)]
    assert all(re.search(r"\s# \S", line) for line in settings), "a setting without its reason"
    assert methods.settings_of(path.stem, 5, ["final.spp=3"]).seed == 5
    assert methods.settings_of(path.stem, 5, ["final.spp=3"]).final.spp == 3
    assert config.seed == 0


def test_published_rows_differ_from_the_full_objective_in_one_thing():
    full = methods.settings_of("lds", 0)
    assert full.guidance.kind == "lds" and full.guidance.personalise and full.light.two_maps
    assert "tone" in full.optimize and full.light.start != "prior" and full.light.anchor == 0
    one = {"sds-lora": ("guidance", "kind", "sds"), "no-concepts": ("guidance", "concepts", 0),
           "single-map": ("light", "two_maps", False), "dataset-update": ("guidance", "kind", "dataset_update")}
    from dataclasses import replace

    for name, (section, key, value) in one.items():
        expected = replace(full, **{section: replace(getattr(full, section), **{key: value})})
        assert methods.settings_of(name, 0) == expected, name
    assert methods.settings_of("no-tone", 0) == replace(full, optimize=("light",))
    bare = replace(full, guidance=replace(full.guidance, kind="sds", personalise=False))
    assert methods.settings_of("sds", 0) == bare


def test_baselines_have_no_settings():
    assert all(methods.settings_of(b, 0) is None for b in methods.BASELINES)


def test_weights_are_part_of_the_digest(tmp_path):
    config = load_config()
    first = methods.weights_digest(config)
    own = tmp_path / "w.safetensors"
    own.write_bytes(b"1")
    other = load_config("default", None, [f"prior={own}"])
    second = methods.weights_digest(other)
    own.write_bytes(b"2")
    assert len({first, second, methods.weights_digest(other)}) == 3 and first == methods.weights_digest(config)


QUICK = ["light.start=mirrored", "light.lobes=4", "transport.samples=1", "fit.steps=2", "guidance.sampler_steps=1",
         "guidance.samples=1", "guidance.concepts=2", "personalise.steps=2", "personalise.batch=1"]


@pytest.fixture
def estimator(tmp_path, monkeypatch) -> methods.Estimator:
    """On a small scene, with quick fits of Gaussians and an untrained prior."""
    from dipir.insert import method as insert
    from dipir.insert import objective as insert_fit
    from dipir.priors.insertion import InsertionPrior

    def quick(target, count):
        return fit_gaussians(target, count, steps=3)

    monkeypatch.setattr(insert, "fit_gaussians", quick)
    monkeypatch.setattr(insert_fit, "fit_gaussians", quick)
    monkeypatch.setattr(insert, "find_prior", lambda *_: InsertionPrior.untrained())
    return methods.Estimator(sphere_scene("diffuse", size=48), sunny((0.3, 0.8, 0.2), 64), tmp_path)


def test_baselines_are_what_they_say(estimator):
    plate = estimator.scene.plate.lin
    ambient = estimator("ambient", None).light
    torch.testing.assert_close(ambient, plate.mean((0, 2, 3)).expand_as(ambient))
    assert torch.equal(estimator("truth", None).light, estimator.true)
    assert estimator("projected", None).light.shape == (16, 32, 3)


@pytest.mark.parametrize("name", ["posterior", "dataset-update"])
def test_ours_give_a_light_and_tones(estimator, name):
    got = estimator(name, methods.settings_of(name, 0, QUICK))
    assert got.light.shape == (256, 512, 3) and torch.isfinite(got.light).all() and not got.light.requires_grad
    assert len(got.tones) == 2 and got.cpu_seconds > 0


def sun_map(share: float, direction=(0.4, 0.6, 0.69), height: int = 256, sigma: float = 0.01) -> torch.Tensor:
    """A grey map with a small sun that sends ``share`` of all light."""
    rays, omega = latlong.directions(height, 2 * height), latlong.solid_angles(height, 2 * height)[..., None]
    axis = torch.nn.functional.normalize(torch.tensor(direction), dim=0)
    lobe = torch.exp((rays @ axis - 1) / sigma**2)[..., None]
    return (0.5 + lobe * share / (1 - share) * 0.5 * 4 * math.pi / (lobe * omega).sum()).repeat(1, 1, 3)


@pytest.mark.parametrize("direction", [(0.4, 0.6, 0.69), (0.02, 0.5, -0.86)])  # The second on the seam.
def test_the_oracles_sun_has_direction_energy_and_size(direction):
    true = sun_map(0.6, direction)
    sun, rest = methods.sun_and_rest(true)
    axis = torch.nn.functional.normalize(torch.tensor(direction), dim=0)
    assert math.degrees(math.acos(min(1.0, float(sun.mu[0] @ axis)))) < 0.1
    total = float((true.mean(-1) * latlong.solid_angles(256, 512)).sum())
    assert float(sun.energy.mean()) / total == pytest.approx(0.6, abs=0.01)
    assert float(sun.sigma) == pytest.approx(0.01, rel=0.15)
    assert float(true.max()) > 1000 and float((rest - 0.5).abs().max()) < 0.3


def test_soft_light_has_no_sun():
    for true in (torch.ones(64, 128, 3), sun_map(0.3, sigma=0.5), sun_map(0.02)):
        sun, rest = methods.sun_and_rest(true)
        assert sun is None and torch.equal(rest, true)


def test_the_oracle_keeps_the_suns_place_and_the_light_of_the_ground(monkeypatch):
    monkeypatch.setattr(methods, "fit_gaussians", lambda target, count: fit_gaussians(target, count, steps=20))
    true = sun_map(0.6)
    got = methods.oracle(true, 16).envmap(256, 512)
    assert direction_error_deg(dominant_direction(got), dominant_direction(true)) < 0.5
    weights = latlong.plane_weights(256, 512)
    ground = [float((m.mean(-1) * weights).sum()) for m in (got, true)]
    assert ground[0] == pytest.approx(ground[1], rel=0.05)


def test_the_oracle_is_fitted_once_for_a_light_and_its_time_counts_for_each(estimator, monkeypatch):
    fitted = []

    def quick(target, count):
        fitted.append(1)
        return fit_gaussians(target, count, steps=2)

    monkeypatch.setattr(methods, "fit_gaussians", quick)
    first = estimator("oracle-sg", None)
    other = methods.Estimator(estimator.scene, estimator.true, estimator.folder, estimator.shared)("oracle-sg", None)
    assert len(fitted) == 1 and torch.equal(first.light, other.light) and other.cpu_seconds == first.cpu_seconds > 0
    methods.Estimator(estimator.scene, estimator.true * 2, estimator.folder, estimator.shared)("oracle-sg", None)
    assert len(fitted) == 2


def test_guesses_and_other_weights(estimator, monkeypatch):
    """Methods of the light prior say where the light may be; the file that is asked for is the one that is read."""
    from dipir.priors.nets.light_unet import LightUNet

    asked = []

    def load(path=None):
        asked.append(path)
        return methods.LightPrior(LightUNet())

    monkeypatch.setattr(methods.LightPrior, "load", staticmethod(load))
    config = methods.settings_of("light-prior", 0, ["light.lobes=4", "transport.samples=1"])
    got = estimator("light-prior", config, "w.safetensors")
    assert asked == ["w.safetensors"] and len(got.guesses) >= 3 and got.guesses[0].shape == (3,)
    assert estimator("ambient", None).guesses == ()


def test_shared_work_counts_for_each(estimator):
    """The second method uses recording and adapter of the first; both are in its time, and in no light."""
    one, two = (methods.settings_of(n, 0, QUICK) for n in ("lds", "sds-lora"))
    first, second = estimator("lds", one), estimator("sds-lora", two)
    assert len(estimator._works) == len(estimator._adapters) == 1
    assert len(list(estimator.folder.glob("lora*.safetensors"))) == 1
    (_, recording, _), (training, _) = *estimator._works.values(), *estimator._adapters.values()
    assert second.seconds > recording + training > 0 and first.seconds > recording + training
    alone = methods.Estimator(estimator.scene, estimator.true, estimator.folder / "alone")
    alone.folder.mkdir()
    assert torch.equal(alone("sds-lora", two).light, second.light)
