"""The picture at once: objects in a plate relit while a person drags the sun or a slider.

The light around is one product of recorded transport; each lamp has a column of its own, direct light in milliseconds
(``render.light``). Object and ground are put on the plate as the final picture puts them, but only the pixels that
change are worked out: all others keep the plate's bytes. Coarser than the final picture: the light around has texels of
11 degrees, shadows that take less than a thousandth of an even sky's light are left out, there is no denoiser.
"""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dipir import device
from dipir.arrays import EnvMap, Image
from dipir.errors import ConfigError
from dipir.event import Event
from dipir.image.composite import Layers, flatten_disp, insert_layers
from dipir.image.files import jpeg_bytes
from dipir.image.tone import ToneCurve
from dipir.priors.plate_light import PlateLight, committed, with_plate
from dipir.render.bridge import to_drjit
from dipir.render.light.lamp_light import LampLight
from dipir.render.mitsuba_scene import BuiltScene, build, moved, set_values
from dipir.render.proxy_sites import NEGLIGIBLE, shaded_pixels
from dipir.render.transport import SourceColumn, Transport, TransportSettings
from dipir.scene.plate import Plate
from dipir.scene.scene import Scene
from dipir.scene.source import Source

SETTINGS = TransportSettings(samples=4, bsdf_samples=4, light_samples=4)
"""Of a recording that says nothing else."""
Tones = tuple[ToneCurve | None, ToneCurve | None]
_KEPT = 24  # Columns.
_DENSE = 2**21  # Numbers of a map of shadows that is multiplied as fast as a sparse one is made.
_WARM = 48  # Pixels of the picture that kernels are compiled with.
_GLASS_ROWS = 128  # Of the light around while the plate is put into it.


@dataclass(frozen=True)
class _Ambient:
    """Objects and ground (pixels, 3) under the light around alone, and that light."""

    rest: EnvMap
    rgb: Tensor
    lit: Tensor
    lost: Tensor


