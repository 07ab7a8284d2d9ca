"""Result: what a run leaves behind; saved, loaded and shown.

Out folder: ``composite.png`` (``composite.exr``, ``composite.dpx``), ``layers.exr``, ``light.exr`` + ``light.png``
(preview) + ``light.json``, ``tone.cube`` (object) and ``tone_shadow.cube``, ``config.yaml`` (usable as ``--config``
again), ``result.json`` (camera, tone parameters, seeds, versions, hashes), ``history.csv``, ``report.html``, and where
there are guesses ``guess_1.jpg`` ...
"""
from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipir import disk
from dipir.arrays import EnvMap, Image
from dipir.errors import ConfigError, DipirError
from dipir.export.cube import CurveRole, write_cube
from dipir.export.layered_exr import write_layers
from dipir.image.composite import Layers, changed, flatten_lin
from dipir.image.files import HALF_MAX, jpeg_bytes, write_exr, write_png
from dipir.image.outputs import FinishedPicture, write_display, write_linear, write_log
from dipir.image.tone import ToneCurve
from dipir.insert import page as report
from dipir.insert.final import FinalPicture
from dipir.insert.redistort import geometry_text
from dipir.render.renderer import Passes
from dipir.report import figures as report_figures
from dipir.scene.camera import Camera
from dipir.scene.light import EnvironmentMap
from dipir.scene.plate import PlateKind
from dipir.scene.rig import MAP_NAME, Rig
from dipir.settings.yaml import dump_yaml, load_yaml

LIGHT_SIZE = (256, 512)
COMPOSITE_EXR, COMPOSITE_DPX = "composite.exr", "composite.dpx"
_FORMAT = 1
_MOST_GUESSES = 3
_LATLONG = {"envmap": 0, "comments": "equirectangular, +Y up, row 0 = +Y; radiance, 1.0 = plate white"}


@dataclass(frozen=True, eq=False)
class Result:
    """Everything a run found out."""

    composite_disp: Image
    plate_disp: Image
    """(1, 3, H, W) display sRGB in [0, 1]."""
    passes: Passes
    """Linear light, without tone."""
    layers: Layers
    """Base and layers in linear light, tone applied ("shadow" MULTIPLY, "object" OVER)."""
    light: Rig
    """Lamps and what is around them; radiance, plate white = 1."""
    tone_fg: ToneCurve
    """Display -> display."""
    tone_shadow: ToneCurve
    """On the shadow ratio."""
    camera: Camera
    config: dict
    """Resolved, plain values."""
    history: list[dict] = field(default_factory=list)
    """One dict of numbers per step."""
    provenance: dict = field(default_factory=dict)
    """Seed, versions, hashes, notes (list of text), times."""
    plate_kind: PlateKind = PlateKind()
    """Depth and colour space of the plate's file, in which the composite is given back."""
    guess_pictures: tuple[Image, ...] = ()
    """(1, 3, h, w) display, small: what the light prior's guesses, ``provenance["light_guesses"]``, would look like."""


@dataclass(frozen=True, eq=False)
class SavedResult:
    """The part of a saved result from which it can be rendered again. ``folder`` : where it was read."""

    folder: Path
    light: Rig
    tone_fg: ToneCurve
    tone_shadow: ToneCurve
    camera: Camera
    config: dict
    provenance: dict


def save(result: Result, out_dir: str | Path, exr: bool | None = None) -> Path:
    """Write all files of ``result`` into ``out_dir`` and return it. They are written aside and moved in together at the
    end: a full disk leaves the folder as it was. Raises DipirError when something cannot be written.
    exr : whether the composite is also written as linear light; None = where the plate's file held linear light, or
    linear light is what was asked for"""
    out, kind = disk.prepare_out(out_dir), result.plate_kind
    if exr is None:
        exr = kind.linear or (kind.output is not None and kind.output.kind == "linear")
    more = {COMPOSITE_EXR: write_linear if exr else None, COMPOSITE_DPX: write_log if kind.space_of("log") else None}
    with disk.written_aside(out) as aside:
        _write_all(result, aside, str(out_dir))
        for name, write in more.items():
            if write is not None:
                write(aside / name, finished(result), kind)
    for name, write in more.items():
        if write is None:
            (out / name).unlink(missing_ok=True)
    for number in range(len(result.guess_pictures) + 1, _MOST_GUESSES + 1):
        (out / guess_name(number)).unlink(missing_ok=True)
    return out


def guess_name(number: int) -> str:
    """File of the picture of guess ``number``, from 1."""
    return f"guess_{number}.jpg"


def page_of(result: Result, folder: str = "RESULT") -> report.InsertPage:
    """What ``report.html`` shows of it; ``folder`` : where it lies, for commands."""
    picture = FinalPicture(result.camera, result.passes, result.layers, result.composite_disp, result.plate_disp)
    return report.InsertPage(picture, result.light, (result.tone_fg, result.tone_shadow), result.config, result.history,
                             result.provenance, result.guess_pictures, folder)


def finished(result: Result) -> FinishedPicture:
    """The composite, and where it is not the plate."""
    return FinishedPicture(flatten_lin(result.layers).detach().cpu(), result.composite_disp.detach().cpu(),
                           changed(result.layers).cpu())


