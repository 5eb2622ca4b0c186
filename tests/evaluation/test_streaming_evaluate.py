# SPDX-License-Identifier: Apache-2.0
"""A run from its export to measured live detection, and the settings in C."""

import csv
import dataclasses
import functools
import json
import shutil

import numpy as np
import pytest
import soundfile
from refusals import refuses
from rich.console import Console

from m3net_tf.audio.datasets import Clip
from m3net_tf.audio.frontend.level import NO_GAIN, Gain, Microphone
from m3net_tf.evaluation import clips, live, rendering
from m3net_tf.evaluation.scenes import SceneSettings, make_scenes
from m3net_tf.export import Bundle, export_run
from m3net_tf.runtime import (
    Classifier,
    StreamingRecognizer,
    detect,
    load_detector,
    save_detector,
)
from m3net_tf.runtime.interpreter import run_reference
from m3net_tf.system.errors import ConfigError
from m3net_tf.training import Run
from m3net_tf.training.clips.features import FeatureSet

pytestmark = pytest.mark.usefixtures("private_cache")

SCENES = SceneSettings(hours=60 / 3600, scene_s=30.0, seed=1)


@pytest.fixture(scope="module")
def tuned(private_cache, exported_run, tmp_path_factory) -> tuple[Run, dict]:
    run = Run(shutil.copytree(exported_run, tmp_path_factory.mktemp("tuned") / "tiny"))
    result = live.evaluate_streaming(run, target_false_accepts_per_hour=300.0, scenes=SCENES)
    return run, result


@pytest.fixture
def copy(exported_run, tmp_path) -> Run:
    return Run(shutil.copytree(exported_run, tmp_path / "tiny"))


def test_clip_accuracy_is_that_of_the_training(exported_run):
    run = Run(exported_run)
    result = clips.evaluate_clips(run)
    assert result["float"]["accuracy"] == run.metrics().test["accuracy"]
    low, high = result["int8_desktop"]["accuracy_95"]
    assert low <= result["int8_desktop"]["accuracy"] <= high
    assert result["clips"] == 10 and result["split"] == "test"
    assert all(0 < result[stage]["mean_auc"] <= 1 for stage in ("float", "int8_desktop"))
    terminal = Console(record=True, width=100)
    terminal.print(rendering.clips_table(result))
    text = terminal.export_text()
    assert "int8 on the desktop" in text and "Protocol: generated-split." in text


def test_areas_are_of_whole_clips_and_of_each_class_with_clips():
    """The second clip has two windows, whose mean counts; class c has no clip."""
    whole = dict.fromkeys((1, 2), "of two windows")
    held_out = [
        Clip(f"{i}", label, "test", "", start_s=i, duration_s=1.0, whole=whole.get(i, ""))
        for i, label in enumerate("abbab")
    ]
    scores_of_a = [0.9, 0.3, 0.5, 0.35, 0.1]  # clip 3 is behind the mean of 1 and 2
    scores = np.array([[score, 1 - score, 0.0] for score in scores_of_a], np.float32)
    ids = np.array(["ab".index(clip.label) for clip in held_out], np.int32)
    features = FeatureSet(tuple(held_out), ids, np.zeros((1, 5, 1, 1), np.int8))
    figures = clips.stage_accuracy(scores, features, ("a", "b", "c"))
    assert figures["accuracy"] == 0.75
    assert figures["mean_auc"] == pytest.approx(0.75)  # three of four pairs are in order
    expected = {"a": (1 + 2 / 3) / 2, "b": (1 + 2 / 3) / 2}
    assert figures["average_precision"] == pytest.approx(expected)


def test_clip_accuracy_without_an_export(tiny_run):
    result = clips.evaluate_clips(Run(tiny_run), split="validation")
    assert "float" in result and "int8_desktop" not in result


