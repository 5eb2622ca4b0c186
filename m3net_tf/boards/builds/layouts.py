# SPDX-License-Identifier: Apache-2.0
"""An export as a library for other build tools: ``m3net export --layout``.

A library needs nothing else: it holds the network as generated C, the kernels of
``firmware/engine``, the portable code of ``firmware/core`` with its whole-number front end, and the
tool's own description, whose text is in ``firmware/layouts``. All layouts have the same folder
``src``: ``m3net.h``, which applications include, and a folder with the rest, so that file names of
the library and files of a project never have the same path. The same export gives the same bytes.

A library may have a name of its own, with which all its names in C begin; :mod:`.prefixes` tells
which parts of such libraries a program has once.
"""

import importlib.metadata
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from string import Template
from urllib.parse import urlsplit
from xml.sax.saxutils import escape, quoteattr

from m3net_tf import __version__
from m3net_tf.boards.builds.prefixes import SHARED, PrefixedLibrary, require_prefix
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.compiler.engines import COMPILED
from m3net_tf.compiler.host import engine_folder
from m3net_tf.export import Bundle
from m3net_tf.export.bundle import c_model
from m3net_tf.export.c_files import arena_bytes, compile_model, network_files
from m3net_tf.runtime.metadata import stored_archive
from m3net_tf.system.artifacts import sha256_of, write_bytes
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.locks import complete_folder
from m3net_tf.system.markdown import markdown_text

Files = dict[str, bytes]

_TEMPLATES = FIRMWARE_DIR / "layouts"
_EXAMPLES = FIRMWARE_DIR.parent / "examples"
_CORE = (
    "classifier.c", "classifier.h", "crc32.c", "crc32.h", "detector.c", "detector.h", "frontend.c",
    "frontend.h", "frontend_fixed.h", "frontend_waveform.h", "inference.h", "level.c", "level.h",
    "listener.c", "listener.h", "live.c", "live.h", "model_data.h", "platform.h",
    "platform_defaults.c",
    "prototypes.c", "prototypes.h", "recognizer.c", "recognizer.h", "ring.c", "ring.h", "status.c",
    "status.h",
)  # fmt: skip
_WARP = ("warp.c", "warp.h")
_EXPORTED = ("detector_config.h", "frontend_config.h", "frontend_tables.c")
_WARP_EXPORTED = ("warp_config.h", "warp_tables.c")
_GUARD = "#define M3NET_FRONTEND_CONFIG_H_\n"
_FIXED = f"{_GUARD}\n#define M3NET_FRONTEND_FIXED 1\n"
_INNER = "src/m3net"  # folder of all files that applications do not include
_DESCRIPTIONS = (".txt", ".yml")  # name parts of a library, no names in C
_SHOWN_CLASSES = 20  # in a line of text
_BESIDE = b'set(EXTRA_COMPONENT_DIRS "../..")\n'
_WHOLE = ("cmsis-pack", "zephyr")  # layouts whose tools link all objects of a library


