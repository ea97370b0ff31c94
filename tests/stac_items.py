"""Items of Sentinel-2 L2A as the three known catalogues write them (names of assets and properties
from real items of each).
"""

from datetime import datetime, timedelta

BANDS = ("red", "green", "blue", "nir", "scl")
NUMBERS = {"red": "B04", "green": "B03", "blue": "B02", "nir": "B08", "scl": "SCL"}


def square(west, south, east, north):
    return {
        "type": "Polygon",
        "coordinates": [
            [[west, south], [east, south], [east, north], [west, north], [west, south]]
        ],
    }


def item(
    tile="33UUP", time="2024-05-01T10:00:31Z", *, box=(12.0, 48.0, 13.0, 49.0), cloud=5.0,
    baseline="05.10", platform="a", number=0, style="earth-search", hrefs=None, collection=None,
    made="2024-06-01T00:00:00Z", **more
):  # fmt: skip
    """Return a STAC item; ``hrefs`` are the addresses of the five assets, by default
    ``<id>/<band>.tif``; ``more`` are properties.
    """
    moment = datetime.fromisoformat(time)
    day, stamp = f"{moment:%Y%m%d}", f"{moment:%Y%m%dT%H%M%S}"
    product = (
        f"S2{platform.upper()}_MSIL2A_{stamp}_N{baseline.replace('.', '')}_R022_T{tile}_"
        f"{moment + timedelta(hours=5):%Y%m%dT%H%M%S}"
    )
    name = {
        "earth-search": f"S2{platform.upper()}_{tile}_{day}_{number}_L2A",
        "c1": f"S2{platform.upper()}_T{tile}_{stamp}_L2A",
    }.get(style, product)
    west, south, east, north = box
    said = {
        "datetime": time,
        "eo:cloud_cover": cloud,
        "platform": f"sentinel-2{platform}",
        **STYLES[style](tile, baseline, product, made),
        **more,
    }
    assets = {
        ASSETS[style](band): {
            "href": (hrefs or {}).get(band, f"{name}/{band}.tif"),
            **RADIOMETRY[style](band, baseline),
        }
        for band in BANDS
    }
    home = {"c1": "sentinel-2-c1-l2a"}.get(style, "sentinel-2-l2a")
    about = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": collection or home,
        "links": [],
    }
    return {
        **about,
        "bbox": [west, south, east, north],
        "geometry": square(*box),
        "properties": said,
        "assets": assets,
    }


def _earth_search(tile, baseline, product, made):
    said = {
        "grid:code": f"MGRS-{tile.lstrip('0')}",
        "s2:processing_baseline": baseline,
        "s2:product_uri": f"{product}.SAFE",
        "s2:generation_time": made,
    }
    return {**said, "earthsearch:boa_offset_applied": baseline >= "04.00"}


def _collection_one(tile, baseline, product, made):
    return {
        "grid:code": f"MGRS-{tile}",
        "s2:processing_baseline": baseline,
        "s2:product_uri": f"{product}.SAFE",
        "s2:generation_time": made,
    }


def _planetary(tile, baseline, product, made):
    said = {
        "s2:mgrs_tile": tile,
        "s2:processing_baseline": baseline,
        "s2:product_uri": f"{product}.SAFE",
        "s2:generation_time": made,
    }
    return {**said, "sat:relative_orbit": 22}


def _cdse(tile, baseline, _product, made):
    return {
        "grid:code": f"MGRS-{tile}",
        "processing:version": baseline,
        "processing:datetime": made,
        "sat:relative_orbit": 22,
    }


STYLES = {
    "earth-search": _earth_search,
    "c1": _collection_one,
    "planetary-computer": _planetary,
    "cdse": _cdse,
}
ASSETS = {
    "earth-search": lambda band: band,
    "c1": lambda band: band,
    "planetary-computer": NUMBERS.get,
    "cdse": lambda band: f"{NUMBERS[band]}_{20 if band == 'scl' else 10}m",
}


def _declared(band, baseline):
    return (
        {}
        if band == "scl"
        else {
            "raster:bands": [
                {
                    "nodata": 0,
                    "data_type": "uint16",
                    "scale": 0.0001,
                    "offset": -0.1 if baseline >= "04.00" else 0,
                }
            ]
        }
    )


RADIOMETRY = {
    "earth-search": _declared,
    "c1": _declared,
    "planetary-computer": lambda _band, _baseline: {},
    "cdse": lambda band, baseline: (
        {}
        if band == "scl"
        else {"raster:scale": 0.0001, "raster:offset": -0.1 if baseline >= "04.00" else 0}
    ),
}
