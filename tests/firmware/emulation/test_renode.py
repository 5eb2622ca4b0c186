# SPDX-License-Identifier: Apache-2.0
"""firmware/renode without Renode: a dry run, and a run over QEMU; CI runs Renode itself."""

from __future__ import annotations

import dataclasses
import io
import re
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import renode_keywords
from firmware_helpers import BOARD, CLASSES, BuiltFirmware, without_sleep
from robot import running

from m3net_tf.audio.frontend import FrontendConfig, features_int8
from m3net_tf.boards.builds.boards import find_machine, list_boards, load_board
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.boards.emulation import renode
from m3net_tf.export import Bundle
from m3net_tf.export.manifest import Manifest
from m3net_tf.export.reference import Reference
from m3net_tf.runtime.interpreter import run_reference

SUITES = renode.list_boards()
#: The smallest job memory of Renode's boards.
JOB_BYTES = 65_536
QUANTIZATION = (1 / 256, -128)


def run_suite(
    path: Path, *, dry: bool, names: str = "*", without: str = "", **variables: str
) -> tuple[int, str]:
    """Failed cases and Robot Framework's output, with the stand-in for Renode's keywords."""
    suite = running.TestSuite.from_file_system(path)
    suite.resource.imports.library("renode_keywords")
    suite.filter(included_tests=[names])
    suite.tests = [test for test in suite.tests if not (without and without in test.name)]
    assert len(suite.tests) > 0
    said = io.StringIO()
    settings = [f"{name}:{value}" for name, value in variables.items()]
    options = {"output": None, "log": None, "report": None, "stdout": said, "stderr": said}
    result = suite.run(dryrun=dry, variable=settings, **options)
    return result.return_code, said.getvalue()


@pytest.mark.parametrize("board", SUITES)
def test_a_dry_run_finds_every_keyword_and_argument(board: str):
    failed, said = run_suite(renode.RENODE_DIR / f"{board}.robot", dry=True)
    assert failed == 0, said
    assert "warn" not in said.lower() and "error" not in said.lower(), said


@pytest.fixture(scope="module")
def vectors(built: BuiltFirmware) -> Reference:
    rng = np.random.default_rng(12)
    loudness = np.array([300, 3000, 12_000])[:, None]
    pcm = np.clip(rng.normal(0, 1, (3, 16_000)) * loudness, -32768, 32767).astype(np.int16)
    features = np.stack([features_int8(FrontendConfig(), clip / 32768) for clip in pcm])
    outputs = run_reference(built.tflite, features[..., None])
    return Reference("noise", pcm, features[..., None], outputs)


@pytest.fixture()
def work(built: BuiltFirmware, vectors: Reference, tmp_path: Path) -> Path:
    """A work folder for the MPS2 board, which replaces Renode's boards."""
    folder = tmp_path / BOARD
    folder.mkdir()
    without_sleep(built.image.elf, folder / "firmware.elf")
    renode.write_session(folder, vectors, QUANTIZATION, JOB_BYTES)
    return tmp_path


def run_over_qemu(suite: str, work: Path, **options: str) -> tuple[int, str]:
    address = f"{find_machine(BOARD).job_address:#x}"
    variables = {"BOARD": BOARD, "JOB_ADDRESS": address, "WORK": str(work), **options}
    return run_suite(renode.RENODE_DIR / f"{suite}.robot", dry=False, **variables)


def test_the_suites_pass_over_another_emulator(work: Path):
    """The microphone's as well; its feed is QEMU's there."""
    failed, said = run_over_qemu("nrf52840dk", work)
    assert failed == 0, said
    rows = [row.split(",") for row in (work / BOARD / "instructions.csv").read_text().splitlines()]
    assert [name for name, _ in rows] == [
        *["features"] * 2,
        "boot_to_sound_0",
        "boot_to_sound_1",
        "infer_2",
    ]
    assert all(int(count) > 0 for _, count in rows)


def test_a_report_that_costs_too_much_fails(work: Path, monkeypatch: pytest.MonkeyPatch):
    """Renode executes about 3 000 instructions for the report of a clip."""
    monkeypatch.setattr("renode_keywords.LINE_INSTRUCTIONS", 10_001)
    failed, said = run_over_qemu("nrf52840dk", work, names="*Same Bytes*")
    assert failed == 1 and re.search(r"'0 < (\d+) <= (\d+) <= \1 \+ 10000' should be true", said)


