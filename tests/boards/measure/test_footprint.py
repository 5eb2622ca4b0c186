# SPDX-License-Identifier: Apache-2.0
"""Memory and time of an export on boards: from the emulated core and the board's own link."""

import dataclasses
import io
import json
import shutil

import pytest
from bench import ANSWER, Bench
from refusals import refuses
from rich.console import Console

from m3net_tf.boards.builds.boards import list_boards, load_board
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.boards.device.session import firmware_of
from m3net_tf.boards.emulation import starting
from m3net_tf.boards.emulation.cycles import FLASHES
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.boards.measure import footprint, real_time
from m3net_tf.export import Bundle
from m3net_tf.export.c_files import compile_model
from m3net_tf.system.errors import ConfigError, FirmwareError, ModelError

EMULATED, OTHER = "mps2_an386", "nrf52840dk"  # both Cortex-M4F
SECTIONS = {".text": 180_000, ".data": 1_000, ".stack": 8_192, ".bss": 80_000, ".dma": 4_096}
RAM_BYTES = sum(SECTIONS.values()) - SECTIONS[".text"]
MODEL = ANSWER.model_instructions
FRAME = ANSWER.frontend_instructions_per_frame
CYCLES = {
    "instructions": MODEL,
    "cycles": {"0 wait states": 2_500_000, "nRF52840": 3_200_000, "STM32F4": 123_456_789},
    "flash_reads": 400_000,
}


@pytest.fixture(scope="module")
def run(exported_run, tmp_path_factory):
    """A run whose export is for TensorFlow Lite Micro."""
    folder = shutil.copytree(exported_run, tmp_path_factory.mktemp("footprint") / "tiny")
    Bundle.load(folder / "export").set_engine("tflm")
    return folder


@pytest.fixture
def boards(run, monkeypatch, tmp_path):
    """Stand-ins for compiler and emulator, with figures that tests change."""
    figures = {"model": MODEL, "frame": FRAME, "overflow": "", "starts": True}
    figures |= {"cycles_missing": "", "cycles_outputs": bytes(2)}

    def require_cycles_packages():
        if figures["cycles_missing"]:
            raise ConfigError(figures["cycles_missing"])

    def build(made):
        board = made.board
        folder = made.folder
        if figures["overflow"] and board == OTHER:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "build.log").write_text(figures["overflow"])
            raise FirmwareError(f"building the firmware for {board} failed: {figures['overflow']}")
        return FirmwareImage(tmp_path / f"{board}.elf", board, SECTIONS, 181_000, RAM_BYTES)

    def run_clips(made, clips):
        if not figures["starts"] and made.arena_bytes is None:
            raise FirmwareError("the arena is too small")
        size = figures["exported"] if made.arena_bytes is None else made.arena_bytes
        return dataclasses.replace(
            ANSWER,
            frontend_instructions_per_frame=figures["frame"],
            model_instructions=figures["model"],
            arena_size_bytes=size,
        )

    figures["bench"] = Bench(build, run_clips, monkeypatch)
    monkeypatch.setattr(footprint, "require_cycles_packages", require_cycles_packages)
    monkeypatch.setattr(footprint, "run_cycles", lambda *job: (CYCLES, figures["cycles_outputs"]))
    figures["exported"] = Bundle.load(run / "export").manifest.arena.bytes
    yield figures
    shutil.rmtree(run / "firmware", ignore_errors=True)


def built(boards):
    """Board, folder and arena of each build."""
    return [made[:3] for made in boards["bench"].built]


def text_of(result):
    return " ".join(shown(result).split())


def shown(result, width=80):
    console = Console(width=width, file=io.StringIO())
    console.print(footprint.footprint_table(result))
    return console.file.getvalue()


def rows(result):
    return result.to_dict()["boards"]


def test_the_facts_of_a_board_are_those_of_its_files():
    nrf = load_board(OTHER)
    h7 = load_board("nucleo_h753zi")
    assert (nrf.clock_hz, nrf.flash_bytes, nrf.stack_bytes) == (64_000_000, 0xF_2000, 8 << 10)
    assert (nrf.ram_bytes, "dma" in nrf.memory) == (192 << 10, False)
    assert (h7.ram_bytes, h7.memory["dma"].bytes) == (352 << 10, 32 << 10)
    for board in map(load_board, list_boards()):
        assert board.stack_bytes < board.ram_bytes and board.flash_bytes >= 512 << 10
    assert {load_board(board).flash_timing for board in list_boards()} == set(FLASHES)


