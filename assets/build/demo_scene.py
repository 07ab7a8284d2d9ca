"""Path-traces the demo plate and its true light: `python assets/build/demo_scene.py [--draft] [--out DIR]`.

plate.png       1280 x 960, 8 bits, sRGB; linear value 1.0 = display white
true_light.exr  256 x 128 lat-long radiance at the insertion point, 0.3 m above the ground, sun included, same scale
camera.yaml     the camera exactly as used, in the form of a camera file

Everything is procedural. About nine minutes of CPU time at full quality (160 samples per pixel).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import OpenEXR
from noise import fractal, smoothstep, to_srgb
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import drjit as dr  # noqa: E402
import mitsuba as mi  # noqa: E402
import yard_house  # noqa: E402
import yard_props  # noqa: E402

from dipir.render.backend import require_llvm  # noqa: E402
from dipir.scene.camera import Camera  # noqa: E402

SIZE, FOV_DEG, HEIGHT_M, PITCH_DEG = (1280, 960), 55.0, 1.55, 12.5
SUN_ELEVATION_DEG, SUN_AZIMUTH_DEG = 41.0, 243.0  # Azimuth from +Z towards +X: behind the camera, on its right.
SUN_RADIUS_DEG, SUN_DISTANCE_M = 0.2665, 400.0
INSERT_AT = (-0.15, 0.3, 3.45)
SUN_IRRADIANCE = np.array([4.7, 4.32, 3.78])  # On a plane facing the sun; sets the exposure, with the sky below.


def sun_direction() -> np.ndarray:
    e, a = np.radians([SUN_ELEVATION_DEG, SUN_AZIMUTH_DEG])
    return np.array([np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)])


def directions(height: int, width: int) -> np.ndarray:
    """(H, W, 3) unit vectors of a lat-long map (convention of dipir/arrays.py)."""
    v, u = np.meshgrid(
        (np.arange(height) + 0.5) / height * np.pi, (np.arange(width) + 0.5) / width * 2 * np.pi, indexing="ij"
    )
    return np.stack([np.sin(u) * np.sin(v), np.cos(v), -np.cos(u) * np.sin(v)], -1)


def sky(height: int = 512) -> np.ndarray:
    """(H, 2H, 3) clear sky with fair-weather clouds and the glow about the sun, without the sun itself."""
    d = directions(height, 2 * height)
    up = np.maximum(d[..., 1], 0.0)
    toward = np.clip(d @ sun_direction(), -1, 1)
    haze = np.exp(-up / 0.16)[..., None]
    blue = np.array([0.14, 0.30, 0.70]) * (0.75 + 0.5 * haze) * (1 - haze) + np.array([0.72, 0.85, 0.97]) * haze
    glow = 0.55 * np.exp(-(1 - toward) / 0.02) + 0.16 * np.exp(-(1 - toward) / 0.18)
    out = blue + glow[..., None] * np.array([1.0, 0.93, 0.80])
    # Clouds lie on a plane overhead; towards the horizon they crowd and fade into the haze.
    field, fine = fractal((1024, 1024), 5, 1.75, 3), fractal((1024, 1024), 6, 1.3, 30)
    x, z = (d[..., k] / (up + 0.12) * 150 for k in (0, 2))
    at = z.astype(int) % 1024, x.astype(int) % 1024
    cover = smoothstep(0.35, 1.5, field[at] + 0.28 * fine[at]) * smoothstep(0.0, 0.10, d[..., 1])
    white = (
        np.array([1.0, 0.985, 0.96])
        * (0.92 + 0.12 * fine[at][..., None])
        * (0.95 + 0.5 * np.exp(-(1 - toward) / 0.3))[..., None]
    )
    out = out * (1 - 0.85 * cover[..., None]) + 0.85 * cover[..., None] * white
    return np.where(d[..., 1:2] > -0.02, out, 0.15).astype(np.float32)


def bsdf(surface: dict) -> object:
    def bitmap(data: np.ndarray, raw: bool) -> dict:
        # `raw` bitmaps hold numbers; the others are 8-bit sRGB.
        data = np.ascontiguousarray(
            np.clip(data, 0, 1).astype(np.float32) if raw else (np.clip(data, 0, 1) * 255 + 0.5).astype(np.uint8)
        )
        return {"type": "bitmap", "bitmap": mi.Bitmap(data), "raw": raw}

    roughness = surface["roughness"]
    roughness = bitmap(roughness[..., None], True) if isinstance(roughness, np.ndarray) else roughness
    if surface["thin"]:
        return mi.load_dict(
            {
                "type": "principledthin",
                "base_color": bitmap(surface["color"], False),
                "roughness": roughness,
                "diff_trans": surface["thin"],
                "spec_trans": 0.0,
                "eta": 1.4,
            }
        )
    inner = {
        "type": "principled",
        "base_color": bitmap(surface["color"], False),
        "roughness": roughness,
        "metallic": surface["metallic"],
        "specular": 0.4,
    }
    if surface["normal"] is not None:
        inner = {"type": "normalmap", "normalmap": bitmap(surface["normal"], True), "bsdf": inner}
    return mi.load_dict({"type": "twosided", "bsdf": inner})


def mesh(name: str, shape, surface: dict) -> object:
    props = mi.Properties()
    props["mesh_bsdf"] = bsdf(surface)
    out = mi.Mesh(
        name, len(shape.vertices), len(shape.faces), has_vertex_normals=True, has_vertex_texcoords=True, props=props
    )
    params = mi.traverse(out)
    for key, value, kind in (
        ("vertex_positions", shape.vertices, np.float32),
        ("vertex_normals", shape.normals, np.float32),
        ("vertex_texcoords", shape.uvs, np.float32),
        ("faces", shape.faces, np.uint32),
    ):
        params[key] = np.ascontiguousarray(value, dtype=kind).ravel()
    params.update()
    return out


def build(size: tuple[int, int], detail: float) -> tuple[mi.Scene, Camera]:
    camera = Camera.looking(*size, FOV_DEG, HEIGHT_M, PITCH_DEG)
    sun = sun_direction()
    solid = np.pi * np.sin(np.radians(SUN_RADIUS_DEG)) ** 2
    centre = mi.ScalarTransform4f().translate(list(map(float, sun * SUN_DISTANCE_M)))
    scene = {
        "type": "scene",
        "sky": {"type": "envmap", "bitmap": mi.Bitmap(sky()), "to_world": mi.ScalarTransform4f()},
        "sun": {
            "type": "sphere",
            "to_world": centre
            @ mi.ScalarTransform4f().scale(SUN_DISTANCE_M * float(np.sin(np.radians(SUN_RADIUS_DEG)))),
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": list(map(float, SUN_IRRADIANCE / solid))}},
        },
        "sensor": {
            "type": "perspective",
            "fov": FOV_DEG,
            "fov_axis": "x",
            "to_world": mi.ScalarTransform4f(camera.to_world),
            "film": {
                "type": "hdrfilm",
                "width": size[0],
                "height": size[1],
                "rfilter": {"type": "gaussian"},
                "pixel_format": "rgb",
            },
            "sampler": {"type": "independent"},
        },
    }
    items = (
        yard_props.ground(detail)
        + yard_house.facade(detail)
        + yard_house.garden_wall()
        + yard_props.props()
        + yard_props.surroundings(sun)
    )
    for name, shape, surface in items:
        scene[name] = mesh(name, shape, surface)
    return mi.load_dict(scene), camera


def render(scene: mi.Scene, passes: int, spp: int) -> np.ndarray:
    """(H, W, 3) mean of several passes; a pass that exceeds three times the pixel's median (a firefly) is left out."""
    integrator = mi.load_dict({"type": "path", "max_depth": 6})
    stack = []
    for k in range(passes):
        stack.append(np.asarray(mi.render(scene, integrator=integrator, spp=spp, seed=1000 + k)))
        print(f"pass {k + 1} of {passes}", flush=True)
    stack = np.stack(stack)
    limit = 3 * np.median(stack.sum(-1), 0) + 0.05
    keep = (stack.sum(-1) <= limit)[..., None]
    return (stack * keep).sum(0) / keep.sum(0)


