# SPDX-License-Identifier: Apache-2.0
"""YAMNet as teacher: its weights from the published ``.tflite``, and the names of its classes.

``yamnet_class_map.csv`` is Google's, licence Apache-2.0, from tensorflow/models,
research/audioset/yamnet.
"""

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend import FrontendConfig, frontend_preset
from m3net_tf.audio.frontend.config import FEATURE_SCALE
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.text_tables import read_table
from m3net_tf.tflite.graph import Operation, Tensor
from m3net_tf.tflite.model_file import read_model_file
from m3net_tf.tflite.read import read_graph
from m3net_tf.training.loss.teacher_file import TeacherFacts

FRONTEND: FrontendConfig = frontend_preset("yamnet")
_CLASSES = Path(__file__).with_name("yamnet_class_map.csv")

Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution or dense layer, with weights as Keras has them: frequency before time."""

    kernel: Floats
    bias: Floats
    stride: int = 1


@dataclasses.dataclass(frozen=True)
class Teacher:
    """YAMNet, or a network with the same kinds of layers, for features in [-1, 1].

    Attributes:
        input_shape: (bins, frames, 1) of its patches.
        blocks: depthwise and pointwise convolution of each block.
        classes: the dense layer of the scores, which reads the pooled embedding.
    """

    facts: TeacherFacts
    input_shape: tuple[int, int, int]
    stem: Layer
    blocks: tuple[tuple[Layer, Layer], ...]
    classes: Layer

    @property
    def embedding(self) -> int:
        """Values of the embedding."""
        return int(self.classes.kernel.shape[0])

    def network(self) -> keras.Model:
        """The network from features (batch, bins, frames, 1) to embedding and logits."""
        inputs = keras.Input(self.input_shape)
        x = _convolved(inputs, self.stem)
        for depthwise, pointwise in self.blocks:
            x = _convolved(_convolved(x, depthwise, depthwise=True), pointwise)
        embedding = keras.layers.GlobalAveragePooling2D()(x)
        logits = keras.layers.Dense(self.classes.kernel.shape[-1])(embedding)
        model = keras.Model(inputs, [embedding, logits], name="teacher")
        layers = [self.stem, *(part for block in self.blocks for part in block), self.classes]
        model.set_weights([array for layer in layers for array in (layer.kernel, layer.bias)])
        return model


def class_names() -> tuple[str, ...]:
    """Names of the 521 classes of AudioSet that YAMNet knows, in the order of its scores."""
    return tuple(row["display_name"] for row in read_table(_CLASSES, ("display_name",)))


def read_teacher(path: Path) -> Teacher:
    """The weights of YAMNet's ``.tflite``.

    Raises:
        ModelError: the file cannot be read, or has other layers.
    """
    content = read_model_file(path)
    refusal = ModelError(
        f"{path} does not have YAMNet's layers and {len(class_names())} classes: run m3net data "
        "fetch yamnet and give --teacher yamnet"
    )
    operations = read_graph(content).operations
    convolutions = [op for op in operations if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    dense = [op for op in operations if op.kind == "FULLY_CONNECTED"]
    kinds = [op.kind for op in convolutions]
    pairs = (len(kinds) - 1) // 2
    if not dense or not pairs or kinds != ["CONV_2D", *["DEPTHWISE_CONV_2D", "CONV_2D"] * pairs]:
        raise refusal
    first, *others = convolutions
    _, frames, bins, channels = first.input(0).shape
    classes = Layer(_values(dense[-1].input(1)).T, _values(dense[-1].input(2)))
    if channels != 1 or bins != FRONTEND.feature_bins or len(classes.bias) != len(class_names()):
        raise refusal
    stem = _layer(first)
    # The file's maps are logarithms; ours are a part of them, so that they fit int8.
    stem = dataclasses.replace(stem, kernel=stem.kernel * (FRONTEND.feature_step / FEATURE_SCALE))
    blocks = tuple(
        (_layer(depthwise), _layer(pointwise))
        for depthwise, pointwise in zip(others[::2], others[1::2], strict=True)
    )
    facts: TeacherFacts = {
        "file": path.name,
        "sha256": sha256_of(content),
        "output": "embedding and logits",
        "values": len(classes.kernel) + len(classes.bias),
    }
    return Teacher(facts, (bins, frames, 1), stem, blocks, classes)


def _convolved(x: tf.Tensor, layer: Layer, *, depthwise: bool = False) -> tf.Tensor:
    size, _, _, outputs = layer.kernel.shape
    options = {"padding": "same", "activation": "relu"}
    if depthwise:
        return keras.layers.DepthwiseConv2D(size, layer.stride, **options)(x)
    return keras.layers.Conv2D(outputs, size, layer.stride, **options)(x)


def _layer(op: Operation) -> Layer:
    """A convolution over (frames, bins) as one over (bins, frames)."""
    kernel = _values(op.input(1))
    order = (2, 1, 3, 0)  # from (outputs, frames, bins, inputs), or for each channel (1, …, 1)
    return Layer(kernel.transpose(order), _values(op.input(2)), int(op.options["strideW"]))


def _values(tensor: Tensor) -> Floats:
    """A constant's real values."""
    if tensor.data is None:
        raise ModelError(f"tensor {tensor.name!r} is computed, which YAMNet's weights are not")
    values = tensor.data.astype(np.float32)
    if not len(tensor.scales):
        return values
    shape = [1] * values.ndim
    if len(tensor.scales) > 1:
        shape[tensor.channel_axis] = -1
    return np.asarray(values * tensor.scales.reshape(shape), np.float32)
