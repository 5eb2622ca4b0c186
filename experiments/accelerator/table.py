# SPDX-License-Identifier: Apache-2.0
"""Trains the runs of a table where JAX has an accelerator and TensorFlow is missing (README.md)."""

from __future__ import annotations

import argparse
import functools
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import SPLITS, AudioDataset
from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.lab import RUNS
from m3net_tf.lab.many.plan import Training, plan_trainings, run_folder
from m3net_tf.lab.studies.cell_recipe import find_cells
from m3net_tf.lab.studies.grid_file import load_grid
from m3net_tf.networks.models.m3net.image import SpectrogramImage
from m3net_tf.system.errors import ConfigError, M3NetError, one_line
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.keras_internals import random_layers
from m3net_tf.system.processor import UNKNOWN
from m3net_tf.training.clips.features import FeatureSet, compute_features
from m3net_tf.training.clips.source import load_section, record_source
from m3net_tf.training.loop.schedules import learning_rate
from m3net_tf.training.loop.state import TrainingState
from m3net_tf.training.loss.losses import label_loss
from m3net_tf.training.network import build_network
from m3net_tf.training.recipe import Recipe, save_recipe
from m3net_tf.training.recipe.sections import AugmentationSection, TrainingSection
from m3net_tf.training.run import Run

OVERLAY = Path(__file__).parents[1] / "xla.yaml"
DONE = (
    "epochs",
    "batch_size",
    "learning_rate",
    "learning_rate_floor",
    "schedule",
    "plateau_patience",
    "label_smoothing",
    "features",
    "seed",
    "threads",
    "xla",
)
"""What train.py does of a recipe's training; all else must have its default."""
FIRST_STAGE = ("dw", "pw", "bn", "relu", "pool")
"""Layers of M3Net's first stage that :func:`fused_first_stage` knows."""


def main() -> None:
    """Export the missing runs of a table, or collect those that are trained."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("action", choices=["export", "collect"])
    parser.add_argument("table", help="such as m3net/mirrors")
    parser.add_argument("work", type=Path, help="folder that travels to the accelerator and back")
    parser.add_argument("--scale", default="paper")
    parser.add_argument("--only", action="append", default=[], help="cells, as of m3net table")
    parser.add_argument("--data-dir", type=Path, help="folder of the data set")
    parser.add_argument("--runs", type=Path, default=RUNS)
    chosen = parser.parse_args()
    grid = load_grid(chosen.table, chosen.scale, OVERLAY)
    cells = [cell for text in chosen.only for cell in find_cells(grid, text)] or grid.cells
    trainings = [grid.training(cell, repeat) for cell in cells for repeat in cell.repeats]
    waiting = plan_trainings(trainings, chosen.runs).waiting
    if chosen.action == "export":
        export(waiting, chosen.work, chosen.data_dir)
    else:
        collect(waiting, chosen.work, chosen.runs, chosen.data_dir)


def export(trainings: Sequence[Training], work: Path, data_dir: Path | None) -> None:
    """Write the programs, features, splits and initial weights of some runs.

    Raises:
        ConfigError: a recipe uses what train.py does not do.
    """
    work.mkdir(parents=True, exist_ok=True)
    tasks, programs, known = [], {}, {}
    clips, splits, weights = Clips(), {}, {}
    for training in trainings:
        recipe = training.recipe
        data = json.dumps(recipe.to_dict()["dataset"])
        if data not in known:
            dataset = load_section(recipe.dataset, data_dir)
            parts = {split: features_of(recipe, dataset, split) for split in SPLITS}
            known[data] = f"split{len(known)}", parts["train"], len(dataset.info.labels)
            splits |= {f"{known[data][0]}.{split}": clips.numbers(parts[split]) for split in SPLITS}
        name, train_set, classes = known[data]
        shape = (*clips.maps[0].shape, 1)
        done = {key: getattr(recipe.training, key) for key in DONE}
        network = json.dumps([recipe.to_dict()["model"], classes, {**done, "seed": None}])
        if network not in programs:
            programs[network] = f"network{len(programs)}"
            write_programs(recipe, shape, train_set, classes, work / programs[network])
        start = f"{programs[network]}.seed{recipe.training.seed}"
        if f"{start}.0" not in weights:
            keras.utils.set_random_seed(recipe.training.seed)
            model = build_network(recipe, shape, False, classes)
            weights |= {f"{start}.{i}": weight for i, weight in enumerate(model.get_weights())}
        place = {"place": training.place, "program": programs[network]}
        tasks.append({**place, "start": start, "data": name, **done})
    np.save(work / "features.npy", np.stack(clips.maps))
    np.savez(work / "clips.npz", labels=np.array(clips.labels, np.int32), **splits)
    np.savez(work / "weights.npz", **weights)
    (work / "tasks.json").write_text(json.dumps(tasks, indent=1))
    print(f"{work}: {len(tasks)} runs of {len(programs)} networks, {len(clips.maps)} clips")


def features_of(recipe: Recipe, dataset: AudioDataset, split: str) -> FeatureSet:
    """The trainer's features of a split."""
    settings = recipe.training
    return compute_features(
        dataset, split, recipe.frontend, None, settings.seed, print, settings.features
    )


