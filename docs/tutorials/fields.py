# %% [markdown]
# # Fields at scale
#
# From an area and a year to a table of fields, as in PRUE (arXiv 2603.27101): scenes are searched
# and chosen, composed to two cloud-free seasons, segmented window by window, and drawn as one
# seamless table.
#
# **On your own imagery** it runs where `IMAGE` names a GeoTIFF: two Sentinel-2 dates of red, green,
# blue and near infrared, or an aerial photograph; a few km2 of it are enough. Sentinel-2 of your
# own area comes with `selion map AREA --year 2024`, which also keeps the composite, or with `selion
# composite`; aerial photographs of the USA (NAIP, public domain) lie at the USDA's [Geospatial Data
# Gateway](https://datagateway.nrcs.usda.gov) and in the collection `naip` of open STAC catalogues.
# Without one, everything below runs on a simulated Sentinel-2 archive, so that the truth is known
# and no network is needed.

# %%
import os

IMAGE = os.environ.get("SELION_TUTORIAL_IMAGE", "")  # or: IMAGE = "my_image.tif"
TRUTH = os.environ.get("SELION_TUTORIAL_FIELDS", "")  # polygons of its fields, where there are some

# %% [markdown]
# Real imagery looks like this: two Sentinel-2 dates of the Inn valley, and an aerial photograph
# that no training saw, with the fields that the same lines find there.
#
# ![Fields that selion drew on two Sentinel-2 dates of the Inn valley](../pictures/inn_fields.webp)
#
# <small>Contains modified Copernicus Sentinel data; the pair comes from Fields of the
# World.</small>
#
# ![An aerial image, outlines, and fields by confidence](../pictures/mapping.webp)
#
# <small>Imagery: NAIP (USDA, public domain).</small>

# %%
import json
import tempfile
from importlib.util import find_spec
from pathlib import Path

import selion
from selion.pipeline.areas import AreaOptions
from selion.pipeline.demo import write_outlines
from selion.simulation.archive import simulate_archive

work = Path(tempfile.mkdtemp())
if IMAGE:
    place, asked = IMAGE, {}
else:
    archive = simulate_archive(
        work / "archive",
        seed=3,
        centre=(13.0, 50.0),
        size_km=(1.5, 1.5),
        n_dates=3,
        clouds=(0.1, 0.3),
        draw=write_outlines,
    )
    place = dict(archive.area)  # GeoJSON; a file of polygons or (west, south, east, north) do, too
    asked = {"year": 2024, "area_options": AreaOptions(provider=str(archive.catalogue))}

# %% [markdown]
# ## The composite
#
# `selion.composite` asks the catalogue, looks at coarse cloud masks before it reads a single band,
# and writes the median of what is clear. What no scene shows is a mask, not a zero. (With
# `provider="earth-search"`, the default, the same line composes a real place; an image of your own
# needs none.)

# %%
image = IMAGE or work / "pair.zarr"
if not IMAGE:
    selion.composite(place, image, **asked)
selion.open_raster(image)

# %% [markdown]
# ## Probabilities
#
# First a look at the image, as `selion look` takes one: which bands it has, what its numbers are,
# and which model fits. The model brings its scaling, its bands and its ground sampling distance
# with it. Windows overlap and are blended on one lattice, so the size of a block decides memory and
# never the result.

# %%
from selion.pipeline.maps import MapOptions, prepare

job = prepare(image, None, MapOptions())
print(*job.notes, sep="\n")

# %%
model = job.model
probabilities = selion.predict(job.source, model)
probabilities

# %% [markdown]
# ## Objects and outlines
#
# Objects are chosen: of all that neighbouring basins can be joined to, those that the learnt score
# of the model takes for one field, the same over every block's edge. Outlines share their corners,
# so that neighbours stay neighbours after simplification.

# %%
instances = selion.find_instances(probabilities, model)
instances

# %%
fields = selion.to_fields(instances)
fields[["metrics:area", "metrics:perimeter", "confidence"]].describe().round(2)

# %% [markdown]
# A table of fields is a GeoDataFrame, so geopandas' own map shows it, where folium, matplotlib and
# mapclassify are installed:

# %%
fields.explore("confidence", tiles=None) if find_spec("folium") else "no folium here"

# %% [markdown]
# What is in memory is taken as it is: arrays of numpy (with `selion.as_raster`, which gives them a
# place) and of xarray, as rioxarray and odc-stac open them. `selion.map_fields(array)` without the
# name of a file returns the table and writes nothing, and areas may be a GeoDataFrame.

# %%
import xarray

from selion.grid import whole

source = selion.open_raster(image)
array = xarray.DataArray.from_dict(selion.to_dict(source.read(whole(source.grid))))
array.sizes

# %%
in_memory = selion.map_fields(array)  # 'predict', 'objects' and 'outlines' have a bar each
in_memory.crs.name, len(in_memory)

# %% [markdown]
# With `pip install 'selion[notebook]'` and `from selion.reports.notebook import show_fields`,
# `show_fields(fields)` is a map that can be moved and asked.
#
# ## In one call
#
# The same, with everything resumable beside the output: killed and called again, it goes on and
# gives the identical file.

# %%
mapped = selion.map_fields(place, work / "fields.parquet", **asked)
len(mapped)

# %% [markdown]
# ## How good is it?
#
# The simulation knows its truth; of your own image it is what `TRUTH` names. Here a map is compared
# with polygons, within the area that was mapped; given a model and a folder of images with truth,
# `selion.evaluate` also puts answers beside it that have not even seen the image, because a score
# without a baseline says little.

# %%
from selion.evaluation import evaluate_files
from selion.fields import read_fields, write_fields

drawn = TRUTH if IMAGE else archive.truth.fields
report = "No polygons were named to compare with."
if drawn:
    seen = source.grid.geographic_extent.json if IMAGE else place
    (work / "area.geojson").write_text(json.dumps(seen))
    truth = write_fields(read_fields(drawn), work / "truth.gpkg")
    found = write_fields(mapped, work / "found.gpkg")
    report = evaluate_files([found], truth, reproject=True, extent=work / "area.geojson")
report

# %%
if not IMAGE:
    scores = report.runs[0].values
    assert scores["object_f1"] > 0.3, scores["object_f1"]
    assert scores["pixel_iou"] > 0.6, scores["pixel_iou"]
