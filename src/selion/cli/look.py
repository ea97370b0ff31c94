"""``selion look``: what an image's bands and numbers are, and what a map would make of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from selion.cli import options as opt

if TYPE_CHECKING:
    from selion.pipeline.opening import OpenedImage


@click.command(
    "look",
    help="Say what the bands of an image are, what its numbers are, and what may make a map of it "
    "wrong, as 'map' finds it before a run. Several images are one place on several dates.",
)
@click.argument("image", nargs=-1, required=True)
@opt.model
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def look_command(image: tuple[str, ...], model: str | None, as_json: bool) -> None:
    """Open, look, and print."""
    from selion.pipeline.opening import advice_of, open_dates

    opened = open_dates(image)
    name, said, warnings = advice_of(opened, model)
    if as_json:
        facts = opened.look.to_dict() | {
            "model": name,
            "said": said,
            "warnings": warnings,
        }
        click.echo(json.dumps(facts))
        return
    _print(opened, name, said, warnings)


def _print(opened: OpenedImage, model: str, said: list[str], warnings: list[str]) -> None:
    look = opened.look
    height, width = opened.source.grid.shape
    size = "" if look.gsd is None else f", {look.gsd:.3g} m"
    click.echo(f"{'pixels':<10} {width} x {height}{size}, {opened.source.dtype}")
    if opened.source.grid.crs is None:
        click.echo(f"{'place':<10} none (no CRS): a map wants --scale, see 'selion map --help'")
    for k, (given, name) in enumerate(zip(look.given, look.bands, strict=True), 1):
        click.echo(f"{f'band {k}':<10} {name}" + (f" ({given} in the file)" * (name != given)))
    for date, kind in zip(look.dates, look.kinds, strict=True):
        numbers = kind.sentence or f"{kind.name} numbers"
        click.echo(f"{'numbers':<10} {f'{date}: ' * bool(date)}{numbers}")
    click.echo(f"{'model':<10} {model or 'none that is packaged takes such bands'}")
    for text in said:
        click.echo(text)
    for text in warnings:
        click.echo(f"Warning: {text}")
