"""What a raster's file points to, and whether it may.

A VRT, an index of tiles or a service's description is a text that names other data, and GDAL goes
wherever it says: to any file of this machine, and to any server.  A file that does so has to say it
by its ending, and is looked through before it is opened:

* one of this machine may name rasters of this machine and addresses of servers,
* one of a server may name what lies on that server, and nothing else,
* nobody may name raw bytes (``VRTRawRasterBand``), code, or GDAL's other places (``/vsi...``).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree as ET

from selion.errors import SelionError, UnreadableFile
from selion.store.hdf_pointers import check_hdf
from selion.store.markup import parsed_xml
from selion.store.urls import SCHEMES, plain_name, remote_scheme, shown
from selion.store.vector_pointers import check_driver, check_table_file

VRT, INDEX = (".vrt",), (".gti", ".gti.gpkg", ".gti.fgb")
"""Endings of files that may name others."""
DRIVERS = frozenset({
    "GTiff", "COG", "LIBERTIFF", "SNAP_TIFF", "JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID", "JPEG",
    "PNG", "WEBP", "BMP", "GIF", "BIGGIF", "HFA", "ENVI", "EHdr", "AAIGrid", "GRASSASCIIGrid",
    "SRTMHGT", "DTED", "netCDF", "HDF5", "HDF5Image", "GRIB",
})  # fmt: skip
"""Of GDAL: those that read pixels from the file itself and what lies beside it."""
INNER = ("/vsizip/{", "/vsitar/{")
"""How the names of rasters in an archive begin: only a product gives them."""
INNER_DRIVERS = ("JP2OpenJPEG", "GTiff")
REMOTE_DRIVERS = ("GTiff", "JP2OpenJPEG", "PNG", "JPEG", "WEBP")
"""Tried one after the other with an address, whose first bytes nobody has seen."""
MAGIC = (
    b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP", b"\xffO\xffQ", b"\x89PNG",
    b"\xff\xd8\xff", b"RIFF", b"BM", b"GIF8", b"EHFA_HEADER_TAG", b"\x89HDF", b"CDF\1", b"CDF\2",
    b"CDF\5",
)  # fmt: skip
"""How rasters begin that a VRT may name."""
LARGEST = 64 * 2**20
"""Bytes of a VRT."""
DEEPEST = 4
"""VRTs within VRTs."""
_VARIABLE = re.compile(r'NETCDF:("?)([^":]+)\1:\w+')
"""A variable of a netCDF file, as GDAL names it."""
_NAMES = frozenset(
    ("sourcefilename", "sourcedataset", "dataset", "indexdataset", "dempath", "filename")
)
_CODE = frozenset(("pixelfunctioncode", "sql", "algorithm"))
_SAID = frozenset(("subclass", "relativetovrt"))
"""Written as attributes; GDAL takes an attribute for an element within, and the other way round."""
_HEAD = 1024
"""Bytes at the beginning of a file by which GDAL knows what it is."""
_TELLTALE = re.compile(
    rb"<(vrtdataset|gdal_wms|wms_|wmts|ogr|gdaltileindexdataset|tileindex|metadata_)", re.IGNORECASE
)
_BESIDE = (".ovr", ".msk", ".OVR", ".MSK")
"""Endings, behind the name of a raster, of files that GDAL opens with whatever fits them."""
_HEIGHTS = re.compile(r"[ns]\d\d[ew]\d{3}.*\.hgt", re.IGNORECASE)
"""Names of elevation tiles, which have no head."""


POLYGONS = (".geojson", ".json")
"""Endings of texts that hold outlines."""


def drivers_of(path: str) -> tuple[str | None, ...]:
    """Return GDAL's drivers that may open a raster, to be tried one after the other.

    Parameters
    ----------
    path : str
        A file, or an address.

    Returns
    -------
    tuple of str or None
        None leaves the choice to GDAL; look with :func:`check_opened` what it chose.

    Raises
    ------
    UnreadableFile
        If it names other data without saying so by its ending, or data that it may not name.
    FetchFailed
        If a server fails.
    """
    name = shown(path).lower()
    if name.endswith(VRT):
        _check_vrt(path, 0)
        return ("VRT",)
    if name.endswith(INDEX):
        _check_index(path)
        return ("GTI",)
    if path.startswith(INNER):
        return INNER_DRIVERS
    if remote_scheme(path) is not None:
        return REMOTE_DRIVERS
    if name.endswith(POLYGONS) and b'"Feature' in _head(_file_of(path)):
        raise UnreadableFile(
            f"{path} holds outlines and is no image: give the image here, and outlines where "
            "polygons are asked for."
        )
    if _names_others(_head(_file_of(path))):
        raise UnreadableFile(
            f"{path} is a text that names other data, not an image: if it is a VRT that you trust, "
            "give it the ending .vrt; otherwise give the image itself."
        )
    check_hdf(_file_of(path), path)
    for ending in _BESIDE:
        beside = Path(f"{path}{ending}")
        if beside.is_file() and _names_others(_head(beside)):
            raise UnreadableFile(
                f"{beside} is a text that names other data, and GDAL would follow it when it reads "
                f"{path}: remove it."
            )
    return (None,)


def is_list(path: str) -> bool:
    """Say whether a raster is a file that may name others."""
    return shown(path).lower().endswith(VRT + INDEX)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _names_others(head: bytes) -> bool:
    """Say whether a file that begins so is a text that names other data.

    GDAL looks for its marks anywhere in the head.  A first byte of ``<``, ``{`` or ``[`` alone can
    be that of a pixel: then not all of them are characters.
    """
    if _TELLTALE.search(head):
        return True
    text = head.removeprefix(b"\xef\xbb\xbf")
    begins = text.lstrip()[:1] in (b"<", b"{", b"[")
    return begins and all(byte >= 32 or byte in b"\t\n\r\f" for byte in text)


def _file_of(path: str) -> Path:
    """Return the local file of a raster; of a variable of a netCDF file, that file."""
    inner = _VARIABLE.fullmatch(path)
    return Path(inner[2] if inner else path)


def check_opened(dataset: Any, path: str) -> None:
    """Refuse (UnreadableFile) what GDAL opened with a driver that follows names."""
    if dataset.driver not in DRIVERS and not (is_list(path) and dataset.driver in {"VRT", "GTI"}):
        raise UnreadableFile(
            f"{shown(path)} is of a format that is not read ({dataset.driver}): convert it to "
            "GeoTIFF."
        )
    check_overviews(dataset, shown(path))
    if remote_scheme(path) is None and dataset.driver in DRIVERS:
        _stay_beside(path, dataset.files)


def check_overviews(dataset: Any, name: str) -> None:
    """Refuse (UnreadableFile) a raster that says that its overviews are elsewhere.

    To be called before GDAL is asked for them, or for the files of the raster.
    """
    for place in dataset.tags(ns="OVERVIEWS").values():
        if not re.fullmatch(r":::BASE:::[^/\\:]+", place):
            raise UnreadableFile(
                f"{name} says that its overviews are in {shown(place)[:120]}, which does not lie "
                "beside it: write it anew with gdal_translate."
            )


def _stay_beside(path: str, files: Iterable[str]) -> None:
    if path.startswith(INNER):
        archive = path[: path.rindex("}/") + 2]
        for name in files:
            if not name.startswith(archive):
                raise UnreadableFile(f"{path} wants to read {shown(name)} too: unpack it first.")
        return
    home = _file_of(path).absolute().parent
    for name in files:
        if name.startswith("/vsi") or Path(os.path.normpath(Path(name).absolute())).parent != Path(
            os.path.normpath(home)
        ):
            raise UnreadableFile(
                f"{path} wants to read {shown(name)} too, which does not lie beside it: copy it "
                "there, or convert the image to a GeoTIFF that is whole."
            )


def _check_vrt(path: str, depth: int) -> None:
    root = _parsed(path)
    if _plain(root.tag) != "vrtdataset":
        raise UnreadableFile(f"{shown(path)} is no VRT ({root.tag[:40]}): make it anew.")
    _check_writing(root, path)
    for parent, element in _elements(root):
        if any(value.lower() == "vrtrawrasterband" for value in element.attrib.values()):
            raise UnreadableFile(
                f"{shown(path)} has a band of raw bytes, which could be those of any file: convert "
                "it to GeoTIFF with the program that made it."
            )
        if _plain(element.tag) in _CODE and parent != "pansharpeningoptions":
            raise UnreadableFile(
                f"{shown(path)} holds code ({element.tag}), which is not run: convert it to "
                "GeoTIFF with the program that made it."
            )
    far = [
        address
        for name, relative in _named(root)
        if (address := _check_name(name, relative, path, depth))
    ]
    with ThreadPoolExecutor(16) as pool:
        for address, head in zip(far, pool.map(_head_of, far), strict=True):
            if _names_others(head):
                raise _not_allowed(address, path)


def _check_writing(root: ET.Element, path: str) -> None:
    """Refuse elements written as attributes, and the other way round, where they point or run."""
    for element in root.iter():
        odd = {_plain(key) for key in element.attrib} & (_NAMES | _CODE)
        if odd or _plain(element.tag) in _SAID:
            name = min(odd, default=element.tag)[:40]
            raise UnreadableFile(
                f"{shown(path)} has {name} where no program writes it, and could hide another "
                "file: make it anew with gdalbuildvrt or gdaltindex."
            )


def _plain(name: str) -> str:
    """Return the name of an element or attribute as GDAL compares it."""
    return name.rpartition("}")[2].lower()


def _elements(root: ET.Element) -> Iterator[tuple[str, ET.Element]]:
    """Yield the plain name of the parent, and the element."""
    yield "", root
    for parent in root.iter():
        for element in parent:
            yield _plain(parent.tag), element


def _named(root: ET.Element) -> Iterator[tuple[str, bool]]:
    for element in root.iter():
        said = {_plain(key): value for key, value in element.attrib.items()}
        tag, text = _plain(element.tag), (element.text or "").strip()
        points = tag in _NAMES or (
            tag == "mdi" and said.get("key", "").lower().endswith("_dataset")
        )
        if points and text:
            yield text, said.get("relativetovrt") == "1"


def _head_of(address: str) -> bytes:
    """Return the first bytes of a remote file; none if it cannot be read, as GDAL will say."""
    from selion.store.address import locate, open_bytes

    try:
        with open_bytes(locate(address)) as file:
            return bytes(file.read(_HEAD))
    except (SelionError, OSError):
        return b""


def _parsed(path: str) -> ET.Element:
    return parsed_xml(_text(path), shown(path))


def _text(path: str) -> bytes:
    from selion.store.address import locate, open_bytes, place_state

    place = locate(path)
    size, _ = place_state(place)
    if size > LARGEST:
        raise UnreadableFile(
            f"{shown(path)} has {size:,} bytes, too many for a text that names rasters: give the "
            "rasters themselves, or an index of tiles (.gti.gpkg)."
        )
    with open_bytes(place) as file:
        return bytes(file.read())


def _check_name(name: str, relative: bool, within: str, depth: int) -> str | None:
    """Refuse a name that a file must not have in it.

    Return an address whose content is still to be looked at, None if there is none.
    """
    if _names_vsicurl_options(name):
        if remote_scheme(within) is not None:
            raise _not_allowed(name, within)
        return None
    plain = plain_name(name)
    if remote_scheme(within) is not None:
        return _check_far(plain, within, depth)
    if remote_scheme(plain) in SCHEMES:
        if shown(plain).lower().endswith(VRT + INDEX):
            _go_down(plain, depth, within)
            return None
        return plain
    _check_near(plain, relative, within, depth)
    return None


def _check_near(name: str, relative: bool, within: str, depth: int) -> None:
    """Refuse, within a file of this machine, what is no raster of it."""
    plain = str(_file_of(name))
    local = Path(within).absolute().parent / plain if relative else Path(plain)
    mode = _mode(local)
    if plain.startswith(("/vsi", "<", "{")) or (":" in plain and mode is None):
        raise _not_allowed(name, within)
    if mode is None or not stat.S_ISREG(mode):
        return  # GDAL says so when it is read
    if local.name.lower().endswith(VRT + INDEX):
        _go_down(str(local), depth, within)
        return
    check_hdf(local, str(local))
    head = _head(local)
    if _names_others(head) or not (head.startswith(MAGIC) or _known_by_its_name(local, head)):
        raise UnreadableFile(
            f"{within} names {local}, which is no image of a known format: give GeoTIFF files."
        )


def _mode(local: Path) -> int | None:
    """Return what kind of thing a name stands for; None: for nothing, or it is no name."""
    try:
        return local.stat().st_mode
    except (OSError, ValueError):  # also of five thousand letters
        return None


def _known_by_its_name(local: Path, head: bytes) -> bool:
    """Say whether a raster without a head of its own is one: grids of text, heights, raw pixels.

    Raw pixels have a header beside them (ENVI, EHdr), which names no other file.
    """
    if head.lower().lstrip().startswith((b"ncols", b"nrows")):
        return True
    beside = (local.with_suffix(".hdr"), local.with_name(f"{local.name}.hdr"))
    return bool(_HEIGHTS.fullmatch(local.name)) or (
        local.suffix.lower() != ".hdr" and any(path.is_file() for path in beside)
    )


def _names_vsicurl_options(name: str) -> bool:
    """Say whether a name is one of GDAL's with harmless options, as for the Planetary Computer."""
    found = re.fullmatch(r"/vsicurl\?(.*)", name)
    if not found:
        return False
    keys = {part.partition("=")[0] for part in found[1].split("&")}
    return keys <= {"url", "pc_url_signing", "pc_collection", "use_head", "empty_dir", "list_dir"}


def _check_far(name: str, within: str, depth: int) -> str | None:
    """Refuse, within a file of a server, what does not lie on that server; as `_check_name`."""
    here = urlsplit(within)
    if name.startswith(("/vsi", "/", "<", "{", "\\")) and remote_scheme(name) is None:
        raise _not_allowed(name, within)
    there = urlsplit(name if remote_scheme(name) else urljoin(f"http://h{here.path}", name))
    if remote_scheme(name) and (there.scheme.lower(), there.hostname, there.port) != (
        here.scheme.lower(),
        here.hostname,
        here.port,
    ):
        raise _not_allowed(name, within)
    if there.path.lower().endswith(VRT + INDEX):
        _go_down(here._replace(path=there.path).geturl(), depth, within)
        return None
    return name if remote_scheme(name) else here._replace(path=there.path).geturl()


def _go_down(path: str, depth: int, within: str) -> None:
    if depth + 1 > DEEPEST:
        raise UnreadableFile(
            f"{shown(within)} names a file that names a file and so on, more than {DEEPEST} deep: "
            "give the images themselves."
        )
    if shown(path).lower().endswith(VRT):
        _check_vrt(path, depth + 1)
    else:
        _check_index(path, depth + 1)


def _not_allowed(name: str, within: str) -> UnreadableFile:
    where = (
        "only what lies on the same server is read"
        if remote_scheme(within)
        else "only files, and addresses with http, https, s3, gs or az, are read"
    )
    return UnreadableFile(
        f"{shown(within)} names {shown(name)[:120]}, and {where} from such a file: give the images "
        "themselves."
    )


def _check_index(path: str, depth: int = 0) -> None:
    """Look through the index of a GTI: an XML that names it, or the layer itself."""
    if remote_scheme(path) is not None:
        raise UnreadableFile(
            f"{shown(path)} is an index of tiles on a server: download it first and give the file."
        )
    if path.lower().endswith(".gti"):
        _check_index_text(path, depth)
        return
    _check_rows(path, depth)


def _check_index_text(path: str, depth: int) -> None:
    root = _parsed(path)
    _check_writing(root, path)
    if any(_plain(element.tag) in _CODE for element in root.iter()):
        raise UnreadableFile(f"{path} holds code, which is not run: give the index itself.")
    texts = [(_plain(element.tag), (element.text or "").strip()) for element in root.iter()]
    columns = {text for tag, text in texts if tag == "locationfield"}
    for tag, text in texts:
        if tag == "indexdataset":
            index = Path(path).absolute().parent / text
            if not index.is_file():
                raise _not_allowed(text, path)
            _check_rows(str(index), depth, columns)
        elif tag in _NAMES and text:
            _check_name(text, True, path, depth)


def _check_rows(path: str, depth: int, columns: Iterable[str] = ()) -> None:
    """Look through the names of an index, in the columns that are said to hold them."""
    import pyogrio
    import pyogrio.raw
    from pyogrio.errors import DataLayerError, DataSourceError

    check_table_file(Path(path), path)
    try:
        for layer in [str(name) for name in pyogrio.list_layers(path)[:, 0]]:
            about = pyogrio.read_info(path, layer=layer)
            check_driver(about["driver"], path)
            said = about.get("layer_metadata") or {}
            wanted = {said.get("LOCATION_FIELD", "location"), *columns}
            names = [str(value) for key, value in said.items() if key.endswith("_DATASET")]
            held = [name for name in about["fields"] if name in wanted or name.endswith(".href")]
            if held:
                rows = pyogrio.raw.read(path, layer=layer, columns=held, read_geometry=False)
                names += [str(name) for column in rows[3] for name in column if name]
            for name in names:
                _check_name(name, True, path, depth)
    except (DataSourceError, DataLayerError) as error:
        raise UnreadableFile(f"{path} cannot be opened as an index of tiles ({error}).") from error
