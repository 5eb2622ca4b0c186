# SPDX-License-Identifier: Apache-2.0
"""The compiled engine's files of an export: C of the networks, pictures of the arena, a report."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.folder import NetworkFacts, network_facts
from m3net_tf.compiler.host import engine_folder
from m3net_tf.compiler.network import CompiledNetwork, compile_network
from m3net_tf.compiler.picture import draw_arena
from m3net_tf.compiler.weights import WeightRule
from m3net_tf.export.carray import CModel
from m3net_tf.export.manifest import GeneratedCode
from m3net_tf.system.artifacts import sha256_of, update_text, write_json, write_text
from m3net_tf.system.errors import ModelError
from m3net_tf.system.markdown import markdown_table

#: Who measured the arena of a compiled network.
ARENA_SOURCE = "m3net compile"
#: Folder of the generated C in an export.
C_FOLDER = "compiled"
REPORT = "compiled.json"

_TFLM = "use --engine tflm"
_LABELS = "model_labels.c"
_HOOK = "m3net_operation_done"
_NETWORK, _IMPORTANCE = "m3net_network", "m3net_importance"
"""Start of the C names of the network that classifies, and of DiffRes's that scores frames."""
_INTERFACE = ("engine.h", "weights.h")  # headers of the kernels that generated C includes
_PICTURES = {_NETWORK: "arena.svg", _IMPORTANCE: "arena_importance.svg"}


def compile_model(model: CModel, remedy: str = _TFLM) -> dict[str, CompiledNetwork]:
    """The networks of an export, by the start of their names in C.

    Args:
        model: the networks and their facts.
        remedy: end of an error, which says how to fix it.

    Raises:
        ModelError: the compiler does not support an operator of a network.
    """
    files = {_NETWORK: model.tflite}
    if model.importance:
        files[_IMPORTANCE] = model.importance
    rule = WeightRule(most_bytes=model.weights_flash_bytes)
    try:
        return {name: compile_network(tflite, rule) for name, tflite in files.items()}
    except ModelError as error:
        raise ModelError(f"{model.name} cannot be compiled ({error}): {remedy}") from None


def arena_bytes(networks: dict[str, CompiledNetwork]) -> int:
    """Arena of all networks, which run one after the other in the same memory."""
    return max(network.plan.arena_bytes for network in networks.values())


def network_files(model: CModel, networks: dict[str, CompiledNetwork]) -> dict[str, str]:
    """The networks' C, the class names, and ``model.h`` with the arena of these networks."""
    facts = dataclasses.replace(model, arena_bytes=arena_bytes(networks), arena_source=ARENA_SOURCE)
    return {**_c_files(facts, networks), "model.h": facts.header(compiled=True)}


def exported_files(model: CModel, code: GeneratedCode, folder: Path) -> dict[str, str]:
    """As :func:`network_files`, with the C of an export as it is.

    Args:
        model: the networks and their facts.
        code: the C that the export was made with.
        folder: the export's.

    Raises:
        ModelError: a file has changed since the export.
    """
    texts = {}
    for name in compiled_files(warp=bool(model.importance)):
        path = folder / name
        if path.parent.name != C_FOLDER:
            continue
        data = path.read_bytes() if path.is_file() else b""
        if sha256_of(data) != code.files.get(path.name):
            raise ModelError(f"{path} has changed since the export: export again")
        texts[path.name] = data.decode()
    return {**texts, "model.h": model.header(compiled=True)}


def kernels_sha256() -> str:
    """SHA-256 of the interface of the checkout's kernels, without its comments."""
    text = "".join((engine_folder() / name).read_text(encoding="utf-8") for name in _INTERFACE)
    return sha256_of(re.sub(r"\s*//.*", "", text).encode())


def write_network(files: Mapping[str, str], folder: Path) -> None:
    """Write the files of :func:`network_files` or :func:`exported_files`.

    A file that has its text already stays untouched, so that nothing is compiled again.
    """
    for name, text in files.items():
        update_text(folder / name, text)


def _c_files(model: CModel, networks: dict[str, CompiledNetwork]) -> dict[str, str]:
    """The networks' C and the class names, by name of the file."""
    texts = {_LABELS: model.labels_source()}
    for name, network in networks.items():
        source = emit(network, name, _HOOK)
        texts |= {f"{name}.h": source.header, f"{name}.c": source.source}
    return texts


def compiled_files(*, warp: bool) -> tuple[str, ...]:
    """Files that :func:`write_compiled` writes, relative to the export.

    Args:
        warp: whether the export has DiffRes's network.
    """
    names = [_NETWORK, *([_IMPORTANCE] if warp else [])]
    code = [_LABELS, *(f"{name}{end}" for name in names for end in (".h", ".c"))]
    pictures = [_PICTURES[name] for name in names]
    return (*(f"{C_FOLDER}/{name}" for name in code), *pictures, REPORT, "compiled.md")


def write_compiled(
    model: CModel, networks: dict[str, CompiledNetwork], folder: Path
) -> GeneratedCode:
    """Write the networks' C, a picture of the arena of each, and the report into an export.

    The report, ``compiled.json`` and ``compiled.md``, has the sizes, and what each rewrite saved.

    Returns:
        What the manifest says of the C.
    """
    (folder / C_FOLDER).mkdir(exist_ok=True)
    texts = _c_files(model, networks)
    for name, text in texts.items():
        write_text(folder / C_FOLDER / name, text)
    for name, network in networks.items():
        write_text(folder / _PICTURES[name], draw_arena(network.plan, name))
    facts = compiled_facts(networks)
    write_json(folder / REPORT, facts)
    write_text(folder / "compiled.md", _markdown(facts))
    files = {name: sha256_of(text.encode()) for name, text in texts.items()}
    return GeneratedCode(files, kernels_sha256())


def remove_compiled(folder: Path, *, warp: bool) -> None:
    """Remove the files of :func:`write_compiled` from an export."""
    for name in compiled_files(warp=warp):
        (folder / name).unlink(missing_ok=True)
    if (folder / C_FOLDER).is_dir():
        (folder / C_FOLDER).rmdir()


def compiled_facts(networks: dict[str, CompiledNetwork]) -> dict[str, NetworkFacts]:
    """Sizes of each network, and what each rewrite saved, as ``compiled.json`` has them."""
    return {name: network_facts(network, emit(network, name)) for name, network in networks.items()}


_SIZES = {
    "arena_bytes": "arena, bytes",
    "lower_bound_bytes": "lower bound of the arena, bytes",
    "ratio": "ratio of these",
    "planner": "planned by",
    "constant_bytes": "weights, biases and tables, bytes of flash",
    "calls": "calls of kernels",
}


def _markdown(facts: dict[str, NetworkFacts]) -> str:
    lines = ["# The compiled network", ""]
    for name, network in facts.items():
        sizes = {**network}
        rows = [(words, sizes[key]) for key, words in _SIZES.items()]
        lines += [f"## `{name}`", "", f"SHA-256 of the `.tflite`: {network['sha256']}", ""]
        lines += markdown_table(("size", "figure"), rows)
        lines += markdown_table(("rewrite", "number"), network["saved"].items())
    return "\n".join(lines)
