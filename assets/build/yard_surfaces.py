"""Textures of the demo yard (numpy only). A surface is a dict: color (H, W, 3) sRGB, roughness (H, W), normal or None,
and ``thin`` for leaves. Sizes in metres are those of one repeat of the texture."""

from __future__ import annotations

import numpy as np
from noise import blur, fractal, hex_srgb, mix, normal_map, smoothstep

PAVING = (6.6, 4.0)  # Metres of one repeat: 11 x 10 slabs.
SLAB = (0.6, 0.4)


def surface(color, roughness=0.6, normal=None, metallic: float = 0.0, thin: float = 0.0) -> dict:
    return {"color": color, "roughness": roughness, "normal": normal, "metallic": metallic, "thin": thin}


def paving(detail: float) -> dict:
    """Weathered sandstone slabs, each with its own tone and bedding; stains run across the joints."""
    w = int(4096 * detail) // 2 * 2
    h = int(w * PAVING[1] / PAVING[0]) // 2 * 2
    rng = np.random.default_rng(101)
    x, z = np.meshgrid((np.arange(w) + 0.5) / w * PAVING[0], (1 - (np.arange(h) + 0.5) / h) * PAVING[1])
    row = (z / SLAB[1]).astype(int)
    along = (x / SLAB[0] + 0.5 * (row % 2)) % 11
    column = along.astype(int)
    inside = np.minimum(
        np.minimum(along % 1, 1 - along % 1) * SLAB[0], np.minimum(z / SLAB[1] % 1, 1 - z / SLAB[1] % 1) * SLAB[1]
    )
    tone, warm, turn = (rng.normal(0, 1, (10, 11))[row, column] for _ in range(3))
    coarse, middle = fractal((h, w), 102, 1.7, 3), fractal((h, w), 103, 1.2, 20)
    fine, streak = fractal((h, w), 104, 0.5, 200), fractal((h, w), 105, 1.3, 8, stretch=(3, 1))
    other = fractal((h, w), 106, 1.3, 8, stretch=(1, 4))
    bedding = np.where(turn > 0, np.roll(streak, 500, 1), other)
    color = mix(hex_srgb("#a49a8b"), hex_srgb("#b9a78d"), smoothstep(-1.6, 1.6, warm + 0.35 * bedding + 0.3 * coarse))
    shade = 1 + 0.055 * tone + 0.045 * middle + 0.05 * bedding + 0.045 * coarse + 0.045 * fine
    color = color * shade[..., None]
    edge = smoothstep(0.035, 0.0, inside + 0.008 * middle + 0.004 * fine)
    color = mix(color, hex_srgb("#6a6152"), 0.42 * edge)
    stain = smoothstep(1.0, 2.4, coarse + 0.5 * middle)
    color = mix(color, hex_srgb("#5d574d"), 0.50 * stain)
    lichen = smoothstep(1.75, 2.1, fractal((h, w), 107, 1.15, 45) + 0.5 * np.roll(coarse, 900, 1))
    color = mix(color, hex_srgb("#cdc8b4"), 0.45 * lichen)
    moss = smoothstep(0.9, 2.2, np.roll(coarse, 300, 0) + 0.4 * middle) * smoothstep(0.05, 0.005, inside)
    color = mix(color, hex_srgb("#59603a"), 0.7 * moss)
    specks = smoothstep(2.6, 3.2, fractal((h, w), 108, 0.4, 300))
    color = mix(color, hex_srgb("#3d372f"), 0.6 * specks)
    height = (0.00075 * middle + 0.0008 * bedding + 0.00010 * fine) * (0.7 + 0.3 * np.tanh(tone))
    return surface(color, np.clip(0.78 + 0.08 * middle - 0.12 * stain, 0.4, 1), normal_map(height, *PAVING))


