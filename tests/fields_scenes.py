"""Small scenes of fields for the tests of the room."""

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy import ndimage

from selion.labels import Instances, class_labels
from selion.raster import Raster

UTM = Affine(10, 0, 500_000, 0, -10, 5_300_000)


def instances(ids):
    return Instances(np.asarray(ids, np.int32), GeoBox(np.shape(ids), UTM, "EPSG:32632"))


def blobs(size=90, cell=9, seed=0, ragged=0.8):
    """Voronoi cells with ragged edges; every fifth is nothing."""
    rng = np.random.default_rng(seed)
    n = size // cell + 2
    y, x = (np.mgrid[:n, :n] - 0.5 + rng.random((2, n, n))) * cell
    v, u = np.mgrid[:size, :size] + rng.normal(0, ragged, (2, size, size))
    near = np.argmin((v[..., None] - y.ravel()) ** 2 + (u[..., None] - x.ravel()) ** 2, axis=-1)
    return np.where(near % 5 == 0, 0, near).astype(np.int32)


def raster(values, crs="EPSG:32632", transform=UTM, valid=None):
    values = np.asarray(values)
    return Raster(
        values, GeoBox(values.shape[1:], transform, crs), tuple("abcdefgh"[: len(values)]), valid
    )


def soft(ids, seed=0, noise=0.6):
    """Probabilities of a network that is not sure: blurred classes times smooth noise."""
    rng = np.random.default_rng(seed)
    labels = class_labels(Instances(ids, GeoBox(ids.shape, UTM, "EPSG:32632"))).ids
    p = np.stack([ndimage.gaussian_filter((labels == k).astype(np.float32), 1) for k in range(3)])
    p = np.log(p + 0.02) + noise * ndimage.gaussian_filter(rng.normal(0, 3, p.shape), (0, 1.5, 1.5))
    p = np.exp(p)
    return (p / p.sum(axis=0)).astype(np.float32)
