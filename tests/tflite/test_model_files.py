# SPDX-License-Identifier: Apache-2.0
"""A network in a C source has the bytes of its ``.tflite``, however the array is written."""

import time

import numpy as np
import pytest
from refusals import refuses
from single_operators import MAKERS

from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.model_file import read_model_file

TFLITE = MAKERS["RELU"](np.random.default_rng(0))
HEXADECIMAL = ", ".join(f"0x{byte:02x}" for byte in TFLITE)
TENSORFLOW = """\
#include "model_data.h"
// Keep model aligned to {8} bytes.
#ifdef __has_attribute
#define HAVE_ATTRIBUTE(x) __has_attribute(x)
#else
#define HAVE_ATTRIBUTE(x) 0
#endif
#define DATA_ALIGN_ATTRIBUTE \\
  __attribute__((aligned(4)))
const char* labels[] = {"yes", "n,o}"};
alignas(8) const unsigned char g_model[] DATA_ALIGN_ATTRIBUTE = { /* {0x1c */
    BYTES,  // the end }
};
const int g_model_len = 18712, other[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
"""


def character(byte):
    return f"'{chr(byte)}'" if 32 <= byte < 127 and byte not in b"'\\" else f"'\\x{byte:x}'"


def mixed(byte):
    forms = hex(byte).upper().replace("X", "x") + "u", str(byte), f"0{byte:o}", f"'\\{byte:o}'"
    return forms[byte % len(forms)]


SIGNED = ",\n".join(str(byte - (byte > 127) * 256) for byte in TFLITE)
FORMS = {
    "xxd.h": f"unsigned char m_tflite[] = {{\n  {HEXADECIMAL}\n}};\nunsigned int m_len = 3;\n",
    "tensorflow.cc": TENSORFLOW.replace("BYTES", HEXADECIMAL),
    "array.hpp": f"constexpr std::array<uint8_t, 9> m = {{{{{','.join(map(str, TFLITE))}}}}};",
    "braces.cpp": f"static const std::uint8_t m[]{{{', '.join(map(character, TFLITE))}}};",
    "signed.c": f"const signed char m[] = {{{SIGNED}}};",
    "mixed.INO": f"const uint8_t m[] PROGMEM = {{{' ,'.join(map(mixed, TFLITE))}}};",
}


@pytest.mark.parametrize("name", FORMS)
def test_arrays(name, tmp_path):
    (tmp_path / name).write_text(FORMS[name])
    assert read_model_file(tmp_path / name) == TFLITE


def test_the_file_itself_and_text_of_powershell(tmp_path):
    for name, content in (("a.tflite", TFLITE), ("a.h", TFLITE), ("b.h", FORMS["xxd.h"])):
        data = content if isinstance(content, bytes) else content.encode("utf-16")
        (tmp_path / name).write_bytes(data)
        assert read_model_file(tmp_path / name) == TFLITE


def test_two_networks_are_one_too_many_unless_they_are_equal(tmp_path):
    path = tmp_path / "two.h"
    path.write_text(FORMS["xxd.h"] * 2)
    assert read_model_file(path) == TFLITE
    path.write_text(FORMS["xxd.h"] + FORMS["xxd.h"].replace("\n};", ", 0\n};"))
    with refuses(ModelError, path, "2 networks"):
        read_model_file(path)


@pytest.mark.parametrize(
    "text",
    [
        "extern const unsigned char g_model[];",
        "const unsigned int m[] = {0x1c, 0, 0, 0, 0x33464c54, 300};",
        "const unsigned char m[] = {1, 2, x, 4};",
        *(part * 300_000 for part in ("/*", '"\\', "{", "{,", "'", "#", "{0,")),
        "",
    ],
    ids=lambda text: text[:12],
)
def test_a_source_without_a_network_is_named_soon(text, tmp_path):
    path = tmp_path / "none.h"
    path.write_text(text)
    start = time.process_time()
    with refuses(ModelError, path, ".tflite"):
        read_model_file(path)
    assert time.process_time() - start < 5


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    for path in (tmp_path, tmp_path / "missing.tflite"):
        with refuses(ModelError, path, ".tflite"):
            read_model_file(path)
    monkeypatch.setattr("m3net_tf.tflite.model_file.MOST_FILE_BYTES", 100)
    path = tmp_path / "large.tflite"
    path.write_bytes(bytes(101))
    with refuses(ModelError, path):
        read_model_file(path)
