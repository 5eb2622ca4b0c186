# SPDX-License-Identifier: Apache-2.0
"""firmware/renode without Renode: a dry run, a run over QEMU, and every name against its sources.

The names were read in Renode 1.16.1 (commit d66b0c2aa3d4) and its infrastructure (commit
add012af003a): the platform files, the constructors of the models, and the monitor commands of
Renode's own scripts and tests.
"""

from __future__ import annotations

import io
import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

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
from m3net_tf.runtime.interpreter import run_reference

SUITES = renode.list_boards()
#: The smallest job memory of Renode's boards.
JOB_BYTES = 65_536

#: Renode's platform file of a board -> peripherals of it that are named here, with their classes.
PLATFORMS = {
    "platforms/boards/stm32f4_discovery.repl": {
        "cpu": "CPU.CortexM",
        "nvic": "IRQControllers.NVIC",
        "usart2": "UART.STM32_UART",
    },
    "platforms/boards/nrf52840dk_nrf52840.repl": {
        "cpu": "CPU.CortexM",
        "nvic": "IRQControllers.NVIC",
        "pdm": "Sound.NRF52840_PDM",
        "uart0": "UART.NRF52840_UART",
    },
    "platforms/boards/nucleo_h753zi.repl": {
        "cpu": "CPU.CortexM",
        "nvic": "IRQControllers.NVIC",
        "usart3": "UART.STM32F7_USART",
    },
}
#: Renode's board files one of whose includes fetches registers' descriptions (``ApplySVD @https``)
#: in an entry of ``sysbus``, and the tags of the entry.
FETCHING = {
    "platforms/boards/stm32f4_discovery.repl": {
        '<0x40021000, 0x40021003> "GPIOE_MODER" 0xFFFFFFFF',
        '<0x40021004, 0x40021007> "GPIOE_OTYPER" 0x00000008',
        '<0x50000010, 0x5000003F> "USB:RESET" 0x80000000',
    },
    "platforms/boards/nrf52840dk_nrf52840.repl": {
        '<0x10000000, 0x10000FFF> "FICR"',
        '<0x100000A0, 0x100000A3> "DEVICEADDRTYPE" 0x1',
        '<0x100000A4, 0x100000A7> "DEVICEADDR[0]" 0xAABBCCDD',
        '<0x10001200, 0x10001203> "PSELRESET"',
    },
}
#: Class -> arguments of its constructor that are given here.
ARGUMENTS = {
    "IRQControllers.NVIC": {"systickFrequency"},
    "Memory.MappedMemory": {"size"},
    "Miscellaneous.DWT": {"frequency"},
}
#: Monitor commands, and the members of a class that they call.
COMMANDS = (
    r"using sysbus",
    r"\$elf\?=@\S+/firmware\.elf",
    r'mach create "(?P<board>\w+)"',
    r"machine LoadPlatformDescription \$ORIGIN/(?P<description>\w+)\.repl",
    r"(?P<cpu>cpu) PerformanceInMips (?P<mips>\d+)",
    r"showAnalyzer sysbus\.(?P<console>\w+)",
    r'sysbus Tag <0x[0-9A-F]+ \d+> "\w+" 0x[0-9A-F]+',
    r"sysbus LoadELF \$elf",
    r"macro reset",
    r"runMacro \$reset",
    r'"""',
)
#: ``Execute Command`` of suites and resource; a variable matches its value.
EXECUTED = {
    "$elf=@${WORK}/${BOARD}/firmware.elf",
    "include @${CURDIR}/${BOARD}.resc",
    "sysbus LoadBinary @${WORK}/${BOARD}/${job} ${JOB_ADDRESS}",
    "sysbus.cpu ExecutedInstructions",
    "${feed} @${WORK}/${BOARD}/microphone.pcm",
}
FEEDS = {"sysbus.pdm SetInputFile": "Sound.NRF52840_PDM"}


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


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("Write To Uart ", "Write On Uart ", "No keyword with name 'Write On Uart' found"),
        ("defaultPauseEmulation=", "pauseEmulation=", "unexpected named argument 'pauseEmulation'"),
        ("Lines Of    results.txt", "Lines Of", "expected 1 argument, got 0"),
    ],
)
def test_a_dry_run_catches_a_wrong_name(tmp_path: Path, right: str, wrong: str, complaint: str):
    for name in ("m3net.resource", f"{SUITES[0]}.robot"):
        text = (renode.RENODE_DIR / name).read_text()
        (tmp_path / name).write_text(text.replace(right, wrong))
    failed, said = run_suite(tmp_path / f"{SUITES[0]}.robot", dry=True)
    assert failed > 0 and re.search(complaint, said)


