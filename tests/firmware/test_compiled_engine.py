# SPDX-License-Identifier: Apache-2.0
"""Firmware with the compiled engine: the desktop's bytes, and no code of TensorFlow Lite Micro."""

from __future__ import annotations

import dataclasses
import io
import re
import shutil
import struct
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from firmware_helpers import (
    APPS,
    BOARD,
    FRAMES,
    BuiltFirmware,
    compile_for_host,
    random_features,
    run_tool,
    skip_or_fail,
    small_model,
    write_bundle,
)
from refusals import refuses

from m3net_tf.audio.frontend import FrontendConfig, features_int8, fixed_features_int8
from m3net_tf.audio.frontend.ctables import write_c_tables
from m3net_tf.boards.builds import build, sources
from m3net_tf.boards.builds.boards import find_machine, load_board
from m3net_tf.boards.builds.build import build_compiled, why_unreachable
from m3net_tf.boards.builds.sources import FIRMWARE_DIR, Package, UnreachableError, content_digest
from m3net_tf.boards.emulation.qemu import run_image, run_job
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.compiler.checksum import array_bytes
from m3net_tf.compiler.engines import COMPILED
from m3net_tf.compiler.host import WARNINGS, engine_folder, engine_sources
from m3net_tf.compiler.network import CompiledNetwork
from m3net_tf.compiler.structures import Array, Structure
from m3net_tf.export.c_files import CModel, compile_model, network_files
from m3net_tf.runtime.interpreter import run_reference
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.errors import FirmwareError, ModelError

HOST_MAIN = Path(__file__).parent / "apps" / "compiled_host" / "main.c"


@pytest.fixture(scope="module")
def model(small_tflite: bytes) -> CModel:
    return small_model(small_tflite)


def test_the_arena_is_the_planned_one(model: CModel, built: BuiltFirmware):
    result = run_job(built.image.elf, built.machine, random_features(1, seed=4))
    planned = compile_model(model)["m3net_network"].plan.arena_bytes
    assert result.arena_used_bytes == result.arena_size_bytes == planned


def test_the_image_is_c_alone(built: BuiltFirmware):
    symbols = run_tool("arm-none-eabi-nm", "-C", built.image.elf).decode()
    assert "m3net_network_run" in symbols and "arm_cfft_f32" in symbols
    # Tables of one size of the FFT, and not those for real samples.
    assert set(re.findall(r"twiddleCoef_\w+", symbols)) == {"twiddleCoef_256"}
    for word in ("tflite", "flatbuffers", "arm_nn", "arm_convolve", "operator", "std::", "malloc"):
        assert word not in symbols, word
    for name in ("strcmp", "strncmp", "printf", "arm_rfft_fast_f32"):  # large, and not needed
        assert name not in symbols, name
    log = (built.image.elf.parent / "build.log").read_text()
    assert "CXX" not in log and "warning" not in log


@pytest.mark.slow
def test_front_end_with_helium(model: CModel, tmp_path: Path):
    """The frame is no multiple of a vector's four values, and shorter than the FFT."""
    board = "mps3_an547"
    if reason := why_no_emulation(board, "compiled"):
        skip_or_fail(reason)
    config = FrontendConfig(frame_samples=401, hop_samples=160, window="povey", feature_max=10.0)
    bundle = write_bundle(tmp_path / "bundle", model, config)
    image = build_compiled(bundle, model, board, tmp_path / "build", app_dir=APPS / "features")
    clip = np.random.default_rng(6).normal(0, 3000, (FRAMES - 1) * 160 + 401).astype(np.int16)
    data = struct.pack("<I", len(clip)) + clip.tobytes()
    columns = bytes.fromhex(run_image(image.elf, find_machine(board), data).boot["feat"])
    actual = np.frombuffer(columns, np.int8).reshape(FRAMES, -1).T
    difference = np.abs(actual.astype(int) - features_int8(config, clip / 32768.0))
    assert difference.max() <= 1 and np.count_nonzero(difference) <= 2


