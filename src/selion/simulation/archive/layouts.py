"""STAC items as the providers write them.

Their ids, their names of assets and properties, their word on the offset.

Read from items of each (Earth Search v1, November 2026 and earlier; Planetary Computer as
stactools-sentinel2 makes them; CDSE's STAC 1.1), and from Element84/earth-search issues 41, 66 and
71, microsoft/PlanetaryComputer issue 134, Open-EO/openeo-geopyspark-driver issue 1051.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from selion.errors import UnknownName
from selion.simulation.archive.nouns import BANDS
from selion.simulation.archive.passes import Handling, Pass, parse_baseline
from selion.simulation.archive.tiling import Tile

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
NUMBERS = {"red": "B04", "green": "B03", "blue": "B02", "nir": "B08", "scl": "SCL"}
TITLES = {
    "red": "Red (band 4)",
    "green": "Green (band 3)",
    "blue": "Blue (band 2)",
    "nir": "NIR 1 (band 8)",
    "scl": "Scene classification map (SCL)",
}
WAVES = {
    "red": (0.665, 0.038),
    "green": (0.56, 0.045),
    "blue": (0.49, 0.098),
    "nir": (0.842, 0.145),
}
"""Centre and full width at half maximum, micrometres."""
SHARES = (
    "nodata_pixel",
    "saturated_defective_pixel",
    "dark_features",
    "cloud_shadow",
    "vegetation",
    "not_vegetated",
    "water",
    "unclassified",
    "medium_proba_clouds",
    "high_proba_clouds",
    "thin_cirrus",
    "snow_ice",
)
"""Names of the twelve classes in the properties."""


@dataclass(frozen=True, eq=False, slots=True)
class Shot:
    """One pass over one tile: what there is to tell of it."""

    tile: Tile
    taken: Pass
    shares: np.ndarray
    """(12,) percent of the tile's pixels by class; all but the first of those that were seen."""

    @property
    def cloud(self) -> float:
        """Percent of what was seen."""
        return round(float(self.shares[[8, 9, 10]].sum()), 6)

    @property
    def compact(self) -> str:
        """Sensing start as the products' names have it."""
        return f"{self.taken.moment:%Y%m%dT%H%M%S}"

    @property
    def made(self) -> str:
        """When it was processed, likewise."""
        return (
            f"{self.taken.moment + timedelta(hours=5, seconds=self.tile.epsg % 60):%Y%m%dT%H%M%S}"
        )

    @property
    def craft(self) -> str:
        """``S2A``."""
        return f"S2{self.taken.platform[-1].upper()}"

    @property
    def baseline_code(self) -> str:
        """``N0511``."""
        major, minor = parse_baseline(self.taken.baseline)
        return f"N{major:02}{minor:02}"

    @property
    def product(self) -> str:
        """The SAFE product's name without its ending."""
        return (
            f"{self.craft}_MSIL2A_{self.compact}_{self.baseline_code}_R{self.taken.orbit:03}_T"
            f"{self.tile.name}_{self.made}"
        )


Properties = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a provider writes an item."""

    collection: str
    stac_version: str
    extensions: tuple[str, ...]
    assets: Mapping[str, str]
    """Our band -> its asset."""
    block: int
    """Tile size of its COGs."""
    handling: Handling
    name: Callable[[Shot], str]
    """Id of an item."""
    properties: Callable[[Shot], Properties]
    asset: Callable[[str, GeoBox, Pass], Properties]
    """What an asset says besides its href."""


def _mgrs(tile: Tile) -> Properties:
    return {
        "mgrs:utm_zone": int(tile.name[:2]),
        "mgrs:latitude_band": tile.name[2],
        "mgrs:grid_square": tile.name[3:],
        "grid:code": f"MGRS-{tile.name.lstrip('0')}",
    }


def _s2(shot: Shot) -> Properties:
    """Return what stactools-sentinel2 takes from the product's metadata."""
    taken, now = shot.taken, f"{shot.taken.moment:%Y-%m-%dT%H:%M:%S}.024000Z"
    return {
        "datetime": now,
        "platform": taken.platform,
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": shot.cloud,
        "proj:epsg": shot.tile.epsg,
        **_mgrs(shot.tile),
        "view:sun_azimuth": taken.sun[0],
        "view:sun_elevation": taken.sun[1],
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": taken.baseline,
        "s2:product_uri": f"{shot.product}.SAFE",
        "s2:datatake_id": f"G{shot.craft}_{shot.compact}_0{taken.orbit:05}_N{taken.baseline}",
        "s2:degraded_msi_data_percentage": 0,
        **{
            f"s2:{name}_percentage": round(float(share), 6)
            for name, share in zip(SHARES, shot.shares, strict=True)
        },
    }


