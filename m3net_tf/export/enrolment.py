# SPDX-License-Identifier: Apache-2.0
"""A trained network as one that enrols words: what its classifier reads places a sound.

A network that tells many words apart has learnt what distinguishes words, so that words it has
never heard get places of their own. ``runtime/prototypes.py`` compares these.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from m3net_tf.compiler.tflite_names import operator_name
from m3net_tf.compiler.unpack import refusing_damage, unpack
from m3net_tf.runtime.detector_config import ClassSettings, slot_labels
from m3net_tf.runtime.interpreter import tensor_quantization
from m3net_tf.runtime.metadata import Metadata
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.errors import ModelError

_THRESHOLD, _RELEASE = 0.85, 0.7  # cosines


def enrolment_network(tflite: bytes) -> bytes:
    """The network without the softmax at its end, and without the dense layer before it.

    A dense layer over a map, which is no classifier of :func:`m3net_tf.networks.layers.classifier`,
    stays: then the outputs are logits.

    Raises:
        ModelError: the file is damaged, its activations have not 8 bits, or it has another end.
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
        if names[-3:-1] == ["CONV_2D", "RESHAPE"]:
            _leave_out_classifier(graph, model.buffers)
        graph.outputs = [int(graph.operators[-1].outputs[0])]
        for signature in model.signatureDefs or ():
            for end in signature.outputs or ():
                end.tensorIndex = graph.outputs[0]
        builder = flatbuffers.Builder(len(tflite))
        builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _leave_out_classifier(graph: Any, buffers: Any) -> None:
    """Let the last operator, which flattens, read the input of the dense layer before it."""
    *_, dense, flatten = graph.operators
    features, flat = graph.tensors[dense.inputs[0]], graph.tensors[flatten.outputs[0]]
    shape = [1, int(features.shape[-1])]
    if math.prod(features.shape) != math.prod(shape):
        return
    graph.operators.remove(dense)
    flatten.inputs = [int(dense.inputs[0]), *map(int, flatten.inputs[1:])]
    flat.shape, flat.shapeSignature, flat.quantization = shape, None, features.quantization
    if flatten.builtinOptions:
        flatten.builtinOptions.newShape = shape
    for index in flatten.inputs[1:]:
        buffers[graph.tensors[index].buffer].data = np.array(shape, "<i4").view(np.uint8)


def enrolment_metadata(metadata: Metadata, tflite: bytes, slots: int) -> Metadata:
    """Metadata of :func:`enrolment_network`, with a detector that has a class for each word.

    Args:
        metadata: of the network with its softmax.
        tflite: the network without it.
        slots: number of words that have a place.
    """
    words = metadata.detector.classes
    classes = tuple(
        ClassSettings(
            label,
            threshold=_THRESHOLD,
            release=_RELEASE,
            suppression_columns=words[0].suppression_columns,
            window_runs=1,
        )
        for label in slot_labels(slots)
    )
    detector = dataclasses.replace(metadata.detector, classes=classes)
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
