# SPDX-License-Identifier: Apache-2.0
"""An export of a ``.tflite`` with metadata, without run and data: bytes and facts of the file."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.frontend.level import NO_GAIN, Gain
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.export import Bundle
from m3net_tf.export.from_file import export_file
from m3net_tf.export.ready import has_int8_network, packed_network, require_clips
from m3net_tf.export.reference import read_vectors
from m3net_tf.networks.pretrained import FOLDER, RUN_FILES
from m3net_tf.runtime.classifier import Classifier
from m3net_tf.runtime.detector_config import save_detector
from m3net_tf.runtime.metadata import network_of, read_metadata
from m3net_tf.system.errors import ConfigError, DataError, ModelError
from m3net_tf.training import Run

BOARD = "mps2_an386"
SHIPPED = FOLDER / "m3net-s-keywords" / "model.tflite"
WITH_DIFFRES = FOLDER / "diffres-s-keywords" / "model.tflite"


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Bundle:
    """An export of a trained network; do not write into it."""
    return export_file(SHIPPED, tmp_path_factory.mktemp("file") / "keywords")


def test_it_has_the_bytes_and_the_facts_of_the_file(exported):
    _, metadata = read_metadata(SHIPPED)
    assert (exported.folder / "model.tflite").read_bytes() == SHIPPED.read_bytes()
    assert exported.folder.name == "export" and exported.compiled
    assert exported.labels == metadata.labels
    assert exported.frontend == metadata.frontend
    assert exported.detector == metadata.detector
    assert exported.manifest.dataset.name == "speech_commands"
    assert exported.manifest.calibration.clips == ()


def test_a_gain_is_part_of_the_export(exported, tmp_path):
    copy = Bundle.load(shutil.copytree(exported.folder, tmp_path / "run" / "export"))
    copy.set_detector(copy.detector.with_gain(Gain(6.0, automatic=True)))
    header = (copy.folder / "detector_config.h").read_text()
    assert f"#define M3NET_DETECTOR_GAIN {Gain(6.0).fixed}\n" in header
    assert "#define M3NET_DETECTOR_AUTOMATIC_GAIN 1\n" in header
    assert Bundle.load(copy.folder).detector.gain == Gain(6.0, automatic=True)
    assert Classifier(copy.folder).metadata.detector.gain == Gain(6.0, automatic=True)
    enrolling = export_file(copy.folder / "model.tflite", tmp_path / "enrol", enrolment_slots=1)
    assert enrolling.detector.gain == NO_GAIN  # examples of words are learnt without one
    assert export_file(SHIPPED, tmp_path / "run").detector == exported.detector


def test_its_vectors_are_built_in_sounds_with_the_desktops_scores(exported):
    expected = read_vectors(exported)
    assert expected.source == "the export's test vectors, built-in sounds of the package"
    assert expected.pcm.shape == (16, Classifier(SHIPPED).window_samples)
    assert np.ptp(expected.pcm.astype(int), axis=1).min() > 100
    np.testing.assert_array_equal(Classifier(SHIPPED).run(expected.features), expected.scores)
    index = json.loads((exported.folder / "vectors" / "vectors.json").read_text())
    assert "true_labels" not in index and set(index["predicted_labels"]) <= {*exported.labels}


def test_a_second_export_changes_only_engine_and_detector(exported, tmp_path):
    bundle = export_file(SHIPPED, tmp_path)
    vectors = bundle.folder / "vectors" / "pcm_int16.bin"
    written_ns = vectors.stat().st_mtime_ns
    tuned = dataclasses.replace(bundle.detector, run_columns=7)
    save_detector(tuned, tmp_path / "detector.yaml")
    lines: list[str] = []
    again = export_file(SHIPPED, tmp_path, lines.append, "tflm")
    assert lines[0] == f"{bundle.folder} is already exported"
    assert again.detector == tuned != exported.detector
    assert again.manifest.engine == "tflm" and not again.compiled
    assert vectors.stat().st_mtime_ns == written_ns


@pytest.mark.slow
def test_a_stream_that_does_not_pay_is_written_if_it_is_asked_for(exported, tmp_path):
    assert exported.manifest.push_columns is None
    bundle = export_file(SHIPPED, tmp_path, stream=True)
    assert bundle.manifest.push_columns == 4
    assert bundle.detector == dataclasses.replace(exported.detector, run_columns=4)
    assert bundle.tflite == exported.tflite
    again = export_file(SHIPPED, tmp_path)
    assert again.manifest.push_columns is None and again.detector == exported.detector
    assert (again.folder / "compiled" / "m3net_network.c").read_bytes() == (
        exported.folder / "compiled" / "m3net_network.c"
    ).read_bytes()


def test_diffres_brings_its_second_network(tmp_path):
    with refuses(ModelError, "DiffRes", "--stream"):
        export_file(WITH_DIFFRES, tmp_path / "streamed", stream=True)
    bundle = export_file(WITH_DIFFRES, tmp_path)
    assert (bundle.folder / "model.tflite").read_bytes() == WITH_DIFFRES.read_bytes()
    assert bundle.network.importance == read_metadata(WITH_DIFFRES)[1].importance
    assert (bundle.folder / "warp_tables.c").is_file()


def test_files_that_cannot_be_exported(exported, tmp_path):
    plain = tmp_path / "plain.tflite"
    plain.write_bytes(network_of(SHIPPED.read_bytes()))
    with refuses(ModelError, "plain.tflite", "model.tflite"):
        export_file(plain, tmp_path / "out")
    with pytest.raises(ModelError, match="No such file or directory"):
        export_file(tmp_path / "absent.tflite", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    classes = exported.detector.classes[:2]
    save_detector(
        dataclasses.replace(exported.detector, classes=classes), tmp_path / "detector.yaml"
    )
    with refuses(ConfigError, "detector.yaml"):
        export_file(SHIPPED, tmp_path)


# --- runs whose int8 network exists --------------------------------------------------------------


@pytest.fixture
def trained(tmp_path, private_cache) -> Path:
    """A copy of a trained network of the package, without its int8 network and its data set."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in RUN_FILES:
        shutil.copy(SHIPPED.parent / name, folder)
    return folder


