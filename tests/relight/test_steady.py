"""Flicker goes, what moves takes its light along, a cut is taken over at once."""
from __future__ import annotations

import pytest
import torch

from dipir.relight.change import Change
from dipir.relight.steady import KEEP, Memory, Steady, carry


def texture(seed: int, size=(72, 128)) -> torch.Tensor:
    torch.manual_seed(seed)
    low = torch.nn.functional.interpolate(torch.rand(1, 3, 9, 16), size, mode="bicubic")
    return (low * 0.5 + torch.rand(1, 3, *size) * 0.1 + 0.15).clamp(0, 1)


def step(gains) -> float:
    return float(torch.cat(gains).diff(dim=0).pow(2).mean().sqrt())


@pytest.mark.parametrize("channels", [1, 4])
def test_noise_does_not_flicker(channels):
    """A still shot; pictures, gains and their level have fresh noise."""
    still, steady, given, made = texture(0), Steady(), [], []
    torch.manual_seed(1)
    for _ in range(8):
        planes = torch.randn(1, channels, 72, 128) * 0.1 + torch.randn(1, channels, 1, 1) * 0.1 + 0.5
        noisy = (still + torch.randn_like(still) * 0.03).clamp(0, 1)
        change = steady(Change(noisy, planes[:, :1], planes[:, 1:] if channels > 1 else None))
        given.append(planes)
        made.append(change.gain if channels == 1 else torch.cat([change.gain, change.shift], 1))
    assert step(made) < step(given) / 5 and steady.kept > 0.95 and not steady.cut
    assert abs(float(made[-1].mean()) - 0.5) < 0.1


def square(k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A textured square 4 pixels further right in every frame, before a textured ground; and its gain."""
    image, gain = texture(2) * 0.6, torch.zeros(1, 1, 72, 128)
    image[..., 24:48, 10 + 4 * k:34 + 4 * k] = texture(3)[..., :24, :24] * 0.5 + 0.5
    gain[..., 24:48, 10 + 4 * k:34 + 4 * k] = 1.0
    return image, gain


def test_the_gain_moves_with_what_moves():
    steady, made, ghost, seeded = Steady(), [], None, torch.Generator().manual_seed(4)
    for k in range(12):
        image, gain = square(k)
        noisy = gain + 0.2 * torch.randn(gain.shape, generator=seeded)
        made.append(steady(Change(image, noisy)).gain)
        ghost = noisy if ghost is None else KEEP * ghost + (1 - KEEP) * noisy
    wanted = square(11)[1]
    similar = [float(torch.corrcoef(torch.stack([x.flatten(), wanted.flatten()]))[0, 1]) for x in (made[-1], ghost)]
    assert similar[0] > 0.93 and similar[1] < 0.8
    # Inside the noise is less than the guess has: it was carried along, not only dropped where things move.
    inside = made[-1][..., 28:44, 58:74]
    assert float(inside.std()) < 0.1 and not steady.cut


def test_what_is_seen_before_is_found_where_it_is_now():
    before, gain = square(3)
    now, wanted = square(4)
    carried, agree = carry(before, gain, now)
    assert float(((carried - wanted).abs() * (agree > 0.5)).mean()) < 0.01
    assert float(agree.mean()) > 0.8 and float(agree[..., 28:44, 22:24].mean()) < 0.3


@pytest.mark.parametrize("speed", [0.5, 2, 7])
def test_a_pan_carries_the_gain_along(speed):
    """The whole picture moves; so does what was done to it, though the guess sees nothing any more."""
    wide, steady = texture(8, (72, 384)), Steady()
    for k in range(6):
        left = round(2 * speed * k) / 2
        doubled = torch.nn.functional.interpolate(wide, scale_factor=2.0, mode="bilinear")
        part = doubled[..., round(2 * left):][..., :256]
        gain = part.mean(1, keepdim=True) * (2 if k == 0 else 0.0) - (1 if k == 0 else 0.0)
        image, gain = (torch.nn.functional.avg_pool2d(x, 2) for x in (part, gain))
        made = steady(Change(image, gain)).gain
    wanted = image.mean(1, keepdim=True)
    # Where the picture was not seen at first there is nothing to carry.
    old = slice(0, 128 - round(5 * speed) - 4)
    both = torch.stack([x[..., 8:64, old].flatten() for x in (made, wanted)])
    assert not steady.cut and float(torch.corrcoef(both)[0, 1]) > 0.9


def test_a_cut_is_taken_over_at_once():
    steady = Steady()
    for _ in range(4):
        steady(Change(texture(5), torch.full((1, 1, 72, 128), 1.0)))
    new = texture(6).flip(1) * 0.6 + 0.35
    made = steady(Change(new, torch.full((1, 1, 72, 128), -1.0)))
    assert steady.cut and float((made.gain + 1).abs().max()) < 1e-3
    assert float(steady(Change(new, torch.full((1, 1, 72, 128), -1.0))).gain.max()) < -0.99 and not steady.cut


def test_a_memory_from_a_file_goes_on_exactly():
    one, images = Steady(), [texture(7), texture(7) * 0.99, texture(7) * 0.98]
    gains = [torch.randn(1, 1, 72, 128) for _ in images]
    results = [one(Change(*x)).gain for x in zip(images, gains, strict=True)]
    two = Steady()
    for x in zip(images[:2], gains[:2], strict=True):
        two(Change(*x))
    stored = Memory(*(x.half().clone().float() for x in vars(two.memory).values()))
    assert torch.equal(Steady(stored)(Change(images[2], gains[2])).gain, results[2])


@pytest.mark.parametrize("size", [(16, 128), (128, 16), (16, 16), (31, 32)])
def test_small_pictures(size):
    steady = Steady()
    for seed in (0, 0, 1):
        made = steady(Change(texture(seed, size), torch.ones(1, 1, *size)))
    assert made.gain.shape == (1, 1, *size) and bool(made.gain.isfinite().all())
