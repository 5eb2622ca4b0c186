# SPDX-License-Identifier: Apache-2.0
"""The parity certificate: correct figures, reported drift, files that stay the same."""

from __future__ import annotations

import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from firmware_helpers import skip_or_fail
from refusals import refuses

from m3net_tf.audio.frontend import fixed_features_int8
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.emulation.qemu import EmulationResult
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.boards.measure import certificate, comparison, cost
from m3net_tf.boards.measure.certificate import (
    certify_export,
    require_parity,
    valid_certificate,
    write_certificate,
)
from m3net_tf.boards.measure.chain import bytes_equal
from m3net_tf.boards.measure.comparison import compare
from m3net_tf.boards.measure.cost import Measurement
from m3net_tf.export import Bundle
from m3net_tf.export.reference import Reference, read_vectors, with_engines
from m3net_tf.system.errors import FirmwareError, ModelError

BOARD, FIXED_BOARD = "mps2_an386", "mps2_an385"
CLIPS, BINS, FRAMES, CLASSES = 5, 40, 49, 3


@pytest.fixture(autouse=True)
def fixed_commit(monkeypatch):
    """Fixed versions and commit, independent of changes in the tree."""
    monkeypatch.setattr(comparison, "provenance", lambda: {"versions": {}, "git_commit": "none"})


@pytest.fixture
def bundle(tmp_path, make_manifest) -> Bundle:
    """The attributes of an export that a certificate reads."""
    return Bundle(tmp_path / "export", make_manifest())


@pytest.fixture
def reference() -> Reference:
    rng = np.random.default_rng(4)
    scores = rng.integers(-128, 128, (CLIPS, CLASSES)).astype(np.int8)
    return Reference(
        source="made for the tests",
        pcm=rng.integers(-999, 999, (CLIPS, 16_000)).astype(np.int16),
        features=rng.integers(-100, 100, (CLIPS, BINS, FRAMES, 1)).astype(np.int8),
        scores=scores,
        by_engine={"tflm": scores.copy(), "compiled": scores.copy()},
    )


@pytest.fixture
def image(tmp_path) -> FirmwareImage:
    (tmp_path / "firmware.bin").write_bytes(b"firmware")
    return FirmwareImage(tmp_path / "firmware.elf", BOARD, {}, 12_345, 1)


@pytest.fixture
def measured(reference, image) -> Measurement:
    def result(features=None) -> EmulationResult:
        none = np.zeros(CLIPS, np.int64)
        labels = reference.scores.argmax(1)
        outputs = reference.scores.copy()
        return EmulationResult(labels, outputs, features, none, none, 0, 0, 0, 0, 0, 0)

    return Measurement(
        image=image,
        emulator="an emulator 1.0",
        from_features=result(),
        from_sound=result(reference.features[..., 0].copy()),
        cost={"flash_bytes": 12_345, "sections": {".text": 6}},
    )


def certified(bundle, reference, measured, missing=""):
    """The certificate of a comparison, which is also written."""
    found = compare(bundle, reference, measured, missing)
    write_certificate(bundle, found)
    return found


def heard(measured, **changes) -> Measurement:
    """The measurement with other results from sound."""
    sound = dataclasses.replace(measured.from_sound, **changes)
    return dataclasses.replace(measured, from_sound=sound)


def test_equal_numbers_hold(bundle, reference, measured, image):
    certificate = certified(bundle, reference, measured)
    require_parity(bundle, certificate)
    assert certificate == json.loads((bundle.folder / "certificate.json").read_text())
    assert certificate["holds"] is True and certificate["drift"] == []
    assert certificate["scope"] == "emulated board" and bytes_equal(certificate) is True
    assert certificate["outputs"] == {
        "bytes": CLIPS * CLASSES,
        "different_in_tflm_on_the_host": 0,
        "different_in_compiled_on_the_host": 0,
        "different_on_the_board": 0,
    }
    features = certificate["features"]
    assert features["values"] == CLIPS * BINS * FRAMES
    assert features["equal_share"] == features["within_1_lsb_share"] == 1.0
    assert features["largest_lsb"] == 0 and features["arithmetic"] == "single precision"
    assert certificate["labels_equal_share"] == 1.0
    assert certificate["frontend"] == bundle.frontend.to_dict()
    assert certificate["board"]["firmware_sha256"] == image.sha256
    text = (bundle.folder / "certificate.md").read_text()
    assert text.startswith("# Parity certificate: holds (emulated board)\n")
    for part in (
        "| different in the compiled engine on the host | 0 |",
        "| within 1 LSB | 100.000 % |",
        "| flash bytes | 12,345 |",
        "| section .text bytes | 6 |",
        "an emulator 1.0",
        "made for the tests",
        "ab" * 32,
    ):
        assert part in text
    before = {path.name: path.read_bytes() for path in bundle.folder.iterdir()}
    certified(bundle, reference, measured)
    assert {path.name: path.read_bytes() for path in bundle.folder.iterdir()} == before


