# SPDX-License-Identifier: Apache-2.0
"""The light runtime: metadata in the ``.tflite``, scores of files, events, and imports."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf.audio.datasets import AudioDataset, Clip, dataset_info
from m3net_tf.audio.datasets.windows import in_windows
from m3net_tf.audio.frontend import FrontendConfig, features_int8, quantize_features
from m3net_tf.quantization.ptq import quantize_int8
from m3net_tf.runtime import (
    Classifier,
    DetectorConfig,
    attach_metadata,
    desktop,
    detect,
    interpreter,
    listen,
    read_metadata,
)
from m3net_tf.runtime.desktop import compiled_unavailable_reason, load_engine
from m3net_tf.runtime.interpreter import (
    run_reference,
    run_tflm,
    tensor_quantization,
    tflm_unavailable_reason,
)
from m3net_tf.runtime.network import Int8Network
from m3net_tf.runtime.warp import WarpConfig
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras
from m3net_tf.training.scoring.windows import whole_scores

pytestmark = pytest.mark.usefixtures("private_cache")


# --- metadata ----------------------------------------------------------------------------------


def test_the_file_says_what_the_manifest_says(exported):
    network, metadata = read_metadata(exported.folder / "model.tflite")
    manifest = exported.manifest.to_dict()
    assert network == exported.tflite
    assert metadata.name == manifest["model"]["name"]
    assert metadata.labels == exported.labels
    assert metadata.frontend == exported.frontend
    assert metadata.detector == exported.detector
    assert metadata.licence == manifest["licence"]
    assert metadata.frames == manifest["model"]["input_shape"][1]
    with zipfile.ZipFile(exported.folder / "model.tflite") as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode().splitlines() == list(exported.labels)
        normalisation = json.loads(archive.read("m3net.json"))["normalisation"]
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    # The formula of the metadata, compared with the front end.
    feature = np.linspace(-20, 10, 301)
    q = np.floor((feature - normalisation["minimum"]) / normalisation["step"] + 0.5) - 128
    np.testing.assert_array_equal(
        np.clip(q, -128, 127), quantize_features(exported.frontend, feature)
    )


def test_every_runtime_passes_over_it(exported, vectors):
    file = (exported.folder / "model.tflite").read_bytes()
    assert file.startswith(exported.tflite) and len(file) > len(exported.tflite)
    features = np.stack([features_int8(exported.frontend, pcm / 32768) for pcm in vectors[0][:2]])
    np.testing.assert_array_equal(run_reference(file, features[..., None]), vectors[1][:2])
    if reason := tflm_unavailable_reason():
        pytest.skip(reason)
    np.testing.assert_array_equal(run_tflm(file, features[..., None]), vectors[1][:2])


def test_bad_files(exported, tmp_path):
    file = (exported.folder / "model.tflite").read_bytes()
    path = tmp_path / "model.tflite"
    with refuses(ModelError, "No such file"):
        Classifier(path)
    with refuses(ModelError, "model.tflite"):
        Classifier(tmp_path)
    at = file.index(b'"labels"')
    path.write_bytes(file[:at] + b"?" + file[at + 1 :])
    with pytest.raises(ModelError, match="damaged metadata: export again"):
        Classifier(path)
    for cut in (len(file) - 1, len(exported.tflite) + 10, 100):
        path.write_bytes(file[:cut])
        with pytest.raises(ModelError, match="has no metadata of inputs"):
            Classifier(path)
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        values = json.loads(archive.read("m3net.json"))
    values["format"] = 99
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m3net.json", json.dumps(values))
    with refuses(ModelError, "format 99"):
        Classifier(path)
    no_network = b"\0\0\0\0TFL3 no network"
    manifest = exported.manifest.to_dict()
    manifest["model"]["sha256"] = sha256_of(no_network)
    path.write_bytes(attach_metadata(no_network, manifest))
    with refuses(ModelError, ".tflite"):
        Classifier(path)


# --- scores --------------------------------------------------------------------------------------


def test_scores_are_the_devices(exported, vectors):
    classifier = Classifier(exported.folder)
    for pcm, expected in zip(*vectors, strict=True):
        result = classifier.classify(pcm)
        assert result.starts_s.tolist() == [0.0]
        np.testing.assert_array_equal(result.window_scores[0] * 256 - 128, expected)
        np.testing.assert_array_equal(result.scores, result.window_scores[0])
        assert result.label == expected.argmax()


@pytest.mark.parametrize("engine", ["tflm", "compiled"])
def test_other_engines_give_the_same_lines(
    engine, exported, vectors, tmp_path, capsys, write_wav, classify
):
    if engine == "tflm" and (reason := tflm_unavailable_reason()):
        pytest.skip(reason)
    words = [write_wav(tmp_path / "a.wav", np.concatenate(vectors[0])), "--model", exported.folder]
    printed = []
    for options in ([], ["--engine", engine]):
        assert classify(*words, "--windows", "--json", *options) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


@pytest.mark.slow
def test_a_long_sound_is_compiled_where_that_is_possible(
    exported, vectors, tmp_path, capsys, write_wav, classify, monkeypatch
):
    path = write_wav(tmp_path / "a.wav", np.concatenate(vectors[0]))
    loaded = []
    printed = []

    def load(tflite, engine, **options):
        loaded.append(engine)
        return load_engine(tflite, engine, **options)

    monkeypatch.setattr(desktop, "load_engine", load)
    for search in (os.environ["PATH"], ""):
        monkeypatch.setenv("PATH", search)
        monkeypatch.setenv("M3NET_CACHE", str(tmp_path / f"cache{len(printed)}"))
        assert classify(path, "--model", exported.folder, "--stream") == 0
        printed.append(capsys.readouterr().out)
    assert loaded == ["compiled", "compiled", "litert"]
    assert printed[0] == printed[1]


def test_an_engine_that_cannot_run_the_network(exported, capsys, classify, monkeypatch):
    words = ["a.wav", "--model", exported.folder, "--engine", "compiled"]
    assert classify(*words, "--fast") == 2
    assert capsys.readouterr().err == (
        "error: the engine compiled has no XNNPACK kernels: leave out --fast\n"
    )
    monkeypatch.setenv("PATH", "")
    assert classify(*words) == 2
    assert capsys.readouterr().err == (
        "error: no C compiler found (gcc, cc, clang): install one, e.g. apt-get install gcc\n"
    )
    with refuses(ModelError, "--engine"):
        load_engine(b"no network", "compiled")


def test_windows_of_a_long_sound(exported, vectors):
    classifier = Classifier(exported.folder / "model.tflite")
    length = classifier.window_samples
    assert length == 48 * 320 + 512
    pcm = np.concatenate(vectors[0][:3])
    result = classifier.classify(pcm)
    starts = [0, length // 2, length, 3 * length // 2, 2 * length, len(pcm) - length]
    assert (result.starts_s * 16_000).round().astype(int).tolist() == starts
    for start, scores in zip(starts, result.window_scores, strict=True):
        alone = classifier.classify(pcm[start : start + length])
        np.testing.assert_array_equal(alone.scores, scores)
    # The last window overlaps the one before by more than half, and counts by what it adds.
    weights = [1, 1, 1, 1, 1, (starts[-1] - starts[-2]) / (length // 2)]
    mean = np.average(result.window_scores, axis=0, weights=weights)
    np.testing.assert_allclose(result.scores, mean)
    assert result.label == result.scores.argmax()


def test_windows_go_through_the_network_together(exported, vectors, monkeypatch):
    classifier = Classifier(exported.folder)
    calls = []
    run = classifier.run
    monkeypatch.setattr(classifier, "run", lambda maps: calls.append(len(maps)) or run(maps))
    windows = len(classifier.classify(np.tile(np.concatenate(vectors[0]), 8)).starts_s)
    assert sum(calls) == windows > 64 and len(calls) <= windows / 32


def test_a_moment_more_of_sound_changes_the_mean_by_little(exported, vectors):
    """The tail of a sound, whose window overlaps the one before, does not count twice."""
    classifier = Classifier(exported.folder / "model.tflite")
    length = classifier.window_samples
    whole = np.concatenate(vectors[0][:3])[: 2 * length]
    longer = np.concatenate([whole, np.zeros(exported.frontend.hop_samples, np.int16)])
    before = classifier.classify(whole)
    after = classifier.classify(longer)
    assert len(after.starts_s) == len(before.starts_s) + 1
    assert np.abs(after.scores - before.scores).max() < 0.02


@pytest.mark.parametrize("seconds", [0.7, 1.0, 1.004, 2.0, 2.33, 2.508])
def test_a_test_on_windows_measures_what_is_answered(seconds, vectors, tmp_path, with_metadata):
    """The clips of the training last 1 s, of which the network's input covers 0.992 s."""

    def tested(manifest: dict) -> None:
        manifest["tested_samples"] = 16_000

    classifier = Classifier(with_metadata(tmp_path / "model.tflite", tested))
    pcm = np.concatenate([sound[:16_000] for sound in vectors[0]])[: round(seconds * 16_000)]
    path = tmp_path / "a.wav"
    soundfile.write(path, pcm, 16_000)
    clips = in_windows([Clip("a", classifier.labels[0], "test", "a", path)], 1.0)
    info = dataclasses.replace(
        dataset_info("folder"), labels=classifier.labels, sample_rate_hz=16_000, clip_s=1.0
    )
    dataset = AudioDataset(info, tuple(clips))
    maps = [features_int8(classifier.metadata.frontend, dataset.load(clip)) for clip in clips]
    scores = (classifier.run(np.stack(maps)[..., None]) + 128.0) / 256.0
    (measured,), _ = whole_scores(scores, clips, classifier.labels)
    np.testing.assert_allclose(classifier.classify(pcm).scores, measured, rtol=1e-12)