@pytest.mark.parametrize("place", ["package", "own folder"])
def test_a_run_by_its_path_has_the_network_that_was_packed_with_it(
    m3net, place, trained, monkeypatch
):
    if place == "own folder":
        card = (SHIPPED.parent / "card.json").read_text()
        (trained / "card.json").write_text(card)
        shutil.copy(SHIPPED, trained)
        monkeypatch.setattr("m3net_tf.networks.pretrained.pretrained_names", tuple)
    monkeypatch.setattr(
        "m3net_tf.boards.measure.certificate.certify_export", lambda *_: {"scope": "host only"}
    )
    status, _, error = m3net("export", trained)
    assert not status, error
    assert (trained / "export" / "model.tflite").read_bytes() == SHIPPED.read_bytes()
    assert has_int8_network(Run(trained), trained / "export") is False  # the package has one


def test_a_run_without_int8_network_says_what_its_clips_are_for(trained):
    with (trained / "model.keras").open("ab") as file:
        file.write(b"trained on")
    run = Run(trained)
    assert packed_network(run) is None and not has_int8_network(run, trained / "export")
    with refuses(
        DataError, "int8", "speech_commands", "--data-dir", "DATA_DIR", "m3net data fetch"
    ):
        require_clips(run)


@pytest.mark.slow
def test_the_firmware_of_a_trained_network_has_the_desktops_answers(tmp_path):
    if reason := why_no_emulation(BOARD):
        pytest.skip(reason)
    script = (
        "import sys\nfrom m3net_tf import cli\nsys.argv = ['m3net', *sys.argv[1:]]\ntry:\n"
        "    cli.main()\nfinally:\n    assert 'tensorflow' not in sys.modules\n"
    )
    words = ["export", "m3net-s-keywords", "--board", BOARD, "--out", "keywords"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "keywords"
    certificate = json.loads((folder / "export" / "certificate.json").read_text())
    assert certificate["holds"] and certificate["scope"] == "emulated board"
    assert certificate["outputs"]["different_on_the_board"] == 0
    assert certificate["labels_equal_share"] == 1.0
    assert (folder / "recipe.yaml").is_file()  # a run, which other commands take
    assert Bundle.load(folder / "export").tflite == network_of(SHIPPED.read_bytes())
