"""Which band of the image goes into which channel of the network."""

from __future__ import annotations

from selion.errors import BandMismatch


def choose_bands(
    given: tuple[str, ...], wanted: tuple[str, ...], asked: tuple[int | str, ...] | None = None
) -> tuple[tuple[int, ...], str]:
    """Choose bands: as asked, else by name, else by position where the numbers agree.

    Parameters
    ----------
    given : tuple of str
        Band names of the image.
    wanted : tuple of str
        Band names of the model, in the order of its channels.
    asked : tuple of int or str, optional
        The user's own choice in the model's order: band numbers from 1, as GDAL counts, or names.

    Returns
    -------
    indexes : tuple of int
        One index (from 0) into ``given`` per wanted band.
    note : str
        A sentence if the choice needs one, else "".

    Raises
    ------
    BandMismatch
        If none of the three ways works.
    """
    if asked is not None:
        return _asked(given, wanted, asked), ""
    known = {name.casefold(): k for k, name in reversed(list(enumerate(given)))}
    if all(name.casefold() in known for name in wanted):
        return tuple(known[name.casefold()] for name in wanted), ""
    if len(given) == len(wanted):
        note = (
            f"The bands of the image ({_listed(given)}) do not have the model's names "
            f"({_listed(wanted)}): they are taken in the order of the file."
        )
        return tuple(range(len(given))), note
    raise BandMismatch(
        f"The image has {len(given)} bands ({_listed(given)}), the model wants {len(wanted)} "
        f"({_listed(wanted)}) and the names do not tell which: name them in this order, for "
        f"example --bands {','.join(str(k + 1) for k in range(len(wanted)))}, or choose another "
        "model."
    )


def _asked(
    given: tuple[str, ...], wanted: tuple[str, ...], asked: tuple[int | str, ...]
) -> tuple[int, ...]:
    if len(asked) != len(wanted):
        raise BandMismatch(
            f"{len(asked)} bands were named ({_listed(asked)}); the model wants {len(wanted)}, in "
            f"this order: {_listed(wanted)}."
        )
    indexes = tuple(given.index(band) if band in given else _number(band) for band in asked)
    for band, index in zip(asked, indexes, strict=True):
        if not 0 <= index < len(given):
            raise BandMismatch(
                f"There is no band {band!r} in the image: it has 1 to {len(given)} "
                f"({_listed(given)})."
            )
    return indexes


def _number(band: int | str) -> int:
    """Index of a band number that counts from 1; -1 if it is none."""
    return int(band) - 1 if isinstance(band, int) or band.isdecimal() else -1


def _listed(names: tuple[int | str, ...] | tuple[str, ...]) -> str:
    shown = ", ".join(str(name) for name in names[:12])
    return shown if len(names) <= 12 else f"{shown}, ..."