def test_the_queue_of_live_detection_is_the_firmwares():
    header = (FIRMWARE_DIR / "core" / "live.h").read_text()
    assert f"#define M3NET_LIVE_QUEUE_HOPS {real_time.LIVE_QUEUE_HOPS}u\n" in header


def test_a_board_is_reported_with_the_costs_of_its_core(run, boards):
    result = footprint.measure_footprint(run, [OTHER])
    saved = json.loads((run / "footprint.json").read_text())
    assert saved == result.to_dict()
    assert saved["sound"] == {"frames_per_s": 50.0, "runs_per_s": 10.0}
    (row,) = rows(result)
    assert row["measured_on"] == EMULATED
    needed = row["cost"]
    assert (needed["arena_bytes"], needed["flash_bytes"]) == (boards["exported"], 181_000)
    assert needed["ram_bytes"] == RAM_BYTES  # as m3net firmware reports
    assert row["instructions_per_second"] == 10 * MODEL + 50 * FRAME
    assert row["cpu_share"] == pytest.approx(22e6 / 64e6)
    assert row["real_time"] and row["fits"]
    assert row["least_run_columns"] == 4  # 2 M * 50 / (32 M - 50 * 40 k) = 3.3
    assert row["preset"] == "s"
    text = text_of(result)
    assert "34.4 % of 64 MHz" in text
    assert "nrf52840dk: instructions, arena and stack were measured on mps2_an386" in text


def test_cycles_are_modelled_with_the_flash_of_each_board(run, boards):
    names = [EMULATED, OTHER, "mps2_an500"]
    first, second, seventh = rows(footprint.measure_footprint(run, names))
    assert first["modelled"]["cycles"] == 2_500_000
    assert second["modelled"] == {
        "flash": "nRF52840",
        "cycles": 3_200_000,
        "flash_reads": 400_000,
        "window_ms": 50.0,
    }
    assert seventh["modelled"] is None and seventh["not_modelled"] == ""  # another core


def test_without_modelled_cycles_the_rest_is_shown_with_the_reason(run, boards):
    boards["cycles_missing"] = "install unicorn"
    result = footprint.measure_footprint(run, [EMULATED, OTHER])
    assert [row["modelled"] for row in rows(result)] == [None, None]
    text = text_of(result)
    assert f"{EMULATED}, {OTHER}: no modelled cycles: install unicorn" in text
    assert "of the clock" in text and "flash timing" not in text
    boards["model"] = 100_000_001
    (row,) = rows(footprint.measure_footprint(run, [OTHER]))
    assert "100,000,000 instructions" in row["not_modelled"]


def test_a_board_with_an_unknown_flash_and_an_emulator_that_errs(run, boards, monkeypatch):
    nrf = load_board(OTHER)
    board = dataclasses.replace(nrf, flash_timing="fast")
    with monkeypatch.context() as patch:
        patch.setattr(footprint, "load_board", lambda name: board)
        with refuses(ConfigError, "'flash_timing'", nrf.file, "'fast'", "nRF52840"):
            footprint.measure_footprint(run, [OTHER])
    boards["cycles_outputs"] = b"ab"
    with refuses(FirmwareError, "different outputs"):
        footprint.measure_footprint(run, [OTHER])


def test_ram_is_all_that_the_linked_firmware_takes(run, boards):
    """With the DMA's buffers, which are in a separate memory on this board."""
    (row,) = rows(footprint.measure_footprint(run, ["nucleo_h753zi"]))
    assert (row["cost"]["ram_bytes"], row["ram_bytes"]) == (RAM_BYTES, 352 << 10)
    free_bytes = (320 << 10) - (RAM_BYTES - SECTIONS[".dma"])
    assert row["room"]["arena_bytes"] == free_bytes + boards["exported"]


def test_it_is_the_build_of_the_other_commands(run, boards):
    """One folder and one arena, so that no command builds again what another has built."""
    footprint.measure_footprint(run, [EMULATED, OTHER])
    assert built(boards) == [
        (board, run / "firmware" / f"{board}-tflm", None) for board in (EMULATED, OTHER)
    ]
    assert firmware_of(run, print)(EMULATED).name == f"{EMULATED}.elf"
    assert built(boards)[2] == built(boards)[0]


