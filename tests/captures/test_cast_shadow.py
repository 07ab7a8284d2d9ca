"""The light's direction by the object's shadow: photographs of our own, and what must leave it silent."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dipir.captures import cast_shadow
from dipir.captures.cast_shadow import cast, partial_correlations, shadow_votes
from dipir.captures.ground_view import GroundView
from dipir.captures.sequence import Frame, PosedSequence
from dipir.image import latlong
from dipir.image.files import write_png
from dipir.insert.sequence import thing_of
from dipir.workshop.captures.posed import PosedSettings, photograph, surface_points

SETTINGS = PosedSettings(frames=8, width=96, height=72, spp=16, depth=2)


def angle_deg(a, b) -> float:
    a, b = (torch.as_tensor(v, dtype=torch.float32) for v in (a, b))
    return float(torch.rad2deg((a @ b / a.norm() / b.norm()).clamp(-1, 1).acos()))


def sequence_of(folder, light: torch.Tensor, seed: int = 1) -> PosedSequence:
    made = photograph("mug", light, seed, SETTINGS)
    frames = []
    for k, shot in enumerate(made.shots):
        write_png(folder / f"{k}.png", shot.image)
        frames.append(Frame(k, folder / f"{k}.png", shot.camera))
    points, _ = surface_points(made.shots, 3000, np.random.default_rng(0))
    return PosedSequence("mug", tuple(frames), points)


@pytest.fixture(scope="module")
def sunny(tmp_path_factory) -> PosedSequence:
    env = torch.full((16, 32, 3), 0.3)
    env[5, 8] = 60.0
    return sequence_of(tmp_path_factory.mktemp("sunny"), env)


def test_the_sun_is_found(sunny):
    """It stands at row 5, column 8 of the 16 x 32: 28 degrees high towards +X."""
    votes = shadow_votes(sunny, *thing_of(sunny))
    assert votes.shape == (16, 32) and float(votes.max()) == 0
    best = latlong.directions(16, 32).reshape(-1, 3)[int(votes.argmax())]
    assert angle_deg(best, latlong.directions(16, 32)[5, 8]) < 15
    chance = votes.flatten().softmax(0) @ latlong.directions(16, 32).reshape(-1, 3)
    assert angle_deg(chance, latlong.directions(16, 32)[5, 8]) < 15, "no second direction says as much"


def test_it_does_not_depend_on_scale_or_place(sunny):
    """The whole world five times as large and elsewhere: the same votes."""
    def move(p):
        return 5 * p + np.array([3.0, 0, -7.0])
    poses = [f.camera.to_world.copy() for f in sunny.frames]
    for pose in poses:
        pose[:3, 3] = move(pose[:3, 3])
    frames = tuple(replace(f, camera=replace(f.camera, to_world=p)) for f, p in zip(sunny.frames, poses, strict=True))
    moved = replace(sunny, frames=frames, points=move(sunny.points))
    here, there = shadow_votes(sunny, *thing_of(sunny)), shadow_votes(moved, *thing_of(moved))
    # A point on the border of two cells may round to either.
    assert torch.allclose(there, here, atol=0.03 * float(-here.min())) and there.argmax() == here.argmax()


def test_even_light_says_little(tmp_path, sunny):
    soft = sequence_of(tmp_path, torch.ones(16, 32, 3))
    def spread(s):
        return float(shadow_votes(s, *thing_of(s)).std())
    assert spread(soft) < 0.5 * spread(sunny)


def test_without_points_or_photos_nothing_is_said(sunny, tmp_path):
    middle, size = thing_of(sunny)
    assert not shadow_votes(replace(sunny, points=sunny.points[:20]), middle, size).any()
    gone = tuple(replace(f, image=tmp_path / "gone.png") for f in sunny.frames)
    assert not shadow_votes(replace(sunny, frames=gone), middle, size).any()


def test_a_post_throws_a_line_away_from_the_light():
    post = np.stack([np.zeros(50), np.linspace(0, 1, 50), np.zeros(50)], 1)
    view = GroundView(np.zeros(3), 1.0, 3.5, post, np.zeros((96, 96, 3)), np.ones((96, 96), bool))
    shadow = cast(post, np.array([1.0, 1.0, 0]) / 2**0.5, view)
    rows, columns = np.nonzero(shadow)
    assert columns.max() < 50 and columns.min() == pytest.approx(48 - 48 / 3.5, abs=3), "towards -X, as long as high"
    assert np.abs(rows - 47.5).max() < 3


def test_a_low_sun_is_not_taken_for_a_high_one(sunny, monkeypatch):
    """A drum that hides much of a bright sky makes the ground dark at its foot, as a high sun's short shadow would."""
    rng = np.random.default_rng(0)
    turn, high = rng.uniform(0, 2 * np.pi, 4000), rng.uniform(0.05, 1, 4000)
    drum = np.stack([0.4 * np.cos(turn), high, 0.4 * np.sin(turn)], 1)
    view = GroundView(np.zeros(3), 1.0, 3.5, drum, np.ones((96, 96, 3)), np.ones((96, 96), bool))
    rays = latlong.directions(16, 32)
    low = rays[6, 8].double().numpy()
    above = [(d, d[1]) for d in rays.reshape(-1, 3).double().numpy() if d[1] > 0.15]
    sky = sum(share * cast(drum, d, view) for d, share in above) / sum(share for _, share in above)
    dark = 0.2 * cast(drum, low, view) + 2.0 * sky + rng.normal(0, 0.05, (96, 96))
    lit = replace(view, lin=np.repeat(np.exp(-dark)[..., None], 3, -1))
    monkeypatch.setattr(cast_shadow, "ground_view", lambda *_: lit)
    votes = shadow_votes(sunny, np.zeros(3), 1.0)
    assert angle_deg(rays.reshape(-1, 3)[int(votes.argmax())], low) < 6


def test_partial_correlations():
    """Pearson's when only the mean is known; what is known takes no part, however much of it is added."""
    rng = np.random.default_rng(0)
    many, one, slope = rng.normal(size=(5, 40)), rng.normal(size=40), rng.normal(size=40)
    mean = np.ones((40, 1))
    assert np.allclose(partial_correlations(many, one, mean), [np.corrcoef(m, one)[0, 1] for m in many])
    known = np.stack([mean[:, 0], slope], -1)
    base = partial_correlations(many, one, known)
    assert np.allclose(partial_correlations(many - 3 * slope, one + 50 * slope + 7, known), base)
    assert np.allclose(partial_correlations(one[None], one, known), 1)
    assert (partial_correlations(np.stack([slope, mean[:, 0]]), one, known) == 0).all()
