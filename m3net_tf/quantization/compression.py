# SPDX-License-Identifier: Apache-2.0
"""Compressed size of a quantised network, with statistics of its weights."""

import gzip
from collections.abc import Sequence

import numpy as np

from m3net_tf.quantization.record import Compression, LayerWeights
from m3net_tf.tflite.graph import WEIGHTED
from m3net_tf.tflite.read import read_graph


def compression(parts: Sequence[bytes]) -> Compression:
    """Size of a network after ``gzip -9``, and statistics of its weights."""
    layers: list[LayerWeights] = []
    for graph in map(read_graph, parts):
        for op in graph.operations:
            values = op.input(1).data if op.kind in WEIGHTED else None
            if values is not None:
                layers.append(
                    {
                        "layer": graph.keras_layer(op),
                        "operator": op.kind,
                        "weights": int(values.size),
                        "zero_share": float((values == 0).mean()),
                        "values": int(np.unique(values).size),
                    }
                )
    weights = sum(layer["weights"] for layer in layers)
    zeros = sum(layer["weights"] * layer["zero_share"] for layer in layers)
    return {
        "gzip_bytes": sum(len(gzip.compress(part, 9, mtime=0)) for part in parts),
        "zero_share": zeros / max(1, weights),
        "layers": layers,
    }
