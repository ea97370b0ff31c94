"""What the verbs of mapping were given, as the library's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import click

from selion.cli import options as opt
from selion.cli import running

if TYPE_CHECKING:
    from selion.fields import InstanceOptions
    from selion.pipeline.land_cover import LandCover
    from selion.pipeline.maps import MapOptions
    from selion.prediction import PredictOptions


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """What runs the network, as it was given; a verb without a network has the defaults."""

    refiner: str | None = None
    engine: str = "auto"
    gpu: int | None = None
    mps_mode: bool = False
    fast: bool = False
    threads: int | None = None
    samples: int | None = None
    grammar: str | None = None
    answer_scores: str | None = None

    @property
    def speaking(self) -> dict[str, Any]:
        """How a language model is asked, as far as it was said."""
        return opt.speaking(self.samples, self.grammar, self.answer_scores)

    @property
    def device(self) -> str:
        """The engine; ftw's ``--gpu`` and ``--mps_mode`` say the same in other words."""
        said = {
            f"--engine {self.engine}": "" if self.engine == "auto" else self.engine,
            f"--gpu {self.gpu}": "cuda" if self.gpu is not None and self.gpu >= 0 else "",
            "--mps_mode": "mps" if self.mps_mode else "",
        }
        named = {option: engine for option, engine in said.items() if engine}
        if self.gpu is not None and self.gpu < 0 and {"cuda", "mps"}.intersection(named.values()):
            named[f"--gpu {self.gpu}"] = "a processor"
        if len(set(named.values())) > 1:
            raise click.UsageError(
                f"{' and '.join(named)} name different engines: leave all but one out."
            )
        return next(iter(named.values()), "cpu" if self.gpu is not None else "auto")


@dataclass(frozen=True, kw_only=True)
class WindowChoice:
    """How the image is cut, as it was given; None: the library's default."""

    window: int | None = None
    overlap: float | None = None
    padding: int | None = None
    block: int | None = None
    batch: int | None = None
    gsd: float | None = None
    scale: float | None = None
    flips: bool = False
    bands: str | None = None

    def predict_options(self) -> PredictOptions:
        """Return the options of a prediction."""
        from selion.prediction import PredictOptions

        options = PredictOptions(
            window=self.window,
            overlap=self._share(),
            gsd=self.gsd,
            scale=self.scale,
            flips=self.flips,
            batch=self.batch,
            bands=_bands(self.bands),
        )
        return options if self.block is None else replace(options, block=self.block)

    def _share(self) -> float | None:
        """Return the overlap; ftw's ``--padding`` is half of it, in pixels of a window."""
        if self.padding is None:
            return self.overlap
        if self.overlap is not None:
            raise click.UsageError(
                f"--overlap {self.overlap:g} and --padding {self.padding} both say what windows "
                "have in common: leave one out."
            )
        if self.window is None:
            raise click.UsageError(
                "--padding is a number of pixels and needs --patch_size; or give --overlap as a "
                "share."
            )
        return float(min(2 * self.padding / self.window, 0.75))


@dataclass(frozen=True, kw_only=True)
class LandCoverChoice:
    """A second opinion on fields, as it was given."""

    land_cover: tuple[str, ...] = ()
    crop_codes: str | None = None
    crop_share: float = 0.5

    def land_cover_options(self) -> LandCover | None:
        """Return the raster that fields are compared with; None: there is none."""
        from selion.pipeline.cover_tiles import CROPS, check_cover, is_worldcover
        from selion.pipeline.land_cover import LandCover

        if not self.land_cover and self.crop_codes:
            raise click.UsageError(
                f"--land-cover-crops {self.crop_codes} was given without the raster that holds "
                "these codes: add --land-cover RASTER."
            )
        if not self.land_cover:
            opt.refuse_given(["crop_share"], "there is no --land-cover")
            return None
        try:
            codes = (self.crop_codes or "").split(",")
            crops = frozenset(int(code) for code in codes if code.strip())
        except ValueError:
            raise click.UsageError(
                f"--land-cover-crops {self.crop_codes} was given; wanted are whole numbers such as "
                "40 or 10,20."
            ) from None
        if self.crop_codes is None and all(map(is_worldcover, self.land_cover)):
            crops = CROPS
        cover = LandCover(tuple(self.land_cover), crops, self.crop_share)
        for given in cover.rasters:
            check_cover(given)
        return cover


@dataclass(frozen=True, kw_only=True)
class FieldChoice(LandCoverChoice):
    """How probabilities become fields, as it was given; None: the library's default."""

    method: str | None = None
    vote: str | None = None
    cover: str | None = None
    simplify: float | None = None
    regularise: float | Literal["auto"] | None = None
    min_area: float | None = None
    max_area: float | None = None
    collection: str | None = None
    acquired: str | None = None

    def instance_options(self) -> InstanceOptions:
        """Return how objects are found; what belongs to another method is refused."""
        from selion.fields import InstanceOptions, parse_vote

        if self.vote is None:
            return InstanceOptions()
        if self.method != "vote":
            raise click.UsageError(
                f"--vote {self.vote} was given with --method {self.method or 'auto'}; its "
                "parameters are those of another method: add --method vote."
            )
        if self.min_area is not None and "min_area_m2" in self.vote:
            raise click.UsageError(
                "The smallest field was given twice, as --min-area and as min_area_m2 of --vote: "
                "leave one out."
            )
        return InstanceOptions(vote=parse_vote(self.vote))


def map_options(values: Mapping[str, Any]) -> MapOptions:
    """Return the options of a map run; what a verb does not offer keeps the library's default."""
    from selion import fields
    from selion.pipeline import maps

    network, choice = opt.taken(ModelChoice, values), opt.taken(FieldChoice, values)
    if choice.min_area and choice.max_area and choice.min_area > choice.max_area:
        raise click.UsageError(
            f"--min-area {choice.min_area:g} and --max-area {choice.max_area:g} leave no field: "
            "give a largest area above the smallest."
        )
    options = maps.MapOptions(
        predict=opt.taken(WindowChoice, values).predict_options(),
        instances=choice.instance_options(),
        outlines=fields.FieldOptions(
            simplify=choice.simplify,
            regularise=choice.regularise,
            max_area=float("inf") if choice.max_area is None else choice.max_area,
        ),
        min_area=choice.min_area,
        collection=choice.collection,
        datetime=choice.acquired,
        engine=network.device,
        fast=network.fast,
        threads=network.threads,
        speaking=network.speaking,
        runner=opt.taken(running.RunChoice, values).runner_options(),
        land_cover=choice.land_cover_options(),
        refiner=network.refiner,
    )
    return replace(
        options, method=choice.method or options.method, cover=choice.cover or options.cover
    )


def _bands(text: str | None) -> tuple[int | str, ...] | None:
    if text is None:
        return None
    return tuple(int(part) if part.strip().isdigit() else part.strip() for part in text.split(","))
