# SPDX-License-Identifier: Apache-2.0
"""Quick checks of the exported files and of the linked firmware; no network is run."""

from __future__ import annotations

import ctypes
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import BOARD, run_tool, skip_or_fail, small_model, write_bundle

from m3net_tf.boards.builds.build import build_firmware
from m3net_tf.export.c_files import CModel

LABELS = ("yes", "no", "up", "silence")


@pytest.fixture()
def model() -> CModel:
    return small_model(np.random.default_rng(1).bytes(1001), labels=LABELS)


def test_the_c_side_has_the_networks_bytes_and_labels(model: CModel, tmp_path: Path):
    if shutil.which("g++") is None:
        skip_or_fail("missing: g++")
    model.write(tmp_path)
    library = tmp_path / "model.so"
    run_tool("g++", "-shared", "-fPIC", f"-I{tmp_path}", tmp_path / "model.cc", "-o", library)
    loaded = ctypes.CDLL(str(library))
    size = len(model.tflite)
    assert bytes((ctypes.c_ubyte * size).in_dll(loaded, "m3net_model_data")) == model.tflite
    labels = (ctypes.c_char_p * len(LABELS)).in_dll(loaded, "m3net_model_labels")
    assert [label.decode() for label in labels] == list(LABELS)


def test_the_header_has_each_scale_in_its_place(model: CModel, tmp_path: Path):
    model.write(tmp_path)
    header = (tmp_path / "model.h").read_text()
    macros = dict(re.findall(r"#define M3NET_MODEL_(\w+) (\S+)", header))
    for place, (scale, zero_point) in {
        "INPUT": model.input_quantization,
        "OUTPUT": model.output_quantization,
    }.items():
        assert float(macros[f"{place}_SCALE"].removesuffix("f")) == scale
        assert macros[f"{place}_ZERO_POINT"] == f"({zero_point})"
    assert int(macros["CRC32"].removesuffix("u"), 0) == zlib.crc32(model.tflite)
    assert int(macros["CLASS_COUNT"]) == len(LABELS)


def test_a_firmware_links_with_its_library(tflm_possible: None, tmp_path: Path):
    """The whole product for the first board, over bytes that are no network."""
    bundle = write_bundle(tmp_path / "bundle", small_model(b"no network"))
    elf = build_firmware(bundle, BOARD, tmp_path / "build").elf
    assert b"Tag_ABI_VFP_args: VFP registers" in run_tool("arm-none-eabi-readelf", "-A", elf)
