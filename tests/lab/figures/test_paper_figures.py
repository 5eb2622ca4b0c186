# SPDX-License-Identifier: Apache-2.0
"""Figures that show grids: their values, and the list of all tables and figures."""

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from refusals import refuses

from m3net_tf.audio.datasets import AudioDataset, Clip, dataset_info, load_dataset
from m3net_tf.audio.frontend import features, frontend_preset
from m3net_tf.lab.figures import catalogue as figures
from m3net_tf.lab.figures.accuracies import draw_leakage
from m3net_tf.lab.figures.activation_maps import gradient_maps, stage_layers
from m3net_tf.lab.figures.feature_maps import draw_feature_maps, fbsp_spectrogram
from m3net_tf.lab.figures.recordings import (
    draw_durations,
    entropy_bits,
    signal_values,
    zero_crossings_hz,
)
from m3net_tf.lab.figures.shown import Shown
from m3net_tf.lab.studies import paper_list
from m3net_tf.lab.studies.grid_file import find_grid, grid_names, load_grid
from m3net_tf.networks.models import build_model
from m3net_tf.system.artifacts import write_json, write_text
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.recipe import Recipe, save_recipe
from m3net_tf.training.run import Run

pytestmark = pytest.mark.usefixtures("private_cache")

DATASET = {"name": "synth", "options": {"clips_per_class": 6}}
PLAIN = {"dataset": DATASET, "model": {"name": "diffres", "arguments": {"method": "none"}}}


@pytest.fixture
def make_run(tmp_path) -> Callable[..., Path]:
    """A finished run's files without a network."""

    def make(name: str, values: dict = PLAIN, *, history: str = "epoch\n1\n", **test) -> Path:
        run = Run(tmp_path / name)
        save_recipe(Recipe.from_dict(values), run.recipe_path)
        write_text(run.folder / "history.csv", history)
        run.model_path.write_bytes(b"")
        metrics = {"parameters": 1, "macs": test.pop("macs", 100), "validation": {}, "test": test}
        write_json(run.metrics_path, {"dataset": {"name": "synth", "labels": ["a"]}, **metrics})
        return run.folder

    return make


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_every_table_and_figure_has_a_command():
    commands = paper_list.paper_items().values()
    named = {tuple(command.replace(" lab ", " ").split()[1:3]) for command in commands}
    grids = {("table", name) for name in grid_names() if not name.startswith("mcu/")}
    assert grids <= named
    assert {("figure", name) for name in figures.FIGURES if "/" in name} <= named
    for kind, name in named:
        assert kind != "table" or find_grid(name).is_file()
        assert kind != "figure" or name in figures.FIGURES
    used = {*map(figures.grid_of, figures.FIGURES)} - {""}
    assert set(grid_names("figure")) <= used <= {*grid_names("figure"), *grid_names()}


@pytest.mark.parametrize("name", grid_names("figure"))
def test_grids_of_figures_are_recipes_at_each_scale(name):
    for scale in yaml.safe_load(find_grid(name).read_text())["scales"]:
        grid = load_grid(name, scale)
        for recipe in (grid.recipe(cell) for cell in grid.cells):
            rate_hz = dataset_info(recipe.dataset.name).sample_rate_hz
            rate_hz = recipe.dataset.options.get("sample_rate_hz", rate_hz)
            assert recipe.frontend.sample_rate_hz == rate_hz


def test_values_of_signals():
    assert entropy_bits(np.tile([-1.0, 1.0], 50)) == 1
    assert entropy_bits(np.repeat(np.arange(16.0), 3)) == 4
    time = np.arange(8000) / 8000
    assert zero_crossings_hz(np.sin(2 * np.pi * 100 * time + 0.1), 8000) == 200
    values = signal_values(load_dataset("synth", clips_per_class=6))
    assert values["clips"] == 60
    assert 0 < values["entropy_bits"] < 4 and values["zero_crossings_hz_std"] > 0