def test_a_step_here_and_there_is_allowed(bundle, reference, measured):
    features = measured.features.copy()
    features[0, :10, 0] += 1
    features[1, 2, 3] += 2
    labels = measured.from_sound.labels.copy()
    labels[0] = (labels[0] + 1) % CLASSES
    certificate = compare(bundle, reference, heard(measured, features=features, labels=labels))
    values = CLIPS * BINS * FRAMES
    assert certificate["holds"]
    assert certificate["features"]["equal_share"] == pytest.approx(1 - 11 / values)
    assert certificate["features"]["within_1_lsb_share"] == pytest.approx(1 - 1 / values)
    assert certificate["features"]["largest_lsb"] == 2
    assert certificate["labels_equal_share"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("name", "place", "step", "message"),
    [
        (
            "features",
            np.s_[2, 7, 11],
            3,
            r"front end: 0\.01 % of 9800 .* the furthest 3 \(clip 2, bin 7, frame 11\)",
        ),
        ("features", np.s_[:, :, 0], 2, r"front end: 2\.04 % of 9800 features are more than 1 LSB"),
        ("board", 3, 1, r"network: 3 of 15 output bytes of mps2_an386 .* first in clip 3"),
        ("tflm", np.s_[1:2, 0], 1, r"network: 1 of 15 output bytes of TFLite .* in clip 1"),
        ("compiled", 2, 1, r"network: 3 of 15 output bytes of the compiled .* in clip 2"),
        ("stream", None, 0, r"network: a hop on the board gives other bytes than the whole window"),
        ("live", None, 0, r"live detection gives other scores or events than whole windows"),
    ],
)
def test_drift_is_named(bundle, reference, measured, image, name, place, step, message):
    if name == "stream":
        stream = {"bytes_equal": False, "hops": 9, "hop_instructions": 1, "references": ["tflm"]}
        measured = dataclasses.replace(measured, stream=stream)
    elif name == "live":
        live = {"equal": False, "runs": 9, "events": 1, "references": ["tflm"], "push_columns": 4}
        live |= {"instructions": 1, "start_instructions": 2}
        measured = dataclasses.replace(measured, cost={**measured.cost, "live": live})
    elif name == "features":
        features = measured.features.copy()
        features[place] += step
        measured = heard(measured, features=features)
    else:
        scores = reference.scores.copy()
        scores[place] += step
        if name == "board":
            answers = dataclasses.replace(measured.from_features, outputs=scores)
            measured = dataclasses.replace(measured, from_features=answers)
        else:
            engines = {**reference.by_engine, name: scores}
            reference = dataclasses.replace(reference, by_engine=engines)
    certificate = certified(bundle, reference, measured)
    assert certificate["holds"] is False
    assert bytes_equal(certificate) is (name == "features")
    with pytest.raises(FirmwareError, match=message) as caught:
        require_parity(bundle, certificate)
    assert str(bundle.folder / "certificate.md") in str(caught.value)
    text = (bundle.folder / "certificate.md").read_text()
    assert "DOES NOT HOLD" in text and f"- DRIFT: {certificate['drift'][0]}" in text
    assert valid_certificate(bundle, image) is None


@pytest.mark.parametrize(("board", "dsp_missing"), [(FIXED_BOARD, ""), (BOARD, "no index")])
def test_whole_numbers_must_be_equal_to_the_bit(bundle, reference, measured, board, dsp_missing):
    """On a core without FPU, and in a firmware without CMSIS-DSP."""
    image = dataclasses.replace(measured.image, board=board, dsp_missing=dsp_missing)
    fixed = np.stack([fixed_features_int8(bundle.frontend, wave) for wave in reference.pcm])
    near = fixed.copy()
    near[0, 0, :5] += 1
    reference = dataclasses.replace(reference, features=near[..., None])
    measured = heard(dataclasses.replace(measured, image=image), features=fixed)
    certificate = compare(bundle, reference, measured)
    assert certificate["holds"] and certificate["features"]["arithmetic"] == "whole numbers"
    assert certificate["features"]["different_from_python_in_whole_numbers"] == 0
    assert certificate["features"]["largest_lsb"] == 1
    (drift,) = compare(bundle, reference, heard(measured, features=near))["drift"]
    assert drift.startswith("front end: 5 of 9800 features") and "whole numbers" in drift


