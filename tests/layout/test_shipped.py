"""The layout prior that ships: what is asked for stands where it was asked for. Layouts are the test's own."""
from __future__ import annotations

import pytest
import torch

from dipir.layout.config import load_config
from dipir.layout.method import LayoutRequest, find_prior, layouts
from dipir.layout.regions import Region
from dipir.priors.captions import COLOURS
from dipir.priors.layout import DEFAULT_PATH

pytestmark = pytest.mark.skipif(not DEFAULT_PATH.is_file(), reason="no weights there")
LEFT, RIGHT = (0.08, 0.35, 0.44, 0.8), (0.58, 0.4, 0.92, 0.85)
PAIRS = (("red cube", "blue sphere"), ("green bottle", "yellow cone"), ("blue chair", "orange mug"),
         ("yellow cylinder", "red torus"), ("purple sphere", "green cube"), ("orange cone", "blue bottle"))


def shares(image: torch.Tensor) -> dict[str, torch.Tensor]:
    """Colour -> (H, W) bool: the places that it is the nearest to, by hue (grey, black, white and floor are none)."""
    def direction(rgb):
        return (rgb - rgb.mean(0)) / (rgb - rgb.mean(0)).norm(dim=0).clamp_min(1e-6)

    vivid = (image[0].amax(0) - image[0].amin(0)) > 0.25
    hues = {n: torch.tensor(COLOURS[n]) for n in ("red", "green", "blue", "yellow", "orange", "purple")}
    near = torch.stack([(direction(image[0]) * direction(hue)[:, None, None]).sum(0) for hue in hues.values()])
    return {name: vivid & (near.argmax(0) == k) for k, name in enumerate(hues)}


def test_things_stand_in_their_boxes() -> None:
    """Most pixels of an asked colour lie in its box, and there are many of them, in at least ten of twelve regions."""
    config = load_config("default", (), ["sampler.steps=20", "attention=false"])
    asked = [LayoutRequest(f"a {a} and a {b} on a grey floor".replace("a orange", "an orange"),
                           tuple(Region(f"a {t}".replace("a orange", "an orange"), box)
                                 for t, box in ((a, LEFT), (b, RIGHT))), seed=k) for k, (a, b) in enumerate(PAIRS)]
    good = 0
    for made, pair in zip(layouts(asked, config, prior=find_prior(config)), PAIRS, strict=True):
        found = shares(made.image)
        for text, (x0, y0, x1, y1) in zip(pair, (LEFT, RIGHT), strict=True):
            pixels = found[text.split()[0]]
            inside = torch.zeros_like(pixels)
            inside[round(64 * y0) - 1:round(64 * y1) + 1, round(64 * x0) - 1:round(64 * x1) + 1] = True
            good += int(pixels.sum() > 0.12 * inside.sum() and (pixels & inside).sum() > 0.8 * pixels.sum())
    assert good >= 10
