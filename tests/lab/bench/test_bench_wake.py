# SPDX-License-Identifier: Apache-2.0
"""A wake word on recordings: misses of the word, false accepts in hours without it."""

import csv
import dataclasses
import shutil

import numpy as np
import pytest
import soundfile
from refusals import refuses
from typer.testing import CliRunner

from m3net_tf.cli import app
from m3net_tf.export import Bundle
from m3net_tf.lab.bench.wake import run_bench_wake
from m3net_tf.runtime import StreamingRecognizer
from m3net_tf.system.errors import DataError

pytestmark = pytest.mark.usefixtures("private_cache")


def test_recordings_of_the_word_and_of_others(exported, tmp_path):
    bundle = Bundle.load(shutil.copytree(exported.folder, tmp_path / "export"))
    word = bundle.labels[0]
    rate_hz = bundle.frontend.sample_rate_hz
    quick = dataclasses.replace(bundle.detector.classes[0], threshold=0.1, release=0.05, hits=1)
    others = [dataclasses.replace(each, event=False) for each in bundle.detector.classes[1:]]
    bundle.set_detector(dataclasses.replace(bundle.detector, classes=(quick, *others)))
    bundle = Bundle.load(bundle.folder)
    rng = np.random.default_rng(0)
    for name, seconds in (("said/a", 2), ("said/b", 1), ("others/c", 5), ("others/d", 4)):
        path = tmp_path / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, rng.normal(0, 0.1, seconds * rate_hz), rate_hz)
    said = {word: [tmp_path / "said"]}
    without = [tmp_path / "others"]
    out = tmp_path / "out"
    result = run_bench_wake(bundle, said, without, target=1e6, out=out)
    (quiet,) = result["words"][word]
    assert quiet["snr_db"] is None
    figures = quiet["tuned"]["figures"]
    assert figures["true_events"] == 2
    assert result["hours"] == pytest.approx(9 / 3600, abs=0.1 / 3600)
    recognizer = StreamingRecognizer(bundle.frontend, bundle.run_reference, bundle.detector)
    pcm = [soundfile.read(path, dtype="int16")[0] for path in sorted(without[0].iterdir())]
    assert figures["false_accepts"] == len(recognizer.push(np.concatenate(pcm)))
    with (out / "wake_curve.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["class"] == word]
    least = min(int(row["missed"]) for row in rows)
    assert quiet["at_target"]["figures"]["missed"] == least
    assert result["unreadable"] == []
    missed = figures["missed"]
    assert quiet["takes"]["takes"] == 2 and 2 * quiet["takes"]["miss_rate"] == missed
    for ranges in quiet["takes_by"].values():
        assert ranges[0]["at_least"] is None and ranges[-1]["below"] is None
        assert sum(each["takes"] for each in ranges) == 2
        assert sum(each["takes"] * each["miss_rate"] for each in ranges) == missed
    result = run_bench_wake(bundle, said, without, noise=without, snr_db=[5.0, -20.0], target=0)
    levels = result["words"][word]
    assert [each["snr_db"] for each in levels] == [None, 5.0, -20.0]
    assert levels[0]["takes"] == quiet["takes"]
    for noisy in levels:
        assert noisy["tuned"]["figures"]["false_accepts"] == figures["false_accepts"]
        chosen = noisy["at_target"]
        assert chosen is None or chosen["figures"]["false_accepts"] == 0
    with refuses(DataError, "--noise"):
        run_bench_wake(bundle, said, without, snr_db=[10.0])


def test_several_words_have_the_figures_of_each_alone(exported, tmp_path):
    bundle = Bundle.load(exported.folder)
    rng = np.random.default_rng(0)
    said = {word: [tmp_path / word] for word in bundle.labels[:2]}
    for folder in (*said, "others"):
        for name in ("a", "b"):
            path = tmp_path / folder / f"{name}.wav"
            path.parent.mkdir(exist_ok=True)
            rate_hz = bundle.frontend.sample_rate_hz
            soundfile.write(path, rng.normal(0, 0.1, 2 * rate_hz), rate_hz)
    without = [tmp_path / "others"]
    result = run_bench_wake(bundle, said, without, out=tmp_path / "out")
    for word, places in said.items():
        alone = run_bench_wake(bundle, {word: places}, without)
        assert alone["words"] == {word: result["words"][word]}
        assert alone["hours"] == result["hours"]
    with (tmp_path / "out" / "wake_curve.csv").open() as file:
        assert {row["class"] for row in csv.DictReader(file)} == {"all", *said}


def test_folders_of_several_words_name_their_word(exported):
    words = ["bench", "wake", str(exported.folder.parent), "--negatives", "others", "--recordings"]
    done = CliRunner().invoke(app, [*words, "folder"])
    assert done.exit_code == 2
    assert "--recordings folder" in done.output and f"{exported.labels[0]}=" in done.output


def test_damaged_files_are_left_out_and_named(exported, tmp_path):
    bundle = Bundle.load(exported.folder)
    rate_hz = bundle.frontend.sample_rate_hz
    sound = np.random.default_rng(0).normal(0, 0.1, rate_hz)
    for name in ("said/a", "said/cut", "others/b"):
        path = tmp_path / f"{name}.flac"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, sound, rate_hz)
    cut = tmp_path / "said" / "cut.flac"
    cut.write_bytes(cut.read_bytes()[:1000])
    (tmp_path / "others" / "text.wav").write_text("no sound")
    word = bundle.labels[0]
    said = {word: [tmp_path / "said"]}
    lines: list[str] = []
    result = run_bench_wake(bundle, said, [tmp_path / "others"], log=lines.append)
    assert result["unreadable"] == ["cut.flac", "text.wav"]
    assert result["words"][word][0]["tuned"]["figures"]["true_events"] == 1
    assert sum("left out: " in line for line in lines) == 2
    (tmp_path / "said" / "a.flac").unlink()
    with refuses(DataError, "no recording"):
        run_bench_wake(bundle, said, [tmp_path / "others"])
