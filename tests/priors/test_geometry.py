"""First guesses at pictures in other light, and what relighting networks are told of them."""
from __future__ import annotations

import pytest
import torch

from dipir.image.color import srgb_to_linear
from dipir.priors.geometry import PLANES, Geometry, told
from dipir.priors.relit import relighting
from dipir.priors.relit.relighting import GuessConfig, GuessNet, lit
from dipir.priors.relit.whole_light import WholeLight
from dipir.scene.direction import LightDirection
from dipir.scene.light import SphericalGaussians, towards
from dipir.scene.rig import Rig
from dipir.scene.source import Source

LIGHTS = torch.stack([LightDirection(a, e).numbers for a, e in ((90, 10), (-60, 40))])


def random_geometry(seed: int = 1) -> Geometry:
    """Weights that do something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        nets = GuessNet(GuessConfig((16, 16, 8, 8, 8, 8), 4, (8, 8, 16), 16, 8))
        for name, parameter in nets.named_parameters():
            if not name.startswith("surfaces.backbone"):
                torch.nn.init.normal_(parameter, std=0.15)
    return Geometry(nets)


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (150, 133)])
def test_an_untrained_one_changes_nothing_to_speak_of(size):
    """It sees even light on what has no shape: after the level is kept nothing is left but the picture's border."""
    made, image = Geometry.untrained(), torch.rand(2, 3, *size) * 0.8
    planes = made.planes(image, LIGHTS)
    assert planes.shape == (2, PLANES, *size) and float(planes[:, 6:].abs().max()) == 0
    assert float((planes[:, :3] - planes[:, 3:6]).abs().max()) < 2e-3
    torch.testing.assert_close(planes[:, 3:6], image * 2 - 1)


def test_planes_by_hand():
    """First guess = picture in light of 2^gain, then the picture, normals, shading and the cosine with the light."""
    made, image = random_geometry(), torch.rand(2, 3, 128, 128) * 0.5 + 0.2
    guess, planes = made.guess(image, LIGHTS), made.planes(image, LIGHTS)
    assert 0.05 < float(guess.gain.abs().max())
    torch.testing.assert_close(planes[:, :3], lit(image, guess.gain).clamp(0, 1) * 2 - 1)
    torch.testing.assert_close(planes[:, 3:6], image * 2 - 1)
    torch.testing.assert_close(planes[:, 6:9], guess.seen.normal)
    torch.testing.assert_close(planes[:, 9:10], guess.seen.shading)
    cosine = (guess.seen.normal * guess.towards[:, :, None, None]).sum(1, keepdim=True)
    torch.testing.assert_close(planes[:, 10:], cosine)
    assert torch.equal(told(guess, image), planes)


def test_the_mean_light_stays():
    made, image = random_geometry(), torch.rand(2, 3, 96, 128) * 0.5 + 0.2
    guess = made.guess(image, LIGHTS)
    before, after = (srgb_to_linear(x).mean(1, keepdim=True) for x in (guess.image, lit(guess.image, guess.gain)))
    weight = guess.seen.solid
    torch.testing.assert_close((after * weight).sum((1, 2, 3)), (before * weight).sum((1, 2, 3)), rtol=0.1, atol=0)


def test_light_from_the_left_is_as_good_as_light_from_the_right():
    """A mirrored picture in mirrored light is the mirror image of the result."""
    made, image = random_geometry(), torch.rand(2, 3, 24, 40)
    guess = made.guess(image, LIGHTS)
    other = made.guess(image.flip(-1), LIGHTS * torch.tensor([-1.0, 1, 1, 1]))
    assert float((guess.gain - guess.gain.flip(-1)).abs().max()) > 0.05
    torch.testing.assert_close(other.gain.flip(-1), guess.gain, atol=1e-3, rtol=1e-3)
    for name, value in vars(other.seen.mirrored()).items():
        torch.testing.assert_close(value, getattr(guess.seen, name), atol=1e-3, rtol=1e-3)
    assert float((guess.seen.normal - other.seen.normal).abs().max()) > 0.01


