"""Reading and computing at the same time.

Stacks of one band of one block are read by many threads while the median of the one before is
taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from selion.errors import BadInput, FetchFailed, SelionError
from selion.grid import Roi, roi_shape
from selion.imagery.composite_blocks import CompositeBlock
from selion.imagery.median import masked_median
from selion.imagery.reading import Unreachable
from selion.imagery.scene import Scene
from selion.imagery.views import SceneView

BREAKS: tuple[type[SelionError], ...] = (BadInput, FetchFailed)
"""What a scene may raise that is then left out; the rest (no space left, a bug) is no fault of the
scene."""


Asked = tuple[SceneView, Future[Any]]
"""A view, and what its thread was asked to do."""


@dataclass(frozen=True, slots=True)
class ReadPiece:
    """A cell of the composite, and the blocks in it that are to be made.

    The scene classification is read for a cell at once.
    """

    cell: Roi
    blocks: tuple[Roi, ...]


@dataclass(frozen=True, slots=True)
class Broken:
    """A scene that cannot be read."""

    scene: Scene
    error: SelionError

    @property
    def why(self) -> str:
        """One sentence."""
        return str(self.error)

    @property
    def silent(self) -> bool:
        """Whether it is only that the server does not answer."""
        return isinstance(self.error, Unreachable | FetchFailed)


@dataclass(frozen=True, eq=False, slots=True)
class _Making:
    """A block on its way: its pixels fill up band by band."""

    roi: Roi
    cell: Roi
    views: list[SceneView]
    """Those that are clear somewhere in it."""
    clear: dict[str, int]
    layers: list[np.ndarray] = field(default_factory=list)
    """(y, x) uint16 of each band that is done, and the views of it, (y, x) uint8, as the last
    one."""


@dataclass(frozen=True, eq=False, slots=True)
class _Stack:
    """One band of one block, being read."""

    making: _Making
    band: int
    buffer: np.ndarray
    """Where ``pixels`` lie; it goes back to the others afterwards."""
    pixels: np.ndarray
    """(view, y, x) uint16."""
    reads: list[Asked]


class _SomeBroke(Exception):
    """Leaves the loop over blocks; :attr:`Pipeline.broken` says which scenes."""


@dataclass(eq=False)
class Pipeline:
    """Makes blocks from views.  Use it as a context manager; its threads end with it.

    Each view belongs to one thread, which does what is asked of it in turn: no lock is needed.  A
    file is opened once per cell, and holds the tile that was read last only as long as its band is
    read.

    Parameters
    ----------
    views : list of SceneView
    bands : tuple of str
        What is read of each.
    readers : int
        Threads at most.
    ahead : int
        Stacks that are read while another one is computed.
    """

    views: list[SceneView]
    bands: tuple[str, ...]
    readers: int
    ahead: int
    broken: list[Broken] = field(default_factory=list)
    """Filled when :meth:`blocks` ends early."""
    _threads: list[ThreadPoolExecutor] = field(default_factory=list)
    _buffers: list[np.ndarray] = field(default_factory=list)

    def __enter__(self) -> Self:
        number = max(min(self.readers, len(self.views)), 1)
        self._threads = [
            ThreadPoolExecutor(1, thread_name_prefix=f"selion-reader-{k}") for k in range(number)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.shutdown(wait=False, cancel_futures=True)
        for thread in self._threads:
            thread.shutdown(wait=True)

    def blocks(self, pieces: Sequence[ReadPiece]) -> Iterator[tuple[Roi, CompositeBlock]]:
        """Make the blocks of each piece, all of them band by band.

        End early when a scene breaks.
        """
        flying: deque[_Stack] = deque()
        asked = self._ask(pieces[0]) if pieces else []
        try:
            for number, piece in enumerate(pieces):
                answers = asked
                # the question for the next cell stands in line before the bands of this one: its
                # answer is there when it is needed
                asked = self._ask(pieces[number + 1]) if number + 1 < len(pieces) else []
                making = self._begin(piece, answers)
                for band in range(len(self.bands)):
                    for block in making:
                        if len(flying) > self.ahead:
                            yield from self._land(flying.popleft())
                        flying.append(self._fly(block, band))
            while flying:
                yield from self._land(flying.popleft())
        except _SomeBroke:
            self._drain([*asked, *(read for stack in flying for read in stack.reads)])

    def _ask(self, piece: ReadPiece) -> list[Asked]:
        return [
            (view, self._thread(view).submit(view.clear_pixels, piece.blocks, piece.cell))
            for view in self.views
        ]

    def _begin(self, piece: ReadPiece, answers: list[Asked]) -> list[_Making]:
        self._wait(answers)
        making = []
        for number, roi in enumerate(piece.blocks):
            clear = {
                view.scene.id: answer.result()[number]
                for view, answer in answers
                if answer.result()[number]
            }
            views = [view for view in self.views if view.scene.id in clear]
            making.append(_Making(roi, piece.cell, views, clear))
        return making

    def _fly(self, making: _Making, band: int) -> _Stack:
        shape = len(making.views), *roi_shape(making.roi)
        buffer = self._buffers.pop() if self._buffers else np.empty(0, np.uint16)
        if buffer.size < np.prod(shape):
            buffer = np.empty(int(np.prod(shape)), np.uint16)
        pixels = buffer[: np.prod(shape)].reshape(shape)
        reads = [
            (
                view,
                self._thread(view).submit(
                    view.read, self.bands[band], making.roi, making.cell, layer
                ),
            )
            for view, layer in zip(making.views, pixels, strict=True)
        ]
        return _Stack(making, band, buffer, pixels, reads)

    def _land(self, stack: _Stack) -> Iterator[tuple[Roi, CompositeBlock]]:
        """Wait for a stack and take its median; hand the block out with its last band."""
        making = stack.making
        self._wait(stack.reads)
        median, count = masked_median(stack.pixels) if making.views else _nothing(making.roi)
        self._buffers.append(stack.buffer)
        views = making.layers.pop() if making.layers else count
        making.layers.extend((median, np.minimum(views, count)))
        if stack.band == len(self.bands) - 1:
            values = np.stack(making.layers, dtype=np.uint16)
            making.layers.clear()
            values[:-1] *= values[-1] > 0
            yield making.roi, CompositeBlock(values, making.clear)

    def _wait(self, asked: list[Asked]) -> None:
        """Wait for all; leave if one of them broke."""
        for view, future in asked:
            error = future.exception()
            if isinstance(error, BREAKS):
                self._note(view, error)
            elif error is not None:
                raise error
        if self.broken:
            raise _SomeBroke

    def _drain(self, asked: list[Asked]) -> None:
        """Drop what has not begun.

        But when a server is silent, hear everything out, to learn whether it is so for all scenes.
        """
        silent = any(one.silent for one in self.broken)
        for view, future in asked:
            error = None if not silent and future.cancel() else future.exception()
            if isinstance(error, BREAKS):
                self._note(view, error)

    def _note(self, view: SceneView, error: SelionError) -> None:
        if view.scene.id not in {one.scene.id for one in self.broken}:
            self.broken.append(Broken(view.scene, error))

    def _thread(self, view: SceneView) -> ThreadPoolExecutor:
        return self._threads[self.views.index(view) % len(self._threads)]


def _nothing(roi: Roi) -> tuple[np.ndarray, np.ndarray]:
    """Return what a block shows in which no scene is clear."""
    return np.zeros(roi_shape(roi), np.uint16), np.zeros(roi_shape(roi), np.uint8)