def test_a_waveform_is_in_whole_numbers_everywhere(bundle, reference, measured):
    frontend = dataclasses.replace(bundle.manifest.frontend, kind="waveform")
    manifest = dataclasses.replace(bundle.manifest, frontend=frontend)
    certificate = compare(Bundle(bundle.folder, manifest), reference, measured)
    assert certificate["features"]["different_from_python_in_whole_numbers"] == 0


def test_without_an_emulator_it_says_so(bundle, reference, image):
    certificate = certified(bundle, reference, None, "there is no emulator")
    assert certificate["scope"] == "host only" and certificate["holds"]
    assert (
        certificate["outputs"]["different_on_the_board"] is None and certificate["features"] is None
    )
    assert certificate["outputs"]["different_in_tflm_on_the_host"] == 0
    text = (bundle.folder / "certificate.md").read_text()
    assert "(host only)" in text and "| board | there is no emulator |" in text
    assert "| different on the board | not compared |" in text
    assert valid_certificate(bundle, image) is None


def test_engines_that_are_missing_are_not_compared(bundle, reference):
    alone = compare(bundle, dataclasses.replace(reference, by_engine={}), None, "no emulator")
    assert alone["holds"] and bytes_equal(alone) is None
    assert alone["outputs"]["different_in_tflm_on_the_host"] is None
    assert alone["outputs"]["different_in_compiled_on_the_host"] is None
    assert alone["features"] is alone["labels_equal_share"] is None


def test_it_is_valid_for_its_own_network_and_firmware_alone(bundle, reference, measured, image):
    assert valid_certificate(bundle, image) is None
    certificate = certified(bundle, reference, measured)
    assert valid_certificate(bundle, image) == certificate
    assert valid_certificate(bundle, dataclasses.replace(image, board="mps2_an500")) is None
    for part, change in (("model", {"sha256": "00"}), ("frontend", {"log_floor": 1e-5})):
        changed = dataclasses.replace(getattr(bundle.manifest, part), **change)
        manifest = dataclasses.replace(bundle.manifest, **{part: changed})
        assert valid_certificate(Bundle(bundle.folder, manifest), image) is None
    image.elf.with_suffix(".bin").write_bytes(b"another firmware")
    assert valid_certificate(bundle, image) is None
    (bundle.folder / "certificate.json").write_text("{")
    assert valid_certificate(bundle, image) is None


# --- the whole chain ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(exported, tmp_path_factory) -> Bundle:
    """A copy of the export, to be certified."""
    folder = tmp_path_factory.mktemp("certified") / "export"
    return Bundle.load(shutil.copytree(exported.folder, folder))


def test_an_export_without_an_emulator(exported, no_emulator, tmp_path):
    lines: list[str] = []
    found = certify_export(exported, BOARD, tmp_path, lines.append)
    assert found["scope"] == "host only" and no_emulator in found["missing"]
    assert any(no_emulator in line for line in lines)
    assert found["clips"]["count"] == 10 and found["outputs"]["bytes"] == 100
    assert found["outputs"]["different_in_compiled_on_the_host"] == 0


def test_a_network_that_cannot_be_compiled_is_not_compared(reference):
    def run(runtime, _):
        if runtime.__name__ == "run_compiled":
            raise ModelError("no FFT")
        return reference.scores

    unknown = SimpleNamespace(network=SimpleNamespace(run=run))
    lines: list[str] = []
    assert "compiled" not in with_engines(unknown, reference, lines.append).by_engine
    assert lines[-1] == "the compiled engine is not compared on the host: no FFT"


@pytest.mark.slow
def test_an_export_is_certified_on_the_emulated_board(exported, monkeypatch, tmp_path):
    if reason := why_no_emulation(BOARD):
        skip_or_fail(reason)
    found = certify_export(exported, BOARD, tmp_path)
    assert found["scope"] == "emulated board" and found["holds"]
    assert found["features"]["values"] == 10 * 40 * 49
    assert found["board"]["cost"]["arena_used_bytes"] <= found["arena"]["bytes"]
    assert found["arena"]["source"] == "m3net compile"
    assert found["engine"] == "compiled"
    assert found["board"]["cost"]["flash_bytes"] > exported.manifest.model.bytes
    # It is not measured again for the same firmware.
    monkeypatch.setattr(cost, "run_job", None)
    assert certify_export(exported, BOARD, tmp_path) == found
    # A board that drifts fails the export.
    damaged = read_vectors(exported)
    damaged = dataclasses.replace(damaged, scores=damaged.scores ^ 1)
    monkeypatch.undo()
    monkeypatch.setattr(certificate, "read_vectors", lambda _: damaged)
    (exported.folder / "certificate.json").unlink()
    with refuses(FirmwareError, BOARD):
        certify_export(exported, BOARD, tmp_path)
