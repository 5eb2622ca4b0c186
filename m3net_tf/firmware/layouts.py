# SPDX-License-Identifier: Apache-2.0
"""An export as a library of the tools that others build with: ``m3net export --layout``.

Each holds the exported C files, the portable code of ``firmware/core`` that they need, and the
tool's own description; TensorFlow Lite Micro comes from that tool's world. The front end computes
in whole numbers, so that it needs no library, unless ``M3NET_FRONTEND_F32`` is defined; that of
samples as they are has no other form. The same export gives the same bytes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from m3net_tf import __version__
from m3net_tf.artifacts import write_bytes
from m3net_tf.errors import ConfigError
from m3net_tf.export import Bundle
from m3net_tf.firmware.sources import FIRMWARE_DIR, read_lock
from m3net_tf.locks import scratch_folder
from m3net_tf.markdown import markdown_text
from m3net_tf.runtime.metadata import stored_archive

Files = dict[str, bytes]

# runtime_log.cc stays out: these worlds bring TFLM's log sink.
_CORE = (
    "crc32.c", "crc32.h", "detector.c", "detector.h", "frontend.c", "frontend.h", "frontend_f32.h",
    "frontend_fixed.h", "frontend_waveform.h", "inference.cc", "inference.h", "platform.h",
    "recognizer.c", "recognizer.h", "ring.c", "ring.h", "runtime_log.h", "status.c", "status.h",
)  # fmt: skip
_WARP = ("warp.c", "warp.h")
_GUARD = "#define M3NET_FRONTEND_CONFIG_H_\n"
_ARITHMETIC = """
#ifndef M3NET_FRONTEND_F32
#define M3NET_FRONTEND_FIXED 1
#endif
"""
_UMBRELLA = """\
// SPDX-License-Identifier: Apache-2.0
// All that an application needs.
#ifndef M3NET_H_
#define M3NET_H_

#include "detector.h"
#include "recognizer.h"

#endif  // M3NET_H_
"""
_PORT = """\
// SPDX-License-Identifier: Apache-2.0
// What the portable code asks of its surroundings. An application may define any of these itself.

#include "platform.h"
#include "runtime_log.h"

__attribute__((weak)) void m3net_board_watchdog_feed(void) {}

__attribute__((weak)) uint32_t m3net_board_counter(void) { return 0; }

__attribute__((weak)) void m3net_runtime_log_clear(void) {}

__attribute__((weak)) const char* m3net_runtime_log_message(void) { return ""; }
"""
_EXAMPLE = """\
#include "m3net.h"

static m3net_recognizer recognizer;
static uint8_t arena[M3NET_MODEL_ARENA_BYTES] __attribute__((aligned(M3NET_MODEL_ALIGNMENT)));

// Once, before the rest.
m3net_status begin(void) { return m3net_recognizer_init(&recognizer, arena, sizeof(arena)); }

// For each M3NET_FRONTEND_HOP_SAMPLES samples; the class heard last, or NULL.
const char* hear(const int16_t* hop) {
  if (!m3net_recognizer_push(&recognizer, hop) || !m3net_ring_full(&recognizer.ring)) return 0;
  m3net_recognizer_load_window(&recognizer);
  if (m3net_recognizer_run(&recognizer) != M3NET_OK) return 0;
  return m3net_model_labels[m3net_recognizer_label(&recognizer)];
}
"""
_ZEPHYR_F32_CMAKE = """\
  if(CONFIG_M3NET_FRONTEND_F32)
    zephyr_compile_definitions(M3NET_FRONTEND_F32)
  endif()
"""
_ZEPHYR_F32_KCONFIG = """\

config M3NET_FRONTEND_F32
\tbool "Front end in single precision"
\tdepends on M3NET && FPU && CMSIS_DSP
\tselect CMSIS_DSP_TRANSFORM
"""


def write_layout(bundle: Bundle, layout: str, folder: Path) -> Path:
    """Write an export as a library.

    Args:
        bundle: the export.
        layout: one of :data:`LAYOUTS`.
        folder: where it goes, each layout into a folder of its name.

    Returns:
        The archive that the tool installs, or the folder where it takes that.

    Raises:
        ConfigError: there is no such layout, or the export is of another release.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout {layout!r} is unknown: choose from {', '.join(LAYOUTS)}")
    name = library_name(bundle)
    files = LAYOUTS[layout](bundle, name, _headers(bundle), _sources(bundle))
    files["LICENSE"] = (FIRMWARE_DIR.parent / "LICENSE").read_bytes()
    files["README.md"] = _readme(bundle, name).encode()
    folder.mkdir(parents=True, exist_ok=True)
    with scratch_folder(f".{layout}.", folder) as scratch:
        scratch.chmod(0o755)
        for path, data in files.items():
            write_bytes(scratch / name / path, data)
        archive = scratch / name
        if layout == "arduino":
            archive = scratch / f"{name}.zip"
            write_bytes(archive, stored_archive({f"{name}/{path}": files[path] for path in files}))
        elif layout == "cmsis-pack":
            archive = scratch / f"m3net.{name}.{__version__}.pack"
            write_bytes(archive, stored_archive(files))
        shutil.rmtree(folder / layout, ignore_errors=True)
        scratch.replace(folder / layout)
    return folder / layout / archive.name


