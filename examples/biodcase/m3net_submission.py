# SPDX-License-Identifier: Apache-2.0
"""Features and network for the pipeline of BioDCASE-Tiny 2026, which calls these classes.

It needs NumPy and ai_edge_litert alone, which the pipeline has. make_submission.py copies it.
"""

import numpy as np
from ai_edge_litert.interpreter import Interpreter


class Features:
    """The front end of an export: logarithms of mel powers, as the network's input.

    Args:
        path: tables and settings that make_submission.py has written.
        firmware: settings of the pipeline's own front end, of which only its firmware takes notice.
    """

    def __init__(self, path, **firmware):
        with np.load(path) as tables:
            self._tables = dict(tables)

    def extract(self, samples):
        """Samples in [-1, 1), shape (samples,), as features of shape (1, bins, frames, 1)."""
        tables = self._tables
        window = tables["window"]
        frames = np.lib.stride_tricks.sliding_window_view(samples, len(window))
        spectra = np.fft.rfft(frames[:: tables["hop"]] * window, int(tables["fft"]))
        powers = tables["mel"] @ (spectra.real**2 + spectra.imag**2).T
        values = np.log(np.maximum(powers, tables["floor"]))
        steps = np.floor((values - tables["least"]) / tables["step"] - 127.5)
        return np.clip(steps, -128, 127)[None, :, :, None].astype(np.float32) / 128


class Network:
    """The int8 network of an export; the same file is both models of the submission.

    Args:
        pipeline: input shape and number of classes, which the network has already.
    """

    def __init__(self, parameters, macs, **pipeline):
        self._parameters = parameters
        self._macs = macs

    def load(self, path):
        """Read the network."""
        self._interpreter = Interpreter(model_path=str(path))
        self._interpreter.allocate_tensors()

    def predict(self, features):
        """Scores of one clip, 0 to 1, shape (1, classes)."""
        given = self._interpreter.get_input_details()[0]
        result = self._interpreter.get_output_details()[0]
        scale, zero = given["quantization"]
        steps = np.clip(np.round(features / scale) + zero, -128, 127)
        self._interpreter.set_tensor(given["index"], steps.astype(np.int8))
        self._interpreter.invoke()
        scale, zero = result["quantization"]
        scores = self._interpreter.get_tensor(result["index"])
        return (scores.astype(np.float32) - zero) * scale

    def set_model_to_evaluation_mode(self):
        """The network has only one mode."""

    def count_params(self):
        """Number of weights of the network before the export."""
        return self._parameters

    def count_operations(self):
        """Multiplications of an inference."""
        return self._macs
