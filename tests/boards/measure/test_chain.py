# SPDX-License-Identifier: Apache-2.0
"""The whole chain: the same bytes on the desktop, in TFLite Micro and on the emulated board."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from firmware_helpers import skip_or_fail
from rich.console import Console

from m3net_tf.audio.datasets import Clip
from m3net_tf.audio.datasets.selection import spread_clips
from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.builds.build import build_firmware
from m3net_tf.boards.emulation import starting
from m3net_tf.boards.emulation.qemu import run_job
from m3net_tf.boards.measure import chain
from m3net_tf.boards.measure.cost import COST_KEYS, measure
from m3net_tf.evaluation import clips as evaluated_clips
from m3net_tf.export import Bundle, export_run, reference
from m3net_tf.export.reference import pcm_and_features, reference_of
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.system.errors import FirmwareError
from m3net_tf.training import Run, train

BOARD = "mps2_an386"
PARITY_CLIPS = 100


@pytest.fixture(scope="module")
def emulation():
    """Skip where the board cannot be emulated; fail there if M3NET_REQUIRE_TFLM=1."""
    if reason := starting.why_no_emulation(BOARD):
        skip_or_fail(reason)


@pytest.fixture(scope="module")
def run(tiny_recipe, tmp_path_factory):
    """A run of the real `mcu` network, barely trained, with 100 held-out clips."""
    recipe = tiny_recipe(
        dataset={"options": {"clips_per_class": 60}},
        model={"arguments": {}},
        augmentation={"copies": 0},
        training={"epochs": 3},
    )
    finished = Run(tmp_path_factory.mktemp("chain") / "run")
    train(recipe, finished.folder)
    export_run(finished, None)
    return finished


@pytest.fixture(scope="module")
def summary(run, emulation):
    return chain.run_chain(run, BOARD)


@pytest.fixture
def tiny(exported_run, tmp_path):
    """A copy of the run that many tests share, of a smaller network."""
    return Run(shutil.copytree(exported_run, tmp_path / "run"))


def test_the_summary_of_a_few_clips(tiny, emulation):
    clips = 10
    summary = chain.run_chain(tiny, BOARD, count=clips)
    assert summary["clips"] == clips and summary["bytes_equal"] is True
    assert summary["accuracy"]["int8_desktop"] == summary["accuracy"]["emulated"]
    assert summary["end_to_end"]["same_label_as_desktop"] == 1.0
    assert summary["end_to_end"]["features_largest_lsb"] <= 2
    assert min(summary["instructions"], summary["frontend_instructions"]) > 10_000
    has_the_promised_keys(tiny, summary)


@pytest.mark.slow
def test_bytes_are_equal_on_desktop_host_and_board(summary):
    assert summary["clips"] >= PARITY_CLIPS
    assert summary["bytes_equal"] is True
    accuracy = summary["accuracy"]
    assert accuracy["int8_desktop"] == accuracy["emulated"]
    if not tflm_unavailable_reason():
        assert accuracy["tflm_host"] == accuracy["emulated"]


@pytest.mark.slow
def test_a_hop_costs_less_than_a_window_and_gives_its_bytes(run, summary):
    stream = summary["stream"]
    assert stream["bytes_equal"] is True and stream["hops"] > PARITY_CLIPS
    assert stream["hop_instructions"] < 0.85 * summary["instructions"]
    certificate = json.loads((run.folder / "export" / "certificate.json").read_text())
    assert certificate["stream"] == stream
    console = Console(record=True, width=200)
    console.print(chain.chain_table(summary))
    assert "same as the window's" in console.export_text()


@pytest.mark.slow
def test_board_hears_what_python_computes(summary):
    end_to_end = summary["end_to_end"]
    assert end_to_end["features_within_1_lsb"] >= 0.999
    assert end_to_end["features_largest_lsb"] <= 2
    assert end_to_end["same_label_as_desktop"] >= 0.99


@pytest.mark.slow
def test_cost_is_within_its_limits_and_repeatable(run, summary):
    bundle = Bundle.load(run.folder / "export")
    image = starting.prove_arena(
        bundle, BOARD, starting.firmware_folder(run.folder, BOARD, "compiled"), print
    )
    dataset = run.dataset(None)
    clips = reference_of(bundle, dataset, spread_clips(dataset, 32))
    board = measure(bundle, image, clips).cost
    assert board["frontend_instructions"] <= 45_000
    assert board["instructions"] <= 4_600_000
    assert board["arena_bytes"] <= 20 * 1024
    assert measure(bundle, image, clips).cost == board
    assert summary["model_bytes"] == bundle.network.size_bytes
    for key in {*COST_KEYS} - {"instructions", "frontend_instructions"}:  # these vary with clips
        assert summary[key] == board[key]


def has_the_promised_keys(run, summary):
    saved = json.loads((run.folder / "summary.json").read_text())
    assert saved == json.loads(json.dumps(summary))
    assert set(saved["accuracy"]) == {"float", "int8_desktop", "tflm_host", "emulated"}
    assert set(COST_KEYS) <= set(saved)
    for key in ("clips", "bytes_equal", "parameters", "arena_bytes", "flash_bytes", "git_commit"):
        assert key in saved
    assert chain.saved_summary(run, BOARD) == saved


@pytest.mark.slow
def test_summary_file_has_the_promised_keys(run, summary):
    has_the_promised_keys(run, summary)


@pytest.fixture(scope="module")
def tflm_summary(run, summary):
    """The chain with another engine than the export's, which does not change the export."""
    if reason := starting.why_no_emulation(BOARD, "tflm"):
        pytest.skip(reason)
    export = run.folder / "export"
    saved = (run.folder / "summary.json").read_bytes()
    before = {path: path.read_bytes() for path in export.rglob("*") if path.is_file()}
    interpreted = chain.run_chain(run, BOARD, count=20, engine="tflm")
    assert (run.folder / "summary.json").read_bytes() == saved
    assert {path: path.read_bytes() for path in export.rglob("*") if path.is_file()} == before
    return interpreted