def _write_all(result: Result, out: Path, folder: str) -> None:
    write_display(out / "composite.png", finished(result), result.plate_kind)
    write_layers(out / "layers.exr", exr_layers(result), result.camera,
                 geometry_text(result.provenance.get("geometry")))
    envmap = _write_envmap(out / "light.exr", result.light)
    write_png(out / "light.png", report_figures.show_light(envmap))
    write_light(out, result.light)
    for number, picture in enumerate(result.guess_pictures, 1):
        disk.write_bytes(out / guess_name(number), jpeg_bytes((picture[0].permute(1, 2, 0) * 255).round().byte(), 92))
    write_cube(out / "tone.cube", result.tone_fg, CurveRole.FOREGROUND)
    write_cube(out / "tone_shadow.cube", result.tone_shadow, CurveRole.SHADOW)
    dump_yaml(result.config, out / "config.yaml")
    _write_json(out / "result.json", {
        "format": _FORMAT, "camera": result.camera.to_dict(), "tone_fg": result.tone_fg.to_dict(),
        "tone_shadow": result.tone_shadow.to_dict(), "provenance": result.provenance})
    disk.write_text(out / "history.csv", history_csv(result.history))
    disk.write_text(out / "report.html", report.report_html(page_of(result, folder)))


def exr_layers(result: Result) -> dict[str, Tensor]:
    """Layers for compositing programs, each (1, C, H, W), linear: ``plate * shadow_full * (1 - alpha) + beauty`` is the
    composite. ``shadow_full`` is also known under the object; ``shadow_ratio`` is 1 where the object covers it."""
    g = result.passes.gbuffers
    by_name = {layer.name: layer for layer in result.layers.layers}
    full, alpha = by_name["shadow"].image, by_name["object"].alpha
    return {"beauty": torch.cat([by_name["object"].image, alpha], 1), "alpha": alpha,
            "shadow_ratio": 1 + (1 - alpha) * (full - 1), "shadow_full": full, "depth": g.depth, "normal": g.normal,
            "albedo": g.albedo, "position": g.position, "id": g.object_id}


def _write_envmap(path: Path, light: Rig) -> EnvMap:
    """Latlong float32 EXR; values stay within half's range so that no reader makes them infinite (NaN still fails)."""
    envmap, width = light.envmap(*LIGHT_SIZE).detach(), np.pi / LIGHT_SIZE[0]
    while float(envmap.max()) > HALF_MAX and width < 0.5:
        # A sun too bright for half floats is drawn wider, with the energy that it has.
        envmap, width = light.widened(width).envmap(*LIGHT_SIZE).detach(), 1.5 * width
    envmap = envmap.clamp(0, HALF_MAX)
    write_exr(path, dict(zip("RGB", envmap.unbind(-1), strict=True)), _LATLONG)
    return envmap


def history_csv(history: list[dict]) -> str:
    """The history as CSV; columns in order of first appearance, empty where a step did not log a number."""
    columns = list(dict.fromkeys(key for row in history for key in row)) or ["step"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


def write_light(out: Path, light: Rig) -> None:
    """``light.json``, and beside it the map that it refers to, if it has one."""
    if isinstance(light.around, EnvironmentMap):
        write_exr(out / MAP_NAME, dict(zip("RGB", light.around.data.unbind(-1), strict=True)), _LATLONG)
    _write_json(out / "light.json", light.to_dict())


def load_light(result_dir: str | Path) -> Rig:
    """The light of a saved result (a folder, or a ``light.json``). Raises ConfigError."""
    path = Path(result_dir)
    path = path if path.suffix == ".json" else _inside(path, "light.json")
    return Rig.from_dict(load_yaml(path), path.parent)


def load_result(result_dir: str | Path) -> SavedResult:
    """What :func:`save` wrote, as far as rendering again needs it. Raises ConfigError that names the damaged file."""
    folder = Path(result_dir)
    data = load_yaml(_inside(folder, "result.json"))
    config = load_yaml(_inside(folder, "config.yaml"), whole=True)
    if data.get("format") != _FORMAT:
        raise ConfigError(f"{folder / 'result.json'}: format {data.get('format')}, this version of dipir reads "
                          f"{_FORMAT}. Run `dipir insert` again.")
    try:
        tones = ToneCurve.from_dict(data["tone_fg"]), ToneCurve.from_dict(data["tone_shadow"])
        camera = Camera.from_dict(data["camera"])
        provenance = dict(data["provenance"])
        light = load_light(folder)
    except (KeyError, TypeError, ValueError, OverflowError, DipirError) as problem:
        raise ConfigError(f"{folder}: not a complete result of `dipir insert` ({problem}). Run it again.") from problem
    return SavedResult(folder, light, *tones, camera, config, provenance)


def _inside(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder. Give the --out folder of a finished `dipir insert`.")
    if not (folder / name).is_file():
        raise ConfigError(f"{folder}: there is no {name} in it. Give the --out folder of a finished `dipir insert`.")
    return folder / name


def _write_json(path: Path, data: dict) -> None:
    disk.write_text(path, json.dumps(data, indent=1, default=_plain, allow_nan=False) + "\n")


def _plain(value: object) -> object:
    """JSON for what provenance may carry besides plain values."""
    if isinstance(value, (np.generic, torch.Tensor)):
        return value.tolist()
    return str(value)
