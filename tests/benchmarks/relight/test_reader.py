"""The reader of directions."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.relight import reader as relight_reader
from dipir.errors import ConfigError
from dipir.priors.relit.depth_shadows import in_camera
from dipir.workshop import shards
from dipir.workshop.relight.scenes import KINDS
from dipir.workshop.stored import decode, encode
from dipir.workshop.surfaces.data import OUTDOOR, SurfaceSet, SurfaceSettings, default_dir


@pytest.mark.parametrize("side", range(8))
def test_sides(side):
    assert int(relight_reader.side_of(relight_reader.asked(side)[None])) == side
    turned = relight_reader.asked(side)
    assert math.degrees(math.asin(float(turned[1]))) == pytest.approx(relight_reader.ELEVATION_DEG)


def test_the_reader_learns(scenes, monkeypatch, tmp_path):
    """Two sides that differ to the eye are told apart after a few steps; a second call takes the kept weights."""
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
    monkeypatch.setattr(relight_reader, "training_scenes", lambda count: scenes)
    trained = relight_reader.trained
    monkeypatch.setattr(relight_reader, "trained", lambda data, name: trained(data, name, steps=100, batch=24))
    net = relight_reader.stored(2)
    rng = np.random.default_rng(9)
    choices = relight_reader.candidates(scenes)
    planes, sides = relight_reader._batch(rng, scenes, choices, 64)
    bright = (sides == 2) | (sides == 6)
    read = torch.tensor([relight_reader.read(net, *one[None].split([3, 3, 1], 1)[:2], torch.full((1, 3, 64, 64), 0.5))
                         for one in planes])
    # Mirrored pictures of the bright right half are lit from the left.
    assert float((read == sides)[bright].float().mean()) > 0.5
    monkeypatch.setattr(relight_reader, "trained", None)
    again = relight_reader.stored(2)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))


# ------------------------------------------------------------------------------------------------------ training set
def looking_down(pitch_deg: float) -> torch.Tensor:
    """(1, 3) the vertical in the frame of a camera that looks down."""
    pitch = math.radians(pitch_deg)
    return torch.tensor([[0.0, math.cos(pitch), math.sin(pitch)]])


def test_normals_are_turned_into_the_frame_of_the_lights():
    """A floor's normal is the vertical whatever the camera's tilt, a wall's is level and comes towards the camera."""
    up = looking_down(30)
    floor, right = up[..., None, None], torch.tensor([1.0, 0, 0])[None, :, None, None]
    wall = torch.linalg.cross(right[..., 0, 0], up)[..., None, None]
    for normal, expected in ((floor, (0, 1, 0)), (right, (1, 0, 0)), (wall, (0, 0, 1))):
        turned = relight_reader.to_heading(normal, up).flatten()
        assert torch.allclose(turned, torch.tensor(expected, dtype=torch.float32), atol=1e-6)


def test_turned_normals_make_the_same_angles_with_lights_as_in_the_camera():
    generator = torch.Generator().manual_seed(3)
    up = torch.nn.functional.normalize(torch.tensor([[0.1, 0.9, 0.3]]), dim=1)
    normal, light = torch.nn.functional.normalize(torch.randn(2, 1, 3, generator=generator), dim=2)
    turned = relight_reader.to_heading(normal[..., None, None], up).flatten()
    assert float(turned @ light[0]) == pytest.approx(float(normal[0] @ in_camera(light, up)[0]), abs=1e-6)


@pytest.fixture
def stored(monkeypatch, tmp_path) -> SurfaceSet:
    """A set of three scenes in two files: a stage, a floor seen from above, a landscape."""
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
    monkeypatch.setattr(relight_reader, "SurfaceSettings", lambda: SurfaceSettings(shard=2))
    floor, size = KINDS.index("floor"), 128
    up = looking_down(20).expand(3, -1)
    normal = (up[..., None, None] * 127).round().to(torch.int8).expand(-1, -1, size, size)
    lit = torch.zeros(3, 4, 3, size, size)
    lit[..., ::2, :] = 0.5
    full = torch.full((3, 1, size, size), 255, dtype=torch.uint8)
    light = torch.stack([relight_reader.asked(k) for k in range(4)]).expand(3, -1, -1).contiguous()
    data = SurfaceSet(encode(lit), encode(lit[:, 0]), full.expand(-1, 4, -1, -1), light, full, full.clone(),
                      full.expand(-1, 3, -1, -1), normal, torch.zeros(3, 1, size, size).half(), torch.full((3,), 40.0),
                      up, torch.tensor([KINDS.index("stage"), floor, OUTDOOR]))
    default_dir().mkdir(parents=True)
    for start in (0, 2):
        shards.save(default_dir() / f"surfaces_{start:06d}.safetensors", vars(data.part(slice(start, start + 2))), {})
    return data


def test_training_scenes_are_small_things_without_a_wall(stored):
    made = relight_reader.training_scenes(3)
    assert len(made) == 1 and made.kind.tolist() == [KINDS.index("floor")]
    assert made.lit.shape == (1, 4, 3, 64, 64) and torch.equal(made.light, stored.light[1:2])
    # Rows of light and of none: their mean, in linear light.
    assert float(decode(made.lit).mean()) == pytest.approx(0.25, rel=0.05)
    assert torch.equal(made.normal[0, :, 0, 0], torch.tensor([0, 127, 0], dtype=torch.int8))
    assert len(relight_reader.candidates(made)) == 4


def test_a_set_that_is_too_small_is_named(stored):
    assert len(relight_reader.training_scenes(2)) == 1
    with pytest.raises(ConfigError, match="5 training scenes.*has 3.*dipir synth surfaces --count 5"):
        relight_reader.training_scenes(5)