@pytest.mark.slow
def test_the_compiled_engine_gives_the_same_bytes_at_less_cost(run, summary, tflm_summary):
    assert summary["engine"] == "compiled" and tflm_summary["engine"] == "tflm"
    assert tflm_summary["bytes_equal"] is True and tflm_summary["drift"] == []
    assert summary["arena_bytes"] < tflm_summary["arena_bytes"] / 2
    assert summary["instructions"] < 0.6 * tflm_summary["instructions"]
    assert summary["flash_bytes"] < tflm_summary["flash_bytes"]
    saved = json.loads((run.folder / "summary_tflm.json").read_text())
    assert chain.saved_summary(run, BOARD, "tflm") == saved == json.loads(json.dumps(tflm_summary))
    assert chain.drift_file(run.folder, tflm_summary) == "summary_tflm.json"
    assert chain.drift_file(run.folder, summary) == "export/certificate.md"
    terminal = Console(record=True, width=100)
    terminal.print(chain.chain_table({**summary, "dsp_missing": "no package index"}))
    text = " ".join(terminal.export_text().split())
    assert "engine compiled" in text and "in whole numbers, without CMSIS-DSP" in text
    assert "Front end in whole numbers: no package index" in text


@pytest.mark.slow
def test_arena_of_tflm_is_proven_and_one_step_less_is_refused(run, tflm_summary, tmp_path):
    copy = Run(shutil.copytree(run.folder, tmp_path / "run"))
    bundle = export_run(copy, None, engine="tflm")
    assert chain.saved_summary(copy, BOARD) is None  # until now the summary of the export's engine
    firmware = run.folder / "firmware" / f"{BOARD}-tflm"
    starting.prove_arena(bundle, BOARD, firmware, lambda _: None)
    assert bundle.manifest.arena.source == f"TFLite Micro on {BOARD}"
    proven = bundle.manifest.arena.bytes
    assert f"#define M3NET_MODEL_ARENA_BYTES {proven}\n" in (bundle.folder / "model.h").read_text()
    image = build_firmware(bundle.folder, BOARD, firmware, proven - 256)
    clip = np.zeros((1, 40 * 49), np.int8)
    with pytest.raises(FirmwareError, match="arena") as error:
        run_job(image.elf, find_machine(BOARD), clip)
    assert "\n" not in str(error.value)


