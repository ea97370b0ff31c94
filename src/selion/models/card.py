"""ModelCard: everything that inference needs to know about weights.

It is written beside them as ``card.toml``.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from selion.classes import ClassScheme
from selion.errors import BadInput, ChecksumMismatch, UnknownName, UnreadableFile
from selion.models.toml import to_toml
from selion.segmenter import InputSpec, Scaling
from selion.store.former import is_ours
from selion.store.plain import toml_table

CARD, GRAPH, WEIGHTS = "card.toml", "model.onnx", "model.safetensors"
"""The files of a model's folder: the card, the graph, and the weights that the graph points
into."""
PACKAGED = Path(__file__).parents[1] / "weights"
"""Where the models lie that ship with selion."""
DECIDES = "decides"
"""Key of a card's own checksum."""
UNWRITTEN = ("folder", "edited")
"""What a card knows of where it was read."""
DECIDING = ("format", "inputs", "classes", "architecture", "files")
"""Keys of a card that decide what its model answers; the others may be changed by anybody."""


@dataclass(frozen=True)
class StartingPoint:
    """What the weights of a model were before it was trained."""

    name: str
    """Of the model, or of the encoder and who publishes its weights."""
    licence: str = ""
    """Empty: its card says none."""
    scores: Mapping[str, object] = field(default_factory=dict)
    """As its card reports them; tables are allowed."""

    def __str__(self) -> str:
        """Say it in a line; of each table of scores the first."""
        scores = ", ".join(f"{name} {value:.3g}" for name, value in _leading(self.scores))
        said = f"licence {self.licence or 'not said'}; its scores: {scores or 'not said'}"
        return f"{self.name}, {said}"

    def to_dict(self) -> dict[str, object]:
        """Plain values for TOML; what is empty is left out."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name))}


def _leading(scores: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a table, and of tables in it the first number each."""
    for name, value in scores.items():
        if isinstance(value, Mapping):
            first = next(_leading(value), None)
            if first is not None:
                yield f"{name} {first[0]}", first[1]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value


@dataclass(frozen=True)
class ModelCard:
    """What a model eats, what it answers, where it comes from and what may be done with it."""

    name: str
    """``family.tag`` of weights that ship with selion, or the id under which they were
    published."""
    inputs: InputSpec
    classes: ClassScheme
    summary: str = ""
    """One sentence for lists."""
    architecture: Mapping[str, object] = field(default_factory=dict)
    """``family``, ``encoder`` and the family's options (``decoder_channels``): enough to build the
    network in torch."""
    files: Mapping[str, str] = field(default_factory=dict)
    """File name -> sha256, of the files beside the card."""
    format: str = "selion"
    """What ``url`` holds: ``selion`` (graph, weights, card), ``lightning`` (a checkpoint that is
    imported on fetch); others are listed only."""
    url: str = ""
    sha256: str = ""
    """Of what ``url`` holds; empty: none was published."""
    licence: str = ""
    attribution: str = ""
    training: str = ""
    """Training data, and how."""
    scores: Mapping[str, object] = field(default_factory=dict)
    """Reported scores; tables are allowed."""
    boundary: float | None = None
    """Metres of the boundary inside each field that its class of boundaries was taught; None: not
    said, or there is no such class."""
    calibration: Mapping[str, float] = field(default_factory=dict)
    """A correction of the per-object confidence, ``sigmoid(slope logit(p) + offset)``, as
    ``selion evaluate --fit-calibration`` writes it: ``slope``, ``offset``, and what they were
    fitted on.  Nothing applies it by itself: it is read with
    ``selion.metrics.Correction.from_dict(card.calibration)``."""
    citation: str = ""
    notes: str = ""
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    """What it answers on a synthetic chip, see :mod:`selion.models.fingerprint`."""
    started_from: tuple[StartingPoint, ...] = ()
    """What its training began from, the nearest first, then what that began from; empty: random
    weights, or a card of before this was kept."""
    folder: Path | None = field(default=None, compare=False)
    """Where the card was read from; not written.  None: the weights are not on this machine."""
    edited: bool = field(default=False, compare=False, repr=False)
    """Whether what decides its answers was changed since selion wrote it; not written."""

    def __post_init__(self) -> None:
        bands = len(self.inputs.bands)
        for what, values in (
            ("divide", self.inputs.scaling.divide),
            ("subtract", self.inputs.scaling.subtract),
        ):
            if len(values) not in {1, bands}:
                raise BadInput(
                    f"{self.name}: scaling.{what} has {len(values)} values for {bands} bands: give "
                    "one, or one per band."
                )
        if self.inputs.window % self.inputs.multiple:
            raise BadInput(
                f"{self.name}: a window of {self.inputs.window} px is not a multiple of "
                f"{self.inputs.multiple} px."
            )

    def to_dict(self) -> dict[str, object]:
        """Plain values for TOML; what is empty is left out."""
        scaling = self.inputs.scaling
        inputs: dict[str, object] = {
            f.name: getattr(self.inputs, f.name)
            for f in fields(self.inputs)
            # what repr leaves out came later: a card that does not use it stays as it was
            if f.name != "scaling" and (f.repr or getattr(self.inputs, f.name) != f.default)
        }
        inputs["scaling"] = {f.name: getattr(scaling, f.name) for f in fields(scaling)}
        table = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in UNWRITTEN}
        table |= {"inputs": inputs, "classes": self.classes.to_dict()}
        table["started_from"] = [one.to_dict() for one in self.started_from]
        return {key: value for key, value in table.items() if value not in ("", {}, [], None)}

    @classmethod
    def from_dict(
        cls, table: Mapping[str, object], where: str = "the card", folder: Path | None = None
    ) -> ModelCard:
        """Inverse of :meth:`to_dict`.

        Raises
        ------
        UnknownName
            If a key is not known; the nearest known one is offered.
        BadInput
            If a key is missing or its value is of another kind.
        """
        return cls(**_take(table, _CARD, ("name", "inputs", "classes"), where), folder=folder)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a number")
    try:
        return float(value)
    except OverflowError as error:
        raise TypeError("a number that is not larger than all") from error


