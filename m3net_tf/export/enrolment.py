# SPDX-License-Identifier: Apache-2.0
"""A trained network as one that enrols words: its last outputs but the scores place a sound.

A network that tells many words apart has learnt what distinguishes words, so that words it has
never heard get places of their own. ``runtime/prototypes.py`` compares these. They are the
embedding of a network that has one (:func:`m3net_tf.networks.layers.classifier`), else the logits.
"""

from __future__ import annotations

import dataclasses
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
    """The network without the softmax at its end, and without a classifier behind an embedding.

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
        if names[-4:-1] == ["CONV_2D", "CONV_2D", "RESHAPE"]:
            _leave_out_classifier(model)
        graph.outputs = [int(graph.operators[-1].outputs[0])]
        for signature in model.signatureDefs or ():
            for end in signature.outputs or ():
                end.tensorIndex = graph.outputs[0]
        builder = flatbuffers.Builder(len(tflite))
        builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _leave_out_classifier(model: Any) -> None:
    """Take the dense layer away if the layer before it is linear, which only an embedding is."""
    graph = model.subgraphs[0]
    *_, embedding, classifier, flatten = graph.operators
    linear = embedding.builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.NONE
    if not linear or classifier.inputs[0] != embedding.outputs[0]:
        return
    place, flat = (graph.tensors[each.outputs[0]] for each in (embedding, flatten))
    graph.operators.remove(classifier)
    flatten.inputs[0] = embedding.outputs[0]
    flat.shape = [1, place.shape[-1]]
    flat.shapeSignature = None
    flat.quantization = place.quantization
    if len(flatten.inputs) > 1:
        shape = model.buffers[graph.tensors[flatten.inputs[1]].buffer]
        shape.data = np.array([1, place.shape[-1]], "<i4").view(np.uint8)
    else:
        flatten.builtinOptions.newShape = flat.shape


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
