"""One light for several photos of one place: where the asset stands, what is shared, what is refused."""
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dipir.captures.sequence import Frame, PosedSequence
from dipir.errors import ConfigError, PriorError, SceneError
from dipir.image import latlong
from dipir.image.files import write_png
from dipir.insert.config import load_config
from dipir.insert.sequence import (
    SequenceSettings,
    flicker,
    insert_sequence,
    looked_at,
    scenes_of,
    surest_shade,
    thing_of,
)
from dipir.priors.light import LightPrior
from dipir.priors.plate_light import Shade
from dipir.scene.camera import Camera
from dipir.scene.light import dominant_direction
from dipir.workshop.captures.posed import looking_at
from dipir.workshop.things.objects import simple_asset
from tests.support.looks import SHARES, SayingPrior, look

FAST = ("final.size=32", "final.spp=4", "fit.steps=2", "guidance.kind=posterior", "guidance.samples=1",
        "guidance.sampler_steps=2", "transport.samples=2", "final.env_height=16")


@pytest.fixture(scope="module")
def sequence(tmp_path_factory) -> PosedSequence:
    """Six cameras around a cylinder of points half a metre high at (0.5, 0, 0); plain grey pictures, brighter at the
    top."""
    folder, rng = tmp_path_factory.mktemp("frames"), np.random.default_rng(0)
    picture = torch.linspace(0.9, 0.3, 48)[:, None].expand(1, 3, 48, 64)
    frames = []
    for k in range(6):
        write_png(folder / f"{k}.png", picture)
        eye = np.array([0.5 + 2 * math.sin(k), 1.0, 2 * math.cos(k)])
        camera = Camera(64, 48, 60.0, 32.0, 24.0, looking_at(eye, np.array([0.5, 0.25, 0])))
        frames.append(Frame(k, folder / f"{k}.png", camera))
    turn, high = rng.uniform(0, 2 * np.pi, 400), rng.uniform(0, 0.5, 400)
    thing = np.stack([0.5 + 0.1 * np.sin(turn), high, 0.1 * np.cos(turn)], 1)
    floor = np.stack([rng.uniform(-1, 2, 600), rng.normal(0, 0.002, 600), rng.uniform(-1, 1, 600)], 1)
    return PosedSequence("six", tuple(frames), np.concatenate([thing, floor]))


def test_all_axes_meet(sequence):
    assert np.allclose(looked_at([f.camera for f in sequence.frames]), [0.5, 0.25, 0])


def test_the_thing_is_what_stands_out(sequence):
    middle, size = thing_of(sequence)
    assert np.allclose(middle[[0, 2]], [0.5, 0], atol=0.03) and size == pytest.approx(0.48, abs=0.03)
    bare = replace(sequence, points=np.zeros((0, 3)))
    middle, size = thing_of(bare)
    assert np.allclose(middle, [0.5, 0.25, 0]) and 0.3 < size < 0.7


def test_the_asset_stands_instead_or_beside(sequence):
    asset = simple_asset("box")
    inside = scenes_of(sequence, asset, SequenceSettings(frames=3, place="instead"))
    beside = scenes_of(sequence, asset, SequenceSettings(frames=6, place="beside", height=0.5))
    def foot(scene):
        return scene.objects[0].to_world[:3, 3]
    assert len(inside) == 3 and np.allclose(foot(inside[0]), [0.5, 0, 0], atol=0.03)
    assert all(np.allclose(foot(s), foot(beside[0])) and foot(s)[1] == 0 for s in beside)
    assert np.linalg.norm(foot(beside[0]) - [0.5, 0, 0]) > 0.3
    height = np.ptp(np.concatenate([p.vertices for p in inside[0].objects[0].parts])[:, 1])
    assert height == pytest.approx(thing_of(sequence)[1], rel=1e-3)
    with pytest.raises(SceneError, match="seen whole in none"):
        scenes_of(sequence, asset, SequenceSettings(height=9.0))


def test_one_light_is_shared_and_rendered_in_all_frames(sequence):
    scenes = scenes_of(sequence, simple_asset("sphere"), SequenceSettings(frames=3, place="instead"))
    seen = []
    made = insert_sequence(scenes, load_config("fast", overrides=FAST), on_event=seen.append)
    assert len(made.frames) == len(made.alone) == 3 and len(made.history) == 2
    assert all(torch.isfinite(f.image).all() and not torch.equal(f.image, f.plate) for f in made.frames)
    assert {e.stage for e in seen} >= {"prepare", "fit", "render"}
    again = insert_sequence(scenes, load_config("fast", overrides=FAST))
    assert all(torch.equal(a.image, b.image) for a, b in zip(made.frames, again.frames, strict=True))


def test_what_belongs_to_one_picture_is_refused(sequence):
    scenes = scenes_of(sequence, simple_asset("sphere"), SequenceSettings(frames=2, place="instead"))
    for change in ("optimize=[light, material]", "guidance.personalise=true"):
        with pytest.raises(ConfigError, match="a sequence"):
            insert_sequence(scenes, load_config("fast", overrides=[change]))


