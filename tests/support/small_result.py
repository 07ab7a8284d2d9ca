"""A small analytic insertion (a ball on a plane) that needs no renderer."""
import torch

from dipir.image.color import srgb_to_linear
from dipir.image.composite import flatten_disp, insert_layers
from dipir.image.tone import ToneCurve
from dipir.insert.result import Result
from dipir.render.renderer import GBuffers, Passes
from dipir.scene.camera import Camera
from dipir.scene.light import SphericalGaussians
from dipir.scene.rig import Rig


def small_result(width: int = 64, height: int = 48, **changes) -> Result:
    """A lit ball with a soft shadow on a plate; every layer has something in it."""
    camera = Camera.looking(width, height, 50, 1.2, 15)
    y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / height, indexing="ij")
    dx, dy = (x - 0.6 * width / height) / 0.25, (y - 0.5) / 0.25
    inside = (1 - dx**2 - dy**2)[None, None]
    alpha = (inside * height / 8).clamp(0, 1)
    covered = (alpha > 0).float()
    normal = torch.stack([-dx, -dy, -inside[0, 0].clamp_min(0).sqrt()])[None]
    normal = normal / normal.norm(dim=1, keepdim=True) * covered
    albedo = torch.tensor([0.7, 0.35, 0.2])[None, :, None, None] * covered
    sun = torch.tensor([0.48, 0.72, -0.5])[None, :, None, None]
    object_rgb = albedo * (0.15 + (normal * sun).sum(1, keepdim=True).clamp_min(0)) * alpha
    beta = 1 - 0.6 * torch.exp(-((dx + 1.0) ** 2 * 0.5 + (dy - 1) ** 2 * 8))[None, None].expand(1, 3, -1, -1)
    beta = torch.where(beta > 0.995, torch.ones(()), beta)
    shape = (1, 1, height, width)
    g = GBuffers(alpha, torch.ones(shape), 3.0 * covered + dy * covered, normal, albedo, 0.4 * covered, 0.1 * covered,
                 normal * 0.25, covered.int())
    lit = torch.ones(1, 3, height, width)
    passes = Passes(object_rgb, lit, lit * beta, g)
    plate = torch.stack([0.45 + 0.4 * y, 0.5 + 0.2 * x / 2, 0.75 - 0.4 * y])[None].clamp(0, 1)
    tone = ToneCurve.identity().with_parameters({"slopes": torch.tensor([[0.5, 0.2, 0.0, -0.3, 0.1, 0.0]])})
    layers = insert_layers(srgb_to_linear(plate), plate, object_rgb, alpha, passes.shadow_ratio, tone_fg=tone)
    light = Rig(SphericalGaussians.of(torch.tensor([[0.48, 0.72, -0.5], [0.0, 1.0, 0.0]]),
                                      torch.tensor([[20.0, 18, 15], [0.4, 0.6, 1.0]]), torch.tensor([0.15, 1.2])))
    history = [{"step": i, "loss": 1.0 / (i + 1), "rate": 1 - i / 40} for i in range(40)]
    values = dict(composite_disp=flatten_disp(layers), plate_disp=plate, passes=passes, layers=layers, light=light,
                  tone_fg=tone, tone_shadow=ToneCurve.identity(), camera=camera,
                  config={"fit": {"steps": 40}, "seed": 3}, history=history,
                  provenance={"name": "ball", "prompt": "a ball", "seed": 3, "versions": {"dipir": "0.1.0"},
                              "notes": ["the plate's alpha was ignored"]})
    return Result(**{**values, **changes})
