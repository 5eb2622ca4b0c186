# SPDX-License-Identifier: Apache-2.0
"""Train the runs that table.py exported. Needs JAX and NumPy alone (README.md).

    python train.py WORK

The runs of one network are trained together, as one program. Each process takes the groups that no
other one trains; several share an accelerator. A finished run is skipped.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hlo import program_of
from jax import lax

jax.config.update("jax_enable_x64", True)  # the optimiser counts its steps in 64 bits
SMALLEST_PROBABILITY = 1e-7


class Network:
    """A network's compiled epoch and inference, of several runs at once.

    Attributes:
        input: features (batch, bins, frames, 1) -> the network's inputs.
        epoch: variables, inputs of all clips, labels, order (runs, steps, batch), number of steps
            (runs,), factor on the rate (runs,) -> variables, sum of the losses (runs,).
        predict: weights, inputs of all clips, order (runs, batches, batch) -> probabilities
            (batches, runs, batch, classes).
    """

    def __init__(self, stem: Path) -> None:
        self.facts = facts = json.loads(Path(f"{stem}.json").read_text())
        self.count = facts["weights"]
        self.shape = facts["input"]["arguments"][0][0][1:]
        (self.batch, self.classes), _ = facts["predict"]["results"][0]
        compute, step, predict = (
            program_of(Path(f"{stem}.{name}.hlo")) for name in ("input", "step", "predict")
        )

        def epoch(variables, inputs, labels, order, steps, factor):  # type: ignore[no-untyped-def]
            def one(number, carry):  # type: ignore[no-untyped-def]
                variables, total = list(carry[0]), carry[1]
                chosen, on = order[:, number], number < steps
                read = [variables[index] for index in facts["step"]["read"]]
                loss, *changed = jax.vmap(step)(inputs[chosen], labels[chosen], factor, *read)
                for index, value in zip(facts["step"]["written"], changed, strict=True):
                    of_run = on.reshape(-1, *[1] * (value.ndim - 1))
                    variables[index] = jnp.where(of_run, value, variables[index])
                return tuple(variables), total + jnp.where(on, loss, 0)

            losses = jnp.zeros(len(steps), jnp.float32)
            return lax.fori_loop(0, steps.max(), one, (variables, losses))

        def probabilities(weights, inputs, order):  # type: ignore[no-untyped-def]
            read = [weights[index] for index in facts["predict"]["read"]]
            return lax.map(
                lambda chosen: jax.vmap(predict)(inputs[chosen], *read)[0], order.swapaxes(0, 1)
            )

        self.input = jax.jit(lambda maps: compute(maps)[0])
        self.epoch = jax.jit(epoch, donate_argnums=0)
        self.predict = jax.jit(probabilities)

    def inputs(self, features: np.ndarray) -> jax.Array:
        """The network's inputs of all clips, which stay on the device."""
        maps = features[..., None].astype(np.float32)
        parts = []
        for first in range(0, len(maps), self.batch):
            part = maps[first : first + self.batch]
            filled = np.concatenate([part, np.zeros((self.batch - len(part), *self.shape), "f4")])
            parts.append(self.input(filled)[: len(part)])
        return jnp.concatenate(parts)

    def start(self, weights: list[np.ndarray]) -> tuple[jax.Array, ...]:
        """Initial variables: weights, then steps and moments of the optimiser, zero."""
        runs = len(weights[0])
        rest = self.facts["variables"][self.count :]
        values = [*weights, *(np.zeros((runs, *shape), dtype) for shape, dtype in rest)]
        return tuple(map(jnp.asarray, values))


