# SPDX-License-Identifier: Apache-2.0
"""Time of a training step: this package's networks compared with their naive counterparts."""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final, NotRequired, TypedDict

import numpy as np

from m3net_tf.lab.bench import naive
from m3net_tf.lab.studies.machine import load_average
from m3net_tf.networks.layers.diffres.warp import FrameScores, FrameWarp, frames_after
from m3net_tf.networks.models import build_model, presets_of
from m3net_tf.system.artifacts import Provenance, provenance
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.progress import Log, silent

Step = Callable[[], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Case:
    """A network that is measured.

    Attributes:
        name: network.
        preset: its preset.
        clips: clips per step.
        input_shape: (bins, frames, channels) instead of the preset's.
    """

    name: str
    preset: str
    clips: int
    input_shape: tuple[int, int, int] | None = None

    @property
    def label(self) -> str:
        """Name on the command line."""
        return f"{self.name}/{self.preset}"


# SpectroMaskNet gets one second and the bilateral network an eighth of its channels: with the
# papers' input and size, a step takes minutes on two cores.
CASES = (
    Case("m3net", "paper", 16),
    Case("m3net", "mcu", 64),
    Case("spectromasknet", "paper", 4, (80, 98, 1)),
    Case("spectromasknet", "mcu", 32),
    Case("bilateral", "small", 8),
    Case("diffres", "paper", 8),
)
LAYER: Final = "diffres_layer"
LABELS = (*(case.label for case in CASES), LAYER)


@dataclasses.dataclass(frozen=True)
class LayerSize:
    """Input of the DiffRes layer that is measured.

    Attributes:
        clips: clips in the batch.
        bins: mel bins F.
        frames: frames T.
        reduction: share of the frames that goes, delta.
    """

    clips: int = 4
    bins: int = 128
    frames: int = 300
    reduction: float = 0.5


class StepTimes(TypedDict):
    """Times of a network's training step.

    Attributes:
        clips: clips per step.
        input_shape: (bins, frames, channels).
        parameters: parameters of this package's network.
        ours_ms: median of this package's network, in milliseconds.
        naive_ms: median of the naive one.
        ratio: ours to naive; below 1 ours is faster.
    """

    clips: int
    input_shape: list[int]
    parameters: int
    ours_ms: float
    naive_ms: float
    ratio: float


class LayerTimes(TypedDict):
    """Times of the DiffRes layer, with the fields of :class:`LayerSize`.

    Attributes:
        ours_ms: median of this package's layer, in milliseconds.
        loop_ms: median of the paper's algorithm as a loop.
        matrix_ms: median of its matrix form.
        times_faster_than_loop: speed-up over the loop.
        times_faster_than_matrix: speed-up over the matrix form.
    """

    clips: int
    bins: int
    frames: int
    reduction: float
    ours_ms: float
    loop_ms: float
    matrix_ms: float
    times_faster_than_loop: float
    times_faster_than_matrix: float


class TrainingTimes(Provenance):
    """Times of training steps, and the machine.

    Attributes:
        steps: timed steps of each network.
        cores: processor cores.
        gpus: number of GPUs.
        load_average_before: load average over 1, 5 and 15 minutes before the first step.
        load_average_after: the same after the last step.
        networks: times by label.
        diffres_layer: times of the layer; absent if it was not chosen.
    """

    steps: int
    cores: int | None
    gpus: int
    load_average_before: list[float]
    load_average_after: list[float]
    networks: dict[str, StepTimes]
    diffres_layer: NotRequired[LayerTimes]


def run_bench_train(
    labels: Sequence[str] = (),
    *,
    steps: int = 10,
    cases: Sequence[Case] = CASES,
    layer: LayerSize = LayerSize(),
    log: Log = silent,
) -> TrainingTimes:
    """Time training steps of each network and its naive counterpart, in turn in one process.

    A step is that of training, in one graph: forward, cross-entropy and the layers' penalties,
    backward, Adam. Both get the same batch. The DiffRes layer alone, forward and backward, is
    compared with the paper's algorithm as a loop and in matrix form.

    Args:
        labels: some of :data:`LABELS`; all by default.
        steps: timed steps of each, after two for warm-up.
        cases: networks to choose from.
        layer: size of the DiffRes layer's input.
        log: receives lines of progress.

    Raises:
        ConfigError: an unknown label or fewer than one step.
    """
    choices = (*(case.label for case in cases), LAYER)
    for label in labels:
        if label not in choices:
            raise ConfigError(
                f"there is no case {label!r} to measure: choose from {', '.join(choices)}"
            )
    if steps < 1:
        raise ConfigError(f"steps is {steps}: give at least 1")
    result: TrainingTimes = {
        "steps": steps,
        "cores": os.cpu_count(),
        "gpus": len(tf.config.list_physical_devices("GPU")),
        "load_average_before": load_average(),
        "networks": {},
        "load_average_after": [],
        **provenance(),
    }
    for case in cases:
        if not labels or case.label in labels:
            row = _network(case, steps)
            result["networks"][case.label] = row
            log(
                f"{case.label}: {row['ours_ms']} ms per step, naive {row['naive_ms']} ms, "
                f"ratio {row['ratio']}"
            )
    if not labels or LAYER in labels:
        times = result[LAYER] = _layer(layer, steps)
        log(
            f"{LAYER}: {times['ours_ms']} ms forward and backward, "
            f"{times['times_faster_than_loop']} times faster than the loop, "
            f"{times['times_faster_than_matrix']} than the matrix form"
        )
    result["load_average_after"] = load_average()
    return result


def build_pair(case: Case) -> tuple[keras.Model, keras.Model]:
    """The package's network of a case, and the naive one."""
    preset = presets_of(case.name)[case.preset]
    shape = case.input_shape or preset.input_shape
    ours = build_model(case.name, case.preset, input_shape=shape)
    return ours, naive.NETWORKS[case.name](shape, preset.classes, **preset.arguments)


def _network(case: Case, steps: int) -> StepTimes:
    keras.backend.clear_session()
    models = build_pair(case)
    rng = np.random.default_rng(0)
    classes = models[0].output_shape[-1]
    maps = tf.constant(rng.uniform(-1, 1, (case.clips, *models[0].input_shape[1:])), tf.float32)
    targets = tf.one_hot(rng.integers(classes, size=case.clips), classes)
    ours, plain = _medians_ms([_training_step(model, maps, targets) for model in models], steps)
    return {
        "clips": case.clips,
        "input_shape": list(models[0].input_shape[1:]),
        "parameters": models[0].count_params(),
        "ours_ms": ours,
        "naive_ms": plain,
        "ratio": round(ours / plain, 3),
    }


def _training_step(model: keras.Model, maps: tf.Tensor, targets: tf.Tensor) -> Step:
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.CategoricalCrossentropy()

    @tf.function
    def step(maps: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(targets, model(maps, training=True))
            if model.losses:
                loss += tf.add_n(model.losses)
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    return lambda: step(maps, targets)


def _layer(size: LayerSize, steps: int) -> LayerTimes:
    rng = np.random.default_rng(0)
    maps = tf.constant(rng.uniform(-1, 1, (size.clips, size.bins, size.frames, 1)), tf.float32)
    scores = tf.constant(rng.uniform(0.1, 1, (size.clips, size.frames)), tf.float32)
    rescale = FrameScores(size.reduction)
    warp = FrameWarp(frames_after(size.frames, size.reduction))
    by_loop = naive.DiffResLayer(size.reduction, naive.warp_by_loop)
    by_matrix = naive.DiffResLayer(size.reduction, naive.warp_by_matrix)
    ours, loop, matrix = _medians_ms(
        [
            _layer_step(lambda x: warp([x[0], rescale(x)]), rescale, maps, scores),
            _layer_step(by_loop, by_loop, maps, scores),
            _layer_step(by_matrix, by_matrix, maps, scores),
        ],
        steps,
    )
    return {
        "clips": size.clips,
        "bins": size.bins,
        "frames": size.frames,
        "reduction": size.reduction,
        "ours_ms": ours,
        "loop_ms": loop,
        "matrix_ms": matrix,
        "times_faster_than_loop": round(loop / ours, 2),
        "times_faster_than_matrix": round(matrix / ours, 2),
    }


def _layer_step(
    call: Callable[[list[tf.Tensor]], tf.Tensor],
    layer: keras.layers.Layer,
    maps: tf.Tensor,
    scores: tf.Tensor,
) -> Step:
    """A step that returns the gradient of the scores; ``layer`` has the guide loss."""

    @tf.function
    def step(maps: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(scores)
            outputs = call([maps, scores])
            loss = tf.reduce_sum(tf.square(outputs)) + tf.add_n(layer.losses)
        return tape.gradient(loss, scores)

    return lambda: step(maps, scores)


def _medians_ms(steps: Sequence[Step], rounds: int) -> list[float]:
    """Median times in milliseconds; the steps take turns, so that load slows all of them alike."""
    for step in steps:
        for _ in range(2):  # the first call traces the graph
            step().numpy()
    spans: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for step, own in zip(steps, spans, strict=True):
            start = time.perf_counter()
            step().numpy()
            own.append(1000.0 * (time.perf_counter() - start))
    return [round(statistics.median(own), 3) for own in spans]
