"""The page of a judged sample: what a statistics office asks for, in its order.

Sampling design, response design and analysis (Olofsson et al. 2014, section 6, list what a report
has to hold), with the figures first.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import selion
from selion.metrics.area_estimation import AreaAdjusted, SampleEstimate
from selion.reports import page
from selion.survey.design import CLASSES

if TYPE_CHECKING:
    from selion.survey.estimates import SurveyEstimates
    from selion.survey.objects import ObjectEstimates

PAGE = "report.html"
NO_BREAK = "\N{NO-BREAK SPACE}"
"""Between the words of a figure, which stands on one line."""
SHOWN = 3
"""Strata that a sentence names."""
ANALYSIS = (
    "Accuracies and areas are stratified estimates: means over strata, and for accuracies of a "
    "class ratios of two such means, with standard errors that hold for a finite population "
    "(Olofsson et al. 2014, Remote Sensing of Environment 148, equations 4 to 13; Stehman 2014, "
    "International Journal of Remote Sensing 35, where strata are not the classes of the map). An "
    "interval is the estimate plus and minus 1.96 standard errors, cut to what is possible. The "
    "area of a class is estimated from the answers and not counted on the map, whose errors do not "
    "cancel out."
)


def to_html(estimates: SurveyEstimates) -> str:
    """Lay the estimates out as a self-contained page."""
    fields = estimates.whole.by_class["field"]
    hectares = estimates.hectares()
    area = fields.area.scaled(hectares)
    lead = (
        f"{_hectares(area)} of {hectares:,.0f} ha are field (interval of 95 %), the map says "
        f"{fields.mapped * hectares:,.0f} ha. Overall accuracy {_share(estimates.whole.overall)}, "
        f"from {sum(estimates.answered):,} units drawn by chance."
    )
    parts = [
        page.section("Areas", _areas(estimates, hectares)),
        page.section("Accuracy of the map", _accuracies(estimates.whole), _matrix(estimates.whole)),
        *_districts(estimates),
        page.section("Sampling design", *_sampling(estimates)),
        page.section("Response design", *_response(estimates)),
        page.section("Analysis", page.paragraph(ANALYSIS), *_weak(estimates)),
    ]
    if estimates.notes:
        parts.append(page.section("Notes", *(page.paragraph(note) for note in estimates.notes)))
    return page.page("Accuracy and area", lead, parts, f"selion {selion.__version__}")


OBJECT_ANALYSIS = (
    "Shares are stratified estimates over the fields of the map: by number a mean over strata, by "
    "area a ratio of two such means, with standard errors that hold for a finite population "
    "(Cochran, Sampling Techniques, sections 5.3 and 6.11). An interval is the estimate plus and "
    "minus 1.96 standard errors, cut to what is possible. What the map misses is not among its "
    "fields: a sample of squares of the ground says that."
)
MEANT = {
    "right": "one field of the ground",
    "merged": "several fields drawn as one",
    "split": "a part of a field",
    "shifted": "a field, drawn elsewhere or otherwise",
    "false": "no field",
}


def objects_to_html(estimates: ObjectEstimates) -> str:
    """Lay the estimates of a sample of fields out as a self-contained page."""
    design, right = estimates.design, estimates.by_number["all"]["right"]
    lead = (
        f"{_share(right)} of the {design.fields:,} fields of the map are right (95 %), and "
        f"{_share(estimates.by_area['all']['right'])} of their area, from "
        f"{sum(estimates.answered):,} fields drawn by chance."
    )
    parts = []
    for place, shares in estimates.by_number.items():
        rows = [
            (name, MEANT[name], _share(one), _share(estimates.by_area[place][name]))
            for name, one in shares.items()
        ]
        heads = ("the field is", "that is", "by number", "by area")
        title = "Fields of the map" if place == "all" else place
        parts.append(page.section(title, page.table(heads, rows)))
    drawn = [
        (s.name, f"{s.fields:,}", f"{s.hectares:,.1f}", f"{s.drawn:,}", f"{n:,}")
        for s, n in zip(design.strata, estimates.answered, strict=True)
    ]
    columns = ("stratum", "fields", "hectares", "drawn", "answered")
    parts.append(page.section("Sampling design", page.table(columns, drawn)))
    parts.append(page.section("Analysis", page.paragraph(OBJECT_ANALYSIS)))
    if estimates.notes:
        parts.append(page.section("Notes", *(page.paragraph(note) for note in estimates.notes)))
    return page.page("Fields that are right", lead, parts, f"selion {selion.__version__}")


def _areas(estimates: SurveyEstimates, hectares: float) -> str:
    rows, drawn = [], []
    by_class = estimates.whole.by_class
    for name in sorted(by_class, key=lambda name: name != "field"):
        one = by_class[name]
        area = one.area.scaled(hectares)
        interval = area.interval(hectares)
        rows.append(
            [
                name,
                f"{area.value:,.1f}",
                f"{interval.low:,.1f} to {interval.high:,.1f}".replace(" ", NO_BREAK),
                f"{one.mapped * hectares:,.1f}",
                f"{area.standard_error:,.1f}",
            ]
        )
        share = one.area.interval()
        said = f"{name}: {one.area.value:.1%} ({share.low:.1%} to {share.high:.1%})"
        drawn.append(f"<p>{escape(said)}</p>{page.band(share.low, share.high, one.area.value)}")
    header = ("class", "estimated ha", "95 % interval, ha", "mapped ha", "standard error, ha")
    table = page.table(header, rows, "Hectares, estimated and as the map has them")
    told = (
        f"Shares of the {hectares:,.0f} ha: the line is the estimate, the band its interval of "
        "95 %."
    )
    return table + page.chart("".join(drawn), told)


def _accuracies(found: AreaAdjusted) -> str:
    rows = [
        [name, *(_share(getattr(one, what)) for what in ("users", "producers", "f1", "iou"))]
        for name, one in found.by_class.items()
    ]
    header = ("class", "user's", "producer's", "F1", "IoU")
    return page.table(
        header, rows, f"Overall accuracy {_share(found.overall)}; all with half widths of 95 %"
    )


def _matrix(found: AreaAdjusted) -> str:
    rows = [
        [
            name,
            *(f"{int(n):,}" for n in counts),
            f"{int(counts.sum()):,}",
            *(f"{share:.4f}" for share in shares),
        ]
        for name, counts, shares in zip(found.classes, found.counts, found.matrix, strict=True)
    ]
    header = (
        "map",
        *(f"{name}, units" for name in CLASSES),
        "all units",
        *(f"{name}, share of the area" for name in CLASSES),
    )
    return page.table(header, rows, "Error matrix: the map in rows, the reference in columns")


def _districts(estimates: SurveyEstimates) -> list[str]:
    rows = []
    for name, found in estimates.districts.items():
        hectares = estimates.hectares(name)
        one = found.by_class["field"]
        rows.append(
            [
                name,
                f"{one.mapped * hectares:,.1f}",
                _hectares(one.area.scaled(hectares)),
                _share(found.overall),
                _share(one.users),
                _share(one.producers),
            ]
        )
    header = ("district", "mapped ha", "estimated", "overall", "user's", "producer's")
    return [page.section("Districts", page.table(header, rows, "Fields"))] if rows else []


def _sampling(estimates: SurveyEstimates) -> list[str]:
    design, options = estimates.design, estimates.design.options
    text = (
        f"The population are {design.units:,} squares of {options['unit']:g} m on a grid of equal "
        f"areas ({design.crs}), those whose centre lies in the area of {design.area_km2:,.1f} km². "
        f"{design.drawn:,} were drawn at random within strata, shared out by size with at least "
        f"{options['least']} each; seed {options['seed']}. Map: {design.map}."
    )
    rows = [
        [
            stratum.name,
            CLASSES[stratum.mapped],
            f"{stratum.units:,}",
            f"{stratum.units / design.units:.4f}",
            f"{stratum.drawn:,}",
            f"{answered:,}",
        ]
        for stratum, answered in zip(design.strata, estimates.answered, strict=True)
    ]
    header = ("stratum", "map says", "units", "weight", "drawn", "answered")
    return [page.paragraph(text), page.table(header, rows, "Strata")]


def _response(estimates: SurveyEstimates) -> list[str]:
    answers = estimates.answers
    text = (
        f"Each unit was judged as field or other at its centre by {_people(answers.people)}. The "
        "list that is filled in names neither what the map says nor the stratum, and its order "
        "says nothing of either."
    )
    if answers.agreement is not None:
        text += f" Of the units that several judged, all agreed on {answers.agreement:.1%}."
    return [page.paragraph(text)]


def _people(number: int) -> str:
    return "one person" if number == 1 else f"{number} people"


def _strata(number: int) -> str:
    return "1 stratum" if number == 1 else f"{number:,} strata"


def _named(strata: list[str]) -> str:
    """Name some strata, whose names have semicolons themselves; all are in the table of strata."""
    some = ", ".join(f'"{name}"' for name in strata[:SHOWN])
    return some if len(strata) <= SHOWN else f"{some} and {len(strata) - SHOWN:,} more"


def _weak(estimates: SurveyEstimates) -> list[str]:
    """Say where the interval of 95 % may be too narrow: not where all units were answered."""
    rows = zip(estimates.design.strata, estimates.answered, estimates.alike, strict=True)
    partly = [(stratum.name, n, same) for stratum, n, same in rows if n < stratum.units]
    few = [name for name, answered, _ in partly if answered < 30]
    alike = [name for name, _, same in partly if same]
    said = []
    if alike:
        said.append(
            f"All answers are the same in {_strata(len(alike))} ({_named(alike)}), "
            "which therefore add nothing to any standard error: the true interval is wider."
        )
    if few:
        said.append(
            f"Fewer than 30 answers in {_strata(len(few))} ({_named(few)}): "
            "intervals that rest on these are rough."
        )
    return [page.paragraph(text) for text in said]


def _share(found: SampleEstimate) -> str:
    if found.value != found.value:
        return "-"
    return f"{found.value:.3f} ± {found.half_width:.3f}".replace(" ", NO_BREAK)


def _hectares(found: SampleEstimate) -> str:
    return f"{found.value:,.0f} ± {found.half_width:,.0f} ha".replace(" ", NO_BREAK)
