"""The architecture law, as functions over any checkout: what a test holds can itself be tested.

The reader of imports and the layers are those of ``bench/structure.py``; here stands what is
refused.  Whatever is let through nevertheless stands in :data:`EXCEPTIONS`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
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
    "requests": "imagery store",
    "urllib3": "store",
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
    "safetensors": "fields models training",
    "transformers": "models training",
    "peft": "models training",
    "accelerate": "training",
    "tensorboard": "",
    "trl": "training",
    "datasets": "training",
    "pyogrio": "fields store",
    "geopandas": "fields store data imagery evaluation country review survey",
    "shapely": "fields store data imagery simulation pipeline country review reports survey web "
    "world",
    "skimage": "metrics closerange",
    "cc3d": "fields metrics",
    "numba": "fields imagery simulation training",
    "click": "cli",
    "rich": "cli",
    "starlette": "web",
    "uvicorn": "web",
    "rio_tiler": "web",
    "pmtiles": "store",
    "maplibre": "",
    "lonboard": "reports",
}
"""Heavy library -> the components that may import it, and no other; imports for types are free."""
EXCEPTIONS: dict[str, str] = {}
"""What is let through, each with its reason.  The list may only shrink: whatever is not needed any
more is refused, and so is one more than :data:`MOST_EXCEPTIONS`."""
MOST_EXCEPTIONS = 0


@dataclass(frozen=True)
class Tree:
    """A package as the reader of imports sees it."""

    package: Path
    sources: list

    @cached_property
    def imports(self) -> list:
        """What a module takes from another, found when first asked for."""
        return structure.find_imports(self.sources, structure.read_sources(self.package, "*.pyi"))

    @cached_property
    def libraries(self) -> list:
        """What a module takes from outside, found when first asked for."""
        return structure.find_libraries(self.sources)


def read_tree(root: Path) -> Tree:
    """Read the package of a checkout."""
    package = structure.find_package(root)
    return Tree(package, structure.read_sources(package))


@cache
def our_tree() -> Tree:
    """Read the package of this checkout, once."""
    return read_tree(ROOT)


@dataclass(frozen=True)
class Fault:
    """One thing that is refused."""

    rule: str
    what: str
    places: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What :data:`EXCEPTIONS` calls it."""
        return f"{self.rule}: {self.what}"

    def __str__(self) -> str:
        shown = ", ".join(self.places[:4])
        return self.key + (f" ({shown})" if shown else "")


def find_faults(tree: Tree, exceptions: Mapping[str, str] = EXCEPTIONS) -> list[Fault]:
    """Return all that a tree does against the law, and exceptions that it does not need."""
    names = {source.name for source in tree.sources}
    found = [
        *unknown_components(tree),
        *arrows_against(tree),
        *circles(tree, exceptions),
        *strays(tree),
        *(Fault("class twice", name) for name in structure.repeated_classes(tree.sources)),
        *crowded_root(tree),
        *(Fault("name", name) for name in sorted(names) if NAMELESS & set(name.split("."))),
    ]
    needed = {fault.key for fault in found}
    return [
        *(fault for fault in found if fault.key not in exceptions),
        *(Fault("not needed", key) for key in exceptions if key not in needed),
    ]


def unknown_components(tree: Tree) -> Iterator[Fault]:
    known = {component for layer in LAW.layers for component in layer.components}
    for component in sorted(
        {source.component for source in tree.sources} - known - {"", "__main__"}
    ):
        yield Fault("no layer", component)


def arrows_against(tree: Tree) -> Iterator[Fault]:
    """Imports up, sideways, and within the foundation to the left."""
    arrows = {one.arrow for one in tree.imports}
    between = sorted(arrow for arrow in arrows if all(arrow) and len(set(arrow)) == 2)
    for arrow in LAW.against(between):
        places = [f"{one.place}, {one.kind}" for one in tree.imports if one.arrow == arrow]
        yield Fault("layers", " > ".join(arrow), tuple(dict.fromkeys(places)))


def circles(tree: Tree, exceptions: Mapping[str, str]) -> Iterator[Fault]:
    """Circles of components and cycles of modules: lazy imports, for types and by string among
    them.

    An arrow that is let through makes none.
    """
    left = [one for one in tree.imports if f"layers: {' > '.join(one.arrow)}" not in exceptions]
    for components in structure.cycles(structure.component_graph(tree.sources, left)):
        yield Fault("circle", " ".join(components))
    for modules in structure.cycles(structure.module_graph(tree.sources, left)):
        yield Fault("cycle", " ".join(name.partition(".")[2] for name in modules))


def strays(tree: Tree) -> Iterator[Fault]:
    """Heavy libraries away from home."""
    for library, component in sorted(used_libraries(tree)):
        if library in HOMES and component not in HOMES[library].split():
            places = [
                one.place
                for one in tree.libraries
                if (one.target, structure.component_of(one.source)) == (library, component)
            ]
            yield Fault("home", f"{library} in {component or 'the root'}", tuple(places))


def crowded_root(tree: Tree) -> Iterator[Fault]:
    count = sum(source.path.parent == tree.package for source in tree.sources)
    if count > ROOT_MODULES:
        yield Fault("root", f"{count} modules at the root, not {ROOT_MODULES}")


def used_libraries(tree: Tree) -> set[tuple[str, str]]:
    """Pairs of a library and a component that imports it, and not for types alone."""
    used = [one for one in tree.libraries if one.kind != "types"]
    return {(one.target, structure.component_of(one.source)) for one in used}


def unused_homes(tree: Tree) -> list[str]:
    """Components that :data:`HOMES` allows a library and that do not import it."""
    used = used_libraries(tree)
    pairs = [
        (library, component)
        for library, components in HOMES.items()
        for component in components.split()
    ]
    return [
        f"{library} in {component}"
        for library, component in pairs
        if (library, component) not in used
    ]
