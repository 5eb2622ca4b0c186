# SPDX-License-Identifier: Apache-2.0
"""What an export takes of boards: figures from the emulated core and from the board's own link."""

import io
import json
import shutil
import sys

import numpy as np
import pytest
from rich.console import Console

from m3net_tf import cli
from m3net_tf.emulation import EmulationResult
from m3net_tf.errors import FirmwareError, ModelError
from m3net_tf.export import Bundle, export_run
from m3net_tf.firmware.build import FirmwareImage, list_boards
from m3net_tf.quantization.runtime import tflm_unavailable_reason
from m3net_tf.reports import fit
from m3net_tf.reports.chain import why_no_emulation
from m3net_tf.training import Run

EMULATED, OTHER = "mps2_an386", "nrf52840dk"  # both Cortex-M4F
SECTIONS = {".text": 180_000, ".data": 1_000, ".stack": 8_192, ".bss": 80_000, ".dma": 4_096}
MODEL, FRAME = 2_000_000, 40_000


@pytest.fixture(scope="module")
def run(tiny_run, session_cache, tmp_path_factory):
    """A folder with an export of its own."""
    folder = tmp_path_factory.mktemp("fit") / "tiny"
    shutil.copytree(tiny_run, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("M3NET_CACHE", str(session_cache))
        export_run(Run(folder), None)
    return folder


def answer(model=MODEL, frame=FRAME):
    return EmulationResult(
        labels=np.zeros(1, np.int64),
        outputs=np.zeros((1, 2), np.int8),
        features=None,
        frontend_instructions=np.zeros(1, np.int64),
        clip_model_instructions=np.array([model]),
        frontend_instructions_per_frame=frame,
        model_instructions=model,
        arena_used_bytes=19_990,
        arena_size_bytes=20_000,
        stack_used_bytes=1_300,
        frontend_bytes=7_900,
        boot={},
    )


@pytest.fixture
def boards(monkeypatch, tmp_path):
    """Stand-ins for compiler and emulator, with figures to change."""
    figures = {"model": MODEL, "frame": FRAME, "overflow": ""}

    def image(board):
        return FirmwareImage(tmp_path / f"{board}.elf", board, SECTIONS, 181_000, 93_288)

    def build(bundle, board, folder, arena_bytes=None, *, report=None):
        assert arena_bytes == 20_000
        if figures["overflow"]:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "build.log").write_text(figures["overflow"])
            raise FirmwareError(f"building the firmware for {board} failed: {figures['overflow']}")
        return image(board)

    monkeypatch.setattr(fit, "why_no_emulation", lambda board: "")
    monkeypatch.setattr(fit, "least_arena", lambda bundle, board, *_: (20_000, image(board)))
    monkeypatch.setattr(fit, "build_firmware", build)
    monkeypatch.setattr(
        fit, "run_job", lambda *_: answer(model=figures["model"], frame=figures["frame"])
    )
    return figures


def text_of(result):
    console = Console(width=240, file=io.StringIO())
    console.print(fit.fit_table(result))
    return " ".join(console.file.getvalue().split())


def test_the_facts_of_a_board_are_those_of_its_files():
    assert fit.read_board(OTHER) == fit.BoardFacts(
        OTHER, "cortex-m4f", 64_000_000, 1 << 20, 192 << 10, 8 << 10
    )
    assert fit.read_board("nucleo_h753zi").clock_hz == 400_000_000
    for board in list_boards():
        facts = fit.read_board(board)
        assert facts.stack_bytes < facts.ram_bytes and facts.flash_bytes >= 512 << 10
    assert [fit.kernels_of(f"cortex-{core}") for core in ("m3", "m4f", "m7", "m33", "m55")] == [
        "plain",
        "dsp",
        "dsp",
        "dsp",
        "helium",
    ]


