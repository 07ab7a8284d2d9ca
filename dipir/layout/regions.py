"""Where something shall stand in a picture: boxes and masks, as typed, as files, and the scene files of ``dipir
layout``."""
from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dipir.arrays import Mask
from dipir.disk import is_file
from dipir.errors import ConfigError, ImageError, SceneError, raise_all
from dipir.event import Remark
from dipir.image.palette import Colour, parse_palette
from dipir.settings import read
from dipir.settings.yaml import load_yaml

if TYPE_CHECKING:
    from dipir.scene.plate import Plate, PlateColours

Box = tuple[float, float, float, float]
_BOX = "four numbers x0,y0,x1,y1 from 0 to 1 from the top left, x0 < x1 and y0 < y1"


@dataclass(frozen=True, eq=False)
class Region:
    """One thing and its place: a box or a mask, not both. SceneError for a box outside of the picture or empty, for an
    empty mask, and without a caption."""

    caption: str  # of this thing alone, for example "a red cube"
    box: Box | None = None  # x0, y0, x1, y1 in [0, 1] from the top left
    mask: Mask | None = None  # (1, 1, H, W) in [0, 1], 1 = the thing
    negative: str = ""  # what it shall not look like
    colour: str = ""  # of its constant delta ("dark blue", "#4080ff"); "" = that of the settings

    def __post_init__(self) -> None:
        name = f"region '{self.caption[:60]}'"
        if not self.caption.strip():
            raise SceneError("a region has no caption; accepted are words such as 'a red cube'. Say what stands there.")
        if (self.box is None) == (self.mask is None):
            raise SceneError(f"{name}: give a box or a mask, one of them.")
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            if not all(0 <= v <= 1 for v in self.box):  # False for NaN too.
                raise SceneError(f"{name}: the box {_show(self.box)} reaches outside of the picture; accepted are "
                                 f"{_BOX}. Pixels: divide them by the picture's width and height.")
            if not (x0 < x1 and y0 < y1):
                raise SceneError(f"{name}: the box {_show(self.box)} is empty; accepted are {_BOX}.")
        elif not bool(torch.isfinite(self.mask).all()) or float(self.mask.max()) <= 0.5:
            raise SceneError(f"{name}: its mask is black everywhere; accepted is a mask that is white where the thing "
                             "shall be. Invert it, or give a box.")
        if self.colour:
            colour_named(self.colour)

    @property
    def words(self) -> str:
        """The caption without its article: what attention is looked at for."""
        return re.sub(r"^(a|an|the)\s+", "", self.caption.strip(), flags=re.IGNORECASE)

    @property
    def slug(self) -> str:
        """The words as part of a file's name."""
        return re.sub(r"[^a-z0-9]+", "_", self.words.lower()).strip("_")[:40] or "region"

    def cover(self, height: int, width: int, device: torch.device | str = "cpu") -> Mask:
        """(1, 1, height, width) in {0, 1} on ``device``: the pixels whose centre is in the box, or that the mask covers
        by half."""
        if self.box is not None:
            return box_mask(self.box, height, width, device)
        return reduce_mask(self.mask.to(device), height, width)

    def bounds(self) -> Box:
        """The box, or the box around the mask."""
        if self.box is not None:
            return self.box
        rows, columns = ((self.mask[0, 0] > 0.5).any(axis).nonzero()[:, 0] for axis in (1, 0))
        height, width = self.mask.shape[2:]
        return (int(columns[0]) / width, int(rows[0]) / height, (int(columns[-1]) + 1) / width,
                (int(rows[-1]) + 1) / height)


def _show(box: Box) -> str:
    return ",".join(f"{v:g}" for v in box)


def box_mask(box: Box, height: int, width: int, device: torch.device | str = "cpu") -> Mask:
    """(1, 1, height, width) on ``device``, 1 in the pixels whose centre lies in the box (left and upper edge belong to
    it)."""
    x0, y0, x1, y1 = box
    x, y = ((torch.arange(size, device=device) + 0.5) / size for size in (width, height))
    inside = ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1))[None]
    return inside.float()[None, None]


def reduce_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """(K, 1, H, W) in [0, 1] -> (K, 1, height, width) in {0, 1}: covered by half or more."""
    return (interpolate(mask.float(), (height, width), mode="area") >= 0.5).float()


