# SPDX-License-Identifier: Apache-2.0
"""Train the runs that table.py exported. Needs JAX and NumPy alone (README.md).

    python train.py WORK

Each process takes the networks that no other one trains; several share an accelerator. A finished
run is skipped.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax
from jax._src.export import _export
from jax._src.interpreters import mlir
from jaxlib import _jax
from jaxlib.mlir import ir

jax.config.update("jax_enable_x64", True)  # the optimiser counts its steps in 64 bits
SMALLEST_PROBABILITY = 1e-7


def program_of(path: Path, facts: dict[str, Any]) -> Any:
    """The function of an HLO file, for this computer's device."""

    def same_types(*_: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(jnp.zeros(shape, dtype) for shape, dtype in facts["results"])

    arguments = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in facts["arguments"]]
    platform = "cuda" if jax.default_backend() == "gpu" else jax.default_backend()
    frame = export.export(jax.jit(same_types, keep_unused=True), platforms=[platform])(*arguments)
    with mlir.make_ir_context():
        module = ir.Module.parse(_jax.mlir.hlo_to_stablehlo(path.read_bytes()))
        attributes = module.operation.attributes
        for name in list(attributes):
            if name.startswith("mhlo."):
                del attributes[name]
        for name in ("mhlo.num_partitions", "mhlo.num_replicas"):
            attributes[name] = ir.IntegerAttr.get(ir.IntegerType.get_signless(32), 1)
        attributes["jax.uses_shape_polymorphism"] = ir.BoolAttr.get(False)
        remove_copies(module.operation)
        for function in module.body.operations:
            if function.attributes["sym_name"].value == "main":
                function.attributes["sym_visibility"] = ir.StringAttr.get("public")
        content = _export._module_to_bytecode(module)
    return dataclasses.replace(frame, mlir_module_serialized=content).call


def remove_copies(operation: Any) -> None:
    """Remove ``mhlo.copy``, which StableHLO does not have."""
    for region in operation.regions:
        for block in region:
            for inner in list(block.operations):
                remove_copies(inner.operation)
                if inner.operation.name == "mhlo.copy":
                    inner.operation.results[0].replace_all_uses_with(inner.operation.operands[0])
                    inner.operation.erase()


class Network:
    """A network's compiled epoch and inference.

    Attributes:
        epoch: variables, inputs, labels, order (steps, batch), number of steps, factor on the rate
            -> variables, sum of the losses.
        predict: weights, inputs, order (batches, batch), number of batches -> probabilities
            (batches, batch, classes).
    """

    def __init__(self, stem: Path) -> None:
        self.facts = facts = json.loads(Path(f"{stem}.json").read_text())
        self.count = facts["weights"]
        self.shape = facts["input"]["arguments"][0][0][1:]
        (self.batch, self.classes), _ = facts["predict"]["results"][0]
        self.as_input, step, predict = (
            program_of(Path(f"{stem}.{name}.hlo"), facts[name])
            for name in ("input", "step", "predict")
        )

        @functools.partial(jax.jit, donate_argnums=0)
        def epoch(variables, inputs, labels, order, steps, factor):  # type: ignore[no-untyped-def]
            def one(number, carry):  # type: ignore[no-untyped-def]
                variables, total = list(carry[0]), carry[1]
                chosen = order[number]
                read = [variables[index] for index in facts["step"]["read"]]
                loss, *changed = step(inputs[chosen], labels[chosen], factor, *read)
                for index, value in zip(facts["step"]["written"], changed, strict=True):
                    variables[index] = value
                return tuple(variables), total + loss

            return lax.fori_loop(0, steps, one, (variables, jnp.float32(0)))

        @jax.jit
        def probabilities(weights, inputs, order, batches):  # type: ignore[no-untyped-def]
            read = [weights[index] for index in facts["predict"]["read"]]

            def one(number, values):  # type: ignore[no-untyped-def]
                return values.at[number].set(predict(inputs[order[number]], *read)[0])

            empty = jnp.zeros((*order.shape, self.classes), jnp.float32)
            return lax.fori_loop(0, batches, one, empty)

        self.epoch, self.predict = epoch, probabilities

    def inputs(self, features: np.ndarray) -> jax.Array:
        """The network's inputs of all clips, which stay on the device."""
        compute = jax.jit(self.as_input)
        maps = features[..., None].astype(np.float32)
        parts = []
        for first in range(0, len(maps), self.batch):
            part = maps[first : first + self.batch]
            filled = np.concatenate([part, np.zeros((self.batch - len(part), *self.shape), "f4")])
            parts.append(compute(filled)[0][: len(part)])
        return on_device(jnp.concatenate(parts))

    def start(self, weights: list[np.ndarray]) -> tuple[jax.Array, ...]:
        """Initial variables: weights, then steps and moments of the optimiser."""
        rest = self.facts["variables"][self.count :]
        values = [*weights, *(np.zeros(shape, dtype) for shape, dtype in rest)]
        return tuple(on_device(value) for value in values)


