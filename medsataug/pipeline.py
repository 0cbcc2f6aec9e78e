"""Pipelines: a list of transforms, from a recipe or from Python, and the plan for a sample."""

from __future__ import annotations

import operator
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from numbers import Real
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from medsataug import recipes
from medsataug.company import Company
from medsataug.draws import Draws
from medsataug.errors import ConfigError, MedSatAugError
from medsataug.partners import Partners
from medsataug.plan import Plan, fold
from medsataug.roles import Roles, ignored, is_raster
from medsataug.transforms._mixing import MixingTransform
from medsataug.transforms.base import (
    Named,
    State,
    Step,
    Transform,
    ValueTransform,
    config_error,
)
from medsataug.types import Array, Sample
from medsataug.whole import write_whole

Transforms = Annotated[
    tuple[Transform, ...],
    BeforeValidator(lambda given: recipes.read_transforms(given, "transforms")),
    PlainSerializer(lambda given: [recipes.plain_transform(t) for t in given]),
]


class Pipeline(BaseModel):
    """Transforms in the user's order, and how images and labels are resampled.

    Parameters
    ----------
    transforms : list of transforms, or of ``{name: {field: value}}``
    name, description : str
    geometry : {"auto", "moved", "exact"}
        ``moved``: anatomy moves inside its grid; only crops, pads, patches and resampling change
        the affine. ``exact``: the affine follows every matrix. ``auto``: exact for rasters,
        moved for the rest.
    georef : {"auto", "exact", "drop", "gcps"}
        What a raster is written with; see `medsataug.io.georef.place`.
    interpolation : {"linear", "cubic", "nearest"}
    label_interpolation : {"vote", "nearest"}
    border : {"constant", "edge", "reflect"}
    fill, label_fill : number or "auto"
    antialias : bool
        Whether shrinking by more than 1.5 averages.

    Raises
    ------
    ConfigError
        Naming the place, such as ``transforms[2] Gamma.exponent``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str = ""
    description: str = ""
    geometry: Literal["auto", "moved", "exact"] = "auto"
    georef: Literal["auto", "exact", "drop", "gcps"] = "auto"
    interpolation: Literal["linear", "cubic", "nearest"] = "linear"
    label_interpolation: Literal["vote", "nearest"] = "vote"
    border: Literal["constant", "edge", "reflect"] = "constant"
    fill: float | Literal["auto"] = "auto"
    label_fill: int | Literal["auto"] = "auto"
    antialias: bool = True
    transforms: Transforms = ()

    def __init__(self, transforms: Sequence[Any] = (), **settings: Any) -> None:
        try:
            super().__init__(transforms=transforms, **settings)
        except ValidationError as error:
            raise config_error(type(self), error) from None

    @classmethod
    def load(cls, name: str | os.PathLike[str]) -> Pipeline:
        """Read a packaged recipe by its name, or a YAML file."""
        return recipes.load(name if isinstance(name, str) else Path(name))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the recipe as YAML, whole or not at all; folders are made where they lack.

        `load` gives the same pipeline back; one without a name then bears the file's.
        """
        write_whole(recipes.text(self).encode(), Path(path))
        return Path(path)

    @cached_property
    def changes_unit(self) -> bool:
        """Whether a result may be in another unit than the stored one, and therefore float32."""
        return any(_changes_unit(t) for t in self.transforms)

    @cached_property
    def classes(self) -> tuple[int, ...]:
        """Label values of the class probabilities that every result holds, mixed or not."""
        found = {c for t in self.transforms for c in _classes(t)}
        if len(found) > 1:
            listed = " and ".join(str(list(c)) for c in sorted(found))
            raise ConfigError(f"MixUp.classes: {listed} in one pipeline; list the same in each")
        return found.pop() if found else ()

    @cached_property
    def mixes(self) -> bool:
        """Whether other samples are needed."""
        return any(_mixes(t) for t in self.transforms)

    def changed(self, **settings: Any) -> Pipeline:
        """Return the pipeline with some settings changed."""
        given = {n: getattr(self, n) for n in self.model_fields_set} | settings
        return type(self)(**given)

    def with_patch(self, size: int | Sequence[int]) -> Pipeline:
        """Return the pipeline with a random patch after its last spatial transform.

        Deformations then span the whole image, and only the patch is computed. An image smaller
        than the patch is refused: a slip of one digit would fill the memory.
        """
        from medsataug.transforms.patch import Patch

        sides = (size,) if isinstance(size, int) else tuple(size)
        one = sides[0] if len(sides) == 1 else sides
        spatial = [
            i
            for i, t in enumerate(self.transforms)
            if not isinstance(t, ValueTransform) and not _mixes(t)
        ]
        at = spatial[-1] + 1 if spatial else 0
        return self.changed(
            transforms=(*self.transforms[:at], Patch(size=one, pad=False), *self.transforms[at:])
        )

    def plan(
        self,
        sample: Sample,
        seed: int | None = None,
        index: int = 0,
        progress: float = 0.0,
        partners: Any = None,
    ) -> Plan:
        """Draw every number for one sample. No voxel is changed.

        Parameters
        ----------
        sample : Sample
        seed : int, optional
            Drawn where it is None.
        index : int
            Number of the copy: other indices give other draws.
        progress : float
            Of the training, 0 to 1, for schedules.
        partners : Partners, list of cases, or ``{id: case}``, optional
            Other samples to mix with: samples, paths, (image, label) pairs, or functions that
            give one. What is drawn depends on their order; the sample itself is never drawn.
        """
        if not isinstance(sample, Sample):
            raise ConfigError(
                f"a Sample expected, got {type(sample).__name__}; load files with msa.load(path), "
                "give arrays as image=, label=, axes="
            )
        if seed is None:
            seed = secrets.randbits(32)
        if isinstance(seed, bool) or not hasattr(seed, "__index__"):
            raise ConfigError(f"seed: a whole number expected, got {seed!r}")
        seed = operator.index(seed)
        if not isinstance(progress, Real) or not 0 <= progress <= 1:
            raise ConfigError(f"progress: a number from 0 to 1 expected, got {progress!r}")
        key, others = sample.key, Partners.of(partners)

        def streams(own: str) -> Draws:
            return Draws(seed, key, index, own)

        planned = partial(self._planned, seed=seed, index=index, progress=progress)
        guests = partial(planned, guest=True)
        company = Company(sample, others, guests, self.classes, self.changes_unit)
        plan, _ = planned(sample, streams, self._named, company=company)
        return replace(plan, classes=self.classes, partners=others if self.mixes else None)

    def plan_from(
        self, sample: Sample, streams: Callable[[str], Draws], progress: float = 0.0
    ) -> Plan:
        """Plan with the random numbers that ``streams`` gives for the key of each transform."""
        planned = self._planned(sample, streams, self._named, seed=0, index=0, progress=progress)
        return planned[0]

    @cached_property
    def _named(self) -> tuple[Named, ...]:
        """Name what each transform's random numbers are keyed by."""
        occurrences: dict[str, int] = {}
        named: list[Named] = []
        for transform in self.transforms:
            name, own = type(transform).__name__, transform.key
            if own is None:
                # One with a key of its own does not count: it may come and go.
                occurrences[name] = occurrences.get(name, -1) + 1
                own = f"{name} {occurrences[name]}"
            named.append((own, transform))
        return tuple(named)

    def _planned(
        self,
        sample: Sample,
        streams: Callable[[str], Draws],
        named: tuple[Named, ...],
        *,
        seed: int,
        index: int,
        progress: float,
        company: Company | None = None,
        guest: bool = False,
    ) -> tuple[Plan, State]:
        """Plan of the transforms, and the state after them.

        A guest's values stay float32, since they go into another sample's before that is rounded.
        """
        exact = self.geometry == "exact" or (self.geometry == "auto" and is_raster(sample))
        state = State.of(sample, "exact" if exact else "moved", progress)
        state.ignore, state.company, state.guest = ignored(sample), company, guest
        steps: list[Step] = []
        drawn: list[tuple[str, dict[str, str]]] = []
        for number, (own, transform) in enumerate(named):
            name, draws = type(transform).__name__, streams(own)
            try:
                made = transform.steps(draws, state)
            except MedSatAugError as error:
                text = str(error)
                text = text if text.startswith(name) else f"{name}: {text}"
                raise type(error)(f"transforms[{number}] {text}") from None
            for step in made:
                state.follow(step)
            state.before = (*state.before, (own, transform))
            steps += made
            if made:
                drawn.append((name, draws.log))
        plan = Plan(
            segments=fold(steps, sample.grid.shape),
            source=sample.grid,
            grid=state.grid,
            exact=state.exact,
            channels=tuple(c.name for c in sample.channels),  # type: ignore[union-attr]
            sample=sample.key,
            seed=seed,
            index=index,
            roles=Roles(
                self.interpolation, self.label_interpolation, self.border, self.fill,
                self.label_fill, self.antialias,
            ),
            drawn=tuple(drawn),
            geometry=state.geometry,
            georef=self.georef,
            recipe=self.name,
            changes_unit=self.changes_unit or guest,
            progress=progress,
        )  # fmt: skip
        return plan, state

    def __call__(
        self,
        sample: Sample | None = None,
        *,
        image: Array | None = None,
        label: Array | None = None,
        valid: Array | None = None,
        points: Array | None = None,
        boxes: Array | None = None,
        polygons: Sequence[Array] | None = None,
        axes: str | None = None,
        spacing: Sequence[float] | None = None,
        id: str = "",
        seed: int | None = None,
        index: int = 0,
        progress: float = 0.0,
        partners: Any = None,
    ) -> Sample:
        """Plan and carry out: the same inputs give the same bytes.

        Give a sample, or arrays: an image with its ``axes`` (``"CYX"``, ``"ZYX"``, …), a label,
        and points, boxes or polygons (see `medsataug.shapes`). The result's ``image`` is
        (C, [Z,] Y, X).
        """
        if sample is None:
            if image is None:
                raise ConfigError("a Sample, or image= with axes=, is needed")
            sample = Sample(
                image=image, label=label, valid=valid, axes=axes, spacing=spacing, id=id,
                points=points, boxes=boxes, polygons=polygons,
            )  # fmt: skip
        elif any(p is not None for p in (image, label, valid, points, boxes, polygons)):
            raise ConfigError("give a Sample or arrays, not both")
        return self.plan(sample, seed, index, progress, partners)(sample)


def _changes_unit(transform: Transform) -> bool:
    children = getattr(transform, "transforms", ())
    return type(transform).changes_unit or any(_changes_unit(c) for c in children)


def _mixes(transform: Transform) -> bool:
    children = getattr(transform, "transforms", ())
    return isinstance(transform, MixingTransform) or any(_mixes(c) for c in children)


def _classes(transform: Transform) -> set[tuple[int, ...]]:
    """Find what probabilities are made of; what is switched off makes none."""
    if not transform.p:
        return set()
    own = getattr(transform, "probabilities", ())
    children = getattr(transform, "stages", getattr(transform, "transforms", ()))
    return ({own} if own else set()).union(*map(_classes, children))