def write_layout(bundle: Bundle, layout: str, folder: Path, prefix: str | None = None) -> Path:
    """Write an export as a library.

    Args:
        folder: destination; each layout gets a sub-folder of its name.
        prefix: the library's name, with which all its names in C begin, so that a program may have
            several; default: a name of model and data set, and names in C with ``m3net``.

    Returns:
        The archive that the tool installs, or a folder if the tool takes one.

    Raises:
        ConfigError: there is no such layout, or none with a prefix, or the prefix does not fit.
        ModelError: the compiler does not support an operator of the network.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout {layout!r} is unknown: choose from {', '.join(LAYOUTS)}")
    if prefix:
        check_prefix(prefix, [layout])
    name = prefix or library_name(bundle)
    model = c_model(bundle.network, bundle.manifest)
    if bundle.manifest.engine == COMPILED:
        network = bundle.code()
        arena = model.arena_bytes
    else:
        networks = compile_model(model, "docs/reference/operators.md lists what a library takes")
        network = network_files(model, networks)
        arena = arena_bytes(networks)
    files = _code(bundle, network)
    prefixed = PrefixedLibrary(prefix, _inner_texts(files)) if prefix else None
    if prefixed:
        files = {"src/m3net.h": files["src/m3net.h"]}
        files |= {f"src/{path}": text.encode() for path, text in prefixed.files.items()}
    added = LAYOUTS[layout](bundle, name, files)
    added["README.md"] = _readme(bundle, name, arena).encode()
    if prefixed:
        added[f"src/{name}.h"] = files.pop("src/m3net.h")
        for path in added:
            if not path.endswith(_DESCRIPTIONS):
                added[path] = prefixed.application(added[path].decode()).encode()
    files |= added
    files["LICENSE"] = (FIRMWARE_DIR.parent / "LICENSE").read_bytes()
    files = dict(sorted(files.items()))
    with complete_folder(folder / layout) as scratch:
        for path, data in files.items():
            write_bytes(scratch / name / path, data)
        archive = scratch / name
        if layout == "arduino":
            archive = scratch / f"{name}.zip"
            write_bytes(archive, stored_archive({f"{name}/{path}": files[path] for path in files}))
        elif layout == "cmsis-pack":
            archive = scratch / f"m3net.{name}.{__version__}.pack"
            write_bytes(archive, stored_archive(files))
    return folder / layout / archive.name


def check_prefix(prefix: str, layouts: Iterable[str]) -> None:
    """Refuse a prefix that libraries of these layouts cannot have.

    Raises:
        ConfigError: the message says why.
    """
    require_prefix(prefix)
    if whole := [layout for layout in layouts if layout in _WHOLE]:
        raise ConfigError(
            f"--name: a program has one library of the layout {whole[0]}: leave out --name"
        )


def library_name(bundle: Bundle) -> str:
    """Name of the library: letters, digits and underscores, at most 50 (PlatformIO's limit)."""
    manifest = bundle.manifest
    text = f"{manifest.model.name}_{manifest.dataset.name}"
    return re.sub(r"\W+", "_", text, flags=re.ASCII)[:50]


def _text(path: str, /, **values: str | int) -> str:
    """Text of a file of ``firmware/layouts``; with values, each ``$key`` in it is replaced."""
    text = (_TEMPLATES / path).read_text(encoding="utf-8")
    return Template(text).substitute(values) if values else text


def _code(bundle: Bundle, network: Mapping[str, str]) -> Files:
    """The folder ``src`` of a library without a prefix, the same in all layouts."""
    warp = bundle.manifest.warp is not None
    engine = engine_folder()
    exported = bundle.c_folder()
    paths = [
        *(FIRMWARE_DIR / "core" / name for name in _CORE + (_WARP if warp else ())),
        FIRMWARE_DIR / "compiled" / "inference.c",
        *(path for path in engine.iterdir() if path.suffix in (".c", ".h")),
        *(exported / name for name in _EXPORTED + (_WARP_EXPORTED if warp else ())),
        _TEMPLATES / "port.c",
    ]
    code = {f"{_INNER}/{path.name}": path.read_bytes() for path in paths}
    code |= {f"{_INNER}/{name}": text.encode() for name, text in network.items()}
    if bundle.frontend.kind != "waveform":
        config = code[f"{_INNER}/frontend_config.h"].decode()
        code[f"{_INNER}/frontend_config.h"] = config.replace(_GUARD, _FIXED).encode()
    return {"src/m3net.h": _text("m3net.h").encode(), **dict(sorted(code.items()))}


def _inner_texts(files: Files) -> dict[str, str]:
    """The texts of the inner folder, by name, for a library with a prefix.

    DiffRes's warp is a part of the code that all libraries share.
    """
    texts = {path.removeprefix(f"{_INNER}/"): data.decode() for path, data in files.items()}
    del texts["src/m3net.h"]
    core = FIRMWARE_DIR / "core"
    return texts | {name: (core / name).read_text(encoding="utf-8") for name in _WARP}


def _sources(files: Files) -> list[str]:
    return [path for path in files if path.endswith(".c")]


def _parts(files: Files) -> dict[str, list[str]]:
    """Sources by their folder in ``src``; a library without a prefix has one folder."""
    parts: dict[str, list[str]] = {}
    for path in _sources(files):
        parts.setdefault(path.split("/")[1], []).append(path)
    return parts


def _example(path: str) -> bytes:
    return (_EXAMPLES / path).read_bytes()


def _sentence(bundle: Bundle) -> str:
    manifest = bundle.manifest
    return (
        f"Recognises {len(bundle.labels)} classes of sound ({manifest.model.name} trained "
        f"on {manifest.dataset.name})."
    )


def _readme(bundle: Bundle, name: str, arena: int) -> str:
    return _text(
        "README.md.in",
        name=name,
        sentence=_sentence(bundle),
        classes=markdown_text(", ".join(bundle.labels)),
        licence=bundle.manifest.licence,
        rate_hz=bundle.frontend.sample_rate_hz,
        hop_samples=bundle.frontend.hop_samples,
        arena_bytes=arena,
        live=_live_text(bundle),
    )


def _live_text(bundle: Bundle) -> str:
    """What a decision of live detection costs."""
    columns = bundle.manifest.push_columns
    frames = bundle.manifest.frames
    if columns is None:
        return "Each decision of live detection computes a whole window."
    return (
        f"Live detection streams: a decision computes only what {columns} of the window's {frames} "
        "columns change. The first decision, and the first one behind the closed energy gate, "
        "compute a whole window."
    )


def project_url() -> str:
    """The page of this project, from setup.cfg; '' if it has none, which registries refuse."""
    try:
        metadata = importlib.metadata.metadata("m3net_tf")
    except importlib.metadata.PackageNotFoundError:
        return ""
    return metadata["Home-page"].rstrip("/") if "Home-page" in metadata else ""


def _arduino(bundle: Bundle, name: str, files: Files) -> Files:
    classes = [*bundle.labels[:_SHOWN_CLASSES], *["..."] * (len(bundle.labels) > _SHOWN_CLASSES)]
    properties = _text(
        "arduino/library.properties.in",
        name=name,
        version=__version__,
        sentence=_sentence(bundle),
        classes=", ".join(classes),
        url=project_url(),
    )
    if len(_parts(files)) > 1:
        properties += "dot_a_linkage=true\n"  # of what two libraries have, the linker takes one
    sketches = [f"{name}/{name}.ino" for name in ("listen", "listen_esp32")]
    return {
        "library.properties": properties.encode(),
        **{f"examples/{path}": _example(f"arduino/{path}") for path in sketches},
    }


def _c(bundle: Bundle, name: str, files: Files) -> Files:
    parts = {
        part: "\n".join(f"  {path}" for path in paths) for part, paths in _parts(files).items()
    }
    if len(parts) == 1:
        description = _text("c/CMakeLists.txt.in", name=name, sources=parts[SHARED])
    else:
        shared = {path: data for path, data in files.items() if path.startswith(f"{_INNER}/")}
        description = _text(
            "c/several.cmake.in",
            name=name,
            sources=parts.pop(name),
            release=sha256_of(b"\0".join(shared.values())),
            parts="\n".join(
                _text("c/part.cmake.in", part=part, sources=sources).rstrip()
                for part, sources in parts.items()
            ),
            links=" ".join([*sorted(parts.keys() - {SHARED}), SHARED]),
        )
    programs = {name: _example(f"c/{name}") for name in ("main.c", "live.c")}
    return {"CMakeLists.txt": description.encode(), **programs}


def _esp_idf(bundle: Bundle, name: str, files: Files) -> Files:
    project = ("CMakeLists.txt", "main/CMakeLists.txt", "main/main.c")
    example = {path: _example(f"esp-idf/listen/{path}") for path in project}
    if url := project_url():
        # In the registry an example is apart from its component, which its manifest names.
        owner = urlsplit(url).path.strip("/").partition("/")[0]
        component = f"{owner}/{name}" if owner else name
        manifest = _text("esp-idf/example.yml.in", component=component, version=__version__)
        example["main/idf_component.yml"] = manifest.encode()
        example["CMakeLists.txt"] = example["CMakeLists.txt"].replace(_BESIDE, b"")
    return {
        **_idf_component(bundle, files),
        **{f"examples/listen/{path}": text for path, text in example.items()},
    }


def _idf_component(bundle: Bundle, files: Files) -> Files:
    """What makes a library a component of ESP-IDF."""
    component = _text(
        "esp-idf/idf_component.yml.in",
        version=__version__,
        description=json.dumps(_sentence(bundle)),
    )
    if url := project_url():
        component += f"url: {url}\nrepository: {url}.git\n"
    return {
        "idf_component.yml": component.encode(),
        "CMakeLists.txt": _text(
            "esp-idf/CMakeLists.txt.in",
            folders=" ".join(f'"src/{part}"' for part in _parts(files)),
        ).encode(),
    }


def _esphome(bundle: Bundle, name: str, files: Files) -> Files:
    manifest = bundle.manifest
    if manifest.enrolment_slots:
        raise ConfigError(
            f"{bundle.folder} enrols words, which a component of ESPHome cannot: export it "
            "without --enrol"
        )
    classes = {
        label: index
        for index, label in enumerate(manifest.detected)
        if bundle.detector.classes[index].event
    }
    if not classes:
        raise ConfigError(f"{bundle.folder} detects no class: set event of one in its detector")
    facts = {
        "namespace": f"{name if name in _parts(files) else SHARED}_component",
        "sample_rate_hz": bundle.frontend.sample_rate_hz,
        "classes": classes,
    }
    example = _text(
        "esphome/listen.yaml.in",
        name=name,
        sentence=_sentence(bundle),
        rate_hz=bundle.frontend.sample_rate_hz,
        sensors="\n".join(_entity(name, label, "") for label in classes),
        thresholds="\n".join(_entity(name, label, " threshold") for label in classes),
    )
    sources = ("__init__.py", "binary_sensor.py", "number.py", "listener.cpp", "listener.h")
    return {
        **_idf_component(bundle, files),
        **{path: _text(f"esphome/{path}").encode() for path in sources},
        "export.json": (json.dumps(facts, indent=2) + "\n").encode(),
        "listen.yaml": example.encode(),
    }


def _entity(component: str, label: str, suffix: str) -> str:
    """An entity of ESPHome for a class; a name of one has no slash and at most 120 bytes."""
    name = label.replace("/", " ").encode()[:100].decode(errors="ignore") + suffix
    quoted = [json.dumps(text, ensure_ascii=False) for text in (label, name)]
    return f"  - platform: {component}\n    label: {quoted[0]}\n    name: {quoted[1]}"


def _platformio(bundle: Bundle, name: str, files: Files) -> Files:
    manifest = {
        "name": name,
        "version": __version__,
        "description": _sentence(bundle),
        "keywords": ["sound", "recognition", "neural network"],
        "license": "Apache-2.0",
        "frameworks": "*",
        "platforms": "*",
        "headers": "m3net.h",
        "build": {"includeDir": "src", "srcDir": "src"},
    }
    return {"library.json": (json.dumps(manifest, indent=2) + "\n").encode()}


def _zephyr(bundle: Bundle, name: str, files: Files) -> Files:
    texts = {
        "zephyr/module.yml": _text("zephyr/module.yml.in", name=name),
        "zephyr/CMakeLists.txt": _text(
            "zephyr/CMakeLists.txt.in",
            sources="\n".join(f"    ../{path}" for path in _sources(files)),
        ),
        "zephyr/Kconfig": _text("zephyr/Kconfig.in", name=name, sentence=_sentence(bundle)),
    }
    return {path: text.encode() for path, text in texts.items()}


def _cmsis_pack(bundle: Bundle, name: str, files: Files) -> Files:
    entries = [
        f'        <file category="sourceC" name={quoteattr(path)}/>' for path in _sources(files)
    ]
    description = _text(
        "cmsis-pack/m3net.pdsc.in",
        name=name,
        component=name[:32],
        version=__version__,
        sentence=escape(_sentence(bundle)),
        files="\n".join(entries),
    )
    return {f"m3net.{name}.pdsc": description.encode()}


LAYOUTS: Mapping[str, Callable[[Bundle, str, Files], Files]] = {
    "c": _c,
    "cmsis-pack": _cmsis_pack,
    "arduino": _arduino,
    "esp-idf": _esp_idf,
    "esphome": _esphome,
    "platformio": _platformio,
    "zephyr": _zephyr,
}
"""Each layout's name and the function that makes what it adds to ``src``, from the export, the
library's name and the files of ``src``."""
