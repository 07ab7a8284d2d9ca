"""How far guessed surfaces are from true ones."""
from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dipir.priors.relit.surfaces import Surfaces
from dipir.workshop.surfaces.photos import Photos

WEIGHTS = {"normal": 1.0, "shading": 1.0, "albedo": 0.35, "depth": 0.4, "edges": 0.4, "shadow": 0.25, "solid": 0.3,
           "up": 0.5}
"""Of the terms of :func:`surface_loss`."""
_WITHIN_DEG = 11.25, 22.5, 30.0


def surface_loss(made: Surfaces, true: Photos) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss, its terms). Objects weigh four times as much as their backdrop."""
    surface = (true.solid > 0.6).float()
    weight = surface * (1 + 3 * true.subject)
    total = weight.sum().clamp_min(1)

    def mean(x: Tensor) -> Tensor:
        return (x * weight).sum() / total

    each = weight.sum((2, 3), keepdim=True).clamp_min(1)

    def centred(x: Tensor) -> Tensor:
        """Less its mean in each picture: what no picture tells is left out."""
        return x - (x * weight).sum((2, 3), keepdim=True) / each

    stops = made.albedo.clamp_min(1e-3).log2() - true.albedo.clamp(0.01, 1).log2()
    level = (stops.mean(1, keepdim=True) * weight).sum((2, 3), keepdim=True) / each
    apart = centred(made.depth - true.depth)
    terms = {
        "normal": mean(((made.normal - true.normal).square().sum(1, keepdim=True) + 1e-6).sqrt()),
        "shading": mean((made.shading - true.shading).abs()),
        "albedo": mean((stops - level).abs().mean(1, keepdim=True)) + 0.2 * level.abs().mean(),
        "depth": mean(apart.abs().clamp_max(2)),
        "edges": _edges(made.depth, true.depth, weight),
        "shadow": mean(functional.binary_cross_entropy(made.shadow.clamp(1e-5, 1 - 1e-5), true.shadow.clamp(0, 1),
                                                       reduction="none")),
        "solid": (functional.binary_cross_entropy(made.solid.clamp(1e-5, 1 - 1e-5), true.solid, reduction="none")
                  * true.known).sum() / true.known.sum().clamp_min(1),
        "up": (made.up - true.up).abs().sum(1).mean()}
    return sum(WEIGHTS[k] * v for k, v in terms.items()), {k: v.detach() for k, v in terms.items()}


def _edges(made: Tensor, true: Tensor, weight: Tensor) -> Tensor:
    """Mean difference of the depth's slopes at three distances, where both ends are surfaces."""
    out = made.new_zeros(())
    for step in (1, 2, 4):
        for axis in (2, 3):
            n = made.shape[axis] - step
            a, b = (x.narrow(axis, step, n) - x.narrow(axis, 0, n) for x in (made, true))
            w = weight.narrow(axis, step, n) * weight.narrow(axis, 0, n)
            out = out + ((a - b).abs().clamp_max(1) * w).sum() / w.sum().clamp_min(1)
    return out / 3


@torch.no_grad()
def figures(made: Surfaces, true: Photos) -> dict[str, float]:
    """On objects: median and mean angle of the normals in degrees, that of normals that face the camera, share within
    11.25, 22.5, 30 degrees; the same median on everything; scale-invariant RMSE of the albedo, mean error of shading
    and depth in stops; share of pixels whose sky or shadow is told wrong."""
    surface = (true.solid > 0.9) & (true.normal.norm(dim=1, keepdim=True) > 0.8)
    inside = surface & (true.subject > 0.9)
    cosine = functional.cosine_similarity(made.normal, true.normal, dim=1)[:, None].clamp(-1, 1)
    angle = torch.rad2deg(torch.acos(cosine))
    facing = torch.rad2deg(torch.acos(functional.normalize(true.normal, dim=1)[:, 2:].clamp(-1, 1)))
    within = [float((angle[inside] < limit).float().mean()) for limit in _WITHIN_DEG]
    shadowed = (made.shadow > 0.5) != (true.shadow > 0.5)
    albedo = []
    for k in range(len(true)):
        rows = inside[k].expand(3, -1, -1)
        a, b = made.albedo[k][rows], true.albedo[k][rows]
        if len(a):
            scale = (a * b).sum() / (a * a).sum().clamp_min(1e-6)
            albedo.append((a * scale - b).square().mean().sqrt())
    middle = [(made.depth[k] - true.depth[k])[inside[k]] for k in range(len(true))]
    return {"angle_median": float(angle[inside].median()), "angle_mean": float(angle[inside].mean()),
            "facing_median": float(facing[inside].median()), "within_11": within[0], "within_22": within[1],
            "within_30": within[2], "angle_all": float(angle[surface].median()),
            "albedo_si_rmse": float(torch.stack(albedo).mean()),
            "shading_stops": float(2 * (made.shading - true.shading)[inside].abs().mean()),
            "even_stops": float(2 * true.shading[inside].abs().mean()),
            "depth_stops": float(torch.stack([(m - m.median()).abs().mean() for m in middle if len(m)]).mean()),
            "shadow_wrong": float(shadowed[surface].float().mean()),
            "shadow_share": float((true.shadow > 0.5)[surface].float().mean()),
            "up_deg": float(torch.rad2deg(torch.acos((made.up * true.up).sum(1).clamp(-1, 1))).median()),
            "sky_wrong": float(((made.solid > 0.5) != (true.solid > 0.5))[true.known > 0.5].float().mean())}