def _earth_search(shot: Shot) -> Properties:
    flag = {"earthsearch:boa_offset_applied": shot.taken.applied, "s2:sequence": "0"}
    return {
        **_s2(shot),
        **flag,
        "processing:software": {"sentinel2-to-stac": "0.1.1"},
        "created": _created(shot),
        "updated": _created(shot),
    }


def _collection_1(shot: Shot) -> Properties:
    return {
        **_s2(shot),
        "s2:tile_id": f"T{shot.tile.name}",
        "processing:software": {"sentinel-2-c1-l2a-to-stac": "v2024.02.01"},
        "created": _created(shot),
    }


def _planetary_computer(shot: Shot) -> Properties:
    said = {
        key: value
        for key, value in _s2(shot).items()
        if not key.startswith(("mgrs:", "grid:", "view:"))
    }
    sun = {
        "s2:mean_solar_zenith": 90 - shot.taken.sun[1],
        "s2:mean_solar_azimuth": shot.taken.sun[0],
    }
    return {
        **said,
        **sun,
        "s2:mgrs_tile": shot.tile.name,
        "sat:orbit_state": "descending",
        "sat:relative_orbit": shot.taken.orbit,
    }


def _cdse(shot: Shot) -> Properties:
    taken, now = shot.taken, f"{shot.taken.moment:%Y-%m-%dT%H:%M:%S}.024000Z"
    return {
        "datetime": now,
        "start_datetime": now,
        "end_datetime": now,
        "created": _created(shot),
        "platform": taken.platform,
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "gsd": 10,
        "eo:cloud_cover": round(shot.cloud, 2),
        "eo:snow_cover": round(float(shot.shares[11]), 2),
        "grid:code": f"MGRS-{shot.tile.name}",
        "product:type": "S2MSI2A",
        "processing:level": "L2",
        "processing:version": taken.baseline,
        "processing:facility": "ESA",
        "sat:orbit_state": "descending",
        "sat:relative_orbit": taken.orbit,
        "eopf:datatake_id": f"G{shot.craft}_{shot.compact}_0{taken.orbit:05}_N{taken.baseline}",
        "eopf:instrument_mode": "INS-NOBS",
        "view:sun_azimuth": taken.sun[0],
        "view:sun_elevation": taken.sun[1],
        "statistics": {
            name: round(float(share), 6) for name, share in zip(SHARES, shot.shares, strict=True)
        },
    }


def _created(shot: Shot) -> str:
    return f"{shot.taken.moment + timedelta(hours=9):%Y-%m-%dT%H:%M:%S}.000Z"


def _where(grid: GeoBox) -> Properties:
    return {
        "proj:shape": list(grid.shape),
        "proj:transform": [float(v) for v in grid.transform[:6]],
    }


def _eo_band(band: str, name: str) -> Properties:
    centre, width = WAVES[band]
    return {
        "name": name,
        "common_name": band,
        "description": TITLES[band],
        "center_wavelength": centre,
        "full_width_half_max": width,
    }


def _element84_asset(band: str, grid: GeoBox, taken: Pass) -> Properties:
    gsd = grid.transform.a
    said = {"title": TITLES[band], "type": COG, **_where(grid), "roles": ["data", "reflectance"]}
    if band == "scl":
        return {
            **said,
            "raster:bands": [{"nodata": 0, "data_type": "uint8", "spatial_resolution": gsd}],
        }
    raster = {
        "nodata": 0,
        "data_type": "uint16",
        "bits_per_sample": 15,
        "spatial_resolution": gsd,
        "scale": 0.0001,
        "offset": taken.declared,
    }
    return {
        **said,
        "title": f"{TITLES[band]} - {gsd:.0f}m",
        "gsd": gsd,
        "eo:bands": [_eo_band(band, band)],
        "raster:bands": [raster],
    }


