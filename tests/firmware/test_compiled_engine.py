# SPDX-License-Identifier: Apache-2.0
"""Firmware with the compiled engine: the desktop's bytes, and no code of TensorFlow Lite Micro."""

from __future__ import annotations

import dataclasses
import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from firmware_helpers import BOARD, CLASSES, FRAMES, random_features, skip_or_fail, write_bundle

from m3net_tf.artifacts import sha256_of
from m3net_tf.compiler.host import WARNINGS, engine_folder, engine_sources
from m3net_tf.emulation import find_machine, run_job
from m3net_tf.emulation.starting import firmware_folder, why_no_emulation
from m3net_tf.errors import FirmwareError, ModelError
from m3net_tf.export.carray import CModel
from m3net_tf.firmware import packages
from m3net_tf.firmware.boards import list_boards, load_board
from m3net_tf.firmware.compiled import (
    ARENA_SOURCE,
    build_compiled,
    compile_model,
    needs_dsp,
    write_network,
)
from m3net_tf.firmware.image import FirmwareImage
from m3net_tf.firmware.packages import Package
from m3net_tf.firmware.sources import FIRMWARE_DIR
from m3net_tf.frontend import FrontendConfig
from m3net_tf.runtime.interpreter import run_reference

HOST_MAIN = Path(__file__).parent / "apps" / "compiled_host" / "main.c"


@pytest.fixture(scope="module")
def model(small_tflite: bytes) -> CModel:
    return CModel(
        name="small",
        tflite=small_tflite,
        labels=tuple(f"label{index}" for index in range(CLASSES)),
        operators=("CONV_2D",),
        input_bytes=FrontendConfig().feature_bins * FRAMES,
        input_quantization=(1 / 128, 0),
        output_quantization=(1 / 256, -128),
        arena_bytes=1,
        arena_source="nobody",
        licence="Apache-2.0",
    )


@pytest.fixture(scope="module")
def firmware(model: CModel, tmp_path_factory: pytest.TempPathFactory) -> FirmwareImage:
    if reason := why_no_emulation(BOARD, "compiled"):
        skip_or_fail(reason)
    folder = tmp_path_factory.mktemp("compiled")
    bundle = write_bundle(folder / "bundle", model.tflite)
    return build_compiled(bundle, model, BOARD, folder / "build")


def test_same_bytes_as_the_desktop_in_the_planned_arena(model: CModel, firmware: FirmwareImage):
    features = random_features(20, seed=4)
    features[-1], features[-2] = -128, 127
    result = run_job(firmware.elf, find_machine(BOARD), features, report_features=True)
    expected = run_reference(model.tflite, features[..., None])
    np.testing.assert_array_equal(result.outputs, expected)
    np.testing.assert_array_equal(result.features, features)
    planned = compile_model(model)["m3net_network"].plan.arena_bytes
    assert result.arena_used_bytes == result.arena_size_bytes == planned


def test_the_image_is_c_alone(firmware: FirmwareImage):
    command = ["arm-none-eabi-nm", "-C", str(firmware.elf)]
    symbols = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "m3net_network_run" in symbols and "arm_rfft_fast_f32" in symbols
    for word in ("tflite", "flatbuffers", "arm_nn", "arm_convolve", "operator", "std::", "malloc"):
        assert word not in symbols, word
    log = (firmware.elf.parent / "build.log").read_text()
    assert "CXX" not in log and "warning" not in log


def test_a_second_build_compiles_nothing(model: CModel, firmware: FirmwareImage):
    build = firmware.elf.parent
    written = firmware.elf.stat().st_mtime_ns
    build_compiled(build.parent / "bundle", model, BOARD, build)
    assert firmware.elf.stat().st_mtime_ns == written


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m4+nofp", "cortex-m7", "cortex-m3"])
@pytest.mark.parametrize("optimisation", ["-O0", "-O1", "-O2", "-O3", "-Os"])
def test_the_kernels_compile_at_all_settings(core: str, optimisation: str, tmp_path: Path):
    """Inline assembler takes nearly all registers; which ones are left depends on the settings."""
    if shutil.which("arm-none-eabi-gcc") is None:
        skip_or_fail("arm-none-eabi-gcc is missing")
    floats = "soft" if core in ("cortex-m3", "cortex-m4+nofp") else "hard"
    command = ["arm-none-eabi-gcc", f"-mcpu={core}", "-mthumb", f"-mfloat-abi={floats}"]
    command += ["-std=c11", optimisation, "-c", *WARNINGS, f"-I{engine_folder()}"]
    for name in ("convolution", "depthwise"):
        subprocess.run([*command, engine_folder() / f"{name}.c"], check=True, cwd=tmp_path)


