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

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets.folder import sounds_below
from m3net_tf.audio.frontend import FrontendConfig
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
from m3net_tf.tflite.graph import Graph, Operation, Tensor
from m3net_tf.tflite.read import read_graph
from m3net_tf.tflite.unpack import refusing_damage
from m3net_tf.tflite.write import write_graph

Int8 = npt.NDArray[np.int8]
Pcm = npt.NDArray[np.int16]
_THRESHOLD, _RELEASE = 0.85, 0.7  # cosines
_ENDS = ("SOFTMAX", "LOGISTIC")  # of exclusive classes, of independent ones
_LEAST_RUNS = 4  # for each output, in a background
_RIDGE = 0.1  # of the mean variance, added to each


def enrolment_network(tflite: bytes, background: Int8 | None = None) -> bytes:
    """The network without the probabilities at its end, and without the dense layer before them.

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
    graph = read_graph(tflite)
    with refusing_damage():
        _remove_probabilities(graph)
        kinds = [op.kind for op in graph.operations[-2:]]
        if kinds == ["CONV_2D", "RESHAPE"] and _is_vector(graph.operations[-2].input(0)):
            dense, flatten = graph.operations[-2:]
            if background is None:
                graph.operations.remove(dense)
                _flatten(flatten, dense.input(0))
            else:
                _whiten(dense, background)
                _flatten(flatten, dense.output)
        elif background is not None:
            raise ModelError(
                "the network's last dense layer reads a map: export without background"
            )
        graph.outputs = [graph.operations[-1].output]
    return write_graph(tflite, graph)


def _remove_probabilities(graph: Graph) -> None:
    """Remove the softmax or sigmoid at the end, so that the last operator computes logits."""
    last = end = graph.operations[-1]
    if last.kind == "RESHAPE" and len(graph.operations) > 1:
        end = graph.operations[-2]  # TFLite's converter moves a sigmoid before a Flatten
    if end.kind not in _ENDS or last.outputs != graph.outputs:
        raise ModelError(
            f"the network ends in {end.kind}: a network that enrols ends in {' or '.join(_ENDS)}"
        )
    logits = end.input(0)
    if logits.dtype != "int8":
        raise ModelError("the network has 16-bit activations: one that enrols has 8")
    graph.operations.remove(end)
    if last is not end:
        last.inputs[0] = logits
        last.output.scales = logits.scales
        last.output.zero_points = logits.zero_points


def _is_vector(tensor: Tensor) -> bool:
    *others, channels = tensor.shape
    return math.prod(others) == 1 < channels


def _flatten(flatten: Operation, features: Tensor) -> None:
    """Let an operation that flattens read this tensor."""
    flat = flatten.output
    flatten.inputs[0] = features
    flat.shape = (1, features.shape[-1])
    flat.scales = features.scales
    flat.zero_points = features.zero_points
    if "newShape" in flatten.options:
        flatten.options["newShape"] = list(flat.shape)
    for shape in flatten.inputs[1:]:
        if shape is not None:
            shape.data = np.array(flat.shape, np.int32)


def _whiten(dense: Operation, background: Int8) -> None:
    """Give a dense layer the weights of a whitening."""
    features, weights, bias = (dense.input(index) for index in range(3))
    centred = background.astype(np.float64) - float(features.zero_point)
    mean = centred.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(centred, rowvar=False))
    whitening = (axes / np.sqrt(variances + _RIDGE * variances.mean())).T
    width = len(whitening)
    steps = np.abs(whitening).max(axis=1) / 127  # of the weights of each output
    largest = np.abs((centred - mean) @ whitening.T).max()
    rounded = np.round(whitening / steps[:, None]).astype(np.int8)
    weights.data = rounded.reshape(width, 1, 1, width)
    bias.data = np.round(-(rounded @ mean))
    for tensor, scales in (
        (weights, steps),
        (bias, features.scale * steps),
        (dense.output, np.array([features.scale * largest / 127])),
    ):
        tensor.scales = scales.astype(np.float32)
        tensor.zero_points = (0,) * len(scales)
    weights.shape = weights.data.shape
    bias.shape = bias.data.shape
    dense.output.shape = (1, 1, 1, width)


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
    config = dataclasses.replace(detector, classes=places, gate_level=None)
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


def embedding_network(
    tflite: bytes, metadata: Metadata, background: Sequence[Path], log: Log
) -> bytes:
    """:func:`enrolment_network`, whitened by the sounds of folders if there are any.

    Raises:
        ModelError: as :func:`enrolment_network`.
        DataError: as :func:`background_embeddings`.
    """
    network = enrolment_network(tflite)
    if not background:
        return network
    return enrolment_network(tflite, background_embeddings(network, metadata, background, log))


def enrolment_metadata(metadata: Metadata, tflite: bytes, slots: int) -> Metadata:
    """:func:`metadata_of_outputs`, with a detector that has a class for each word.

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
    detector = dataclasses.replace(metadata.detector, classes=classes)
    described = metadata_of_outputs(metadata, tflite, detector)
    manifest = {**described.manifest, "enrolment_slots": slots}
    return dataclasses.replace(described, manifest=manifest)


def metadata_of_outputs(metadata: Metadata, tflite: bytes, detector: DetectorConfig) -> Metadata:
    """Metadata of :func:`enrolment_network`, whose outputs have numbers for names.

    Args:
        tflite: the network without it.
        detector: its classes are the prototypes' ones.
    """
    model = {
        **metadata.manifest["model"],
        "sha256": sha256_of(tflite),
        "bytes": len(tflite),
        "output_quantization": list(tensor_quantization(tflite, "output")),
    }
    labels = [f"output{place}" for place in range(_output_width(tflite))]
    manifest = {**metadata.manifest, "labels": labels, "model": model}
    manifest["detector"] = detector.to_dict()
    return dataclasses.replace(metadata, labels=tuple(labels), detector=detector, manifest=manifest)


def _output_width(tflite: bytes) -> int:
    return read_graph(tflite).outputs[0].shape[-1]