def test_a_second_build_compiles_nothing(built: BuiltFirmware):
    elf = built.image.elf
    written = elf.stat().st_mtime_ns
    built.build(BOARD, elf.parent)
    assert elf.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("region", "in_ram", "code", "remedy"),
    [
        ("FLASH", 0, "m3net_convolve_winograd(", "--optimise flash"),
        ("FLASH", 0, "m3net_convolve(", None),
        ("RAM", 9000, "m3net_convolve_winograd(", "--weights-in-ram"),
        ("RAM", 0, "m3net_convolve_winograd(", None),
    ],
)
def test_what_does_not_fit_into_a_board_says_how_it_would(
    region: str,
    in_ram: int,
    code: str,
    remedy: str | None,
    model: CModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def overflow(*_: object) -> None:
        raise FirmwareError(f"region `{region}' overflowed by 7 bytes")

    monkeypatch.setattr(build, "make_firmware", overflow)
    large = dataclasses.replace(model, weights_in_ram=in_ram)
    with refuses(
        FirmwareError, "overflowed by 7 bytes", *([BOARD, remedy] if remedy else ())
    ) as error:
        build_compiled(tmp_path, large, BOARD, tmp_path / "build", {"m3net_network.c": code})
    assert remedy or "--" not in str(error.value)


_KERNELS = (  # that have assembly
    *("convolution", "depthwise", "depthwise_line", "elementwise"),
    *("helium_convolution", "helium_depthwise"),
)


@pytest.mark.parametrize(
    "core", ["cortex-m4", "cortex-m4+nofp", "cortex-m7", "cortex-m3", "cortex-m55"]
)
@pytest.mark.parametrize(
    "optimisation",
    ["-O0", "-O2", "-Os", *(pytest.param(f"-O{n}", marks=pytest.mark.slow) for n in (1, 3))],
)
def test_the_kernels_compile_at_all_settings(core: str, optimisation: str, tmp_path: Path):
    """Inline assembler takes nearly all registers; which ones are left depends on the settings."""
    if shutil.which("arm-none-eabi-gcc") is None:
        skip_or_fail("arm-none-eabi-gcc is missing")
    floats = "soft" if core in ("cortex-m3", "cortex-m4+nofp") else "hard"
    command = ["arm-none-eabi-gcc", f"-mcpu={core}", "-mthumb", f"-mfloat-abi={floats}"]
    command += ["-std=c11", optimisation, "-c", *WARNINGS, f"-I{engine_folder()}"]
    for name in _KERNELS:
        run_tool(*command, engine_folder() / f"{name}.c", cwd=tmp_path)


def test_the_interface_on_the_host(model: CModel, tmp_path: Path):
    """Errors of init, a run, and the profile with a line for each kernel."""
    networks = compile_model(model)
    for name, text in network_files(model, networks).items():
        (tmp_path / name).write_text(text)
    core = FIRMWARE_DIR / "core"
    frontend = tmp_path / "frontend"
    frontend.mkdir()
    write_c_tables(FrontendConfig(), frontend, frames=FRAMES)
    folders = (tmp_path, frontend, core, engine_folder())
    sources = [HOST_MAIN, FIRMWARE_DIR / "compiled" / "inference.c", core / "crc32.c"]
    sources += [*sorted(tmp_path.glob("*.c")), *engine_sources()]
    program = compile_for_host(tmp_path / "program", sources, folders, *WARNINGS)
    features = random_features(1, seed=5)
    lines = run_tool(program, data=features.tobytes()).decode().splitlines()
    arena = networks["m3net_network"].plan.arena_bytes
    # Argument 5 times, memory, arena, ok: the order of HOST_MAIN.
    assert lines[0] == f"init 1 1 1 1 1 2 6 0 used {arena}"
    calls = networks["m3net_network"].calls
    names = [call.operator for call in calls]
    assert lines[1:-1] == [f"{index} {name} 1" for index, name in enumerate(names)]
    scores = np.array(lines[-1].split(), int)
    np.testing.assert_array_equal(scores, run_reference(model.tflite, features[..., None])[0])
    # Without its address sanitiser, which finds the damage of its own guards first.
    compile_for_host(program, sources, folders, *WARNINGS, "-fno-sanitize=all")
    weights = largest_array(networks["m3net_network"], "portable")
    flip_a_bit(program, program, weights, 0.5)
    done = subprocess.run([program], input=features.tobytes(), capture_output=True, check=False)
    assert done.stdout == b"init 1 1 1 1 1 2 9 9\n"  # model_crc, before the size of the arena


def largest_array(network: CompiledNetwork, layout: str) -> bytes:
    """The largest array of weights of a network, as it is in memory."""
    arrays = [
        value
        for call in network.calls
        for layer in call.arguments
        if isinstance(layer, Structure)
        for value in vars(layer).values()
        if isinstance(value, Array)
    ]
    return max((array_bytes(array, layout) for array in arrays), key=len)


def flip_a_bit(source: Path, target: Path, array: bytes, place: float) -> None:
    """Copy a program, with one bit of an array's bytes flipped."""
    program = bytearray(source.read_bytes())
    assert program.count(array) == 1
    program[program.index(array) + round(place * (len(array) - 1))] ^= 1 << 3
    target.write_bytes(program)


@pytest.mark.parametrize("place", [0.0, 1.0])
def test_a_flipped_bit_of_the_weights_is_reported(
    model: CModel, built: BuiltFirmware, tmp_path: Path, place: float
):
    damaged = tmp_path / "damaged.elf"
    weights = largest_array(compile_model(model)["m3net_network"], "dsp")
    flip_a_bit(built.image.elf, damaged, weights, place)
    with refuses(FirmwareError, "model_crc"):
        run_job(damaged, find_machine(BOARD), random_features(1, seed=1))


def test_a_network_that_cannot_be_compiled_is_one_line(model: CModel):
    with refuses(ModelError, "convert it again") as error:
        compile_model(dataclasses.replace(model, tflite=b"no network"))
    assert "\n" not in str(error.value)


def unreachable(*_):
    raise UnreachableError("cannot fetch cmsisdsp")


@pytest.mark.slow
def test_without_its_package_the_front_end_computes_in_whole_numbers(
    built: BuiltFirmware, sounds, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(build, "fetch_package", unreachable)
    lines: list[str] = []
    image = built.build(BOARD, tmp_path, report=lines.append)
    reason = "cannot fetch cmsisdsp"
    assert image.dsp_missing == reason and built.image.dsp_missing == ""
    assert f"{reason}; the front end computes in whole numbers instead" in lines
    pcm = (sounds[:2] * 32768).astype(np.int16)
    result = run_job(image.elf, find_machine(BOARD), pcm, report_features=True)
    fixed = np.stack([fixed_features_int8(FrontendConfig(), wave) for wave in pcm])
    np.testing.assert_array_equal(result.features, fixed)
    with pytest.raises(FirmwareError, match=reason):  # its microphone needs the package
        built.build("nucleo_h753zi", tmp_path / "nucleo_h753zi")


def test_unreachable_headers_of_a_vendor_are_a_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build, "why_package_unavailable", lambda _: None)
    monkeypatch.setattr(build, "why_sources_unavailable", lambda sources: f"no {sources[0].name}")
    assert why_unreachable(load_board(BOARD), COMPILED) == ""
    assert why_unreachable(load_board("nrf52840dk"), COMPILED).startswith("no ")


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

    monkeypatch.setattr(sources.subprocess, "run", run)
    state.archive = archive_of(tmp_path, ("Source/a.c", "LICENSE", "tests/b.c"))
    return state


def test_a_package_is_fetched_once_and_checked(pip: SimpleNamespace, tmp_path: Path):
    package = Package("dsp", "1", sha256_of(pip.archive), folders=("Source",))
    said: list[str] = []
    folder = sources.fetch_package(package, tmp_path, said.append)
    assert sorted(path.name for path in folder.iterdir()) == ["LICENSE", "Source"]
    assert sources.fetch_package(package, tmp_path, said.append) == folder
    assert said == ["fetching dsp 1 from the Python package index"]
    assert len(pip.commands) == 1 and pip.commands[0][:4] == [
        sys.executable,
        "-m",
        "pip",
        "download",
    ]
    assert [path.name for path in (tmp_path / "sources").iterdir()] == [folder.name]


def test_a_package_is_unpacked_without_the_filter_that_pythons_first_releases_lack(
    pip: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda self, path=".": None)  # 3.11.2
    package = Package("dsp", "1", sha256_of(pip.archive), folders=("Source",))
    folder = sources.fetch_package(package, tmp_path)
    assert (folder / "Source" / "a.c").is_file()


def test_a_package_is_checked_at_every_use(pip: SimpleNamespace, tmp_path: Path):
    sha256 = sha256_of(pip.archive)
    folder = sources.fetch_package(Package("dsp", "1", sha256, folders=("Source",)), tmp_path)
    pinned = Package("dsp", "1", sha256, content_digest(folder), folders=("Source",))
    assert sources.fetch_package(pinned, tmp_path) == folder
    (folder / "Source" / "a.c").write_text("changed")
    with pytest.raises(FirmwareError, match="delete this folder"):
        sources.fetch_package(pinned, tmp_path)
    shutil.rmtree(folder)
    other = dataclasses.replace(pinned, content="0" * 64)
    with refuses(FirmwareError, "content", "000000000000"):
        sources.fetch_package(other, tmp_path)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("sha256", "folders", "error", "words"),
    [
        ("0" * 64, ("Source",), "", r"dsp 1: fetched archive .* instead of 000000000000; it is"),
        ("", ("Include",), "", r"dsp-1-.* has no Include; correct third_party.lock"),
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
        sources.fetch_package(package, tmp_path)
    assert "\n" not in str(caught.value)
    assert sources.why_package_unavailable(package, tmp_path) == str(caught.value)
    assert not sources.cached_folder(package, tmp_path).exists()