def test_the_interface_on_the_host(model: CModel, tmp_path: Path):
    """Errors of init, a run, and the profile with a line for each kernel."""
    networks = compile_model(model)
    write_network(model, networks, tmp_path)
    program = tmp_path / "program"
    core = FIRMWARE_DIR / "core"
    includes = [f"-I{folder}" for folder in (tmp_path, core, engine_folder())]
    command = ["gcc", "-std=c11", "-O1", "-DM3NET_ENGINE_COMPILED", *WARNINGS, *includes]
    command += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command += [str(path) for path in (HOST_MAIN, FIRMWARE_DIR / "compiled" / "inference.c")]
    command += [str(path) for path in sorted(tmp_path.glob("*.c"))]
    command += [str(path) for path in engine_sources()]
    subprocess.run([*command, "-o", str(program)], check=True)
    features = random_features(1, seed=5)
    done = subprocess.run([program], input=features.tobytes(), capture_output=True, check=True)
    lines = done.stdout.decode().splitlines()
    arena = networks["m3net_network"].plan.arena_bytes
    # Argument 5 times, memory, arena, ok: the order of HOST_MAIN.
    assert lines[0] == f"init 1 1 1 1 1 2 6 0 used {arena}"
    calls = networks["m3net_network"].calls
    names = [call.comment.split()[0] for call in calls]
    assert lines[1:-1] == [f"{index} {name} 1" for index, name in enumerate(names)]
    scores = np.array(lines[-1].split(), int)
    np.testing.assert_array_equal(scores, run_reference(model.tflite, features[..., None])[0])


def test_generated_model_header_has_the_arena_of_the_plan(model: CModel, tmp_path: Path):
    networks = compile_model(model)
    write_network(model, networks, tmp_path)
    text = (tmp_path / "model.h").read_text()
    assert f"// Measured by: {ARENA_SOURCE}." in text
    arena = networks["m3net_network"].plan.arena_bytes
    assert f"#define M3NET_MODEL_ARENA_BYTES {arena}\n" in text


def test_a_network_that_cannot_be_compiled_is_one_line(model: CModel):
    with pytest.raises(ModelError, match="small cannot be compiled .*use --engine tflm") as error:
        compile_model(dataclasses.replace(model, tflite=b"no network"))
    assert "\n" not in str(error.value)


def test_which_boards_need_a_package():
    integer = {name for name in list_boards() if not needs_dsp(load_board(name))}
    assert integer == {"mps2_an385", "mps2_an505"}


def test_builds_of_the_engines_lie_apart():
    run = Path("run")
    folders = {
        firmware_folder(run, BOARD, engine, custom=custom)
        for engine in ("tflm", "compiled")
        for custom in (False, True)
    }
    assert len(folders) == 4 and run / "firmware" / BOARD in folders


def archive_of(folder: Path, names: tuple[str, ...]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name in names:
            entry = tarfile.TarInfo(f"dsp-1/{name}")
            tar.addfile(entry, io.BytesIO())
    return stream.getvalue()


@pytest.fixture()
def pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """Stands in for pip: ``archive`` is what it downloads, ``commands`` are its calls."""
    state = SimpleNamespace(archive=b"", error="", commands=[])

    def run(command, **_):
        state.commands.append(command)
        folder = Path(command[command.index("--dest") + 1])
        if not state.error:
            folder.mkdir(parents=True)
            (folder / "dsp-1.tar.gz").write_bytes(state.archive)
        return SimpleNamespace(returncode=int(bool(state.error)), stderr=state.error)

    monkeypatch.setattr(packages.subprocess, "run", run)
    state.archive = archive_of(tmp_path, ("Source/a.c", "LICENSE", "tests/b.c"))
    return state


def test_a_package_is_fetched_once_and_checked(pip: SimpleNamespace, tmp_path: Path):
    package = Package("dsp", "1", sha256_of(pip.archive), folders=("Source",))
    said: list[str] = []
    folder = packages.fetch_package(package, tmp_path, said.append)
    assert sorted(path.name for path in folder.iterdir()) == ["LICENSE", "Source"]
    assert packages.fetch_package(package, tmp_path, said.append) == folder
    assert said == ["fetching dsp 1 from the Python package index"]
    assert len(pip.commands) == 1 and pip.commands[0][:4] == [
        sys.executable,
        "-m",
        "pip",
        "download",
    ]
    assert [path.name for path in (tmp_path / "sources").iterdir()] == [folder.name]


@pytest.mark.parametrize(
    ("sha256", "folders", "error", "words"),
    [
        ("0" * 64, ("Source",), "", r"SHA-256 .* instead of 000000000000; check pip's index"),
        ("", ("Include",), "", r"dsp 1 has no Include; correct third_party.lock"),
        ("", (), "WARNING: old\nERROR: no such version\n", r"with pip \(ERROR: no such version\)"),
    ],
    ids=["hash", "folder", "pip"],
)
def test_a_package_that_cannot_be_had(
    pip: SimpleNamespace, tmp_path: Path, sha256: str, folders, error: str, words: str
):
    pip.error = error
    package = Package("dsp", "1", sha256 or sha256_of(pip.archive), folders=folders)
    with pytest.raises(FirmwareError, match=words) as caught:
        packages.fetch_package(package, tmp_path)
    assert "\n" not in str(caught.value)
    assert packages.why_package_unavailable(package, tmp_path) == str(caught.value)
    assert not packages.package_dir(package, tmp_path).exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs the package 'dsp' once"),
        ('[[package]]\nname = "dsp"\nversion = "1"\n', "lacks sha256"),
        ('[[package]]\nname = "dsp"\nversion = "1"\nsha256 = "12"\n', "64 hexadecimal digits"),
    ],
)
def test_damaged_lock_file(tmp_path: Path, text: str, words: str):
    path = tmp_path / "third_party.lock"
    path.write_text(text)
    with pytest.raises(FirmwareError, match=words):
        packages.read_package("dsp", path)


def test_the_lock_file_pins_the_package():
    package = packages.read_package("cmsisdsp")
    assert package.licence and package.folders == ("Include", "PrivateInclude", "Source")
