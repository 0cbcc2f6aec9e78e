"""A six-band, Sentinel-2-like farmland scene with its land-cover mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from _shapes import SEED, FloatArray, smooth_noise
from numpy.typing import NDArray
from scipy import ndimage as ndi
from scipy.spatial import cKDTree

SIZE = 512
BANDS = {"B2": 0.490, "B3": 0.560, "B4": 0.665, "B8": 0.842, "B11": 1.610, "B12": 2.190}
WATER, FOREST, CROP, GRASS, SOIL, BUILT = range(1, 7)
PALETTE = {
    WATER: (43, 111, 186),
    FOREST: (26, 102, 46),
    CROP: (233, 196, 84),
    GRASS: (140, 190, 92),
    SOIL: (160, 112, 72),
    BUILT: (196, 50, 60),
    255: (0, 0, 0),
}
# Class and surface reflectance in B2, B3, B4, B8, B11, B12 (times 10 000) of every cover.
COVERS = {
    "water": (WATER, (520, 640, 460, 250, 110, 70)),
    "conifer": (FOREST, (210, 340, 230, 2350, 1100, 520)),
    "broadleaf": (FOREST, (240, 460, 260, 3500, 1600, 720)),
    "maize": (CROP, (310, 640, 390, 4000, 1850, 850)),
    "beet": (CROP, (290, 700, 330, 4800, 1750, 760)),
    "wheat": (CROP, (640, 1010, 1180, 2900, 2800, 1850)),
    "rape": (CROP, (520, 1280, 1050, 4200, 1950, 950)),
    "young crop": (CROP, (560, 850, 800, 2600, 2400, 1600)),
    "meadow": (GRASS, (400, 740, 520, 3400, 2150, 1120)),
    "dry meadow": (GRASS, (560, 880, 820, 2800, 2650, 1550)),
    "pale soil": (SOIL, (980, 1280, 1620, 2250, 3050, 2650)),
    "dark soil": (SOIL, (640, 830, 1030, 1500, 2250, 1950)),
    "road": (BUILT, (980, 1080, 1130, 1500, 1750, 1600)),
    "asphalt": (BUILT, (720, 790, 830, 1050, 1250, 1180)),
    "grey roof": (BUILT, (1000, 1080, 1150, 1400, 1600, 1500)),
    "red roof": (BUILT, (780, 920, 1300, 1800, 2100, 1900)),
    "bright roof": (BUILT, (2300, 2450, 2550, 2800, 2700, 2450)),
    "garden": (BUILT, (520, 780, 680, 2700, 1900, 1150)),
}
CODE = {name: code for code, name in enumerate(COVERS)}
FARMED = ("maize", "beet", "wheat", "rape", "young crop", "meadow", "dry meadow", "pale soil")


def land_cover(rng: np.random.Generator) -> tuple[NDArray[np.intp], FloatArray]:
    """Return the cover code of every pixel and a brightness texture."""
    shape = (SIZE, SIZE)
    row, col = np.indices(shape, dtype=np.float32)
    noise = {s: smooth_noise(rng, shape, s) for s in (0.7, 2, 6, 40)}
    ease = [3 * smooth_noise(rng, shape, 40) for _ in range(2)]

    # Zones of parallel parcels; each parcel carries one crop, along one direction of work.
    seeds = rng.uniform(-40, SIZE + 40, (26, 2))
    where = np.stack([row + ease[0], col + ease[1]], -1)
    distance, zones = cKDTree(seeds).query(where, k=2)
    zone = zones[..., 0]
    theta, width, length = (rng.uniform(a, b, 26) for a, b in ((0, np.pi), (9, 24), (26, 70)))
    across = where[..., 0] * np.cos(theta[zone]) + where[..., 1] * np.sin(theta[zone])
    along = where[..., 1] * np.cos(theta[zone]) - where[..., 0] * np.sin(theta[zone])
    strip = np.floor(across / width[zone]).astype(int)
    block = np.floor(along / length[zone] + (strip * 0.618) % 1).astype(int)
    keys = np.stack([zone, strip, block]).reshape(3, -1)
    _, parcel = np.unique(keys, axis=1, return_inverse=True)
    parcel = parcel.reshape(shape)
    count = int(parcel.max()) + 1
    names = [*FARMED, "dark soil", "broadleaf"]
    odds = np.array([16, 9, 20, 8, 10, 13, 7, 6, 8, 3]) / 100
    cover = np.array([CODE[n] for n in names])[rng.choice(len(names), count, p=odds)][parcel]
    vigour = rng.normal(1, 0.09, count)[parcel]
    lines = np.sin(across * 2 * np.pi / rng.uniform(2.2, 4.5, count)[parcel])
    texture = vigour * (1 + 0.02 * lines + 0.035 * noise[6] + 0.02 * noise[2])

    # Woods follow parcels in part; roads follow zone edges; one town; one meandering river.
    mean = ndi.mean(noise[40], parcel, np.arange(count))[parcel]
    woods = 0.6 * mean + 0.4 * noise[40] + 0.12 * noise[6] > 0.85
    course = 150 + 0.32 * col + 34 * np.sin(col / 47) + 16 * np.sin(col / 19 + 1) + 2 * noise[40]
    slope = np.gradient(course, axis=1)
    river = np.abs(row - course) / np.hypot(1, slope)
    woods |= river < 9.5 + 4 * noise[6]
    cover[woods] = np.where(noise[6] + noise[40] > 1.6, CODE["conifer"], CODE["broadleaf"])[woods]
    wooded = np.isin(cover, (CODE["conifer"], CODE["broadleaf"]))
    texture[wooded] = (1 + 0.15 * noise[0.7] + 0.06 * noise[2])[wooded]
    meadow = (river < 15 + 5 * noise[6]) & ~woods
    cover[meadow] = CODE["meadow"]

    centre = np.hypot(row - 330, (col - 190) * 0.8)
    town = centre + 16 * noise[6] + 10 * noise[40] < 62
    street_a, street_b = row * 0.86 + col * 0.5, col * 0.86 - row * 0.5
    names = ["red roof", "grey roof", "bright roof", "garden"]
    odds = np.array([34, 16, 3, 47]) / 100
    roofs = np.array([CODE[n] for n in names])[rng.choice(len(names), shape, p=odds)]
    streets = (street_a % 12 < 1.3) | (street_b % 16 < 1.3)
    halls = town & (noise[2] > 1.4) & (col > 205 + 10 * noise[40]) & (row < 335)
    cover[town] = np.where(streets, CODE["asphalt"], roofs)[town]
    cover[halls] = CODE["bright roof"]
    texture[town] = (1 + 0.08 * noise[0.7])[town]
    water = river < 5.5 + 0.8 * noise[6]
    ponds = np.hypot(row - 92, (col - 330) * 0.6) + 4 * noise[6] < 11
    cover[water | ponds] = CODE["water"]
    texture[water | ponds] = (1 + 0.02 * noise[2])[water | ponds]
    spacing = np.hypot(*np.moveaxis(seeds[zones[..., 0]] - seeds[zones[..., 1]], -1, 0))
    edge = (distance[..., 1] ** 2 - distance[..., 0] ** 2) / (2 * spacing) < 0.75
    highway = np.abs(row - 330 + 0.55 * (col - 190)) < 1.2
    roads = (edge & (zone % 3 > 0) & ~water | highway) & ~ponds & ~town
    cover[roads] = CODE["road"]
    texture[roads] = 1
    return cover, texture.astype(np.float32)


def make_scene(folder: Path) -> None:
    """Write the six-band scene and its land-cover mask."""
    rng = np.random.default_rng([SEED, 3])
    cover, texture = land_cover(rng)
    spectra = np.array([spectrum for _, spectrum in COVERS.values()], np.float32)
    classes = np.array([class_ for class_, _ in COVERS.values()], np.uint8)[cover]
    scene = np.moveaxis(spectra[cover] * texture[..., None], -1, 0)
    hue = smooth_noise(rng, (SIZE, SIZE), 5)
    scene *= 1 + 0.03 * hue * np.array([1, 0.8, 1.2, -1, 0.6, 1])[:, None, None]
    haze = smooth_noise(rng, (SIZE, SIZE), 60)
    scene += (60 + 15 * haze) * np.array([1, 0.6, 0.4, 0.1, 0, 0])[:, None, None]
    scene = ndi.gaussian_filter(scene, (0, 0.55, 0.55))
    scene += 10 * rng.standard_normal(scene.shape, dtype=np.float32)
    native = scene[4:].reshape(2, SIZE // 2, 2, SIZE // 2, 2).mean(axis=(2, 4))
    scene[4:] = native.repeat(2, axis=1).repeat(2, axis=2)  # short-wave bands are 20 m at source
    digital = np.maximum(np.rint(scene / 4) * 4, 4).astype(np.uint16)

    row, col = np.indices((SIZE, SIZE))
    outside = col > 497 - 0.21 * row
    digital[:, outside] = 0
    classes[outside] = 255
    for band, top, left, height, width in (
        (0, 60, 120, 3, 22), (1, 260, 330, 5, 5), (3, 402, 48, 9, 7), (4, 180, 60, 8, 12),
        (5, 440, 268, 6, 6), (5, 30, 226, 4, 14),
    ):  # fmt: skip
        digital[band, top : top + height, left : left + width] = 0

    folder.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "width": SIZE,
        "height": SIZE,
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(10, 0, 412340, 0, -10, 5561280),
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "zlevel": 9,
        "predictor": 2,
        "interleave": "band",
    }
    path = folder / "scene.tif"
    with rasterio.open(path, "w", count=6, dtype="uint16", nodata=0, **profile) as scene_file:
        scene_file.write(digital)
        scene_file.scales, scene_file.offsets = (1e-4,) * 6, (0.0,) * 6
        scene_file.descriptions = tuple(BANDS)
        for band, wavelength in enumerate(BANDS.values(), start=1):
            scene_file.update_tags(band, wavelength_um=f"{wavelength:.3f}")
    path = folder / "landcover.tif"
    with rasterio.open(path, "w", count=1, dtype="uint8", nodata=255, **profile) as cover_file:
        cover_file.write(classes, 1)
        cover_file.write_colormap(1, PALETTE)
        cover_file.set_band_description(1, "land cover")
