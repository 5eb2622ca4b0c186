# SPDX-License-Identifier: Apache-2.0
"""The layouts for other tools: complete, compiled as each tool does it, and run in the emulator."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from exported_library import (
    EXAMPLES,
    LABELS,
    NAME,
    TOOLS,
    build_description,
    c_array,
    compile_layout,
    contents,
    emulate,
    link,
    sound,
)
from firmware_helpers import APPS, FRAMES, WARNINGS, random_features, run_tool
from refusals import refuses

from m3net_tf import __version__
from m3net_tf.audio.datasets.audio import to_pcm16
from m3net_tf.audio.frontend import frontend_preset
from m3net_tf.audio.frontend.fixed import fixed_features_int8
from m3net_tf.boards.builds.layouts import LAYOUTS, library_name, write_layout
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.boards.emulation.listening import due_windows, expected_events
from m3net_tf.compiler.host import engine_sources
from m3net_tf.export import Bundle, c_files
from m3net_tf.export.bundle import c_model
from m3net_tf.export.c_files import arena_bytes, compile_model
from m3net_tf.export.manifest import DatasetFacts
from m3net_tf.export.reference import read_vectors
from m3net_tf.runtime import DetectorConfig
from m3net_tf.runtime.recognizer import event_time_s
from m3net_tf.system.errors import ConfigError, ModelError


def scores_of_library(
    bundle: Bundle, layout: str, folder: Path, features: np.ndarray, pcm: np.ndarray
) -> np.ndarray:
    """Scores of feature maps and of a clip, computed by a linked library in the emulator."""
    objects = compile_layout(bundle, layout, folder)
    (folder / "vectors.h").write_text(
        "#include <stdint.h>\n" + c_array("pcm", pcm) + c_array("features", features)
    )
    elf = link(objects, layout, [APPS / "library" / "main.cc"], [folder])
    return np.array([line.split() for line in emulate(elf)], int)


def scores_of_sound(bundle: Bundle, pcm: np.ndarray) -> np.ndarray:
    """The desktop's scores of a clip with the whole-number front end."""
    return bundle.run_reference(fixed_features_int8(bundle.frontend, pcm)[None, ..., None])[0]


@pytest.mark.slow
def test_the_library_of_diffres_gives_the_bytes_of_the_desktop(
    arm_emulation, warped_bundle, tmp_path
):
    bundle = warped_bundle
    config = bundle.frontend
    pcm = sound(1, config.frame_samples + (FRAMES - 1) * config.hop_samples)
    features = np.concatenate([random_features(3, seed=4), np.full((1, 40, 49), 127, np.int8)])
    expected = bundle.run_reference(features[..., None])
    assert len(np.unique(expected, axis=0)) > 2  # the inputs differ to the network
    scores = scores_of_library(bundle, "platformio", tmp_path, features, pcm)
    np.testing.assert_array_equal(scores[:-1], expected)
    np.testing.assert_array_equal(scores[-1], scores_of_sound(bundle, pcm))


@pytest.mark.slow
def test_the_library_of_a_trained_run_gives_the_test_vectors_of_its_export(
    arm_emulation, exported, tmp_path
):
    stored = read_vectors(exported)
    scores = scores_of_library(exported, "arduino", tmp_path, stored.features, stored.pcm[0])
    np.testing.assert_array_equal(scores[:-1], stored.scores)
    np.testing.assert_array_equal(scores[-1], scores_of_sound(exported, stored.pcm[0]))


