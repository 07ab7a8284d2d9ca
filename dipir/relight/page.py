"""The report page of `dipir relight`: before and after, the change of light on a slider, layers, curves, settings.

The slider works on two pictures in the page: the photo x, and the change of light as a code of log2 gain, which the
script turns into y = x gain^strength on a canvas. Without a script the page shows the result at full strength.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dipir.arrays import Image
from dipir.report import page as report_page

DIAL_SIDE = 1024
MAX_STOPS = 4.0
_LEVELS = 4095
_SHOWN_STOPS = 2.0


@dataclass(frozen=True, eq=False)
class RelightPage:
    """What the page shows. Without layers and gain it has no strength slider. Raises ValueError for wrong shapes."""

    name: str
    """The page's title."""
    prompt: str
    """The words, or ""."""
    before: Image
    """The photo, (1, 3, H, W) display sRGB in [0, 1]."""
    after: Image
    """The result, as ``before``."""
    multiply: Tensor | None = None
    """The layer M, (1, 1 or 3, H, W), > 0: after = before M / D; or None, with ``divide``."""
    divide: Tensor | None = None
    """The layer D, as ``multiply``."""
    gain: Tensor | None = None
    """(1, 1 or 3, H, W), >= 0, a factor in display values; in place of ``multiply`` and ``divide``; or None."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Name -> value, in this order."""
    history: Sequence[Mapping[str, object]] = ()
    """One mapping a step."""
    config: Mapping[str, object] = field(default_factory=dict)
    """Resolved settings."""
    provenance: Mapping[str, object] = field(default_factory=dict)
    """Seed, versions, hashes."""
    notes: Sequence[str] = ()
    """Remarks for the user."""

    def __post_init__(self) -> None:
        size = tuple(self.before.shape[2:])
        for name in ("before", "after", "multiply", "divide", "gain"):
            tensor, channels = getattr(self, name), (3,) if name in ("before", "after") else (1, 3)
            if tensor is not None and tuple(tensor.shape) not in [(1, c, *size) for c in channels]:
                raise ValueError(f"{name} is {tuple(tensor.shape)}, not (1, {channels}, {size})")
        if (self.multiply is None) != (self.divide is None) or None not in (self.multiply, self.gain):
            raise ValueError("give multiply and divide, or gain, or none of them")

    def stops(self) -> Tensor | None:
        """log2 of the gain, (1, 1 or 3, H, W), within +-``MAX_STOPS``; None without layers and gain."""
        gain = self.gain if self.multiply is None else self.multiply / (self.divide + 1e-6)
        return None if gain is None else gain.detach().float().clamp(2**-MAX_STOPS, 2**MAX_STOPS).log2()


def relight_html(page: RelightPage) -> str:
    """The whole page. Every text from outside (prompt, names, settings) is escaped."""
    stops = page.stops()
    dial = layers = None
    if stops is not None:
        dial, layers = _dial(page, stops), _layers(page, stops)
    return report_page.render(
        "relight.html", name=page.name, prompt=page.prompt, facts=page.facts, notes=page.notes,
        warnings=page.provenance.get("warnings", ()), before=page.before, after=page.after,
        aspect=page.before.shape[3] / page.before.shape[2], dial=dial, layers=layers,
        curves=report_page.curves_of(page.history), config=page.config, provenance=page.provenance)


def encode_stops(stops: Tensor) -> Image:
    """log2 of a gain, (1, C, H, W) within +-``MAX_STOPS`` -> (1, C, 2 H, W) display values of an 8-bit PNG: above the
    upper eight bits of a 12-bit code, below the lower four. The gain that comes back is within 0.07 %."""
    code = ((stops + MAX_STOPS) / (2 * MAX_STOPS) * _LEVELS).round().clamp(0, _LEVELS).int()
    return torch.cat([code // 16, code % 16], 2) / 255


def _dial(page: RelightPage, stops: Tensor) -> dict[str, object]:
    """The strength slider. Both pictures are shrunk here, so that their pixels stay together."""
    height, width = page.before.shape[2:]
    scale = min(1.0, DIAL_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    photo, small = (interpolate(t.detach().float().cpu(), size, mode="area") for t in (page.before, stops))
    return {"photo": photo, "gain": encode_stops(small), "side": DIAL_SIDE}


def _layers(page: RelightPage, stops: Tensor) -> dict[tuple[str, str], Tensor]:
    shown = {}
    if page.multiply is not None:
        shown = {("multiply", "darkens: the photo times this"): page.multiply,
                 ("divide", "brightens: then divided by this"): page.divide}
    shading = (stops / (2 * _SHOWN_STOPS) + 0.5).clamp(0, 1)
    shown["shading", f"as one factor: mid grey = 1, white and black = {_SHOWN_STOPS:g} stops up and down"] = shading
    return shown
