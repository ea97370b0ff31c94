"""``selion simulate`` and ``selion demo``."""

from __future__ import annotations

from pathlib import Path

import click

from selion.cli import options as opt
from selion.cli.progress import reporter


@click.command(
    "simulate",
    help=(
        "Write a simulated countryside with its truth: image.tif, instances.tif, labels.tif, "
        "cover.tif, truth.parquet."
    ),
)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option(
    "--size",
    type=click.IntRange(8, 20_000),
    default=1024,
    show_default=True,
    help="Edge in pixels.",
)
@click.option(
    "--pixel",
    "gsd",
    type=click.FloatRange(0.1, 60),
    default=10.0,
    show_default=True,
    help="Pixel size in metres.",
)
@click.option(
    "--style",
    default="mixed",
    show_default=True,
    help="smallholder, europe, prairie, pivots, bocage, hamlets, delta, estate or mixed.",
)
@click.option(
    "--kind",
    "bands",
    type=click.Choice(["s2", "rgb"]),
    default="s2",
    show_default=True,
    help="Two Sentinel-2 dates, or one aerial photograph.",
)
@click.option(
    "--clouds",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of each date under clouds; adds scl.tif.",
)
@click.option(
    "--archive",
    is_flag=True,
    help=(
        "Write a Sentinel-2 archive instead: a STAC catalogue with tiles, dates and clouds, for "
        "'selion map --year'."
    ),
)
@click.option(
    "--centre",
    nargs=2,
    type=float,
    default=(12.0, 50.0),
    show_default=True,
    metavar="LON LAT",
    help="Of the archive.",
)
@opt.force
def simulate_command(
    out: Path,
    seed: int,
    size: int,
    gsd: float,
    style: str,
    bands: str,
    clouds: float,
    archive: bool,
    centre: tuple[float, float],
    force: bool,
) -> None:
    """Simulate and write."""
    if archive:
        opt.refuse_given(
            ["gsd", "style", "bands", "clouds"], "an archive has pixels and clouds of its own"
        )
        _write_archive(out, seed, size, centre, force=force)
        return
    opt.refuse_given(["centre"], "only an --archive lies somewhere on Earth")
    from selion.pipeline import demo
    from selion.simulation.landscape import simulate

    scene = simulate(seed, (size, size), gsd, style, bands=bands, clouds=clouds)
    for path in demo.write_landscape(scene, out, force=force):
        click.echo(str(path))


def _write_archive(
    out: Path, seed: int, size: int, centre: tuple[float, float], *, force: bool
) -> None:
    """Write an archive, and say how it is mapped."""
    from selion.pipeline import demo
    from selion.simulation.archive import simulate_archive

    tile = max(size // 2 // 6, 20) * 6
    written = simulate_archive(
        out, seed=seed, centre=centre, tile_px=tile, draw=demo.write_outlines, force=force
    )
    area = out / "area.geojson"
    click.echo(f"{len(written.items)} scenes of {len(written.tiles)} tiles; try:", err=True)
    click.echo(
        (
            f"selion map {area} --year {written.options.year} --provider {written.catalogue} -o "
            "fields.parquet"
        ),
        err=True,
    )
    click.echo(str(written.catalogue))


@click.command(
    "demo",
    help="Map a simulated scene, score it against its truth and write an HTML report.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Folder.",
)
@click.option("--seed", type=click.IntRange(0), default=11, show_default=True)
@click.option(
    "--size",
    type=click.IntRange(128, 20_000),
    default=768,
    show_default=True,
    help="Edge of the scene in pixels of 10 m.",
)
@click.option(
    "--image", default=None, help="Also map this image, for example a real two-season pair."
)
@opt.force
@opt.quiet
def demo_command(
    out: Path, seed: int, size: int, image: str | None, force: bool, quiet: bool
) -> None:
    """Run the demo."""
    from selion.pipeline.demo import run_demo
    from selion.reports import demo
    from selion.reports.preview import Preview

    with reporter(quiet=quiet, as_json=False) as say:
        result = run_demo(
            out,
            seed=seed,
            size=size,
            image=image,
            watcher=Preview(out / demo.PREVIEW),
            force=force,
            on_step=say.step,
            on_note=say.note,
        )
        path = demo.write_report(result)
    if not quiet:
        click.echo(demo.text_table(result.scores), err=True)
    click.echo(str(path))