@pytest.mark.parametrize(
    ("layout", "kind"),
    [
        pytest.param("zephyr", "warped_bundle", marks=pytest.mark.slow),
        pytest.param("cmsis-pack", "streaming_bundle", marks=pytest.mark.slow),
        ("esp-idf", "warped_bundle"),
    ],
)
def test_a_library_compiles_completely(layout, kind, request, tmp_path):
    if shutil.which(f"{TOOLS[layout]}gcc") is None:
        pytest.skip(f"no {TOOLS[layout]}gcc")
    objects = compile_layout(request.getfixturevalue(kind), layout, tmp_path)
    compiled = {path.stem for path in objects.iterdir()}
    parts = {"frontend", "recognizer", "classifier", "detector", "listener", "live", "inference"}
    parts |= {"level", "m3net_network", "port"}
    assert parts | {path.stem for path in engine_sources()} < compiled
    assert ("warp" in compiled) == ("m3net_importance" in compiled) == (kind == "warped_bundle")
    # Nothing is missing but the C library and the compiler's.
    symbols = run_tool(f"{TOOLS[layout]}nm", "-g", *objects.iterdir()).decode()
    names = {kind: set(re.findall(rf"[{kind}] (\w+)$", symbols, re.M)) for kind in ("U", "TDRBVWC")}
    assert {n for n in names["U"] - names["TDRBVWC"] if not n.startswith("__")} <= {
        "memcpy", "memset", "memmove",
    }  # fmt: skip
    assert "m3net_board_watchdog_feed" not in names["U"]  # the application feeds it


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_sources_of_a_library_are_in_its_build_description(library_bundle, layout, tmp_path):
    write_layout(library_bundle, layout, tmp_path)
    folder = tmp_path / layout / NAME
    sources, headers = build_description(layout, folder)
    written = [
        path for path in (folder / "src").rglob("*") if path.suffix in (".c", ".cc", ".cpp", ".S")
    ]
    assert sorted(sources) == sorted(written) and (headers / "m3net.h").is_file()
    # File names of the library and of a project never meet: one file is in the folder of headers.
    assert [path.name for path in headers.iterdir() if path.is_file()] == ["m3net.h"]


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc: apt install gcc")
def test_the_example_of_the_readme_compiles_in_both_languages(library_bundle, tmp_path):
    write_layout(library_bundle, "zephyr", tmp_path)
    folder = tmp_path / "zephyr" / NAME
    code = re.search(r"```c\n(.*?)```", (folder / "README.md").read_text(), re.S)[1]
    for name, compiler in (("a.c", "gcc"), ("a.cpp", "g++")):
        (tmp_path / name).write_text(code)
        run_tool(compiler, *WARNINGS, "-fsyntax-only", f"-I{folder / 'src'}", tmp_path / name)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_export_gives_the_same_bytes(library_bundle, layout, tmp_path):
    paths = [write_layout(library_bundle, layout, tmp_path / name) for name in ("a", "b")]
    assert paths[0].exists()
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert [path.name for path in (tmp_path / "a").iterdir()] == [layout]
    for name, data in contents(tmp_path / "a").items():
        assert str(tmp_path).encode() not in data, name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_has_the_settings_of_the_export_and_the_plan_of_its_networks(
    layout, warped_bundle, tmp_path
):
    write_layout(warped_bundle, layout, tmp_path)
    folder = tmp_path / layout / NAME
    inner = folder / "src" / "m3net"
    for path in warped_bundle.folder.glob("*.[ch]"):
        expected = path.read_text()
        written = (inner / path.name).read_text()
        if path.name == "frontend_config.h":
            guard = "#define M3NET_FRONTEND_CONFIG_H_\n"
            expected = expected.replace(guard, f"{guard}\n#define M3NET_FRONTEND_FIXED 1\n")
        assert written == expected
    arena = arena_bytes(compile_model(c_model(warped_bundle.network, warped_bundle.manifest)))
    header = (inner / "model.h").read_text()
    assert f"#define M3NET_MODEL_ARENA_BYTES {arena}\n" in header
    assert "#define M3NET_ENGINE_COMPILED 1\n" in header and "model_data" not in header
    readme = (folder / "README.md").read_text()
    assert f"arena of {arena} bytes" in readme and "CC-BY-4.0" in readme
    assert (folder / "LICENSE").read_text() == (FIRMWARE_DIR.parent / "LICENSE").read_text()
    # No code of others, and every include of the library exists.
    for name, data in contents(folder).items():
        assert b"tensorflow/" not in data and b"arm_math" not in data, name
    for path in inner.iterdir():
        names = set(re.findall(r'#include "(.*)"', path.read_text())) - {"frontend_f32.h"}
        assert all((inner / name).is_file() for name in names), (path.name, names)


