"""What `dipir layout` leaves behind: ``image.png``, ``layer_NN_name.png``, ``regions.png``, ``attention.png``,
``config.yaml``, ``result.json``, ``report.html``."""
from __future__ import annotations

import json
from pathlib import Path

from dipir.disk import prepare_out, write_text, written_aside
from dipir.image.files import write_png
from dipir.image.outputs import write_edited
from dipir.layout.method import Layout
from dipir.layout.page import layout_html
from dipir.layout.pictures import attention_strip, region_overlay
from dipir.settings.yaml import dump_yaml


def save(result: Layout, out_dir: str | Path) -> Path:
    """Write all files into ``out_dir`` and return it: aside first, then moved in together, so that a full disk leaves
    the folder as it was. Layers, regions and attention of an earlier run there, which this one does not have, are taken
    away. Raises DipirError when something cannot be written."""
    out = prepare_out(out_dir)
    with written_aside(out) as aside:
        write_edited(aside / "image.png", result.image, result.request.image, result.request.kind)
        for name, image in result.layers:
            write_png(aside / f"layer_{name}.png", image)
        if result.request.regions:
            write_png(aside / "regions.png", region_overlay(result.image, result.request.regions))
        if result.attention:
            write_png(aside / "attention.png", attention_strip(result.attention))
        dump_yaml(result.config, aside / "config.yaml")
        write_text(aside / "result.json", json.dumps(result.provenance, indent=1, ensure_ascii=False) + "\n")
        write_text(aside / "report.html", layout_html(result))
        new = {file.name for file in aside.iterdir()}
    for old in [*out.glob("layer_[0-9][0-9]_*.png"), out / "regions.png", out / "attention.png"]:
        if old.name not in new:
            old.unlink(missing_ok=True)
    return out