def test_feature_maps_of_a_grid(tmp_path):
    picture, table, facts = figures.draw_figure("spectromasknet/fig8", tmp_path, scale="tiny")
    assert picture == tmp_path / "spectromasknet" / "fig8.tiny.png"
    rows = read_csv(table)
    grid = load_grid("spectromasknet/fig8", "tiny")
    for cell in grid.cells:
        own = [row for row in rows if row["column"] == cell.labels["Feature"]]
        shown = Shown(cell.labels, grid.recipe(cell), clip=cell.clip)
        clip = shown.find_clip()
        assert {(row["clip"], row["label"]) for row in own} == {(clip.clip_id, "dog_bark")}
        values = features(shown.recipe.frontend, shown.dataset.load(clip))
        first = [int(row["first_bin"]) for row in own]
        assert first[0] == 0 and len(own) == min(32, len(values))
        means = np.add.reduceat(values.mean(1), first) / np.diff([*first, len(values)])
        np.testing.assert_allclose([float(row["mean"]) for row in own], means, rtol=1e-4)
    noted = json.loads(facts.read_text())
    assert noted["scale"] == "tiny" and noted["title"] == grid.title
    assert {cell["recipe_sha256"] for cell in noted["cells"]} == set(noted["recipes"])
    (result,) = paper_list.figure_results("spectromasknet/fig8", tmp_path)
    assert (result["scale"], result["state"]) == ("tiny", "current")
    write_json(facts, {**noted, "cells": [{**noted["cells"][0], "recipe_sha256": "older"}]})
    (result,) = paper_list.figure_results("spectromasknet/fig8", tmp_path)
    assert result["state"] == "older recipe"


def test_clips_are_named_by_name_label_or_number():
    shown = Shown({}, Recipe.from_dict(PLAIN))
    first = shown.find_clip()
    assert first.label == shown.dataset.info.labels[0]
    for name in (first.clip_id, first.label, "1"):
        assert dataclasses.replace(shown, clip=name).find_clip() == first
    with refuses(DataError, "'11'", "air_conditioner"):
        dataclasses.replace(shown, clip="11").find_clip()
    with pytest.raises(ConfigError, match="one axis or two"):
        draw_feature_maps([Shown(dict.fromkeys("abc", "x"), shown.recipe)])
    with pytest.raises(ConfigError, match="has no run"):
        _ = Shown({"a": "b"}, shown.recipe).trained


def test_wavelets_find_a_tone():
    config = dataclasses.replace(frontend_preset("diffres"), kind="spectrogram", log="ln")
    wave = np.sin(2 * np.pi * 1000 * np.arange(4000) / 16_000)
    values = fbsp_spectrogram(config, wave)
    assert values.shape == (257, config.frame_count(4000))
    assert set(values.argmax(0)) == {32}  # 1000 Hz of 16 000 in 512 points


def test_durations():
    whole = load_dataset("synth", clips_per_class=6)
    clips = [dataclasses.replace(clip, duration_s=1.0) for clip in whole.clips]
    clips[0] = dataclasses.replace(clips[0], duration_s=0.4)
    shown = Shown({}, Recipe.from_dict(PLAIN))
    shown.__dict__["dataset"] = AudioDataset(whole.info, tuple(clips))
    rows = {label: (full, short) for label, full, short in draw_durations([shown]).rows}
    assert rows.pop(clips[0].label) == (5, 1)
    assert set(rows.values()) == {(6, 0)}


def test_masks_hide_half_of_the_map(tmp_path):
    _, table, _ = figures.draw_figure("spectromasknet/fig9", tmp_path, scale="tiny")
    shares = {row["mask"]: float(row["masked_share"]) for row in read_csv(table)}
    assert shares.pop("none") == 0
    assert set(shares) == {"random", "grid", "high_energy"}
    assert all(0.3 < share < 0.7 for share in shares.values())


def test_gain_of_classes_from_a_smaller_hop(make_run):
    arguments = {"method": "change_hop", "reduction": 0.75}
    coarse = {**PLAIN, "model": {"name": "diffres", "arguments": arguments}}
    folders = [
        make_run("40", coarse, recall={"a": 0.5, "b": 0.75}),
        make_run("10", recall={"a": 0.75, "b": 0.5, "c": 1.0}),
        make_run("10 again", recall={"a": 1.0, "b": 0.75, "c": 1.0}),
    ]
    runs = map(Run, folders)
    drawing = figures.draw_improvement([Shown({}, run.recipe(), None, run) for run in runs])
    assert drawing.columns[1:3] == ("at_80_ms", "at_20_ms")  # the front end has a hop of 20 ms
    assert [(row[0], row[-1]) for row in drawing.rows] == [("b", -12.5), ("a", 37.5)]
    assert drawing.facts["median_gain"] == 12.5


def test_accuracy_and_cost_by_hop(make_run):
    def at_hop(hop_samples: int) -> dict:
        return {**PLAIN, "frontend": {"hop_samples": hop_samples}}

    shown = [
        Shown({"Front end": "Mel", "Hop": str(hop)}, Recipe.from_dict(at_hop(hop)), run=Run(folder))
        for hop, folder in (
            (160, make_run("a", at_hop(160), accuracy=0.5, macs=200)),
            (160, make_run("b", at_hop(160), accuracy=0.7, macs=200)),
            (80, make_run("c", at_hop(80), accuracy=0.8, macs=400)),
        )
    ]
    rows = {row[1]: row[2:] for row in figures.draw_hops(shown).rows}
    assert rows[10.0] == (2, pytest.approx(60), pytest.approx(14.142, rel=1e-3), 200, 1.0)
    assert rows[5.0] == (1, pytest.approx(80), 0.0, 400, 2.0)


