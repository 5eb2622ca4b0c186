# SPDX-License-Identifier: Apache-2.0
"""Write ``docs/reference/{cli,recipes,networks,datasets,boards,operators}.md`` from the code.

Run ``python docs/make_reference.py`` after changing a command, a recipe key, a preset, a data set,
a board or an operator.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
import runpy
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer.main
import yaml

import m3net_tf.networks.presets
from m3net_tf.audio.datasets import DatasetInfo, dataset_info, dataset_names, dataset_options
from m3net_tf.audio.frontend.presets import PRESETS
from m3net_tf.boards.builds.boards import list_boards, load_board
from m3net_tf.cli import app
from m3net_tf.system.artifacts import write_text
from m3net_tf.system.markdown import markdown_text
from m3net_tf.training.recipe import Recipe

FOLDER = Path(__file__).parent / "reference"
_NOTE = "`python docs/make_reference.py` writes this page from {source}."
_OPERATORS_PAGE = runpy.run_path(str(Path(__file__).with_name("operators_page.py")))[
    "operators_page"
]
_OPERATORS_SOURCE = "`m3net_tf/compiler/operators/` and `firmware/engine/`"
_KINDS = {int: "integer", float: "number", str: "text", bool: "true or false", Path: "path"}


def pages() -> dict[str, str]:
    """Text of each generated page, by its file name."""
    return {
        "cli.md": commands_page(),
        "recipes.md": recipes_page(),
        "networks.md": networks_page(),
        "datasets.md": datasets_page(),
        "boards.md": boards_page(),
        "operators.md": _joined(_OPERATORS_PAGE(_NOTE.format(source=_OPERATORS_SOURCE))),
    }


def commands_page() -> str:
    """Every command with its arguments and options."""
    commands = list(_commands("m3net", typer.main.get_command(app)))
    rows = [(name, _summary(command)) for name, command in commands]
    lines = [
        "# Commands",
        "",
        _NOTE.format(source="the command line itself"),
        "The [conventions](command_line.md) of output and exit status hold for all commands.",
        "",
        *_rows(("command", "purpose"), [(f"[`{name}`](#{_anchor(name)})", s) for name, s in rows]),
    ]
    for name, command in commands:
        options = _option_rows(command)
        lines += [f"## `{name}`", "", inspect.cleandoc(command.help or ""), ""]
        if options:
            lines += _rows(("argument or option", "value", "default", "meaning"), options)
    return _joined(lines)


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Commands below a group, each with the words that call it."""
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from _commands(f"{path} {name}", child)
        else:
            yield f"{path} {name}", child


def _summary(command: Any) -> str:
    return markdown_text(inspect.cleandoc(command.help or "").partition("\n\n")[0])


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _option_rows(command: Any) -> list[tuple[str, str, str, str]]:
    hints = typing.get_type_hints(command.callback)
    rows = []
    for option in command.params:
        names = [*option.opts, *option.secondary_opts]
        is_argument = option.param_type_name == "argument"
        flag = bool(getattr(option, "is_flag", False))
        name = option.name.upper() if is_argument else ", ".join(names)
        kind = _kind(hints[option.name])
        repeats = " (repeatable)" if kind.startswith("list of ") else ""
        value = "" if flag else (option.metavar or kind.removeprefix("list of ")) + repeats
        default = "required" if option.required else _default(option, flag)
        meaning = markdown_text(option.help or "")
        if variable := option.envvar:
            meaning += f" Environment variable: `{variable}`."
        rows.append((f"`{name}`", value, default, meaning))
    return rows


def _default(option: Any, flag: bool) -> str:
    default = option.default
    return "" if default is None or default == [] or flag else f"`{default}`"


def recipes_page() -> str:
    """Every key of a recipe with its type, default and meaning."""
    lines = [
        "# Recipe keys",
        "",
        _NOTE.format(source="the dataclasses of a recipe"),
        "A recipe is a YAML file with the sections below; `experiments/mcu/` has examples. An",
        "unknown key is an error. A key's name ends in its unit: `_s` seconds, `_ms` milliseconds,",
        "`_hz` hertz, `_db` decibels. `m3net lab recipe TABLE CELL` prints a complete recipe.",
        "",
    ]
    hints = typing.get_type_hints(Recipe)
    for field in dataclasses.fields(Recipe):
        section = hints[field.name]
        introduction, meanings = _docstring(section)
        lines += [f"## `{field.name}`", "", introduction, ""]
        if note := _section_note(field.name):
            lines += [note, ""]
        kinds = typing.get_type_hints(section)
        rows = [
            (f"`{key.name}`", _kind(kinds[key.name]), _field_default(key), meanings[key.name])
            for key in dataclasses.fields(section)
        ]
        lines += _rows(("key", "type", "default", "meaning"), rows)
    return _joined(lines)


def _section_note(section: str) -> str:
    """Where the names are listed that a section's keys take."""
    presets = ", ".join(f"`{name}`" for name in PRESETS)
    return {
        "dataset": "[Data sets](datasets.md) lists names, protocols and options.",
        "model": "`m3net model list` prints names and presets.",
        "frontend": f"`preset` starts from a named front end: {presets}. `hop_ms` then sets its "
        "hop, and the other keys change single values.",
    }.get(section, "")


def _docstring(kind: type) -> tuple[str, dict[str, str]]:
    """Introduction of a docstring, and the entries of its section ``Attributes``."""
    text = _markdown(inspect.cleandoc(kind.__doc__ or ""))
    introduction, _, rest = text.partition("\n\nAttributes:\n")
    entries = re.split(r"\n\S", rest)[0]
    found = re.findall(r"(?m)^ {4}(\w+): ((?:.*)(?:\n {8,}.*)*)", entries)
    return introduction, {name: " ".join(words.split()) for name, words in found}


