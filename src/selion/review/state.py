"""A map as people have corrected it so far.

Fields with versions, and what each action makes of them.

Every action names the versions that the person saw.  What somebody else has changed meanwhile is
not overwritten: the action is refused, and the person looks again (optimistic locking).  The same
fields and the same lines always give the same map.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.errors import BadInput
from selion.review import actions as a
from selion.review import shapes
from selion.review.actions import LONGEST, Action

if TYPE_CHECKING:
    import geopandas
    from shapely.geometry.base import BaseGeometry

UNDECIDED, ACCEPTED, REJECTED, CORRECTED, DOUBTED, ADDED, MERGED = (
    "undecided",
    "accepted",
    "rejected",
    "corrected",
    "unsure",
    "added",
    "merged",
)
STATUSES = (UNDECIDED, ACCEPTED, REJECTED, CORRECTED, DOUBTED, ADDED)
"""What a field can be, beside the answers to a sample; one that was merged into another is no field
any more."""
DECIDED = (ACCEPTED, REJECTED, CORRECTED, ADDED, *a.ANSWERS)
SIMPLE = {
    a.ACCEPT: ACCEPTED,
    a.REJECT: REJECTED,
    a.UNSURE: DOUBTED,
    **{kind: kind for kind in a.ANSWERS},
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field as it is now."""

    id: str
    shape: Any
    """Polygon or MultiPolygon in the CRS of the map's file."""
    version: int = 0
    """Changes with every action on the field; 0: as it was mapped."""
    status: str = UNDECIDED
    person: str = ""
    time: str = ""
    origin: tuple[str, ...] = ()
    """Ids of the mapped fields that it was made from; itself for one that was not united or
    split."""

    @property
    def there(self) -> bool:
        """Whether it holds land: it is neither rejected nor merged into another."""
        return self.status not in (REJECTED, MERGED)


@dataclass(frozen=True, slots=True)
class ReviewOutcome:
    """What became of an action."""

    changed: tuple[str, ...] = ()
    """Fields that are others now."""
    stale: tuple[str, ...] = ()
    """Fields that are others than those that the person saw: nothing was done."""
    why: str = ""
    """Why nothing was done."""

    @property
    def done(self) -> bool:
        """Whether it was done."""
        return not self.why


@dataclass(frozen=True, slots=True)
class Applied:
    """An action with what was there before."""

    action: Action
    before: Mapping[str, Field | None]


class ReviewedMap:
    """The fields of a map as they were found: ids, outlines, and where they are."""

    def __init__(
        self, ids: Sequence[str] | np.ndarray, outlines: np.ndarray, geographic: bool
    ) -> None:
        import pandas as pd
        import shapely

        self.ids = pd.Index(np.asarray(ids, dtype=object))
        if not self.ids.is_unique:
            raise BadInput(
                "Some fields of the map share an id: write it again with 'selion map', whose ids "
                "say where."
            )
        if any(
            not isinstance(name, str) or not 0 < len(name) <= LONGEST or not name.isprintable()
            for name in self.ids
        ):
            raise BadInput(
                f"Some ids of the map are empty, longer than {LONGEST} characters or not "
                "printable: give its polygons short unique ids."
            )
        self.outlines = np.asarray(outlines, dtype=object)
        self.reach = shapes.reach_of(geographic)
        self.tree = shapely.STRtree(self.outlines)

    @classmethod
    def of(cls, frame: geopandas.GeoDataFrame) -> ReviewedMap:
        """Take the fields of a table.

        Raises
        ------
        BadInput
            If ids are missing or not unique.
        """
        if "id" not in frame:
            raise BadInput(
                "The map has no column 'id': write it with 'selion map', or give its polygons "
                "unique ids."
            )
        return cls(
            frame["id"].astype(str).to_numpy(),
            frame.geometry.to_numpy(),
            frame.crs is not None and frame.crs.is_geographic,
        )

    def row(self, name: str) -> int | None:
        """Return the position of a field; None if there is none."""
        try:
            return int(self.ids.get_loc(name))
        except KeyError:
            return None

    def fingerprint(self) -> str:
        """Return a hash of ids and outlines."""
        import shapely

        digest = hashlib.blake2b(digest_size=16)
        for start in range(0, len(self.ids), 50_000):
            digest.update("\n".join(self.ids[start : start + 50_000]).encode())
            digest.update(b"".join(shapely.to_wkb(self.outlines[start : start + 50_000])))
        return digest.hexdigest()


