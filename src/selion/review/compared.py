"""What a drawing tool's pictures say of the fields of a map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.errors import BadInput
from selion.review.annotations import (
    LABEL,
    AnnotatedPicture,
    Outline,
    PixelFrame,
    polygonal,
    shifted,
)
from selion.review.coco import burnt
from selion.review.log import as_of

if TYPE_CHECKING:
    from selion.review.state import ReviewState

SHIFTED = 0.02
"""Pixels by which an outline may come back shifted and be the same: tools round coordinates."""
ALIKE = 0.5
"""Intersection over union from which on an outline without a name is a field that was sent."""
VISIBLE = 4.0
"""Pixels, squared, of a field that must lie on a picture for its absence there to mean anything."""
JOINT = 1e-7
"""Pixels to which parts of a field are rounded where they meet at the rim of a picture."""


@dataclass(frozen=True)
class AnnotationComparison:
    """What a tool's pictures say of fields; outlines in pixels of the image."""

    same: list[str]
    """Fields that came back as they are."""
    drawn: dict[str, Any]
    """Fields with another outline."""
    givers: list[str]
    """Those of ``drawn`` whose land is another's now."""
    gone: list[str]
    """Fields that are not on the pictures any more."""
    new: list[Any]
    """Outlines that are none of the fields."""
    old: dict[str, Any]
    """Outlines of all fields as they are now."""
    others: tuple[tuple[str, str], ...] = ()
    """Fields that somebody else changed since the pictures were made, and who: left as they are."""


def compare(
    pictures: Sequence[AnnotatedPicture], frame: PixelFrame, state: ReviewState, person: str
) -> AnnotationComparison:
    """Hold pictures against a map as it was when they were made, and as it is now.

    Parameters
    ----------
    pictures : sequence of AnnotatedPicture
        With the outlines that are fields; see :func:`only_fields`.
    frame : PixelFrame
    state : ReviewState
        The map as it is now.
    person : str
        Who drew: what this person did since may be done anew, what others did may not.
    """
    import shapely

    counts = [picture.count for picture in pictures]
    known = [count for count in counts if count is not None]
    then = as_of(state, min(known)) if known and len(known) == len(counts) else state
    old = {name: shape for name, shape, _ in frame.fields(then)}
    present = {name: shape for name, shape, _ in frame.fields(state)}
    fresh = {name: present[name] for name in present if then.get(name) is None}
    seen = shapely.union_all([picture.area for picture in pictures])
    named = _by_field(pictures, old, fresh, {str(n) for n in then.mapped.ids} | set(then.changed))
    new = named.pop("", [])
    same: list[str] = []
    gone: list[str] = []
    drawn: dict[str, Any] = {}
    for name, shape in old.items():
        beyond = polygonal(shapely.difference(shape, seen))
        if name in named:
            made = _whole([*named[name], *([beyond] if beyond.area else [])])
            if any(_alike(made, one) for one in (shape, present.get(name)) if one is not None):
                same.append(name)
            else:
                drawn[name] = made
        elif beyond.area < VISIBLE and shape.area - beyond.area > 0:
            (gone if name in present else same).append(name)
    for name, parts in named.items():
        if name not in old and not (name in present and _alike(_whole(parts), present[name])):
            drawn[name] = _whole(parts)
        elif name not in old:
            same.append(name)
    lost = [
        (name, who)
        for name in (*gone, *drawn)
        if (who := _changed_by(name, then, state)) not in ("", person)
    ]
    for name, _ in lost:
        drawn.pop(name, None)
    gone = [name for name in gone if name not in dict(lost)]
    return AnnotationComparison(
        same, drawn, _givers(drawn, present), gone, new, present, tuple(lost)
    )


def _alike(one: Any, other: Any) -> bool:
    return bool(one.symmetric_difference(other).area <= SHIFTED * other.length)


def _changed_by(name: str, then: ReviewState, now: ReviewState) -> str:
    """Return who changed a field since; "" if nobody did."""
    before, after = then.get(name), now.get(name)
    if after is None or (before is not None and before.version == after.version):
        return ""
    return after.person or "Somebody"