@pytest.mark.slow
def test_a_file_of_sound_goes_through_the_console(work: Path):
    failed, said = run_over_qemu("nucleo_h753zi", work, names="*Over Its Console")
    assert failed == 0, said


def change_digit(path: Path, line: int, pattern: str) -> None:
    """Changes the hexadecimal digit behind a pattern by more than a step."""
    lines = path.read_text().splitlines()
    lines[line], count = re.subn(
        rf"({pattern})(\w)", lambda m: m[1] + f"{int(m[2], 16) ^ 4:x}", lines[line], count=1
    )
    assert count == 1
    path.write_text("".join(f"{row}\n" for row in lines))


@pytest.mark.parametrize(
    ("file", "line", "pattern", "case"),
    [
        ("features.txt", 1, "out=", "*Same Bytes*"),
        pytest.param(
            *("sound.txt", 0, r" \w*?(?=\w$)", "*Sound In Its Memory"), marks=pytest.mark.slow
        ),
        pytest.param(*("results.txt", 0, r"0\.", "*MLPerf*"), marks=pytest.mark.slow),
        pytest.param(*("microphone.txt", 3, "crc=0x", "*Records*"), marks=pytest.mark.slow),
    ],
)
def test_other_bytes_than_the_desktops_fail(
    work: Path, file: str, line: int, pattern: str, case: str
):
    change_digit(work / BOARD / file, line, pattern)
    failed, _ = run_over_qemu("nrf52840dk", work, names=case, WAIT_S="3")
    assert failed == 1


def test_sound_that_does_not_fit_is_left_out(vectors: Reference, tmp_path: Path):
    renode.write_session(tmp_path, vectors, QUANTIZATION, 4000)
    assert not {path.name for path in tmp_path.iterdir()} & {"sound.bin", "sound.db"}
    assert len((tmp_path / "features.txt").read_text().splitlines()) == 3  # two clips and the end


def test_labels_that_a_step_may_change_are_not_asked_for(tmp_path: Path, vectors: Reference):
    outputs = np.full((3, CLASSES), -128, np.int8)
    outputs[0, 4], outputs[0, 1] = 100, 69
    outputs[1, 4], outputs[1, 1] = 100, 68
    changed = dataclasses.replace(vectors, scores=outputs)
    renode.write_session(tmp_path, changed, QUANTIZATION, JOB_BYTES)
    rows = (tmp_path / "sound.txt").read_text().splitlines()
    assert [row.split()[0] for row in rows] == ["close", "4"]


# --- names and numbers ---------------------------------------------------------------------------


def test_the_documents_say_which_release_and_how_to_start():
    page = (FIRMWARE_DIR.parent / "docs" / "design" / "emulation.md").read_text()
    results = (FIRMWARE_DIR.parent / "docs/evidence/results/board.md").read_text()
    for text in (page, renode_keywords.__doc__):
        assert f"{renode.RENODE_VERSION} or later" in text.replace("\n", " ")
        assert "1.15" not in text
    counts = r"^\| `(\w+)` \| 3,\d{3},\d{3} to 3,\d{3},\d{3} \| 27,\d{3} \|$"
    assert sorted(re.findall(counts, results, re.MULTILINE)) == SUITES
    assert "renode --disable-xwt --console firmware/renode/" in page
    assert "until you type `start`" in page
    for board in SUITES:
        assert "type start" in (renode.RENODE_DIR / f"{board}.resc").read_text()


@pytest.mark.parametrize("board", SUITES)
def test_clock_and_job_memory_are_the_boards(board: str):
    facts = load_board(board)
    description, script, suite = (
        (renode.RENODE_DIR / f"{board}{ending}").read_text()
        for ending in (".repl", ".resc", ".robot")
    )
    assert f"\ncpu PerformanceInMips {facts.clock_hz // 1_000_000}\n" in script
    assert f" frequency: {facts.clock_hz}\n" in description
    code = (FIRMWARE_DIR / "boards" / board / "board.c").read_text()
    systick = f"\n    systickFrequency: {facts.clock_hz}\n"
    assert (systick in description) == ("m3net_systick_start" in code)
    (address,) = re.findall(r"^\$\{JOB_ADDRESS\} +(\S+)$", suite, re.MULTILINE)
    assert int(address, 0) == facts.job.start
    for start, size in re.findall(r"^ccm: .* (0x\S+)\n +size: (0x\S+)$", description, re.MULTILINE):
        assert (int(start, 0), int(size, 0)) == (facts.job.start, facts.job.bytes)