def plaster(detail: float) -> dict:
    """Old lime render, 5 x 3 m: trowel marks, hair cracks, rain streaks, a dirty splash zone at its foot."""
    h, w = int(1536 * detail), int(2560 * detail)
    up = (1 - (np.arange(h) + 0.5) / h)[:, None] * 3
    coarse, middle, fine = fractal((h, w), 111, 1.8, 2), fractal((h, w), 112, 1.3, 14), fractal((h, w), 113, 0.6, 120)
    rain = fractal((h, w), 114, 1.2, 4, stretch=(0.15, 2))
    color = mix(hex_srgb("#e3d3b4"), hex_srgb("#d3bb93"), smoothstep(-1.8, 2.0, coarse + 0.5 * middle))
    color = color * (1 + 0.018 * fine + 0.02 * middle)[..., None]
    color = mix(color, hex_srgb("#a08f74"), 0.38 * smoothstep(0.4, 2.3, rain + 0.4 * coarse))
    splash = smoothstep(0.75, 0.30, up + 0.10 * coarse + 0.06 * middle + 0.04 * rain)
    color = mix(color, hex_srgb("#8a7c66"), 0.5 * splash)
    crack = smoothstep(0.03, 0.0, np.abs(fractal((h, w), 115, 1.9, 5, 400))) * smoothstep(
        0.8, 1.5, np.roll(coarse, 400, 1)
    )
    patch = smoothstep(1.65, 1.85, np.roll(coarse, 700, 1) + 0.25 * middle + 0.08 * fine)
    color = mix(mix(color, hex_srgb("#6f624f"), 0.6 * crack), hex_srgb("#c3b59c"), 0.8 * patch)
    height = 0.0015 * middle + 0.00026 * fine - 0.003 * blur(patch, 2) - 0.0015 * crack
    return surface(color, 0.85, normal_map(height, 5, 3))


def wood(seed: int, light: str, dark: str, paint: str | None = None, wear: float = 1.3) -> dict:
    """Planks' grain along u, 1 x 1 m; with ``paint``, flaking paint over grey wood."""
    shape = (768, 768)
    grain, fine = fractal(shape, seed, 1.1, 5, stretch=(1, 18)), fractal(shape, seed + 1, 0.6, 60, stretch=(1, 5))
    blotch = fractal(shape, seed + 2, 1.6, 2)
    color = mix(hex_srgb(light), hex_srgb(dark), smoothstep(-1.5, 1.8, grain + 0.35 * blotch + 0.3 * fine))
    rough = 0.75 + 0.04 * fine
    if paint:
        bare = smoothstep(wear, wear + 0.5, 0.8 * blotch + 0.5 * grain + 0.3 * fine)
        coat = mix(hex_srgb(paint), hex_srgb(paint) * 0.78 + 0.05, smoothstep(-1.8, 2, blotch + 0.3 * grain))
        color, rough = mix(coat, color, bare), 0.42 + 0.3 * bare + 0.03 * fine
    return surface(color, rough, normal_map(0.0004 * grain + 0.00012 * fine, 1, 1))


def speckled(
    seed: int, a: str, b: str, dirt: str = "#4a4338", dirty: float = 0.4, rough: float = 0.85, bump: float = 0.0012
) -> dict:
    """Brick, stone, clay, zinc or soil: two tones, dirt in blotches, a rough relief; 1 x 1 m."""
    shape = (768, 768)
    coarse, middle, fine = (
        fractal(shape, seed, 1.6, 2),
        fractal(shape, seed + 1, 1.1, 12),
        fractal(shape, seed + 2, 0.4, 60),
    )
    color = mix(hex_srgb(a), hex_srgb(b), smoothstep(-1.6, 1.6, middle + 0.6 * coarse)) * (1 + 0.06 * fine)[..., None]
    color = mix(color, hex_srgb(dirt), dirty * smoothstep(0.3, 2.0, coarse + 0.5 * middle))
    return surface(color, np.clip(rough + 0.06 * middle, 0.1, 1), normal_map(bump * (middle + 0.3 * fine), 1, 1))


def foliage(seed: int, *tones: str, thin: float = 0.9, rough: float = 0.5) -> dict:
    """One colour per leaf (UVs are random per leaf), drawn from the tones."""
    rng = np.random.default_rng(seed)
    colors = np.stack([hex_srgb(t) for t in tones])
    weight = rng.dirichlet(np.full(len(tones), 0.6), (48, 48))
    return surface(np.clip((weight @ colors) * rng.normal(1, 0.10, (48, 48, 1)), 0, 1), rough, None, thin=thin)


def plain(code: str, roughness: float, metallic: float = 0.0) -> dict:
    return surface(np.broadcast_to(hex_srgb(code), (4, 4, 3)), roughness, None, metallic)
