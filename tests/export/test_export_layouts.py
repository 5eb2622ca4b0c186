# SPDX-License-Identifier: Apache-2.0
"""The layouts for other tools: complete, compilable, and described in the tool's format."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from m3net_tf import __version__, cli
from m3net_tf.errors import ConfigError
from m3net_tf.export import Bundle
from m3net_tf.export.carray import CModel
from m3net_tf.export.manifest import DatasetFacts, Manifest
from m3net_tf.export.warp_tables import write_warp_tables
from m3net_tf.firmware.layouts import LAYOUTS, library_name, write_layout
from m3net_tf.frontend import FrontendConfig, frontend_preset, write_c_tables
from m3net_tf.runtime import DetectorConfig, write_c_header
from m3net_tf.runtime.warp import WarpConfig

LABELS = ("yes", "no", "up & down")
NAME = "m3net_mcu_speech_commands"
WARP = WarpConfig(40, 49, 24, -14.0, 5.0)
#: Sources that only TensorFlow Lite Micro can compile.
NEED_TFLM = {"inference"}


def make_bundle(
    folder: Path, make_manifest: Callable[..., Manifest], warp: WarpConfig | None = None
) -> Bundle:
    """The attributes of an export that the layouts read; the bytes are no real network."""
    folder.mkdir()
    frontend = FrontendConfig()
    CModel(
        name="m3net-mcu",
        tflite=np.random.default_rng(1).bytes(1001),
        labels=LABELS,
        operators=("CONV_2D", "SOFTMAX"),
        input_bytes=40 * 49,
        input_quantization=(1 / 128, 0),
        output_quantization=(1 / 256, -128),
        arena_bytes=1024,
        arena_source="the tests",
        licence="Apache-2.0",
        importance=b"no network" if warp else b"",
    ).write(folder)
    write_c_tables(frontend, folder, frames=49)
    write_c_header(DetectorConfig.default(frontend, 49, LABELS), folder)
    if warp:
        write_warp_tables(warp, folder)
    manifest = make_manifest(
        dataset=DatasetFacts("speech_commands", "official", None),
        frontend=frontend,
        labels=tuple(LABELS),
        licence="Apache-2.0; trained on clips (CC-BY-4.0)",
        operators=("CONV_2D", "SOFTMAX"),
        warp=warp,
    )
    return Bundle(folder, manifest)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, make_manifest) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("layouts") / "export", make_manifest)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def compile_all(folder: Path, flags: tuple[str, ...] = ()) -> set[str]:
    """Check the syntax of each source without third-party includes; returns their names."""
    headers = next(folder.rglob("m3net.h")).parent
    done = set()
    for source in sorted(folder.rglob("*.c*")):
        if source.suffix not in (".c", ".cc", ".cpp") or source.stem in NEED_TFLM:
            continue
        compiler = ["gcc", "-std=gnu11"] if source.suffix == ".c" else ["g++", "-std=c++17"]
        command = [*compiler, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{headers}"]
        completed = subprocess.run([*command, *flags, source], capture_output=True, text=True)
        assert completed.returncode == 0, completed.stderr
        done.add(source.name)
    return done


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc: apt install gcc")
@pytest.mark.parametrize("warp", [None, WARP], ids=["one network", "diffres"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_sources_compile_without_third_parties(layout, warp, tmp_path, make_manifest):
    bundle = make_bundle(tmp_path / "export", make_manifest, warp)
    write_layout(bundle, layout, tmp_path / "layouts")
    done = compile_all(tmp_path / "layouts" / layout)
    assert {"frontend.c", "recognizer.c", "detector.c", "frontend_tables.c", "m3net_port.c"} < done
    assert ("warp_tables.c" in done) == ("warp.c" in done) == (warp is not None)
    # The example of the README as well, in both languages.
    folder = tmp_path / "layouts" / layout / NAME
    code = re.search(r"```c\n(.*?)```", (folder / "README.md").read_text(), re.S)[1]
    headers = next(folder.rglob("m3net.h")).parent
    for name, compiler in (("a.c", "gcc"), ("a.cpp", "g++")):
        (tmp_path / name).write_text(code)
        subprocess.run(
            [compiler, "-Wall", "-Werror", "-fsyntax-only", f"-I{headers}", tmp_path / name],
            check=True,
        )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_export_gives_the_same_bytes(bundle, layout, tmp_path):
    paths = [write_layout(bundle, layout, tmp_path / name) for name in ("a", "b", "a")]
    assert paths[0] == paths[2] and paths[0].exists()
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert [path.name for path in (tmp_path / "a").iterdir()] == [layout]
    for name, data in contents(tmp_path / "a").items():
        assert str(tmp_path).encode() not in data, name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_has_all_that_the_export_has_in_c(layout, tmp_path, make_manifest):
    bundle = make_bundle(tmp_path / "export", make_manifest, WARP)
    write_layout(bundle, layout, tmp_path)
    written = {path.name: path for path in (tmp_path / layout / NAME).rglob("*") if path.is_file()}
    for path in bundle.folder.iterdir():
        name = path.name.replace(".cc", ".cpp") if layout == "arduino" else path.name
        expected = path.read_text()
        if name == "frontend_config.h":
            guard = "#define M3NET_FRONTEND_CONFIG_H_\n"
            kept = written[name].read_text().split("#endif\n", 1)
            assert kept[0].endswith("#define M3NET_FRONTEND_FIXED 1\n")
            assert kept[1] == expected.split(guard, 1)[1]
        else:
            assert written[name].read_text() == expected
    # Every include exists, except those of the standard library and TFLM.
    for path in written.values():
        if path.suffix in (".h", ".c", ".cc", ".cpp"):
            for name in re.findall(r'#include "([^"/]+)"', path.read_text()):
                assert name in written, f"{path.name}: {name}"
    assert "licence" in written["README.md"].read_text().lower() and "LICENSE" in written


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc: apt install gcc")
def test_single_precision_is_a_choice(bundle, tmp_path):
    write_layout(bundle, "zephyr", tmp_path)
    headers = tmp_path / "zephyr" / NAME / "include"
    use = tmp_path / "use.c"
    use.write_text('#include "m3net.h"\nint bytes = M3NET_FRONTEND_FFT_SAMPLE_BYTES;\n')
    for flags, sample_bytes in (((), "4"), (("-DM3NET_FRONTEND_F32",), "7")):
        done = subprocess.run(
            ["gcc", "-E", *flags, f"-I{headers}", use], capture_output=True, text=True, check=True
        )
        assert f"int bytes = {sample_bytes};" in done.stdout


def test_arduino(bundle, tmp_path):
    path = write_layout(bundle, "arduino", tmp_path)
    folder = tmp_path / "arduino" / NAME
    lines = (folder / "library.properties").read_text().splitlines()
    properties = dict(line.split("=", 1) for line in lines)
    assert len(properties) == len(lines)
    for key in ("name", "version", "author", "maintainer", "sentence", "paragraph", "category"):
        assert properties[key], key
    assert {"url", "architectures"} < set(properties)
    assert properties["version"] == __version__
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.\- ]{0,62}", properties["name"])
    assert properties["category"] == "Data Processing"
    assert (folder / "src" / properties["includes"]).is_file()
    assert not list(folder.rglob("*.cc"))
    # "Add .ZIP library" expects one folder in it.
    with zipfile.ZipFile(path) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    assert packed == {f"{NAME}/{name}": data for name, data in contents(folder).items()}


def test_platformio(bundle, tmp_path):
    folder = write_layout(bundle, "platformio", tmp_path)
    manifest = json.loads((folder / "library.json").read_text())
    assert re.fullmatch(r"[^:;/,@<>]{1,50}", manifest["name"])
    assert manifest["version"] == __version__ and manifest["license"] == "Apache-2.0"
    assert manifest["description"] and manifest["keywords"]
    assert (folder / manifest["build"]["includeDir"] / manifest["headers"]).is_file()
    assert (folder / manifest["build"]["srcDir"] / "inference.cc").is_file()


def test_zephyr(bundle, tmp_path):
    folder = write_layout(bundle, "zephyr", tmp_path)
    module = yaml.safe_load((folder / "zephyr" / "module.yml").read_text())
    assert module["name"] == NAME
    assert (folder / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    kconfig = (folder / module["build"]["kconfig"]).read_text()
    cmake = (folder / "zephyr" / "CMakeLists.txt").read_text()
    options = set(re.findall(r"^config (\w+)$", kconfig, re.M))
    assert {name.removeprefix("CONFIG_") for name in re.findall(r"CONFIG_\w+", cmake)} == options
    listed = re.findall(r"\.\./src/(\S+?)\)?$", cmake, re.M)
    assert sorted(listed) == sorted(path.name for path in (folder / "src").iterdir())
    assert cmake.count("if(") == 2 * cmake.count("endif(") and cmake.count("endif(") == 2


def test_cmsis_pack(bundle, tmp_path):
    path = write_layout(bundle, "cmsis-pack", tmp_path)
    assert path.name == f"m3net.{NAME}.{__version__}.pack"
    with zipfile.ZipFile(path) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    assert packed == contents(tmp_path / "cmsis-pack" / NAME)
    package = ElementTree.fromstring(packed[f"m3net.{NAME}.pdsc"])
    order = [child.tag for child in package]
    assert order == [
        "vendor", "name", "description", "url", "license", "releases", "conditions", "components",
    ]  # fmt: skip
    assert (package.findtext("vendor"), package.findtext("name")) == ("m3net", NAME)
    assert package.find("releases/release").get("version") == __version__
    assert package.findtext("license") in packed
    component = package.find("components/component")
    for key in ("Cclass", "Cgroup", "Csub"):
        assert 2 <= len(component.get(key)) <= 32  # the schema's limits
    conditions = {condition.get("id") for condition in package.iterfind("conditions/condition")}
    assert component.get("condition") in conditions
    files = component.findall("files/file")
    assert files[0].attrib == {"category": "include", "name": "include/"}
    listed = {file.get("name"): file.get("category") for file in files[1:]}
    assert set(listed) == {name for name in packed if name.startswith(("include/", "src/"))}
    assert listed["src/inference.cc"] == "sourceCpp"
    assert listed["src/frontend.c"] == "sourceC"
    assert listed["include/m3net.h"] == "header"


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc: apt install gcc")
def test_a_network_on_samples_brings_their_arithmetic(bundle, tmp_path):
    raw = frontend_preset("bilateral", log="mu", hop_samples=280)  # 7 hops are the network's input
    folder = shutil.copytree(bundle.folder, tmp_path / "export")
    write_c_tables(raw, folder, frames=40 * 49)
    write_c_header(DetectorConfig.default(raw, 7, LABELS), folder)
    export = Bundle(folder, dataclasses.replace(bundle.manifest, frontend=raw))
    write_layout(export, "zephyr", tmp_path / "layouts")
    names = {path.name for path in (tmp_path / "layouts").rglob("*.h")}
    assert "frontend_waveform.h" in names
    done = compile_all(tmp_path / "layouts")
    assert {"frontend.c", "recognizer.c", "ring.c", "detector.c"} < done
    # Single precision is no choice there.
    zephyr = tmp_path / "layouts" / "zephyr" / NAME
    readme = (zephyr / "README.md").read_text()
    assert "samples as they are: all arithmetic is in whole numbers" in readme
    for path in ("README.md", "zephyr/CMakeLists.txt", "zephyr/Kconfig"):
        assert "F32" not in (zephyr / path).read_text(), path


def test_wrong_names_and_exports(bundle, tmp_path):
    with pytest.raises(ConfigError, match="'keil' is unknown: choose from cmsis-pack, arduino"):
        write_layout(bundle, "keil", tmp_path)
    old = shutil.copytree(bundle.folder, tmp_path / "old")
    header = old / "frontend_config.h"
    header.write_text(re.sub(r"#define M3NET_FRONTEND_FIXED_.*\n", "", header.read_text()))
    with pytest.raises(ConfigError, match="old: its front end has no integer tables; export again"):
        write_layout(Bundle(old, bundle.manifest), "zephyr", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_the_command_refuses_a_layout_before_it_works(tmp_path, monkeypatch, capsys):
    words = ["m3net", "export", str(tmp_path / "no_run"), "--layout", "keil"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "'keil' is unknown: choose from cmsis-pack" in capsys.readouterr().err


def test_any_name_becomes_one_that_tools_take(bundle):
    dataset = DatasetFacts("my söunds: 2 " + "x" * 80, "grouped", None)
    manifest = dataclasses.replace(bundle.manifest, dataset=dataset)
    name = library_name(Bundle(bundle.folder, manifest))
    assert re.fullmatch(r"[A-Za-z0-9_]{1,50}", name)
