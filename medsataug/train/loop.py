"""The training loop: epochs of steps that can be interrupted at any time and go on the same."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medsataug import __version__, recipes
from medsataug.draws import stream_key
from medsataug.errors import ConfigError, Diverged, MedSatAugError
from medsataug.pipeline import Pipeline
from medsataug.train import checkpoint
from medsataug.train.config import Settings
from medsataug.train.data import Survey, as_cases, contents, listed, survey
from medsataug.train.items import Batches, Feed, Items
from medsataug.train.log import Log
from medsataug.train.loss import IGNORED, at_all_depths
from medsataug.train.model import Model, device_of, network_of
from medsataug.train.prepare import check_classes, for_training, normalised

#: Longest gradient, as in nnU-Net.
LONGEST = 12.0
#: The rate falls as (1 − epoch / epochs) to this power.
POWER = 0.9


def train(
    cases: Sequence[Any],
    out: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    test: Sequence[Any] = (),
    resume: bool = False,
    quiet: bool = False,
) -> Model:
    """Train a U-Net, and write all of it into a folder.

    The folder holds ``settings.yaml`` and ``recipe.yaml`` (what was asked for, and what was derived
    from the data), ``log.csv`` (one row an epoch) and ``checkpoint.pt``. On a CPU the same cases
    and settings give the same weights, to the bit, for one processor and number of threads; a
    resumed run ends as one that was never interrupted.

    Parameters
    ----------
    cases : sequence
        (image path or paths, label path), `Sample`, or anything with ``id`` and ``load()``. All
        stay in memory, apart from rasters that are read window by window.
    out : path
    settings : Settings, optional
        By default those of the run that is resumed.
    test : sequence, optional
        Cases to validate with.
    resume : bool
        Whether to go on after the last finished epoch of the run in ``out``.
    quiet : bool

    Returns
    -------
    Model

    Raises
    ------
    ConfigError, GeometryError, FormatError
        For settings and cases that cannot be trained with, naming the case; before anything is
        computed.
    Diverged, MedSatAugError
        For a loss that is no number, and a loading worker that was killed, naming epoch, step and
        cases; the checkpoint of the last finished epoch is kept.
    """
    folder = Path(out)
    state = _before(folder, resume)
    if settings is None:
        settings = Settings.load(folder / "settings.yaml") if resume else Settings()
    given = Pipeline.load(settings.recipe) if state is None else _recipe(folder, settings)
    pipeline, normalises = normalised(given)
    found = survey(as_cases(cases), as_cases(test), pipeline, settings.ignore)
    settings, said = settings.completed(found)
    if not normalises:
        said.append("the recipe does not normalise: z-score of each channel by its case, added")
    check_classes(pipeline, settings.labels, settings.targets)
    run = Run(settings, for_training(pipeline, settings.patch or (), settings.foreground), found)
    log = Log(folder, run.restore(state) if state else 0, quiet)
    for line in [*said, *run.summary()]:
        log.say(line)
    if state is None:
        checkpoint.replaced(folder / "settings.yaml", settings.text().encode())
        checkpoint.replaced(folder / "recipe.yaml", recipes.text(given).encode())
    for epoch in range(run.epoch, settings.epochs):
        try:
            row = run.one_epoch(epoch, log)
        except torch.OutOfMemoryError:
            size = f"{settings.batch} patches of {list(settings.patch or ())}"
            raise MedSatAugError(
                f"epoch {epoch + 1}: the GPU's memory does not hold {size}; make patch, batch or "
                "features smaller"
            ) from None
        log.write(row)
        checkpoint.save(folder, run.state())
    return run.model


class Run:
    """A training under way.

    Parameters
    ----------
    settings : Settings
        Completed.
    pipeline : Pipeline
        With patches.
    found : Survey
    """

    def __init__(self, settings: Settings, pipeline: Pipeline, found: Survey) -> None:
        self.settings, self.found, self.epoch = settings, found, 0
        self.device = device_of(settings.device)
        _seed("weights", settings.seed)
        network = network_of(settings).to(self.device)
        self.model = Model(network, settings, pipeline, self.device)
        self.optimizer = _optimizer(network, settings)
        self.mixed = settings.mixed and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.mixed)
        batches = Batches(len(found.training), settings.steps, settings.batch, settings.seed)
        regions: Any = settings.regions
        if regions is not None:  # a last layer says where nothing is known
            regions = (*regions, () if settings.ignore is None else settings.ignore)
        items = Items(
            found.training,
            settings.patch or (),
            pipeline=pipeline,
            seed=settings.seed,
            repeat=batches.repeat,
            regions=regions,
            deep_supervision=network.scales,
        )
        self.feed = Feed(items, batches, settings.workers, self.device.type == "cuda")

    def one_epoch(self, epoch: int, log: Log) -> dict[str, Any]:
        """Train one epoch, validate, and return the row of the log."""
        settings, started, cpu = self.settings, time.perf_counter(), time.process_time()
        rate = (settings.rate or 0.0) * (1 - epoch / settings.epochs) ** POWER
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total, line = torch.zeros(2), ""
        for step, (batch, names) in enumerate(self.feed.epoch(epoch, epoch / settings.epochs)):
            total += self.step(batch, names, epoch, step)
            count, seconds = step + 1, time.perf_counter() - started
            line = (
                f"epoch {epoch + 1}/{settings.epochs}  loss {float(total.sum()) / count:.4f}  "
                f"{seconds / count:.3f} s a step, "
                f"{self.feed.waited / seconds:.0%} of it waiting for augmentation"
            )
            log.show(f"{line}  (step {count}/{settings.steps})")
        seconds = time.perf_counter() - started
        spent = time.process_time() - cpu + (self.feed.cpu if settings.workers else 0.0)
        last = epoch + 1 in (settings.epochs, *range(0, settings.epochs, settings.validate_every))
        scores = self.validate() if last else [math.nan] * len(settings.scored)
        means = {f"dice {_name(t)}": s for t, s in zip(settings.scored, scores, strict=True)}
        if last and self.found.test:
            line += "  " + ", ".join(f"{name} {value:.3f}" for name, value in means.items())
        log.say(line)
        self.epoch = epoch + 1
        dice, entropy = (total / settings.steps).tolist()
        return {
            "epoch": epoch + 1,
            "loss": dice + entropy,
            "dice loss": dice,
            "cross-entropy": entropy,
            "rate": rate,
            **means,
            "seconds": seconds,
            "waiting seconds": self.feed.waited,
            "augmentation seconds": self.feed.made,
            "augmentation cpu seconds": self.feed.cpu,
            "cpu seconds": spent,
        }

    def step(self, batch: dict[str, Any], names: list[str], epoch: int, step: int) -> Tensor:
        """Learn from one batch; returns both parts of its loss."""
        settings, network = self.settings, self.model.network
        # Whatever a network draws (dropout) follows from here, so no state need be kept.
        _seed("step", settings.seed, epoch, step)
        network.train()
        labels = [self.target(label) for label in batch["label"]]
        softs = [s.to(self.device) for s in batch["soft"]] if "soft" in batch else []
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self.mixed):
            scores = network(batch["image"].to(self.device, non_blocking=True))
        parts = at_all_depths(
            scores,
            labels,
            softs or [None] * len(labels),
            regions=settings.regions is not None,
            background=settings.background,
        )
        loss = parts.sum()
        _check(loss, "loss", names, epoch, step)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        length = torch.nn.utils.clip_grad_norm_(network.parameters(), LONGEST)
        if not self.mixed:  # else the scaler leaves such steps out, and scales less
            _check(length, "gradient", names, epoch, step)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return parts.detach().cpu()

    def target(self, label: Tensor) -> Tensor:
        """Class numbers of label values; what is no class is ignored. Regions stay as they are."""
        label = label.to(self.device, non_blocking=True)
        if self.settings.regions is not None:
            return label
        values = torch.tensor(self.settings.labels, device=self.device)
        number = torch.bucketize(label, values).clamp(max=len(values) - 1)
        return number.where(values[number] == label, IGNORED)

    def validate(self) -> list[float]:
        """Mean Dice of each target over the test cases in which it is there, or predicted."""
        if not self.found.test:
            return [math.nan] * len(self.settings.scored)
        each = np.array([self.model.dice(case) for case in self.found.test])
        counts = np.isfinite(each).sum(axis=0)
        sums = np.nansum(each, axis=0)
        return [float(s / n) if n else math.nan for s, n in zip(sums, counts, strict=True)]

    def state(self) -> dict[str, Any]:
        """All that a run goes on from."""
        return {
            "medsataug": __version__,
            "settings": self.settings.model_dump(mode="json"),
            "recipe": recipes.text(self.model.pipeline),
            "cases": _contents(self.found),
            "epoch": self.epoch,
            "model": self.model.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> int:
        """Go on from a state; returns the number of finished epochs.

        Raises
        ------
        ConfigError
            Where settings or cases are others than the run was started with.
        """
        before = Settings(**state["settings"])
        differing = before.differing(self.settings)
        if differing:
            name = differing[0]
            raise ConfigError(
                f"Settings.{name}: {getattr(self.settings, name)!r}, but the run was started with "
                f"{getattr(before, name)!r}; resume with the same settings, or start another run"
            )
        if state["cases"] != _contents(self.found):
            now, then = (
                {**c["training"], **c["test"]} for c in (_contents(self.found), state["cases"])
            )
            other = [n for n in {**now, **then} if now.get(n) != then.get(n)]
            what = listed(other) if other else "they are parted otherwise"
            raise ConfigError(
                f"cases: not those that the run was started with ({what}); resume with the same "
                "cases and fold, or start another run"
            )
        self.model.network.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch = int(state["epoch"])
        return self.epoch

    def summary(self) -> list[str]:
        """Say what is trained, and with what."""
        found, settings = self.found, self.settings
        if self.epoch >= settings.epochs:
            return [f"all {self.epoch} epochs are finished"]
        weights = sum(p.numel() for p in self.model.network.parameters())
        return [
            f"{len(found.training)} cases to train with, {len(found.test)} to test with; "
            f"{len(found.channels)} channel(s), {weights:,} weights, "
            f"{settings.epochs} epochs of {settings.steps} batches of {settings.batch} on "
            f"{self.device}" + (f", from epoch {self.epoch + 1}" if self.epoch else "")
        ]


def _before(folder: Path, resume: bool) -> dict[str, Any] | None:
    """State that is resumed, if any; refuses to write over a run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be a folder ({error.strerror})") from None
    state = checkpoint.load(folder)
    if state is not None and not resume:
        raise ConfigError(
            f"{folder}: holds a run of {state['epoch']} finished epochs; resume it (--resume), or "
            "choose another folder"
        )
    return state


