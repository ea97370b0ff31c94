"""Price sheets: what machines cost and how they fail, in a documented TOML file.

Nothing in it is measured.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from selion.errors import BadInput, UnknownName, UnreadableFile
from selion.store.plain import toml_table


@dataclass(frozen=True, slots=True)
class Cpu:
    """A worker without a GPU."""

    name: str
    cores: int
    dollars_per_hour: float
    watts: float


@dataclass(frozen=True, slots=True)
class Gpu:
    """A worker with one."""

    name: str
    dollars_per_hour: float
    watts: float
    assumed_km2_per_second: float
    """Taken only where the probe had no GPU, and said then."""


@dataclass(frozen=True, slots=True)
class ArchivePrices:
    """Where the images come from."""

    dollars_per_gigabyte: float
    megabytes_per_second: float
    """For all workers together."""


@dataclass(frozen=True, slots=True)
class Energy:
    """What electricity emits."""

    pue: float
    kg_co2_per_kwh: float


@dataclass(frozen=True, slots=True)
class Faults:
    """How workers fail."""

    boot_seconds: float
    failures_per_job: float
    tries: int
    losses_per_worker_hour: float
    stragglers_per_job: float
    straggler_factor: float


@dataclass(frozen=True, slots=True)
class Prices:
    """A price sheet."""

    cpu: Cpu
    gpu: Gpu
    archive: ArchivePrices
    energy: Energy
    faults: Faults
    source: str
    """Where it was read."""


TABLES = {"cpu": Cpu, "gpu": Gpu, "archive": ArchivePrices, "energy": Energy, "faults": Faults}


def read_prices(path: Path | str | None = None) -> Prices:
    """Read a price sheet.

    Parameters
    ----------
    path : path, optional
        None: the packaged one.  A sheet may leave out what it does not want to change.

    Raises
    ------
    UnreadableFile
        If it is missing or no TOML file.
    UnknownName, BadInput
        If a name or a value in it is wrong.
    """
    packaged = tomllib.loads(
        resources.files("selion.country").joinpath("prices.toml").read_text("utf-8")
    )
    given: dict[str, Any] = {}
    if path is not None:
        path = Path(path).expanduser()
        if not path.is_file():
            raise UnreadableFile(
                f"There is no price sheet {path}: check the name, or leave out --prices for the "
                "packaged one."
            )
        try:
            given = toml_table(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise UnreadableFile(
                f"{path} is not a price sheet ({error}): copy the packaged prices.toml and change "
                "its numbers."
            ) from error
    for name in given:
        if name not in TABLES:
            raise UnknownName.among("table of a price sheet", name, TABLES)
    made = {
        name: _table(kind, packaged[name], given.get(name, {}), name)
        for name, kind in TABLES.items()
    }
    return Prices(**made, source="the packaged price sheet" if path is None else str(path))


def _table(kind: type, packaged: dict[str, Any], given: Any, name: str) -> Any:
    if not isinstance(given, dict):
        raise BadInput(
            f"[{name}] of the price sheet is {given!r}; wanted is a table such as [{name}] with "
            "lines 'key = number'."
        )
    known = {column.name: column.type for column in fields(kind)}
    for key, value in given.items():
        if key not in known:
            raise UnknownName.among(f"value in [{name}] of a price sheet", key, known)
        if known[key] == "str":
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 <= value < 1e12
            or (value == 0 and key in POSITIVE)
        ):
            raise BadInput(
                f"{key} in [{name}] of the price sheet is {value!r}; wanted is a number "
                f"{'above 0' if key in POSITIVE else 'from 0 up'}."
            )
        if key in SHARES and value > 0.9:
            raise BadInput(
                f"{key} in [{name}] of the price sheet is {value!r}; wanted is a share from 0 to "
                "0.9."
            )
    merged = packaged | given
    return kind(**{key: int(merged[key]) if known[key] == "int" else merged[key] for key in known})


POSITIVE = ("cores", "assumed_km2_per_second", "megabytes_per_second", "tries", "straggler_factor")
SHARES = ("failures_per_job", "stragglers_per_job")
