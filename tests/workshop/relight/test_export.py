"""Pairs as picture files: the folder is whole, says what it shows, and trains a ControlNet and a LoRA."""
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from dipir.diffusion.denoiser import Condition
from dipir.diffusion.personalize import Examples, PersonalizeConfig, add_lora, lora_state, train_lora
from dipir.diffusion.pretrained import MemoryOptions, load_pretrained
from dipir.errors import ConfigError, DipirError
from dipir.image.color import srgb_to_linear
from dipir.image.files import read_image
from dipir.workshop.relight import export as relit_export
from dipir.workshop.relight.export import check, export
from tests.support.relit_sets import ball, balls
from tests.support.tiny_diffusion import build_pipeline

FILES = {"file_name": "image", "conditioning_image_file_name": "conditioning_image", "albedo_file_name": "albedo",
         "normal_file_name": "normal", "shading_file_name": "shading"}


def _lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def _picture(folder: Path, name: str) -> torch.Tensor:
    return read_image(folder / name).pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return export(balls(), tmp_path_factory.mktemp("export") / "pairs", 6, 64, seed=3)


# ---- the folder ------------------------------------------------------------------------------------------------------

def test_every_line_names_pictures_that_are_there(folder):
    lines = _lines(folder)
    assert folder.name == "train" and len(lines) == 6
    named = [line[key] for line in lines for key in FILES]
    assert sorted([*named, "metadata.jsonl"]) == sorted(p.name for p in folder.iterdir())
    for number, line in enumerate(lines):
        assert line["file_name"] == f"{number:06d}_image.png"
        for key in FILES:
            with Pillow.open(folder / line[key]) as picture:
                assert picture.size == (64, 64) and picture.mode == "RGB" or key == "shading_file_name"
    assert [p.name for p in folder.parent.iterdir()] == ["train"]


def test_words_index_and_angles_belong_to_the_light(folder):
    sides = {0: "the front", 1: "the front right", 2: "the right", 3: "the back right", 4: "behind",
             5: "the back left", 6: "the left", 7: "the front left"}
    known = {(90, 10), (-90, 20), (0, 30), (45, 50), (-150, 40)}
    for line in _lines(folder):
        assert (round(line["azimuth_deg"]), round(line["elevation_deg"])) in known
        assert line["index"] == round(line["azimuth_deg"] / 45) % 8
        assert line["text"] == f"A photo of an object with light from {sides[line['index']]}"


def test_the_side_in_words_is_the_bright_side(folder):
    for line in _lines(folder):
        shading = srgb_to_linear(_picture(folder, line["shading_file_name"]))
        normal = _picture(folder, line["normal_file_name"]) * 2 - 1
        x = np.sin(np.radians(line["azimuth_deg"]))
        if abs(x) > 0.9 and abs(line["azimuth_deg"]) < 120:
            right, left = (shading[:, :1][(sign * normal[:, :1] > 0.4)].mean() for sign in (1, -1))
            assert (right > 1.5 * left) if x > 0 else (left > 1.5 * right)


def test_normal_and_albedo_are_those_of_the_scene(tmp_path):
    data = ball((0.9, 0.5, 0.1), covered=True)
    folder = export(data, tmp_path, 1, 32)
    line = _lines(folder)[0]
    normal, albedo, shading, image = (_picture(folder, line[f"{n}file_name"])
                                      for n in ("normal_", "albedo_", "shading_", ""))
    assert (normal * 2 - 1 - data.normal.float() / 127).abs().max() < 0.01
    assert (srgb_to_linear(albedo) - data.albedo.float() / 255).abs().max() < 0.01
    made = srgb_to_linear(shading)[:, :1] * data.albedo.float() / 255
    unclipped = (image < 0.99).all(1, keepdim=True) & (shading[:, :1] < 0.99)
    assert (made - srgb_to_linear(image)).abs()[unclipped.expand(-1, 3, -1, -1)].max() < 0.02


def test_deterministic(folder, tmp_path):
    again = export(balls(), tmp_path / "again", 6, 64, seed=3)
    assert all((again / p.name).read_bytes() == p.read_bytes() for p in folder.iterdir())
    other = export(balls(), tmp_path / "other", 6, 64, seed=4)
    assert (other / "metadata.jsonl").read_text() != (folder / "metadata.jsonl").read_text()


def test_progress_is_told(tmp_path):
    events = []
    export(balls(), tmp_path, 2, 8, on_event=events.append)
    assert [(e.stage, e.step, e.steps) for e in events] == [("export", 1, 2), ("export", 2, 2)]


