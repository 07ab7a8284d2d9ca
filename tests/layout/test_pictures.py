"""Pictures that explain a layout."""
import torch

from dipir.layout.pictures import attention_strip, enlarged, region_overlay
from dipir.layout.regions import Region


def test_small_pictures_are_enlarged_with_their_pixels_kept():
    image = torch.rand(1, 3, 5, 10)
    big = enlarged(image, 100)
    assert big.shape == (1, 3, 50, 100) and torch.equal(big[..., ::10, ::10], image) and enlarged(big, 9) is not image
    assert torch.equal(enlarged(big, 9), big)


def test_the_overlay_changes_only_outlines_and_labels():
    image = torch.full((1, 3, 64, 64), 0.5)
    shown = region_overlay(image, [Region("a cube", (0.25, 0.25, 0.75, 0.75))])
    changed = (shown - 128 / 255).abs().amax(1)[0] > 0.01
    assert shown.shape == (1, 3, 512, 512) and bool(changed[126:130, 300:380].any(0).all())
    for untouched in (changed[:124], changed[:, 390:], changed[200:250, 200:300]):
        assert not bool(untouched.any())


def test_attention_maps_lie_side_by_side():
    maps = [("red cube", torch.rand(1, 1, 8, 8) * 0.01), ("数", torch.zeros(1, 1, 8, 8))]
    strip = attention_strip(maps)
    assert strip.shape == (1, 3, 256 + 16, 2 * 264)
    assert float(strip[..., 16:, :256].max()) == 1 and float(strip[..., 20:, 264:520].max()) == 0
