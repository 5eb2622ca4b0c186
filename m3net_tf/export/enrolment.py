# SPDX-License-Identifier: Apache-2.0
"""A trained network as one that enrols words: what its classifier reads places a sound.

A network that tells many words apart has learnt what distinguishes words, so that words it has
never heard get places of their own. ``runtime/prototypes.py`` compares these.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from m3net_tf.audio.datasets.folder import sounds_below
from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.compiler.tflite_names import operator_name
from m3net_tf.compiler.unpack import refusing_damage, unpack
from m3net_tf.runtime.desktop import load_adaptive, load_streamed
from m3net_tf.runtime.detector import Tape
from m3net_tf.runtime.detector_config import ClassSettings, DetectorConfig, slot_labels
from m3net_tf.runtime.interpreter import tensor_quantization
from m3net_tf.runtime.metadata import Metadata
from m3net_tf.runtime.network import Int8Network
from m3net_tf.runtime.recognizer import Model, listen
from m3net_tf.runtime.sound import pcm_chunks
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.errors import ConfigError, DataError, FirmwareError, ModelError
from m3net_tf.system.progress import Log, track

Int8 = npt.NDArray[np.int8]
Pcm = npt.NDArray[np.int16]
_THRESHOLD, _RELEASE = 0.85, 0.7  # cosines
_LEAST_RUNS = 4  # for each output, in a background
_RIDGE = 0.1  # of the mean variance, added to each


def enrolment_network(tflite: bytes, background: Int8 | None = None) -> bytes:
    """The network without the softmax at its end, and without the dense layer before it.

    A dense layer over a map, unlike a classifier of :func:`m3net_tf.networks.layers.classifier`,
    stays: then the outputs are logits.

    Args:
        background: the outputs of this function's network for sounds of many words, shape (runs,
            features). The dense layer then stays and whitens what it reads: for these sounds the
            outputs have mean 0 and nearly the identity as covariance, so that what most words have
            in common does not hide what tells them apart.

    Raises:
        ModelError: the file is damaged, its activations have not 8 bits, it has another end, or
            with ``background`` its dense layer reads a map.
    """
    model = unpack(tflite)
    with refusing_damage():
        graph = model.subgraphs[0]
        names = [operator_name(model.operatorCodes[each.opcodeIndex]) for each in graph.operators]
        last = graph.operators[-1]
        if names[-1] != "SOFTMAX" or list(last.outputs) != list(graph.outputs):
            raise ModelError(
                f"the network ends in {names[-1]}: a network that enrols ends in SOFTMAX"
            )
        if graph.tensors[last.inputs[0]].type != schema.TensorType.INT8:
            raise ModelError("the network has 16-bit activations: one that enrols has 8")
        graph.operators.pop()
        if names[-3:-1] == ["CONV_2D", "RESHAPE"] and _reads_vector(graph):
            if background is None:
                features = graph.operators.pop(-2).inputs[0]
            else:
                features = _whiten(graph, model.buffers, background)
            _flatten(graph, model.buffers, int(features))
        elif background is not None:
            raise ModelError(
                "the network's last dense layer reads a map: export without background"
            )
        graph.outputs = [int(graph.operators[-1].outputs[0])]
        for signature in model.signatureDefs or ():
            for end in signature.outputs or ():
                end.tensorIndex = graph.outputs[0]
        builder = flatbuffers.Builder(len(tflite))
        builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _reads_vector(graph: Any) -> bool:
    """Whether the dense layer before the last operator has one vector as its input."""
    *others, channels = map(int, graph.tensors[graph.operators[-2].inputs[0]].shape)
    return math.prod(others) == 1 < channels


def _flatten(graph: Any, buffers: Any, features: int) -> None:
    """Let the last operator, which flattens, read this tensor."""
    flatten = graph.operators[-1]
    tensor, flat = graph.tensors[features], graph.tensors[flatten.outputs[0]]
    shape = [1, int(tensor.shape[-1])]
    flatten.inputs = [features, *map(int, flatten.inputs[1:])]
    flat.shape, flat.shapeSignature, flat.quantization = shape, None, tensor.quantization
    if flatten.builtinOptions:
        flatten.builtinOptions.newShape = shape
    for index in flatten.inputs[1:]:
        buffers[graph.tensors[index].buffer].data = np.array(shape, "<i4").view(np.uint8)


def _whiten(graph: Any, buffers: Any, background: Int8) -> int:
    """Give the dense layer before the last operator the weights of a whitening; its output."""
    dense = graph.operators[-2]
    features, weights, bias = (graph.tensors[index] for index in dense.inputs)
    outputs = graph.tensors[dense.outputs[0]]
    (scale,), (zero_point,) = features.quantization.scale, features.quantization.zeroPoint
    centred = background.astype(np.float64) - float(zero_point)
    mean = centred.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(centred, rowvar=False))
    whitening = (axes / np.sqrt(variances + _RIDGE * variances.mean())).T
    width = len(whitening)
    steps = np.abs(whitening).max(axis=1) / 127  # of the weights of each output
    largest = np.abs((centred - mean) @ whitening.T).max()

    def set_tensor(tensor: Any, shape: list[int], scales: Any, values: Any = None) -> None:
        tensor.shape, tensor.shapeSignature = shape, None
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.asarray(scales, np.float32)
        tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
        if values is not None:
            buffers.append(schema.BufferT())  # the old one may be another tensor's, too
            buffers[-1].data = np.frombuffer(values.tobytes(), np.uint8)
            tensor.buffer = len(buffers) - 1

    rounded = np.round(whitening / steps[:, None]).astype(np.int8)
    set_tensor(weights, [width, 1, 1, width], steps, rounded)
    set_tensor(bias, [width], scale * steps, np.round(-(rounded @ mean)).astype("<i4"))
    set_tensor(outputs, [1, 1, 1, width], [scale * largest / 127])
    return int(dense.outputs[0])


def embedding_listener(
    tflite: bytes, frontend: FrontendConfig, detector: DetectorConfig
) -> Callable[[Iterable[Pcm]], Tape]:
    """A function of sound in chunks that gives a network's outputs in live detection.

    Args:
        tflite: as of :func:`enrolment_network`.
        detector: says when the network runs; the gate is open all the time.
    """
    settings = detector.classes[0]
    labels = slot_labels(_output_width(tflite))
    places = tuple(dataclasses.replace(settings, label=label) for label in labels)
    config = dataclasses.replace(detector, classes=places, gate_level=None, look_runs=0)
    engine: Model = load_adaptive(Int8Network(tflite))
    with contextlib.suppress(ConfigError, FirmwareError, ModelError):  # it does not stream here
        engine = load_streamed(tflite, config.run_columns)
    return lambda chunks: listen(frontend, engine, config, chunks)


def background_embeddings(
    tflite: bytes, metadata: Metadata, folders: Sequence[Path], log: Log
) -> Int8:
    """Outputs of :func:`enrolment_network` for all sounds in folders, shape (runs, features).

    Raises:
        DataError: a folder has no sounds, a file is broken, or the sounds are too few.
    """
    rate_hz = metadata.frontend.sample_rate_hz
    listener = embedding_listener(tflite, metadata.frontend, metadata.detector)
    files = [path for folder in folders for path in sounds_below(folder)]
    with track(log, "background", len(files), "files") as task:

        def chunks() -> Iterator[Pcm]:
            for path in files:
                yield from pcm_chunks(path, rate_hz)
                task.advance()

        outputs = listener(chunks()).scores
    least = _LEAST_RUNS * outputs.shape[1]
    if len(np.unique(outputs, axis=0)) < least:
        raise DataError(
            f"{folders[0]}: the network ran on fewer than {least} different sounds of "
            "--background: give hours of them"
        )
    return outputs


def enrolment_metadata(metadata: Metadata, tflite: bytes, slots: int) -> Metadata:
    """Metadata of :func:`enrolment_network`, with a detector that has a class for each word.

    Args:
        tflite: the network without it.
    """
    words = metadata.detector.classes
    classes = tuple(
        ClassSettings(
            label,
            threshold=_THRESHOLD,
            release=_RELEASE,
            suppression_columns=words[0].suppression_columns,
            window_runs=1,
            hits=1,  # a word is as in the examples in one run, and less so in the next
        )
        for label in slot_labels(slots)
    )
    detector = dataclasses.replace(metadata.detector, classes=classes, look_runs=0)
    model = {
        **metadata.manifest["model"],
        "sha256": sha256_of(tflite),
        "bytes": len(tflite),
        "output_quantization": list(tensor_quantization(tflite, "output")),
    }
    labels = [f"output{place}" for place in range(_output_width(tflite))]
    manifest = {**metadata.manifest, "labels": labels, "model": model, "enrolment_slots": slots}
    return dataclasses.replace(metadata, labels=tuple(labels), detector=detector, manifest=manifest)


def _output_width(tflite: bytes) -> int:
    graph = unpack(tflite).subgraphs[0]
    return int(graph.tensors[graph.outputs[0]].shape[-1])