def test_silent_windows_do_not_count(exported, vectors):
    classifier = Classifier(exported.folder)
    length = classifier.window_samples
    sound = vectors[0][0][:length]
    found = classifier.classify(np.concatenate([np.zeros(2 * length, np.int16), sound]))
    sounding = found.window_scores[-2:]  # the second last window has half of the sound
    assert len(found.window_scores) == 5
    np.testing.assert_allclose(found.scores, sounding.mean(axis=0), rtol=1e-12)
    silent = classifier.classify(np.zeros(2 * length, np.int16))
    np.testing.assert_allclose(silent.scores, silent.window_scores.mean(axis=0), rtol=1e-12)


def test_a_short_sound_ends_in_silence(exported, vectors):
    classifier = Classifier(exported.folder)
    short = vectors[0][0][:5000]
    padded = np.pad(short, (0, 16_000 - 5000))
    np.testing.assert_array_equal(
        classifier.classify(short).scores, classifier.classify(padded).scores
    )


def test_fast_kernels_give_nearly_the_same(exported, vectors):
    exact = Classifier(exported.folder)
    fast = Classifier(exported.folder, fast=True)
    for pcm in vectors[0]:
        # XNNPACK rounds differently: a few steps of 1/256 each.
        np.testing.assert_allclose(
            fast.classify(pcm).scores, exact.classify(pcm).scores, atol=16 / 256
        )


