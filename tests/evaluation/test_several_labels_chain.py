# SPDX-License-Identifier: Apache-2.0
"""Clips with several labels from their folders to events: two tones, alone and at once."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from refusals import refuses
from rich.console import Console
from typer.testing import CliRunner

from m3net_tf.audio.datasets import to_pcm16
from m3net_tf.boards.measure import chain
from m3net_tf.cli import app
from m3net_tf.evaluation import clips, live, rendering
from m3net_tf.evaluation.scenes import SceneSettings, make_scenes
from m3net_tf.export import Bundle, export_run, from_run
from m3net_tf.quantization.methods import Method
from m3net_tf.quantization.pipeline import quantize_run
from m3net_tf.runtime import Classifier, load_detector
from m3net_tf.system.errors import ModelError
from m3net_tf.training import Run, train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("private_cache")]

RATE_HZ = 8000
TONES_HZ = {"high": (2000, 2600), "low": (400, 700)}


def sound(labels: list[str], seconds: float, rng: np.random.Generator) -> np.ndarray:
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    tones = [
        rng.uniform(0.1, 0.3) * np.sin(2 * np.pi * rng.uniform(*TONES_HZ[label]) * time_s)
        for label in labels
    ]
    noise = 10 ** rng.uniform(-3, -1.7) * rng.standard_normal(len(time_s))
    return noise + sum(tones)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """Class folders of ten recordings; what has both tones is in both folders."""
    root = tmp_path_factory.mktemp("sounds") / "tones"
    rng = np.random.default_rng(0)
    for recording in range(10):
        for kind, labels in enumerate((["low"], ["high"], ["high", "low"])):
            for take in range(4):
                wave = sound(labels, 0.5, rng)
                for label in labels:
                    path = root / label / f"rec{recording}_{kind}{take}.wav"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    soundfile.write(path, wave, RATE_HZ, subtype="PCM_16")
    return root


@pytest.fixture(scope="module")
def run(private_cache, tiny_recipe, sounds, tmp_path_factory) -> Run:
    recipe = tiny_recipe(
        dataset={
            "name": "folder",
            "options": {
                **{"clip_s": 0.5, "sample_rate_hz": RATE_HZ, "silence_percentage": 20},
                **{"several_labels": True, "group_pattern": "(rec[0-9]+)"},
            },
        },
        model={"name": "ds_cnn", "preset": "mcu", "arguments": {}},
        frontend={"sample_rate_hz": RATE_HZ, "mel_max_hz": 4000.0, "hop_samples": 256},
        # A mask may hide a tone.
        augmentation=dict.fromkeys(
            ("copies", "time_masks", "frequency_masks", "mixup_probability"), 0
        ),
        training={"epochs": 20, "batch_size": 8, "learning_rate": 1e-2, "weight_average": 0.0},
    )
    folder = tmp_path_factory.mktemp("runs") / "tones"
    train(recipe, folder, sounds)
    export_run(Run(folder), sounds)
    return Run(folder)


def test_validation_chooses_the_thresholds_of_the_detector(run):
    metrics = run.metrics()
    assert metrics.test["mean_average_precision"] > 0.95  # by chance about 0.6
    bundle = Bundle.load(run.folder / "export")
    assert set(metrics.thresholds) == set(bundle.labels) == {"_silence_", "high", "low"}
    for config in (bundle.detector, load_detector(run.detector_path)):
        assert config.several_labels
        assert {row.label: row.threshold for row in config.classes} == metrics.thresholds
    header = (bundle.folder / "detector_config.h").read_text()
    assert "#define M3NET_DETECTOR_SEVERAL_LABELS 1\n" in header
    for row in bundle.detector.classes:
        assert f"{{{row.threshold_units}, {row.release_units}, " in header
    assert "LOGISTIC" in bundle.manifest.operators and "SOFTMAX" not in bundle.manifest.operators
    assert bundle.manifest.model.output_quantization == (1 / 256, -128)


def test_figures_are_map_and_by_class(run, sounds):
    result = clips.evaluate_clips(run, sounds)
    metrics = run.metrics()
    reached = metrics.test["mean_average_precision"]
    assert result["float"]["mean_average_precision"] == pytest.approx(reached)
    assert "accuracy" not in result["float"] and result["clips"] == metrics.test["clips"]
    classes = result["int8_desktop"]["classes"]
    assert {label: of["threshold"] for label, of in classes.items()} == metrics.thresholds
    assert [of["clips"] for of in classes.values()] == [5, 16, 16]
    assert all(
        min(classes[label][key] for key in ("recall", "precision")) > 0.8 for label in TONES_HZ
    )
    terminal = Console(record=True, width=140)
    terminal.print(rendering.clips_table(result))
    printed = terminal.export_text()
    assert "mean (mAP)" in printed and "accuracy" not in printed


def test_a_sound_has_all_classes_that_reach_their_thresholds(run, sounds):
    both, alone = sounds / "low" / "rec0_20.wav", sounds / "low" / "rec0_00.wav"
    words = ["classify", "--model", str(run.folder), str(both), str(alone)]
    done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    answers = [set(json.loads(line)["labels"]) for line in done.output.splitlines()]
    assert answers == [{"high", "low"}, {"low"}]
    lines = CliRunner().invoke(app, words, catch_exceptions=False).output.splitlines()
    assert "below the threshold: _silence_" in lines[0]
    assert lines[1].index("low ") < lines[1].index("below") < lines[1].index("high ")


def test_two_sounds_at_once_are_two_events(run):
    rng = np.random.default_rng(7)
    quiet = sound([], 1.5, rng)
    waves = [quiet, sound(["low"], 1, rng), quiet, sound(["high", "low"], 1, rng), quiet]
    classifier = Classifier(run.folder)
    recognizer = classifier.recognizer()
    events = recognizer.push(to_pcm16(np.concatenate(waves).astype(np.float32)))
    labels = [classifier.labels[event.label] for event in events]
    assert labels[0] == "low" and sorted(labels[1:]) == ["high", "low"]
    spans = classifier.sound_events([to_pcm16(np.concatenate(waves).astype(np.float32))])
    first, second = spans[1:]
    assert {first.label, second.label} == {"high", "low"} and second.start_s < first.end_s


def test_a_scene_has_an_event_for_each_label(run, sounds):
    dataset = run.dataset(sounds)
    settings = SceneSettings(hours=1 / 60, scene_s=30.0, snr_db=(25.0, 35.0))
    scenes = [*make_scenes(dataset, "test", frozenset({"high", "low"}), settings)]
    spans = [(event.start_s, event.end_s) for scene in scenes for event in scene.events]
    assert 0 < len(spans) - len(set(spans)) < len(set(spans))  # some clips have both
    result = live.evaluate_streaming(run, sounds, scenes=settings)
    assert result["all"]["true_events"] == len(spans)
    assert result["all"]["miss_rate"] < 0.2


def test_the_chain_compares_map(run, sounds, no_emulator):
    summary = chain.run_chain(run, "mps2_an386", sounds)
    stages = summary["mean_average_precision"]
    assert "accuracy" not in summary and "int8_accuracy_95" not in summary
    assert stages["float"] == pytest.approx(run.metrics().test["mean_average_precision"])
    figures = clips.evaluate_clips(run, sounds)["int8_desktop"]
    assert stages["int8_desktop"] == pytest.approx(figures["mean_average_precision"])
    terminal = Console(record=True, width=100)
    terminal.print(chain.chain_table(summary))
    assert "mAP, int8 on the desktop" in terminal.export_text()


def test_scores_that_are_no_256ths_are_refused(run, sounds, tmp_path, monkeypatch):
    """As of a network that averages sigmoids over the time, such as efficientnet_attention."""
    monkeypatch.setattr(from_run, "tensor_quantization", lambda *_: (0.00389, -128))
    with refuses(ModelError, run.folder, "ds_cnn", "sigmoid"):
        export_run(run, sounds, tmp_path / "export")


def test_a_comparison_of_best_classes_is_refused(run, sounds):
    with refuses(ModelError, run.folder, "m3net export", "m3net evaluate"):
        quantize_run(run, sounds, Method.parse("ptq"))