@dataclass
class ReviewState:
    """The map with all that was done to it."""

    mapped: ReviewedMap
    changed: dict[str, Field] = field(default_factory=dict)
    """Fields that are not as they were mapped, and new ones."""
    applied: dict[str, Applied] = field(default_factory=dict)
    """Actions in order, by id."""
    undone: set[str] = field(default_factory=set)
    standing: dict[str, list[str]] = field(default_factory=dict)
    """Field -> actions that stand, in order: only the last of each can be undone."""
    count: int = 0
    skipped: int = 0
    """Lines of the log that were none of ours, torn, or did not fit."""

    def get(self, name: str) -> Field | None:
        """Return a field as it is now; None if there is none of that id."""
        if name in self.changed:
            return self.changed[name]
        row = self.mapped.row(name)
        return None if row is None else Field(name, self.mapped.outlines[row], origin=(name,))

    def near(self, shape: BaseGeometry, reach: float = 0.0, rejected: bool = False) -> list[Field]:
        """Return the fields that a shape touches or comes near to.

        Near is ``reach``; they are as they are now, by id.
        """
        import shapely

        rows = self.mapped.tree.query(shape, predicate="dwithin", distance=reach)
        names = [name for name in self.mapped.ids[rows] if name not in self.changed]
        found = [self.get(name) for name in names]
        moved = [f for f in self.changed.values() if f.status != MERGED]
        if moved:
            found += [
                moved[k]
                for k in np.flatnonzero(
                    shapely.dwithin(np.array([f.shape for f in moved], dtype=object), shape, reach)
                )
            ]
        kept = [
            f for f in found if f is not None and (f.there or (rejected and f.status == REJECTED))
        ]
        return sorted(kept, key=lambda f: f.id)

    def status(self, name: str) -> str:
        """Return the status of a field."""
        return self.changed[name].status if name in self.changed else UNDECIDED

    def counts(self) -> dict[str, int]:
        """Return how many fields there are by status.

        All of them count as ``total``; also returned is how many are decided.  Answers to a sample
        are there where they were given.
        """
        found = dict.fromkeys(STATUSES, 0)
        for one in self.changed.values():
            if one.status != MERGED:
                found[one.status] = found.get(one.status, 0) + 1
        untouched = len(self.mapped.ids) - sum(name in self.mapped.ids for name in self.changed)
        found[UNDECIDED] += untouched
        return {
            "total": sum(found.values()),
            "decided": sum(found.get(name, 0) for name in DECIDED),
            **found,
        }

    def judge(self, action: Action) -> tuple[ReviewOutcome, dict[str, Field | None]]:
        """Say what an action would do, and do nothing.

        Returns
        -------
        ReviewOutcome
        dict
            The fields after it; None for one that is not there then.  Empty if it would not be
            done.

        Raises
        ------
        BadInput
            If it makes no sense, whoever does it.
        """
        if action.kind == a.UNDO:
            return self._judge_undo(action)
        unknown = [
            name for name in action.on if self.get(name) is None and name not in self.standing
        ]
        if unknown:
            raise BadInput(f"There is no field {unknown[0]!r} on this map: load it again.")
        stale = tuple(name for name, version in action.on.items() if self._version(name) != version)
        if stale:
            return ReviewOutcome(stale=stale, why=self._stale(stale)), {}
        after = shapes.worked_out(lambda: self._made(action))
        if any(one.status == REJECTED for name in action.on if (one := self.get(name))):
            self._refuse_covered(after)
        missing = tuple(
            name for name in after if name not in action.on and self._version(name) is not None
        )
        if missing:
            return ReviewOutcome(
                stale=missing,
                why="A neighbour shares this edge and was not shown: load it again.",
            ), {}
        return ReviewOutcome(tuple(after)), after

    def _version(self, name: str) -> int | None:
        found = self.get(name)
        return None if found is None else found.version

    def _stale(self, names: Sequence[str]) -> str:
        seen = [self.get(name) for name in names]
        if any(found is None for found in seen):
            return "A field is not there (any more): load the map again."
        who = sorted({found.person for found in seen if found is not None and found.person})
        return (
            f"{' and '.join(who) or 'Somebody'} changed "
            f"{'this field' if len(names) == 1 else 'these fields'} meanwhile: load it again."
        )

    def _made(self, action: Action) -> dict[str, Field | None]:
        """Return the fields that an action makes, with the new version."""
        acted = self.get(action.field) if action.field else None
        if acted is not None and acted.status == MERGED:
            raise BadInput("This field was united with another: act on that one.")
        mark: dict[str, Any] = {
            "version": self.count + 1,
            "person": action.person,
            "time": action.time,
        }
        if acted is None:
            return self._added(action, mark)
        if action.kind in SIMPLE:
            return self._said(action, mark)
        ways = {
            a.SPLIT: self._split,
            a.MERGE: self._merged,
            a.RESHAPE: self._redrawn,
            a.PAINT: self._brushed,
            a.ERASE: self._brushed,
        }
        return ways.get(action.kind, self._bent)(acted, action, mark)

    def _redrawn(
        self, acted: Field, action: Action, mark: dict[str, Any]
    ) -> dict[str, Field | None]:
        """Give a field another outline, without the land of others."""
        where = acted.shape.envelope.union(_hull(action.xy))
        others = [f.shape for f in self.near(where) if f.id != acted.id]
        shape = shapes.drawn(action.xy, others, self.mapped.reach, action.rings)
        return {acted.id: replace(acted, shape=shape, status=_touched(acted), **mark)}

    def _said(self, action: Action, mark: dict[str, Any]) -> dict[str, Field | None]:
        """Say one word of all fields that are named."""
        made: dict[str, Field | None] = {}
        for name in action.on:
            one = self.get(name)
            if one is None or one.status == MERGED:
                raise BadInput("One of the fields was united with another: load them again.")
            made[name] = replace(one, status=SIMPLE[action.kind], **mark)
        return made

    def _brushed(
        self, acted: Field, action: Action, mark: dict[str, Any]
    ) -> dict[str, Field | None]:
        """Give land to a field, or take some away, under the stroke of a brush."""
        reach = self.mapped.reach
        stroke = shapes.stroke(action.xy, action.width)
        if action.kind == a.ERASE:
            shape = shapes.erased(acted.shape, stroke, reach)
        else:
            others = [f.shape for f in self.near(stroke) if f.id != acted.id]
            shape = shapes.painted(acted.shape, stroke, others, reach)
        return {acted.id: replace(acted, shape=shape, status=_touched(acted), **mark)}

    def _added(self, action: Action, mark: dict[str, Any]) -> dict[str, Field | None]:
        others = [f.shape for f in self.near(_hull(action.xy))]
        shape = shapes.drawn(action.xy, others, self.mapped.reach, action.rings)
        name = self._new_id(action, 1)
        return {name: Field(name, shape, status=ADDED, **mark)}

    def _split(self, acted: Field, action: Action, mark: dict[str, Any]) -> dict[str, Field | None]:
        first, *rest = shapes.split(acted.shape, action.xy, self.mapped.reach)
        made: dict[str, Field | None] = {
            acted.id: replace(acted, shape=first, status=CORRECTED, **mark)
        }
        for k, shape in enumerate(rest, 1):
            name = self._new_id(action, k)
            made[name] = Field(name, shape, status=CORRECTED, origin=acted.origin, **mark)
        return made

    def _merged(
        self, acted: Field, action: Action, mark: dict[str, Any]
    ) -> dict[str, Field | None]:
        """Unite two fields; the larger keeps its id."""
        other = self.get(list(action.on)[1])
        if other is None or other.status == MERGED or other.id == acted.id:
            raise BadInput("There is no such neighbour (any more): load it again.")
        large, small = sorted((acted, other), key=lambda f: (-f.shape.area, f.id))
        shape = shapes.merge(large.shape, small.shape, self.mapped.reach)
        origin = tuple(dict.fromkeys((*large.origin, *small.origin)))
        return {
            large.id: replace(large, shape=shape, status=CORRECTED, origin=origin, **mark),
            small.id: replace(small, status=MERGED, **mark),
        }

    def _bent(self, acted: Field, action: Action, mark: dict[str, Any]) -> dict[str, Field | None]:
        """Change a vertex in every field that has it; neighbours keep their status."""
        xy, reach = action.xy, self.mapped.reach
        where = acted.shape.union(_hull(xy)) if action.kind != a.DROP else acted.shape
        around = {f.id: f for f in self.near(where, reach)} | {acted.id: acted}
        outlines = {name: f.shape for name, f in around.items()}
        if action.kind == a.MOVE:
            bent = shapes.move(outlines, acted.id, xy[0], xy[1], reach)
        elif action.kind == a.INSERT:
            bent = shapes.insert(outlines, acted.id, xy[:2], xy[2], reach)
        else:
            bent = shapes.drop(outlines, acted.id, xy[0], reach)
        made: dict[str, Field | None] = {}
        for name, shape in bent.items():
            status = _touched(acted) if name == acted.id else around[name].status
            who: dict[str, Any] = mark if name == acted.id else {"version": mark["version"]}
            made[name] = replace(around[name], shape=shape, status=status, **who)
        return made

    def _new_id(self, action: Action, number: int) -> str:
        """Name a new field after the action that made it."""
        name = f"{action.id}.{number}"
        return name if self.get(name) is None else f"{action.id}.{number}.{self.count}"

    def _judge_undo(self, action: Action) -> tuple[ReviewOutcome, dict[str, Field | None]]:
        target = self.applied.get(action.undo)
        if target is None or action.undo in self.undone or target.action.kind == a.UNDO:
            return ReviewOutcome(why="There is nothing to take back."), {}
        if target.action.person != action.person:
            return ReviewOutcome(
                why="Only who did it can take it back: correct it again instead."
            ), {}
        covered = tuple(name for name in target.before if self.standing[name][-1] != action.undo)
        if covered:
            who = self.applied[self.standing[covered[0]][-1]].action.person
            return ReviewOutcome(
                stale=covered,
                why=(
                    f"{who} went on from there: taking it back would lose that. Correct the field "
                    "again instead."
                ),
            ), {}
        version = self.count + 1
        after = {
            name: None if old is None else replace(old, version=version)
            for name, old in target.before.items()
        }
        self._refuse_covered(after)
        return ReviewOutcome(tuple(after)), after

    def _refuse_covered(self, after: Mapping[str, Field | None]) -> None:
        """Refuse that a field comes back to land which another was given meanwhile."""
        for name, made in after.items():
            now = self.get(name)
            if (
                made is None
                or not made.there
                or (now is not None and now.there and now.shape is made.shape)
            ):
                continue
            for other in self.near(made.shape):
                given = (
                    other.id not in after
                    and other.id in self.changed
                    and other.id != name
                    and not self._as_mapped(other)
                )
                if given and shapes.common(other.shape, made.shape) > 0.01 * min(
                    other.shape.area, made.shape.area
                ):
                    raise BadInput(
                        f"{other.person or 'Somebody'} gave that land to another field: correct "
                        "that one first."
                    )

    def _as_mapped(self, one: Field) -> bool:
        row = self.mapped.row(one.id)
        return row is not None and one.shape is self.mapped.outlines[row]

    def commit(self, action: Action, after: Mapping[str, Field | None]) -> None:
        """Do what :meth:`judge` said."""
        self.count += 1
        if action.kind == a.UNDO:
            self.undone.add(action.undo)
            for name in after:
                self.standing[name].pop()
            self.applied[action.id] = Applied(action, {})
        else:
            self.applied[action.id] = Applied(action, {name: self.get(name) for name in after})
            for name in after:
                self.standing.setdefault(name, []).append(action.id)
        for name, made in after.items():
            if made is None:
                self.changed.pop(name, None)
            else:
                self.changed[name] = made

    def take(self, action: Action) -> ReviewOutcome:
        """Do an action of the log; what does not fit is counted and left out."""
        if action.id in self.applied:
            return ReviewOutcome(why="It is known already.")
        try:
            outcome, after = self.judge(action)
        except BadInput as error:
            self.skipped += 1
            return ReviewOutcome(why=str(error))
        if outcome.done:
            self.commit(action, after)
        else:
            self.skipped += 1
        return outcome

    def last_of(self, person: str) -> str:
        """Return the latest action of a person that stands; empty if there is none."""
        for name, applied in reversed(self.applied.items()):
            if (
                applied.action.person == person
                and applied.action.kind != a.UNDO
                and name not in self.undone
            ):
                return name
        return ""


def _touched(acted: Field) -> str:
    return ADDED if acted.status == ADDED else CORRECTED


def _hull(points: np.ndarray) -> BaseGeometry:
    import shapely

    return shapely.MultiPoint(points).convex_hull
