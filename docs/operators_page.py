# SPDX-License-Identifier: Apache-2.0
"""The page of the compiler's operators: their types, their kernels, and the cores with own code.

Types come from the tables of ``m3net_tf/compiler/operators``, kernels from the random models of the
tests, and code paths from the conditions of the C preprocessor in ``firmware/engine``.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from m3net_tf.compiler.host import engine_folder
from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.operators import OPERATORS, UNSCALED, VIEWS, WIDE
from m3net_tf.compiler.operators.forms import FORMS

_MODELS = 6  # of each operator, whose calls name its kernels
_SHARED = ("arithmetic.h", "dsp.h", "engine.h", "weights.h")  # what all kernels use
#: Macro of a code path, and what the page calls it.
PATHS = {"DSP": "DSP", "HELIUM": "Helium", "RV32": "RV32"}


@dataclasses.dataclass(frozen=True)
class Function:
    """A function of the engine.

    Attributes:
        names: identifiers of its body.
        paths: macros of the code paths that have it, or lines of it, to themselves.
    """

    names: frozenset[str]
    paths: frozenset[str]


def operators_page(note: str) -> list[str]:
    """Lines of the page.

    Args:
        note: which command writes it.
    """
    paths = kernel_paths()
    rows = []
    for kind in sorted(FORMS.keys() - {"TABLE"}):
        kernels = kernels_of(kind)
        own = sorted({PATHS[path] for kernel in kernels for path in paths.get(kernel, ())})
        parts = [f"`{kernel}`" for kernel in kernels]
        if kind in VIEWS:
            parts.insert(0, "none if its readers can read a view")
        unscaled = "yes" if kind in UNSCALED | VIEWS else ""
        rows.append(
            f"| {kind} | yes | {'yes' if kind in WIDE else ''} | {unscaled} | "
            f"{', '.join(parts) or 'none'} | {', '.join(own)} |"
        )
    return [
        "# Operators of the compiler",
        "",
        note,
        "[Operators of the engine](../design/operators.md) says what each one takes.",
        "",
        "Every kernel has portable C, which all cores can use. The last column names the cores for",
        "which a kernel also has code of its own: DSP is Armv7E-M, and Armv8-M with its extension;",
        "Helium is Armv8.1-M with vectors; RV32 is RISC-V. bool and int32 have no scale, except",
        "the int32 of QUANTIZE.",
        "",
        "| operator | int8 | int16 | bool, int32 | kernels | own code |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


def kernels_of(kind: str) -> list[str]:
    """Kernels that an operator calls, as its random models do, or another's with its lowering."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "compiler"))
    makers = importlib.import_module("single_operators").MAKERS
    makers = makers | importlib.import_module("wide_operators").WIDE_MAKERS
    same = [other for other in OPERATORS if OPERATORS[other] is OPERATORS[kind]]
    known = [kind] if kind in makers else [other for other in same if other in makers]
    names = [name for other in known[:1] for name in (other, f"{other}_16") if name in makers]
    kernels = set()
    for name in names:
        for seed in range(_MODELS):
            network = compile_network(makers[name](np.random.default_rng(seed)))
            own = [call for call in network.calls if call.operator in (*known, "TABLE")]
            kernels |= {call.kernel for call in own}
    return sorted(kernels)


def kernel_paths() -> dict[str, frozenset[str]]:
    """For each function of the engine, the code paths with code of their own."""
    files = {
        path.name: dict(_functions(path))
        for path in sorted(engine_folder().glob("*.[ch]"))
        if path.name not in _SHARED
    }
    everywhere: dict[str, list[tuple[str, str]]] = {}
    for file, functions in files.items():
        for name in functions:
            everywhere.setdefault(name, []).append((file, name))

    def reach(file: str, name: str, seen: set[tuple[str, str]]) -> Iterator[str]:
        if (file, name) in seen:
            return
        seen.add((file, name))
        for function in files[file][name]:
            yield from function.paths
            for other in function.names:
                here = [(file, other)] if other in files[file] else everywhere.get(other, [])
                shared = [place for place in here if place[0] == file or other.startswith("m3net_")]
                for place in shared:
                    yield from reach(*place, seen)

    return {
        name.removeprefix("m3net_"): frozenset(
            path for file, _ in places for path in reach(file, name, set())
        )
        for name, places in everywhere.items()
        if name.startswith("m3net_")
    }


def _functions(path: Path) -> Iterator[tuple[str, list[Function]]]:
    """Functions of a file, each as often as the preprocessor's conditions define it."""
    found: dict[str, list[Function]] = {}
    conditions: list[set[str]] = [{"HELIUM"} if path.name.startswith("helium") else set()]
    name = ""
    head = ""
    body = ""
    inside = set[str]()
    for line in path.read_text().splitlines():
        if line.startswith("#if"):
            wanted = set() if "!" in line or "ndef" in line else set(_macros(line))
            conditions.append(wanted)
        elif line.startswith(("#else", "#elif")):
            conditions[-1] = set(_macros(line))
        elif line.startswith("#endif"):
            conditions.pop()
        here = set().union(*conditions) & PATHS.keys()
        if name:
            body += line + "\n"
            inside = inside | here
            if line == "}":
                function = Function(frozenset(re.findall(r"[a-z]\w+", body)), frozenset(inside))
                found.setdefault(name, []).append(function)
                name = ""
            continue
        head = "" if line.startswith(("#", "//", "}")) or line.endswith(";") else head + line
        if line.endswith("{") and "(" in head and not head.startswith("typedef"):
            name = re.findall(r"(\w+)\(", head.replace("__attribute__((", ""))[0]
            body = ""
            inside = set(here)
        if line.endswith("{"):
            head = ""
    yield from found.items()


def _macros(line: str) -> list[str]:
    return re.findall(r"M3NET_ENGINE_(\w+)", line)