def test_result_names_what_it_was_measured_on(tuned):
    run, result = tuned
    assert json.loads((run.folder / "streaming.json").read_text()) == json.loads(json.dumps(result))
    assert result["model_sha256"] == Bundle.load(run.folder / "export").manifest.model.sha256
    assert result["target_false_accepts_per_hour"] == 300.0
    assert result["split"] == "test" and result["hours"] == pytest.approx(1 / 60)
    assert result["scenes"]["seed"] == 1
    assert "git_commit" in result and "python" in result["versions"]
    assert set(result["classes"]) == set(run.dataset(None).info.labels)
    for figures in (result["all"], *result["classes"].values()):
        assert 0 <= figures["missed"] <= figures["true_events"]
    assert result["all"]["true_events"] == sum(
        figures["true_events"] for figures in result["classes"].values()
    )
    assert result["all"]["true_events"] >= 5


def test_target_is_kept_on_validation(tuned):
    _, result = tuned
    assert result["tuned_on_validation"]["all"]["false_accepts_per_hour"] <= 300.0


def test_curve_is_written_as_table_and_picture(tuned):
    run, result = tuned
    with (run.folder / "streaming_curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    everything = [row for row in rows if row["class"] == "all"]
    assert {row["class"] for row in rows} == {"all", *result["classes"]}
    assert {row["true_events"] for row in everything} == {str(result["all"]["true_events"])}
    thresholds = [float(row["threshold"]) for row in everything]
    assert thresholds == sorted(thresholds) and len(thresholds) > 20
    assert (run.folder / "streaming_curve.png").read_bytes().startswith(b"\x89PNG")
    terminal = Console(record=True, width=120)
    terminal.print(rendering.streaming_table(result))
    text = " ".join(terminal.export_text().split())  # the caption wraps
    assert "siren" in text and "false accepts" in text and "skips" in text
    assert "Protocol: generated-split." in " ".join(text.split())


def test_settings_found_go_into_the_export(tuned, exported_run):
    run, result = tuned
    config = load_detector(run.detector_path)
    bundle = Bundle.load(run.folder / "export")
    assert config.to_dict() == result["detector"]
    assert bundle.detector == config
    header = (bundle.folder / "detector_config.h").read_text()
    assert header != (exported_run / "export" / "detector_config.h").read_text()
    first = config.classes[0]
    assert f"{{{first.threshold_units}, {first.release_units}, " in header
    # Measured again without a target: the settings that the run has.
    again = live.evaluate_streaming(run, scenes=SCENES)
    assert again["all"] == result["all"] and again["tuned_on_validation"] is None


def test_the_gain_of_the_export_is_heard_unless_another_is_given(copy, monkeypatch):
    """A quiet microphone gives what its samples with the board's gain give without a gain."""
    bundle = Bundle.load(copy.folder / "export")
    bundle.set_detector(bundle.detector.with_gain(Gain(3.0, automatic=True)))
    short = dataclasses.replace(SCENES, hours=12 / 3600, scene_s=12.0)
    microphone = Microphone(bundle.frontend, bundle.detector.gain)

    def heard(config, amplify=lambda pcm: pcm):
        def quiet(*arguments):
            for scene in make_scenes(*arguments):
                pcm = (scene.pcm // 50).astype(np.int16)
                yield dataclasses.replace(scene, pcm=amplify(pcm))

        monkeypatch.setattr(live, "make_scenes", quiet)
        return live.record(bundle, copy.dataset(None), "test", config, short).tape.levels

    (_, exported), (_, plain) = (live.exported_detector(copy, gain) for gain in (None, NO_GAIN))
    amplified = heard(exported)
    assert np.array_equal(amplified, heard(plain, microphone.push))
    assert microphone.reading.gain_db > 15
    assert not np.array_equal(amplified, heard(plain))


def test_an_edited_file_comes_into_the_next_export(copy):
    lines: list[str] = []
    bundle = Bundle.load(copy.folder / "export")
    before = bundle.tflite
    config = dataclasses.replace(bundle.detector, run_columns=10, gate_level=-90)
    save_detector(config, copy.detector_path)
    assert export_run(copy, None, log=lines.append).detector == config
    assert "already exported" in lines[0]
    assert "RUN_COLUMNS 10\n" in (bundle.folder / "detector_config.h").read_text()
    assert Bundle.load(bundle.folder).detector == config
    assert Bundle.load(bundle.folder).tflite == before
    assert Classifier(copy.folder, engine="litert").metadata.detector == config


def test_a_file_of_another_network_is_named(copy):
    bundle = Bundle.load(copy.folder / "export")
    save_detector(dataclasses.replace(bundle.detector, window_columns=7), copy.detector_path)
    for work in (lambda: export_run(copy, None), lambda: live.evaluate_streaming(copy)):
        with refuses(ConfigError, "detector.yaml", "detector.window_columns", "7"):
            work()


def test_sounds_without_events_follow_the_scenes(exported_run, tmp_path):
    bundle = Bundle.load(exported_run / "export")
    dataset = Run(exported_run).dataset(None)
    short = dataclasses.replace(SCENES, hours=12 / 3600, scene_s=12.0)
    alone = live.record(bundle, dataset, "test", bundle.detector, short)
    noise = tmp_path / "noise.wav"
    rate_hz = bundle.frontend.sample_rate_hz
    soundfile.write(noise, np.random.default_rng(0).normal(0, 0.1, 6 * rate_hz), rate_hz)
    longer = live.record(bundle, dataset, "test", bundle.detector, short, [noise])
    assert longer.truth == alone.truth
    assert np.array_equal(longer.tape.scores[: len(alone.tape.scores)], alone.tape.scores)
    assert longer.hours == pytest.approx(18 / 3600, abs=0.1 / 3600)


def test_recording_is_what_a_recognizer_hears_step_by_step(exported_run):
    bundle = Bundle.load(exported_run / "export")
    dataset = Run(exported_run).dataset(None)
    short = dataclasses.replace(SCENES, hours=12 / 3600, scene_s=12.0)
    config = dataclasses.replace(bundle.detector, run_columns=10)
    recording = live.record(bundle, dataset, "test", config, short)
    # The network is barely trained and never sure: thresholds that its scores cross.
    lows, highs = (np.percentile(recording.tape.scores, [40, 75], axis=0) + 128) / 256
    config = dataclasses.replace(
        config,
        classes=tuple(
            dataclasses.replace(settings, threshold=high, release=low, window_runs=2, hits=1)
            for settings, low, high in zip(
                config.classes, lows.tolist(), highs.tolist(), strict=True
            )
        ),
    )
    (scene,) = make_scenes(dataset, "test", frozenset(config.labels), short)
    model = functools.partial(run_reference, bundle.tflite)
    recognizer = StreamingRecognizer(bundle.frontend, model, config)
    events = [e for at in range(0, 192_000, 320) for e in recognizer.push(scene.pcm[at : at + 320])]
    assert detect(config, recording.tape) == events
    assert len(events) >= 3
    assert recording.truth == scene.events


def test_command_prints_json(m3net, exported_run):
    status, out, _ = m3net("evaluate", exported_run, "--json")
    assert status == 0
    assert json.loads(out)["int8_desktop"]["accuracy"] >= 0


def test_command_measures_live_detection(m3net, copy):
    words = (copy.folder, "--streaming", "--hours", 0.016, "--split", "validation")
    status, out, _ = m3net("evaluate", *words, "--gain", "auto")
    assert status == 0 and "validation scenes" in out
    assert "Gain of the microphone: automatic." in " ".join(out.split())
    assert (copy.folder / "streaming.json").exists()
    assert not copy.detector_path.exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--split", "train"], "choose one of validation, test"),
        (["--target-false-accepts-per-hour", "1"], "needs --streaming"),
        (["--gain", "auto"], "needs --streaming"),
        (["--streaming", "--gain", "loud"], "0 to 36 dB, or auto"),
        (["--streaming", "--target-false-accepts-per-hour", "-1"], "give 0 or more"),
        (["--streaming", "--hours", "0"], "scenes.hours is 0"),
    ],
)
def test_errors_are_one_line(m3net, exported_run, words, named):
    before = sorted(exported_run.rglob("*"))
    status, _, err = m3net("evaluate", exported_run, *words)
    assert status == 2 and named in err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert sorted(exported_run.rglob("*")) == before


def test_without_an_export(m3net, tiny_run):
    status, _, err = m3net("evaluate", tiny_run, "--streaming")
    assert status == 2 and "is not an export" in err