def _microsoft_asset(band: str, grid: GeoBox, _taken: Pass) -> Properties:
    gsd, box = grid.transform.a, grid.boundingbox
    said = {
        "type": COG,
        "roles": ["data"],
        "gsd": gsd,
        "proj:bbox": [float(v) for v in (box.left, box.bottom, box.right, box.top)],
        **_where(grid),
    }
    if band == "scl":
        return {**said, "title": TITLES[band]}
    return {
        **said,
        "title": f"{TITLES[band]} - {gsd:.0f}m",
        "eo:bands": [_eo_band(band, NUMBERS[band])],
    }


def _cdse_asset(band: str, grid: GeoBox, taken: Pass) -> Properties:
    gsd = grid.transform.a
    said = {
        "type": COG,
        "title": f"{TITLES[band]} - {gsd:.0f}m",
        "gsd": gsd,
        "nodata": 0,
        "proj:code": str(grid.crs),
        **_where(grid),
    }
    if band == "scl":
        return {**said, "data_type": "uint8", "roles": ["data"]}
    centre, width = WAVES[band]
    one = {
        "name": NUMBERS[band],
        "eo:common_name": band,
        "eo:center_wavelength": centre,
        "eo:full_width_half_max": width,
    }
    radiometry = {"data_type": "uint16", "raster:scale": 0.0001, "raster:offset": taken.declared}
    return {
        **said,
        **radiometry,
        "bands": [one],
        "roles": ["data", "reflectance", f"gsd:{gsd:.0f}m"],
    }


def _schema(*names: str) -> tuple[str, ...]:
    return tuple(f"https://stac-extensions.github.io/{name}/schema.json" for name in names)


_PLAIN = {band: band for band in (*BANDS, "scl")}
_OLD = _schema(
    "eo/v1.0.0",
    "projection/v1.0.0",
    "raster/v1.1.0",
    "mgrs/v1.0.0",
    "grid/v1.0.0",
    "view/v1.0.0",
    "processing/v1.1.0",
)

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "earth-search": Layout(
            "sentinel-2-l2a",
            "1.0.0",
            _OLD,
            _PLAIN,
            1024,
            Handling(flagged=True, declares=True),
            lambda shot: f"{shot.craft}_{shot.tile.name.lstrip('0')}_{shot.compact[:8]}_0_L2A",
            _earth_search,
            _element84_asset,
        ),
        "earth-search-c1": Layout(
            "sentinel-2-c1-l2a",
            "1.0.0",
            _OLD,
            _PLAIN,
            1024,
            Handling(flagged=False, declares=True),
            lambda shot: f"{shot.craft}_T{shot.tile.name}_{shot.compact}_L2A",
            _collection_1,
            _element84_asset,
        ),
        "planetary-computer": Layout(
            "sentinel-2-l2a",
            "1.0.0",
            _schema("eo/v1.0.0", "sat/v1.0.0", "projection/v1.0.0"),
            NUMBERS,
            512,
            Handling(flagged=False, declares=False),
            lambda shot: (
                f"{shot.craft}_MSIL2A_{shot.compact}_R{shot.taken.orbit:03}_T{shot.tile.name}_"
                f"{shot.made}"
            ),
            _planetary_computer,
            _microsoft_asset,
        ),
        "cdse": Layout(
            "sentinel-2-l2a",
            "1.1.0",
            _schema(
                "eo/v2.0.0",
                "sat/v1.1.0",
                "projection/v2.0.0",
                "raster/v2.0.0",
                "grid/v1.1.0",
                "view/v1.0.0",
                "processing/v1.2.0",
            ),
            {band: f"{number}_{20 if band == 'scl' else 10}m" for band, number in NUMBERS.items()},
            1024,
            Handling(flagged=False, declares=True),
            lambda shot: shot.product,
            _cdse,
            _cdse_asset,
        ),
    }
)
"""``earth-search`` and ``earth-search-c1`` are the two collections of Earth Search; CDSE's real
files are JPEG 2000, ours are COGs."""


def layout_of(name: str) -> Layout:
    """Return a layout.

    Raises
    ------
    UnknownName
        If there is none of that name.
    """
    if name not in LAYOUTS:
        raise UnknownName.among("layout", name, LAYOUTS)
    return LAYOUTS[name]
