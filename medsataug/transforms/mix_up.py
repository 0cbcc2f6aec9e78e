"""Two images at once."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from medsataug.errors import ConfigError
from medsataug.transforms._mixing import MixingTransform, beta
from medsataug.transforms.base import Cases, Draws, State, Step


class MixUp(MixingTransform):
    """Show another image through this one, as in a double exposure.

    The image becomes λ x + (1 − λ) y. The label becomes the class probabilities (``soft``)
    λ a + (1 − λ) b, with a and b the labels as probabilities 0 and 1; the label itself becomes
    that of the larger part. With ``classes`` every result has probabilities, mixed or not, so that
    batches are alike.

    Parameters
    ----------
    alpha : float
        λ is drawn from Beta(α, α): small numbers leave one image faint, 1 draws evenly.
    classes : int or list of int, optional
        Number of classes, for label values 0, 1, …; or the label values, in the order of the
        probabilities. Needed where there is a label and the samples bring no probabilities:
        what two labels happen to hold would make batches unlike. Ignored values get 0 everywhere.

    Source: Zhang et al., "mixup: beyond empirical risk minimization", ICLR (2018), section 2.
    """

    cases: ClassVar[Cases] = Cases(
        zero=None,
        # Every value that labels of the tests hold.
        full={"alpha": 1, "classes": [0, 1, 4, 5, 7, -3, 900, 60_000, 70_000]},
        why="two images are always mixed; p=0 switches it off",
    )

    alpha: Annotated[float, Field(gt=0)] = 0.2
    classes: Annotated[int, Field(ge=1)] | tuple[int, ...] | None = None

    @field_validator("classes")
    @classmethod
    def _once(cls, given: int | tuple[int, ...] | None) -> int | tuple[int, ...] | None:
        if isinstance(given, tuple) and len(set(given)) < len(given):
            raise ValueError(f"{list(given)}: each label value may stand there once")
        return given

    @property
    def probabilities(self) -> tuple[int, ...]:
        """Label values, in the order of the class probabilities."""
        given = self.classes
        return tuple(range(given)) if isinstance(given, int) else given or ()

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw λ and a partner."""
        if state.has_label and not state.has_soft and not self.classes:
            raise ConfigError(
                "MixUp.classes: a label is given, whose mixture is class probabilities; say how "
                "many classes there are (label values 0, 1, …), or list the label values"
            )
        part = beta(draws, "lambda", self.alpha)
        return self.mix(draws, state, "mix_up", (1 - part,))


def kernel(label: Any, shape: Any, params: Any) -> float:
    """Return the partner's share, the same everywhere."""
    return float(params[0])
