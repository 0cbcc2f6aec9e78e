"""Whether a difference between two recipes is more than chance.

Scores of cross-validation are not independent: any two folds share training cases, so that a
plain t-test finds differences where there are none. The test here widens the variance by the share
of test cases (Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52
(2003), section 4, equation 7; for repeated cross-validation Bouckaert and Frank, PAKDD (2004)).
The plain one stands beside it, and is called uncorrected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from medsataug.draws import Draws
from medsataug.errors import ConfigError

Floats = NDArray[np.float64]
#: "No worse" means that the interval's lower bound is above this.
MARGIN = -0.01


@dataclass(frozen=True)
class Test:
    """A paired comparison: means of differences, in the score's own unit.

    Attributes
    ----------
    mean, low, high : float
        Mean difference, and its interval.
    t, df, p : float
        The statistic, its degrees of freedom, and the two-sided probability.
    effect : float
        Mean difference ÷ standard deviation of the differences (Cohen's d for pairs).
    detectable : float
        The smallest mean difference that this test would have found in 80 of 100 experiments.
    """

    mean: float
    low: float
    high: float
    t: float
    df: int
    p: float
    effect: float
    detectable: float

    @property
    def no_worse(self) -> bool:
        """Whether the interval excludes a loss of more than .01."""
        return self.low > MARGIN


def corrected_t(
    differences: Sequence[float] | Floats,
    test_to_train: float,
    confidence: float = 0.95,
    power: float = 0.8,
    comparisons: int = 1,
) -> Test:
    """Corrected resampled t-test.

    Parameters
    ----------
    differences : (J,) array
        Of two recipes' scores, one for each fold of each repeat.
    test_to_train : float
        Test cases of a fold ÷ training cases. 0 gives the plain paired test.
    confidence, power : float
    comparisons : int
        Recipes that are compared at once: what is detectable, must be so after adjustment.

    Raises
    ------
    ConfigError
        For fewer than two differences.

    Source: t = mean / √((1/J + n_test/n_train) · s²), J − 1 degrees of freedom: Nadeau and Bengio
    (2003), section 4.
    """
    values = np.asarray(differences, dtype=np.float64)
    count = len(values)
    if count < 2 or not np.isfinite(values).all():
        raise ConfigError(f"a t-test needs two finite differences at least, got {values.tolist()}")
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    error = spread * math.sqrt(1 / count + test_to_train)
    df = count - 1
    half = float(stats.t.ppf(0.5 + confidence / 2, df)) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        t = float(np.divide(mean, error))
        effect = float(np.divide(mean, spread))
    p = float(2 * stats.t.sf(abs(t), df)) if error else float(mean == 0)
    found = error * _noncentrality(df, (1 - confidence) / comparisons, power)
    return Test(mean, mean - half, mean + half, t, df, p, effect, found)


def paired_t(
    differences: Sequence[float] | Floats, confidence: float = 0.95, comparisons: int = 1
) -> Test:
    """Plain paired t-test; of cross-validation it is uncorrected, and finds too much."""
    return corrected_t(differences, 0.0, confidence, comparisons=comparisons)


def _noncentrality(df: int, alpha: float, power: float) -> float:
    """How many standard errors above 0 a mean must be to be found there with ``power``."""
    critical = float(stats.t.ppf(1 - alpha / 2, df))

    def more(shift: float) -> float:
        return float(stats.nct.sf(critical, df, shift)) - power

    enough = critical + float(stats.t.ppf(power, df))
    while more(enough) < 0:
        enough *= 1.25
    return float(optimize.brentq(more, 0.0, enough))


def wilcoxon(differences: Sequence[float] | Floats) -> float:
    """Two-sided probability of the signed-rank test; 1 where all are equal.

    Over cases it describes and decides nothing: cases of one fold share a network.
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not values.any():
        return 1.0
    return float(stats.wilcoxon(values, zero_method="pratt").pvalue)


def holm(probabilities: Sequence[float]) -> list[float]:
    """Adjust probabilities of several comparisons (Holm, Scand. J. Statist. 6 (1979) 65)."""
    order = np.argsort(probabilities, kind="stable")
    out, highest = np.empty(len(order)), 0.0
    for rank, k in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * probabilities[k]))
        out[k] = highest
    adjusted: list[float] = out.tolist()
    return adjusted


def crossed_bootstrap(
    differences: Floats, confidence: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Interval of the mean difference where every training set met the same test cases.

    Parameters
    ----------
    differences : (sets, cases) array
        Sets and cases are drawn anew with replacement, each on its own. The interval is the mean
        ± t · √(J / (J − 1)) · standard deviation of the drawn means, with J − 1 degrees of freedom
        for J sets: percentiles of so few are too narrow.

    Source: Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007) 386; the
    widening for few draws as in Hesterberg, "What teachers should know about the bootstrap",
    American Statistician 69 (2015) 371.
    """
    sets, cases = differences.shape
    stream = Draws("crossed bootstrap", seed, sets, cases)

    def counts(n: int) -> Floats:
        """(draws, n): how often each was drawn."""
        picked = ((stream.uniforms(draws, n) + 1) / 2 * n).astype(np.int64)
        return np.stack([np.bincount(row, minlength=n) for row in picked]).astype(np.float64)

    means = np.einsum("bs,sc,bc->b", counts(sets), differences, counts(cases)) / (sets * cases)
    middle, wide = float(differences.mean()), math.sqrt(sets / (sets - 1)) * float(means.std())
    half = float(stats.t.ppf(0.5 + confidence / 2, sets - 1)) * wide
    return middle - half, middle + half
