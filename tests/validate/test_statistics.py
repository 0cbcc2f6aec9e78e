"""Statistics against published worked examples, simulation and other routes to the same number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from medsataug.errors import ConfigError
from medsataug.validate.statistics import (
    corrected_t,
    crossed_bootstrap,
    holm,
    paired_t,
    wilcoxon,
)

SOME = [0.021, 0.013, -0.004, 0.03, 0.011, 0.008, 0.017, -0.002, 0.025, 0.006]


def test_without_correction_it_is_the_plain_paired_test() -> None:
    found, plain = paired_t(SOME), stats.ttest_1samp(SOME, 0)
    interval = plain.confidence_interval(0.95)
    assert found.t == pytest.approx(plain.statistic, rel=1e-12)
    assert found.p == pytest.approx(plain.pvalue, rel=1e-10)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-10)
    assert found.df == 9


def test_the_correction_widens_by_the_share_of_test_cases() -> None:
    plain, corrected = paired_t(SOME), corrected_t(SOME, 1 / 4)
    # Five-fold, twice: sqrt((1/10 + 1/4) / (1/10)).
    assert plain.t / corrected.t == pytest.approx(math.sqrt(3.5), rel=1e-12)
    assert corrected.p > plain.p
    assert corrected.effect == plain.effect
    width = (corrected.high - corrected.low) / (plain.high - plain.low)
    assert width == pytest.approx(math.sqrt(3.5), rel=1e-12)


def test_the_smallest_detectable_effect_is_found_in_four_of_five() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 1, (20_000, 8))
    error = samples.std(axis=1, ddof=1)
    # Its own estimate of the spread varies; with the true one power is as said.
    shift = paired_t(samples[0]).detectable / (error[0] / math.sqrt(8)) / math.sqrt(8)
    p = stats.ttest_1samp(samples + shift, 0, axis=1).pvalue
    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / 20_000))


def test_what_is_detectable_grows_with_the_number_of_comparisons() -> None:
    one, five = (paired_t(SOME, comparisons=n).detectable for n in (1, 5))
    assert five > 1.2 * one
    assert paired_t(SOME, comparisons=5).low == paired_t(SOME).low


def test_equal_scores_and_slips() -> None:
    same = corrected_t([0.0] * 5, 0.25)
    assert (same.p, same.mean, same.low, same.high) == (1, 0, 0, 0)
    assert same.no_worse
    assert corrected_t([0.1] * 5, 0.25).p == 0
    assert not corrected_t([-0.02, -0.021, -0.019], 0.5).no_worse
    for given in ([0.1], [], [0.1, math.nan]):
        with pytest.raises(ConfigError, match="two finite differences"):
            corrected_t(given, 0.25)


def test_holm_by_hand() -> None:
    # 3 · .01, then 2 · .02 = .04, then .03 which may not fall below.
    assert holm([0.01, 0.03, 0.02]) == pytest.approx([0.03, 0.04, 0.04])
    assert holm([0.6, 0.5]) == [1, 1]
    assert holm([0.2]) == [0.2]


def test_wilcoxon_leaves_out_what_is_no_number() -> None:
    assert wilcoxon([0, 0, 0]) == 1
    assert wilcoxon([*SOME, math.nan]) == wilcoxon(SOME)
    assert wilcoxon(np.arange(1, 11)) == pytest.approx(2 / 2**10)


@pytest.mark.parametrize("sets", [2, 3, 12])
def test_crossed_bootstrap_covers_both_kinds_of_chance(sets: int) -> None:
    rng = np.random.default_rng(1)
    cases, hits, plain = 30, 0, 0
    for n in range(200):
        made = rng.normal(0, 1, (sets, 1)) + rng.normal(0, 1, (1, cases))
        made = made + rng.normal(0, 0.3, (sets, cases))
        low, high = crossed_bootstrap(made, draws=400, seed=n)
        hits += low < 0 < high
        half = 1.96 * made.std() / math.sqrt(made.size)
        plain += abs(made.mean()) < half
    assert hits / 200 > 0.92  # two standard errors below .95; percentiles of 2 sets have .63
    assert plain / 200 < 0.5  # as if all numbers were independent
    assert crossed_bootstrap(made, seed=3) == crossed_bootstrap(made, seed=3)