def true_light(scene: mi.Scene, height: int, spp: int) -> np.ndarray:
    """(H, 2H, 3) radiance arriving at INSERT_AT. The sun is traced apart: its disc is smaller than a texel, so its
    exact energy is laid into the four texels about its centre instead of being found by chance."""
    width, n = 2 * height, 2 * height * height * spp
    rng = np.random.default_rng(7)
    row, column = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    v = (np.repeat(row.ravel(), spp) + rng.uniform(size=n)) / height * np.pi
    u = (np.repeat(column.ravel(), spp) + rng.uniform(size=n)) / width * 2 * np.pi
    d = np.stack([np.sin(u) * np.sin(v), np.cos(v), -np.cos(u) * np.sin(v)], -1)
    sun = sun_direction()
    inside = d @ sun > np.cos(np.radians(SUN_RADIUS_DEG * 1.05))
    d[inside] += np.cross(sun, [0.0, 1.0, 0.0]) * 0.02  # Look past the disc: there is sky about it.
    ray = mi.Ray3f(mi.Point3f(*map(float, INSERT_AT)), dr.normalize(mi.Vector3f(d.T.astype(np.float32))))
    sampler = mi.load_dict({"type": "independent"})
    sampler.seed(3, n)
    radiance, _, _ = mi.load_dict({"type": "path", "max_depth": 6}).sample(scene, sampler, ray)
    samples = np.asarray(radiance)
    samples = (samples if samples.shape[-1] == 3 else samples.T).reshape(height, width, spp, 3)
    limit = 4 * np.median(samples.sum(-1), -1, keepdims=True) + 0.5
    keep = (samples.sum(-1) <= limit)[..., None]
    out = (samples * keep).sum(2) / keep.sum(2)
    return out + sun_texels(height, width)


