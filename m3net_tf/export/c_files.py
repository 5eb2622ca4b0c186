# SPDX-License-Identifier: Apache-2.0
"""The network as C, and its arena: ``model.h``, ``model.cc``, and the compiled engine's files.

The compiled engine's files are the C of the networks, pictures of the arena, and a report. The same
input gives the same bytes.
"""

import dataclasses
import re
import zlib
from pathlib import Path

from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.engines import COMPILED, Engine
from m3net_tf.compiler.folder import NetworkFacts, network_facts
from m3net_tf.compiler.goals import DEFAULT_GOAL, GOALS, GoalName, goal_of
from m3net_tf.compiler.host import engine_folder
from m3net_tf.compiler.micro import runs_in_micro
from m3net_tf.compiler.network import CompiledNetwork, compile_network
from m3net_tf.compiler.picture import draw_arena
from m3net_tf.compiler.streaming.network import stream_network
from m3net_tf.export.manifest import Arena, GeneratedCode
from m3net_tf.export.operators import require_in_micro, resolver_method, variable_count
from m3net_tf.export.pushes import TIME_AXIS
from m3net_tf.runtime.interpreter import host_arena_bytes, tflm_unavailable_reason
from m3net_tf.runtime.network import Int8Network
from m3net_tf.runtime.prototypes import NormalSounds
from m3net_tf.system.artifacts import sha256_of, write_json, write_text
from m3net_tf.system.csource import (
    array,
    blocks,
    c_linkage,
    defines,
    guarded,
    notice,
    string_literal,
)
from m3net_tf.system.errors import ModelError
from m3net_tf.system.markdown import markdown_table
from m3net_tf.system.progress import Log, silent

NOTICE = notice("by the export; do not edit", line_comments=True) + "\n"
"""First lines of the C files that an export generates from the network."""

_PREFIX = "M3NET_MODEL_"

#: Who measured the arena of a compiled network.
ARENA_SOURCE = "m3net compile"
#: Folder of the generated C in an export.
C_FOLDER = "compiled"
REPORT = "compiled.json"

_LABELS = "model_labels.c"
_NORMAL_ARRAY = "m3net_model_normal"
_NORMAL_SIZES = "M3NET_MODEL_NORMAL_PROTOTYPES][M3NET_MODEL_CLASS_COUNT"
_HOOK = "m3net_operation_done"
_NETWORK, _IMPORTANCE = "m3net_network", "m3net_importance"
"""Start of the C names of the network that classifies, and of DiffRes's that scores frames."""
_INTERFACE = ("engine.h", "weights.h")  # headers of the kernels that generated C includes
_PICTURES = {_NETWORK: "arena.svg", _IMPORTANCE: "arena_importance.svg"}
_STREAM_PICTURE = "arena_stream.svg"
_UNPROVEN_ARENA_FACTOR = 10  # bytes of arena per byte of network, if not measurable