class Preview:
    """One scene seen by its camera, relit as often as wanted. It holds kernels and arrays of Dr.Jit and torch: one
    thread must own it, from :meth:`record` on."""

    def __init__(self, scene: Scene, plate: Plate, transport: Transport, lamp: LampLight):
        """:meth:`record` makes one. plate : at the size of the pictures;  transport, lamp : of one camera."""
        self.scene, self.camera = scene, lamp.camera
        self._plate, self._transport, self._lamp = plate, transport, lamp
        self._settings = lamp.settings
        self._lin, self._disp = (_rows(x) for x in (plate.lin, plate.disp))
        self._bytes = _bytes(self._disp)
        self._alpha, self._ground = (_rows(x) for x in (transport.gbuffers.alpha, transport.gbuffers.ground))
        self._glass = any(part.material.transmission > 0 for o in scene.objects for part in o.asset.parts)
        self._columns: OrderedDict[tuple, SourceColumn] = OrderedDict()
        self._ambient: _Ambient | None = None

    @staticmethod
    @torch.no_grad()
    def record(scene: Scene, longest: int, settings: TransportSettings | None = None,
               on_event: Callable[[Event], None] | None = None, *,
               materials: Mapping[str, Tensor] | None = None) -> Preview:
        """Record the whole plate at ``longest`` pixels on its longer side (never larger than it is). Takes seconds.
        materials : fitted ones, of a result, while the objects are the same; fitted emission is not shown. Raises
        ConfigError for less than 16 pixels, RenderError when a value is NaN or infinite."""
        if longest < 16:
            raise ConfigError(f"a preview of {longest} pixels; accepted are 16 or more on the longer side.")
        scene, settings = device.moved(scene), settings or SETTINGS
        on_event = on_event or (lambda event: None)
        on_event(Event("preview", 0, 2))
        built = build(scene)
        if materials:
            set_values(built.params, materials, [to_drjit(value) for value in materials.values()])
        return Preview._recorded(scene, _sized(scene.plate, longest), built, settings, on_event)

    @staticmethod
    def _recorded(scene: Scene, plate: Plate, built: BuiltScene, settings: TransportSettings,
                  on_event: Callable[[Event], None]) -> Preview:
        camera = scene.camera.resized(*plate.size)
        transport = Transport.record(scene, camera, settings, built=built, near=shaded_pixels(built, camera))
        on_event(Event("preview", 1, 2))
        lamp = LampLight(built, camera, settings)
        # Kernels are made at the first lamp; nobody should wait for them while dragging.
        lamp.direct(_overhead(plate.lin))
        preview = Preview(scene, plate, transport.compact(NEGLIGIBLE, _DENSE), lamp)
        on_event(Event("preview", 2, 2))
        return preview

    @torch.no_grad()
    def moved(self, scene: Scene, longest: int | None = None) -> Preview:
        """A preview of a scene whose objects moved (or were exchanged, which takes longer), plate and camera being the
        same: at once, and coarse. The light around has texels of 22 degrees, a pixel two samples, and light bounces
        between objects once at most. :meth:`refined` makes what shall stay. Both previews can be used. longest : of
        the pictures, if not as they are; smaller ones are quicker"""
        return self._again(device.moved(scene), self._coarse, lambda event: None, longest)

    @torch.no_grad()
    def refined(self, on_event: Callable[[Event], None] | None = None, longest: int | None = None) -> Preview:
        """The same scene at the settings of :meth:`record`, as fast as that: after :meth:`moved`."""
        return self._again(self.scene, self._settings, on_event or (lambda event: None), longest)

    @torch.no_grad()
    def warm(self) -> None:
        """Compile what the first :meth:`moved` and the first ``full`` picture would have to wait for, seconds the first
        time that a machine meets these materials. For when nobody waits; no picture changes."""
        width, height = self.size
        factor = _WARM / max(width, height)
        plate = self._plate.resized(max(1, round(width * factor)), max(1, round(height * factor)))
        small = Preview._recorded(self.scene, plate, self._lamp.built, self._coarse, lambda event: None)
        LampLight(self._lamp.built, small.camera, self._settings).full(_overhead(plate.lin))

    @property
    def _coarse(self) -> TransportSettings:
        return replace(self._settings, env_height=8, samples=2, bsdf_samples=2, light_samples=1, depth=2)

    def _again(self, scene: Scene, settings: TransportSettings, on_event: Callable[[Event], None],
               longest: int | None = None) -> Preview:
        """In the loaded scene if that is possible: a second one would slow down everything."""
        on_event(Event("preview", 0, 2))
        built = moved(self._lamp.built, scene) or build(scene)
        plate = self._plate if longest is None else _sized(scene.plate, longest)
        made = Preview._recorded(scene, plate, built, settings, on_event)
        made._settings = self._settings
        return made

    @property
    def built(self) -> BuiltScene:
        """The scene as it is loaded; its objects are put where this preview has them when it works."""
        return self._lamp.built

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the pictures."""
        return self.camera.width, self.camera.height

    # ------------------------------------------------ pictures ------------------------------------------------
    @torch.no_grad()
    def picture(self, rest: EnvMap, lamps: Sequence[Source] = (), tones: Tones = (None, None),
                full: bool = False) -> Tensor:
        """The composite, display sRGB: uint8 (H, W, 3) on the run's device.

        rest : (16, 32, 3) radiance around, plate white = 1;  lamps : suns, lamps, windows beside it
        tones : of object and shadow, None = as it is
        full : light of the lamps by every number of bounces, slower; else what comes straight from them
        A lamp's column is kept: another strength, colour or surrounding takes no ray.
        """
        touched, rgb, ratio = self._lit(rest, lamps, full)
        layers = self._layers(touched, rgb, ratio, tones)
        out = self._bytes.clone()
        out[touched] = _bytes(_rows(flatten_disp(layers)))
        return out.reshape(self.camera.height, self.camera.width, 3)

    @torch.no_grad()
    def layers(self, rest: EnvMap, lamps: Sequence[Source] = (), tones: Tones = (None, None),
               full: bool = False) -> Layers:
        """Plate, shadow and object of :meth:`picture`, as those of a final picture."""
        touched, rgb, ratio = self._lit(rest, lamps, full)
        whole_rgb, whole_ratio = torch.zeros_like(self._lin), torch.ones_like(self._lin)
        whole_rgb[touched], whole_ratio[touched] = rgb, ratio
        width, height = self.size
        plate_lin, plate_disp, rgb, ratio, alpha = (
            rows.T.reshape(1, -1, height, width).contiguous()
            for rows in (self._lin, self._disp, whole_rgb, whole_ratio, self._alpha))
        return insert_layers(plate_lin, plate_disp, rgb, alpha, ratio, tone_fg=tones[0], tone_shadow=tones[1])

    @staticmethod
    def jpeg(picture: Tensor, quality: int = 85) -> bytes:
        """A picture as the bytes of a JPEG file; quality : 1 ... 100."""
        return jpeg_bytes(picture, quality)

    # ------------------------------------------------ light ------------------------------------------------
    def _layers(self, touched: Tensor, rgb: Tensor, ratio: Tensor, tones: Tones) -> Layers:
        """Of the touched pixels alone, as a picture of one row."""
        plate_lin, plate_disp, rgb, ratio, alpha = (
            rows.T[None, :, None] for rows in (self._lin[touched], self._disp[touched], rgb, ratio,
                                               self._alpha[touched]))
        return insert_layers(plate_lin, plate_disp, rgb, alpha, ratio, tone_fg=tones[0], tone_shadow=tones[1])

    def _lit(self, rest: EnvMap, lamps: Sequence[Source], full: bool) -> tuple[Tensor, Tensor, Tensor]:
        """(touched (M,) flat indices, object (M, 3) premultiplied, shadow ratio (M, 3)): pixels that may change."""
        around = self._around(rest)
        columns = [(self._column(lamp, full), lamp.irradiance.to(self._lin)) for lamp in lamps]
        # ---- which pixels ----
        may = torch.zeros(len(self._lin), dtype=torch.bool, device=self._lin.device)
        for pixels in (self._transport.object_pixels, self._transport.shadow_pixels,
                       *(column.shadow_pixels for column, _ in columns)):
            may[pixels] = True
        touched = may.nonzero()[:, 0]
        number = torch.zeros(len(may), dtype=torch.int64, device=may.device)
        number[touched] = torch.arange(len(touched), device=may.device)
        # ---- the light around, and each lamp's ----
        rgb, lit, lost = (rows[touched] for rows in (around.rgb, around.lit, around.lost))
        things = number[self._transport.object_pixels]
        for column, irradiance in columns:
            rgb[things] += column.object_map * irradiance
            own = self._ground[touched] * column.lit if len(column.lit) == 1 else column.lit[touched, None]
            lit += own * irradiance
            lost.index_add_(0, number[column.shadow_pixels], column.blocked[:, None] * irradiance)
        bright = lit > 0
        ratio = torch.where(bright, (lit - lost).clamp_min(0) / torch.where(bright, lit, 1.0), 1.0)
        return touched, rgb, ratio

    def _around(self, rest: EnvMap) -> _Ambient:
        """Under the light around, which is kept until another is asked for."""
        if self._ambient is None or not torch.equal(self._ambient.rest, rest):
            passes = self._transport.passes(self._seen_through_glass(rest.to(self._lin)))
            rgb, lit, shadowed = (_rows(x) for x in (passes.object_rgb, passes.ground_lit, passes.ground_shadowed))
            self._ambient = _Ambient(rest.clone(), rgb, lit, lit - shadowed)
        return self._ambient

    def _seen_through_glass(self, rest: EnvMap) -> EnvMap:
        """With the plate's own pixels in it when something is of glass, as the final picture has them."""
        if not self._glass:
            return rest
        times = -(-_GLASS_ROWS // len(rest))
        return with_plate(rest.repeat_interleave(times, 0).repeat_interleave(times, 1),
                          replace(self.scene, plate=self._plate, camera=self.camera))

    def _column(self, lamp: Source, full: bool) -> SourceColumn:
        key = (tuple(round(float(v), 5) for v in lamp.direction), round(lamp.sigma, 6), full)
        if key not in self._columns:
            made = (self._lamp.full if full else self._lamp.direct)(lamp)
            self._columns[key] = made
            if len(self._columns) > _KEPT:
                self._columns.popitem(last=False)
        self._columns.move_to_end(key)
        return self._columns[key]


def _sized(plate: Plate, longest: int) -> Plate:
    """Never larger than it is."""
    factor = min(1.0, longest / max(plate.size))
    return plate.resized(*(max(1, round(side * factor)) for side in plate.size))


def guess_pictures(scene: Scene, light: PlateLight, tones: Tones, settings: TransportSettings | None = None, *,
                   longest: int = 192, materials: Mapping[str, Tensor] | None = None) -> tuple[Image, ...]:
    """(1, 3, h, w) display, one picture for each guess of the light prior, by the light that choosing it would begin
    with; none where the prior was not asked. Arguments as of :meth:`Preview.record`."""
    if not light.sources or light.around is None:
        return ()
    preview = Preview.record(scene, longest, settings, materials=materials)
    guessed = [committed(light, k, light.shade) for k in range(len(light.sources))]
    shown = [preview.picture(one.rest, [one.source], tones) for one in guessed]
    return tuple(picture.permute(2, 0, 1)[None].float() / 255 for picture in shown)


def _overhead(like: Tensor) -> Source:
    """Some lamp."""
    return Source(like.new_tensor([0.0, 1.0, 0.0]), like.new_ones(3))


def _rows(image: Tensor) -> Tensor:
    """(1, C, H, W) -> (H W, C)."""
    return image[0].flatten(1).T.contiguous()


def _bytes(disp: Tensor) -> Tensor:
    """Display values in [0, 1] as a PNG of 8 bits holds them."""
    return (disp.clamp(0, 1) * 255).round().to(torch.uint8)
