"""relight(): other light on what exists as pixels only. Engine ``layers``: Lasagna (Bashkirova et al. 2023), multiply
and divide layers by guidance from a relighting prior; engine ``net``: IllumiNet, a feed-forward network."""
from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from dipir import device
from dipir.arrays import Image, Mask
from dipir.diffusion.denoiser import AbstractDenoiser
from dipir.diffusion.memory import MemoryOptions
from dipir.diffusion.pretrained import load_pretrained
from dipir.diffusion.single_file.kinds import is_foreign
from dipir.errors import ConfigError, ImageError
from dipir.event import warn, warnings_in
from dipir.fit.checkpoint import Checkpoint, run_hash
from dipir.fit.loop import Event
from dipir.guidance.guidance import Asked, Guidance
from dipir.guidance.kinds import GUIDANCES
from dipir.image import editing
from dipir.image.cutout import carried_out, solid, spread
from dipir.image.formats.spaces import PlateKind
from dipir.image.palette import Palette
from dipir.priors.colour import COLOUR, colour_condition
from dipir.priors.geometry import Geometry
from dipir.priors.nets.illuminet import IllumiNet
from dipir.priors.picture import RELIGHT, PicturePrior, relight_condition
from dipir.priors.relit.relighting import FILL, lit
from dipir.priors.relit.whole_light import WholeLight
from dipir.relight.change import Change, change_in_stops, factor_of, full_gain
from dipir.relight.config import RelightConfig
from dipir.relight.layers import KINDS, fit_layers, seen_size, shrink
from dipir.relight.net import load_net, net_shift, shifted
from dipir.scene.direction import LightDirection, side_of
from dipir.settings.presets import versions
from dipir.settings.yaml import to_dict

OnEvent = Callable[[Event], None]
Steady = Callable[[Change], Change]
_PACKAGES = ("dipir", "torch", "diffusers", "numpy")
_SMALLEST = 32
_SMALLER = ("Lower --set guidance.size or layers.size (engine net: net_size), close what else uses the GPU, or compute "
            "on the CPU: --device cpu. What was saved so far is kept for --resume.")


@dataclass(frozen=True)
class Engine:
    """The networks of a run, on its device."""

    network: AbstractDenoiser | IllumiNet | None  # the prior of engine ``layers``, None without guidance; or IllumiNet
    geometry: Geometry | None = None  # guesses surfaces for the embedded ones

    @property
    def guesses(self) -> bool:
        """Whether the change of light is guessed at once, not fitted."""
        return self.network is None or isinstance(self.network, IllumiNet)

    @property
    def fingerprint(self) -> str:
        """Names the weights of a prior; "" for IllumiNet and without guidance."""
        return "" if self.guesses else self.network.fingerprint


@dataclass(frozen=True)
class Picture:
    """What is to be relit. ImageError for a picture that nothing can be done with: below 32 pixels, NaN, black
    everywhere."""

    image: Image  # (1, 3, H, W) display [0, 1]
    mask: Mask | None = None  # (1, 1, H, W), 1 = light may change
    alpha: Mask | None = None  # (1, 1, H, W), coverage of a cut-out
    name: str = "picture"  # for the result
    notes: tuple[str, ...] = ()  # remarks about the file (`dipir.event.Remark`)
    kind: PlateKind = PlateKind()  # depth and colour space of the file, in which the result is written

    def __post_init__(self) -> None:
        height, width = self.image.shape[2:]
        if min(height, width) < _SMALLEST:
            raise ImageError(f"{self.name}: {width}x{height} pixels; accepted are pictures of at least {_SMALLEST} "
                             "pixels a side. Give a larger one.")
        if not bool(torch.isfinite(self.image).all()):
            raise ImageError(f"{self.name}: the picture has NaN or infinite pixels; accepted are finite values.")
        if float((self.image * (1.0 if self.alpha is None else self.alpha)).max()) <= 1 / 255:
            raise ImageError(f"{self.name}: the picture is black everywhere; there is nothing to light. Give a picture "
                             "with something in it, or raise its exposure.")

    @property
    def filled(self) -> Image:
        """The picture as priors see it: a cut-out stands before grey."""
        return self.image if self.alpha is None else self.image * self.alpha + 0.5 * (1 - self.alpha)

    @property
    def continued(self) -> Image:
        """The picture as if a cut-out went on beyond its edge: what lies under an alpha of 0 is not in it."""
        return self.image if self.alpha is None else carried_out(self.image, self.alpha)


