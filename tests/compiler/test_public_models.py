# SPDX-License-Identifier: Apache-2.0
"""The table of outcomes for a folder of files."""

import numpy as np
import public_models
import pytest
from single_operators import MAKERS, Item, write_model

from m3net_tf.runtime.interpreter import tflm_unavailable_reason

pytestmark = pytest.mark.skipif(
    bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "TFLite Micro is there"
)


def test_the_outcomes_of_a_folder(tmp_path, capsys):
    rng = np.random.default_rng(0)
    (tmp_path / "deep").mkdir()
    for place in ("a.tflite", "deep/the_same.tflite"):
        (tmp_path / place).write_bytes(MAKERS["ADD"](np.random.default_rng(1)))
    (tmp_path / "tile.tflite").write_bytes(MAKERS["TILE"](rng))
    floats = Item((2,), dtype="float32"), Item((2,), dtype="float32")
    (tmp_path / "float.tflite").write_bytes(write_model("NEG", floats[:1], floats[1:]))
    (tmp_path / "cut.tflite").write_bytes(MAKERS["ADD"](rng)[:50])
    unknown = write_model("NEG", [Item((2,))], [Item((2,))])
    (tmp_path / "unknown.tflite").write_bytes(unknown)
    custom = write_model("CUSTOM", [Item((2,))], [Item((2,))])
    (tmp_path / "custom.tflite").write_bytes(custom)
    assert public_models.main([str(tmp_path), "--inputs", "12"]) == 0
    *lines, summary = capsys.readouterr().out.splitlines()
    outcomes = dict(line.strip().split("  ", 1)[::-1] for line in lines)
    assert outcomes.pop(public_models.EQUAL) == "1"  # the two equal files are one
    assert outcomes.pop(public_models.AS_LITERT) == "1"  # TFLite Micro has no TILE
    assert outcomes.pop(public_models.FLOAT) == "1"
    assert outcomes.pop(public_models.CUSTOM) == "1"
    assert outcomes.pop("operator NEG … is not supported: replace its layer")
    assert list(outcomes.values()) == ["1"]  # the damaged one
    assert summary == "2 of 4 quantised files compile; 2 give equal bytes"


def test_another_answer_is_found(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.tflite").write_bytes(MAKERS["ADD"](np.random.default_rng(1)))
    monkeypatch.setattr(public_models, "as_in_file", lambda tensor, values: values ^ 1)
    assert public_models.main([str(tmp_path), "--inputs", "2"]) == 1
    assert public_models.DIFFERENT in capsys.readouterr().out