def test_events_are_those_of_the_reference(exported, vectors, lively):
    classifier = Classifier(lively())
    pcm = np.concatenate(vectors[0])
    recognizer = classifier.recognizer()
    events = [e for i in range(0, len(pcm), 1600) for e in recognizer.push(pcm[i : i + 1600])]
    config = classifier.metadata.detector
    tape = listen(
        exported.frontend, lambda windows: run_reference(exported.tflite, windows), config, [pcm]
    )
    assert events == detect(config, tape) and events


@pytest.mark.skipif(bool(compiled_unavailable_reason()), reason="no C compiler")
@pytest.mark.parametrize("gate_level", [None, -120])
def test_a_stream_gives_the_scores_and_events_of_whole_windows(
    exported, vectors, lively, gate_level
):
    # A gate that is closed in silence: windows then begin anew.
    gate = {} if gate_level is None else {"gate_level": gate_level, "gate_hold_columns": 3}
    classifier = Classifier(lively(run_columns=8, **gate))  # the strides' product
    silence = np.zeros(9000, np.int16)
    pcm = np.concatenate([part for clip in vectors[0] for part in (clip, silence)])
    recorded = {}
    for name, recognizer in (("whole", classifier.recognizer()), ("stream", classifier.stream())):
        model = recognizer._model
        scores = []

        def run(windows, model=model, scores=scores):
            scores.append(model(windows))
            return scores[-1]

        recognizer._model = run
        events = [e for i in range(0, len(pcm), 1600) for e in recognizer.push(pcm[i : i + 1600])]
        recorded[name] = events, np.concatenate(scores), recognizer.detector.skipped_runs
    assert recorded["stream"][0] == recorded["whole"][0] != []
    np.testing.assert_array_equal(recorded["stream"][1], recorded["whole"][1])
    assert (recorded["stream"][2] > 0) is (gate_level is not None)
    with refuses(ModelError, "run_columns", "5"):
        Classifier(exported.folder).stream()