def test_a_board_is_told_with_the_costs_of_its_core(run, boards):
    result = fit.run_fit(run, [OTHER])
    assert json.loads((run / "fit.json").read_text()) == result
    assert result["sound"] == {"frames_per_s": 50.0, "runs_per_s": 10.0}
    (row,) = result["boards"]
    assert row["measured_on"] == EMULATED
    assert (row["arena_bytes"], row["flash_used_bytes"]) == (20_000, 181_000)
    assert row["ram_used_bytes"] == 89_192  # .dma is another memory
    assert row["instructions"]["per_second"] == 10 * MODEL + 50 * FRAME
    assert row["cpu_share"] == pytest.approx(22e6 / 64e6)
    assert row["real_time"] and row["fits"]
    assert row["least_run_columns"] == 4  # 2 M * 50 / (32 M - 50 * 40 k) = 3.3
    assert row["preset"] == "s"
    text = text_of(result)
    assert "34.4 %" in text and "emulated mps2_an386, which has the same core" in text


def test_real_time_is_half_of_the_clock(run, boards):
    boards["model"] = 3_000_000
    assert fit.run_fit(run, [OTHER])["boards"][0]["real_time"]
    boards["model"] += 1
    result = fit.run_fit(run, [OTHER])
    assert not result["boards"][0]["real_time"]
    assert "no; with run_columns 6" in text_of(result)


def test_a_run_longer_than_the_queue_is_never_real_time(run, boards):
    boards["model"] = 64_000_000 * 3 // 20  # half of 15 hops of 20 ms
    assert fit.run_fit(run, [OTHER])["boards"][0]["least_run_columns"] == 16
    boards["model"] += 1
    assert fit.run_fit(run, [OTHER])["boards"][0]["least_run_columns"] is None


def test_a_front_end_that_takes_all_leaves_nothing(run, boards):
    boards["frame"] = 640_000
    row = fit.run_fit(run, [OTHER])["boards"][0]
    assert not row["real_time"] and row["least_run_columns"] is None


def test_a_board_without_room_is_told_by_how_much(run, boards):
    boards["overflow"] = "ld: region `RAM' overflowed by 1234 bytes"
    result = fit.run_fit(run, [OTHER])
    (row,) = result["boards"]
    assert not row["fits"] and row["sections"] is None
    assert row["ram_used_bytes"] == (192 << 10) + 1234
    assert row["flash_used_bytes"] == 181_000
    assert "does not fit" in text_of(result)


def test_other_failures_of_a_build_end_it(run, boards):
    boards["overflow"] = "main.c:3: error: no such thing"
    with pytest.raises(FirmwareError, match="no such thing"):
        fit.run_fit(run, [OTHER])


@pytest.mark.skipif(bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "there")
def test_without_tools_the_arena_is_estimated(run, monkeypatch):
    monkeypatch.setattr(fit, "why_no_emulation", lambda board: "install the tools")
    result = fit.run_fit(run, [OTHER, "mps3_an547"])
    first, second = result["boards"]
    assert first["missing"] == "install the tools"
    assert first["arena_bytes"] is first["preset"] is first["real_time"] is None
    assert 0 < first["arena_estimate_bytes"] < second["arena_estimate_bytes"]
    text = text_of(result)
    assert f"about {first['arena_estimate_bytes']:,}" in text
    assert "nrf52840dk: install the tools" in text


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
    assert fit.largest_preset(arena_bytes, network_bytes) == expected


def test_no_export_names_the_command(tmp_path):
    with pytest.raises(ModelError, match=rf"has no export: m3net export {tmp_path}"):
        fit.run_fit(tmp_path)


def test_an_unknown_board_lists_those_that_exist(run):
    with pytest.raises(FirmwareError, match="boards that exist: .*nrf52840dk"):
        fit.run_fit(run, ["esp32"])


def test_the_command_prints_json(run, boards, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["m3net", "fit", str(run), "--board", OTHER, "--json"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    assert json.loads(capsys.readouterr().out)["boards"][0]["board"] == OTHER


def test_the_estimate_is_right_within_2_percent(run):
    if reason := why_no_emulation(EMULATED):
        pytest.skip(reason)
    before = Bundle.load(run / "export").manifest["arena"]
    (row,) = fit.run_fit(run, [EMULATED])["boards"]
    assert Bundle.load(run / "export").manifest["arena"] == before
    assert row["arena_bytes"] == pytest.approx(row["arena_estimate_bytes"], rel=0.02)
    assert row["arena_used_bytes"] <= row["arena_bytes"]
    assert row["instructions"]["per_second"] == (
        10 * row["instructions"]["model"] + 50 * row["instructions"]["frontend_per_frame"]
    )
    assert row["flash_used_bytes"] == row["sections"][".text"] + row["sections"][".data"]
