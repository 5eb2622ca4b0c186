# SPDX-License-Identifier: Apache-2.0
"""Compressed size of a quantised network, with statistics of its weights."""

import gzip
from collections.abc import Sequence

import numpy as np

from m3net_tf.quantization.graph import WEIGHTED, Graph
from m3net_tf.quantization.record import Compression, LayerWeights


def compression(parts: Sequence[bytes]) -> Compression:
    """Size of a network after ``gzip -9``, and statistics of its weights."""
    layers: list[LayerWeights] = []
    for graph in map(Graph, parts):
        for operator in graph.operators:
            values = graph.constant(operator.inputs[1]) if operator.kind in WEIGHTED else None
            if values is not None:
                layers.append(
                    {
                        "layer": graph.layer(operator),
                        "operator": operator.kind,
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