def test_accuracy_by_split_says_what_share_of_the_test_was_trained_on(make_run):
    def clip(n, split, group):
        return Clip(f"{n}", "a", split, group, Path("a.wav"))

    info = dataclasses.replace(dataset_info("us8k"), labels=("a",))
    clips = [clip(n, "train", f"fsID {n}") for n in range(4)]
    leaking = AudioDataset(
        info, (*clips, *(clip(n, "test", f"fsID {n - 2}") for n in (4, 5, 6, 7)))
    )
    clean = AudioDataset(info, (*clips, clip(4, "test", "fsID 9")))
    shown = []
    for split, dataset, accuracy in (("random", leaking, 0.9), ("official", clean, 0.4)):
        run = Run(make_run(split, accuracy=accuracy))
        labels = {"Data set": "US8K", "Network": "M3Net", "Split": split, "run": "seed0"}
        cell = Shown(labels, run.recipe(), None, run)
        vars(cell)["dataset"] = dataset
        shown.append(cell)
    drawing = draw_leakage(shown)
    shares = [(row[2], row[7], row[8]) for row in drawing.rows]
    assert shares == [("random", 50.0, 90.0), ("official", 0.0, 40.0)]
    assert drawing.columns[7:] == ("trained_share", "accuracy")
    texts = [text.get_text() for text in drawing.figure.axes[0].get_legend().get_texts()]
    assert texts[0].startswith("random: 50 % of the test clips")


def test_rows_of_the_warp_sum_to_one_after_algorithm_1():
    drawing = figures.draw_algorithm(frames=20, frames_out=8)
    sums = np.zeros((2, 8))
    for step, row, _, weight in drawing.rows:
        sums[int(step != "equation 5"), row] += weight
    assert np.ptp(sums[0, :-1]) > 0.1
    np.testing.assert_allclose(sums[1, :-1], 1, atol=1e-5)


def test_class_activation_maps():
    inputs = keras.Input((4, 6, 1))
    maps = keras.layers.Conv2D(2, 1, use_bias=False, name="complete1_out")(inputs)
    mean = keras.layers.GlobalAveragePooling2D()(maps)
    model = keras.Model(inputs, keras.layers.Dense(2, use_bias=False, name="logits")(mean))
    assert stage_layers(model) == ["complete1_out"]
    model.set_weights([np.array([[[[1.0, -1.0]]]]), np.array([[2.0, 0.0], [0.0, 1.0]])])
    sound = np.zeros((1, 4, 6, 1), np.float32)
    sound[0, 1, 2], sound[0, 3, 3] = 4.0, -2.0
    for label, place in ((0, (1, 2)), (1, (3, 3))):  # the second class likes negative values
        cam = gradient_maps(model, ["complete1_out"], tf.constant(sound), np.array([label]))
        expected = np.zeros((4, 6))
        expected[place] = 1.0
        np.testing.assert_allclose(cam["complete1_out"][0], expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_figure_trains_its_runs(tmp_path):
    places = {"runs_folder": tmp_path / "runs", "scale": "tiny"}
    _, table, facts = figures.draw_figure("diffres/fig9", tmp_path, **places)
    parts = {row["part"] for row in read_csv(table)}
    assert parts == {"mel spectrogram", "DiffRes", "ConvAvgPool"}
    noted = json.loads(facts.read_text())
    assert len(noted["cells"]) == 2 and all("run_git_commit" in cell for cell in noted["cells"])
    (result,) = paper_list.figure_results("diffres/fig9", tmp_path)
    assert (result["scale"], result["runs"], result["state"]) == ("tiny", 2, "current")


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_activation_maps_of_spectromasknet(tmp_path):
    grid = load_grid("spectromasknet/fig6", "tiny")
    arguments = grid.recipe(grid.cells[0]).model.arguments
    shape = {"input_shape": (20, 40, 1), "classes": 4}
    model = build_model("spectromasknet", "mcu", **shape, overrides=arguments)
    assert [name.split("_")[0] for name in stage_layers(model)] == [
        "complete1",
        "complete2",
        "masked1",
        "masked2",
    ]
    places = {"runs_folder": tmp_path / "runs", "scale": "tiny"}
    _, table, _ = figures.draw_figure("spectromasknet/fig6", tmp_path, **places)
    assert len(read_csv(table)) == 2 * 4 * 20  # two clips, two stages of two branches, 20 bins