def _markdown(text: str) -> str:
    """Docstring markup as Markdown code."""
    text = re.sub(r":\w+:`[.~]*([^`]*)`", r"`\1`", text)
    return text.replace("``", "`")


def _field_default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return f"`{field.default_factory()}`"
    if field.default is dataclasses.MISSING:
        return "required"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{yaml.safe_dump(value, default_flow_style=True).partition(chr(10))[0]}`"


def _kind(hint: Any) -> str:
    """A type annotation in words."""
    origin = typing.get_origin(hint)
    parts = typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_kind(part) for part in parts if part is not types.NoneType)
    if origin is typing.Literal:
        return _KINDS[type(parts[0])]
    if origin in (list, tuple):
        fixed = origin is tuple and Ellipsis not in parts
        return f"list of {len(parts)} {_kind(parts[0])}s" if fixed else f"list of {_kind(parts[0])}"
    return "mapping" if origin is dict else _KINDS.get(hint, "text")


def networks_page() -> str:
    """Every preset with its input and size."""
    package = m3net_tf.networks.presets
    rows = []
    for module in pkgutil.iter_modules(package.__path__):
        presets = importlib.import_module(f"{package.__name__}.{module.name}").PRESETS
        for name, preset in presets.items():
            shape = " x ".join(f"{size:,}" for size in preset.input_shape)
            figures = (f"{preset.parameters:,}", f"{preset.macs:,}")
            rows.append((f"`{module.name}`", f"`{name}`", preset.summary, shape, *figures))
    lines = [
        "# Networks and their presets",
        "",
        _NOTE.format(source="`m3net_tf/networks/presets/`"),
        "[Which network](../guide/networks.md) has what was measured, and says which one to take.",
        "",
        *_rows(("module", "preset", "content", "input", "parameters", "MACs"), rows),
    ]
    return _joined(lines)


def datasets_page() -> str:
    """Classes, clips, protocols and options of every data set."""
    facts = {name: dataset_info(name) for name in dataset_names()}
    described = [
        (
            f"`{name}`",
            f"{info.class_count or len(info.labels) or 'yours'}"
            f"{', several per clip' if info.multi_label else ''}",
            f"{info.clips:,}" if info.clips else "",
            f"{info.clip_s:g} s, {info.sample_rate_hz / 1000:g} kHz",
            info.group,
            ", ".join(_protocol(info, protocol) for protocol in info.protocols),
            _download(info),
            markdown_text(info.licence),
        )
        for name, info in facts.items()
    ]
    options = [
        (f"`{name}`", ", ".join(f"`{key}`" for key in dataset_options(name)) or "none")
        for name in facts
    ]
    head = ("data set", "classes", "clips", "delivered as", "group", "protocols", "download")
    lines = [
        "# Data sets and their options",
        "",
        _NOTE.format(source="`m3net_tf/audio/datasets/`"),
        "`m3net data info NAME` prints layout, citation and options of one data set.",
        "[Data sets](data.md) explains groups, protocols and downloads.",
        "",
        "The first protocol is the default. *First use*: the publisher gives no checksum, so",
        "the first download's is recorded.",
        "",
        *_rows((*head, "licence"), described),
        "## Options",
        "",
        "Keys of `dataset.options` in a recipe, or of `--option` on the command line:",
        "",
        *_rows(("data set", "options"), options),
    ]
    return _joined(lines)


def _protocol(info: DatasetInfo, protocol: str) -> str:
    folds = info.folds.get(protocol)
    return f"`{protocol}`" + (f" ({folds} folds)" if folds else "")


def _download(info: DatasetInfo) -> str:
    if not info.archives:
        return "by hand" if info.needs_folder else "none needed"
    checksums = {"md5": "MD5", "sha256": "SHA-256", "": "first use"}
    kinds = {checksums[archive.checksum.partition(":")[0]] for archive in info.archives}
    return ", ".join(sorted(kinds))


def boards_page() -> str:
    """Core, clock, memories, emulator and tools of every board."""
    rows = []
    for name in list_boards():
        board = load_board(name)
        qemu = board.machine
        emulator = f"QEMU `{qemu.machine}`{' (in part)' if qemu.partial else ''}" if qemu else ""
        storage = board.storage
        kept = _kib(storage.sectors * storage.sector_bytes) if storage else ""
        tools = [command.split()[0] for command in board.flash_commands]
        rows.append(
            (
                f"`{name}`",
                markdown_text(board.title),
                f"`{board.core}`",
                f"{board.clock_hz / 1e6:g} MHz",
                _kib(board.flash_bytes),
                kept,
                _kib(board.ram_bytes),
                _kib(board.stack_bytes),
                "integer" if board.fixed_frontend else "float",
                emulator,
                ", ".join([*tools, *(["UF2"] if board.uf2 else [])]),
            )
        )
    memories = ("flash", "storage", "RAM", "stack")
    head = ("board", "name", "core", "clock", *memories, "front end", "emulator", "written by")
    lines = [
        "# Boards",
        "",
        _NOTE.format(source="`board.toml` of each board"),
        "[Adding a board](../design/porting.md) says how to add one, and how boards are wired.",
        "RAM counts all memories but flash. Flash includes a boot loader's share, but not the "
        "storage, which",
        "[keeps thresholds](on_the_board.md#save-thresholds-on-the-board).",
        "",
        *_rows(head, rows),
    ]
    return _joined(lines)


def _kib(count: int) -> str:
    return f"{count / 1024:g} KiB"


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table whose cells are Markdown already."""
    lines = [[re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *lines)] + [""]


def _joined(lines: list[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    for name, text in pages().items():
        write_text(FOLDER / name, text)
        print(FOLDER / name)