@dataclass(frozen=True)
class RelightRequest:
    """What it shall look like."""

    direction: LightDirection | None = None  # of the light; None when only a model with text is asked
    prompt: str = ""  # words for such a model
    palette: Palette | None = None  # colours for a drawing, which makes this a colourisation
    light: WholeLight | None = None  # in place of a direction: a key and all else, as of a light.json

    def __post_init__(self) -> None:
        if self.light is not None and self.direction is not None:
            raise ConfigError(f"a direction and {self.light.name} were given; accepted is one light. Leave one out.")

    @property
    def key(self) -> LightDirection | None:
        """Where its main light comes from, if it has one."""
        return self.direction if self.light is None else self.light.direction

    def fill_for(self, config: RelightConfig) -> float | WholeLight:
        """What is beside the key: that of the light, that of the settings, or the usual. ConfigError when the settings
        ask of a light what it has not."""
        if self.light is None:
            return FILL if config.fill is None else config.fill
        return self.light if config.fill is None else self.light.with_key_to_fill(1 / config.fill)

    def notes_for(self, config: RelightConfig, engine: Engine) -> list[str]:
        """What there is to say about its light."""
        if self.light is None:
            return []
        notes = list(self.fill_for(config).notes)
        if config.fill is not None:
            notes.append(f"{self.light.name}: key to fill {1 / config.fill:.3g} as asked, in place of its own "
                         f"{self.light.key_to_fill:.3g}")
        if engine.geometry is None:
            notes.append(warn(f"{self.light.name}: a model with text is told the side of its key alone"))
        return notes


@dataclass(frozen=True, eq=False)
class RelightResult:
    """What a run found out; all of it on the CPU."""

    picture: Picture  # as given
    request: RelightRequest  # as given
    image: Image  # (1, 3, H, W) display, relit
    multiply: Tensor | None  # (1, 1 or 3, H, W) on display values, the mask in it; None when there is no such layer
    divide: Tensor | None  # the same
    config: dict  # resolved, plain values
    history: list[dict] = field(default_factory=list)  # one dict of numbers per step
    provenance: dict = field(default_factory=dict)  # seed, versions, hashes, times


def find_engine(config: RelightConfig, request: RelightRequest) -> Engine:
    """The network or prior that the settings name. Raises PriorError when weights cannot be used, ConfigError when they
    cannot do what is asked."""
    embedded = config.prior == "embedded" or config.prior.endswith(".safetensors") and not is_foreign(config.prior)
    path = None if config.prior == "embedded" else config.prior
    if request.palette is not None:
        if not embedded or config.engine == "net":
            raise ConfigError("colours for a drawing come from the embedded prior and engine 'layers'; leave --prior "
                              "and --engine out.")
        if config.guidance.kind == "none":
            raise ConfigError("guidance.kind none: there is no guess at colours. Choose posterior or sds, or leave it "
                              "out.")
        return Engine(PicturePrior.load(COLOUR, path))
    if embedded and request.key is None:
        raise ConfigError("no direction of light was given; accepted are --prompt with words such as 'from the left', "
                          "--direction AZIMUTH,ELEVATION and --light light.json.")
    request.fill_for(config)
    if config.engine == "net":
        if not embedded:
            raise ConfigError(f"engine 'net' is a network of its own; '{config.prior}' cannot guide it. Leave --prior "
                              "out, give a .safetensors file, or choose --engine layers.")
        return Engine(load_net(path)[0], Geometry.load())
    if config.guided_by(colours=False) == "none":
        if config.prior != "embedded" or config.layers.kind == "additive":
            raise ConfigError("guidance.kind none asks no prior and makes factors of light; it was given with a "
                              "--prior or with layers.kind additive. Leave these out, or choose posterior.")
        return Engine(None, Geometry.load())
    if embedded:
        return Engine(PicturePrior.load(RELIGHT, path), Geometry.load())
    return Engine(load_pretrained(config.prior, device.current().torch,
                                  options=MemoryOptions(controlnet=config.controlnet or None),
                                  config=config.prior_config))


def relight(picture: Picture, request: RelightRequest, config: RelightConfig | None = None, *,
            engine: Engine | None = None, on_event: OnEvent | None = None, out: Path | None = None,
            resume: bool = False, steady: Steady | None = None) -> RelightResult:
    """Light ``picture`` as asked. engine : None = what ``config`` names
    steady : what a guess asks for -> what is done, for frames of a shot
    out : where checkpoints go (none without);  resume : go on from the checkpoint there
    Raises the DipirError of whatever cannot be used, before long work starts."""
    config = config or RelightConfig()
    began = time.monotonic()
    engine = engine or find_engine(config, request)
    said = request.notes_for(config, engine)
    if on_event and said:
        on_event(Event.about(said))
    checkpoint = Checkpoint(out / "checkpoint.safetensors", _key(picture, request, config), config.checkpoint_every,
                            resume) if out else None
    with device.guarded(_SMALLER):
        moved = device.moved(picture)
        if engine.guesses:
            image, layers, history = _by_guess(moved, request, config, engine, steady, on_event)
        else:
            image, layers, history = _by_layers(moved, request, config, engine, on_event, checkpoint)
    image, layers = device.moved((image, layers), torch.device("cpu"))
    multiply, divide = (None, None) if layers is None else layers
    notes = [*picture.notes, *said]
    provenance = {"notes": list(map(str, notes)), "warnings": warnings_in(notes),
                  "name": picture.name, "prompt": request.prompt, "seed": config.seed, "engine": config.engine,
                  "prior": engine.fingerprint or config.prior,
                  "device": device.current().record(), "seconds": round(time.monotonic() - began, 2),
                  "versions": versions(_PACKAGES)}
    if request.light is not None:
        provenance["light"] = request.fill_for(config).record()
    if request.key is not None:
        provenance["direction"] = to_dict(request.key)
        seen = [x for x in (picture.alpha, picture.mask) if x is not None]
        provenance["stops"] = [round(s, 2) for s in change_in_stops(picture.image, image, math.prod(seen, start=1.0)
                                                                     if seen else None)]
    return RelightResult(picture, request, image, multiply, divide, to_dict(config), history, provenance)