def test_no_suite_needs_the_network():
    """Renode's own files fetch descriptions of registers; ours replace these entries."""
    for path in renode.RENODE_DIR.iterdir():
        assert not re.search(r"https?://|ApplySVD", path.read_text()), path


# --- the same ELF --------------------------------------------------------------------------------

SOURCES = sorted(
    path
    for folder in ("app", "arch", "boards", "core", "drivers")
    for path in (FIRMWARE_DIR / folder).rglob("*")
    if path.suffix in {".c", ".cc", ".h", ".ld", ".cmake"}
)


def test_no_code_is_for_emulators_only():
    """Neither by a condition of the preprocessor or CMake nor by semihosting."""
    condition = re.compile(r"^\s*(#\s*(el)?if|(else)?if\s*\().*(qemu|renode|emulat|simulat)", re.I)
    for path in SOURCES:
        for line in path.read_text().splitlines():
            assert not condition.match(line), f"{path}: {line}"
            assert not re.search(r"\bbkpt\b|semihost", line, re.I), f"{path}: {line}"


@pytest.mark.parametrize("board", [name for name in list_boards() if name in SUITES])
def test_clocks_are_waited_for_within_bounds(board: str):
    code = (FIRMWARE_DIR / "boards" / board / "board.c").read_text()
    (body,) = re.findall(
        r"^static const char\* start_clocks?\(void\) \{\n(.*?)^\}", code, re.M | re.S
    )
    body = re.sub("//.*", "", body)
    assert "m3net_wait_for(" in body
    assert not re.search(r"\b(while|for|do|goto)\b", body)
    assert 'm3net_platform_panic("clock", failed' in code


# --- running it ----------------------------------------------------------------------------------


def test_without_renode_it_says_why_and_succeeds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RENODE_ROOT", raising=False)
    monkeypatch.delenv("M3NET_REQUIRE_RENODE", raising=False)
    assert renode.main([str(tmp_path / "export")]) == 0
    assert "skipped: renode-test not found; install Renode 1.16.1" in capsys.readouterr().out
    monkeypatch.setenv("M3NET_REQUIRE_RENODE", "1")
    with pytest.raises(SystemExit) as caught:
        renode.main([str(tmp_path / "export")])
    assert caught.value.code == 2
    assert "M3NET_REQUIRE_RENODE=1, but: renode-test not found" in capsys.readouterr().err


def test_a_wrong_folder_of_renode_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.setenv("RENODE_ROOT", str(tmp_path / "renod"))
    monkeypatch.delenv("M3NET_REQUIRE_RENODE", raising=False)
    with pytest.raises(SystemExit) as caught:
        renode.main([str(tmp_path / "export")])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: RENODE_ROOT={tmp_path / 'renod'} ")


def test_with_renode_it_prepares_and_returns_what_the_suites_return(
    vectors: Reference,
    make_manifest: Callable[[], Manifest],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
):
    program = tmp_path / "root" / "renode-test"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/given"\nexit 3\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("RENODE_ROOT", str(program.parent))
    elf = tmp_path / "made.elf"
    elf.write_bytes(b"ELF")
    with pytest.raises(SystemExit) as caught:
        renode.main([str(tmp_path), "--prepare"])
    assert caught.value.code == 2
    assert "is not an export (no manifest.json): run m3net export" in capsys.readouterr().err
    monkeypatch.setattr(renode.Bundle, "load", lambda folder: Bundle(folder, make_manifest()))
    monkeypatch.setattr(renode, "read_vectors", lambda _: vectors)
    monkeypatch.setattr(renode, "export_firmware", lambda *_: FirmwareImage(elf, "any", {}, 0, 0))
    assert renode.main([str(tmp_path / "export"), "--board", "nrf52840dk"]) == 3
    arguments = (tmp_path / "given").read_text().split()
    work = tmp_path / "renode"
    assert arguments[0] == str(renode.RENODE_DIR / "nrf52840dk.robot")
    assert arguments[1:] == ["-r", str(work / "results"), "--variable", f"WORK:{work}"]
    assert (work / "nrf52840dk" / "firmware.elf").read_bytes() == b"ELF"
    assert (work / "nrf52840dk" / "features.bin").is_file()
