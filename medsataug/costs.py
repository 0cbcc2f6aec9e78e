"""What a copy costs from file to file: reading, planning, the passes, writing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from medsataug import io
from medsataug.pipeline import Pipeline
from medsataug.plan import Plan
from medsataug.timing import Cost, measure, median
from medsataug.types import Sample


def of_copy(pipeline: Pipeline, plan: Plan, sample: Sample, read: Callable[[], Sample]) -> Cost:
    """Make the copy of a ``plan`` several times over; nothing of it is kept.

    Parameters
    ----------
    pipeline, plan, sample
        The plan that the pipeline made for the sample.
    read : callable
        Reads the sample from its files again.
    """
    cost = measure(lambda: plan(sample))
    result = plan(sample)

    def facts_and_plan() -> Plan:
        fresh = sample.replace()  # of which nothing is known yet
        for channel, where in sample.facts.asked:
            fresh.facts.distribution(channel, where)
        return pipeline.plan(fresh, plan.seed, plan.index, plan.progress, plan.partners)

    with tempfile.TemporaryDirectory(prefix="medsataug-") as folder:
        around = {
            "read the files, once a case": median(read),
            "facts of the case, and a plan": median(facts_and_plan),
            "write a copy": median(lambda: io.save(result, Path(folder))),
        }
    return replace(cost, around=around)