# ---- refused ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("pairs, size", [(0, 64), (2, 7), (2, 100_000)])
def test_bad_numbers_write_nothing(tmp_path, pairs, size):
    with pytest.raises(ConfigError, match="accepted are at least 1 pair and 8 to 4096"):
        export(balls(), tmp_path / "out", pairs, size)
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_kept(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.txt").write_text("mine")
    for call in (lambda: export(balls(), tmp_path, 1, 8), lambda: check(tmp_path, 1, 8)):
        with pytest.raises(ConfigError, match="is already there"):
            call()
    assert [p.name for p in (tmp_path / "train").iterdir()] == ["mine.txt"]
    assert check(tmp_path / "new", 1, 8) == tmp_path / "new" / "train" and not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        export(balls(), tmp_path / "file", 1, 8)


@pytest.mark.parametrize("kind", [OSError(28, "No space left on device"), ValueError("a bug")])
def test_nothing_half_written_is_left(tmp_path, monkeypatch, kind):
    whole = relit_export.write_png
    written = []

    def fails(path, picture):
        if len(written) == 7:
            raise kind
        written.append(path)
        whole(path, picture)

    monkeypatch.setattr(relit_export, "write_png", fails)
    with pytest.raises(DipirError if isinstance(kind, OSError) else ValueError, match="space|bug"):
        export(balls(), tmp_path / "out", 3, 16)
    assert len(written) == 7 and list((tmp_path / "out").iterdir()) == []


def test_too_few_lights(tmp_path):
    with pytest.raises(ConfigError, match="2 lights; accepted are at least 3"):
        export(ball(lights=2), tmp_path, 1, 8)
    assert list(tmp_path.iterdir()) == []


# ---- training on it --------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return build_pipeline(tmp_path_factory.mktemp("pipeline"), "sd1")


def _batch(folder: Path, prior) -> tuple[torch.Tensor, torch.Tensor, Condition]:
    """(images, conditioning images, texts), as the training scripts read them from metadata.jsonl. The tiny tokenizer
    knows letters alone."""
    lines = _lines(folder)[:2]
    images, controls = (torch.cat([_picture(folder, line[key])[..., ::4, ::4] for line in lines])
                        for key in ("file_name", "conditioning_image_file_name"))
    return images, controls, prior.encode_text([line["text"] for line in lines])


def test_a_controlnet_learns_from_it_and_is_loaded(folder, model, tmp_path):
    from diffusers import ControlNetModel, DDPMScheduler

    prior = load_pretrained(model)
    images, controls, condition = _batch(folder, prior)
    torch.manual_seed(0)
    net = ControlNetModel.from_unet(prior.network, conditioning_channels=3, conditioning_embedding_out_channels=(8, 8))
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    scheduler = DDPMScheduler.from_pretrained(model / "scheduler")
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(2):
        latents = prior.encode(images)
        noise, t = torch.randn_like(latents), torch.tensor([100, 600])
        down, mid = net(scheduler.add_noise(latents, noise, t), t, encoder_hidden_states=condition.text,
                        controlnet_cond=controls, return_dict=False)
        guess = prior.network(scheduler.add_noise(latents, noise, t), t, encoder_hidden_states=condition.text,
                              down_block_additional_residuals=down, mid_block_additional_residual=mid,
                              return_dict=False)[0]
        loss = (guess - noise).square().mean()
        assert bool(torch.isfinite(loss))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    moved = {name for name, p in net.named_parameters() if not torch.equal(p.detach(), start[name])}
    assert "controlnet_mid_block.weight" in moved and any(name.startswith("controlnet_cond") for name in moved)
    net.save_pretrained(tmp_path / "control")
    loaded = load_pretrained(model, options=MemoryOptions(controlnet=str(tmp_path / "control")))
    told = replace(condition, control=controls)
    with torch.no_grad():
        x, sigma = prior.encode(images), torch.ones(2)
        given, other, plain = (loaded(x, sigma, c) for c in (told, replace(told, control=1 - controls), condition))
    assert bool(torch.isfinite(given).all()) and not torch.equal(given, other) and not torch.equal(given, plain)


def test_a_lora_learns_from_it(folder, model):
    prior = load_pretrained(model)
    images, _, condition = _batch(folder, prior)
    config = PersonalizeConfig(rank=2, steps=2, batch=2, learning_rate=1e-2)
    add_lora(prior.network, config)
    losses = train_lora(prior, prior.network, [Examples(images, condition)], config)
    assert len(losses) == 2 and all(np.isfinite(losses))
    assert any(bool(p.detach().any()) for name, p in lora_state(prior.network).items() if "lora_B" in name)
