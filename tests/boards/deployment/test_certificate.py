# SPDX-License-Identifier: Apache-2.0
"""The parity certificate: correct figures, reported drift, files that stay the same."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from firmware_helpers import skip_or_fail
from refusals import refuses

from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.deployment import certification, cost
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.export import Bundle, certificate, export_run
from m3net_tf.export.certificate import (
    BoardAnswer,
    Expected,
    require_parity,
    valid_certificate,
    write_certificate,
)
from m3net_tf.system.errors import FirmwareError, ModelError
from m3net_tf.training import Run

BOARD = "mps2_an386"
CLIPS, BINS, FRAMES, CLASSES = 5, 40, 49, 3


@pytest.fixture(autouse=True)
def fixed_commit(monkeypatch):
    """Fixed versions and commit, independent of changes in the tree."""
    monkeypatch.setattr(certificate, "provenance", lambda: {"versions": {}, "git_commit": "none"})


@pytest.fixture
def bundle(tmp_path, make_manifest) -> Bundle:
    """The attributes of an export that a certificate reads."""
    return Bundle(tmp_path, make_manifest())


@pytest.fixture
def expected() -> Expected:
    rng = np.random.default_rng(4)
    scores = rng.integers(-128, 128, (CLIPS, CLASSES)).astype(np.int8)
    return Expected(
        source="made for the tests",
        pcm=rng.integers(-999, 999, (CLIPS, 16_000)).astype(np.int16),
        features=rng.integers(-100, 100, (CLIPS, BINS, FRAMES, 1)).astype(np.int8),
        scores=scores,
        host_scores=scores.copy(),
        compiled_scores=scores.copy(),
    )


@pytest.fixture
def answer(expected) -> BoardAnswer:
    return BoardAnswer(
        board=BOARD,
        emulator="an emulator 1.0",
        firmware_sha256="cd" * 32,
        outputs=expected.scores.copy(),
        features=expected.features[..., 0].copy(),
        labels=expected.scores.argmax(1),
        cost={"flash_bytes": 12_345, "sections": {".text": 6}},
    )


def test_equal_numbers_hold(bundle, expected, answer):
    certificate = write_certificate(bundle, expected, answer)
    require_parity(bundle, certificate)
    assert certificate == json.loads((bundle.folder / "certificate.json").read_text())
    assert certificate["holds"] is True and certificate["drift"] == []
    assert certificate["scope"] == "emulated board"
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
    text = (bundle.folder / "certificate.md").read_text()
    assert text.startswith("# Parity certificate: holds (emulated board)\n")
    for part in (
        "| different in the compiled engine on the host | 0 |",
        "| flash bytes | 12,345 |",
        "| section .text bytes | 6 |",
        "an emulator 1.0",
        "made for the tests",
        "ab" * 32,
    ):
        assert part in text
    before = {path.name: path.read_bytes() for path in bundle.folder.iterdir()}
    write_certificate(bundle, expected, answer)
    assert {path.name: path.read_bytes() for path in bundle.folder.iterdir()} == before


def test_a_step_here_and_there_is_allowed(bundle, expected, answer):
    features = answer.features.copy()
    features[0, :10, 0] += 1
    features[1, 2, 3] += 2
    labels = answer.labels.copy()
    labels[0] = (labels[0] + 1) % CLASSES
    answer = dataclasses.replace(answer, features=features, labels=labels)
    certificate = write_certificate(bundle, expected, answer)
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
        ("outputs", 3, 1, r"network: 3 of 15 output bytes of mps2_an386 .* first in clip 3"),
        ("host_scores", np.s_[1:2, 0], 1, r"network: 1 of 15 output bytes of TFLite .* in clip 1"),
        ("compiled_scores", 2, 1, r"network: 3 of 15 output bytes of the compiled .* in clip 2"),
        ("fixed_features", np.s_[0, 0, 0], 1, r"front end: 1 of 9800 features .* whole numbers"),
        ("stream", None, 0, r"network: a hop on the board gives other bytes than the whole window"),
    ],
)
def test_drift_is_named(bundle, expected, answer, name, place, step, message):
    if name == "stream":
        stream = {"bytes_equal": False, "hops": 9, "hop_instructions": 1, "references": ["tflm"]}
        answer = dataclasses.replace(answer, stream=stream)
    else:
        fixed = {"fixed_features": expected.features[..., 0]}
        values = ({**vars(expected), **vars(answer)} | fixed)[name].copy()
        values[place] += step
        if hasattr(answer, name):
            answer = dataclasses.replace(answer, **{name: values})
        else:
            expected = dataclasses.replace(expected, **{name: values})
    certificate = write_certificate(bundle, expected, answer)
    assert certificate["holds"] is False
    with pytest.raises(FirmwareError, match=message) as caught:
        require_parity(bundle, certificate)
    assert str(bundle.folder / "certificate.md") in str(caught.value)
    text = (bundle.folder / "certificate.md").read_text()
    assert "DOES NOT HOLD" in text and f"- DRIFT: {certificate['drift'][0]}" in text
    assert valid_certificate(bundle, BOARD, answer.firmware_sha256) is None


def test_whole_numbers_must_be_equal_to_the_bit(bundle, expected, answer):
    fixed = expected.features[..., 0].copy()
    fixed[0, 0, :5] += 1
    answer = dataclasses.replace(answer, features=fixed)
    expected = dataclasses.replace(expected, fixed_features=fixed.copy())
    certificate = write_certificate(bundle, expected, answer)
    assert certificate["holds"] and certificate["features"]["arithmetic"] == "whole numbers"
    assert certificate["features"]["different_from_python_in_whole_numbers"] == 0
    assert certificate["features"]["largest_lsb"] == 1


def test_features_in_whole_numbers_are_those_of_core_and_firmware(bundle, expected, tmp_path):
    expected = dataclasses.replace(expected, pcm=expected.pcm[:1])
    for board, dsp_missing, fixed in (
        ("mps2_an385", "", True), (BOARD, "", False), (BOARD, "no index", True),
    ):  # fmt: skip
        image = FirmwareImage(tmp_path / "x.elf", board, {}, 1, 1, dsp_missing)
        changed = certification.with_fixed_features(bundle.frontend, image, expected)
        assert (changed.fixed_features is not None) == fixed


def test_without_an_emulator_it_says_so(bundle, expected):
    certificate = write_certificate(bundle, expected, None, "there is no emulator")
    assert certificate["scope"] == "host only" and certificate["holds"]
    assert (
        certificate["outputs"]["different_on_the_board"] is None and certificate["features"] is None
    )
    assert certificate["outputs"]["different_in_tflm_on_the_host"] == 0
    text = (bundle.folder / "certificate.md").read_text()
    assert "(host only)" in text and "| board | there is no emulator |" in text
    assert "| different on the board | not compared |" in text
    assert valid_certificate(bundle, BOARD, "cd" * 32) is None


def test_what_is_missing_is_not_compared(bundle, expected, answer):
    """TFLite Micro, the compiled engine, or features of a network on samples."""
    expected = dataclasses.replace(expected, host_scores=None, compiled_scores=None)
    answer = dataclasses.replace(answer, features=None, labels=None)
    certificate = write_certificate(bundle, expected, answer)
    assert certificate["holds"]
    assert certificate["outputs"]["different_in_tflm_on_the_host"] is None
    assert certificate["outputs"]["different_in_compiled_on_the_host"] is None
    assert certificate["features"] is certificate["labels_equal_share"] is None


def test_it_is_valid_for_its_own_network_and_firmware_alone(bundle, expected, answer):
    assert valid_certificate(bundle, BOARD, "cd" * 32) is None
    certificate = write_certificate(bundle, expected, answer)
    assert valid_certificate(bundle, BOARD, "cd" * 32) == certificate
    assert valid_certificate(bundle, BOARD, "ef" * 32) is None
    assert valid_certificate(bundle, "mps2_an500", "cd" * 32) is None
    for part, change in (("model", {"sha256": "00"}), ("frontend", {"log_floor": 1e-5})):
        changed = dataclasses.replace(getattr(bundle.manifest, part), **change)
        manifest = dataclasses.replace(bundle.manifest, **{part: changed})
        assert valid_certificate(Bundle(bundle.folder, manifest), BOARD, "cd" * 32) is None
    (bundle.folder / "certificate.json").write_text("{")
    assert valid_certificate(bundle, BOARD, "cd" * 32) is None


# --- the whole chain ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory) -> Bundle:
    """An export of the tiny run, to be certified."""
    return export_run(Run(tiny_run), None, tmp_path_factory.mktemp("certified") / "export")


def test_an_export_without_an_emulator(exported, no_emulator, tmp_path):
    lines: list[str] = []
    certificate = certification.certify_export(exported, BOARD, tmp_path, lines.append)
    assert certificate["scope"] == "host only" and no_emulator in certificate["missing"]
    assert any(no_emulator in line for line in lines)
    assert certificate["clips"]["count"] == 10 and certificate["outputs"]["bytes"] == 100
    assert certificate["outputs"]["different_in_compiled_on_the_host"] == 0


def test_a_network_that_cannot_be_compiled_is_not_compared(expected):
    def refuse(_):
        raise ModelError("no FFT")

    expected = dataclasses.replace(expected, compiled_scores=None)
    unknown = SimpleNamespace(run_tflm=lambda _: expected.scores, run_compiled=refuse)
    lines: list[str] = []
    scores = certification.with_host(unknown, expected, lines.append).compiled_scores
    assert scores is None and lines[-1] == (
        "the compiled engine is not compared on the host: no FFT"
    )


@pytest.mark.slow
def test_an_export_is_certified_on_the_emulated_board(exported, monkeypatch, tmp_path):
    if reason := why_no_emulation(BOARD):
        skip_or_fail(reason)
    certificate = certification.certify_export(exported, BOARD, tmp_path)
    assert certificate["scope"] == "emulated board" and certificate["holds"]
    assert certificate["features"]["values"] == 10 * 40 * 49
    assert certificate["board"]["cost"]["arena_used_bytes"] <= certificate["arena"]["bytes"]
    assert certificate["arena"]["source"] == "m3net compile"
    assert certificate["engine"] == "compiled"
    assert certificate["board"]["cost"]["flash_bytes"] > exported.manifest.model.bytes
    # It is not measured again for the same firmware.
    monkeypatch.setattr(cost, "run_job", None)
    assert certification.certify_export(exported, BOARD, tmp_path) == certificate
    # A board that drifts fails the export.
    damaged = certification.read_vectors(exported)
    damaged = dataclasses.replace(damaged, scores=damaged.scores ^ 1)
    monkeypatch.undo()
    monkeypatch.setattr(certification, "read_vectors", lambda _: damaged)
    (exported.folder / "certificate.json").unlink()
    with refuses(FirmwareError, BOARD):
        certification.certify_export(exported, BOARD, tmp_path)