def _length(value: object) -> float:
    if not 0 < (length := _number(value)) < float("inf"):
        raise TypeError("a number above 0")
    return length


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TypeError("a whole number above 0")
    return value


def _yes(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false")
    return value


def _table(value: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError("a table")
    return dict(value)


def _several(
    of: Callable[[object], Any], count: int | None = None
) -> Callable[[object], tuple[Any, ...]]:
    def convert(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or not value or (count and len(value) != count):
            raise TypeError(f"a list of {count or 'one or more'} values")
        return tuple(of(item) for item in value)

    return convert


def _names(value: object) -> tuple[str, ...]:
    return _several(_text)(value) if value else ()


T = TypeVar("T")
_Reader = Callable[[Any], Any]
_SCALING: dict[str, _Reader] = {
    "divide": _several(_number),
    "subtract": _several(_number),
    "clip": _several(_number, 2),
}
_INPUTS: dict[str, _Reader] = {
    "bands": _several(_text),
    "scaling": lambda value: Scaling(**_take(_table(value), _SCALING, (), "scaling")),
    "gsd": _several(_number, 2),
    "window": _count,
    "overlap": _number,
    "multiple": _count,
    "context": _count,
    "any_order": _yes,
    "upsampling": _count,
    "blend": _text,
    "fill": _text,
    "named": _yes,
    "stretch": _several(_number, 2),
    "dates": _text,
    "optional": _several(_text),
    "byte_divide": _number,
    "finer": _number,
}
_CLASSES: dict[str, _Reader] = {
    "names": _several(_text),
    "things": _names,
    "boundary": lambda value: _text(value) or None,
    "colours": _names,
    "least_area": lambda value: _several(_number)(value) if value else (),
}
_START: dict[str, _Reader] = {"name": _text, "licence": _text, "scores": _table}


def _starting_point(value: object) -> StartingPoint:
    return StartingPoint(**_take(_table(value), _START, ("name",), "started_from"))


_CARD: dict[str, _Reader] = {
    "name": _text,
    "summary": _text,
    "format": _text,
    "url": _text,
    "sha256": _text,
    "licence": _text,
    "attribution": _text,
    "training": _text,
    "citation": _text,
    "notes": _text,
    "inputs": lambda value: InputSpec(**_take(_table(value), _INPUTS, ("bands",), "inputs")),
    "classes": lambda value: ClassScheme(**_take(_table(value), _CLASSES, ("names",), "classes")),
    "architecture": _table,
    "files": lambda value: {name: _text(sha) for name, sha in _table(value).items()},
    "scores": _table,
    "boundary": _length,
    "started_from": _several(_starting_point),
    "fingerprint": lambda value: {name: _text(row) for name, row in _table(value).items()},
    "calibration": lambda value: {name: _number(number) for name, number in _table(value).items()},
}


def _take(
    table: Mapping[str, object],
    readers: Mapping[str, _Reader],
    required: tuple[str, ...],
    where: str,
) -> dict[str, Any]:
    """Read a table strictly.

    Known keys only, each of its kind, none of the required ones missing.
    """
    for key in required:
        if key not in table:
            raise BadInput(f"{where} has no {key!r}: it is required.")
    taken = {}
    for key, value in table.items():
        if key not in readers:
            raise UnknownName.among(f"key in {where}", key, readers)
        try:
            taken[key] = readers[key](value)
        except TypeError as error:
            raise BadInput(f"{where} says {key} = {value!r}; wanted is {error}.") from error
    return taken


def options_of(
    kind: type[T],
    given: Mapping[str, Any],
    what: str = "architecture key",
    *,
    besides: tuple[str, ...] = (),
) -> T:
    """Read a dataclass of options from a table of a card, such as its architecture.

    Parameters
    ----------
    kind : type
        A dataclass, which refuses values that are out of range itself.
    given : mapping
    what : str
        What a key of the table is called in messages.
    besides : tuple of str
        Keys that the table may have and that are no options.

    Raises
    ------
    UnknownName
        If there is no such option; the nearest one is offered.
    BadInput
        If a value is of another kind than the options are, or out of range.
    """
    options: Any = kind
    known = [*(one.name for one in fields(options)), *besides]
    for key in given:
        if key not in known:
            raise UnknownName.among(what, key, known)
    chosen = {key: value for key, value in given.items() if key not in besides}
    try:
        return cast("T", options(**chosen))
    except TypeError as error:
        said = ", ".join(f"{key} = {value!r}" for key, value in chosen.items())
        raise BadInput(f"{said} was given, which cannot be used together ({error}).") from error


def _text_of(path: Path) -> str:
    """Return what a file holds; a device, which has no end, is none."""
    if path.exists() and not path.is_file():
        raise FileNotFoundError
    return path.read_text(encoding="utf-8")


def read_card(path: str | Path) -> ModelCard:
    """Read ``card.toml``, or the one in a folder.

    Raises
    ------
    UnreadableFile
        If there is no card, or it is no TOML.
    BadInput, UnknownName
        If it holds something else than a card; see :meth:`ModelCard.from_dict`.
    """
    path = Path(path)
    path = path / CARD if path.is_dir() else path
    try:
        table = toml_table(_text_of(path))
        edited = _is_edited(table, path.parent)
        if is_ours(table.get("format"), "selion", path):
            table["format"] = "selion"
    except (FileNotFoundError, NotADirectoryError):
        raise UnreadableFile(
            f"There is no model card at {path}: give a model's name, or a folder that holds {CARD}."
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UnreadableFile(
            f"{path} cannot be read as a model card ({error}): give a model's name, or a folder "
            f"that holds {CARD}."
        ) from error
    return replace(ModelCard.from_dict(table, str(path), path.parent), edited=edited)


def _is_edited(table: dict[str, Any], folder: Path) -> bool:
    """Take a card's own checksum out of its table, and say whether it is that of another card."""
    known = table.pop(DECIDES, None)
    if known is None:  # of an older selion, or somebody means what was changed
        return folder.parent == PACKAGED
    return bool(known != _decides(table))


def _decides(table: Mapping[str, Any]) -> str:
    """Return the sha256 of what decides the answers, as TOML has it."""
    held = {key: table[key] for key in DECIDING if key in table}
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()


def write_card(card: ModelCard, path: str | Path) -> None:
    """Write a card as TOML, with its own checksum; the same card always gives the same bytes."""
    table = card.to_dict()
    decides = _decides(tomllib.loads(to_toml(table)))
    table = {"name": table.pop("name"), DECIDES: decides} | table
    Path(path).write_text(to_toml(table), encoding="utf-8", newline="\n")


def write_start(points: Sequence[StartingPoint], path: Path) -> None:
    """Write what a run starts from as TOML."""
    table = {"started_from": [one.to_dict() for one in points]}
    path.write_text(to_toml(table), encoding="utf-8", newline="\n")


def read_start(path: Path) -> tuple[StartingPoint, ...]:
    """Read what :func:`write_start` wrote.

    Raises
    ------
    UnreadableFile
        If it is no TOML.
    BadInput, UnknownName
        If it holds something else.
    """
    try:
        table = toml_table(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UnreadableFile(
            f"{path} cannot be read ({error}): it says what the run started from; remove it to go "
            "on without that in the model's card."
        ) from error
    points = _take(table, {"started_from": _CARD["started_from"]}, ("started_from",), str(path))
    return tuple(points["started_from"])


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def with_files(card: ModelCard, folder: Path, names: tuple[str, ...]) -> ModelCard:
    """Return the card with the checksums of the files in ``folder``."""
    return replace(card, files={name: sha256_of(folder / name) for name in names}, format="selion")


def check_files(card: ModelCard) -> Path:
    """Compare the files beside a card with its checksums, and return their folder.

    Raises
    ------
    UnreadableFile
        If a file is missing, or the card names none.
    ChecksumMismatch
        If a file is not the one that the card describes.
    """
    if card.folder is None:
        raise UnreadableFile(
            f"The weights of {card.name} are not on this machine: run 'selion models fetch "
            f"{card.name}'."
        )
    if GRAPH not in card.files:
        raise UnreadableFile(
            f"The card of {card.name} in {card.folder} names no {GRAPH}: export or import the "
            "model again."
        )
    return check_listed(card, card.folder)


def check_listed(card: ModelCard, folder: Path) -> Path:
    """Compare the files that a card names with its checksums, and return their folder.

    Raises as :func:`check_files`, and if the card itself was changed since it was written.
    """
    if card.edited:
        raise ChecksumMismatch(_edited(card))
    for name, wanted in card.files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise UnreadableFile(
                f"{card.name} wants the file {name!r} beside its card, but {path} is not there: "
                "fetch or export the model again."
            )
        found = sha256_of(path)
        if found != wanted:
            raise ChecksumMismatch(
                f"{path} has sha256 {found[:16]}..., but its card says {wanted[:16]}...: the file "
                "was changed or damaged; fetch or export it again."
            )
    return folder


def _edited(card: ModelCard) -> str:
    place = f"{card.folder}/{CARD}" if card.folder else CARD
    said = (
        f"{place} was changed since it was written, in what decides the answers of {card.name} "
        f"({', '.join(DECIDING)})"
    )
    if card.folder is not None and card.folder.parent == PACKAGED:
        return f"{said}: install selion again; a model of your own is a copy of that folder."
    return f"{said}: put it back, or, if you mean it, remove its line '{DECIDES} = ...'."


def _span(percentiles: tuple[float, float]) -> str:
    return f"{percentiles[0]:g} and {percentiles[1]:g} of the image unless it is of bytes"


def _road(spec: InputSpec) -> str:
    """Say what is unusual about the way of a window to the network and back."""
    said = [
        f"upsampled {spec.upsampling} times (bilinear)" if spec.upsampling > 1 else "",
        f"{spec.blend} blending" if spec.blend != "gaussian" else "",
        f"missing numbers filled by {spec.fill}" if spec.fill != "mean" else "",
        "" if spec.stretch is None else f"stretched between percentiles {_span(spec.stretch)}",
    ]
    return "".join(f", {text}" for text in said if text)


def _bands(spec: InputSpec) -> str:
    """Say which bands a model takes, of which dates."""
    bands = ", ".join(spec.bands)
    if not spec.dates:
        return bands + ("; dates in any order" if spec.any_order else "")
    lacking = f" ({', '.join(spec.optional)} may be missing)" if spec.optional else ""
    return f"{bands}{lacking} of each date; one date or many, in any order, clouds cut out of any"


def describe(card: ModelCard) -> dict[str, str]:
    """Return what a reader wants to know about a model.

    Label -> one line each, in the order of reading.
    """
    spec, scaling = card.inputs, card.inputs.scaling
    metres = "any" if spec.gsd is None else " to ".join(f"{v:g} m" for v in dict.fromkeys(spec.gsd))
    clip = f", clipped to {scaling.clip[0]:g}..{scaling.clip[1]:g}" if scaling.clip else ""
    finer = "" if spec.finer == 1 else f", {spec.finer:g} times finer than the image within these"
    in_bytes = "" if spec.byte_divide is None else f"; bytes / {spec.byte_divide:g}"
    numbers = [", ".join(f"{v:g}" for v in values) for values in (scaling.subtract, scaling.divide)]
    rows = {
        "name": card.name,
        "summary": card.summary,
        "licence": card.licence,
        "bands": _bands(spec),
        "scaling": f"(value - {numbers[0]}) / {numbers[1]}{clip}{in_bytes}",
        "ground sampling distance": metres + finer,
        "window": f"{spec.window} px, overlap {spec.overlap:.0%}{_road(spec)}",
        "classes": ", ".join(card.classes.names),
        "architecture": ", ".join(f"{key} {value}" for key, value in card.architecture.items()),
        "training": card.training,
        "started from": "; then ".join(map(str, card.started_from)),
        "attribution": card.attribution,
        "scores": ", ".join(f"{key} {value}" for key, value in card.scores.items()),
        "calibration": ", ".join(f"{key} {value:g}" for key, value in card.calibration.items()),
        "citation": card.citation,
        "notes": card.notes,
        "weights": str(card.folder)
        if card.folder
        else f"not on this machine ({card.url or 'no address'})",
    }
    return {label: text for label, text in rows.items() if text}