@dataclasses.dataclass(frozen=True)
class CModel:
    """Facts of a network for its C files.

    Attributes:
        operators: TFLite operators, as :func:`.operators.operators_of` lists them.
        input_quantization: scale and zero point.
        output_quantization: scale and zero point.
        arena_source: where ``arena_bytes`` was measured.
        importance: DiffRes's network that scores frames, which runs before ``tflite``; or empty.
        activation_bits: width of the network's activations, 8 or 16.
        push_columns: columns that a run of live detection pushes; None if it runs whole windows.
        enrolment_slots: places for words that the board learns, if it learns any.
        normal_prototypes: prototypes of normal sounds, in hexadecimal, if it has any.
        optimise: what the compiled engine aims at, a name of :data:`m3net_tf.compiler.goals.GOALS`.
        weights_in_ram: bytes of RAM that the compiled engine may take for weights.
        updatable: whether the compiled engine's constants are parts that can be exchanged.
    """

    name: str
    tflite: bytes
    labels: tuple[str, ...]
    operators: tuple[str, ...]
    input_bytes: int
    input_quantization: tuple[float, int]
    output_quantization: tuple[float, int]
    arena_bytes: int
    arena_source: str
    licence: str
    importance: bytes = b""
    activation_bits: int = 8
    push_columns: int | None = None
    enrolment_slots: int | None = None
    normal_prototypes: tuple[str, ...] = ()
    optimise: GoalName = DEFAULT_GOAL
    weights_in_ram: int = 0
    updatable: bool = False

    def write(self, folder: Path) -> None:
        """Write ``model.h`` and ``model.cc``."""
        write_text(folder / "model.h", self.header())
        write_text(folder / "model.cc", self._source())

    def header(self, *, compiled: bool = False) -> str:
        """``model.h``; for the compiled engine without the ``.tflite`` files and their resolver."""
        settings = [
            defines(_PREFIX, self._settings()),
            f"// Measured by: {self.arena_source}.",
            defines(_PREFIX, {"ARENA_BYTES": self.arena_bytes}),
        ]
        declarations = ["extern const char *const m3net_model_labels[M3NET_MODEL_CLASS_COUNT];"]
        if self.normal_prototypes:
            declarations.append(f"extern const int16_t {_NORMAL_ARRAY}[{_NORMAL_SIZES}];")
        if compiled:
            settings.append(defines("M3NET_", {"ENGINE_COMPILED": 1}))
            if self.push_columns:
                settings.append(defines(_PREFIX, {"PUSH_COLUMNS": self.push_columns}))
            if self.updatable:
                settings.append(defines(_PREFIX, {"UPDATABLE": 1}))
        else:
            methods = " ".join(f"ADD({resolver_method(name)})" for name in self.operators)
            settings += [
                "// Calls ADD once for each operator, by the name of the resolver's method.",
                defines(_PREFIX, {"OPERATORS(ADD)": methods}),
            ]
            if "VAR_HANDLE" in self.operators:
                settings.append(defines(_PREFIX, {"VARIABLE_COUNT": variable_count(self.tflite)}))
            names = [f"{name}[{size}];" for name, size, _ in self._arrays()]
            declarations = [f"extern const unsigned char {name}" for name in names] + declarations
        return NOTICE + guarded(
            "M3NET_MODEL_H_",
            *["#include <stdint.h>"] * bool(self.normal_prototypes),
            "\n".join(settings),
            c_linkage(declarations),
            name_guard_at_end=True,
        )

    def _settings(self) -> dict[str, int | str]:
        """The macros that describe the network, without their prefix."""
        settings: dict[str, int | str] = {
            "NAME": string_literal(self.name),
            "LICENCE": string_literal(self.licence),
            "SHA256": string_literal(sha256_of(self.tflite)),
            "SIZE_BYTES": len(self.tflite),
            "CRC32": f"{zlib.crc32(self.tflite):#010x}u",
            "ACTIVATION_BITS": self.activation_bits,
            "INPUT_BYTES": self.input_bytes,
            "INPUT_SCALE": f"{self.input_quantization[0]!r}f",
            "INPUT_ZERO_POINT": f"({self.input_quantization[1]})",
            "OUTPUT_SCALE": f"{self.output_quantization[0]!r}f",
            "OUTPUT_ZERO_POINT": f"({self.output_quantization[1]})",
            "CLASS_COUNT": len(self.labels),
            "OPERATOR_COUNT": len(self.operators),
        }
        if self.enrolment_slots:
            settings["ENROLMENT_SLOTS"] = self.enrolment_slots
        if self.normal_prototypes:
            settings["NORMAL_PROTOTYPES"] = len(self.normal_prototypes)
        if self.importance:
            settings["IMPORTANCE_SIZE_BYTES"] = len(self.importance)
            settings["IMPORTANCE_CRC32"] = f"{zlib.crc32(self.importance):#010x}u"
        return settings

    def _arrays(self) -> list[tuple[str, str, bytes]]:
        """Name, size and bytes of each network."""
        arrays = [("m3net_model_data", "M3NET_MODEL_SIZE_BYTES", self.tflite)]
        if self.importance:
            size = "M3NET_MODEL_IMPORTANCE_SIZE_BYTES"
            arrays.append(("m3net_importance_data", size, self.importance))
        return arrays

    def _source(self) -> str:
        networks = [
            array(
                f"alignas(16) const unsigned char {name}",
                (f"0x{byte:02x}" for byte in data),
                per_line=16,
                size=size,
            )
            for name, size, data in self._arrays()
        ]
        return NOTICE + blocks('#include "model.h"', *networks, *self._tables())

    def labels_source(self) -> str:
        """C source of the class names, and of the prototypes of normal sounds."""
        return NOTICE + blocks('#include "model.h"', *self._tables())

    def _tables(self) -> list[str]:
        tables = [self._labels_array()]
        if self.normal_prototypes:
            normal = NormalSounds.from_rows(self.normal_prototypes, 0).prototypes
            tables.append(
                array(
                    f"const int16_t {_NORMAL_ARRAY}",
                    (f"{{{', '.join(map(str, row))}}}" for row in normal.tolist()),
                    per_line=1,
                    size=_NORMAL_SIZES,
                )
            )
        return tables

    def _labels_array(self) -> str:
        return array(
            "const char *const m3net_model_labels",
            map(string_literal, self.labels),
            per_line=1,
            size="M3NET_MODEL_CLASS_COUNT",
        )


def compile_model(model: CModel, remedy: str = "") -> dict[str, CompiledNetwork]:
    """The networks of an export, by the start of their names in C.

    Args:
        remedy: end of an error, which says how to fix it; by default another engine, if that runs
            the networks.

    Raises:
        ModelError: the compiler does not support an operator of a network.
    """
    files = {_NETWORK: model.tflite}
    if model.importance:
        files[_IMPORTANCE] = model.importance
    try:
        goal = window = goal_of(model.optimise, model.weights_in_ram, apart=model.updatable)
        # Where live detection streams, whole windows are for single clips: memory counts more.
        if model.push_columns:
            window = GOALS["ram" if model.optimise == DEFAULT_GOAL else model.optimise]
            # Both share their weights.
            window = dataclasses.replace(window, winograd_bytes=0, apart=model.updatable)
        networks = {}
        for name, tflite in files.items():
            networks[name] = compile_network(tflite, goal=window)
            left = window.ram_bytes - sum(networks[name].in_ram.values())
            window = dataclasses.replace(window, ram_bytes=left)
        if model.push_columns:
            stream = stream_network(model.tflite, TIME_AXIS, model.push_columns, goal=goal)
            networks[_NETWORK] = dataclasses.replace(networks[_NETWORK], stream=stream)
        return networks
    except ModelError as error:
        if not remedy and all(map(runs_in_micro, files.values())):
            remedy = "use --engine tflm"
        end = f": {remedy}" if remedy else ""
        raise ModelError(f"{model.name} cannot be compiled ({error}){end}") from None


