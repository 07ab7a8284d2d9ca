"""relight_frames(): one light for a shot, no flicker in what is written, resumed, and what is refused."""
from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import OpenEXR
import pytest
import torch
from PIL import Image as Pillow

from dipir.errors import ConfigError, ImageError
from dipir.event import warnings_in
from dipir.image.color import srgb_to_linear
from dipir.image.files import read_image, write_png
from dipir.image.formats.ocio import BUILT_IN
from dipir.image.formats.png import png_bytes, profile_chunk
from dipir.image.palette import parse_palette
from dipir.priors.geometry import PLANES
from dipir.priors.nets.illuminet import IllumiNet, IllumiNetConfig
from dipir.relight.config import RelightConfig, RelightGuidance
from dipir.relight.frames import STATE, Frames, relight_frames
from dipir.relight.method import Engine, RelightRequest, relight
from dipir.relight.numbered import find_shot, numbered
from dipir.scene.plate import PlateColours
from tests.priors.test_geometry import random_geometry
from tests.relight.test_reading import colours, disc, write_rgba
from tests.support.icc import P3_COLORANTS, curve, rgb_profile
from tests.support.sure_prior import LEFT, sure

SMALL = RelightConfig(net_size=64)
ENGINE = Engine(None, random_geometry())


def write_shot(folder, count: int = 4, noise: float = 0.04, size: int = 128):
    """Frames of a still picture with fresh noise; the shot."""
    torch.manual_seed(5)
    still = colours(size)
    for k in range(1, count + 1):
        write_png(folder / f"s.{k:04d}.png", (still + noise * torch.randn_like(still)).clamp(0, 1))
    return find_shot(numbered(folder / "s.%04d.png"))


def run(shot, out, engine=ENGINE, config=SMALL, **more):
    return relight_frames(Frames(shot), LEFT, config, out=out, engine=engine, **more)


def change_of_light(before, after) -> torch.Tensor:
    return (srgb_to_linear(after).mean(1) / srgb_to_linear(before).mean(1)).log2()


