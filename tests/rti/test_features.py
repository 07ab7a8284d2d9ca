"""Planes and numbers that IllumiNet is told: closed forms, leave-one-out, symmetries."""
from __future__ import annotations

import pytest
import torch

from dipir.rti import features as rti_features
from dipir.rti.bases import design, fit
from tests.support.rti_captures import lights, photos


def test_a_photo_has_no_part_in_its_own_planes():
    near = rti_features.weights(lights())
    assert float(torch.diagonal(near.photos, dim1=0, dim2=2).abs().max()) < 1e-5


@pytest.mark.parametrize("covariance", range(len(rti_features.COVARIANCES)))
def test_leaving_one_out_is_what_it_says(covariance):
    """The closed forms give the planes of the capture without that photo."""
    d, images = lights(), photos(lights())
    near = rti_features.weights(d, None, covariance)
    step = rti_features.spacing(d)
    for i in (0, 7):
        others = [k for k in range(len(d)) if k != i]
        apart = rti_features.weights(d[others], d[i:i + 1], covariance)
        torch.testing.assert_close(near.photos[i, 0, others], apart.photos[0, 0], atol=2e-4, rtol=0)
        harmonics = slice(rti_features.COLOURED, None)
        torch.testing.assert_close(near.photos[i, harmonics][:, others], apart.photos[0, harmonics], atol=1e-3, rtol=0)
        if abs(rti_features.spacing(d[others]) - step) < 1e-6:
            torch.testing.assert_close(near.light[i], apart.light[0])
    assert rti_features.planes(near.photos[0], images).shape == (rti_features.PLANES, 24, 20)


def test_even_surfaces_stay_even():
    """Exactly on the sides, nearly in the prediction between lights; at a light it is the photo."""
    d = lights(40)
    near = rti_features.weights(d, torch.tensor([[0.6, 0.0, 0.8]]))
    torch.testing.assert_close(near.photos[0, 1:5].sum(1), torch.ones(4), atol=1e-5, rtol=0)
    assert float(near.photos[0, 0].sum()) == pytest.approx(1, abs=0.05)
    torch.testing.assert_close(rti_features.weights(d, d).photos[:, 0], torch.eye(40), atol=0.02, rtol=0)


def test_the_best_covariance_is_found():
    """By brute force: fit without each photo in turn."""
    d, images = lights(), photos(lights())
    errors = []
    for k in range(len(rti_features.COVARIANCES)):
        total = 0.0
        for i in range(len(d)):
            others = [j for j in range(len(d)) if j != i]
            row = rti_features.weights(d[others], d[i:i + 1], k).photos[0, 0]
            total += float((torch.tensordot(row, images[others], 1) - images[i]).square().mean())
        errors.append(total)
    assert rti_features.best_covariance(d, images) == errors.index(min(errors))
    assert max(errors) > 1.02 * min(errors)


def test_the_sides_lie_where_they_say():
    """In a capture whose photos hold the light's place, the side planes show the offsets that the numbers give."""
    d, wanted = lights(40), torch.nn.functional.normalize(torch.tensor([[0.3, 0.2, 0.9]]), dim=1)
    place = rti_features.chart(d)
    flat = torch.stack([place[:, 0], place[:, 1], torch.zeros(40)], 1)[:, :, None, None]
    near = rti_features.weights(d, wanted)
    planes = rti_features.planes(near.photos[0], flat)[:15].reshape(5, 3)[1:, :2]
    offsets = (planes - rti_features.chart(wanted)) / rti_features.spacing(d)
    torch.testing.assert_close(offsets, near.light[0, 3:].reshape(4, 2), atol=1e-4, rtol=0)
    assert offsets[0, 0] > 0.5 and offsets[1, 1] > 0.5 and offsets[2, 0] < -0.5 and offsets[3, 1] < -0.5


def test_harmonics_are_the_least_squares_fit():
    d, images = lights(30), photos(lights(30))
    rows = rti_features.weights(d, d[:1]).photos[0, rti_features.COLOURED:]
    ours = torch.tensordot(rows, images.mean(1), 1)
    torch.testing.assert_close(ours, fit(d, images, "hsh9").values.mean(1), atol=5e-3, rtol=0)
    assert design(d, "hsh9").shape == (30, 9)


@pytest.mark.parametrize("symmetry", range(8))
def test_turning_pixels_and_lights_agree(symmetry):
    """A light on the right of a picture that is turned must stand where the picture's right has gone."""
    ramp = torch.linspace(-1, 1, 9)
    y, x = torch.meshgrid(-ramp, ramp, indexing="ij")  # Row 0 is up.
    picture = torch.stack([x, y])
    d = torch.tensor([[0.6, 0.48, 0.64]])
    brightness = d[0, 0] * picture[0] + d[0, 1] * picture[1]
    turned = rti_features.turned(d, symmetry)[0]
    again = turned[0] * picture[0] + turned[1] * picture[1]
    torch.testing.assert_close(rti_features.turned_picture(brightness, symmetry), again)
    torch.testing.assert_close(rti_features.turned_back(rti_features.turned_picture(picture, symmetry), symmetry),
                               picture)