def library_name(bundle: Bundle) -> str:
    """Name of the library: letters, digits and underscores, at most 50, PlatformIO's limit."""
    manifest = bundle.manifest
    text = f"{manifest.model.name}_{manifest.dataset.name}"
    return re.sub(r"\W+", "_", text, flags=re.ASCII)[:50]


def _headers(bundle: Bundle) -> Files:
    return {"m3net.h": _UMBRELLA.encode(), **_code(bundle, (".h",))}


def _sources(bundle: Bundle) -> Files:
    return {"m3net_port.c": _PORT.encode(), **_code(bundle, (".c", ".cc"))}


def _code(bundle: Bundle, suffixes: tuple[str, ...]) -> Files:
    names = _CORE + (_WARP if bundle.manifest.warp else ())
    paths = [*(FIRMWARE_DIR / "core" / name for name in names), *bundle.folder.iterdir()]
    code = {path.name: path.read_bytes() for path in paths if path.suffix in suffixes}
    config = code.get("frontend_config.h", b"").decode()
    if config and not _takes_samples(bundle):
        if "M3NET_FRONTEND_FIXED_SAMPLE_SHIFT" not in config or _GUARD not in config:
            raise ConfigError(f"{bundle.folder}: its front end has no whole numbers; export again")
        code["frontend_config.h"] = config.replace(_GUARD, _GUARD + _ARITHMETIC).encode()
    return dict(sorted(code.items()))


def _sentence(bundle: Bundle) -> str:
    manifest = bundle.manifest
    return (
        f"Recognises {len(bundle.labels)} classes of sound ({manifest.model.name} trained "
        f"on {manifest.dataset.name})."
    )


def _readme(bundle: Bundle, name: str) -> str:
    manifest, frontend = bundle.manifest, bundle.frontend
    tflm = next(source for source in read_lock() if source.name == "tflite-micro")
    return "\n".join(
        [
            f"# {name}",
            "",
            f"{_sentence(bundle)} Classes: {markdown_text(', '.join(bundle.labels))}.",
            f"Licence: {manifest.licence}.",
            "",
            f"It hears {frontend.sample_rate_hz} Hz, {frontend.hop_samples} samples at a time, and "
            f"needs an arena of {manifest.arena.bytes} bytes "
            f"({manifest.arena.source}).",
            "",
            f"It needs TensorFlow Lite Micro with the operators {', '.join(manifest.operators)};"
            f" tested with commit `{tflm.commit}`. Define `TF_LITE_STATIC_MEMORY` for all code or "
            "for none, as your TensorFlow Lite Micro was compiled.",
            "",
            _arithmetic(bundle),
            "",
            "```c",
            _EXAMPLE.rstrip(),
            "```",
            "",
        ]
    )


def _takes_samples(bundle: Bundle) -> bool:
    return bundle.frontend.kind == "waveform"


def _arithmetic(bundle: Bundle) -> str:
    if _takes_samples(bundle):
        return "The network takes samples as they are: all arithmetic is in whole numbers."
    return (
        "The front end computes in whole numbers. Where the core has an FPU and CMSIS-DSP is "
        "there, `M3NET_FRONTEND_F32`, defined for all code, makes it compute in single "
        "precision; features differ by at most one step."
    )


def _arduino(bundle: Bundle, name: str, headers: Files, sources: Files) -> Files:
    properties = {
        "name": name,
        "version": __version__,
        "author": "m3net_tf",
        "maintainer": "m3net_tf",
        "sentence": _sentence(bundle),
        "paragraph": "Front end, int8 network and detector. Needs TensorFlow Lite Micro.",
        "category": "Data Processing",
        "url": "",
        "architectures": "*",
        "includes": "m3net.h",
    }
    text = "".join(f"{key}={value}\n" for key, value in properties.items())
    # The IDE compiles .cpp; it passes over other names of C++ in some releases.
    renamed = {path.replace(".cc", ".cpp"): data for path, data in sources.items()}
    code = {f"src/{path}": data for path, data in (headers | renamed).items()}
    return {"library.properties": text.encode(), **code}


