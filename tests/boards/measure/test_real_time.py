# SPDX-License-Identifier: Apache-2.0
"""From instructions to milliseconds, decisions a second, share of the clock and a verdict."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards.measure.cost import BoardCost
from m3net_tf.boards.measure.real_time import Pace, measured_pace, pace_lines, pace_of, pace_on
from m3net_tf.export import Bundle
from m3net_tf.system.artifacts import write_json

BOARD, SAME_CORE, OTHER_CORE = "mps2_an386", "nrf52840dk", "mps2_an385"
COST = BoardCost(
    board=BOARD,
    instructions=3_000_000,
    frontend_instructions=20_000,
    arena_bytes=10_000,
    arena_used_bytes=9_000,
    stack_bytes=1_000,
    frontend_bytes=3_000,
    flash_bytes=100_000,
    ram_bytes=30_000,
    model_bytes=40_000,
    sections={},
)


def pace(run: int, frame: int = 20_000, clock_hz: int = 25_000_000) -> Pace:
    return pace_of(FrontendConfig(), 5, clock_hz, run, frame)


def test_a_second_of_sound_has_ten_runs_and_fifty_frames():
    slow = pace(6_275_360, 27_516)  # M3Net mcu with a window of two seconds
    assert slow.run_ms == pytest.approx(251.0, abs=0.1) and slow.runs_per_second == 10
    assert slow.cpu_share == pytest.approx(2.565, abs=0.001) and not slow.real_time
    assert slow.least_run_columns is None  # a run takes longer than the queue holds
    assert slow.most_instructions == int(12.5e6 / 10 - 5 * 27_516)


def test_what_would_be_real_time_is():
    slow = pace(3_000_000)
    assert not slow.real_time and slow.least_run_columns == 14
    assert pace_of(FrontendConfig(), 14, 25_000_000, 3_000_000, 20_000).real_time
    assert not pace_of(FrontendConfig(), 13, 25_000_000, 3_000_000, 20_000).real_time
    assert pace(slow.most_instructions).real_time and not pace(slow.most_instructions + 1).real_time
    assert pace(1, 250_001).most_instructions == 0  # the front end alone takes half of the clock


def test_the_sound_of_a_run_that_begins_a_stream_must_fit_the_queue():
    def streamed(run: int, longest: int) -> Pace:
        return pace_of(FrontendConfig(), 5, 25_000_000, run, 20_000, longest)

    limit = int(0.5 * 15 * 0.02 * 25_000_000)  # half of the queue's hops
    assert streamed(400_000, limit) == dataclasses.replace(pace(400_000), most_instructions=400_000)
    slow = streamed(400_000, 2 * limit)
    assert not slow.real_time and slow.least_run_columns is None
    assert slow.most_instructions == 200_000


@pytest.mark.parametrize("shown", [pace(1000), pace(3_000_000), pace(9_000_000), pace(1, 1 << 20)])
def test_the_lines_have_all_figures_their_origin_and_80_columns(shown: Pace):
    lines = pace_lines("stm32f4_discovery", shown)
    text = " ".join(lines)
    assert max(map(len, lines)) <= 80
    assert "ms an inference" in text and "decisions a second" in text and "% of 168 MHz" in text
    assert "emulator" in text and ("not real time; would be" in text) != shown.real_time
    assert "not measured" in pace_lines(BOARD, None)[0]


@pytest.fixture(scope="module")
def run(exported_run: Path, tmp_path_factory) -> Path:
    return Path(shutil.copytree(exported_run, tmp_path_factory.mktemp("runs") / "run"))


def test_the_pace_of_a_run_is_that_of_its_newest_export(run: Path, tmp_path: Path):
    bundle = Bundle.load(run / "export")
    subject = {"model_sha256": bundle.manifest.model.sha256, "engine": bundle.manifest.engine}
    assert measured_pace(run, BOARD) is None and measured_pace(tmp_path, BOARD) is None
    write_json(run / "summary.json", {**subject, **COST})
    expected = pace_on(bundle, 25_000_000, COST)
    assert measured_pace(run, BOARD) == expected
    faster = measured_pace(run, SAME_CORE)
    assert faster == pace_on(bundle, 64_000_000, COST)
    assert measured_pace(run, OTHER_CORE) is None
    rows = [{"cost": None}, {"cost": {**COST, "board": OTHER_CORE}}]
    write_json(run / "footprint.json", {**subject, "boards": rows})
    assert measured_pace(run, OTHER_CORE) == expected
    assert Pace(**dataclasses.asdict(expected)) == expected
    write_json(run / "summary.json", {**subject, "model_sha256": "another", **COST})
    assert measured_pace(run, BOARD) is None
