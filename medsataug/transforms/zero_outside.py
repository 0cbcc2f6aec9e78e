"""Keep zero what lies outside the mask that the image was normalised in."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from medsataug.kernels.jit import kernel as compiled
from medsataug.transforms.base import Cases, Draws, State, Step, ValueTransform, WhereField
from medsataug.types import Array
from medsataug.values import LabelStep


class ZeroOutside(ValueTransform):
    """Blacken the image where its label says "outside", then make that label background.

    nnU-Net's preprocessing marks with −1 what lies outside the nonzero region in which channels
    were normalised; other steps leave noise and brightness there. Place it last.

    Parameters
    ----------
    where : label values, or as in other transforms of values
        Values that mark what lies outside. They become 0 in every layer of the label; the first
        layer says which voxels of the image become 0.

    Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), methods (normalisation within the
    nonzero region); batchgeneratorsv2 0.3.6, ``MaskImageTransform`` and ``RemoveLabelTransform``.
    """

    #: By value alone: what marks the outside is no class that the tests' probabilities know.
    cases: ClassVar[Cases] = Cases(zero={"where": ()}, full={"where": "nonzero"})

    where: WhereField = (-1,)

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """No chance here."""
        if not state.has_label or not self.where:
            return ()
        zeroed = self.tile("zero_outside", self.for_each(draws, state, lambda: lambda _: ()))
        if isinstance(self.where, str):
            return zeroed
        values = tuple(map(float, self.where))
        return (*zeroed, LabelStep("zero_outside:removed", values, kind="values"))


@compiled
def kernel(x, p, first, key):  # type: ignore[no-untyped-def]
    """Set to 0 what is not NaN."""
    for i in range(x.shape[0]):
        x[i] = np.float32(0) if x[i] == x[i] else x[i]


def removed(label: Array, image: Array, params: tuple[float, ...], key: int) -> Array:
    """Label with the values of ``params`` set to 0."""
    return np.where(np.isin(label, params), label.dtype.type(0), label)
