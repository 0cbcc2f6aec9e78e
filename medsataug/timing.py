"""Where the time goes: what executes a plan says which part it comes to, and a clock listens.

Nobody listens unless asked to, and then no voxel is slower: the clock that is off hands functions
back as they are.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from medsataug import threads

#: Number of a pass, from 1, or 0 for what stands outside; and a name, or the number of a step.
Part = tuple[int, str | int]
#: Runs, and seconds after which no further one starts.
RUNS, BUDGET_S = 15, 2.0


class Clock:
    """A clock that is off."""

    def enter(self, number: int) -> None:
        """Begin pass ``number``; 0 is what comes before and after all passes."""

    def turn(self, part: str | int) -> None:
        """From now on time belongs to ``part`` of this pass, until the next turn."""

    def of(self, part: str | int, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function``, to be called by any thread: its time belongs to ``part``."""
        return function


class Stopwatch(Clock):
    """A clock that runs. Its parts add up to all the time from its making to the last turn.

    What functions from `of` took within a turn, summed over threads, shares that turn's time out
    among their parts in proportion.
    """

    def __init__(self) -> None:
        self.seconds: dict[Part, float] = defaultdict(float)
        self._number = 0
        self._part: str | int = "start"
        self._heard: list[tuple[Part, float]] = []
        self._since = time.perf_counter()

    def enter(self, number: int) -> None:
        """Begin pass ``number``; 0 is what comes before and after all passes."""
        self.turn("map")
        self._number = number

    def turn(self, part: str | int) -> None:
        """From now on time belongs to ``part`` of this pass, until the next turn."""
        now = time.perf_counter()
        heard, self._heard = self._heard or [((self._number, self._part), 1.0)], []
        whole = sum(spent for _, spent in heard) or 1.0
        for which, spent in heard:
            self.seconds[which] += (now - self._since) * spent / whole
        self._part, self._since = part, now

    def of(self, part: str | int, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function``, to be called by any thread: its time belongs to ``part``."""
        which = (self._number, part)

        def timed(*given: Any) -> Any:
            started = time.perf_counter()
            result = function(*given)
            self._heard.append((which, time.perf_counter() - started))
            return result

        return timed


_OFF = Clock()
_listening: ContextVar[Clock] = ContextVar("clock", default=_OFF)


def clock() -> Clock:
    """Return the clock of whoever measures what runs now; it is off where nobody does."""
    return _listening.get()


@contextmanager
def listening(to: Clock = _OFF) -> Iterator[None]:
    """Let what runs within report to a clock, by default to none."""
    before = _listening.set(to)
    try:
        yield
    finally:
        _listening.reset(before)


@dataclass(frozen=True)
class Cost:
    """What carrying a plan out takes, in seconds.

    Attributes
    ----------
    parts, total : {Part: float}, float
        Of the run in the middle; the parts add up to the total.
    runs : int
        Of which it is the middle.
    first : float
        The run before these, which compiled or loaded kernels.
    threads : int
    around : {str: float}
        What else a copy needs, such as reading files: medians.
    """

    parts: Mapping[Part, float]
    total: float
    runs: int
    first: float
    threads: int
    around: Mapping[str, float] = field(default_factory=dict)


def measure(run: Callable[[], object]) -> Cost:
    """Call ``run`` once to warm up, then several times under a clock.

    Parameters
    ----------
    run : callable
        Carries a plan out: ``lambda: plan(sample)``.
    """
    started = time.perf_counter()
    run()
    first = time.perf_counter() - started
    seen: list[Stopwatch] = []

    def timed() -> object:
        watch = Stopwatch()
        with listening(watch):
            result = run()
        watch.turn("end")
        seen.append(watch)
        return result

    median(timed)
    # All of one run, since medians of parts need not add up to that of the whole.
    middle = sorted(seen, key=lambda watch: sum(watch.seconds.values()))[len(seen) // 2]
    total = sum(middle.seconds.values())
    return Cost(dict(middle.seconds), total, len(seen), first, threads.count())


def median(call: Callable[[], object]) -> float:
    """Seconds that ``call`` takes: median of `RUNS` calls, of fewer where they take long."""
    taken: list[float] = []
    while len(taken) < RUNS and sum(taken) < BUDGET_S:
        started = time.perf_counter()
        result = call()
        taken.append(time.perf_counter() - started)
        del result  # freeing is the caller's
    return statistics.median(taken)