def sun_texels(height: int, width: int) -> np.ndarray:
    """(H, W, 3) radiance that holds the sun's irradiance in four texels with the sun's direction as their centre."""
    sun = sun_direction()
    y = np.arccos(sun[1]) / np.pi * height - 0.5
    x = (np.arctan2(sun[0], -sun[2]) / (2 * np.pi) % 1) * width - 0.5
    edges = np.cos(np.linspace(0, np.pi, height + 1))
    solid = (edges[:-1] - edges[1:]) * 2 * np.pi / width
    out = np.zeros((height, width, 3))
    for j, wj in ((int(y), 1 - y % 1), (int(y) + 1, y % 1)):
        for i, wi in ((int(x), 1 - x % 1), (int(x) + 1, x % 1)):
            out[j, i % width] = wj * wi * SUN_IRRADIANCE / solid[j]
    return out


def develop(linear: np.ndarray, seed: int = 11) -> np.ndarray:
    """Linear [0, inf) -> 8-bit sRGB. Exact below 0.8; above, a shoulder that nears white at about 3; some grain."""
    knee = 0.8
    over = np.maximum(linear - knee, 0)
    linear = np.where(linear > knee, knee + (1 - knee) * (1 - np.exp(-over / (1 - knee) / 1.6)), linear)
    grain = np.random.default_rng(seed).normal(0, 1, linear.shape[:2])[..., None]
    return (np.clip(to_srgb(linear) + grain * 0.0045, 0, 1) * 255 + 0.5).astype(np.uint8)


def write_exr(path: Path, image: np.ndarray) -> None:
    temporary = path.with_suffix(".tmp.exr")
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"RGB": image.astype(np.float32)}) as file:
        file.write(str(temporary))
    os.replace(temporary, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draft", action="store_true", help="320 x 240 at few samples")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "demo")
    parser.add_argument("--passes", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    size = (SIZE[0] // 2, SIZE[1] // 2) if options.draft else SIZE
    scene, camera = build(size, 0.5 if options.draft else 1.0)
    image = render(scene, options.passes or (3 if options.draft else 10), 16)
    Image.fromarray(develop(image)).save(options.out / "plate.png", optimize=True)
    write_exr(
        options.out / "true_light.exr", true_light(scene, 64 if options.draft else 128, 16 if options.draft else 128)
    )
    sun = ", ".join(f"{c:.5f}" for c in sun_direction())
    (options.out / "camera.yaml").write_text(
        "# Written by assets/build/demo_scene.py: the camera exactly as used.\n"
        f"# Direction to the sun: {sun}. true_light.exr was traced from {INSERT_AT} (metres).\n"
        f"width: {size[0]}\nheight: {size[1]}\nfov_x_deg: {FOV_DEG}\nheight_m: {HEIGHT_M}\n"
        f"pitch_deg: {PITCH_DEG}\nroll_deg: 0.0\nyaw_deg: 0.0\n"
    )


if __name__ == "__main__":
    os.environ["DRJIT_LIBLLVM_PATH"] = require_llvm().path
    mi.set_variant("llvm_ad_rgb")
    dr.set_thread_count(2)
    main()
