"""What is searched: how many operations of a domain are applied, and how strongly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medsataug.errors import ConfigError
from medsataug.pipeline import Pipeline
from medsataug.transforms._policies import DOMAINS, MOST, space
from medsataug.transforms.patch import Patch
from medsataug.transforms.rand_augment import RandAugment
from medsataug.transforms.some_of import SomeOf

#: Numbers by name: ``n``, and ``m`` or one for each operation.
Params = Mapping[str, float]
#: Most operations that are applied to one image.
COUNT = 4


@dataclass(frozen=True)
class Space:
    """Recipes that a search chooses from.

    Attributes
    ----------
    domain : str
        Whose operations are drawn from, as `medsataug.RandAugment` does.
    each : bool
        Whether each operation has a magnitude of its own, with which 0 leaves it out; else all
        have one.

    Raises
    ------
    ConfigError
        For an unknown domain.
    """

    domain: str
    each: bool = False

    def __post_init__(self) -> None:
        if self.domain not in DOMAINS:
            raise ConfigError(f"domain: {self.domain!r}; allowed: {', '.join(DOMAINS)}")

    @property
    def magnitudes(self) -> tuple[str, ...]:
        """Names of the magnitudes."""
        return tuple(space(self.domain)) if self.each else ("m",)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all numbers."""
        return ("n", *self.magnitudes)

    @property
    def none(self) -> Params:
        """No augmentation."""
        return {"n": 1} | dict.fromkeys(self.magnitudes, 0)

    @property
    def default(self) -> Params:
        """What `medsataug.RandAugment` does unless told otherwise."""
        fields = RandAugment.model_fields
        m = fields["m"].default.values[0]
        return {"n": fields["n"].default} | dict.fromkeys(self.magnitudes, int(m))

    def check_axes(self, ndim: int) -> None:
        """Refuse volumes where the domain's strengths are known for images only."""
        if not all(ndim in known.strengths for known in space(self.domain).values()):
            raise ConfigError(
                f"domain: {self.domain!r} is for 2D images, these cases have {ndim} axes; allowed: "
                "medical"
            )

    def distributions(self) -> dict[str, Any]:
        """Return what Optuna draws each number from."""
        from optuna.distributions import FloatDistribution, IntDistribution

        one = IntDistribution(0, MOST) if self.each else FloatDistribution(0, MOST, step=0.1)
        return {"n": IntDistribution(1, COUNT)} | dict.fromkeys(self.magnitudes, one)

    def recipe(self, params: Params, patch: Sequence[int], foreground: float) -> Pipeline:
        """Recipe of some numbers.

        It cuts its patch first, so that values are changed in the patch alone; training brings it
        to its own size.

        Parameters
        ----------
        params : {name: number}
        patch : (N,) int
        foreground : float
            Part of the patches that lie around a class.
        """
        cut = Patch(size=tuple(patch), foreground=foreground, empty="random")
        kept = {name: params[name] for name in self.magnitudes if params[name]}
        if not kept:
            return Pipeline((cut,))
        n = int(params["n"])
        if not self.each:
            return Pipeline((cut, RandAugment(domain=self.domain, n=n, m=params["m"])))
        alone = [
            RandAugment(domain=self.domain, operations=[name], n=1, m=m) for name, m in kept.items()
        ]
        return Pipeline((cut, SomeOf(transforms=alone, count=min(n, len(alone)))))

    def told(self, params: Params) -> str:
        """Say it in a few words, such as ``n 2, m 4.1``."""
        kept = [f"{name} {params[name]:g}" for name in self.magnitudes if params[name]]
        return ", ".join([f"n {params['n']:g}", *kept]) if kept else "none"
