"""Builds the three demo assets as GLB with PBR textures: `python assets/build/demo_assets.py [OUT_DIR]`.

vase.glb         glazed ceramic floor vase with a painted cobalt pattern (glossy; unglazed foot and inside), 0.62 m
watering_can.glb hammered copper watering can with brass fittings (metallic, roughness map, patina), 0.46 m
stool.glb        painted wooden stool, worn to the wood at its edges, 0.48 m
All geometry and textures are made here from numbers; nothing is taken from elsewhere.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import trimesh
from noise import blur, brush, fractal, hex_srgb, mix, normal_map, petal, resize, smoothstep
from PIL import Image, ImageDraw
from shapes import Mesh, disc, join, place, revolve, smooth_curve, sweep


def encoded(image: np.ndarray, size: tuple[int, int], quality: int = 90) -> Image.Image:
    """(H, W, 3) in [0, 1] as a JPEG-backed picture, so that the exporter stores it as JPEG."""
    data = io.BytesIO()
    Image.fromarray((resize(image, size) * 255 + 0.5).astype(np.uint8)).save(
        data, "JPEG", quality=quality, subsampling=0
    )
    return Image.open(data)


def material(
    name: str, color, roughness, metallic, normal, size: tuple[int, int]
) -> trimesh.visual.material.PBRMaterial:
    """color (H, W, 3) sRGB; roughness, metallic (H, W); normal (H, W, 3) in [0, 1]."""
    packed = np.stack([np.ones_like(roughness), np.clip(roughness, 0.04, 1), np.clip(metallic, 0, 1)], -1)
    return trimesh.visual.material.PBRMaterial(
        name=name,
        baseColorTexture=encoded(color, size),
        metallicRoughnessTexture=encoded(packed, size, 88),
        normalTexture=encoded(normal, size, 90),
        baseColorFactor=[255] * 4,
        metallicFactor=1.0,
        roughnessFactor=1.0,
        doubleSided=True,
    )


# --- vase ------------------------------------------------------------------------------------------------------------
def vase_pattern(size: tuple[int, int]) -> np.ndarray:
    """(H, W) amount of cobalt: bands, a frieze of leaves, a wreath of flowers on the belly, a collar of strokes."""

    def strokes(draw: ImageDraw.ImageDraw, x0: int, w: int, h: int) -> None:
        for v, thick in ((0.085, 6), (0.115, 3), (0.30, 4), (0.325, 2), (0.70, 3), (0.72, 6), (0.90, 3), (0.965, 10)):
            draw.rectangle((x0, (1 - v) * h - thick, x0 + w, (1 - v) * h + thick), fill=255)
        for k in range(24):  # Tall lappets rising from the foot.
            x = x0 + (k + 0.5) / 24 * w
            petal(draw, x, 0.875 * h, 0.155 * h, 0.015 * w, -np.pi / 2)
            petal(draw, x + w / 48, 0.875 * h, 0.075 * h, 0.006 * w, -np.pi / 2)
        for k in range(6):  # Flowers, joined by a waving stem with leaves.
            x, y = x0 + (k + 0.5) / 6 * w, (0.51 + 0.035 * (-1) ** k) * h
            for petals, length, turn in ((9, 0.078, 0.1), (9, 0.045, 0.45)):
                for p in range(petals):
                    angle = 2 * np.pi * p / petals + turn
                    petal(draw, x + 10 * np.cos(angle), y + 10 * np.sin(angle), length * h, 0.011 * w, angle)
            t = np.linspace(0, 1, 40)
            xs, ys = x + t * w / 6, y + t * ((0.07 * (-1) ** k) * h) + 0.07 * h * np.sin(2 * np.pi * t) * (-1) ** k
            draw.line(list(zip(xs, ys, strict=True)), fill=255, width=7)
            for p in range(5, 36, 4):
                petal(draw, xs[p], ys[p], 0.042 * h, 0.008 * w, np.pi / 2 * (1 if p % 8 == 1 else -1) + 0.5)
        for k in range(36):
            petal(draw, x0 + (k + 0.5) / 36 * w, 0.275 * h, 0.085 * h, 0.007 * w, -np.pi / 2)
        for k in range(18):
            x = x0 + (k + 0.5) / 18 * w
            draw.ellipse((x - 14, 0.075 * h - 14, x + 14, 0.075 * h + 14), fill=255)

    return brush(size, strokes)


def glaze(size: int = 1024):
    """Milky glaze over the pattern: uneven density of the brush, crackle, iron specks, pooled glaze at the bands."""
    paint = blur(vase_pattern((2 * size, 2 * size)), 2.2)
    paint = resize(np.repeat(paint[..., None], 3, 2), (size, size))[..., 0]
    wash = 0.72 + 0.13 * fractal((size, size), 1, 1.3, 6) + 0.10 * fractal((size, size), 2, 1.0, 20, stretch=(4, 1))
    tone = fractal((size, size), 3, 1.8, 2)
    crackle = smoothstep(0.05, 0.0, np.abs(fractal((size, size), 4, 1.4, 14, 90))) * smoothstep(-0.3, 1.0, tone)
    specks = smoothstep(3.1, 3.6, fractal((size, size), 5, 0.3, 90))
    ground = mix(hex_srgb("#ece6d3"), hex_srgb("#d9d9c6"), smoothstep(-1.5, 1.5, tone))
    color = mix(
        ground,
        mix(hex_srgb("#2c4fa0"), hex_srgb("#0f2460"), np.clip(wash, 0, 1)),
        np.clip(paint * (0.55 + 0.5 * wash), 0, 1),
    )
    color = mix(mix(color, hex_srgb("#8d7c5c"), 0.28 * crackle), hex_srgb("#5b3a22"), 0.7 * specks)
    roughness = 0.09 + 0.03 * smoothstep(0, 1.5, tone) + 0.05 * paint + 0.08 * crackle
    height = 3e-4 * fractal((size, size), 6, 2.2, 2, 60, stretch=(2, 1)) - 1.5e-4 * paint
    return material("glaze", color, roughness, 0 * roughness, normal_map(height, 1.1, 0.75), (size, size))


def terracotta(size: int = 512):
    grain = fractal((size, size), 11, 0.7, 8)
    rings = fractal((size, size), 12, 1.0, 4, stretch=(1, 40))
    color = mix(hex_srgb("#a9694a"), hex_srgb("#c48a66"), smoothstep(-2, 2, grain + rings))
    height = 2e-4 * grain + 4e-4 * rings
    return material("terracotta", color, 0.82 + 0.05 * grain, 0 * grain, normal_map(height, 0.6, 0.5), (size, size))


def vase() -> dict:
    outline = [
        (0.098, 0.022),
        (0.112, 0.05),
        (0.152, 0.15),
        (0.193, 0.28),
        (0.196, 0.37),
        (0.160, 0.455),
        (0.105, 0.505),
        (0.083, 0.545),
        (0.088, 0.59),
        (0.116, 0.617),
    ]
    outside = revolve(smooth_curve(outline, 40), 64)
    rim = [(0.116, 0.617), (0.121, 0.6215), (0.1175, 0.6245), (0.111, 0.622)]
    inner = [(0.111, 0.622), (0.080, 0.59), (0.075, 0.545), (0.097, 0.50), (0.150, 0.45), (0.185, 0.37), (0.17, 0.25)]
    lip = revolve(smooth_curve(rim, 7), 64, v_range=(0.955, 0.975))
    inside = revolve(smooth_curve(inner, 16), 64)
    foot = revolve(np.array([(0.094, 0.0), (0.097, 0.004), (0.097, 0.016), (0.0985, 0.0225)]), 64, v_range=(0, 0.05))
    return {
        "body": (join([outside, lip]), glaze()),
        "clay": (join([inside, foot, disc(0.0, 0.094, up=False), disc(0.25, 0.171, up=True)]), terracotta()),
    }


# --- watering can ----------------------------------------------------------------------------------------------------
def hammered(size: int = 1024):
    """Copper with overlapping hammer marks (each a shallow bowl), darker and greener where the patina sits."""
    rng = np.random.default_rng(21)
    marks = 26
    cells = (
        np.stack(np.meshgrid(np.arange(marks), np.arange(marks), indexing="ij"), -1).reshape(-1, 2)
        + rng.uniform(0.1, 0.9, (marks * marks, 2))
    ) / marks
    axis = (np.arange(size) + 0.5) / size
    bowl = np.full((size, size), 9.0, np.float32)
    for cy, cx in cells:  # Nearest mark wins: the ridges between the bowls are sharp, as struck metal has them.
        dy = np.minimum(np.abs(axis - cy), 1 - np.abs(axis - cy))[:, None]
        dx = np.minimum(np.abs(axis - cx), 1 - np.abs(axis - cx))[None]
        np.minimum(bowl, (dy**2 + dx**2) * marks**2, out=bowl)
    dents = blur(np.minimum(bowl, 1.0), 1.5)
    age, fine = fractal((size, size), 22, 1.7, 2), fractal((size, size), 23, 0.8, 40)
    streaks = fractal((size, size), 24, 1.3, 3, stretch=(0.4, 3))
    patina = smoothstep(0.9, 2.4, age + 0.35 * streaks + 0.25 * fine + 0.5 * dents)
    tarnish = smoothstep(-1.4, 1.6, 0.8 * age + 0.5 * streaks)
    color = mix(hex_srgb("#f3a27f"), hex_srgb("#b56a49"), 0.75 * tarnish)
    color = mix(
        mix(color, hex_srgb("#8a4a33"), 0.35 * smoothstep(0.45, 0.9, dents)), hex_srgb("#6f8f7c"), 0.75 * patina
    )
    roughness = 0.15 + 0.09 * tarnish + 0.02 * fine + 0.50 * patina + 0.05 * dents
    height = 1.7e-3 * dents + 2.0e-5 * fine
    return material("copper", color, roughness, 1 - 0.85 * patina, normal_map(height, 0.62, 0.62), (size, size))


def brass(size: int = 512):
    fine = fractal((size, size), 31, 1.0, 6)
    turned = fractal((size, size), 32, 0.6, 20, stretch=(1, 30))
    tarnish = smoothstep(-0.5, 2.2, fine + 0.4 * turned)
    color = mix(hex_srgb("#e8c878"), hex_srgb("#8f6f36"), 0.8 * tarnish)
    return material(
        "brass",
        color,
        0.24 + 0.25 * tarnish + 0.03 * turned,
        np.ones_like(fine),
        normal_map(3e-5 * turned, 0.3, 0.3),
        (size, size),
    )


def watering_can() -> dict:
    def uv(mesh: Mesh, repeat_u: float, repeat_v: float) -> Mesh:
        return Mesh(mesh.vertices, mesh.normals, mesh.uvs * [repeat_u, repeat_v], mesh.faces)

    body = revolve(smooth_curve([(0.150, 0.008), (0.152, 0.03), (0.144, 0.15), (0.132, 0.27)], 14), 56)
    shoulder = revolve(smooth_curve([(0.132, 0.27), (0.122, 0.292), (0.098, 0.308), (0.082, 0.316)], 9), 56)
    inside = revolve(np.array([(0.080, 0.316), (0.128, 0.275), (0.140, 0.15), (0.146, 0.012), (1e-4, 0.012)])[:, :], 40)
    spout_path = smooth_curve([(0.135, 0.07, 0), (0.20, 0.12, 0), (0.285, 0.25, 0), (0.355, 0.372, 0)], 18)
    spout = sweep(spout_path, np.linspace(0.034, 0.0145, 18), 22, v_length=0.62)
    copper = [
        uv(body, 1.5, 0.42),
        uv(shoulder, 1.5, 0.12),
        uv(inside, 1.5, 0.8),
        uv(spout, 0.3, 1),
        disc(0.0085, 0.150, up=False, uv_scale=0.25),
    ]
    # The rose: a flared cup along the spout's end with a domed, pierced-looking face.
    axis = spout_path[-1] - spout_path[-2]
    tilt = np.degrees(np.arctan2(axis[0], axis[1]))
    cup = revolve(
        smooth_curve([(0.0165, -0.02), (0.019, 0.005), (0.042, 0.035), (0.049, 0.052), (0.0495, 0.058)], 10), 32
    )
    face = revolve(smooth_curve([(0.0495, 0.058), (0.035, 0.0645), (0.015, 0.0685), (1e-4, 0.069)], 7), 32)
    matrix = place(*spout_path[-1], yaw_deg=90, tilt_deg=tilt)
    rings = [
        revolve(
            np.array(
                [
                    (r * 0.985, y - h),
                    (r + 0.004, y - h * 0.8),
                    (r + 0.0055, y),
                    (r + 0.004, y + h * 0.8),
                    (r * 0.985, y + h),
                ]
            ),
            56,
        )
        for r, y, h in ((0.152, 0.012, 0.010), (0.133, 0.268, 0.006), (0.082, 0.318, 0.006))
    ]
    high = sweep(
        smooth_curve([(0.085, 0.305, 0), (0.075, 0.40, 0), (0.0, 0.448, 0), (-0.075, 0.40, 0), (-0.085, 0.305, 0)], 26),
        0.0095,
        14,
        v_length=0.1,
    )
    back = sweep(
        smooth_curve(
            [(-0.130, 0.275, 0), (-0.20, 0.29, 0), (-0.235, 0.215, 0), (-0.205, 0.13, 0), (-0.145, 0.09, 0)], 24
        ),
        0.0095,
        14,
        v_length=0.1,
    )
    brace = sweep(smooth_curve([(0.12, 0.285, 0), (0.20, 0.30, 0), (0.285, 0.262, 0)], 10), 0.006, 10, v_length=0.1)
    fittings = [cup.moved(matrix), face.moved(matrix), *rings, high, back, brace]
    return {"copper": (join(copper), hammered()), "brass": (join(fittings), brass())}


# --- stool -----------------------------------------------------------------------------------------------------------
def worn_paint(name: str, seed: int, paint: str, worn: np.ndarray, metres: tuple[float, float], size: int = 768):
    """Wood under paint; ``worn`` (H, W) adds to the wear where hands and feet go (rims, treads)."""
    shape = (size, size)
    grain = (
        fractal(shape, seed, 1.0, 6, stretch=(1, 14))
        if metres[1] < metres[0]
        else fractal(shape, seed, 1.0, 6, stretch=(14, 1))
    )
    fine, blotch = fractal(shape, seed + 1, 0.7, 30), fractal(shape, seed + 2, 1.5, 3)
    rows, columns = np.linspace(0, size - 1, worn.shape[0]), np.linspace(0, size - 1, worn.shape[1])
    wear = np.stack([np.interp(np.arange(size), columns, row) for row in worn])
    wear = np.stack([np.interp(np.arange(size), rows, column) for column in wear.T], 1)
    bare = smoothstep(0.0, 0.35, wear - 1.55 + 0.42 * blotch + 0.30 * grain + 0.16 * fine)
    wood = mix(hex_srgb("#a9825a"), hex_srgb("#6d4c31"), smoothstep(-1.3, 1.6, grain + 0.3 * fine))
    coat = mix(hex_srgb(paint), hex_srgb(paint) * 0.80 + 0.03, smoothstep(-1.5, 2.2, blotch + 0.4 * grain))
    edge = smoothstep(0.03, 0.4, bare) * smoothstep(0.97, 0.6, bare)
    color = mix(mix(coat, wood, bare), hex_srgb("#e6dfcd"), 0.55 * edge)  # A line of undercoat shows round each chip.
    height = 1.2e-4 * grain + 3e-5 * fine - 3.5e-4 * blur(bare, 1.0)
    roughness = 0.36 + 0.05 * blotch + 0.36 * bare + 0.02 * fine
    return material(name, color, roughness, 0 * bare, normal_map(height, *metres), (size, size))


def leg(x: float, z: float, top: float) -> Mesh:
    """A turned, splayed leg from the floor (x, z) to under the seat."""
    t = np.linspace(0, 1, 26)
    end = np.array([x * 0.62, top, z * 0.62])
    path = np.array([x, 0.0, z]) + t[:, None] * (end - [x, 0.0, z])
    bead = (
        np.exp(-(((t - 0.72) / 0.018) ** 2))
        + np.exp(-(((t - 0.78) / 0.018) ** 2))
        + 0.8 * np.exp(-(((t - 0.12) / 0.02) ** 2))
    )
    radius = 0.0155 + 0.0065 * np.sin(np.pi * np.clip((t - 0.08) / 0.9, 0, 1)) ** 0.8 + 0.0045 * bead
    tube = sweep(path, radius, 18, v_length=np.linalg.norm(path[-1] - path[0]))
    sole = disc(0.0, radius[0], up=False, segments=18).moved(place(x, 0.0005, z))
    return join([tube, Mesh(sole.vertices, sole.normals, sole.uvs * 0.05, sole.faces)])


def stool() -> dict:
    seat_profile = [(0.150, 0.437), (0.166, 0.439), (0.1725, 0.452), (0.171, 0.468), (0.163, 0.4765), (0.150, 0.478)]
    side = revolve(smooth_curve(seat_profile, 12), 72)
    dish = revolve(smooth_curve([(0.150, 0.478), (0.10, 0.4745), (0.05, 0.472), (1e-4, 0.4715)], 8), 72)
    flat = 0.5 + dish.vertices[:, [0, 2]] * [1, -1] / 0.36
    top = Mesh(dish.vertices, dish.normals, flat, dish.faces)
    under = disc(0.437, 0.151, up=False, segments=72, uv_scale=0.42)
    corners = [(0.165 * np.cos(a), 0.165 * np.sin(a)) for a in np.radians([45, 135, 225, 315])]
    legs = [leg(x, z, 0.445) for x, z in corners]
    rungs = []
    for k, height in enumerate((0.15, 0.19, 0.15, 0.19)):
        (ax, az), (bx, bz) = corners[k], corners[(k + 1) % 4]
        shrink = 1 - 0.38 * height / 0.445
        t = np.linspace(0, 1, 14)
        path = np.stack([ax + (bx - ax) * t, 0 * t + height / shrink, az + (bz - az) * t], 1) * shrink
        rungs.append(sweep(path, 0.0095 + 0.0035 * np.sin(np.pi * t), 14, v_length=0.25))
    radius = np.hypot(*np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64)))
    seat_wear = 0.72 + 0.95 * smoothstep(0.62, 0.85, radius) + 0.45 * smoothstep(0.45, 0.0, radius)
    side_wear = np.repeat((0.55 + 1.35 * np.exp(-(((np.linspace(1, 0, 64) - 0.70) / 0.16) ** 2)))[:, None], 8, 1)
    v = np.linspace(1, 0, 128)
    leg_wear = (
        0.5
        + 0.9 * smoothstep(0.10, 0.0, v)
        + 0.9 * sum(np.exp(-(((v - c) / 0.02) ** 2)) for c in (0.12, 0.72, 0.78))
        + 0.25 * np.exp(-(((v - 0.4) / 0.12) ** 2))
    )
    return {
        "seat": (join([top, under]), worn_paint("seat", 41, "#3f8f88", seat_wear, (0.36, 0.35))),
        "rim": (side, worn_paint("rim", 51, "#3f8f88", side_wear, (1.05, 0.06), 512)),
        "legs": (join(legs), worn_paint("legs", 61, "#3f8f88", np.repeat(leg_wear[:, None], 8, 1), (0.12, 0.46), 512)),
        "rungs": (join(rungs), worn_paint("rungs", 71, "#d9a441", np.full((8, 8), 1.1), (0.07, 0.25), 512)),
    }


def save(name: str, parts: dict, folder: Path) -> None:
    """Writes ``name``.glb; parts: {name: (Mesh, material)}."""
    scene = trimesh.Scene()
    for part, (mesh, surface) in parts.items():
        visual = trimesh.visual.TextureVisuals(uv=mesh.uvs, material=surface)
        scene.add_geometry(
            trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_normals=mesh.normals, visual=visual, process=False),
            node_name=part,
            geom_name=part,
        )
    data = scene.export(file_type="glb", include_normals=True)
    target = folder / f"{name}.glb"
    temporary = target.with_suffix(".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, target)
    print(
        f"{target}: {sum(len(m.faces) for m, _ in parts.values())} triangles, {len(data) / 1e6:.2f} MB, "
        f"extents {np.round(scene.extents, 3)}"
    )


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    for build in (vase, watering_can, stool):
        save(build.__name__, build(), folder)


if __name__ == "__main__":
    main()
