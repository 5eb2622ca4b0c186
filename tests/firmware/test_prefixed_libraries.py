# SPDX-License-Identifier: Apache-2.0
"""Libraries with names of their own: what they share, and several of them in one program."""

from __future__ import annotations

import dataclasses
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
from exported_library import contents
from firmware_helpers import FIRMWARE_DIR, WARNINGS, run_tool, skip_or_fail
from refusals import refuses

from m3net_tf.boards.builds.layouts import LAYOUTS, write_layout
from m3net_tf.export import Bundle
from m3net_tf.system.errors import ConfigError

TWO_MODELS = FIRMWARE_DIR.parent / "docs" / "make_two_models.py"


def archive(library: Path, folder: Path) -> Path:
    """A library as one archive, as build tools make it that do not know its parts."""
    folder.mkdir()
    sources = sorted((library / "src").glob("*/*.c"))
    run_tool(
        "gcc", *WARNINGS, "-std=c11", "-O0", f"-I{library / 'src'}", "-c", *sources, cwd=folder
    )
    run_tool("ar", "rcs", folder / "library.a", *sorted(folder.glob("*.o")))
    return folder / "library.a"


def exported_names(library: Path, part: str, folder: Path) -> set[str]:
    """Global names that the sources of a part define."""
    objects = [folder / f"{path.stem}.o" for path in (library / "src" / part).glob("*.c")]
    return set(re.findall(r" [TDRBVWC] (\w+)$", run_tool("nm", "-g", *objects).decode(), re.M))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc: apt install gcc")
def test_all_names_begin_with_the_library_s_and_two_link_together(
    warped_bundle: Bundle, streaming_bundle: Bundle, tmp_path: Path
):
    libraries = {
        name: write_layout(bundle, "c", tmp_path / name, name)
        for name, bundle in (("wake", warped_bundle), ("sounds_2", streaming_bundle))
    }
    archives = []
    for name, library in libraries.items():
        folder = tmp_path / f"objects_{name}"
        archives.append(archive(library, folder))
        for part in (library / "src").iterdir():
            if part.is_dir():
                names = exported_names(library, part.name, folder)
                assert names
                assert {each for each in names if not each.startswith(f"{part.name}_")} == set()
    main = tmp_path / "main.c"
    lines = [f'#include "{name}.h"' for name in libraries]
    calls = [f"{name}_live_start(0, {name}_live_label(0, 0) != 0)" for name in libraries]
    main.write_text("\n".join([*lines, f"int main(void) {{ return {' + '.join(calls)}; }}\n"]))
    includes = [f"-I{library / 'src'}" for library in libraries.values()]
    run_tool("gcc", *WARNINGS, *includes, main, *archives, "-o", tmp_path / "program")


def test_libraries_share_all_that_no_export_changes(
    warped_bundle: Bundle, streaming_bundle: Bundle, tmp_path: Path
):
    files = [
        contents(write_layout(bundle, "c", tmp_path / name, name) / "src")
        for name, bundle in (("wake", warped_bundle), ("sounds", streaming_bundle))
    ]
    shared = set(files[0]) & set(files[1])
    assert {path.split("/")[0].rstrip("0123456789abcdef") for path in shared} == {
        "m3net", "m3net_frontend_", "m3net_tables_",
    }  # fmt: skip
    assert all(files[0][path] == files[1][path] for path in shared)
    # Of the library's own parts, neither has a name without its prefix.
    for name, mine in zip(("wake", "sounds"), files, strict=True):
        for path in set(mine) - shared:
            assert path in {f"{name}.h", f"{name}/{Path(path).name}"}


