# SPDX-License-Identifier: Apache-2.0
"""Runs trained in the order of their needs; lost ones are tried again."""

import dataclasses
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from m3net_tf.lab.many.plan import Outcome, Plan, Training, run_folder, with_runs
from m3net_tf.system.errors import M3NetError, one_line
from m3net_tf.system.progress import Log, Task, silent, track, with_lines_to
from m3net_tf.system.words import counted
from m3net_tf.training.cluster.data import DataFolders, source_of
from m3net_tf.training.cluster.pools import IN_PROCESS, Lost, Pool, PoolOptions, open_pool
from m3net_tf.training.cluster.worker import Order, Report
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run import Run
from m3net_tf.training.run.history import epoch_scores

_POLL_S = 2.0
_LONGEST_PAUSE_S = 60.0


def run_trainings(
    plan: Plan,
    data_folders: DataFolders,
    *,
    options: PoolOptions = IN_PROCESS,
    log: Log = silent,
) -> dict[str, Outcome]:
    """Train the runs that are not finished; a failure does not stop the others.

    A run whose process or computer was lost is tried again, and continues after its last epoch. A
    run that another process trains is awaited.

    Args:
        plan: on a cluster, its folder is one that all computers share.
        log: receives lines of progress. The lines of a training go to ``train.log`` in its
            folder.

    Returns:
        Outcomes by the trainings' keys.

    Raises:
        DataError: Ray is not installed, or its cluster cannot be reached.
    """
    outcomes = dict(plan.finished)
    waiting = plan.waiting
    log(
        f"{counted(len(plan.runs), 'run')}: {len(plan.runs) - len(waiting)} finished, "
        f"{len(waiting)} to train"
    )
    if not waiting:
        return outcomes
    if len(waiting) == 1 and not options.address:  # no need for Ray
        options = dataclasses.replace(options, jobs=1)
    start_s = time.perf_counter()
    epochs = sum(training.recipe.training.epochs for training in waiting)
    bars = with_lines_to(silent, log)  # a pipe has the lines of finished runs
    with open_pool(options) as pool, track(bars, "all runs", epochs, "epochs") as task:
        call = _Call(pool, options, plan.root, data_folders, task, outcomes, log)
        for count, (training, report) in enumerate(call.results(waiting), start=1):
            log(
                f"[{count}/{len(waiting)}] {training.place}: {_result(outcomes[training.key])} "
                f"({report.seconds:.0f} s; {time.perf_counter() - start_s:.0f} s in total)"
            )
    return outcomes


@dataclasses.dataclass
class _Job:
    """A training and its attempts.

    Attributes:
        losses: attempts whose process or computer was lost.
        refusals: times that another process held its folder.
        not_before_s: earliest start, on the monotonic clock.
    """

    training: Training
    losses: int = 0
    refusals: int = 0
    not_before_s: float = 0.0