def test_equal_witnesses_say_what_one_says_when_they_count_once():
    """Two equal plates, each for half: the distribution over directions is that of one, so is the map."""
    prior = LightPrior.load()
    camera = Camera.looking(64, 48, 60)
    plate = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    rays = torch.from_numpy(camera.directions().astype(np.float32))
    one, both = prior.look(plate, rays).soft, prior.look_together([plate, plate], [rays, rays], 0.5).soft
    assert torch.allclose(one, both, rtol=1e-3, atol=1e-4)
    surer = prior.look_together([plate, plate], [rays, rays], 1.0)
    assert surer.guesses[0].chance > prior.look(plate, rays).guesses[0].chance
    with pytest.raises(PriorError):
        prior.look_together([], [])


def test_the_shared_light_turns_with_the_world():
    """Views from two sides, all turned by 90 degrees: so is the light."""
    prior = LightPrior.load()
    plates = [torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    rays = [torch.from_numpy(Camera.looking(64, 48, 60, yaw_deg=y).directions().astype(np.float32)) for y in (0, 70)]
    turn = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    straight = prior.look_together(plates, rays).soft
    turned = prior.look_together(plates, [r @ turn.T for r in rays]).soft
    angle = float(torch.rad2deg((turn @ dominant_direction(straight) @ dominant_direction(turned)).clamp(-1, 1).acos()))
    assert angle < 2 and turned.mean() == pytest.approx(float(straight.mean()), rel=1e-3)
    assert latlong.directions(16, 32).shape == turned.shape


def test_votes_are_a_witness_of_the_direction():
    """Sure votes bring the dominant light to where they point, equal ones change nothing."""
    prior = LightPrior.load()
    camera = Camera.looking(64, 48, 60)
    plate = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(3))
    rays = torch.from_numpy(camera.directions().astype(np.float32))
    wanted = torch.nn.functional.normalize(torch.tensor([0.7, 0.6, -0.4]), dim=0)
    votes = 200 * (latlong.directions(16, 32) @ wanted - 1)
    got = dominant_direction(prior.look_together([plate], [rays], votes=votes).soft)
    assert float(torch.rad2deg((got @ wanted).clamp(-1, 1).acos())) < 8
    without = prior.look_together([plate], [rays]).soft
    assert float(torch.rad2deg((dominant_direction(without) @ wanted).clamp(-1, 1).acos())) > 20
    equal = prior.look_together([plate], [rays], votes=torch.full((16, 32), -3.0)).soft
    assert torch.allclose(equal, without, rtol=1e-4, atol=1e-5)
    with pytest.raises(PriorError, match="votes"):
        prior.look_together([plate], [rays], votes=votes[:8])


def test_flicker_by_hand():
    assert flicker(torch.tensor([[1.0, 2, 3], [1, 2, 3]])) == 0
    assert flicker(torch.tensor([[1.0, 2, 3], [3, 2, 3]])) == pytest.approx(0.5)


@pytest.mark.parametrize("settings", [{"frames": 0}, {"longest": 3}, {"height": 0.0}, {"agree": 0.0}, {"agree": 1.5}])
def test_bad_settings(settings):
    with pytest.raises(ConfigError):
        SequenceSettings(**settings)


def test_all_frames_have_the_one_sun(sequence):
    """Decided from all looks, told once, the same lobe for every frame; a chosen guess is another."""
    scenes = scenes_of(sequence, simple_asset("sphere"), SequenceSettings(frames=2, place="instead"))
    notes = []
    made = insert_sequence(scenes, load_config("fast", overrides=FAST), light_prior=SayingPrior(),
                           on_event=lambda e: notes.append(e.note) if e.note else None)
    rest, sun = made.light.split(0.01)
    assert len(sun.axis) == 1 and notes == [made.provenance["light"]["decided"]] and "a sun" in notes[0]
    first = look().sources[0]
    assert float(sun.mu[0] @ first.direction) > 1 - 1e-6
    assert made.provenance["light"]["share"] == pytest.approx(SHARES[0], abs=1e-3)
    chosen = insert_sequence(scenes, load_config("fast", overrides=[*FAST, "light.guess=2"]), light_prior=SayingPrior())
    assert float(chosen.light.split(0.01)[1].mu[0] @ sun.mu[0]) < 0.9
    soft = insert_sequence(scenes, load_config("fast", overrides=FAST), light_prior=SayingPrior(0.1))
    assert soft.light.split(0.01)[1] is None


def test_the_surest_shadow_counts(sequence, monkeypatch):
    seen = {name: Shade(0.2, 0.3, sure) for name, sure in (("a", 0.2), ("b", 0.9), ("c", 0.4))}
    scenes = scenes_of(sequence, simple_asset("sphere"), SequenceSettings(frames=3, place="instead"))
    scenes = [replace(scene, name=name) for scene, name in zip(scenes, "abc", strict=True)]
    monkeypatch.setattr(Shade, "of", staticmethod(lambda scene: seen[scene.name]))
    assert surest_shade(scenes) is seen["b"]
