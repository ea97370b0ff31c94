"""Inputs of the verbs that ``memory_of_verbs.py`` measures, of any size and cheap to make."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import command
from country import write_partitions
from view import write_fields

DATES = ("2024-03-01/2024-05-31", "2024-08-01/2024-10-15")
PATCH, APART = 2048, 7500
"""Edge of a patch of the sparse image that has data, and how far they lie apart, in pixels."""


def table(folder: Path, count: int) -> Path:
    """Write a table of so many fields."""
    path = folder / f"fields{count}.parquet"
    if not path.exists():
        write_fields(path, count)
    return path


def jobs(folder: Path, count: int) -> Path:
    """Write the tables of a plan with so many fields together."""
    path = folder / f"jobs{count}"
    if not path.exists():
        path.mkdir()
        write_partitions(path, count)
    return path / "jobs"


def probabilities(folder: Path, edge: int) -> Path:
    """Write class probabilities of so many pixels along an edge: one field for each 440 px."""
    import numpy as np
    import rasterio
    from affine import Affine
    from rasterio.windows import Window

    from selion.classes import FTW3

    path = folder / f"probabilities{edge}.tif"
    if path.exists():
        return path
    drawn, strip = pattern(1500), 512
    profile = {
        "driver": "GTiff", "count": 3, "dtype": "uint8", "height": edge, "width": edge,
        "crs": "EPSG:32633", "transform": Affine(10, 0, 300_000, 0, -10, 5_700_000),
        "tiled": True, "blockxsize": strip, "blockysize": strip, "compress": "lzw", "nodata": 255,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.update_tags(classes=json.dumps(FTW3.to_dict()))
        file.descriptions = FTW3.names
        for top in range(0, edge, strip):
            height = min(strip, edge - top)
            rows = drawn[:, np.arange(top, top + height) % drawn.shape[1]]
            wide = np.tile(rows, (1, 1, -(-edge // drawn.shape[2])))[:, :, :edge]
            file.write(wide, window=Window(0, top, edge, height))
    return path


def pattern(edge: int):
    """Return (3, y, x) uint8 scores of fields of 14 to 30 px, some of them left out."""
    import numpy as np

    random = np.random.default_rng(0)
    labels = np.zeros((edge, edge), np.uint8)
    top = 0
    while top < edge:
        height, left = min(int(random.integers(14, 28)), edge - top), 0
        while left < edge:
            width = min(int(random.integers(14, 30)), edge - left)
            if random.random() > 0.08 and min(height, width) > 4:
                labels[top : top + height, left : left + width] = 2
                labels[top + 1 : top + height - 1, left + 1 : left + width - 1] = 1
            left += width
        top += height
    return np.where(labels == np.arange(3)[:, None, None], 200, 20).astype(np.uint8)


def change_tables(folder: Path, count: int) -> Path:
    """Write tables of two years: the later one lacks every tenth field."""
    import numpy as np
    import pyarrow.parquet as pq

    path = folder / f"years{count}"
    if not path.exists():
        early = table(folder, count)
        path.mkdir()
        (path / "2023.parquet").symlink_to(early)
        file = pq.ParquetFile(early)
        with pq.ParquetWriter(path / "2024.parquet", file.schema_arrow) as writer:
            for k in range(file.num_row_groups):
                rows = file.read_row_group(k)
                writer.write_table(rows.filter(np.arange(len(rows)) % 10 != 0))
    return path


def sparse_image(folder: Path, edge: int) -> Path:
    """Write an RGB image of 3 m of which only patches have data; the rest is not in the file."""
    import numpy as np
    import rasterio
    from affine import Affine
    from rasterio.windows import Window

    path = folder / f"sparse{edge}.tif"
    if path.exists():
        return path
    drawn = pattern(PATCH)
    noise = np.random.default_rng(5).integers(-12, 12, drawn.shape[1:])
    colours = np.array([(150, 120, 90), (90, 140, 70), (60, 70, 50)])
    image = np.clip(colours.T[:, drawn.argmax(0)] + noise, 1, 255).astype(np.uint8)
    profile = {
        "driver": "GTiff", "count": 3, "dtype": "uint8", "height": edge, "width": edge,
        "crs": "EPSG:32633", "transform": Affine(3, 0, 300_000, 0, -3, 5_700_000),
        "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "lzw", "nodata": 0,
        "photometric": "RGB", "sparse_ok": True,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        for top in range(0, edge - PATCH + 1, APART):
            for left in range(0, edge - PATCH + 1, APART):
                file.write(image, window=Window(left, top, PATCH, PATCH))
    return path


def orthomosaic(folder: Path, edge: int) -> Path:
    """Put plots of 100 x 100 px over every patch of the sparse image, as ``plots.geojson``."""
    image, path = sparse_image(folder, edge), folder / f"orthomosaic{edge}"
    if path.exists():
        return path
    path.mkdir()
    (path / "image.tif").symlink_to(image)
    shapes = []
    for top in range(0, edge - PATCH + 1, APART):
        for left in range(0, edge - PATCH + 1, APART):
            for down in range(50, PATCH - 150, 250):
                for right in range(50, PATCH - 150, 250):
                    west, north = 300_000 + 3 * (left + right), 5_700_000 - 3 * (top + down)
                    ring = [(0, 0), (300, 0), (300, -300), (0, -300), (0, 0)]
                    shapes.append([[west + x, north + y] for x, y in ring])
    features = [
        {"type": "Feature", "properties": {"plot": f"p{number}"},
         "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for number, ring in enumerate(shapes)
    ]  # fmt: skip
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    about = {"type": "FeatureCollection", "crs": crs, "features": features}
    (path / "plots.geojson").write_text(json.dumps(about))
    return path


def identified(folder: Path, edge: int) -> Path:
    """Write ids of fields twice, ``truth.tif`` and ``map.tif`` a little beside it: one field for
    each 440 px in patches that lie apart, nothing between them.
    """
    import numpy as np
    import rasterio
    from affine import Affine
    from rasterio.windows import Window
    from scipy import ndimage

    path = folder / f"identified{edge}"
    if path.exists():
        return path
    path.mkdir()
    own, count = ndimage.label(pattern(PATCH).argmax(0) == 1)
    profile = {
        "driver": "GTiff", "count": 1, "dtype": "uint32", "height": edge, "width": edge,
        "crs": "EPSG:32633", "transform": Affine(10, 0, 300_000, 0, -10, 5_700_000),
        "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "lzw", "nodata": 0,
        "sparse_ok": True,
    }  # fmt: skip
    for name, moved in (("truth", 0), ("map", 2)):
        with rasterio.open(path / f"{name}.tif", "w", **profile) as file:
            number = 0
            for top in range(0, edge - PATCH + 1, APART):
                for left in range(0, edge - PATCH + 1, APART):
                    ids = np.where(own, own + number, 0).astype(np.uint32)
                    window = Window(left, top, PATCH, PATCH)
                    file.write(np.roll(ids, moved, 1), 1, window=window)
                    number += count
    return path


def plan_area(folder: Path, count: int) -> Path:
    """Write an area of about so many squares of 4 km, and a probe."""
    from selion.country.probe import Probe, write_probe

    path = folder / f"area{count}"
    if not path.exists():
        path.mkdir()
        east, north = 2 + 8 * (count / 20_000) ** 0.5, 48 + 5 * (count / 20_000) ** 0.5
        ring = [[2, 48], [east, 48], [east, north], [2, north], [2, 48]]
        (path / "area.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
        probe = Probe(
            when="2026-11-21T00:00:00Z", machine="a processor", cores=2, engine="OpenVINO",
            model="fields-s2-2season", gpu=False, provider="earth-search", place=(12.0, 50.0),
            km2=25.0, startup=3.0, choosing=20.0, scenes=4.0,
            bytes_per_block={
                "red": 1.5e6, "green": 1.5e6, "blue": 1.5e6, "nir": 1.7e6, "scl": 1e5
            },
            megabytes_per_second=40.0, composing=60.0, km2_per_second=10.0, drawing=0.01,
            fields_per_km2=12.0, spread=(0.8, 1.0, 1.2),
        )  # fmt: skip
        write_probe(probe, path / "probe.json")
    return path


def planned_empty(folder: Path, count: int) -> Path:
    """Make a plan of about so many jobs, none of which has run."""
    area, path = plan_area(folder, count), folder / f"waiting{count}"
    if not path.exists():
        words = ("plan", str(area / "area.geojson"), "--probe-file", str(area / "probe.json"))
        more = ("--year", "2024", "--edge", "4", "--dates", *DATES, "-o", str(path), "--quiet")
        command.checked([sys.executable, "-m", "selion", *words, *more])
    return path


def planned(folder: Path, count: int) -> Path:
    """Make a plan of about so many jobs, each of which has a table of four fields."""
    import geopandas
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import shapely

    from selion import fields

    area, path = plan_area(folder, count), folder / f"plan{count}"
    if path.exists():
        return path
    words = ("plan", str(area / "area.geojson"), "--probe-file", str(area / "probe.json"))
    more = ("--year", "2024", "--edge", "4", "--dates", *DATES, "-o", str(path), "--quiet")
    command.checked([sys.executable, "-m", "selion", *words, *more])
    corner = np.array([[0.0, 0.0], [0.003, 0.0], [0.0, 0.003], [0.003, 0.003]])
    model, schema = path / "first.parquet", None
    for number, job in enumerate(sorted((path / "jobs").iterdir())):
        middle = shapely.from_geojson((job / "area.geojson").read_bytes()).centroid
        low = corner + shapely.get_coordinates(middle)
        shapes = shapely.box(*low.T, *(low + 0.0025).T)
        names = [f"f{number:06}{k}" for k in range(4)]
        if schema is None:
            area_m2, around = fields.measure(shapes, "OGC:CRS84")
            columns = {
                "id": names, "class": "field", "metrics:area": area_m2.astype("f4"),
                "metrics:perimeter": around.astype("f4"),
                "confidence": np.full(4, 0.7, "f4"),
            }  # fmt: skip
            frame = geopandas.GeoDataFrame(columns, geometry=shapes, crs="OGC:CRS84")
            fields.write_fields(frame, model)
            first = pq.read_table(model)
            schema = first.schema
            model.unlink()
        edges = np.concatenate([low, low + 0.0025], axis=1)
        box = pa.StructArray.from_arrays(
            [
                pa.array(edges[:, k]).cast(one.type)
                for k, one in enumerate(schema.field("bbox").type)
            ],
            fields=list(schema.field("bbox").type),
        )
        made = first.set_column(schema.get_field_index("id"), "id", pa.array(names))
        made = made.set_column(schema.get_field_index("bbox"), "bbox", box)
        wkb = pa.array(shapely.to_wkb(shapes).tolist(), pa.binary())
        made = made.set_column(schema.get_field_index("geometry"), "geometry", wkb)
        geo = json.loads(schema.metadata[b"geo"])
        geo["columns"]["geometry"]["bbox"] = [*edges[:, :2].min(0), *edges[:, 2:].max(0)]
        metadata = {**schema.metadata, b"geo": json.dumps(geo).encode()}
        pq.write_table(made.replace_schema_metadata(metadata), job / "fields.parquet")
    return path


def archive(folder: Path, edge: int) -> Path:
    """Write scenes of 10 m that a composite of so many pixels of 1 m along an edge is made of."""
    from selion.simulation.archive import ArchiveOptions, simulate_archive

    path = folder / f"archive{edge}"
    if not path.exists():
        options = ArchiveOptions(
            size_km=edge / 1000, tile_px=3300, n_dates=2, patch_px=1024, orbits=1, seed=3
        )
        simulate_archive(path, options)
    return path