def test_contrast_multiplies_the_change():
    """But for the shift that keeps the mean light."""
    made, image = random_geometry(), torch.rand(2, 3, 32, 32) * 0.5 + 0.2
    once = made.guess(image, LIGHTS)
    made.nets.contrast.fill_(1.5)
    more = made.guess(image, LIGHTS)
    rest = (more.gain - 1.5 * once.gain) / once.seen.solid
    assert float(once.gain.std()) > 0.02 and float(rest.flatten(1).std(1).max()) < 0.02 * float(once.gain.std())


def test_several_lights_for_one_picture():
    made, image = random_geometry(), torch.rand(2, 3, 24, 40)
    together = made.planes(image, LIGHTS[[0, 1, 1, 0]])
    one_by_one = torch.cat([made.planes(image[k // 2:k // 2 + 1], LIGHTS[[0, 1, 1, 0]][k:k + 1]) for k in range(4)])
    torch.testing.assert_close(together, one_by_one, atol=1e-4, rtol=1e-3)
    assert (together[0, :3] - together[1, :3]).abs().max() > 0.01


def test_a_whole_light_gives_each_normal_what_it_sends_there():
    """Beside the same key a sky that is brighter below makes another gain than an even fill, by the pixels' normals."""
    made, image = random_geometry(), torch.rand(1, 3, 48, 48) * 0.5 + 0.2
    below = SphericalGaussians.of(torch.tensor([[0.0, -1, 0]]), torch.ones(1, 3), torch.tensor([1.0]))
    light = WholeLight.of(Rig.of(below, Source(towards(60, 30), torch.full((3,), 2.0))))
    numbers = light.direction.numbers[None]
    whole, even = made.guess(image, numbers, light, 48), made.guess(image, numbers, light.mean_fill, 48)
    fill = light.fill(whole.seen)
    assert float(fill.max() / fill.min()) > 1.1 and float((whole.gain - even.gain).abs().max()) > 0.05
    torch.testing.assert_close(made.planes(image, numbers, light), told(made.guess(image, numbers, light), image))


def _ball() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(picture, inside, normals) of a grey ball lit from the left."""
    y, x = torch.meshgrid(torch.linspace(1.4, -1.4, 128), torch.linspace(-1.4, 1.4, 128), indexing="ij")
    inside = x**2 + y**2 < 1
    z = (1 - x**2 - y**2).clamp_min(0).sqrt()
    shade = (0.15 + 0.6 * (-0.8 * x + 0.3 * y + 0.5 * z).clamp_min(0)) ** (1 / 2.2)
    return torch.where(inside, shade, 0.2).expand(1, 3, 128, 128), inside, torch.stack([x, y, z])


@pytest.mark.skipif(not relighting.DEFAULT_PATH.is_file(), reason="no weights there")
def test_the_shipped_one_knows_a_ball():
    """Normals to the left on its left side, to the right on its right; lit from opposite sides its sides differ by more
    than a stop."""
    image, inside, true = _ball()
    shipped = Geometry.load()
    guess = shipped.guess(image.expand(1, -1, -1, -1), torch.stack([LightDirection(a, 15).numbers for a in (-80, 80)]))
    normal = guess.seen.normal[0]
    angle = torch.nn.functional.cosine_similarity(normal, true, dim=0)[inside].clamp(-1, 1).acos()
    assert float(torch.rad2deg(angle).mean()) < 30
    left, right = inside & (true[0] < -0.5), inside & (true[0] > 0.5)
    assert float(normal[0][left].mean()) < -0.3 < 0.3 < float(normal[0][right].mean())
    change = guess.gain[1, 0] - guess.gain[0, 0]
    assert float(change[right].mean() - change[left].mean()) > 1