def _recipe(folder: Path, settings: Settings) -> Pipeline:
    """Recipe of a run that is resumed: as it was when it began."""
    kept = Pipeline.load(folder / "recipe.yaml")
    now = Pipeline.load(settings.recipe) if Path(settings.recipe).is_file() else kept
    if now.transforms != kept.transforms:
        raise ConfigError(
            f"{settings.recipe}: the recipe was changed since the run was started; resume with "
            f"{folder / 'recipe.yaml'} in its place, or start another run"
        )
    return kept


def _optimizer(network: Any, settings: Settings) -> Any:
    rate, decay = settings.rate or 0.0, settings.weight_decay
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), rate, weight_decay=decay)
    return torch.optim.SGD(
        network.parameters(), rate, momentum=0.99, nesterov=True, weight_decay=decay
    )


def _seed(*key: Any) -> None:
    torch.manual_seed(stream_key(*key) >> 1)


def _check(value: Tensor, what: str, names: list[str], epoch: int, step: int) -> None:
    if not torch.isfinite(value):
        raise Diverged(
            f"the {what} is {value.item()} at epoch {epoch + 1}, step {step + 1}, of a batch of "
            f"the cases {listed(names)}; look at their values, or lower the rate. The last "
            "finished epoch is kept"
        )


def _contents(found: Survey) -> dict[str, dict[str, str]]:
    """Digest of each case, by its name."""
    parts = {"training": found.training, "test": found.test}
    return {name: {s.id: contents(s) for s in part} for name, part in parts.items()}


def _name(target: Any) -> str:
    return "+".join(map(str, target)) if isinstance(target, tuple) else str(target)
