# SPDX-License-Identifier: Apache-2.0
"""The examples for PyTorch and ONNX by the commands of their page, where converters are installed.

The variables ``ONNX2TF`` and ``LITERT_TORCH`` name the Python of an environment with each.
"""

import os
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

from m3net_tf.runtime.desktop import load_engine
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.tflite.ends import int8_network

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "guide" / "tflite.md").read_text()
RNG = np.random.default_rng(1)
#: Noise of which each clip has another mean.
HELD = np.clip(RNG.normal(RNG.uniform(-120, 120, (20, 1, 1, 1)), 40, (20, 40, 49, 1)), -128, 127)


def convert(variable: str, commands: str, folder: Path) -> None:
    """Run the lines of the page that begin with an environment's programs."""
    python = os.environ.get(variable)
    if python is None:
        pytest.skip(f"{variable} names no environment")
    for line in re.findall(rf"^    ({commands}.*)$", PAGE, re.M):
        program, *words = shlex.split(line)
        words = [str(ROOT / word) if word.startswith("examples/") else word for word in words]
        program = str(Path(python).with_name(Path(program).name))
        subprocess.run([program, *words], cwd=folder, check=True, capture_output=True, timeout=600)


def require_equal_bytes(tflite: bytes) -> None:
    """The compiled network has TensorFlow Lite Micro's bytes, and does not ignore its input."""
    if reason := tflm_unavailable_reason():
        pytest.skip(reason)
    clips = HELD.astype(np.int8)
    outputs = load_engine(tflite, "compiled")(clips)
    np.testing.assert_array_equal(outputs, load_engine(tflite, "tflm")(clips))
    assert len(np.unique(outputs, axis=0)) > 3  # the weights are random


@pytest.mark.slow
def test_onnx_to_equal_bytes(tmp_path):
    convert("ONNX2TF", "~/onnx/bin/", tmp_path)
    require_equal_bytes((tmp_path / "saved" / "small_full_integer_quant.tflite").read_bytes())


@pytest.mark.slow
def test_pytorch_to_equal_bytes(tmp_path):
    convert("LITERT_TORCH", "~/torch/bin/", tmp_path)
    require_equal_bytes(int8_network((tmp_path / "small.tflite").read_bytes())[0])
