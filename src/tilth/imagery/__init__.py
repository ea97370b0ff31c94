"""From an area and a year to cloud-free seasonal composites: search, season, radiometry, clouds, choice, median, mosaic.

The only home of STAC.  Rasters are read and written through :mod:`tilth.store`.
"""