def _givers(drawn: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    """Return those of the drawn fields of whose land another takes some."""
    import shapely

    names = list(drawn)
    tree = shapely.STRtree(list(drawn.values()))
    return [
        name
        for name in names
        if name in old
        and any(
            names[k] != name and drawn[names[k]].intersection(old[name]).area > SHIFTED
            for k in tree.query(old[name], predicate="intersects")
        )
    ]


def only_fields(
    pictures: Sequence[AnnotatedPicture],
) -> tuple[list[AnnotatedPicture], list[str]]:
    """Return pictures with the outlines that are fields, within them, and what was left out.

    Raises
    ------
    BadInput
        If several names stand for outlines and none of them is "field", or a picture is there
        twice.
    """
    import shapely

    twice = [name for name, n in Counter(one.name for one in pictures).items() if n > 1]
    if twice:
        raise BadInput(f"{twice[0]!r} is in the file twice: export what one person drew.")
    used = {outline.label for picture in pictures for outline in picture.outlines}
    known = sorted((used | {label for one in pictures for label in one.labels}) - {""})
    if len(known) > 1 and LABEL not in known:
        listed = ", ".join(f"{name!r}" for name in known[:6])
        raise BadInput(
            f"The outlines are called {listed}: which of them are fields? Call those {LABEL!r}."
        )
    wanted = known[0] if len(known) == 1 else LABEL
    notes = [] if wanted == LABEL else [f"Outlines that are called {wanted!r} are taken as fields."]
    left: Counter[str] = Counter()
    beside = 0
    found = []
    for picture in pictures:
        rim, kept = shapely.box(0, 0, picture.width, picture.height), []
        for outline in picture.outlines:
            inside = shapely.covers(rim, outline.shape)
            shape = outline.shape if inside else polygonal(outline.shape.intersection(rim))
            if outline.label not in ("", wanted):
                left[outline.label] += 1
            elif shape.area > 0:
                kept.append(replace(outline, shape=shape))
            else:
                beside += 1
        found.append(replace(picture, outlines=tuple(kept)))
    notes += [f"{_outlines(n)} of {name!r} left out: no fields." for name, n in left.items()]
    notes += [f"{_outlines(beside)} beside its picture left out."] if beside else []
    bare = [picture.name for picture in found if not picture.outlines]
    if bare:
        notes.append(
            f"{len(bare):,} picture{'' if len(bare) == 1 else 's'} without any outline left out, "
            f"as nobody may have opened them ({', '.join(bare[:3])})."
        )
    return [picture for picture in found if picture.outlines], notes


def _outlines(count: int) -> str:
    return f"{count:,} outline{'' if count == 1 else 's'}"


def _whole(parts: Sequence[Any]) -> Any:
    """Join the parts of a field that lie on several pictures."""
    import shapely

    if len(parts) == 1:
        return parts[0]
    return polygonal(shapely.union_all(list(parts), grid_size=JOINT))


def _by_field(
    pictures: Sequence[AnnotatedPicture],
    old: Mapping[str, Any],
    fresh: Mapping[str, Any],
    known: set[str],
) -> dict[str, list[Any]]:
    """Gather outlines by field, in pixels of the image; those of none are under ""."""
    import shapely

    found: dict[str, list[Any]] = {}
    lost: list[tuple[AnnotatedPicture, Outline]] = []
    for picture in pictures:
        for outline in picture.outlines:
            if outline.field in known:
                placed = _placed(picture, outline, old.get(outline.field))
                found.setdefault(outline.field, []).append(placed)
            else:
                lost.append((picture, outline))
    free = {name: shape for name, shape in old.items() if name not in found} | dict(fresh)
    names = list(free)
    tree = shapely.STRtree(list(free.values()))
    for picture, outline in lost:
        shape = shifted(outline.shape, picture.left, picture.top)
        near = [names[k] for k in tree.query(shape, predicate="intersects")]
        name = _most_alike(picture.area, shape, {name: free[name] for name in near})
        found.setdefault(name, []).append(_placed(picture, outline, free.get(name)))
    return found


def _placed(picture: AnnotatedPicture, outline: Outline, old: Any) -> Any:
    """Put an outline where its picture lies; a mask that is that of a field is the field."""
    if outline.masked and old is not None:
        sent = polygonal(old.intersection(picture.area))
        size = (picture.height, picture.width)
        seen = burnt(shifted(sent, -picture.left, -picture.top), size) if sent.area else None
        if seen is not None and np.array_equal(seen, burnt(outline.shape, size)):
            return sent
    return shifted(outline.shape, picture.left, picture.top)


def _most_alike(seen: Any, shape: Any, near: Mapping[str, Any]) -> str:
    """Return the field that an outline without a name is; "" for none."""
    best, who = ALIKE, ""
    for name, whole in near.items():
        part = whole.intersection(seen)
        common = part.intersection(shape).area
        alike = common / max(part.area + shape.area - common, 1e-9)
        if alike >= best:
            best, who = alike, name
    return who