def on_device(value: Any) -> jax.Array:
    """The value on the device; a value that is not committed would be compiled for again."""
    return jax.device_put(value, jax.devices()[0])


def in_batches(clips: np.ndarray, batch: int, most: int) -> tuple[np.ndarray, np.int32]:
    """Clips in rows of a batch, of which the last is filled up with clip 0; number of rows."""
    order = np.zeros((most, batch), np.int32)
    order.reshape(-1)[: len(clips)] = clips
    return order, np.int32(-(-len(clips) // batch))


def train(
    network: Network, inputs: jax.Array, task: dict[str, Any], clips: Any, start: list[np.ndarray]
) -> dict[str, Any]:
    """Train a run as m3net_tf.training.trainer does."""
    batch, labels = network.batch, clips["labels"]
    split = {name: clips[f"{task['data']}.{name}"] for name in ("train", "validation")}
    most = -(-len(labels) // batch)
    device_labels = on_device(labels)
    validation, validation_batches = in_batches(split["validation"], batch, most)
    truth = labels[split["validation"]]
    steps = len(split["train"]) // batch
    variables = network.start(start)
    factor, lowest, waited = 1.0, np.inf, 0
    best: tuple[float, float] = (-1.0, 0.0)
    history: list[dict[str, float]] = []
    for number in range(task["epochs"]):
        begin = time.perf_counter()
        order = np.random.default_rng([task["seed"], number]).permutation(len(split["train"]))
        chosen, _ = in_batches(split["train"][order[: steps * batch]], batch, most)
        variables, total = network.epoch(
            variables, inputs, device_labels, chosen, np.int32(steps), np.float32(factor)
        )
        weights = variables[: network.count]
        values = network.predict(weights, inputs, validation, validation_batches)
        values = np.asarray(values).reshape(-1, network.classes)[: len(truth)]
        of_truth = np.maximum(values[np.arange(len(truth)), truth], SMALLEST_PROBABILITY)
        row = {
            "epoch": number + 1,
            "loss": float(total) / steps,
            "validation_loss": float(-np.log(of_truth).mean()),
            "validation_accuracy": float((values.argmax(1) == truth).mean()),
            "learning_rate": max(task["learning_rate"] * factor, task["learning_rate_floor"]),
            "seconds": round(time.perf_counter() - begin, 3),
        }
        if not np.isfinite(row["loss"]):
            sys.exit(f"{task['place']}: the loss is {row['loss']} in epoch {number + 1}")
        history.append(row)
        if (row["validation_accuracy"], -row["validation_loss"]) > best:
            best = (row["validation_accuracy"], -row["validation_loss"])
            kept = [np.asarray(weight) for weight in weights]
        waited += 1
        if row["validation_loss"] < lowest:
            lowest, waited = row["validation_loss"], 0
        elif waited >= task["plateau_patience"]:
            factor, waited = factor / 2, 0
    device = f"{jax.devices()[0].device_kind}, JAX {jax.__version__}"
    return {
        "history": np.array(json.dumps(history)),
        "device": np.array(device),
        "shape": np.array(network.shape),
        "classes": np.array(network.classes),
        "clips": np.array(len(split["train"])),
        **{f"best_{index}": weight for index, weight in enumerate(kept)},
    }


def main(work: Path) -> None:
    """Train all runs of a folder."""
    jax.config.update("jax_compilation_cache_dir", str(work / "compiled"))
    (work / "results").mkdir(exist_ok=True)
    tasks = json.loads((work / "tasks.json").read_text())
    features, clips = np.load(work / "features.npy"), np.load(work / "clips.npz")
    weights = np.load(work / "weights.npz")
    for program in dict.fromkeys(task["program"] for task in tasks):
        try:
            (work / f"{program}.taken").touch(exist_ok=False)
        except FileExistsError:  # by another process; after a stop delete *.taken
            continue
        network = Network(work / program)
        inputs = network.inputs(features)
        for task in tasks:
            result = work / "results" / f"{task['place'].replace('/', '.')}.npz"
            if task["program"] != program or result.exists():
                continue
            begin = time.perf_counter()
            start = [weights[f"{task['start']}.{index}"] for index in range(network.count)]
            values = train(network, inputs, task, clips, start)
            part = result.with_suffix(".part.npz")
            np.savez(part, **values)
            part.replace(result)
            print(f"{task['place']}: {time.perf_counter() - begin:.1f} s", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