class Clips:
    """The clips of all splits, each once.

    Attributes:
        maps: the network's float32 features of each clip, shape (bins, frames).
        labels: class index of each clip.
    """

    def __init__(self) -> None:
        self.maps: list[npt.NDArray[np.float32]] = []
        self.labels: list[int] = []
        self._numbers: dict[str, int] = {}

    def numbers(self, features: FeatureSet) -> npt.NDArray[np.int32]:
        """Numbers of a split's clips in ``maps``, to which new ones are added."""
        maps = dequantize_features(features.features[0])
        for clip, map_, label in zip(features.clips, maps, features.labels, strict=True):
            if clip.clip_id not in self._numbers:
                self._numbers[clip.clip_id] = len(self.maps)
                self.maps.append(map_)
                self.labels.append(int(label))
        return np.array([self._numbers[clip.clip_id] for clip in features.clips], np.int32)


def write_programs(
    recipe: Recipe, shape: tuple[int, int, int], clips: FeatureSet, classes: int, path: Path
) -> None:
    """Write a recipe's input, step and inference as HLO, ``path.<program>.hlo`` with ``path.json``.

    The input is the image of :class:`.SpectrogramImage`, which has no weights: train.py computes it
    once for all epochs.

    Raises:
        ConfigError: the recipe uses what train.py does not do.
    """
    settings = recipe.training
    done = TrainingSection(**{name: getattr(settings, name) for name in DONE})
    model = build_network(recipe, shape, False, classes)
    images = [layer for layer in model.layers if isinstance(layer, SpectrogramImage)]
    if (
        settings != done
        or settings.schedule != "plateau"
        or recipe.augmentation != AugmentationSection()
        or random_layers(model)
    ):
        raise ConfigError(
            f"{recipe.model.name}: experiments/accelerator trains without augmentation, dropout, "
            f"averages and schedules other than plateau; choose other cells with --only"
        )
    tf.config.experimental.enable_tensor_float_32_execution(False)
    maps = tf.TensorSpec((settings.batch_size, *shape), tf.float32)
    with fast_layers():
        inputs = maps
        if images:
            inputs = tf.TensorSpec(images[0](tf.zeros(maps.shape)).shape, tf.float32)
            model = build_network(recipe, tuple(inputs.shape[1:]), False, classes)
        forward = fused_first_stage(model)
        state = TrainingState(model, settings, len(clips.clips))
        optimizer = state.optimizer
        loss_of = label_loss(settings, clips, classes)

        def step(x: tf.Tensor, labels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
            done = tf.cast(optimizer.iterations, tf.float32)
            rate = learning_rate(settings, done, state.steps_per_epoch) * factor
            optimizer.learning_rate.assign(tf.maximum(rate, settings.learning_rate_floor))
            with tf.GradientTape() as tape:
                loss = loss_of(tf.one_hot(labels, classes), forward(x, training=True))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(
                zip(gradients, model.trainable_variables, strict=True),
                skip_gradients_aggregation=True,
            )
            return loss

        labels = tf.TensorSpec((settings.batch_size,), tf.int32)
        factor = tf.TensorSpec((), tf.float32)
        programs = {
            "input": (lambda x: images[0](x) if images else tf.identity(x), [maps]),
            "step": (step, [inputs, labels, factor]),
            "predict": (lambda x: forward(x, training=False), [inputs]),
        }
        variables = [*model.weights, *optimizer.variables, optimizer.learning_rate]
        facts = {
            name: lower(function, arguments, variables, Path(f"{path}.{name}.hlo"))
            for name, (function, arguments) in programs.items()
        }
    facts["weights"] = len(model.weights)
    facts["variables"] = [[list(v.shape), v.dtype.name] for v in variables]
    Path(f"{path}.json").write_text(json.dumps(facts))


def lower(
    function: Callable[..., tf.Tensor],
    arguments: Sequence[tf.TensorSpec],
    variables: Sequence[tf.Variable],
    path: Path,
) -> dict[str, object]:
    """Write a function of tensors and variables as HLO.

    Returns:
        Shapes and types of its arguments and results; the variables that follow its arguments, and
        the variable of each result after the first.
    """
    compiled = tf.function(function, jit_compile=True, autograph=False)
    generator = compiled.experimental_get_compiler_ir(*arguments)
    path.write_bytes(generator(stage="hlo_serialized"))
    concrete = compiled.get_concrete_function(*arguments)
    numbers = {id(variable.handle): number for number, variable in enumerate(variables)}
    read = [numbers[id(handle)] for handle in concrete.captured_inputs]
    header = generator(stage="hlo").splitlines()[0]
    # The HLO's header says which parameter a result replaces: {result}: (parameter, {}, may-alias)
    replaced = re.findall(r"\{(\d+)\}: \((\d+), \{\}", header)
    written = [read[int(parameter) - len(arguments)] for _, parameter in replaced]
    specs = [*arguments, *(variables[number] for number in read)]
    results = [concrete.structured_outputs, *(variables[number] for number in written)]
    return {
        "arguments": [[list(spec.shape), spec.dtype.name] for spec in specs],
        "results": [[list(spec.shape), spec.dtype.name] for spec in results],
        "read": read,
        "written": written,
    }


@contextmanager
def fast_layers() -> Iterator[None]:
    """Context whose layers compute the same in forms that XLA fuses: 1.6 times as fast on a GPU.

    Depthwise convolutions become sums of shifted products, 1 x 1 convolutions matrix products, and
    poolings of 2 x 2 reductions.
    """
    convolution = keras.layers.Conv2D.convolution_op

    def pointwise(layer: keras.layers.Conv2D, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if tuple(layer.kernel_size) == tuple(layer.strides) == (1, 1):
            return tf.tensordot(x, kernel[0, 0], 1)
        return convolution(layer, x, kernel)

    def pool(layer: keras.layers.MaxPooling2D, x: tf.Tensor) -> tf.Tensor:
        (height, width), (_, rows, columns, channels) = layer.pool_size, x.shape
        x = x[:, : rows // height * height, : columns // width * width]
        blocks = [-1, rows // height, height, columns // width, width, channels]
        return tf.reduce_max(tf.reshape(x, blocks), axis=[2, 4])

    with (
        mock.patch("tf_keras.src.backend.depthwise_conv2d", shifted_products),
        mock.patch.object(keras.layers.Conv2D, "convolution_op", pointwise),
        mock.patch.object(keras.layers.MaxPooling2D, "call", pool),
    ):
        yield


def fused_first_stage(model: keras.Model) -> Callable[..., tf.Tensor]:
    """The model as a function; of M3Net's first stage it never writes the widest map.

    That map is a sum of few input channels. So its mean and variance follow from their mean and
    covariance, and its pooling is a maximum over the sums at each place of a window.
    """
    first = model.layers[1:6]
    if [layer.name for layer in first] != [f"sfp1_{name}" for name in FIRST_STAGE]:
        return model  # type: ignore[no-any-return]
    depthwise, pointwise, norm, _, pool = first
    rest = keras.Model(pool.output, model.output)

    def forward(x: tf.Tensor, training: bool) -> tf.Tensor:
        x = shifted_products(
            x, depthwise.depthwise_kernel, depthwise.strides, depthwise.padding
        )  # (batch, F, T, few)
        x += depthwise.bias
        kernel, bias = pointwise.kernel[0, 0], pointwise.bias
        mean, variance = norm.moving_mean, norm.moving_variance
        if training:
            count = np.prod(x.shape[:3])
            mean = tf.reduce_mean(x, [0, 1, 2])
            centred = x - mean
            products = centred[..., None] * centred[..., None, :]
            covariance = tf.reduce_mean(products, [0, 1, 2])
            mean = tf.linalg.matvec(kernel, mean, transpose_a=True) + bias
            variance = tf.reduce_sum(kernel[:, None] * kernel[None] * covariance[..., None], [0, 1])
            unbiased = variance * (count / (count - 1))
            for average, value in ((norm.moving_mean, mean), (norm.moving_variance, unbiased)):
                average.assign_sub((average - value) * (1 - norm.momentum))
        scale = norm.gamma * tf.math.rsqrt(variance + norm.epsilon)
        kernel, offset = kernel * scale, norm.beta + (bias - mean) * scale
        height, width = pool.pool_size
        x = x[:, : x.shape[1] // height * height, : x.shape[2] // width * width]
        places = [
            x[:, row::height, column::width] for row in range(height) for column in range(width)
        ]
        sums = [
            sum((place[..., i : i + 1] * kernel[i] for i in range(kernel.shape[0])), offset)
            for place in places
        ]
        pooled = functools.reduce(tf.maximum, sums)
        return rest(tf.nn.relu(pooled), training=training)

    return forward


def shifted_products(
    x: tf.Tensor, kernel: tf.Tensor, strides: tuple[int, int], padding: str, **_: object
) -> tf.Tensor:
    """Depthwise convolution of a map (batch, F, T, C) with a kernel (height, width, C, 1)."""
    height, width = kernel.shape[:2]
    sizes = [-(-size // stride) for size, stride in zip(x.shape[1:3], strides, strict=True)]
    if padding == "same":
        missing = [
            max((size - 1) * stride + reach - length, 0)
            for size, stride, reach, length in zip(
                sizes, strides, (height, width), x.shape[1:3], strict=True
            )
        ]
        ends = [[count // 2, count - count // 2] for count in missing]
        x = tf.pad(x, [[0, 0], *ends, [0, 0]])
    last = [(size - 1) * stride + 1 for size, stride in zip(sizes, strides, strict=True)]
    products = [
        x[:, row : row + last[0] : strides[0], column : column + last[1] : strides[1]]
        * kernel[row, column, :, 0]
        for row in range(height)
        for column in range(width)
    ]
    total = products[0]
    for product in products[1:]:
        total += product
    return total


def collect(trainings: Sequence[Training], work: Path, runs: Path, data_dir: Path | None) -> None:
    """Write trained runs as stopped after their last epoch: ``m3net table`` evaluates them."""
    collected = 0
    for training in trainings:
        result = work / "results" / f"{training.place.replace('/', '.')}.npz"
        if not result.exists():
            continue
        recipe, run = training.recipe, Run(run_folder(training, runs))
        with np.load(result) as arrays:
            shape = tuple(arrays["shape"])
            model = build_network(recipe, shape, False, int(arrays["classes"]))
            state = TrainingState(model, recipe.training, int(arrays["clips"]))
            state.history = json.loads(str(arrays["history"]))
            state.kept = [arrays[f"best_{index}"] for index in range(len(model.weights))]
            device = str(arrays["device"])
        state.computers = [{**UNKNOWN, "accelerators": [device]}]
        state.use_kept()
        run.folder.mkdir(parents=True, exist_ok=True)
        save_recipe(recipe, run.recipe_path)
        record_source(run.folder, recipe.dataset.name, data_dir)
        state.save(run.state_path)
        (run.folder / "train.log").write_text(f"trained by experiments/accelerator on {device}\n")
        collected += 1
    print(f"{runs}: {collected} runs collected; m3net table evaluates them")


if __name__ == "__main__":
    try:
        main()
    except M3NetError as error:
        sys.exit(f"error: {one_line(error)}")
