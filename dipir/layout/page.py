"""The report page of `dipir layout`: the picture, where things were asked for, layers, attention, settings."""
from __future__ import annotations

from dipir.layout.method import Layout
from dipir.layout.pictures import attention_strip, enlarged, region_overlay
from dipir.report import page as report_page


def layout_html(result: Layout) -> str:
    """The whole page. Every text from outside (captions, names, settings) is escaped."""
    p, regions = result.provenance, result.request.regions
    guidance, sampler = result.config["guidance"], result.config["sampler"]
    facts = {"picture": "{1} × {0}".format(*result.image.shape[2:]), "regions": str(len(regions)),
             "guidance": _guidance(guidance) if regions else "none (no regions)",
             "steps": f"{sampler['steps']} {sampler['kind']}, {p['layered_steps']} of them layered",
             "seconds": f"{p['seconds']:.1f}", "prior": str(p["prior"])}
    shown = {("picture", result.caption): enlarged(result.image)}
    if regions:
        shown["regions", "where things were asked for"] = region_overlay(result.image, regions)
    layers = {(name, "the layer's own estimate at t0"): enlarged(image) for name, image in result.layers}
    maps = {(words, "attention of its layer to these words at the first step"): attention_strip([(words, values)])
            for words, values in result.attention}
    before = None if result.request.image is None else enlarged(result.request.image)
    return report_page.render(
        "layout.html", name=p["name"], prompt=result.caption, facts=facts, notes=p.get("notes", ()),
        warnings=p.get("warnings", ()), before=before, after=enlarged(result.image),
        grids={"Picture": shown, "Layers": layers, "Attention": maps}, config=result.config, provenance=p)


def _guidance(settings: dict) -> str:
    if settings["kind"] != "vision":
        return str(settings["kind"])
    outside = settings["strength"] if settings["outside"] is None else settings["outside"]
    return f"vision, {settings['delta']} delta, {settings['strength']:g} inside, {outside:g} outside"