@pytest.fixture(scope="module")
def vectors(built: BuiltFirmware) -> renode.Vectors:
    rng = np.random.default_rng(12)
    loudness = np.array([300, 3000, 12_000])[:, None]
    pcm = np.clip(rng.normal(0, 1, (3, 16_000)) * loudness, -32768, 32767).astype(np.int16)
    features = np.stack([features_int8(FrontendConfig(), clip / 32768) for clip in pcm])
    outputs = run_reference(built.tflite, features[..., None])
    return renode.Vectors(features, outputs, pcm, (1 / 256, -128), 16_000)


@pytest.fixture()
def work(built: BuiltFirmware, vectors: renode.Vectors, tmp_path: Path) -> Path:
    """A work folder for the MPS2 board, which replaces Renode's boards."""
    folder = tmp_path / BOARD
    folder.mkdir()
    without_sleep(built.image.elf, folder / "firmware.elf")
    renode.write_session(folder, vectors, JOB_BYTES)
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
        ("sound.txt", 0, r" \w*?(?=\w$)", "*Sound In Its Memory"),
        ("results.txt", 0, r"0\.", "*MLPerf*"),
        ("microphone.txt", 3, "crc=0x", "*Records*"),
    ],
)
def test_other_bytes_than_the_desktops_fail(
    work: Path, file: str, line: int, pattern: str, case: str
):
    change_digit(work / BOARD / file, line, pattern)
    failed, _ = run_over_qemu("nrf52840dk", work, names=case, WAIT_S="3")
    assert failed == 1


def test_sound_that_does_not_fit_is_left_out(vectors: renode.Vectors, tmp_path: Path):
    renode.write_session(tmp_path, vectors, 4000)
    assert not {path.name for path in tmp_path.iterdir()} & {"sound.bin", "sound.db"}
    assert len((tmp_path / "features.txt").read_text().splitlines()) == 3  # two clips and the end


def test_labels_that_a_step_may_change_are_not_asked_for(tmp_path: Path, vectors: renode.Vectors):
    outputs = np.full((3, CLASSES), -128, np.int8)
    outputs[0, 4], outputs[0, 1] = 100, 69
    outputs[1, 4], outputs[1, 1] = 100, 68
    changed = renode.Vectors(vectors.features, outputs, vectors.pcm, (1 / 256, -128), 16_000)
    renode.write_session(tmp_path, changed, JOB_BYTES)
    rows = (tmp_path / "sound.txt").read_text().splitlines()
    assert [row.split()[0] for row in rows] == ["close", "4"]


# --- names and numbers ---------------------------------------------------------------------------


def uncommented(board: str) -> str:
    return re.sub(r"//.*", "", (renode.RENODE_DIR / f"{board}.repl").read_text())


def description(board: str) -> tuple[str, dict[str, tuple[str, dict[str, int]]]]:
    """A board's .repl: Renode's platform file, and its entries with class (if new) and values.

    Commands to the bus (:func:`bus_tags`) are none of these entries.
    """
    text = uncommented(board)
    (platform,) = re.findall(r'^using "(.+)"$', text, flags=re.MULTILINE)
    entries: dict[str, tuple[str, dict[str, int]]] = {}
    for name, kind, body in re.findall(
        r"^(\w+):(?: (\S+) @ sysbus 0x[0-9A-F]+)?\n((?: {4}\w+: \S+\n)+)", text, flags=re.MULTILINE
    ):
        values = {key: int(value, 0) for key, value in re.findall(r"(\w+): (\S+)", body)}
        entries[name] = (kind, values)
    names = re.findall(r"^(\w+):", text, flags=re.MULTILINE)
    assert sorted(names) == sorted([*entries, *["sysbus"] * bool(bus_tags(board))])
    return platform, entries