def in_batches(clips: list[np.ndarray], batch: int) -> np.ndarray:
    """Clips of each run in rows of a batch, (runs, rows, batch), filled up with clip 0."""
    order = np.zeros((len(clips), -(-max(map(len, clips)) // batch), batch), np.int32)
    for row, numbers in zip(order, clips, strict=True):
        row.reshape(-1)[: len(numbers)] = numbers
    return order


class Progress:
    """What a run keeps of its epochs, as m3net_tf.training.loop.trainer does.

    Attributes:
        factor: on the rate, halved on each plateau of the validation loss.
        history: a row for each epoch.
        kept: weights of the best epoch.
        diverged: the loss of the next epoch is not finite; ``history`` gets no more rows.
    """

    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task
        self.factor = 1.0
        self.history: list[dict[str, float]] = []
        self.kept: list[np.ndarray] = []
        self.diverged = False
        self._lowest = np.inf
        self._waited = 0
        self._best = (-1.0, 0.0)

    def add(
        self, loss: float, values: np.ndarray, truth: np.ndarray, weights: Any, seconds: float
    ) -> None:
        """Add an epoch: its mean loss, probabilities and labels of validation, and weights."""
        self.diverged = self.diverged or not np.isfinite(loss)
        if self.diverged:
            return
        task = self.task
        of_truth = np.maximum(values[np.arange(len(truth)), truth], SMALLEST_PROBABILITY)
        row = {
            "epoch": len(self.history) + 1,
            "loss": loss,
            "validation_loss": float(-np.log(of_truth).mean()),
            "validation_accuracy": float((values.argmax(1) == truth).mean()),
            "learning_rate": max(task["learning_rate"] * self.factor, task["learning_rate_floor"]),
            "seconds": round(seconds, 3),
        }
        self.history.append(row)
        if (row["validation_accuracy"], -row["validation_loss"]) > self._best:
            self._best = (row["validation_accuracy"], -row["validation_loss"])
            self.kept = weights
        self._waited += 1
        if row["validation_loss"] < self._lowest:
            self._lowest, self._waited = row["validation_loss"], 0
        elif self._waited >= task["plateau_patience"]:
            self.factor, self._waited = self.factor / 2, 0


def train(
    network: Network,
    inputs: jax.Array,
    tasks: list[dict[str, Any]],
    clips: Any,
    starts: list[list[np.ndarray]],
) -> list[Progress]:
    """Train runs of one network together, each as m3net_tf.training.loop.trainer does.

    An epoch's ``seconds`` are its share: all runs' seconds by the number of runs.
    """
    batch, labels = network.batch, clips["labels"]
    train_clips = [clips[f"{task['data']}.train"] for task in tasks]
    validation_clips = [clips[f"{task['data']}.validation"] for task in tasks]
    truths = [labels[numbers] for numbers in validation_clips]
    validation = in_batches(validation_clips, batch)
    steps = np.array([len(numbers) // batch for numbers in train_clips], np.int32)
    variables = network.start([np.stack(weights) for weights in zip(*starts, strict=True)])
    runs = [Progress(task) for task in tasks]
    for number in range(tasks[0]["epochs"]):
        begin = time.perf_counter()
        orders = []
        for task, numbers, count in zip(tasks, train_clips, steps, strict=True):
            order = np.random.default_rng([task["seed"], number]).permutation(len(numbers))
            orders.append(numbers[order[: count * batch]])
        factors = np.array([run.factor for run in runs], np.float32)
        variables, losses = network.epoch(
            variables, inputs, labels, in_batches(orders, batch), steps, factors
        )
        weights = variables[: network.count]
        values = np.asarray(network.predict(weights, inputs, validation)).swapaxes(0, 1)
        host = [np.asarray(weight) for weight in weights]
        seconds = (time.perf_counter() - begin) / len(runs)
        for index, (run, truth) in enumerate(zip(runs, truths, strict=True)):
            of_run = values[index].reshape(-1, network.classes)[: len(truth)]
            mean = float(losses[index]) / int(steps[index])
            run.add(mean, of_run, truth, [weight[index] for weight in host], seconds)
    return runs


def main() -> None:
    """Train all runs of a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--together", type=int, default=18, help="runs in a program at most")
    chosen = parser.parse_args()
    work = chosen.work
    jax.config.update("jax_compilation_cache_dir", str(work / "compiled"))
    (work / "results").mkdir(exist_ok=True)
    tasks = json.loads((work / "tasks.json").read_text())
    features, clips = np.load(work / "features.npy"), np.load(work / "clips.npz")
    weights = np.load(work / "weights.npz")
    diverged = []
    for program, first, group in groups(tasks, chosen.together):
        missing = [task for task in group if not result_path(work, task).exists()]
        if not missing or not take(work / f"{program}.{first}.taken"):
            continue
        begin = time.perf_counter()
        network = Network(work / program)
        starts = [
            [weights[f"{task['start']}.{index}"] for index in range(network.count)]
            for task in missing
        ]
        runs = train(network, network.inputs(features), missing, clips, starts)
        facts = {
            "device": np.array(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}"),
            "shape": np.array(network.shape),
            "classes": np.array(network.classes),
        }
        for run in runs:
            if run.diverged:
                epoch = len(run.history) + 1
                diverged.append(
                    f"{run.task['place']}: the loss of epoch {epoch} is not finite; "
                    "lower training.learning_rate"
                )
            else:
                save(run, result_path(work, run.task), clips, facts)
        seconds = time.perf_counter() - begin
        print(f"{program}: {len(runs)} runs in {seconds:.1f} s", flush=True)
    if diverged:
        sys.exit("\n".join(diverged))


def groups(
    tasks: list[dict[str, Any]], together: int
) -> Iterator[tuple[str, int, list[dict[str, Any]]]]:
    """Runs that train together: their program, the number of the first of them in it, the runs."""
    for program in dict.fromkeys(task["program"] for task in tasks):
        of_program = [task for task in tasks if task["program"] == program]
        for first in range(0, len(of_program), together):
            yield program, first, of_program[first : first + together]


def save(run: Progress, path: Path, clips: Any, facts: dict[str, np.ndarray]) -> None:
    """Write what table.py collects of a run; ``facts`` are the same for all runs of a network."""
    part = path.with_suffix(".part.npz")
    np.savez(
        part,
        history=np.array(json.dumps(run.history)),
        clips=np.array(len(clips[f"{run.task['data']}.train"])),
        **facts,
        **{f"best_{index}": weight for index, weight in enumerate(run.kept)},
    )
    part.replace(path)


def result_path(work: Path, task: dict[str, Any]) -> Path:
    """Where a run's result is."""
    return Path(work / "results" / f"{task['place'].replace('/', '.')}.npz")


def take(path: Path) -> bool:
    """Whether no other process took the group; after a stop delete ``*.taken``."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


if __name__ == "__main__":
    main()