def test_arduino(library_bundle, tmp_path):
    path = write_layout(library_bundle, "arduino", tmp_path)
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
    # The IDE lists the folders of "examples"; a sketch has the name of its folder.
    for sketch in (EXAMPLES / "arduino").glob("*/*.ino"):
        assert (folder / "examples" / sketch.stem / sketch.name).read_bytes() == sketch.read_bytes()
    # "Add .ZIP library" expects one folder in it.
    with zipfile.ZipFile(path) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    assert packed == {f"{NAME}/{name}": data for name, data in contents(folder).items()}


@pytest.mark.skipif(not shutil.which("cmake"), reason="no cmake: apt install cmake")
@pytest.mark.parametrize("compiler", ["gcc", pytest.param("clang", marks=pytest.mark.slow)])
def test_plain_c_prints_the_label_and_score_of_a_sound(warped_bundle, compiler, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    folder = write_layout(warped_bundle, "c", tmp_path)
    build = tmp_path / "build"
    run_tool("cmake", "-S", folder, "-B", build, "-G", "Ninja", f"-DCMAKE_C_COMPILER={compiler}")
    run_tool("cmake", "--build", build)
    config = warped_bundle.frontend
    window = config.frame_samples + (FRAMES - 1) * config.hop_samples
    for seed, samples in enumerate([window, window + 9, window // 3, 1]):
        pcm = sound(seed, samples)
        heard = np.concatenate([pcm, np.zeros(window, np.int16)])[:window]
        scores = scores_of_sound(warped_bundle, heard)
        label = scores.argmax()
        said = run_tool(build / "recognise", data=pcm.tobytes()).decode()
        assert said == f"{LABELS[label]} {scores[label]}\n"
    assert subprocess.run([build / "recognise"], input=b"", check=False).returncode == 1


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cmake"), reason="no cmake: apt install cmake")
def test_live_detection_in_plain_c_streams_and_prints_the_events_of_whole_windows(
    streaming_bundle, sounds, tmp_path
):
    bundle = streaming_bundle
    config = streaming_bundle.frontend
    folder = write_layout(bundle, "c", tmp_path)
    assert "#define M3NET_MODEL_PUSH_COLUMNS 4" in (folder / "src/m3net/model.h").read_text()
    assert "4 of the window's 49 columns" in (folder / "README.md").read_text()
    build = tmp_path / "build"
    run_tool("cmake", "-S", folder, "-B", build, "-G", "Ninja", "-DCMAKE_C_COMPILER=gcc")
    run_tool("cmake", "--build", build, "--target", "listen")
    pcm = to_pcm16(np.concatenate(sounds[[0, 4, 2, 7, 1, 5]]))
    columns = fixed_features_int8(config, pcm)
    scores = bundle.run_reference(due_windows(bundle, columns))
    events = expected_events(bundle, columns, scores)
    assert len(scores) > 50 and len(events) > 2
    said = run_tool(build / "listen", data=pcm.tobytes()).decode()
    assert said.splitlines() == [
        f"{event_time_s(config, event.column):.2f} s: {LABELS[event.label]} "
        f"{100 * event.score // 65536} %"
        for event in events
    ]


def test_esp_idf(library_bundle, tmp_path):
    folder = write_layout(library_bundle, "esp-idf", tmp_path)
    component = yaml.safe_load((folder / "idf_component.yml").read_text())
    assert component["version"] == __version__ and component["license"] == "Apache-2.0"
    assert component["description"].startswith("Recognises")
    project = folder / "examples" / "listen"
    (place,) = re.findall(
        r'^set\(EXTRA_COMPONENT_DIRS "(.*)"\)', (project / "CMakeLists.txt").read_text(), re.M
    )
    assert (project / place).resolve() == folder
    (source,) = re.findall(r'SRCS "(.*)"', (project / "main" / "CMakeLists.txt").read_text())
    assert (project / "main" / source).is_file()


def test_platformio(library_bundle, tmp_path):
    folder = write_layout(library_bundle, "platformio", tmp_path)
    manifest = json.loads((folder / "library.json").read_text())
    assert re.fullmatch(r"[^:;/,@<>]{1,50}", manifest["name"])
    assert manifest["version"] == __version__ and manifest["license"] == "Apache-2.0"
    assert manifest["description"] and manifest["keywords"]
    assert (folder / manifest["build"]["includeDir"] / manifest["headers"]).is_file()


def test_zephyr(library_bundle, tmp_path):
    folder = write_layout(library_bundle, "zephyr", tmp_path)
    module = yaml.safe_load((folder / "zephyr" / "module.yml").read_text())
    assert module["name"] == NAME
    assert (folder / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    kconfig = (folder / module["build"]["kconfig"]).read_text()
    cmake = (folder / "zephyr" / "CMakeLists.txt").read_text()
    options = set(re.findall(r"^config (\w+)$", kconfig, re.M))
    assert {name.removeprefix("CONFIG_") for name in re.findall(r"CONFIG_\w+", cmake)} == options
    assert cmake.count("if(") == 2 * cmake.count("endif(") and cmake.count("endif(") == 1
    assert "depends on" not in kconfig


def test_cmsis_pack(library_bundle, tmp_path):
    path = write_layout(library_bundle, "cmsis-pack", tmp_path)
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
    files = {file.get("name"): file.get("category") for file in component.iter("file")}
    assert {name for name in files if name != "src/"} < set(packed)
    assert files["src/"] == "include" and files["src/m3net.h"] == "header"


@pytest.mark.slow
def test_a_network_on_samples_brings_their_arithmetic(arm_emulation, library_bundle, tmp_path):
    raw = frontend_preset("bilateral", log="mu", hop_samples=280)  # 7 hops are the network's input
    folder = shutil.copytree(library_bundle.folder, tmp_path / "export")
    manifest = library_bundle.manifest
    export = Bundle(
        folder,
        dataclasses.replace(
            manifest,
            frontend=raw,
            detector=DetectorConfig.default(raw, 7, LABELS),
            model=dataclasses.replace(manifest.model, input_shape=(1, 40 * FRAMES, 1)),
        ),
    )
    objects = compile_layout(export, "zephyr", tmp_path)
    assert b"arm_" not in run_tool("arm-none-eabi-nm", objects / "frontend.o")
    config = tmp_path / "layouts" / "zephyr" / NAME / "src" / "m3net" / "frontend_config.h"
    assert config.read_bytes() == (folder / "frontend_config.h").read_bytes()


def test_wrong_names_and_exports(library_bundle, tmp_path, monkeypatch):
    with refuses(ConfigError, "'keil'"):
        write_layout(library_bundle, "keil", tmp_path)

    def refuse(*_, **__):
        raise ModelError("operator SVDF of 'cell'")

    monkeypatch.setattr(c_files, "compile_network", refuse)
    with refuses(ModelError, "m3net-mcu", "SVDF", "docs/reference/operators.md"):
        write_layout(library_bundle, "zephyr", tmp_path)
    assert not [*tmp_path.iterdir()]


def test_the_command_refuses_a_layout_before_it_works(tmp_path, m3net):
    status, _, error = m3net("export", tmp_path / "no_run", "--layout", "keil")
    assert status == 2 and "'keil' is unknown: choose from c, cmsis-pack" in error


def test_any_name_becomes_one_that_tools_take(library_bundle):
    dataset = DatasetFacts("my söunds: 2 " + "x" * 80, "grouped", None)
    manifest = dataclasses.replace(library_bundle.manifest, dataset=dataset)
    name = library_name(Bundle(library_bundle.folder, manifest))
    assert re.fullmatch(r"[A-Za-z0-9_]{1,50}", name)