def bus_tags(board: str) -> list[str]:
    """Tags of the one ``init:`` of ``sysbus`` in a board's .repl, all of whose lines are tags.

    Such an ``init:`` replaces each ``init:`` in the included files (``init add:`` would not).
    """
    inits = re.findall(r"^sysbus:\n {4}init:\n((?: {8}.+\n)+)", uncommented(board), re.MULTILINE)
    tag = r'Tag (<0x[0-9A-F]{8}, 0x[0-9A-F]{8}> "[\w:\[\]]+"(?: 0x[0-9A-F]+)?)'
    matches = [re.fullmatch(tag, line.strip()) for body in inits for line in body.splitlines()]
    assert len(inits) <= 1 and all(matches)
    return [match[1] for match in matches if match]


@pytest.mark.parametrize("board", SUITES)
def test_descriptions_name_what_renode_has(board: str):
    platform, entries = description(board)
    for name, (kind, values) in entries.items():
        assert (kind == "") == (name in PLATFORMS[platform])  # changed, or added
        assert set(values) <= ARGUMENTS[kind or PLATFORMS[platform][name]]


@pytest.mark.parametrize("board", SUITES)
def test_no_suite_needs_the_network(board: str):
    """Downloads of Renode's files are replaced, and ours download nothing."""
    platform, _ = description(board)
    tags = bus_tags(board)
    assert bool(tags) == (platform in FETCHING)
    assert set(tags) <= FETCHING.get(platform, set())
    for path in (*renode.RENODE_DIR.glob(f"{board}.*"), renode.RENODE_DIR / "m3net.resource"):
        assert not re.search(r"https?://|ApplySVD", path.read_text()), path


def test_the_documents_say_which_release_and_how_to_start():
    page = (FIRMWARE_DIR.parent / "docs" / "emulation.md").read_text()
    results = (FIRMWARE_DIR.parent / "experiments" / "results" / "README.md").read_text()
    for text in (page, renode_keywords.__doc__):
        assert f"{renode.RENODE_VERSION} or later" in text.replace("\n", " ")
        assert "1.15" not in text
    counts = r"^\| `(\w+)` \| 3,\d{3},\d{3} to 3,\d{3},\d{3} \| 27,\d{3} \|$"
    assert sorted(re.findall(counts, results, re.MULTILINE)) == SUITES
    assert "renode --disable-xwt --console firmware/renode/" in page
    assert "until you type `start`" in page
    for board in SUITES:
        assert "type start" in (renode.RENODE_DIR / f"{board}.resc").read_text()


def script(board: str) -> dict[str, str]:
    """The content of a board's .resc; all of its lines have known forms."""
    said: dict[str, str] = {}
    for line in (renode.RENODE_DIR / f"{board}.resc").read_text().splitlines():
        if not line.strip() or line.startswith(("#", ":name: ", ":description: ")):
            continue
        matches = [match for form in COMMANDS if (match := re.fullmatch(form, line.strip()))]
        assert len(matches) == 1, line
        said |= matches[0].groupdict()
    return said


def suite_variables(board: str) -> dict[str, str]:
    text = (renode.RENODE_DIR / f"{board}.robot").read_text()
    return dict(re.findall(r"^\$\{(\w+)\} +(\S+)$", text, flags=re.MULTILINE))


@pytest.mark.parametrize("board", SUITES)
def test_scripts_name_what_renode_has(board: str):
    said, variables = script(board), suite_variables(board)
    platform, _ = description(board)
    assert said["board"] == said["description"] == variables["BOARD"] == board
    assert variables["UART"] == f"sysbus.{said['console']}"
    assert PLATFORMS[platform][said["console"]].startswith("UART.")
    folder = FIRMWARE_DIR / "boards" / board
    if said["console"] == "uart0":
        assert "NRF_UARTE0->" in (folder / "board.c").read_text()
    else:
        macro = f"#define BOARD_UART {said['console'].upper()}\n"
        assert macro in (folder / "board.h").read_text()


