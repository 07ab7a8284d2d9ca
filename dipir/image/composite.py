"""Layers, how they are flattened, and how an object enters a plate (docs/method.md 1.6). In linear light."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from dipir.arrays import Image, Mask
from dipir.image.color import linear_to_srgb, srgb_to_linear

_LARGE, _NEAR = 2**20, 2**15  # Numbers of a large picture; pixels that a curve is drawn at together.


class Blend(Enum):
    """How a layer changes what is under it (``x``)."""

    OVER = "over"  # image + (1 - alpha) x, image premultiplied by alpha
    MULTIPLY = "multiply"  # x * image


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer, in linear light."""

    name: str
    image: Tensor
    """(B, 3 or 1, H, W); colour premultiplied by ``alpha`` for OVER, factor for MULTIPLY."""
    alpha: Mask | None = None
    """(B, 1, H, W) in [0, 1] or None = 1; for MULTIPLY it is how much of the layer acts."""
    blend: Blend = Blend.OVER

    def __post_init__(self) -> None:
        if self.image.ndim != 4 or self.image.shape[1] not in (1, 3):
            raise ValueError(f"layer {self.name}: image is {tuple(self.image.shape)}, not (B, 1 or 3, H, W)")
        if self.alpha is not None and (self.alpha.ndim != 4 or self.alpha.shape[1] != 1
                                       or self.alpha.shape[2:] != self.image.shape[2:]):
            raise ValueError(f"layer {self.name}: alpha is {tuple(self.alpha.shape)}, not (B, 1, H, W) of its size")


@dataclass(frozen=True, eq=False)
class Layers:
    """A base and the layers above it, lowest first."""

    base_lin: Image  # (B, 3, H, W) linear
    base_disp: Image | None = None
    """(B, 3, H, W) display sRGB in [0, 1], the encoding of ``base_lin`` clipped to [0, 1]; or None = derived. With it,
    pixels that no layer changes are given back bit for bit."""
    layers: tuple[Layer, ...] = ()


def flatten_lin(layers: Layers) -> Image:
    """All layers on the base: (B, 3, H, W) linear, not clipped. Factors of one and alphas of zero change no bit."""
    out = layers.base_lin
    for layer in layers.layers:
        out = _blend(out, layer)
    return out


def flatten_disp(layers: Layers) -> Image:
    """All layers on the base: (B, 3, H, W) display sRGB, clipped to [0, 1] (light above 1 is white).

    Equal to ``base_disp`` bit for bit where no layer changes the pixel. There the gradient is that of the encoded flat
    image, so that layers which start neutral can still learn.
    """
    flat = linear_to_srgb(flatten_lin(layers)).clamp(0, 1)
    if layers.base_disp is None:
        return flat
    # `flat - flat.detach()` is exactly 0 (NaN stays NaN) and carries the gradient.
    return torch.where(changed(layers), flat, layers.base_disp + (flat - flat.detach()))


def insert_layers(plate_lin: Image, plate_disp: Image | None, object_rgb: Image, alpha: Mask, shadow_ratio: Tensor, *,
                  tone_fg: Callable[[Tensor], Tensor] | None = None,
                  tone_shadow: Callable[[Tensor], Tensor] | None = None) -> Layers:
    """Object and shadow on a plate: I = V T_fg(I_fg) + (1 - V) T_shadow(beta) I_bg (docs/method.md 1.6), linear.

    plate_lin, plate_disp : (1 or B, 3, H, W), both colour states of the plate
    object_rgb : (B, 3, H, W) linear, premultiplied by ``alpha`` (1 or B, 1, H, W), which is V
    shadow_ratio : (B, 3 or 1, H, W), beta in [0, 1], 1 = unshadowed
    tone_fg : curve on display values of the object;  tone_shadow : curve on beta
    Result: layers "shadow" (MULTIPLY) and "object" (OVER). A pixel with V = 0 and beta = 1 keeps the plate.
    """
    untouched = (alpha == 0) & (shadow_ratio == 1)
    factor = shadow_ratio
    if tone_shadow is not None:
        drawn = _drawn(tone_shadow, shadow_ratio, ~untouched.all(1, keepdim=True))
        factor = torch.where(untouched, shadow_ratio, drawn)
    covered = alpha > 0
    if tone_fg is not None:
        # A curve on premultiplied pixels would treat half-covered edges as dark paint: take the coverage out first.
        straight = object_rgb * covered / torch.where(covered, alpha, 1.0)
        object_rgb = _drawn(lambda x: srgb_to_linear(tone_fg(linear_to_srgb(x))), straight, covered) * alpha
    # Noise may leave light without coverage; it belongs to no object. A product, because `where` would hide a NaN.
    premultiplied = object_rgb * covered
    return Layers(plate_lin, plate_disp, (Layer("shadow", factor, None, Blend.MULTIPLY),
                                          Layer("object", premultiplied, alpha, Blend.OVER)))


def over_shadowed(object_lin: Image, alpha: Mask, plate_lin: Image, ratio: Tensor) -> Image:
    """I = I_fg + (1 - V) beta I_bg: what `insert_layers` flattens to without tone curves, for those who need no layers.

    object_lin : (B, 3, H, W) linear, premultiplied by ``alpha``, which is V;  ratio : beta, 1 = unshadowed
    """
    return object_lin + (1 - alpha) * plate_lin * ratio


def _drawn(curve: Callable[[Tensor], Tensor], x: Tensor, where: Tensor) -> Tensor:
    """``curve(x)``; of one large picture without gradients only where (1, 1, H, W) ``where`` is true, so many pixels at
    a time that they stay in the processor's cache. The rest is ``x`` itself."""
    if torch.is_grad_enabled() or len(x) > 1 or x.numel() < _LARGE:
        return curve(x)
    out, mask = x.clone(), where[0, 0]
    chosen = x[:, :, mask][:, :, None]
    out[:, :, mask] = torch.cat([curve(part) for part in chosen.split(_NEAR, 3)], 3)[:, :, 0]
    return out


def _blend(under: Image, layer: Layer) -> Image:
    if layer.blend is Blend.OVER:
        return layer.image + (0.0 if layer.alpha is None else (1 - layer.alpha) * under)
    # In the form 1 + alpha (f - 1), a factor of one or an alpha of zero is one exactly.
    return under * (layer.image if layer.alpha is None else 1 + layer.alpha * (layer.image - 1))


def changed(layers: Layers) -> Tensor:
    """(B, 1, H, W) bool: pixels at which some layer is not neutral. NaN counts as a change, so that it is seen."""
    found = torch.zeros_like(layers.base_lin[:, :1], dtype=torch.bool)
    for layer in layers.layers:
        acts = (layer.image != (1.0 if layer.blend is Blend.MULTIPLY else 0.0)).any(1, keepdim=True)
        if layer.blend is Blend.OVER:
            acts = acts | (torch.ones_like(acts) if layer.alpha is None else layer.alpha != 0)
        elif layer.alpha is not None:
            acts = acts & (layer.alpha != 0)
        found = found | acts
    return found
