"""The part ``surfaces``: how far the surfaces that relighting guesses are from the true ones."""
from __future__ import annotations

from collections.abc import Mapping

from benchmarks.common import markdown
from dipir.priors.geometry import Geometry
from dipir.workshop import shards
from dipir.workshop.relighting.train import looked_at
from dipir.workshop.surfaces.loss import figures
from dipir.workshop.surfaces.photos import Photos
from dipir.workshop.surfaces.sets import validation_photos, validation_scenes

PHOTOS = 160
FIGURES = {"angle_median": ("normals, median angle", "{:.1f}°"), "within_11": ("normals within 11.25°", "{:.0%}"),
           "within_22": ("normals within 22.5°", "{:.0%}"), "within_30": ("normals within 30°", "{:.0%}"),
           "facing_median": ("median angle if all faced the camera", "{:.1f}°"),
           "angle_all": ("normals, median angle, backdrops too", "{:.1f}°"),
           "albedo_si_rmse": ("albedo, si-RMSE", "{:.3f}"),
           "shading_stops": ("light on surfaces, mean error, stops", "{:.2f}"),
           "even_stops": ("the same if light were even", "{:.2f}"),
           "depth_stops": ("depth, mean error, stops", "{:.2f}"),
           "shadow_wrong": ("shadow told wrong", "{:.1%}"), "shadow_share": ("share of shadow", "{:.1%}"),
           "up_deg": ("vertical, median angle", "{:.1f}°"), "sky_wrong": ("sky told wrong", "{:.1%}")}


def measured(count: int, held_out: Photos | None = None) -> dict:
    """Figures of the network that ships on ``count`` fixed photos of scenes whose meshes, environments and seeds no
    training used; the photos are made where the cache lacks them."""
    geometry = Geometry.load()
    if held_out is None:
        held_out = validation_photos(validation_scenes(shards.default_workers()), count)
    made = looked_at(geometry.nets, held_out.image)
    return {"photos": len(held_out), "weights": {"surfaces": geometry.hash}, "figures": figures(made, held_out)}


def text(data: Mapping) -> str:
    """The Markdown of :func:`measured`."""
    rows = [["figure", "value"]] + [[name, form.format(data["figures"][key])] for key, (name, form) in FIGURES.items()]
    return (f"Guessed surfaces on {data['photos']} photos of held-out meshes, environments and seeds (the photos that "
            "chose the weights); objects alone where nothing else is said.\n\n" + markdown(rows))
