# SPDX-License-Identifier: Apache-2.0
"""The student's first weights: the teacher's own, with fewer channels.

Layer by layer the channels are kept that represent the others best (QR with pivoting), and the
pointwise convolution that computes them is fitted again, by least squares, to what the teacher's
layer computes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.linalg

from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.lab.bodies.yamnet import Layer, Teacher
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.progress import Log

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

_AT_ONCE = 64
_CHOICE_ROWS, _FIT_ROWS = 20_000, 40_000
_RIDGE = 1e-3  # of the mean variance


def is_narrower(student: keras.Model, teacher: Teacher) -> bool:
    """Whether a MobileNet has the teacher's first layers, with as many channels or fewer."""
    stem = student.get_layer("stem_conv")
    pairs = [(stem.filters, stem.strides[0], teacher.stem.kernel.shape[-1], teacher.stem.stride)]
    count = _blocks(student)
    if count > len(teacher.blocks):
        return False
    for number, (depthwise, pointwise) in enumerate(teacher.blocks[:count], 1):
        own = student.get_layer(f"block{number}_pw").filters
        stride = student.get_layer(f"block{number}_dw").strides[0]
        pairs.append((own, stride, pointwise.kernel.shape[-1], depthwise.stride))
    return all(own <= wide and stride == his for own, stride, wide, his in pairs)


def start_narrower(
    student: keras.Model,
    teacher: Teacher,
    maps: npt.NDArray[np.int8],
    seed: int,
    log: Log,
) -> None:
    """Give a student, which :func:`is_narrower`, weights made of the teacher's.

    Args:
        maps: int8 features of some hundred patches, as the student gets them, shape (patches, bins,
            frames).
        seed: chooses the places of the maps that are compared.
    """
    rng = np.random.default_rng(seed)
    inputs = dequantize_features(maps)[..., None]
    width = student.get_layer("stem_conv").filters
    wide = np.maximum(_convolved(inputs, teacher.stem), 0)
    keep = _chosen(_rows(wide, _CHOICE_ROWS, rng), width)
    stem = _narrowed(teacher.stem, keep)
    before = _convolved(inputs, stem)
    _set(student, "stem", "conv", stem, before)
    narrow = np.maximum(before, 0)
    del before
    for number in range(1, _blocks(student) + 1):
        depthwise, pointwise = teacher.blocks[number - 1]
        wide = np.maximum(_convolved(wide, depthwise, depthwise=True), 0)
        targets = _convolved(wide, pointwise)
        own = dataclasses.replace(
            depthwise, kernel=depthwise.kernel[:, :, keep], bias=depthwise.bias[keep]
        )
        before = _convolved(narrow, own, depthwise=True)
        _set(student, f"block{number}_dw", "", own, before)
        narrow = np.maximum(before, 0)
        width = student.get_layer(f"block{number}_pw").filters
        chosen = _chosen(np.maximum(_rows(targets, _CHOICE_ROWS, rng), 0), width)
        if len(keep) == depthwise.kernel.shape[2]:
            fitted, explained = _narrowed(pointwise, chosen), 1.0
        else:
            fitted, explained = _fitted(narrow, targets[..., chosen], rng)
        before = _convolved(narrow, fitted)
        _set(student, f"block{number}", "pw", fitted, before)
        wide, narrow, keep = np.maximum(targets, 0), np.maximum(before, 0), chosen
        log(f"block {number}: {width} channels explain {100 * explained:.1f} % of the teacher's")


def _blocks(student: keras.Model) -> int:
    return sum(layer.name.endswith("_dw") for layer in student.layers)


def _narrowed(layer: Layer, keep: Indices) -> Layer:
    """A convolution with some of its outputs."""
    return dataclasses.replace(layer, kernel=layer.kernel[..., keep], bias=layer.bias[keep])


def _fitted(inputs: Floats, targets: Floats, rng: np.random.Generator) -> tuple[Layer, float]:
    """The pointwise convolution nearest to some outputs, and the share of variance it explains."""
    places = rng.integers(0, np.prod(inputs.shape[:3]), _FIT_ROWS)
    rows = inputs.reshape(-1, inputs.shape[-1])[places].astype(np.float64)
    wanted = targets.reshape(-1, targets.shape[-1])[places].astype(np.float64)
    centre, mean = rows.mean(axis=0), wanted.mean(axis=0)
    rows -= centre
    wanted -= mean
    squares = rows.T @ rows
    squares[np.diag_indices_from(squares)] += _RIDGE * np.trace(squares) / len(squares)
    kernel = np.linalg.solve(squares, rows.T @ wanted)
    explained = 1.0 - np.sum((rows @ kernel - wanted) ** 2) / np.sum(wanted**2)
    bias = mean - centre @ kernel
    return Layer(kernel.astype(np.float32)[None, None], bias.astype(np.float32)), float(explained)


def _chosen(rows: Floats, count: int) -> Indices:
    """Columns from which the others can be computed best, in their order."""
    if count == rows.shape[1]:
        return np.arange(count)
    order = scipy.linalg.qr(rows - rows.mean(axis=0), mode="r", pivoting=True)[1]
    return np.sort(order[:count])


def _rows(maps: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Channels at random places of maps (batch, bins, frames, channels), a row for each place."""
    places = rng.integers(0, np.prod(maps.shape[:3]), count)
    return maps.reshape(-1, maps.shape[-1])[places]


def _convolved(maps: Floats, layer: Layer, *, depthwise: bool = False) -> Floats:
    """A layer's outputs before the ReLU."""
    strides = [1, layer.stride, layer.stride, 1]
    convolve = tf.nn.depthwise_conv2d if depthwise else tf.nn.conv2d
    parts = [
        convolve(maps[first : first + _AT_ONCE], layer.kernel, strides, "SAME").numpy()
        for first in range(0, len(maps), _AT_ONCE)
    ]
    return np.asarray(np.concatenate(parts) + layer.bias, np.float32)


def _set(student: keras.Model, name: str, part: str, layer: Layer, outputs: Floats) -> None:
    """Set a convolution, and the normalisation behind it so that it changes nothing at first."""
    convolution = f"{name}_{part}" if part else name
    student.get_layer(convolution).set_weights([layer.kernel, layer.bias])
    normalisation = student.get_layer(f"{name}_bn")
    axes = (0, 1, 2)
    mean, variance = outputs.mean(axes), outputs.var(axes)
    deviation = np.sqrt(variance + normalisation.epsilon)
    normalisation.set_weights([deviation, mean, mean, variance])