def arena_bytes(networks: dict[str, CompiledNetwork]) -> int:
    """Arena of all networks, which run one after the other in the same memory."""
    return max(network.arena_bytes for network in networks.values())


def network_files(model: CModel, networks: dict[str, CompiledNetwork]) -> dict[str, str]:
    """The networks' C, the class names, and ``model.h`` with the arena of these networks."""
    facts = dataclasses.replace(model, arena_bytes=arena_bytes(networks), arena_source=ARENA_SOURCE)
    return {**_c_files(facts, networks), "model.h": facts.header(compiled=True)}


def exported_files(model: CModel, code: GeneratedCode, folder: Path) -> dict[str, str]:
    """As :func:`network_files`, with the C of an export as it is.

    Raises:
        ModelError: a file has changed since the export.
    """
    texts = {}
    for name in compiled_files(warp=bool(model.importance), streams=False):
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


def _c_files(model: CModel, networks: dict[str, CompiledNetwork]) -> dict[str, str]:
    """The networks' C and the class names, by name of the file."""
    texts = {_LABELS: model.labels_source()}
    for name, network in networks.items():
        source = emit(network, name, _HOOK, apart=model.updatable)
        texts |= {f"{name}.h": source.header, f"{name}.c": source.source}
    return texts


def compiled_files(*, warp: bool, streams: bool) -> tuple[str, ...]:
    """Files that :func:`write_compiled` writes, relative to the export."""
    names = [_NETWORK, *([_IMPORTANCE] if warp else [])]
    code = [_LABELS, *(f"{name}{end}" for name in names for end in (".h", ".c"))]
    pictures = [*(_PICTURES[name] for name in names), *([_STREAM_PICTURE] if streams else [])]
    return (*(f"{C_FOLDER}/{name}" for name in code), *pictures, REPORT, "compiled.md")


def write_compiled(
    model: CModel, networks: dict[str, CompiledNetwork], folder: Path
) -> GeneratedCode:
    """Write the networks' C, a picture of the arena of each, and the report into an export.

    The report, ``compiled.json`` and ``compiled.md``, has the sizes, and what each rewrite saved.
    """
    (folder / C_FOLDER).mkdir(exist_ok=True)
    (folder / _STREAM_PICTURE).unlink(missing_ok=True)
    texts = _c_files(model, networks)
    for name, text in texts.items():
        write_text(folder / C_FOLDER / name, text)
    for name, network in networks.items():
        write_text(folder / _PICTURES[name], draw_arena(network.plan, name))
        if stream := network.stream:
            picture = draw_arena(stream.plan, f"{name}_stream", stream.state_blocks)
            write_text(folder / _STREAM_PICTURE, picture)
    facts = {
        name: network_facts(each, emit(each, name, apart=model.updatable))
        for name, each in networks.items()
    }
    write_json(folder / REPORT, facts)
    write_text(folder / "compiled.md", _markdown(facts))
    files = {name: sha256_of(text.encode()) for name, text in texts.items()}
    return GeneratedCode(files, kernels_sha256())


def remove_compiled(folder: Path, *, warp: bool) -> None:
    """Remove the files of :func:`write_compiled` from an export."""
    for name in compiled_files(warp=warp, streams=True):
        (folder / name).unlink(missing_ok=True)
    if (folder / C_FOLDER).is_dir():
        (folder / C_FOLDER).rmdir()


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


def tflm_arena(network: Int8Network, log: Log = silent) -> Arena:
    """Bytes of TensorFlow Lite Micro's arena, as measured on this machine or guessed.

    Raises:
        ModelError: TensorFlow Lite Micro lacks an operator of the network.
    """
    require_in_micro(network.parts)
    if reason := tflm_unavailable_reason():
        log(reason)
        size = _UNPROVEN_ARENA_FACTOR * network.size_bytes
        return Arena(size, "guess; TFLM is missing")
    # On the device two networks share one arena: the sum is more than they need.
    size = sum(map(host_arena_bytes, network.parts))
    return Arena(size, "TFLite Micro on a 64-bit host")


def engine_arena(
    model: CModel, network: Int8Network, engine: Engine, log: Log = silent
) -> tuple[Arena, dict[str, CompiledNetwork]]:
    """The arena of an engine, and the compiled networks if it is the compiled one.

    Raises:
        ModelError: the engine does not support an operator of the network.
    """
    if engine != COMPILED:
        return tflm_arena(network, log), {}
    networks = compile_model(model)
    return Arena(arena_bytes(networks), ARENA_SOURCE), networks