def colour_named(text: str) -> Colour:
    """The one colour that a text names, display values. ConfigError for none, several or an unknown one."""
    palette = parse_palette(text)
    if len(palette.colours) != 1:
        raise ConfigError(f"'{text[:80]}' names {len(palette.colours)} colours; accepted is one. Choose one of them.")
    return palette.colours[0]


# ---------------------------------------------------------------------------------------------------- as they are typed
def parse_box(text: str) -> Region:
    """The region of ``"a red cube: 0.1,0.5,0.4,0.9"``. SceneError for anything else."""
    caption, colon, numbers = text.rpartition(":")
    try:
        box = tuple(float(word) for word in numbers.split(","))
    except ValueError:
        box = ()
    if not colon or len(box) != 4:
        raise SceneError(f"box '{text[:100]}': accepted is a caption, a colon and {_BOX}, for instance "
                         "\"a red cube: 0.1,0.5,0.4,0.9\".")
    return Region(caption.strip(), box)


def parse_mask(text: str) -> Region:
    """The region of ``"a dog: dog.png"``. SceneError for other texts, ImageError for a file that cannot be used."""
    caption, colon, path = text.partition(":")
    if not colon or not path.strip():
        raise SceneError(f"mask '{text[:100]}': accepted is a caption, a colon and an image file, for instance "
                         "\"a dog: dog.png\".")
    return Region(caption.strip(), mask=read_region_mask(path.strip()))


def read_region_mask(path: str | Path) -> Mask:
    """(1, 1, H, W), the mean of the channels of an image file: white = the thing. ImageError when it cannot be read."""
    from dipir.image.files import read_image

    return read_image(Path(path).expanduser()).pixels.mean(1, keepdim=True).clamp(0, 1)


def read_picture(path: str | Path, colours: PlateColours | None = None) -> Plate:
    """The picture to edit, its display values; its remarks name it. ImageError when it cannot be read, ConfigError for
    a colour space that cannot be used."""
    from dipir.scene.plate import PlateColours, read_plate

    path = Path(path).expanduser()
    plate = read_plate(path, colours or PlateColours(), shown=True)
    return replace(plate, notes=tuple(Remark.about(path.name, note) for note in plate.notes))


# ---------------------------------------------------------------------------------------------------------------- files
@dataclass(frozen=True)
class RegionSpec:
    """A region in a file: as `Region`, its mask a file."""

    caption: str
    box: tuple[float, float, float, float] | None = None
    mask: Path | None = None
    negative: str = ""
    colour: str = ""

    def __post_init__(self) -> None:
        if (self.box is None) == (self.mask is None):
            raise SceneError(f"region '{self.caption[:60]}': give a box or a mask, one of them.")
        if self.box is not None:
            self.region()

    def region(self) -> Region:
        """The region, its mask read. SceneError, ImageError."""
        mask = None if self.mask is None else read_region_mask(self.mask)
        return Region(self.caption, self.box, mask, self.negative, self.colour)


@dataclass(frozen=True)
class LayoutFile:
    """A scene file of ``dipir layout``."""

    caption: str = ""  # of the whole picture; "" = made of those of the regions
    regions: tuple[RegionSpec, ...] = ()  # what stands where
    background: str | None = None  # caption of the background's layer; None = made from the caption
    edit: Path | None = None  # the picture to edit; None = a new picture
    source: str = ""  # what that picture shows
    name: str = "layout"  # of the folder of results


def load_layout(path: str | Path) -> LayoutFile:
    """Read such a file; relative paths become relative to its folder. SceneError with every problem, ConfigError when
    it is no YAML mapping."""
    path = Path(path)
    data = {"name": path.stem, **load_yaml(path)}
    regions = data.get("regions")
    if isinstance(regions, list):
        data["regions"] = [_located(r, "mask", path.parent) for r in regions]
    file, problems = read.check(LayoutFile, _located(data, "edit", path.parent))
    raise_all(SceneError, str(path), problems)
    missing = [file.edit, *(spec.mask for spec in file.regions)]
    raise_all(ImageError, str(path), [f"no such file: {f}" for f in missing if f is not None and not is_file(f)])
    return file


def _located(data: object, key: str, folder: Path) -> object:
    """A copy of a mapping with the path under ``key`` joined to ``folder``; anything else as it is."""
    if not isinstance(data, dict) or not isinstance(data.get(key), str) or not data[key].strip():
        return data
    return {**data, key: folder / os.path.expanduser(data[key])}
