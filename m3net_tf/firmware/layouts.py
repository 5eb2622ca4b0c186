# SPDX-License-Identifier: Apache-2.0
"""An export as a library for other build tools: ``m3net export --layout``.

Each holds the exported C files, the portable code of ``firmware/core`` that they need, and the
tool's own description, whose text is in ``firmware/layouts``; the tool has TensorFlow Lite Micro of
its own. The front end uses integer arithmetic, which needs no library, unless
``M3NET_FRONTEND_F32`` is defined; a front end that takes raw samples has no other form. The same
export gives the same bytes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template
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

_TEMPLATES = FIRMWARE_DIR / "layouts"
# Without runtime_log.cc: these tools' TFLM brings its log sink.
_CORE = (
    "crc32.c", "crc32.h", "detector.c", "detector.h", "frontend.c", "frontend.h", "frontend_f32.h",
    "frontend_fixed.h", "frontend_helium.h", "frontend_waveform.h", "inference.cc", "inference.h",
    "platform.h", "recognizer.c", "recognizer.h", "ring.c", "ring.h", "runtime_log.h", "status.c",
    "status.h",
)  # fmt: skip
_WARP = ("warp.c", "warp.h")
_GUARD = "#define M3NET_FRONTEND_CONFIG_H_\n"


def write_layout(bundle: Bundle, layout: str, folder: Path) -> Path:
    """Write an export as a library.

    Args:
        bundle: the export.
        layout: one of :data:`LAYOUTS`.
        folder: destination; each layout gets a sub-folder of its name.

    Returns:
        The archive that the tool installs, or a folder if the tool takes one.

    Raises:
        ConfigError: there is no such layout, or an earlier release wrote the export.
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
    """Name of the library: letters, digits and underscores, at most 50 (PlatformIO's limit)."""
    manifest = bundle.manifest
    text = f"{manifest.model.name}_{manifest.dataset.name}"
    return re.sub(r"\W+", "_", text, flags=re.ASCII)[:50]


def _text(path: str, /, **values: str | int) -> str:
    """Text of a file of ``firmware/layouts``; with values, each ``$key`` in it is replaced."""
    text = (_TEMPLATES / path).read_text(encoding="utf-8")
    return Template(text).substitute(values) if values else text


def _headers(bundle: Bundle) -> Files:
    return {"m3net.h": _text("m3net.h").encode(), **_code(bundle, (".h",))}


def _sources(bundle: Bundle) -> Files:
    return {"m3net_port.c": _text("m3net_port.c").encode(), **_code(bundle, (".c", ".cc"))}


def _code(bundle: Bundle, suffixes: tuple[str, ...]) -> Files:
    names = _CORE + (_WARP if bundle.manifest.warp else ())
    paths = [*(FIRMWARE_DIR / "core" / name for name in names), *bundle.folder.iterdir()]
    code = {path.name: path.read_bytes() for path in paths if path.suffix in suffixes}
    config = code.get("frontend_config.h", b"").decode()
    if config and not _takes_samples(bundle):
        if "M3NET_FRONTEND_FIXED_SAMPLE_SHIFT" not in config or _GUARD not in config:
            raise ConfigError(f"{bundle.folder}: its front end has no integer tables; export again")
        opening = f"{_GUARD}\n{_text('frontend_arithmetic.h')}"
        code["frontend_config.h"] = config.replace(_GUARD, opening).encode()
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
    return _text(
        "README.md.in",
        name=name,
        sentence=_sentence(bundle),
        classes=markdown_text(", ".join(bundle.labels)),
        licence=manifest.licence,
        rate_hz=frontend.sample_rate_hz,
        hop_samples=frontend.hop_samples,
        arena_bytes=manifest.arena.bytes,
        arena_source=manifest.arena.source,
        operators=", ".join(manifest.operators),
        tflm_commit=tflm.commit,
        arithmetic=_arithmetic(bundle),
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
    properties = _text(
        "arduino/library.properties.in",
        name=name,
        version=__version__,
        sentence=_sentence(bundle),
    )
    # Some releases of the IDE skip C++ files whose names do not end in .cpp.
    renamed = {path.replace(".cc", ".cpp"): data for path, data in sources.items()}
    code = {f"src/{path}": data for path, data in (headers | renamed).items()}
    return {"library.properties": properties.encode(), **code}


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
    f32_cmake = f32_kconfig = ""
    if not _takes_samples(bundle):
        f32_cmake = _text("zephyr/frontend_f32.cmake")
        f32_kconfig = _text("zephyr/Kconfig.frontend_f32")
    texts = {
        "zephyr/module.yml": _text("zephyr/module.yml.in", name=name),
        "zephyr/CMakeLists.txt": _text(
            "zephyr/CMakeLists.txt.in",
            frontend_f32=f32_cmake,
            sources="\n".join(f"    ../src/{path}" for path in sources),
        ),
        "zephyr/Kconfig": _text("zephyr/Kconfig.in", name=name, sentence=_sentence(bundle))
        + f32_kconfig,
    }
    encoded = {path: text.encode() for path, text in texts.items()}
    return {**encoded, **_folders(headers, sources)}


def _cmsis_pack(bundle: Bundle, name: str, headers: Files, sources: Files) -> Files:
    files = _folders(headers, sources)
    kinds = {".h": "header", ".c": "sourceC", ".cc": "sourceCpp"}
    entries = [
        f"        <file category={quoteattr(kinds[Path(path).suffix])} name={quoteattr(path)}/>"
        for path in sorted(files)
    ]
    description = _text(
        "cmsis-pack/m3net.pdsc.in",
        name=name,
        component=name[:32],
        version=__version__,
        sentence=escape(_sentence(bundle)),
        files="\n".join(entries),
    )
    return {f"m3net.{name}.pdsc": description.encode(), **files}


LAYOUTS: Mapping[str, Callable[[Bundle, str, Files, Files], Files]] = {
    "cmsis-pack": _cmsis_pack,
    "arduino": _arduino,
    "platformio": _platformio,
    "zephyr": _zephyr,
}
"""Each layout's name and the function that makes its files, from the export, the library's name,
the headers and the sources."""
