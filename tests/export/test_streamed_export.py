# SPDX-License-Identifier: Apache-2.0
"""An export whose live detection streams: its files, its settings, its certificate."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.datasets import dataset_info
from m3net_tf.boards.builds.boards import load_board
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.boards.measure.certificate import certify_export
from m3net_tf.boards.measure.cost import COST_KEYS
from m3net_tf.boards.measure.real_time import pace_on
from m3net_tf.compiler.folder import report_lines
from m3net_tf.export import Bundle
from m3net_tf.export.from_file import export_file
from m3net_tf.export.reference import read_vectors
from m3net_tf.export.untrained import export_untrained
from m3net_tf.runtime import Classifier
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.training import load_recipe
from m3net_tf.training.clips.checks import input_shape
from m3net_tf.training.network import build_network

BOARD = "mps2_an386"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """M3Net without padding in time; do not write into it."""
    path = require_sources("experiments") / "mcu" / "m3net_plain_stream_speech_commands.yaml"
    recipe = load_recipe(path)
    info = dataset_info("speech_commands")
    shape = input_shape(info, recipe.frontend)
    model = build_network(recipe, shape, info.multi_label, len(info.labels))
    return export_untrained(model, recipe, info, tmp_path_factory.mktemp("streamed") / "export")


@pytest.fixture
def copy(exported: Bundle, tmp_path: Path) -> Bundle:
    """The same, which may be changed."""
    return Bundle.load(shutil.copytree(exported.folder, tmp_path / "export"))


def contents(bundle: Bundle) -> dict[str, bytes]:
    paths = (path for path in bundle.folder.rglob("*") if path.is_file())
    return {str(path.relative_to(bundle.folder)): path.read_bytes() for path in paths}


def test_a_stream_scores_enrolled_words_as_whole_windows_do(exported: Bundle, tmp_path: Path):
    enrolling = export_file(exported.folder / "model.tflite", tmp_path, enrolment_slots=2)
    vectors = read_vectors(enrolling)
    classifier = Classifier(enrolling.folder)
    words = classifier.prototypes()
    words.add("own", classifier.run(vectors.features[:1])[0])
    sound = np.concatenate([vectors.pcm[0], vectors.pcm[1], vectors.pcm[0]])
    events = classifier.recognizer(words).push(sound)
    assert events and classifier.stream(words).push(sound) == events
    with refuses(ConfigError, "prototypes()"):
        classifier.stream()


def test_it_has_both_networks_and_says_so(exported: Bundle):
    manifest = exported.manifest
    assert manifest.push_columns == exported.detector.run_columns == 4
    header = (exported.folder / "compiled" / "m3net_network.h").read_text()
    sizes = dict(re.findall(r"#define (\w+ARENA_BYTES) (\d+)", header))
    assert manifest.arena.bytes == max(map(int, sizes.values()))
    assert "#define M3NET_NETWORK_STREAM_HOP 4" in header
    (facts,) = exported.compiled.values()
    assert facts["stream"]["arena_bytes"] == int(sizes["M3NET_NETWORK_STREAM_ARENA_BYTES"])
    line = report_lines(Path("folder"), "network", facts)[-1]
    assert "4 of 49 lines" in line
    assert f"state {facts['stream']['push']['state_bytes']} bytes" in line
    assert "state" in (exported.folder / "arena_stream.svg").read_text()
    assert "M3NET_MODEL_PUSH_COLUMNS 4" in exported.code()["model.h"]
    # Other engines, which read this file, have no stream.
    assert "PUSH_COLUMNS" not in (exported.folder / "model.h").read_text()


def test_other_columns_between_runs_take_the_stream_away_and_bring_it_back(copy: Bundle):
    before = contents(copy)
    streamed_bytes = copy.manifest.arena.bytes
    odd = dataclasses.replace(copy.detector, run_columns=5)
    copy.set_detector(odd)
    assert copy.manifest.push_columns is None and "stream" not in copy.compiled["m3net_network"]
    assert contents(copy).keys() == before.keys() - {"arena_stream.svg"}
    assert copy.manifest.arena.bytes < streamed_bytes
    assert "stream" not in (copy.folder / "compiled" / "m3net_network.c").read_text()
    copy.set_detector(dataclasses.replace(odd, run_columns=4))
    assert contents(Bundle.load(copy.folder)) == before


def test_another_engine_has_no_stream(copy: Bundle):
    before = contents(copy)
    copy.set_engine("tflm")
    assert copy.manifest.push_columns is None and not (copy.folder / "arena_stream.svg").exists()
    copy.set_engine("compiled")
    assert contents(Bundle.load(copy.folder)) == before


def test_another_goal_writes_the_c_anew_and_is_undone(copy: Bundle):
    before = contents(copy)
    usual = copy.compiled["m3net_network"]["constant_bytes"]
    copy.set_goal("flash")
    assert Bundle.load(copy.folder).c_model.optimise == "flash"
    code = copy.code()["m3net_network.c"]  # also of the stream, which shares its weights
    assert "m3net_convolve_plain(" in code and "m3net_convolve(" not in code
    assert copy.compiled["m3net_network"]["constant_bytes"] <= usual
    copy.set_goal("cycles", weights_in_ram=500)
    assert "M3NET_IN_RAM static const" in copy.code()["m3net_network.c"]
    copy.set_goal("cycles")
    assert contents(Bundle.load(copy.folder)) == before
    copy.set_engine("tflm")
    with refuses(ModelError, "tflm", "--optimise"):
        copy.set_goal("flash")


def test_an_updatable_export_shares_its_weights_with_its_stream(copy: Bundle):
    before = contents(copy)
    usual = copy.compiled["m3net_network"]["constant_bytes"]
    copy.set_goal("cycles", updatable=True)
    assert "m3net_network_use(" in Bundle.load(copy.folder).code()["m3net_network.h"]
    assert usual <= copy.compiled["m3net_network"]["constant_bytes"] < 1.5 * usual
    with refuses(ModelError, "--weights-in-ram"):
        copy.set_goal("cycles", weights_in_ram=500, updatable=True)
    copy.set_goal("cycles")
    assert contents(Bundle.load(copy.folder)) == before
    copy.set_engine("tflm")
    with refuses(ModelError, "tflm", "--updatable"):
        copy.set_goal("cycles", updatable=True)


def test_it_streams_or_not_as_asked(copy: Bundle):
    before = contents(copy)
    copy.set_engine("compiled", stream=False)
    assert copy.manifest.push_columns is None and copy.detector.run_columns == 4
    copy.set_engine("compiled")
    assert contents(Bundle.load(copy.folder)) == before
    with refuses(ModelError, "tflm", "--stream"):
        copy.set_engine("tflm", stream=True)
    copy.set_detector(dataclasses.replace(copy.detector, run_columns=5))
    with refuses(ModelError, "run_columns is 5", "multiple of 2", "detector.yaml"):
        copy.set_engine("compiled", stream=True)


def test_a_lost_picture_is_missed(copy: Bundle):
    (copy.folder / "arena_stream.svg").unlink()
    with pytest.raises(ModelError, match="arena_stream.svg"):
        Bundle.load(copy.folder)


def test_its_certificate_compares_live_detection_on_the_board(copy: Bundle, tmp_path: Path):
    if reason := why_no_emulation(BOARD):
        pytest.skip(reason)
    certificate = certify_export(copy, BOARD, tmp_path / "firmware")
    cost = certificate["board"]["cost"]
    live = cost["live"]
    assert certificate["holds"] and live["equal"]
    assert live["push_columns"] == 4 and live["runs"] >= 2000
    assert certificate["stream"]["hops"] == 2000
    assert live["instructions"] < cost["instructions"] / 8
    assert live["start_instructions"] < 2 * cost["instructions"]
    text = (copy.folder / "certificate.md").read_text()
    assert f"| instructions of a run, 4 new columns | {live['instructions']:,} |" in text
    assert "| equal scores and events | yes |" in text
    clock_hz = load_board(BOARD).clock_hz
    pushed = pace_on(copy, clock_hz, cost)
    windows = pace_on(copy, clock_hz, {name: cost[name] for name in COST_KEYS})
    assert pushed.runs_per_second == windows.runs_per_second == 12.5
    network = 12.5 * (cost["instructions"] - live["instructions"])
    saved = windows.instructions_per_second - pushed.instructions_per_second
    assert abs(saved - network) <= 1