def test_a_network_with_diffres_is_one_file(tmp_path):
    keras.utils.set_random_seed(2)
    layers = keras.layers
    rng = np.random.default_rng(1)
    features = rng.integers(-128, 128, (6, 40, 49, 1)).astype(np.int8)
    merged = rng.integers(-128, 128, (6, 40, 24, 3)).astype(np.int8)
    parts = [
        keras.Sequential(
            [layers.Input(calibration.shape[1:]), layers.Conv2D(*conv), layers.Flatten(), end]
        )
        for calibration, conv, end in (
            (features, (1, (40, 1)), layers.Activation("sigmoid")),
            (merged, (4, (40, 24)), layers.Softmax()),
        )
    ]
    network = Int8Network(
        quantize_int8(parts[1], merged),
        quantize_int8(parts[0], features),
        WarpConfig(40, 49, 24, -14.0, 5.0),
    )
    frontend = FrontendConfig()
    labels = ["a", "b", "c", "d"]
    manifest = {
        "dataset": {"name": "none"},
        "detector": DetectorConfig.default(frontend, 49, labels).to_dict(),
        "frontend": frontend.to_dict(),
        "labels": labels,
        "licence": "none",
        "model": {
            "name": "diffres-s",
            "sha256": sha256_of(network.tflite),
            "input_shape": [40, 49, 1],
            "input_quantization": tensor_quantization(network.importance, "input"),
        },
        "warp": dataclasses.asdict(network.warp),
    }
    path = tmp_path / "model.tflite"
    path.write_bytes(attach_metadata(network.tflite, manifest, network.importance))
    expected = network.run(run_reference, features)
    for engine in ("litert", "compiled"):
        classifier = Classifier(path, engine=engine)
        assert classifier.metadata.warp == network.warp
        np.testing.assert_array_equal(classifier.run(features), expected)


def test_what_it_prints(exported, vectors, tmp_path, capsys, write_wav, classify):
    path = write_wav(tmp_path / "a.wav", np.concatenate(vectors[0][:2]))
    result = Classifier(exported.folder).classify(np.concatenate(vectors[0][:2]))
    labels = exported.labels
    assert classify(path, path, "--model", exported.folder, "--top", 1) == 0
    line = f"{path}: {labels[result.label]} {100 * result.scores[result.label]:.1f} %"
    assert capsys.readouterr().out.splitlines() == [line, line]
    assert classify(path, "--model", exported.folder, "--json", "--windows") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["label"] == labels[result.label]
    assert values["scores"] == dict(zip(labels, result.scores.tolist(), strict=True))
    assert [w["start_s"] for w in values["windows"]] == result.starts_s.tolist()
    assert classify(path, "--model", exported.folder, "--windows") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(result.starts_s)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.wav"], "Missing option '--model'"),
        (["--model", "m"], "name sound files, or --microphone"),
        (["a.wav", "--microphone", "--model", "m"], "name sound files, or --microphone"),
        (["a.wav", "--model", "m", "--top", "0"], "Invalid value for '--top'"),
        (
            ["a.wav", "--model", "nowhere"],
            "error: nowhere is not a file, a folder or a trained network",
        ),
    ],
)
def test_wrong_words(words, message, capsys, classify):
    assert classify(*words) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1


_ALONE = """
import json, sys
for name in {blocked!r}:
    sys.modules[name] = None  # as if it were not installed
from m3net_tf.runtime import Classifier
scores = Classifier({model!r}).classify({sound!r}).scores
print(json.dumps([scores.tolist(), *sorted({{name.partition(".")[0] for name in sys.modules}})]))
"""
HEAVY = {"tensorflow", "tf_keras", "keras", "librosa", "scipy", "pandas", "matplotlib", "typer"}
ABSENT = ("soundfile", "soxr", "yaml", "platformdirs", "typer", "rich", "requests", "pooch")


def test_numpy_and_an_interpreter_are_enough(exported, vectors, tmp_path, write_wav):
    path = write_wav(tmp_path / "a.wav", vectors[0][0])
    model = str(exported.folder / "model.tflite")
    for blocked in ((), ABSENT):
        code = _ALONE.format(blocked=blocked, model=model, sound=str(path))
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        scores, *imported = json.loads(done.stdout)
        assert "numpy" in imported and not {*imported} & (HEAVY - set(blocked))
        np.testing.assert_array_equal(np.array(scores) * 256 - 128, vectors[1][0])


def test_an_interpreter_that_is_too_old_says_so(exported, monkeypatch):
    class Old:
        def __init__(self, **_) -> None:
            raise ValueError("Didn't find op for builtin opcode 'REVERSE_V2' version '3'.")

    monkeypatch.setattr(interpreter, "Interpreter", Old)
    with refuses(ModelError, "REVERSE_V2"):
        Classifier(exported.folder, engine="litert")


def test_a_runtime_that_reverses_one_axis_only_says_so(exported, monkeypatch):
    monkeypatch.setattr(interpreter, "PREDECESSOR", True)
    with refuses(ModelError, "pip install ai-edge-litert"):
        Classifier(exported.folder, engine="litert")
