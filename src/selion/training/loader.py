"""Reading ahead: batches are made while the network computes.

Threads or processes make them, and they are the same whoever makes them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from selion.sample import Sample
from selion.training.crops import Batch, collate, make_view
from selion.training.draws import Draw, order
from selion.training.mixture import Mixture, epoch_length, recipe_for
from selion.training.recipe import Recipe

AHEAD = 3
"""Batches that are under way at once."""
Place = tuple[int, int]
"""(epoch, batch in the epoch)."""


@dataclass(frozen=True, eq=False)
class Feed:
    """Samples and a recipe: every batch of a run, by its number."""

    samples: Sequence[Sample]
    recipe: Recipe
    _open: dict[int, Sample] = field(default_factory=dict, repr=False)
    _bytes: list[int] = field(default_factory=lambda: [0], repr=False)

    def sample(self, index: int) -> Sample:
        """Open a sample.

        Its masks are kept in memory as long as ``hardware.keep_mb`` lasts, since scenes give many
        windows and chips come back each epoch.
        """
        found = self._open.get(index)
        if found is None:
            found = self.samples[index]
            if self._bytes[0] + _masks(found) <= self.recipe.hardware.keep_mb * 2**20:
                self._bytes[0] += _masks(found)
                self._open[index] = found
        return found

    @cached_property
    def length(self) -> int:
        """Windows in an epoch."""
        return epoch_length(self.samples, self.recipe)

    @cached_property
    def batches(self) -> int:
        """Batches in an epoch; the last one may be smaller.

        A single window that is left over joins the batch before it: batch statistics of one window
        are none.
        """
        batch = self.recipe.schedule.batch
        alone = batch > 1 and self.length > batch and self.length % batch == 1
        return -(-self.length // batch) - alone

    def draws(self, place: Place) -> list[tuple[int, Draw]]:
        """Return (sample, draw) of each window of a batch."""
        epoch, number = place
        batch, seed = self.recipe.schedule.batch, self.recipe.seed
        chosen = self._order(epoch)
        stop = self.length if number == self.batches - 1 else (number + 1) * batch
        return [(int(chosen[k]), Draw(seed, epoch, k, number)) for k in range(number * batch, stop)]

    def _order(self, epoch: int) -> np.ndarray:
        """Return which sample each place of an epoch takes.

        Each once, or evenly often where there are more places; of a mixture each part by its share.
        """
        if isinstance(self.samples, Mixture):
            return self.samples.order(self.recipe.seed, epoch, self.length)
        rounds = -(-self.length // len(self.samples))
        return np.concatenate(
            [order(self.recipe.seed, epoch, len(self.samples), k) for k in range(rounds)]
        )[: self.length]

    def view(self, index: int, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        """Make one view."""
        return make_view(self.sample(index), recipe_for(self.samples, self.recipe, index), draw)

    def batch(self, place: Place) -> Batch:
        """Make one batch."""
        return collate([self.view(index, draw) for index, draw in self.draws(place)])


def _masks(sample: Sample) -> int:
    """Return the bytes of a sample's masks."""
    return sum(truth.ids.nbytes for truth in (sample.labels, sample.instances) if truth is not None)


class Waiting:
    """Batches in order, and how long they were waited for."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self.seconds = 0.0
        """Time spent waiting for data."""

    def __iter__(self) -> Iterator[Batch]:
        while True:
            began = time.perf_counter()
            batch = next(self._batches, None)
            self.seconds += time.perf_counter() - began
            if batch is None:
                return
            yield batch

    def close(self) -> None:
        """Read no further batches."""
        if isinstance(self._batches, Generator):
            self._batches.close()


def read_ahead(feed: Feed, places: Sequence[Place]) -> Waiting:
    """Return the batches at these places, in this order.

    They are read ahead as the recipe's hardware says.
    """
    hardware = feed.recipe.hardware
    if hardware.workers == 0:
        return Waiting(map(feed.batch, places))
    if hardware.kind == "process":
        return Waiting(_by_processes(feed, places, hardware.workers))
    return Waiting(_by_threads(feed, places, hardware.workers))


def _by_threads(feed: Feed, places: Sequence[Place], workers: int) -> Iterator[Batch]:
    """Make views in threads: what they do holds no lock, save Python's own between calls."""
    with ThreadPoolExecutor(workers, "selion-loader") as pool:
        waiting: deque[list[Future[Any]]] = deque()
        todo = iter(places)
        try:
            while True:
                while len(waiting) < AHEAD and (place := next(todo, None)) is not None:
                    waiting.append([pool.submit(feed.view, *task) for task in feed.draws(place)])
                if not waiting:
                    return
                yield collate([future.result() for future in waiting.popleft()])
        finally:
            for future in (f for batch in waiting for f in batch):
                future.cancel()


class _Places:
    """A torch map-style dataset whose index is a place."""

    def __init__(self, make: Callable[[Place], Batch]) -> None:
        self._make = make

    def __getitem__(self, place: Place) -> Batch:
        """Make a batch."""
        return self._make(place)


def _by_processes(feed: Feed, places: Sequence[Place], workers: int) -> Iterator[Batch]:
    """Make whole batches in processes of their own, started fresh.

    A copy of this one would inherit its locks.
    """
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(
        _Places(partial(_batch, feed)),  # type: ignore[arg-type]
        batch_size=None,
        sampler=list(places),
        num_workers=workers,
        prefetch_factor=2,
        multiprocessing_context="spawn",
        collate_fn=_tensors,  # type: ignore[arg-type]
    )
    for pixels, labels in loader:
        yield Batch(pixels.numpy(), labels.numpy())


def _batch(feed: Feed, place: Place) -> Batch:
    return feed.batch(place)


def _tensors(batch: Batch) -> tuple[Any, Any]:
    """Hand numbers over as torch tensors, which travel between processes through shared memory."""
    import torch

    return torch.from_numpy(batch.pixels), torch.from_numpy(batch.labels)
