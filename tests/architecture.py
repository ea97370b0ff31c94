"""The law of the house, as functions over any checkout: what a test holds can itself be tested.

The reader of imports and the layers are those of ``bench/structure.py``; here stands what is
refused.  Whatever is let through nevertheless stands in :data:`EXCEPTIONS`.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]


def load_structure() -> ModuleType:
    """Import ``bench/structure.py``, which lies in no package."""
    spec = importlib.util.spec_from_file_location("structure", ROOT / "bench" / "structure.py")
    module = sys.modules["structure"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


structure = load_structure()
LAW = structure.Layout("layers", structure.LAYERS, given=True)
ROOT_MODULES = 12
"""Modules at the package's root at most: the foundation and the public face."""
NAMELESS = {"utils", "helpers", "common", "base", "misc", "core"}
"""Names that say nothing."""
HOMES = {
    "rasterio": "store",
    "zarr": "store",
    "numcodecs": "store",
    "obstore": "store",
    "pooch": "store",
    "ray": "runners",
    "pystac": "imagery",
    "pystac_client": "imagery",
    "requests": "imagery",
    "urllib3": "imagery",
    "xarray": "",
    "dask": "",
    "segmentation_models_pytorch": "models",
    "timm": "models",
    "torchvision": "models",
    "onnx": "models",
    "openvino": "models",
    "onnxruntime": "models",
    "tokenizers": "models",
    "huggingface_hub": "models",
    "xgrammar": "models",
    "ultralytics": "models",
    "torch": "models training",
    "safetensors": "models training",
    "transformers": "models training",
    "peft": "models training",
    "accelerate": "training",
    "tensorboard": "training",
    "trl": "training",
    "datasets": "training",
    "pyogrio": "fields store",
    "geopandas": "fields store data imagery evaluation country review",
    "shapely": "fields store data imagery simulation pipeline country review reports web",
    "skimage": "metrics closerange",
    "cc3d": "fields metrics",
    "numba": "fields imagery simulation training country",
    "click": "cli",
    "rich": "cli",
    "starlette": "web",
    "uvicorn": "web",
    "rio_tiler": "web",
    "pmtiles": "web",
    "maplibre": "",
    "lonboard": "reports",
}
"""Heavy library -> the rooms that may import it, and no other; imports for types are free."""
EXCEPTIONS = {
    "change > reports": "the change step writes its own page; the page moves up to the command",
    "closerange > reports": "the run over photographs writes its own page; it moves up",
    "evaluation > reports": "the table of baselines is drawn where it is measured; it moves up",
    "extras > reports": "a notebook's HTML is looked up by name from the foundation",
    "pipeline > reports": "the demo and maps draw their preview and page themselves; they move up",
    "cycle: models.architectures models.blank models.convert models.export models.graph "
    "models.pixel models.registry models.sam.semantic": "the registry names the families' loaders, "
    "and a family asks the registry for another model",
}
"""What is let through, each with its reason.  The list may only shrink: whatever is no longer needed
is refused, and so is an eleventh."""
MOST_EXCEPTIONS = 10


@dataclass(frozen=True)
class Fault:
    """One thing that is refused."""

    rule: str
    what: str
    places: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = ", ".join(self.places[:4])
        return f"{self.rule}: {self.what}" + (f" ({shown})" if shown else "")


def find_faults(root: Path, exceptions: Mapping[str, str] = EXCEPTIONS) -> list[Fault]:
    """Return all that a checkout does against the law, and exceptions that it does not need."""
    package = structure.find_package(root)
    sources = structure.read_sources(package)
    stubs = structure.read_sources(package, "*.pyi")
    imports = structure.find_imports(sources, stubs)
    found = [
        *unknown_rooms(sources),
        *arrows_against(imports),
        *circles(sources, [one for one in imports if " > ".join(one.arrow) not in exceptions]),
        *strays(sources),
        *(Fault("twice", name) for name in structure.repeated_classes(sources)),
        *crowded_root(sources, package),
        *(Fault("name", one.name) for one in sources if NAMELESS & set(one.name.split("."))),
    ]
    needed = {fault.what for fault in found}
    return [
        *(fault for fault in found if fault.what not in exceptions),
        *(Fault("not needed", what) for what in exceptions if what not in needed),
    ]


def unknown_rooms(sources: list) -> Iterator[Fault]:
    known = {room for layer in LAW.layers for room in layer.rooms}
    for room in sorted({source.room for source in sources} - known - {"", "__main__"}):
        yield Fault("no layer", room)


def arrows_against(imports: list) -> Iterator[Fault]:
    """Imports up, sideways, and within the foundation to the left."""
    between = sorted({one.arrow for one in imports if all(one.arrow) and len(set(one.arrow)) == 2})
    for arrow in LAW.against(between):
        places = [f"{one.place}, {one.kind}" for one in imports if one.arrow == arrow]
        yield Fault("layers", " > ".join(arrow), tuple(dict.fromkeys(places)))


def circles(sources: list, imports: list) -> Iterator[Fault]:
    """Circles of rooms and of modules, imports in functions, for types and by string among them."""
    for rooms in structure.cycles(structure.room_graph(sources, imports)):
        yield Fault("circle", "circle: " + " ".join(rooms))
    for modules in structure.cycles(structure.module_graph(sources, imports)):
        yield Fault("cycle", "cycle: " + " ".join(name.partition(".")[2] for name in modules))


def strays(sources: list) -> Iterator[Fault]:
    """Heavy libraries away from home."""
    found = [one for one in structure.find_libraries(sources) if one.kind != "types"]
    pairs = {(one.target, structure.room_of(one.source)) for one in found if one.target in HOMES}
    for library, room in sorted(pairs):
        if room not in HOMES[library].split():
            places = [one.place for one in found if one.target == library]
            yield Fault("home", f"{library} in {room or 'the front door'}", tuple(places))


def crowded_root(sources: list, package: Path) -> Iterator[Fault]:
    count = sum(source.path.parent == package for source in sources)
    if count > ROOT_MODULES:
        yield Fault("root", f"{count} modules at the root, not {ROOT_MODULES}")


def unused_homes(root: Path) -> list[str]:
    """Rooms that :data:`HOMES` allows a library and that do not import it."""
    sources = structure.read_sources(structure.find_package(root))
    used = {
        (one.target, structure.room_of(one.source))
        for one in structure.find_libraries(sources)
        if one.kind != "types"
    }
    pairs = itertools.chain.from_iterable(
        ((library, room) for room in rooms.split()) for library, rooms in HOMES.items()
    )
    return [f"{library} in {room}" for library, room in pairs if (library, room) not in used]