def guessed(picture: Picture, request: RelightRequest, config: RelightConfig, engine: Engine) -> Change:
    """What the guess asks of ``picture``. Of a cut-out only what its networks saw inside counts: along its edge and
    outside the change is that of the solid part next to it."""
    light = request.key.numbers[None].to(picture.image.device)
    guess = engine.geometry.guess(picture.filled, light, request.fill_for(config), config.net_size)
    shift = None if engine.network is None else net_shift(engine.network, guess, light)
    if picture.alpha is None:
        return Change(guess.image, guess.gain, shift)
    size = tuple(guess.gain.shape[2:])
    inside = solid(shrink(picture.alpha, size))
    return Change(shrink(picture.continued, size).clamp(0, 1), spread(guess.gain, inside),
                  None if shift is None else spread(shift, inside))


def applied(change: Change, picture: Picture, strength: float) -> tuple[Image, tuple[Tensor, Tensor] | None]:
    """(relit picture, its layers), None for the layers of engine net."""
    image = picture.continued
    gain = full_gain(change, image, strength)
    if change.shift is None:
        layers = tuple(editing.masked(layer, picture.mask) for layer in editing.factors_of(factor_of(image, gain)))
        return editing.multiply_divide(image, *layers).clamp(0, 1), layers
    relit = shifted(lit(image, gain).clamp(0, 1), change.shift * strength, change.image, image)
    return relit if picture.mask is None else image + picture.mask * (relit - image), None


def _by_guess(picture: Picture, request: RelightRequest, config: RelightConfig, engine: Engine, steady: Steady | None,
              on_event: OnEvent | None) -> tuple[Image, tuple[Tensor, Tensor] | None, list]:
    change = guessed(picture, request, config, engine)
    relit, layers = applied(change if steady is None else steady(change), picture, config.strength)
    if on_event:
        on_event(Event("net" if layers is None else "guess", 1, 1, images={"composite": relit.cpu()}))
    return relit, layers, []


def _by_layers(picture: Picture, request: RelightRequest, config: RelightConfig, engine: Engine,
               on_event: OnEvent | None,
               checkpoint: Checkpoint | None) -> tuple[Image, tuple[Tensor, Tensor] | None, list[dict]]:
    kind = KINDS["colour" if request.palette is not None else config.layers.kind]
    guidance = make_guidance(picture, request, config, engine, on_event)
    layers, history = fit_layers(picture.filled, guidance, config, kind, checkpoint=checkpoint, on_event=on_event)
    if config.layers.kind in ("gain", "luminosity") and request.palette is None:
        layers = editing.factors_of(layers[0])
    if picture.alpha is not None:
        layers = tuple(spread(layer, solid(picture.alpha)) for layer in layers)
    if len(layers) == 2:
        layers = tuple(editing.masked(layer, picture.mask) for layer in layers)
        return editing.multiply_divide(picture.image, *layers).clamp(0, 1), layers, history
    mask = 1.0 if picture.mask is None else picture.mask
    return kind.compose(picture.image, (layers[0] * mask,)).clamp(0, 1), None, history


def make_guidance(picture: Picture, request: RelightRequest, config: RelightConfig, engine: Engine,
                  on_event: OnEvent | None) -> Guidance:
    """The guidance that the settings name, its prior given the picture and the request."""
    prior, settings = engine.network, config.guidance
    kind = GUIDANCES.get(config.guided_by(request.palette is not None), GUIDANCES["posterior"])
    kind.check(prior)
    seen = shrink(picture.filled, seen_size(picture.image, settings.size)).clamp(0, 1)
    text = request.prompt or ("" if request.key is None else "A photo with light from "
                           + side_of(request.key.azimuth_deg, request.key.elevation_deg))
    condition, negative = prior.encode_pair(text, settings.negative)
    if prior.takes_control:
        condition, negative = (replace(c, control=seen) for c in (condition, negative))
    if request.palette is not None:
        condition = colour_condition(seen, request.palette)
    elif engine.geometry is not None:
        condition = relight_condition(seen, engine.geometry, request.key.numbers[None], request.fill_for(config))
    return kind(Asked(prior, condition, settings, config.seed, seen, negative,
                      on_event=on_event or (lambda event: None)))


def _key(picture: Picture, request: RelightRequest, config: RelightConfig) -> str:
    """What a checkpoint belongs to."""
    pixels = picture.image.mul(65535).round().to(torch.int32).cpu().numpy()
    return run_hash(to_dict(config), pixels.tobytes().hex(), request.prompt,
                    None if request.key is None else to_dict(request.key),
                    None if request.light is None else request.light.digest,
                    None if request.palette is None else request.palette.vector.tolist())