def test_a_core_that_wants_more_arena_gets_the_least_that_it_starts_with(run, boards):
    boards["starts"] = False
    result = footprint.measure_footprint(run, [EMULATED, OTHER])
    tried = [size for _, _, size in built(boards)]
    least = 20_000  # the used bytes, up to the next multiple of 16
    assert tried == [None, boards["exported"] + starting.ARENA_SLACK_BYTES, least, least]
    assert [row["cost"]["arena_bytes"] for row in rows(result)] == [least, least]
    boards["bench"].built.clear()
    firmware_of(run, print)(EMULATED)  # it was recorded
    assert built(boards) == [(EMULATED, run / "firmware" / f"{EMULATED}-tflm", least)]
    if least > boards["exported"]:
        assert "is too small for this core; m3net export RUN --board mps2_an386" in text_of(result)


def test_progress_is_printed_with_the_board_and_its_number(run, boards):
    lines = []
    footprint.measure_footprint(run, [EMULATED, OTHER], lines.append)
    assert lines == [
        "[1/2] mps2_an386: building its firmware",
        "[1/2] mps2_an386: compiling the library for cortex-m4f",
        "[1/2] mps2_an386: measuring on the emulated mps2_an386",
        "[1/2] mps2_an386: modelling cycles",
        "[2/2] nrf52840dk: building its firmware",
        "[2/2] nrf52840dk: compiling the library for cortex-m4f",
    ]


def test_a_reason_for_all_boards_is_computed_and_printed_once(run, boards, monkeypatch):
    asked = []
    reason = "sources are unreachable"
    monkeypatch.setattr(
        footprint, "why_no_emulation", lambda board, _: asked.append(board) or reason
    )
    result = footprint.measure_footprint(run)
    # For each emulator, and with and without the package of the front end.
    assert asked == ["mps2_an385", "mps2_an386", "qemu_riscv32"]
    assert [row["missing"] for row in rows(result)] == [reason] * len(list_boards())
    exported = Bundle.load(run / "export").manifest.arena.bytes
    for row in rows(result):
        assert row["cost"] is row["preset"] is row["real_time"] is None
        assert row["arena_estimate_bytes"] == exported
    text = text_of(result)
    assert text.count(reason) == 1 and f"no board is measured: {reason}" in text
    assert f"~{exported:,}" in text
    assert "of the clock" not in text


def test_sources_of_a_chip_that_are_missing_stop_no_other_board(run, boards):
    boards["bench"].unreachable = "nrfx"
    first, second = rows(footprint.measure_footprint(run, [OTHER, EMULATED]))
    assert first["missing"] == "nrfx is unreachable" and second["fits"]


def test_the_compiled_engine_has_its_own_builds_and_the_planned_arena(run, boards, monkeypatch):
    bundle = Bundle.load(run / "export")
    planned = compile_model(bundle.c_model)["m3net_network"].plan.arena_bytes
    result = footprint.measure_footprint(run, [EMULATED, OTHER], engine="compiled")
    assert built(boards) == [
        (board, run / "firmware" / board, planned) for board in (EMULATED, OTHER)
    ]
    assert result.engine == "compiled"
    assert dataclasses.asdict(result.arena) == {
        "bytes": planned,
        "source": "m3net compile",
    }
    assert Bundle.load(run / "export").manifest == bundle.manifest
    # With the DSP extension weights take as much flash as in the .tflite.
    interpreted = footprint.measure_footprint(run, [OTHER])
    ours = rows(result)[1]["room"]
    theirs = rows(interpreted)[0]["room"]
    assert ours["network_bytes"] == theirs["network_bytes"]
    # Without tools the arena is still exact.
    monkeypatch.setenv("PATH", "")
    text = text_of(footprint.measure_footprint(run, [OTHER], engine="compiled"))
    assert f"{planned:,}" in text and "~" not in text and "estimated" not in text


