"""Taking turns, and Markdown tables of what came out: what all rows of the benchmark share."""

from __future__ import annotations

import time
from collections.abc import Iterator

import peers
import workloads

OURS = "medsataug"
BUDGET_S = 20.0  # a tool stops taking turns once a table has cost it this long
PAUSE_S = 0.02  # OpenMP's threads spin a while after a call: not into the next tool's time
Times = dict[tuple[str, int], list[float]]


def prepare(work: workloads.Workload) -> tuple[dict[str, peers.Call], dict[str, str]]:
    """Every tool's callable, warmed up, and why the others take no part."""
    calls: dict[str, peers.Call] = {}
    absent: dict[str, str] = {}
    for name, factory in peers.TOOLS.items():
        try:
            call = factory(work)
            call()
            calls[name] = call
        except Exception as error:
            absent[name] = why_not(error)
    return calls, absent


def why_not(error: Exception) -> str:
    """The reason that a table gives for a tool that takes no part: never left out silently."""
    if isinstance(error, peers.Unsupported):
        return f"does not apply: {error}"
    if isinstance(error, ImportError):
        return f"not installed ({error})"
    first = (str(error).splitlines() or ["no message"])[0]
    return f"failed: {type(error).__name__}: {first}"


def take_turns(calls: dict[str, peers.Call], threads: list[int], repeats: int) -> Times:
    """Seconds of every (tool, threads), one call of each a round."""
    times: Times = {(name, count): [] for name in calls for count in threads}
    for _ in range(repeats):
        for (name, count), taken in times.items():
            if sum(taken) > BUDGET_S / len(threads):
                continue
            peers.set_threads(count)
            time.sleep(PAUSE_S)
            start = time.perf_counter()
            result = calls[name]()
            taken.append(time.perf_counter() - start)
            del result  # freeing is the caller's
    return times


def table(header: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "|" + " --- |" * len(header)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def ms(seconds: float) -> str:
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(value: float, base: float | None) -> str:
    return "" if base is None else f"{value / base:.3g}"


def missing(absent: dict[str, str]) -> Iterator[str]:
    for name, why in absent.items():
        yield f"- {name}: {why}"
    if absent:
        yield ""
