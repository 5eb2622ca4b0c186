# SPDX-License-Identifier: Apache-2.0
"""Contracts of the firmware that a compiler does not check, read from its sources."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from m3net_tf.boards.builds.sources import FIRMWARE_DIR

#: Parts of ``frontend.c``, which no other file includes.
PARTS = {"frontend_f32.h", "frontend_fixed.h", "frontend_helium.h", "frontend_waveform.h"}
HEADERS = sorted(
    path
    for room in ("core", "drivers", "app")
    for path in (FIRMWARE_DIR / room).glob("*.h")
    if path.name not in PARTS
)

#: Definitions of a header: macros, enumerators, types, functions and variables.
NAMES = re.compile(
    r"^# *define (\w+)"
    r"|^  ([A-Z]\w+)(?: = \w+)?,"
    r"|^(?:\} |typedef .*?)(?:\(\*)?(\w+)(?:;|\)\()"
    r"|^(?!typedef|return)[a-z][\w ]*[ *]+\**(\w+)\("
    r"|^extern .*?(\w+)(?:\[\])?;",
    re.MULTILINE,
)


def code(path: Path) -> str:
    """Text of a C file without comments."""
    return re.sub(r"//.*", "", path.read_text())


def public_names(text: str) -> list[str]:
    return ["".join(groups) for groups in NAMES.findall(text)]


def test_the_pattern_sees_each_kind_of_name():
    text = """
#define A_MACRO 1
typedef enum {
  AN_ENUMERATOR = 0,
} an_enum;
typedef void (*a_callback)(void* context, int value);
typedef struct hidden a_struct;
a_struct* a_function(int value);
static inline bool an_inline_function(void) { return true; }
extern const a_struct a_variable;
"""
    assert public_names(text) == [
        "A_MACRO", "AN_ENUMERATOR", "an_enum", "a_callback", "a_struct", "a_function",
        "an_inline_function", "a_variable",
    ]  # fmt: skip


@pytest.mark.parametrize("path", HEADERS, ids=lambda path: path.name)
def test_public_names_carry_the_prefix(path: Path):
    names = public_names(code(path).replace('extern "C" {', ""))
    assert names
    assert not [name for name in names if not name.startswith(("m3net_", "M3NET_"))]


@pytest.mark.parametrize("path", HEADERS, ids=lambda path: path.name)
def test_callbacks_carry_a_context_and_failures_are_statuses(path: Path):
    text = re.sub(r"\s+", " ", code(path))
    parameters = re.findall(r"\(\*\w+\)\(([^)]*)\)", text)
    assert all(first.startswith("void* context") for first in parameters)
    assert not re.findall(r"\bint (\w+)\(", text)
