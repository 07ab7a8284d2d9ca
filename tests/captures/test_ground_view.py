"""The ground of a sequence from above, and photos without its object: photographs of our own, in which all is known."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dipir.captures.ground_view import GroundView, ground_view, object_points, remove_object
from dipir.captures.sequence import Frame, PosedSequence, frame_plate
from dipir.image.files import write_png
from dipir.insert.sequence import thing_of
from dipir.scene.camera import Camera
from dipir.workshop.captures.posed import PosedSettings, photograph, surface_points

SETTINGS = PosedSettings(frames=10, width=128, height=96, spp=16, depth=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(sequence without masks, its photographs) in even light: hardly any shadow."""
    folder = tmp_path_factory.mktemp("even")
    posed = photograph("mug", torch.ones(16, 32, 3), 4, SETTINGS)
    frames = []
    for k, shot in enumerate(posed.shots):
        write_png(folder / f"{k}.png", shot.image)
        frames.append(Frame(k, folder / f"{k}.png", shot.camera))
    points, _ = surface_points(posed.shots, 4000, np.random.default_rng(0))
    return PosedSequence("mug", tuple(frames), points), posed


def test_the_ground_has_the_tables_colours(made):
    sequence, _ = made
    view = ground_view(sequence, *thing_of(sequence), cells=64)
    assert 0.1 < view.known.mean() < 0.9 and view.lin[view.known].std() > 0
    x, z = view.places
    assert (np.abs(x[view.known]) < 0.85).all() and (np.abs(z[view.known]) < 0.85).all(), "the table is 1.6 m wide"
    colour, known = view.at(np.stack([x, np.zeros_like(x), z], -1))
    assert np.allclose(colour[known], view.lin[known], atol=1e-4) and known.sum() > 0.8 * view.known.sum()
    assert not view.at(np.array([[99.0, 0, 0], [np.nan, 0, 0]]))[1].any()


def test_the_object_goes_and_the_rest_stays(made, tmp_path):
    """Where only the table can be behind the object its colours are there; far from the object nothing changes."""
    sequence, posed = made
    view = ground_view(sequence, *thing_of(sequence), cells=128, longest=128)
    table = view.lin[view.known]
    low, high = table.min(0), table.max(0)
    for k in (0, 5):
        mask = posed.shots[k].mask
        write_png(tmp_path / "mask.png", torch.from_numpy(mask)[None, None].expand(1, 3, -1, -1))
        for frame in (sequence.frames[k], replace(sequence.frames[k], mask=tmp_path / "mask.png")):
            before, camera = frame_plate(frame)
            after, same = remove_object(frame, view)
            assert same == camera or np.allclose(same.to_world, camera.to_world)
            grown = torch.nn.functional.max_pool2d(torch.from_numpy(mask)[None, None], 41, 1, 20)[0, 0] > 0
            assert float((after.disp - before.disp).abs()[0][:, ~grown].max()) < 0.003
            feet = mask.copy()
            feet[: int(np.nonzero(mask.max(1) > 0.5)[0].mean())] = 0  # The lower half: the table is behind it.
            shown = after.lin[0].permute(1, 2, 0).numpy()[feet > 0.99]
            inside = ((shown > low - 0.05) & (shown < high + 0.05)).all(1)
            assert inside.mean() > 0.9
            # What is behind the upper part is the even sky, as beside it in the same rows.
            rows = slice(int(np.nonzero(mask.max(1) > 0.5)[0].min()), int(np.nonzero(mask.max(1) > 0.5)[0].min()) + 8)
            sky = before.disp[0, :, rows][:, ~grown[rows]].mean(1)
            behind = after.disp[0, :, rows][:, torch.from_numpy(mask[rows]) > 0.99].mean(1)
            assert torch.allclose(behind, sky, atol=0.02)


def test_what_lies_between_known_ground_is_ground(made):
    """And what is outside of the square is not."""
    sequence, _ = made
    view = ground_view(sequence, *thing_of(sequence), cells=64)
    x, z = view.places
    within = view.within(np.stack([x, np.zeros_like(x), z], -1))
    assert within[view.known].all() and within.sum() >= view.known.sum() and not within.all()
    assert not view.within(np.array([[99.0, 0, 0], [np.nan, 0, 0]])).any()


def test_exposure_is_that_of_the_photo(made, tmp_path):
    """A photo of half the light gets ground of half the light."""
    sequence, posed = made
    view = ground_view(sequence, *thing_of(sequence), cells=128, longest=128)
    half = posed.shots[2].image * 0.735  # sRGB: half the light.
    write_png(tmp_path / "half.png", half)
    def mean(frame):
        return float(remove_object(frame, view)[0].lin[0, :, posed.shots[2].mask > 0.9].mean())
    dark = replace(sequence.frames[2], image=tmp_path / "half.png")
    assert mean(dark) / mean(sequence.frames[2]) == pytest.approx(0.5, abs=0.06)


def test_without_points_nothing_is_known(made):
    sequence, _ = made
    bare = replace(sequence, points=np.zeros((0, 3)))
    view = ground_view(bare, np.zeros(3), 0.3, cells=16)
    assert not view.known.any() and len(view.thing) == 0
    plate, _ = remove_object(bare.frames[0], view)
    assert torch.isfinite(plate.disp).all()


def test_what_stands_hangs_together():
    """All of a table wider than high; not another thing beside it, nor points that lie alone, nor the ground."""
    rng = np.random.default_rng(0)
    wide = rng.uniform([-1.5, 0.45, -0.3], [1.5, 0.5, 0.3], (2500, 3))
    beside = rng.uniform([-0.2, 0.1, 1.2], [0.2, 0.5, 1.5], (800, 3))
    alone = rng.uniform([-1.7, 0.6, -1.7], [1.7, 0.64, 0.0], (9, 3))
    ground = rng.uniform(-1.7, 1.7, (500, 3)) * [1, 0, 1]
    camera = Camera.looking(64, 48, 50.0, 1.0, 20.0)
    sequence = PosedSequence("table", (Frame(0, None, camera),), np.concatenate([alone, ground, beside, wide]))
    found = object_points(sequence, np.array([0, 0.25, 0]), 0.5)
    assert len(found) > 2300 and np.ptp(found[:, 0]) > 2.9
    assert np.abs(found[:, 2]).max() <= 0.3 and found[:, 1].max() <= 0.5


def test_places_are_cells():
    view = GroundView(np.array([1.0, 0, 2.0]), 0.5, 2.0, np.zeros((0, 3)), np.zeros((4, 4, 3)), np.ones((4, 4), bool))
    x, z = view.places
    assert np.allclose(x[0], [0.25, 0.75, 1.25, 1.75]) and np.allclose(z[:, 0], [1.25, 1.75, 2.25, 2.75])
    marked = view.splat(np.array([[0.3, 0.8], [9.0, 0]]), 0.0)
    assert marked.sum() == 1 and marked[3, 2] == 1
