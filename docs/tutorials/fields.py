# %% [markdown]
# # Fields at scale
#
# From an area and a year to a table of fields, as in PRUE (arXiv 2603.27101): scenes are searched
# and chosen, composed to two cloud-free seasons, segmented window by window, and drawn as one
# seamless table. Everything here runs on a simulated Sentinel-2 archive, so that the truth is known
# and no network is needed; with `provider="earth-search"`, the default, the same lines map a real
# place.

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
archive = simulate_archive(
    work / "archive",
    seed=3,
    centre=(13.0, 50.0),
    size_km=(1.5, 1.5),
    n_dates=3,
    clouds=(0.1, 0.3),
    draw=write_outlines,
)
area = dict(archive.area)  # GeoJSON: a file of polygons or (west, south, east, north) do as well

# %% [markdown]
# ## The composite
#
# `selion.composite` asks the catalogue, looks at coarse cloud masks before it reads a single band,
# and writes the median of what is clear. What no scene shows is a mask, not a zero.

# %%
options = AreaOptions(provider=str(archive.catalogue))
image = selion.composite(area, work / "pair.zarr", year=2024, area_options=options)
image

# %% [markdown]
# ## Probabilities
#
# The model brings its scaling, its bands and its ground sampling distance with it. Windows overlap
# and are blended on one lattice, so the size of a block decides memory and never the result.

# %%
model = selion.load_model("fields-s2-2season")
probabilities = selion.predict(image, model)
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

array = xarray.DataArray.from_dict(selion.to_dict(image.read(whole(image.grid))))
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
mapped = selion.map_fields(area, work / "fields.parquet", year=2024, area_options=options)
len(mapped)

# %% [markdown]
# ## How good is it?
#
# The simulation knows its truth. Here a map is compared with polygons, within the area that was
# mapped; given a model and a folder of images with truth, `selion.evaluate` also puts answers
# beside it that have not even seen the image, because a score without a baseline says little.

# %%
from selion.evaluation import evaluate_files
from selion.fields import read_fields, write_fields

truth = write_fields(read_fields(archive.truth.fields), work / "truth.gpkg")
found = write_fields(mapped, work / "found.gpkg")
(work / "area.geojson").write_text(json.dumps(area))
report = evaluate_files([found], truth, reproject=True, extent=work / "area.geojson")
report

# %%
scores = report.runs[0].values
assert scores["object_f1"] > 0.3, scores["object_f1"]
assert scores["pixel_iou"] > 0.6, scores["pixel_iou"]