@pytest.mark.skipif(not shutil.which("cmake"), reason="no cmake: apt install cmake")
def test_exports_of_different_releases_are_refused(warped_bundle: Bundle, tmp_path: Path):
    for name in ("one", "two"):
        write_layout(warped_bundle, "c", tmp_path, name).rename(tmp_path / name)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(both C)\n"
        "add_subdirectory(one)\nadd_subdirectory(two)\n"
    )
    configure = ["cmake", "-S", tmp_path, "-B", tmp_path / "build"]
    run_tool(*configure)
    description = tmp_path / "two" / "CMakeLists.txt"
    description.write_text(re.sub(r"[0-9a-f]{64}", "0" * 64, description.read_text()))
    done = subprocess.run(configure, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "two is of another release" in " ".join(done.stderr.split())


@pytest.mark.parametrize("layout", sorted(LAYOUTS.keys() - {"cmsis-pack", "zephyr"}))
def test_applications_get_the_names_of_the_library(
    library_bundle: Bundle, layout: str, tmp_path: Path
):
    write_layout(library_bundle, layout, tmp_path, "wake")
    folder = tmp_path / layout / "wake"
    for path, data in contents(folder).items():
        if path.startswith("src/") and path != "src/wake.h":
            continue
        names = re.findall(r"\b(?:m3net|M3NET)_\w+", data.decode())
        own = re.compile(r"(?i)m3net_(recognizer|live|detector|model|frontend_(hop|frame)|window)")
        assert not [name for name in names if own.match(name)], path
        assert b"m3net.h" not in data, path
    code = re.search(r"```c\n(.*?)```", (folder / "README.md").read_text(), re.S)
    assert code and "wake_live_init(&live, &recognizer)" in code[1]


def test_a_label_that_looks_like_a_name_stays(library_bundle: Bundle, tmp_path: Path):
    labels = ("m3net_live_step", *library_bundle.labels[1:])
    manifest = dataclasses.replace(library_bundle.manifest, labels=labels)
    folder = write_layout(Bundle(library_bundle.folder, manifest), "c", tmp_path, "wake")
    text = (folder / "src" / "wake" / "model_labels.c").read_text()
    assert "const char *const wake_model_labels[WAKE_MODEL_CLASS_COUNT]" in text
    assert '"m3net_live_step",' in text


def test_names_that_cannot_start_others_are_refused(library_bundle: Bundle, tmp_path: Path):
    for name, reason in (
        ("m3net_wake", "shared code"), ("2nd", "not a name in C"), ("int", "keyword"),
    ):  # fmt: skip
        with refuses(ConfigError, "--name", name, reason):
            write_layout(library_bundle, "c", tmp_path, name)
    for layout in ("cmsis-pack", "zephyr"):
        with refuses(ConfigError, "--name", layout):
            write_layout(library_bundle, layout, tmp_path, "wake")
    assert not [*tmp_path.iterdir()]


def test_the_command_refuses_a_name_without_a_layout(tmp_path: Path, m3net):
    status, _, error = m3net("export", tmp_path / "no_run", "--name", "wake")
    assert status == 2 and "--name is for --layout" in error


@pytest.mark.slow
@pytest.mark.parametrize(("core", "pair"), [("Cortex-M4", 0), ("RV32IMAC", 1)])
def test_two_models_in_one_program_give_the_scores_and_events_of_each_alone(
    core: str, pair: int, tmp_path: Path
):
    made = runpy.run_path(str(TWO_MODELS))
    machine = made["CORES"][core]
    tools = ("cmake", "ninja", f"{machine.tools}-gcc", machine.emulate[0])
    if missing := [tool for tool in tools if not shutil.which(tool)]:
        skip_or_fail(f"missing: {' '.join(missing)}")
    bundles = made["export_pair"](made["PAIRS"][pair], tmp_path)
    programs = made["build"](bundles, machine, tmp_path)
    alone = [made["sizes"](programs / f"{name}_alone") for name in bundles]
    together = made["sizes"](programs / "two_models")
    # One engine and one set of tables; one front end, too, where the hops are the same.
    frontends = 1 if pair else 2
    assert together["its tables"] == alone[0]["its tables"] == alone[1]["its tables"] > 0
    assert together["front end"] == frontends * alone[0]["front end"]
    assert together["kernels"] < 1.01 * max(each["kernels"] for each in alone)
    assert together["RAM in all"] < 0.9 * sum(each["RAM in all"] for each in alone)
    counts = made["check"](bundles, machine, programs, made["sound_of"](bundles))
    assert counts["runs"] > 50 and counts["events"] > 2
