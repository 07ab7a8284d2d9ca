"""What `dipir relight` leaves behind: ``relit.png``, ``layers.exr``, ``layers.psd``, ``config.yaml``, ``history.csv``,
``result.json``, ``report.html``."""
from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from dipir.arrays import Image, Mask
from dipir.disk import prepare_out, write_text, written_aside
from dipir.export.layered_exr import write_layers
from dipir.export.psd import PsdLayer, write_psd
from dipir.image.color import srgb_to_linear
from dipir.image.cutout import write_cutout
from dipir.image.editing import EPS
from dipir.image.outputs import write_edited
from dipir.insert.result import history_csv
from dipir.relight.method import RelightResult
from dipir.relight.page import RelightPage, relight_html
from dipir.settings.yaml import dump_yaml

COMMENTS = ("multiply, divide and shading act on sRGB-encoded values: encoded(result) = encoded(input) * multiply / "
             "divide, of colours that are not premultiplied; shading is their quotient. beauty and input are linear. ")


def save(result: RelightResult, out_dir: str | Path) -> Path:
    """Write all files into ``out_dir`` and return it: aside first, then moved in together, so that a full disk leaves
    the folder as it was. Raises DipirError when something cannot be written."""
    out = prepare_out(out_dir)
    with written_aside(out) as aside:
        # Compressing takes most of the time, and does not wait for other threads.
        with ThreadPoolExecutor(max_workers=2) as pool:
            large = [pool.submit(write) for write in (
                lambda: write_psd(aside / "layers.psd", psd_layers(result), result.image),
                lambda: write_layers(aside / "layers.exr", exr_layers(result), comments=COMMENTS),
                lambda: write_relit(aside / "relit.png", result),
                lambda: write_text(aside / "report.html", relight_html(page_of(result))))]
        for written in large:
            written.result()
        dump_yaml(result.config, aside / "config.yaml")
        write_text(aside / "result.json", json.dumps(result.provenance, indent=1) + "\n")
        write_text(aside / "history.csv", history_csv(result.history))
    return out


def write_relit(path: Path, result: RelightResult) -> None:
    """The relit picture as a PNG, in the depth and colour space of what it was made of; of a cut-out 8-bit sRGB with
    straight alpha. Raises ImageError."""
    if result.picture.alpha is None:
        write_edited(path, result.image, result.picture.image, result.picture.kind)
    else:
        write_cutout(path, result.image, result.picture.alpha)


def exr_layers(result: RelightResult) -> dict[str, Tensor]:
    """Layers for compositing programs, each (1, C, H, W)."""
    layers = {"beauty": _over_nothing(result.image, result.picture.alpha),
              "input": _over_nothing(result.picture.image, result.picture.alpha)}
    if result.multiply is not None:
        layers |= {"multiply": result.multiply, "divide": result.divide,
                   "shading": result.multiply / (result.divide + EPS)}
    if result.picture.mask is not None:
        layers["mask"] = result.picture.mask
    return layers


def _over_nothing(image: Image, alpha: Mask | None) -> Tensor:
    """Linear light; of a cut-out premultiplied, and its alpha."""
    linear = srgb_to_linear(image)
    return linear if alpha is None else torch.cat([linear * alpha, alpha], 1)


def psd_layers(result: RelightResult) -> list[PsdLayer]:
    """Layers whose blend modes give the result: multiply below divide, so that nothing is clipped before the end.
    Without such layers the relit picture lies on the other, and its opacity dials it."""
    alpha = result.picture.alpha
    base = PsdLayer("input", result.picture.image, alpha=alpha)
    if result.multiply is None:
        return [base, PsdLayer("relit", result.image, alpha=alpha)]
    return [base, PsdLayer("darker (multiply)", result.multiply, "multiply"),
            PsdLayer("brighter (divide)", result.divide, "divide")]


def page_of(result: RelightResult) -> RelightPage:
    """The report page."""
    p, request = result.provenance, result.request
    facts = {"picture": "{1} × {0}".format(*result.image.shape[2:]), "engine": str(p["engine"]),
             "steps": str(len(result.history)), "seconds": f"{p['seconds']:.1f}", "prior": str(p["prior"])}
    if request.key is not None:
        facts["light from"] = (f"azimuth {request.key.azimuth_deg:.0f}°, elevation {request.key.elevation_deg:.0f}°, "
                               f"half width {request.key.size_deg:.0f}°")
        if "light" in p:
            facts["light of"] = (f"{p['light']['name']}: {100 * p['light']['key_share']:.0f} % of what faces "
                                 "the key is from it")
        low, high = p["stops"]
        facts["change"] = f"{low:+.1f} to {high:+.1f} stops (5 to 95 % of the picture)"
    if request.palette is not None:
        facts["colours"] = ", ".join(request.palette.names)
    layers: dict[str, Tensor] = {}
    if result.multiply is not None:
        layers = ({"multiply": result.multiply, "divide": result.divide} if result.multiply.shape[1] == 1
                  else {"gain": result.multiply / (result.divide + EPS)})
    return RelightPage(str(p["name"]), request.prompt, result.picture.image, result.image, facts=facts,
                       history=result.history, config=result.config, provenance=p,
                       notes=p.get("notes", []), **layers)
