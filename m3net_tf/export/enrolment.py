# SPDX-License-Identifier: Apache-2.0
"""A trained network as one that enrols words: its softmax goes, and its logits place a sound.

A network that tells many words apart has learnt what distinguishes words, so that words it has
never heard get logits of their own. ``runtime/prototypes.py`` compares these.
"""

from __future__ import annotations

import dataclasses

import flatbuffers
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
    """The network without the softmax at its end.

    Raises:
        ModelError: the file is damaged, its activations have not 8 bits, or it has another end.
    """
    model = unpack(tflite)
    with refusing_damage():
        graph = model.subgraphs[0]
        last = graph.operators[-1]
        name = operator_name(model.operatorCodes[last.opcodeIndex])
        if name != "SOFTMAX" or list(last.outputs) != list(graph.outputs):
            raise ModelError(f"the network ends in {name}: a network that enrols ends in SOFTMAX")
        if graph.tensors[last.inputs[0]].type != schema.TensorType.INT8:
            raise ModelError("the network has 16-bit activations: one that enrols has 8")
        graph.operators.pop()
        graph.outputs = [int(last.inputs[0])]
        for signature in model.signatureDefs or ():
            for end in signature.outputs or ():
                end.tensorIndex = graph.outputs[0]
        builder = flatbuffers.Builder(len(tflite))
        builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


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
    manifest = {**metadata.manifest, "model": model, "enrolment_slots": slots}
    return dataclasses.replace(metadata, detector=detector, manifest=manifest)
