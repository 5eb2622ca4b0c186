# SPDX-License-Identifier: Apache-2.0
"""Bodies on few clips of each class: draws, int8 classifiers, figures and tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf.audio.datasets import dataset_info
from m3net_tf.boards import DEFAULT_BOARD
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.compiler.arithmetic import quantize_factor
from m3net_tf.export.enrolment import enrolment_network
from m3net_tf.lab.bench import body as body_module
from m3net_tf.lab.bench.body import (
    BodyResult,
    Plan,
    accuracy_of,
    body_report,
    read_folds,
    run_bench_body,
)
from m3net_tf.lab.bench.body_cost import body_cost
from m3net_tf.lab.bench.body_embeddings import embed_clips, open_bodies, windows_of
from m3net_tf.lab.bench.body_head import Int8Head, int8_head
from m3net_tf.networks.pretrained import FOLDER
from m3net_tf.runtime.interpreter import run_reference
from m3net_tf.runtime.metadata import read_metadata
from m3net_tf.system.errors import ConfigError, DataError, ModelError
from m3net_tf.system.progress import silent
from m3net_tf.tflite.read import read_graph
from m3net_tf.tflite.write import write_graph
from m3net_tf.training.recipe.sections import AugmentationSection

SHIPPED = "m3net-mcu-sounds"
TFLITE = FOLDER / SHIPPED / "model.tflite"
RATE_HZ = 16_000
UNEMULATED = "nucleo_h753zi"


@pytest.fixture(scope="module")
def esc10(tmp_path_factory) -> Path:
    """Folds 1, 2 and 4 of tones: per class two clips of one recording."""
    root = tmp_path_factory.mktemp("esc10")
    (root / "meta").mkdir()
    (root / "audio").mkdir()
    rng = np.random.default_rng(0)
    time_s = np.arange(RATE_HZ // 2) / RATE_HZ
    rows = []
    for fold in (1, 2, 4):
        for number, label in enumerate(dataset_info("esc10").labels):
            for take in range(2):
                name = f"{fold}-{number}{fold}-{take}-{number}.wav"
                hz = 200 * 1.5**number * (1 + 0.01 * rng.standard_normal())
                tone = 0.3 * np.sin(2 * np.pi * hz * time_s)
                noisy = tone + 0.001 * rng.standard_normal(len(tone))
                soundfile.write(root / "audio" / name, noisy, RATE_HZ)
                rows.append((name, fold, label, f"{number}{fold}"))
    with (root / "meta" / "esc50.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("filename", "fold", "category", "src_file"), *rows])
    return root


@pytest.fixture(scope="module")
def result(esc10: Path) -> BodyResult:
    plan = Plan((1, 3, None), draws=2)
    return run_bench_body([SHIPPED], {"esc10": esc10}, plan=plan, board=UNEMULATED)


def test_tones_are_recognised_after_a_few_clips(result: BodyResult):
    facts = result["data"]["esc10"]
    assert (facts["clips"], facts["folds"]) == (60, [1, 2, 4])
    by_shots = facts["accuracy"][SHIPPED]
    assert list(by_shots) == ["1", "3", "all"]
    for shots, draws in (("1", 2), ("3", 2), ("all", 1)):
        for kind in ("int8", "float"):
            figures = by_shots[shots][kind]
            low, high = figures["accuracy_95"]
            assert 0.7 < figures["accuracy"] <= 1 and low <= figures["accuracy"] <= high
            assert (len(figures["draws"]), len(figures["folds"])) == (draws, 3)
            assert np.mean(figures["folds"]) == pytest.approx(figures["accuracy"])
    difference = by_shots["all"]["int8"]["accuracy"] - by_shots["all"]["float"]["accuracy"]
    assert abs(difference) < 0.05


def test_the_report_names_what_is_no_test_and_what_is_not_measured(result: BodyResult):
    about = result["bodies"][SHIPPED]
    assert (about["channels"], about["trained_on"]) == (64, "esc10")
    assert about["window_s"] == pytest.approx(5, abs=0.05)
    assert "cost" not in about and UNEMULATED in about["no_cost"]
    report = body_report(result)
    assert "| body | classifier | 1 | 3 | all |" in report
    assert f"{SHIPPED} was trained on esc10" in report and about["no_cost"] in report
    json.dumps(result, allow_nan=False)


def test_draws_are_seeded_and_nested_and_leave_the_test_fold_out(esc10: Path):
    folds = read_folds("esc10", esc10, RATE_HZ)
    few = folds.drawn(1, 1, 0, seed=0)
    assert len(few) == 10 and set(folds.labels[few]) == set(range(10))
    more = folds.drawn(1, 3, 0, seed=0)
    assert set(few) < set(more) and not np.isin(folds.fold[more], 1).any()
    assert np.array_equal(more, folds.drawn(1, 3, 0, seed=0))
    others = [folds.drawn(1, 1, 1, 0), folds.drawn(2, 1, 0, 0), folds.drawn(1, 1, 0, 1)]
    assert not any(np.array_equal(few, other) for other in others)
    everything = np.flatnonzero(folds.fold != 1)
    for shots in (None, 4, 9):
        assert np.array_equal(folds.drawn(1, shots, 0, 0), everything)
        assert folds.draws(shots, 5) == 1
    assert folds.draws(3, 5) == 5


def test_the_interval_grows_with_the_differences_of_draws(esc10: Path):
    folds = read_folds("esc10", esc10, RATE_HZ)
    right = np.arange(60) % 4 > 0
    same = accuracy_of(np.stack([right, right]), folds)
    assert same["accuracy"] == 0.75 == same["draws"][1]
    assert accuracy_of(right[None], folds)["accuracy_95"] == same["accuracy_95"]
    other = right.copy()
    other[::6] = False
    differing = accuracy_of(np.stack([right, other]), folds)
    widths = [high - low for low, high in (same["accuracy_95"], differing["accuracy_95"])]
    assert widths[0] < widths[1]


def test_windows_are_half_a_window_apart_and_the_last_one_ends_with_the_sound():
    sound = np.arange(25, dtype=np.float32)
    firsts = {25: [0, 5, 10, 15], 20: [0, 5, 10], 21: [0, 5, 10], 22: [0, 5, 10, 12], 10: [0]}
    for samples, starts in firsts.items():
        assert windows_of(sound[:samples], 10, 2, "pad")[:, 0].tolist() == starts
    short = windows_of(sound[1:5], 10, 2, "pad")
    assert short.tolist() == [[1, 2, 3, 4, 0, 0, 0, 0, 0, 0]]
    assert windows_of(sound[1:5], 10, 2, "loop")[0, 8:].tolist() == [1, 2]


def test_a_classifier_is_fitted_to_windows_on_the_board_and_to_their_copies(esc10: Path):
    (body,) = open_bodies(SHIPPED)
    folds = read_folds("esc10", esc10, body.rate_hz)
    settings = AugmentationSection(copies=2, gain_db=(-30.0, -20.0), noise_probability=0)
    embeddings = embed_clips(body, folds.dataset, folds.clips[:3], settings, silent)
    assert embeddings.windows.dtype == np.int8 and embeddings.clip.tolist() == [0, 1, 2]
    windows = body.embed(np.stack([folds.dataset.load(clip) for clip in folds.clips[:3]]))
    assert np.array_equal(embeddings.windows, windows)
    rows, clips = embeddings.training(np.array([0, 2]))
    assert clips.tolist() == [0, 2] * 3
    scale, zero_point = embeddings.quantization
    np.testing.assert_allclose(rows[:2], scale * (windows[[0, 2]].astype(float) - zero_point))
    assert not np.allclose(rows[:2], rows[2:4]) and not np.allclose(rows[2:4], rows[4:])
    again = embed_clips(body, folds.dataset, folds.clips[:3], settings, silent)
    assert np.array_equal(again.copies, embeddings.copies)


def test_int8_logits_have_the_bytes_of_the_network():
    tflite, metadata = read_metadata(TFLITE)
    shape = (3, *metadata.manifest["model"]["input_shape"])
    features = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    features[1:] //= np.array([4, 30], np.int8)[:, None, None, None]
    graph = read_graph(tflite)
    graph.operations.pop()
    graph.outputs = [graph.operations[-1].output]
    expected = run_reference(write_graph(tflite, graph), features)
    source, weights, bias = (graph.operations[-2].input(index) for index in range(3))
    own = weights.data.reshape(len(weights.data), -1).T
    scale = np.float64(source.scale) / np.float64(graph.outputs[0].scale)
    head = Int8Head(
        own,
        bias.data - source.zero_point * own.sum(axis=0, dtype=int),
        tuple(quantize_factor(scale * float(each)) for each in weights.scales),
        float(graph.outputs[0].scale),
        graph.outputs[0].zero_point,
    )
    embeddings = run_reference(enrolment_network(tflite), features)
    assert np.array_equal(head.logits(embeddings), expected)
    scores = 256 * head.scores(embeddings) - 128
    np.testing.assert_allclose(scores, run_reference(tflite, features), atol=1)


def test_an_int8_classifier_is_close_to_the_real_one():
    rng = np.random.default_rng(0)
    embeddings = rng.integers(-128, 60, (50, 30)).astype(np.int8)
    weights = rng.normal(0, np.linspace(0, 0.2, 4), (30, 4))  # one class has no weights
    bias = np.array([1, -2, 0.5, 0])
    head = int8_head(weights, bias, embeddings, (0.1, -128))
    real = 0.1 * (embeddings + 128.0) @ weights + bias
    step = (max(real.max(), 0) - min(real.min(), 0)) / 255
    found = (head.logits(embeddings).astype(float) - head.zero_point) * step
    np.testing.assert_allclose(found, real, atol=3 * step)


def test_a_teacher_is_a_body_of_floats(tmp_path: Path, esc10: Path):
    from m3net_tf.system.keras import keras, tf

    waves = keras.Input((RATE_HZ,), batch_size=1)
    pieces = keras.layers.Reshape((160, 100))(waves)
    dense = keras.layers.Dense(5, name="bands", activation="relu")(pieces)
    pooled = keras.layers.GlobalAveragePooling1D(name="pool")(dense)
    network = keras.Model(waves, keras.layers.Dense(3, name="scores")(pooled))
    path = tmp_path / "teacher.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())
    plan = Plan([1], draws=2)
    outputs = ["pool/Mean", ""]
    result = run_bench_body([str(path)], {"esc10": esc10}, outputs=outputs, plan=plan)
    embedding, scores = result["bodies"].values()
    assert (embedding["channels"], scores["channels"]) == (5, 3)
    assert embedding["window_s"] == 1 and "no_cost" in embedding
    figures = result["data"]["esc10"]["accuracy"][f"{path} pool/Mean"]["1"]
    assert "int8" not in figures and len(figures["float"]["draws"]) == 2


@pytest.mark.slow
@pytest.mark.skipif(
    bool(why_no_emulation(DEFAULT_BOARD, "compiled")), reason="no emulated board here"
)
def test_costs_are_of_a_second_of_sound():
    tflite, metadata = read_metadata(TFLITE)
    cost = body_cost(enrolment_network(tflite), metadata, DEFAULT_BOARD, silent)
    assert cost["window_s"] == metadata.window_samples / RATE_HZ
    assert cost["instructions_per_second"] > 100_000 < cost["frontend_instructions_per_second"]
    assert 10_000 < cost["network_flash_bytes"] < cost["flash_bytes"] < len(tflite)
    assert cost.get("cycles_per_second", {}).keys() or cost["no_cycles"]


def test_networks_from_nothing_get_the_same_draws(esc10: Path, monkeypatch: pytest.MonkeyPatch):
    def knows_all(dataset, training, tested, board, log):
        if len(training) == 10:
            raise DataError("too few clips")
        assert not {clip.group for clip in training} & {clip.group for clip in tested}
        return dataset.label_ids(tested)

    monkeypatch.setattr(body_module, "trained_from_nothing", knows_all)
    plan = Plan([1, None], draws=2)
    result = run_bench_body([], {"esc10": esc10}, plan=plan, from_nothing=True)
    (figures,) = result["data"]["esc10"]["accuracy"].values()
    assert figures["1"] == {"missing": "too few clips"}
    assert figures["all"]["int8"]["accuracy"] == 1
    assert "too few clips" in body_report(result)


@pytest.mark.slow
def test_the_command_writes_json_and_tables(m3net, esc10: Path, tmp_path: Path):
    out = tmp_path / "results" / "bodies.json"
    command = ["bench", "body", SHIPPED, "--data", f"esc10={esc10}", "--shots", "all"]
    done = m3net(*command, "--board", UNEMULATED, "--out", out)
    assert done.status == 0 and done.out.rstrip() == out.with_suffix(".md").read_text().rstrip()
    facts = json.loads(out.read_text())
    assert facts["data"]["esc10"]["accuracy"][SHIPPED].keys() == {"all"}
    assert facts["versions"] and facts["seed"] == 0


def test_what_cannot_be_measured_is_refused(m3net):
    with refuses(ConfigError, "synth"):
        read_folds("synth", None, RATE_HZ)
    with refuses(ModelError, "nothing"):
        open_bodies("nothing")
    for shots in ("0", "five"):
        done = m3net("bench", "body", SHIPPED, "--data", "esc10", "--shots", shots)
        assert done.status == 2 and "--shots" in done.err
