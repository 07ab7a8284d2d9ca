"""Tables of the layout benchmark."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.common import markdown

NAMES = {"iou": "IoU", "iou_any": "IoU, any shape", "ap": "AP", "ap50": "AP50", "class_right": "class",
         "colour_right": "colour", "attributes": "attributes", "material_right": "material", "leakage": "leakage",
         "leakage_things": "on things", "text": "text", "frechet": "Frechet", "quality": "quality",
         "image_score": "image score", "align_score": "align score"}
_EDITS = {"iou": "IoU", "placed": "IoU at least 1/2", "class_right": "class", "colour_right": "colour",
          "attributes": "attributes", "old_colour": "old colour left", "kept": "outside bit for bit"}
_FEW = ("iou", "ap50", "attributes", "leakage", "text", "frechet", "image_score", "align_score")
_WITH_ERROR = ("iou", "ap50", "image_score", "align_score")


def table(data: Mapping) -> str:
    """The committed Markdown."""
    cases = data["cases"]
    text = (f"Made by `{data['command']}`; {cases['count']} cases with 1 to 4 regions ({cases['regions']}), "
            f"{data['sampler']}; prior {data['prior']}; {data['machine']}.\n")
    if data["methods"]:
        text += (f"\n**Methods.** Over {cases['count']} cases; half of the 95 % bootstrap interval after the sign. "
                 "`truth` is held-out rendered pictures with their own captions and regions: what the detector "
                 "allows.\n\n" + _figures_table(data["methods"], tuple(NAMES)))
        if data["differences"]:
            text += "\n**Apart**, on the same cases and noises:\n\n" + _differences(data["differences"])
        text += "\n**By number of regions**, IoU / AP50 / attributes / leakage:\n\n" + _by_regions(data["methods"])
    for part, title in (("strength", "Strength"), ("t0", "t0, as the share of the steps that are layered"),
                        ("composition", "Composition")):
        if data["ablations"].get(part):
            text += (f"\n**{title}.** Over the first {cases['ablation']} cases (Frechet distances are larger over "
                     "fewer).\n\n" + _figures_table(data["ablations"][part], _FEW))
    return text + _edits(data["edits"]) + _speed_table(data["speed"]) + _detector(data["detector"])


def _differences(entries: Mapping[str, Mapping]) -> str:
    columns = (("iou", 1, 3, ""), ("ap50", 100, 1, ""), ("align_score", 1, 3, ""), ("image_score_change", 100, 1, " %"))
    return markdown([["", "IoU", "AP50, points", "align score", "image score, change"], *(
        [name, *(f"{scale * d[k]:+.{digits}f}{unit} ± {scale * d[k + '_error']:.{digits}f}"
                 for k, scale, digits, unit in columns)] for name, d in entries.items())])


def _figures_table(entries: Mapping[str, Mapping], keys: Sequence[str]) -> str:
    timed = any("seconds" in e for e in entries.values())
    rows = [["method", *(NAMES[k] for k in keys), *(["s a picture"] if timed else [])]]
    for name, entry in entries.items():
        cells = [f"{entry['figures'][k]:.3f}" if np.isfinite(entry["figures"][k]) else "-" for k in keys]
        cells = [f"{c} ± {entry['error'][k]:.3f}" if k in _WITH_ERROR else c for c, k in zip(cells, keys, strict=True)]
        rows.append([name, *cells, *([f"{entry['seconds']:.2f}" if "seconds" in entry else "-"] if timed else [])])
    return markdown(rows)


def _by_regions(entries: Mapping[str, Mapping]) -> str:
    several = sorted({n for e in entries.values() for n in e["regions"]})

    def cell(f):
        return " / ".join(f"{f[k]:.2f}" if np.isfinite(f[k]) else "-" for k in (
            "iou", "ap50", "attributes", "leakage"))

    return markdown([["method", *several], *([name, *(cell(e["regions"][n]) for n in several)]
                                             for name, e in entries.items())])


def _edits(entries: Mapping[str, Mapping]) -> str:
    if not entries:
        return ""

    def share(f, k, digits=2):
        return f"{f[k]:.{digits}f}" if np.isfinite(f[k]) else "-"

    rows = [["method", *_EDITS.values(), *(f"{k}: IoU / attributes" for k in ("insert", "replace")), "s a picture"]]
    for name, entry in entries.items():
        cells = [f"{share(entry['figures'], k)} ± {share(entry['error'], k)}" for k in _EDITS]
        kinds = [" / ".join(share(entry["kinds"][kind]["figures"], k) for k in ("iou", "attributes"))
                 for kind in ("insert", "replace")]
        rows.append([name, *cells, *kinds, f"{entry['seconds']:.2f}"])
    return ("\n**Editing.** One thing put into rendered held-out pictures, in every other case in place of another.\n\n"
            + markdown(rows))


def _speed_table(part: Mapping) -> str:
    if not part:
        return ""
    rows = [["regions", "seconds", "to none", "pictures that the prior sees", "to none"]]
    rows += [[n, f"{f['seconds']:.2f}", f"{f['ratio']:.2f}", str(f["rows"]), f"{f['rows_ratio']:.2f}"]
             for n, f in part["regions"].items()]
    return (f"\n**Speed.** One picture at a time, {part['steps']} steps, {part['threads']} threads, median of "
            f"{part['repeats']} in turns (load average at the start {part['load']:.1f}).\n\n" + markdown(rows))


def _detector(part: Mapping) -> str:
    if not part:
        return ""
    percent = {k: f"{100 * v:.1f} %" for k, v in part["accuracy"].items()}
    return (f"\n**Detector**, {part['steps']} steps on {part['scenes']} training scenes. On held-out rendered pictures "
            f"the shape is right in {percent['pixels']} of all pixels and {percent['thing_pixels']} of those of "
            f"things, their colour in {percent['colour_pixels']}, their material in {percent['material_pixels']}; "
            "whole things: row `truth`.\n")
