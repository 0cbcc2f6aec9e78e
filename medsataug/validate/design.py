"""Which cases train and which test: folds, disjoint training sets, or blocks of a series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from medsataug.cases import CaseSet
from medsataug.cases.splits import group_of, is_tile, split
from medsataug.draws import shuffled, stream_key
from medsataug.errors import ConfigError
from medsataug.train.data import as_cases

Kind = Literal["folds", "sets", "blocks"]


@dataclass(frozen=True)
class Split:
    """One training of each recipe: what it learns from, and what it is tested with.

    Attributes
    ----------
    name : str
        Such as ``r1f2`` (repeat 1, fold 2), ``set3``, or ``r1f2n12`` (with 12 cases of it).
    seed : int
        Of weights and draws, the same for all recipes.
    size : int or None
        Training cases that were asked for; None is all there are.
    training, test : tuple of str
        Ids of cases.
    available : int
        Cases that training could have had.
    """

    name: str
    seed: int
    size: int | None
    training: tuple[str, ...]
    test: tuple[str, ...]
    available: int


@dataclass(frozen=True)
class Design:
    """All splits, and what they allow to conclude.

    Attributes
    ----------
    kind : {"folds", "sets", "blocks"}
        Repeated cross-validation; disjoint training sets that are all tested with the same cases;
        or folds that are runs of neighbours, of which nothing but their own scores is told.
    splits : tuple of Split
    """

    kind: Kind
    splits: tuple[Split, ...]

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """Numbers of training cases, rising."""
        return tuple(dict.fromkeys(s.size for s in self.splits))

    def of(self, size: int | None) -> tuple[Split, ...]:
        """Return the splits of one number of training cases."""
        return tuple(s for s in self.splits if s.size == size)

    def split(self, name: str) -> Split:
        """Return the split of a name."""
        return next(s for s in self.splits if s.name == name)

    @property
    def sentence(self) -> str:
        """Say it in words."""
        first = self.of(self.sizes[-1])
        tested = sorted({len(s.test) for s in first})
        trained = sorted({len(s.training) for s in first})
        what = {
            "folds": "cross-validation",
            "sets": "disjoint training sets, all tested with the same cases",
            "blocks": "blocks of a series, each tested once",
        }[self.kind]
        with_ = " or ".join(map(str, self.sizes)) if len(self.sizes) > 1 else _span(trained)
        count = f"{len(self.splits)} trainings of each recipe"
        return f"{what}: {count}, with {with_} cases, tested with {_span(tested)}"


def folds(
    cases: Sequence[Any],
    number: int = 5,
    repeats: int = 1,
    seed: int = 0,
    *,
    sizes: Sequence[int] = (),
    ordered: bool = False,
    buffer: int | None = None,
) -> Design:
    """Repeated cross-validation; every case is tested once in each repeat.

    Parameters
    ----------
    cases : sequence
        A `medsataug.cases.CaseSet`, or as of `medsataug.train.train`.
    number, repeats, seed : int
        The first repeat has the folds of ``cases.split(cases, number, seed)``.
    sizes : sequence of int
        Train with so many cases of each fold instead of all; the few are part of the many.
    ordered, buffer
        As of `medsataug.cases.split`; ordered cases have one repeat, and lose a neighbour on
        either side of a tested block unless told otherwise.

    Raises
    ------
    ConfigError
        For fewer cases than folds, sizes larger than a fold's training part, repeats of a series,
        and repeats that would test the same folds again.
    """
    if ordered and repeats > 1:
        raise ConfigError(f"repeats: {repeats}; the blocks of a series are always the same, give 1")
    if ordered and buffer is None:
        buffer = 1
    known, out = as_cases(cases), list[Split]()
    seen: set[frozenset[int]] = set()
    given = cases if isinstance(cases, CaseSet) else known  # a set may keep tiles apart
    for repeat in range(repeats):
        parts = split(given, number, seed + repeat, buffer, ordered=ordered)
        tests = {frozenset(test) for _, test in parts}
        if tests & seen:
            raise ConfigError(
                f"repeats: {repeats}; some folds come again, since there are hardly more groups of "
                f"cases than the {number} folds; give 1, or fewer folds"
            )
        seen |= tests
        for fold, (training, test) in enumerate(parts):
            own = seed + number * repeat + fold
            learnt = [known[i].id for i in training]
            name = f"r{repeat + 1}f{fold + 1}"
            tested = tuple(known[i].id for i in test)
            if not sizes:
                out.append(Split(name, own, None, tuple(learnt), tested, len(learnt)))
            most = len(learnt)
            order = shuffled(most, "training cases", seed, repeat, fold)
            for size in sorted(set(sizes)):
                if not 1 <= size <= most:
                    raise ConfigError(f"sizes: {size}; {name} has 1 to {most} cases to train with")
                few = tuple(learnt[i] for i in sorted(order[:size]))
                out.append(Split(f"{name}n{size}", own, size, few, tested, most))
    return Design("blocks" if ordered else "folds", tuple(out))


def sets(cases: Sequence[Any], number: int, test: int, seed: int = 0) -> Design:
    """Disjoint training sets, all tested with the same cases.

    Scores of such sets are independent but for the test cases, so that a plain t-test over them
    holds; it takes more cases than cross-validation.

    Parameters
    ----------
    cases : sequence
        As of `folds`; those of one ``group`` stay together.
    number : int
        Of training sets, 2 or more.
    test : int
        Cases to test with; they depend on the seed alone, not on the number of sets.
    seed : int

    Raises
    ------
    ConfigError
        For too few cases, and tiles of one raster, which `folds` keeps apart.
    """
    if number < 2 or not 1 <= test <= len(cases) - number:
        raise ConfigError(
            f"sets: {number} sets and {test} test cases of {len(cases)} cases; 2 sets or more, and "
            "a case or more for each are needed"
        )
    if any(map(is_tile, cases)):
        raise ConfigError("sets: tiles of one raster are near one another; use folds")
    known = as_cases(cases)
    tested, rest = set_aside(known, test, seed)
    left = len({group_of(known[i]) for i in rest})
    if left < number:
        raise ConfigError(f"sets: {number}, but {left} groups are left to train with")
    parts = split([known[i] for i in rest], number, seed)
    ids = tuple(known[i].id for i in tested)

    def one(number: int, own: Sequence[int]) -> Split:
        learnt = tuple(known[rest[i]].id for i in own)
        return Split(f"set{number + 1}", seed + number, None, learnt, ids, len(learnt))

    return Design("sets", tuple(one(k, own) for k, (_, own) in enumerate(parts)))


def set_aside(cases: Sequence[Any], test: int, seed: int = 0) -> tuple[list[int], list[int]]:
    """Cases to test with at the end, and the rest, by number.

    Parameters
    ----------
    cases : sequence
        Of anything with an ``id``. Those of one ``group`` stay together, so that a few more than
        ``test`` may be set aside.
    test, seed : int
        Of `sets`, which tests with the same cases.
    """
    groups: dict[str, list[int]] = {}
    for i, case in enumerate(cases):
        groups.setdefault(group_of(case), []).append(i)
    order = sorted(groups, key=lambda name: (stream_key(seed, "tested", name), name))
    tested: list[int] = []
    while len(tested) < test and order:
        tested += groups[order.pop(0)]
    return sorted(tested), sorted(i for name in order for i in groups[name])


def _span(numbers: Sequence[int]) -> str:
    low, high = numbers[0], numbers[-1]
    return f"{low}" if low == high else f"{low} to {high}"
