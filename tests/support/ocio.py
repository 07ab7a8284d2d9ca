"""OpenColorIO configs for tests, as text, with a LUT."""
from __future__ import annotations

from pathlib import Path

_LUT = "Version 1\nFrom 0.0 1.0\nLength 3\nComponents 1\n{\n0.0\n0.25\n1.0\n}\n"
# Academy's S-2014-004, AP1 to AP0.
_AP1 = ("[0.6954522414, 0.1406786965, 0.1638690622, 0, 0.0447945634, 0.8596711185, 0.0955343182, 0, -0.0055258826, "
        "0.0040252103, 1.0015006723, 0, 0, 0, 0, 1]")


def write_config(folder: Path, lut: str = "film.spi1d", roles: str = "aces_interchange: ap0",
                 more: str = "", search: str = "luts") -> Path:
    """``config.ocio`` with the spaces ap0, ap1 (alias "wide"), raw (data), and film: codes that the file ``lut`` draws
    as ap0; and ``luts/film.spi1d`` beside it."""
    (folder / "luts").mkdir(parents=True, exist_ok=True)
    (folder / "luts" / "film.spi1d").write_text(_LUT)
    path = folder / "config.ocio"
    path.write_text(f"""\
ocio_profile_version: 2
search_path: {search}
roles:
  default: raw
  {roles}
file_rules:
  - !<Rule> {{name: Default, colorspace: default}}
displays:
  sRGB:
    - !<View> {{name: Raw, colorspace: raw}}
colorspaces:
  - !<ColorSpace>
    name: raw
    isdata: true
  - !<ColorSpace>
    name: ap0
  - !<ColorSpace>
    name: ap1
    aliases: [wide]
    to_scene_reference: !<MatrixTransform> {{matrix: {_AP1}}}
  - !<ColorSpace>
    name: film
    to_scene_reference: !<FileTransform> {{src: {lut}}}
{more}""")
    return path