def flicker(changes) -> float:
    # Where the pictures are 8-bit codes, means of small windows say what the light does.
    small = torch.nn.functional.avg_pool2d(torch.cat(changes)[:, None], 8)
    return float(small.diff(dim=0).pow(2).mean().sqrt())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(shot, out folder, result)."""
    folder = tmp_path_factory.mktemp("shot")
    shot = write_shot(folder)
    return shot, folder / "out", run(shot, folder / "out")


def test_a_still_shot_does_not_flicker(whole):
    """The change of light differs between frames at least five times less than where each is lit by itself."""
    shot, out, _ = whole
    frames = [Frames(shot).read(n) for n in shot.numbers]
    alone = [change_of_light(f.image, relight(f, LEFT, SMALL, engine=ENGINE).image) for f in frames]
    made = [change_of_light(f.image, read_image(out / f"relit.{n:04d}.png").pixels)
            for f, n in zip(frames, shot.numbers, strict=True)]
    assert flicker(alone) > 0.02 and flicker(made) < flicker(alone) / 5
    # The light is the same: the first frame's to the last code.
    assert float((made[0] - alone[0]).abs().mean()) < 0.02


def test_files_of_a_shot(whole):
    shot, out, result = whole
    assert result.made == (1, 2, 3, 4) and result.cuts == () and result.skipped == ()
    assert {p.name for p in out.iterdir()} == {
        *(f"{what}.{n:04d}.{end}" for n in shot.numbers for what, end in (("relit", "png"), ("layers", "exr"))),
        STATE, "config.yaml", "result.json", "history.csv", "report.html"}
    told = json.loads((out / "result.json").read_text())
    assert told["frames"] == [1, 2, 3, 4] and told["name"].endswith("s.%04d.png") and told["direction"]
    assert len((out / "history.csv").read_text().splitlines()) == 5
    channels = set(OpenEXR.File(str(out / "layers.0003.exr"), separate_channels=True).channels())
    assert channels == {"R", "G", "B", "A", "multiply.Y", "divide.Y"}


def test_resume(whole, tmp_path):
    shot, done, _ = whole
    out = tmp_path / "out"
    shutil.copytree(done, out)
    notes = []
    again = run(shot, out, resume=True, on_event=lambda e: notes.append(e.note))
    assert again.made == () and again.skipped == shot.numbers and "4 frames are whole" in notes[0]

    # What is missing or cut short is made again, and comes out the same.
    (out / "relit.0002.png").write_bytes((out / "relit.0002.png").read_bytes()[:-9])
    (out / STATE / "0004.safetensors").write_bytes(b"nothing")
    assert run(shot, out, resume=True).made == (2, 4)
    for n in shot.numbers:
        assert (out / f"relit.{n:04d}.png").read_bytes() == (done / f"relit.{n:04d}.png").read_bytes()
    assert len((out / "history.csv").read_text().splitlines()) == 5

    (out / "report.html").unlink()
    assert run(shot, out, resume=True).made == (4,) and (out / "report.html").is_file()
    assert run(shot, out, resume=True, config=RelightConfig(net_size=64, fill=0.3)).made == shot.numbers
    assert run(shot, out).made == shot.numbers


def test_a_stopped_run_goes_on(whole, tmp_path):
    shot, done, _ = whole

    def stop(event):
        if event.step == 2:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        run(shot, tmp_path, on_event=stop)
    assert run(shot, tmp_path, resume=True).made == (3, 4)
    assert (tmp_path / "relit.0004.png").read_bytes() == (done / "relit.0004.png").read_bytes()


def test_remarks_are_said_once_and_kept(tmp_path):
    for n in (1, 2, 3):
        write_rgba(tmp_path / f"c.{n}.png", colours(), disc())
    shot, said = find_shot(numbered(tmp_path / "c.#.png")), []
    run(shot, tmp_path / "out", on_event=lambda e: said.extend(e.remarks))
    assert said == ["c.1.png: a cut-out with straight alpha: its colours are taken as they are"]
    (tmp_path / "out/relit.2.png").unlink()
    assert run(shot, tmp_path / "out", resume=True).made == (2,)
    assert json.loads((tmp_path / "out/result.json").read_text())["notes"] == said


def test_a_changed_frame_and_all_after_it_are_made_again(tmp_path):
    shot = write_shot(tmp_path)
    run(shot, tmp_path / "out")
    write_png(tmp_path / "s.0003.png", colours(128))
    assert run(shot, tmp_path / "out", resume=True).made == (3, 4)


def test_a_cut(tmp_path):
    shot = write_shot(tmp_path, 2)
    for n in (3, 4):
        write_png(tmp_path / f"s.{n:04d}.png", 1 - colours(128).flip(3))
    shot, notes = find_shot(shot.files), []
    result = run(shot, tmp_path / "out", on_event=lambda e: notes.append(e.note))
    assert result.cuts == (3,) and "cuts at frames 3" in notes[-1]
    alone = relight(Frames(shot).read(3), LEFT, SMALL, engine=ENGINE).image
    assert float((read_image(tmp_path / "out/relit.0003.png").pixels - alone).abs().max()) < 2 / 255


def test_engine_net_and_cut_outs_with_masks(tmp_path):
    for n in (1, 2):
        write_rgba(tmp_path / f"c.{n}.png", colours(), disc())
        Pillow.fromarray(np.full((64, 64), 255 if n == 1 else 1, np.uint8)).save(tmp_path / f"m.{n}.png")
    torch.manual_seed(0)
    net = IllumiNet(IllumiNetConfig(planes=PLANES, light=4, channels=(4, 4, 4, 4), embedding=8)).eval()
    torch.nn.init.normal_(net.head.weight, std=2.0)
    frames = Frames(find_shot(numbered(tmp_path / "c.#.png")), numbered(tmp_path / "m.#.png"))
    relight_frames(frames, LEFT, RelightConfig(engine="net", net_size=64), out=tmp_path / "out",
                   engine=Engine(net, random_geometry()))
    first, second = (read_image(tmp_path / f"out/relit.{n}.png").pixels for n in (1, 2))
    seen = disc() > 0.5
    assert Pillow.open(tmp_path / "out/relit.1.png").mode == "RGBA"
    assert float(((first - colours()) * seen).abs().max()) > 0.05
    assert float(((second - colours()) * seen).abs().max()) < 0.02


def test_frames_come_back_in_their_depth_and_space(tmp_path):
    """Or in the one that is asked for, which is another run."""
    icc = rgb_profile(P3_COLORANTS, "Display P3", curve())
    codes = (colours()[0].permute(1, 2, 0).numpy() * 65535).round().astype(np.uint16)
    for n in (1, 2):
        (tmp_path / f"w.{n}.png").write_bytes(png_bytes(codes, (profile_chunk(icc),)))
    shot, out = find_shot(numbered(tmp_path / "w.#.png")), tmp_path / "out"
    run(shot, out)
    assert Pillow.open(out / "relit.2.png").info["icc_profile"] == icc
    assert cv2.imread(str(out / "relit.2.png"), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    srgb = Frames(shot, colours=PlateColours(output_colourspace="sRGB - Display", ocio=BUILT_IN))
    assert relight_frames(srgb, LEFT, SMALL, out=out, engine=ENGINE, resume=True).made == (1, 2)
    assert "icc_profile" not in Pillow.open(out / "relit.2.png").info


# ----------------------------------------------------------------------------------------------------------- refused
def test_sizes_that_differ(tmp_path):
    write_shot(tmp_path, 3)
    write_png(tmp_path / "s.0003.png", colours(96))
    with pytest.raises(ImageError, match="s.0003.png: 96x96 pixels, the frames before it 128x128"):
        run(find_shot(numbered(tmp_path / "s.####.png")), tmp_path / "out")
    assert (tmp_path / "out/relit.0002.png").is_file()


def test_missing_frames_are_a_warning(tmp_path):
    write_shot(tmp_path, 4)
    (tmp_path / "s.0003.png").unlink()
    remarks = []
    run(find_shot(numbered(tmp_path / "s.####.png")), tmp_path / "out", on_event=lambda e: remarks.extend(e.remarks))
    assert "frames 3 are not there" in warnings_in(remarks)[0]
    assert json.loads((tmp_path / "out/result.json").read_text())["missing"] == [3]


@pytest.mark.parametrize("config, request_, text", [
    (RelightConfig(prior="priors/sd15"), LEFT, "priors/sd15.*flicker.*--engine net"),
    (RelightConfig(guidance=RelightGuidance(kind="sds")), LEFT, "guidance.kind 'sds'"),
    (RelightConfig(), RelightRequest(palette=parse_palette("blue")), "--colourise")])
def test_what_is_fitted_is_refused(whole, tmp_path, config, request_, text):
    with pytest.raises(ConfigError, match=text):
        relight_frames(Frames(whole[0]), request_, config, out=tmp_path / "out", engine=ENGINE)
    with pytest.raises(ConfigError, match="flicker"):
        run(whole[0], tmp_path / "out", engine=sure(colours()))
    assert not (tmp_path / "out/relit.0001.png").exists()