def test_the_report_keeps_to_80_columns(run, boards):
    """All boards with long figures: nothing is cut, in a terminal and in a pipe."""
    boards["model"] = 60_000_000
    result = footprint.measure_footprint(run)
    needs = [row.needs for row in result.boards if row.needs]  # all whose cores have this engine
    for needed in needs:
        needed.cost.update(arena_bytes=226_544, ram_bytes=226_544, flash_bytes=1_565_016)
    lines = shown(result).splitlines()
    assert max(map(len, lines)) <= 80
    line = next(line for line in lines if line.startswith("stm32f4_discovery"))
    assert line.split() == [
        *("stm32f4_discovery", "226,544", "226,544", "173", "%", "1,565,016", "199", "%"),
        *("1,300", "7,900", "<", "s"),
    ]
    assert "…" not in shown(result)


def test_a_preset_that_fits_is_not_denied(run, boards):
    """The limits cover four networks: a smaller board may still hold this one."""
    boards["overflow"] = ""
    room = (63_984, 800_000)
    assert footprint.largest_preset(*room) is footprint.largest_preset(*room, "mcu") is None
    assert footprint.largest_preset(*room, "s") == "s"
    result = footprint.measure_footprint(run, [OTHER])
    (row,) = result.boards
    row = dataclasses.replace(row, needs=dataclasses.replace(row.needs, preset=None))
    result = dataclasses.replace(result, boards=[row])
    text = text_of(result)
    assert "none" not in text and "< s" in text
    assert "limits of arena and network (s 65,536 + 200,000" in text


LONGEST = 64_000_000 * 3 // 20  # half of 15 hops of 20 ms


@pytest.mark.parametrize(
    ("figures", "real_time", "run_columns"),
    [
        ({"model": 3_000_000}, True, 5),  # half of the clock
        ({"model": 3_000_001}, False, 6),
        ({"model": LONGEST}, False, 16),
        ({"model": LONGEST + 1}, False, None),  # longer than the queue
        ({"frame": 640_000}, False, None),  # the front end takes all
    ],
)
def test_real_time(run, boards, figures, real_time, run_columns):
    boards |= figures
    result = footprint.measure_footprint(run, [OTHER])
    (row,) = rows(result)
    assert (row["real_time"], row["least_run_columns"]) == (real_time, run_columns)
    assert (f"no; with run_columns {run_columns}" in text_of(result)) == (run_columns in (6, 16))


def test_a_board_without_room_reports_how_much_is_missing(run, boards):
    boards["overflow"] = "ld: region `RAM' overflowed by 1234 bytes"
    result = footprint.measure_footprint(run, [OTHER])
    (row,) = rows(result)
    assert not row["fits"] and row["cost"]["sections"] == {}
    assert row["cost"]["ram_bytes"] == (192 << 10) + 1234 and row["preset"] is None
    assert row["cost"]["flash_bytes"] == 181_000
    assert "does not fit" in text_of(result)


def test_other_failures_of_a_build_end_it(run, boards):
    boards["overflow"] = "main.c:3: error: no such thing"
    with pytest.raises(FirmwareError, match="no such thing"):
        footprint.measure_footprint(run, [OTHER])


@pytest.mark.parametrize(
    ("arena_bytes", "network_bytes", "expected"),
    [
        (65_536, 200_000, "s"),
        (65_535, 9_999_999, None),
        (9_999_999, 499_999, "s"),
        (196_608, 500_000, "m"),
        (524_288, 1_500_000, "l"),
    ],
)
def test_the_largest_preset(arena_bytes, network_bytes, expected):
    assert footprint.largest_preset(arena_bytes, network_bytes) == expected


def test_no_export_names_the_command(tmp_path):
    with refuses(ModelError, "m3net export", tmp_path):
        footprint.measure_footprint(tmp_path)


def test_the_command_prints_json(run, boards, m3net):
    printed = m3net("footprint", run, "--board", OTHER, "--json")
    assert printed.status == 0
    assert json.loads(printed.out)["boards"][0]["board"] == OTHER


def test_the_figures_of_a_real_emulation(run):
    if reason := why_no_emulation(EMULATED, "tflm"):
        pytest.skip(reason)
    before = Bundle.load(run / "export").manifest.arena
    (row,) = rows(footprint.measure_footprint(run, [EMULATED]))
    assert Bundle.load(run / "export").manifest.arena == before
    measured = row["cost"]
    assert measured["arena_used_bytes"] <= measured["arena_bytes"]
    assert row["instructions_per_second"] == (
        10 * measured["instructions"] + 50 * measured["frontend_instructions"]
    )
    assert measured["flash_bytes"] == measured["sections"][".text"] + measured["sections"][".data"]