def test_without_an_emulator_the_rest_still_works(tiny, no_emulator):
    assert no_emulator in starting.why_no_emulation(BOARD)
    summary = chain.run_chain(tiny, BOARD, count=20)
    assert no_emulator in summary["emulation_missing"]
    assert summary["accuracy"]["emulated"] is None and summary["instructions"] is None
    assert summary["accuracy"]["int8_desktop"] is not None
    assert chain.saved_summary(tiny, BOARD) is None
    terminal = Console(record=True, width=100)
    terminal.print(chain.chain_table(summary))
    assert no_emulator in terminal.export_text()


@pytest.mark.slow
def test_an_accuracy_of_one_name_is_of_one_input(run, no_emulator, monkeypatch):
    """Float is of the training's features, int8 on the desktop of 16-bit samples, here all 0."""

    def silent(*arguments):
        return tuple(np.zeros_like(values) for values in pcm_and_features(*arguments))

    monkeypatch.setattr(reference, "pcm_and_features", silent)
    accuracy = chain.run_chain(run, BOARD)["accuracy"]
    evaluated = evaluated_clips.evaluate_clips(run)
    trained = run.metrics().test["accuracy"]
    assert accuracy["float"] == evaluated["float"]["accuracy"] == trained
    assert accuracy["int8_desktop"] == evaluated["int8_desktop"]["accuracy"] < trained


def test_the_table_compares_only_what_ran():
    figures = ("flash_bytes", "arena_bytes", "frontend_instructions", "instructions", "parameters")
    shares = ("accuracy", "same_label_as_desktop", "features_within_1_lsb")
    summary = {
        **{"run": "own", "board": BOARD, "dataset": "synth", "protocol": "generated-split"},
        **{"clips": 4, "bytes_equal": True, **dict.fromkeys(figures, 1)},
        "accuracy": {"float": 1.0, "int8_desktop": 1.0, "tflm_host": None, "emulated": 1.0},
        "end_to_end": dict.fromkeys(shares, 1.0),
    }
    for host, said in (
        (None, "same output bytes in both"),
        (1.0, "same output bytes in all three"),
    ):
        summary["accuracy"]["tflm_host"] = host
        terminal = Console(record=True, width=100)
        terminal.print(chain.chain_table(summary))
        assert said in terminal.export_text()


def test_windows_of_a_clip_are_recognised_together():
    listed = (
        Clip("s@0", "sneeze", "test", "s", whole="s"),
        Clip("s@1", "sneeze", "test", "s", whole="s"),
        Clip("b", "bark", "test", "b"),
    )
    scores = np.array([[-128, -120, 120], [100, -120, -108], [-120, -100, 90]], np.int8)
    labels = ("_silence_", "bark", "sneeze")
    dataset = SimpleNamespace(
        info=SimpleNamespace(labels=labels, multi_label=False),
        label_ids=lambda clips: np.array([labels.index(clip.label) for clip in clips]),
    )
    clips = chain._Subject(None, None, dataset, listed, BOARD, "compiled")
    assert clips.wholes == 2 and clips.figure(scores) == 0.5
    # Without windows the board's own labels count, which decide between equal scores.
    alone = dataclasses.replace(clips, clips=listed[::2])
    assert alone.figure(scores[::2], np.array([2, 1])) == 1.0


def test_the_compiled_engine_needs_neither_git_nor_cpp(monkeypatch):
    absent = {"git", "arm-none-eabi-g++"}
    monkeypatch.setattr("shutil.which", lambda tool: None if tool in absent else f"/bin/{tool}")
    assert starting.why_no_emulation(BOARD) == ""
    assert "git" in starting.why_no_emulation(BOARD, "tflm")