def _folders(headers: Files, sources: Files) -> Files:
    return {
        **{f"include/{path}": data for path, data in headers.items()},
        **{f"src/{path}": data for path, data in sources.items()},
    }


def _platformio(bundle: Bundle, name: str, headers: Files, sources: Files) -> Files:
    manifest = {
        "name": name,
        "version": __version__,
        "description": _sentence(bundle),
        "keywords": ["sound", "recognition", "tflite-micro"],
        "license": "Apache-2.0",
        "frameworks": "*",
        "platforms": "*",
        "headers": "m3net.h",
        "build": {"includeDir": "include", "srcDir": "src"},
    }
    text = json.dumps(manifest, indent=2) + "\n"
    return {"library.json": text.encode(), **_folders(headers, sources)}


def _zephyr(bundle: Bundle, name: str, headers: Files, sources: Files) -> Files:
    notice = "# SPDX-License-Identifier: Apache-2.0\n"
    module = f"{notice}name: {name}\nbuild:\n  cmake: zephyr\n  kconfig: zephyr/Kconfig\n"
    listed = "\n".join(f"    ../src/{path}" for path in sources)
    has_choice = not _takes_samples(bundle)
    cmake = (
        f"{notice}if(CONFIG_M3NET)\n"
        "  zephyr_include_directories(../include)\n"
        f"{_ZEPHYR_F32_CMAKE if has_choice else ''}"
        "  zephyr_library_named(m3net)\n"
        f"  zephyr_library_sources(\n{listed})\n"
        "endif()\n"
    )
    kconfig = (
        f"{notice}config M3NET\n"
        f'\tbool "{name}"\n'
        "\tdepends on TENSORFLOW_LITE_MICRO\n"
        "\thelp\n"
        f"\t  {_sentence(bundle)}\n"
        f"{_ZEPHYR_F32_KCONFIG if has_choice else ''}"
    )
    texts = {
        "zephyr/module.yml": module,
        "zephyr/CMakeLists.txt": cmake,
        "zephyr/Kconfig": kconfig,
    }
    encoded = {path: text.encode() for path, text in texts.items()}
    return {**encoded, **_folders(headers, sources)}


def _cmsis_pack(bundle: Bundle, name: str, headers: Files, sources: Files) -> Files:
    files = _folders(headers, sources)
    kinds = {".h": "header", ".c": "sourceC", ".cc": "sourceCpp"}
    listed = ['          <file category="include" name="include/"/>']
    listed += [
        f"          <file category={quoteattr(kinds[Path(path).suffix])} name={quoteattr(path)}/>"
        for path in sorted(files)
    ]
    sentence = escape(_sentence(bundle))
    pdsc = "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            '<package schemaVersion="1.7.7" xmlns:xs="http://www.w3.org/2001/XMLSchema-instance" '
            'xs:noNamespaceSchemaLocation="PACK.xsd">',
            "  <vendor>m3net</vendor>",
            f"  <name>{name}</name>",
            f"  <description>{sentence}</description>",
            "  <url></url>",
            "  <license>LICENSE</license>",
            "  <releases>",
            f'    <release version="{__version__}">As exported.</release>',
            "  </releases>",
            "  <conditions>",
            '    <condition id="tflm">',
            '      <require Cclass="Machine Learning" Cgroup="TensorFlow" Csub="Kernel"/>',
            "    </condition>",
            "  </conditions>",
            "  <components>",
            '    <component Cclass="Machine Learning" Cgroup="M3Net" '
            f'Csub="{name[:32]}" Cversion="{__version__}" condition="tflm">',
            f"      <description>{sentence}</description>",
            "      <files>",
            *(line[2:] for line in listed),
            "      </files>",
            "    </component>",
            "  </components>",
            "</package>",
            "",
        ]
    )
    return {f"m3net.{name}.pdsc": pdsc.encode(), **files}


LAYOUTS: Mapping[str, Callable[[Bundle, str, Files, Files], Files]] = {
    "cmsis-pack": _cmsis_pack,
    "arduino": _arduino,
    "platformio": _platformio,
    "zephyr": _zephyr,
}
"""Names of the layouts, each with what makes its files: of the export, the library's name, headers
and sources."""