@dataclasses.dataclass
class _Call:
    """The trainings of one call."""

    pool: Pool
    options: PoolOptions
    root: Path
    data_folders: DataFolders
    task: Task
    outcomes: dict[str, Outcome]
    log: Log
    _jobs: list[_Job] = dataclasses.field(default_factory=list)
    _running: dict[object, tuple[_Job, Path]] = dataclasses.field(default_factory=dict)
    _ended_epochs: int = 0

    def results(self, waiting: list[Training]) -> Iterator[tuple[Training, Report]]:
        """Train all; yields each when it has ended, after adding its outcome."""
        self._jobs = [_Job(training) for training in waiting]
        while self._jobs or self._running:
            yield from self._start_ready()
            if not self._running:
                if self._jobs:
                    time.sleep(self._pause_s())
                continue
            for handle, report in self.pool.wait(_POLL_S):
                job, folder = self._running.pop(handle)
                if ended := self._take(job, folder, report):
                    yield job.training, ended
            self._show()

    def _start_ready(self) -> Iterator[tuple[Training, Report]]:
        """Start runs while there is room; yields the trainings that cannot start."""
        slots = 0
        for job in list(self._jobs):
            training = job.training
            if any(need.key not in self.outcomes for need in training.needed):
                continue
            folder = run_folder(training, self.root)
            if reason := _why_blocked(training, self.outcomes):
                self._jobs.remove(job)
                yield training, self._end(training, folder, Report(reason, 0.0))
            elif job.not_before_s <= time.monotonic():
                slots = slots or self.pool.slots()  # a cluster is slow
                if len(self._running) < slots:
                    self._jobs.remove(job)
                    self._start(job, folder)

    def _start(self, job: _Job, folder: Path) -> None:
        training = job.training
        own_process = not self.options.in_process
        data = source_of(training.recipe, self.data_folders)
        if own_process:  # a worker that does not see the folder refuses the order
            folder.mkdir(parents=True, exist_ok=True)
        order = Order(
            recipe=_resolved(training, self.outcomes),
            folder=folder.resolve() if own_process else folder,
            data=data.absolute() if own_process and isinstance(data, Path) else data,
            features=self.options.features,
            witness=folder.resolve() if own_process else None,
        )
        handle = self.pool.start(order)
        self._running[handle] = job, folder

    def _take(self, job: _Job, folder: Path, report: Report | Lost) -> Report | None:
        """Take the result of an attempt; None if the run is tried again."""
        training = job.training
        if isinstance(report, Lost):
            job.losses += 1
            if job.losses <= self.options.retries:
                pause = self._wait(job, self.options.pause_s * 2 ** (job.losses - 1))
                self.log(
                    f"{training.place}: lost ({report.reason}); attempt {job.losses + 1} of "
                    f"{self.options.retries + 1} in {pause:.0f} s"
                )
                return None
            report = Report(f"lost {job.losses} times, at last by {report.reason}", 0.0)
        elif report.in_use:
            if not job.refusals:
                self.log(f"{training.place}: {report.error.partition(';')[0]}: waiting for it")
            job.refusals += 1
            self._wait(job, self.options.pause_s * 2 ** min(job.refusals - 1, 10))
            return None
        return self._end(training, folder, report)

    def _wait(self, job: _Job, pause_s: float) -> float:
        pause_s = min(pause_s, _LONGEST_PAUSE_S)
        job.not_before_s = time.monotonic() + pause_s
        self._jobs.append(job)
        return pause_s

    def _pause_s(self) -> float:
        """Seconds until the next run may start."""
        left = min(job.not_before_s for job in self._jobs) - time.monotonic()
        return min(_POLL_S, max(0.01, left))

    def _end(self, training: Training, folder: Path, report: Report) -> Report:
        outcome = Outcome(folder, error=report.error)
        if not report.error:
            try:
                outcome = Outcome(folder, Run(folder).metrics())
            except M3NetError as problem:  # its files are incomplete or damaged
                outcome = Outcome(folder, error=one_line(problem))
        self.outcomes[training.key] = outcome
        self._ended_epochs += training.recipe.training.epochs
        self._show()
        return report

    def _show(self) -> None:
        """Show how many epochs are trained."""
        in_work = sum(len(epoch_scores(folder)) for _, folder in self._running.values())
        self.task.reach(max(self.task.done, self._ended_epochs + in_work))


def _why_blocked(training: Training, outcomes: Mapping[str, Outcome]) -> str:
    """Why a run cannot start, because one that it needs has failed; '' if all have finished."""
    for section, needs in training.needs.items():
        for need in needs:
            if error := outcomes[need.key].error:
                return f"the run for {section} failed: {error}"
    return ""


def _resolved(training: Training, outcomes: Mapping[str, Outcome]) -> Recipe:
    """The recipe with the folders of the runs that it needs."""
    recipe = training.recipe
    for section, needs in training.needs.items():
        folders = [str(outcomes[need.key].folder.resolve()) for need in needs]
        recipe = with_runs(recipe, section, folders)
    return recipe


def _result(outcome: Outcome) -> str:
    if outcome.metrics is None:
        return f"failed: {outcome.error}"
    test = outcome.metrics.test
    return f"test accuracy {100 * test['accuracy']:.2f} %" if "accuracy" in test else "done"