def test_suites_give_renode_known_commands():
    files = [*renode.RENODE_DIR.glob("*.robot"), *renode.RENODE_DIR.glob("*.resource")]
    text = "".join(path.read_text() for path in files)
    assert set(re.findall(r"Execute Command {4}(.+)", text)) == EXECUTED
    for board in SUITES:
        suite = (renode.RENODE_DIR / f"{board}.robot").read_text()
        for feed in re.findall(r"^ +Microphone .+? {4}(.+)$", suite, flags=re.MULTILINE):
            platform, _ = description(board)
            name = feed.split()[0].removeprefix("sysbus.")
            assert PLATFORMS[platform][name] == FEEDS[feed]


@pytest.mark.parametrize("board", SUITES)
def test_one_instruction_is_one_cycle_of_the_board(board: str):
    clock_hz = load_board(board).clock_hz
    _, entries = description(board)
    assert int(script(board)["mips"]) * 1_000_000 == clock_hz
    assert entries["dwt"][1] == {"frequency": clock_hz}
    code = (FIRMWARE_DIR / "boards" / board / "board.c").read_text()
    expected = {"systickFrequency": clock_hz} if "m3net_systick_start" in code else None
    assert entries.get("nvic", ("", None))[1] == expected


@pytest.mark.parametrize("board", SUITES)
def test_job_memory_is_where_the_board_says(board: str):
    job_memory = load_board(board).job
    assert int(suite_variables(board)["JOB_ADDRESS"], 0) == job_memory.start
    _, entries = description(board)
    if "ccm" in entries:
        text = (renode.RENODE_DIR / f"{board}.repl").read_text()
        assert f"ccm: Memory.MappedMemory @ sysbus {job_memory.start:#x}\n" in text
        assert entries["ccm"][1] == {"size": job_memory.bytes}


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
    tiny_export: Callable[[Path], Path],
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
    bundle = SimpleNamespace(manifest=SimpleNamespace(engine="compiled"))
    monkeypatch.setattr(renode.Bundle, "load", lambda folder: bundle)
    monkeypatch.setattr(renode, "export_firmware", lambda *_: FirmwareImage(elf, "any", {}, 0, 0))
    export = tiny_export(tmp_path)
    assert renode.main([str(export), "--board", "nrf52840dk"]) == 3
    arguments = (tmp_path / "given").read_text().split()
    work = tmp_path / "renode"
    assert arguments[0] == str(renode.RENODE_DIR / "nrf52840dk.robot")
    assert arguments[1:] == ["-r", str(work / "results"), "--variable", f"WORK:{work}"]
    assert (work / "nrf52840dk" / "firmware.elf").read_bytes() == b"ELF"
    assert (work / "nrf52840dk" / "features.bin").is_file()
    with pytest.raises(SystemExit) as caught:
        renode.main([str(tmp_path), "--prepare"])
    assert caught.value.code == 2
    assert "is not an export (no manifest.json): run m3net export" in capsys.readouterr().err


@pytest.fixture()
def tiny_export(vectors: renode.Vectors, make_manifest) -> Callable[[Path], Path]:
    """Writes the files of an export that are read here."""

    def write(folder: Path) -> Path:
        export = folder / "export"
        (export / "vectors").mkdir(parents=True)
        arrays = {
            "features_int8.bin": vectors.features[..., None],
            "outputs_int8.bin": vectors.outputs,
            "pcm_int16.bin": vectors.pcm,
        }
        described = {}
        for name, array in arrays.items():
            array.tofile(export / "vectors" / name)
            described[name] = {"dtype": array.dtype.str, "shape": list(array.shape)}
        (export / "vectors" / "vectors.json").write_text(json.dumps(described))
        (export / "manifest.json").write_text(json.dumps(make_manifest().to_dict()))
        return export

    return write
