# SPDX-License-Identifier: Apache-2.0
"""The papers' figures from run folders: right numbers, equal bytes, errors in one line."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.lab.figures import catalogue as figures
from m3net_tf.lab.figures import throughput
from m3net_tf.lab.figures.shown import Shown
from m3net_tf.networks.layers.diffres.warp import warp_matrix
from m3net_tf.networks.models.diffres import probe
from m3net_tf.networks.models.stacking import Classifier
from m3net_tf.pages.plotting import Drawing
from m3net_tf.pages.report.projection import spread_over_classes
from m3net_tf.system.artifacts import write_json, write_text
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.keras import keras
from m3net_tf.system.progress import silent
from m3net_tf.training.clips.features import compute_features, input_shape
from m3net_tf.training.network import build_network
from m3net_tf.training.recipe import Recipe, save_recipe
from m3net_tf.training.run import Run

pytestmark = pytest.mark.usefixtures("private_cache")

DATASET = {"name": "synth", "options": {"clips_per_class": 6}}
SMALL_M3NET = {
    "name": "m3net",
    "preset": "mcu",
    "arguments": {
        "sfp": [{"filters": 8, "kernel": [5, 5], "strides": [4, 4]}],
        "tail": [{"filters": 8}],
    },
}
DIFFRES = {
    "dataset": DATASET,
    "model": {"name": "diffres", "arguments": {"classifier": SMALL_M3NET}},
}
BILATERAL = {
    "dataset": {"name": "synth", "options": {"clips_per_class": 12}},  # two of a class to test
    "frontend": {"preset": "bilateral", "sample_rate_hz": 16_000},
    "model": {
        "name": "bilateral",
        "preset": "small",
        "arguments": {
            "fd_modules": "RR",
            "semantic_filters": [2, 4],
            "detail_filters": [2, 4],
            "token_filters": 4,
            "token_step": 1000,
            "heads": 2,
        },
    },
}
HISTORY = "epoch,loss,validation_loss,validation_accuracy,activeness,guide_loss,lambda,seconds\n"


def finish(folder: Path, values: dict, *, network: bool = False) -> Path:
    """The run folder of a training of two epochs, with an untrained network."""
    recipe = Recipe.from_dict(values)
    save_recipe(recipe, folder / "recipe.yaml")
    run = Run(folder)
    if network:
        keras.utils.set_random_seed(0)
        info = run.dataset(None).info
        shape = input_shape(info, recipe.frontend)
        network = build_network(recipe, shape, info.multi_label, len(info.labels))
        network.save(run.model_path)
    else:
        run.model_path.write_bytes(b"")
    write_text(
        folder / "history.csv", HISTORY + "1,2.5,2,0.3,0.1,0.2,0.5,9\n2,2,1.5,0.4,,0.1,0.6,9\n"
    )
    dataset = {"name": "synth", "labels": ["a", "b"]}
    figures = {"parameters": 1, "macs": 1, "validation": {}, "test": {}}
    write_json(run.metrics_path, {"dataset": dataset, **figures})
    return folder


def drawn(name: str, *folders: Path) -> Drawing:
    """A figure of finished runs, each labelled by the name of its folder."""
    runs = map(Run, folders)
    shown = [Shown({"run": run.folder.name}, run.recipe(), None, run) for run in runs]
    return figures.FIGURES[name].draw(shown, silent)


def rows_of(drawing: Drawing) -> list[dict[str, Any]]:
    return [dict(zip(drawing.columns, row, strict=True)) for row in drawing.rows]


@pytest.fixture(scope="module")
def diffres_run(tmp_path_factory, private_cache) -> Path:
    return finish(tmp_path_factory.mktemp("runs") / "half", DIFFRES, network=True)


@pytest.fixture(scope="module")
def bilateral_run(tmp_path_factory, private_cache) -> Path:
    return finish(tmp_path_factory.mktemp("runs") / "raw", BILATERAL, network=True)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def is_picture(path: Path) -> bool:
    data = path.read_bytes()
    return data.startswith(b"\x89PNG") and b"tEXt" not in data and len(data) > 5000


@pytest.mark.slow
def test_warp_figure_has_the_networks_own_numbers(diffres_run, tmp_path):
    picture, table, facts = drawn("diffres/fig4", diffres_run).save(tmp_path / "fig4")
    assert is_picture(picture)
    run = Run(diffres_run)
    features = compute_features(run.dataset(None), "test", run.recipe().frontend)
    chosen = spread_over_classes(features.labels, 3)
    maps = features.clean[chosen] / np.float32(128)
    seen = probe(run.load_model())(maps)
    rows = read_csv(table)
    for i, index in enumerate(chosen):
        own = [row for row in rows if row["clip"] == features.clips[index].clip_id]
        assert {row["label"] for row in own} == {features.clips[index].label}
        parts = {
            "spectrogram": maps[i, ..., 0],
            "importance": seen["scores"][i : i + 1],
            "warp": warp_matrix(seen["scores"], 24)[i],
            "mean": seen["features"][i, ..., 0],
            "maximum": seen["features"][i, ..., 1],
            "encoding": seen["features"][i, ..., 2],
        }
        assert {row["part"] for row in own} == set(parts)
        for part, expected in parts.items():
            values = np.zeros(np.shape(expected), np.float32)
            for row in own:
                if row["part"] == part:
                    values[int(row["row"]), int(row["frame"])] = float(row["value"])
            np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)
    noted = json.loads(facts.read_text())
    np.testing.assert_allclose(noted["activeness"], seen["activeness"], atol=1e-5)


@pytest.mark.slow
def test_ablated_channels_are_left_out(tmp_path):
    arguments = {**DIFFRES["model"]["arguments"], "maximum": False, "fill_rows": False}
    values = {**DIFFRES, "model": {"name": "diffres", "arguments": arguments}}
    run = finish(tmp_path / "run", values, network=True)
    parts = {row["part"] for row in rows_of(drawn("diffres/fig4", run))}
    assert parts == {"spectrogram", "importance", "warp", "mean", "encoding"}


def test_curves_over_the_epochs(tmp_path):
    runs = [finish(tmp_path / name, {"dataset": DATASET, "model": SMALL_M3NET}) for name in "ab"]
    activeness = rows_of(drawn("diffres/fig6", *runs))
    assert [(row["run"], row["epoch"]) for row in activeness[1:3]] == [("a", 2), ("b", 1)]
    assert [str(row["activeness"]) for row in activeness[:2]] == ["0.1", "nan"]
    assert [row["guide_loss"] for row in rows_of(drawn("diffres/fig7", runs[0]))] == [0.2, 0.1]
    ablation = drawn("diffres/fig8", runs[0])
    assert ablation.rows[0] == ("a", 1, 0.2, 0.1, 0.3)
    assert ablation.columns[-1] == "validation_accuracy"
    fusion = drawn("spectromasknet/fig5", runs[0])
    assert [row["lambda"] for row in rows_of(fusion)] == [0.5, 0.6]
    masked = fusion.figure.axes[0].get_lines()[1]
    assert list(masked.get_ydata()) == [0.5, 0.4]
    pictures = [drawn("diffres/fig6", *runs).save(tmp_path / name)[0] for name in ("1", "2")]
    assert is_picture(pictures[0]) and pictures[0].read_bytes() == pictures[1].read_bytes()
    with refuses(DataError, "history.csv", "mask_block"):
        drawn("spectromasknet/fig10", runs[0])
    (runs[0] / "history.csv").write_text("epoch,mask_block,mask_ratio\n1,4,0.3\n")
    assert drawn("spectromasknet/fig10", runs[0]).rows == [("a", 1, 4, 0.3)]
    (runs[0] / "history.csv").write_text("epoch,loss\n1,high\n")
    with refuses(DataError, "history.csv", "damaged"):
        drawn("diffres/fig6", runs[0])


@pytest.mark.slow
def test_tsne_of_both_branches(bilateral_run):
    drawing = drawn("bilateral/fig7", bilateral_run)
    rows = rows_of(drawing)
    panels = ["raw audio", "detail branch", "semantic branch", "last layer"]
    assert list(dict.fromkeys(row["panel"] for row in rows)) == panels
    clips = Run(bilateral_run).dataset(None).split("test")
    for panel in panels:
        of_panel = [row for row in rows if row["panel"] == panel]
        assert sorted(row["clip"] for row in of_panel) == sorted(clip.clip_id for clip in clips)
        places = np.array([[float(row["x"]), float(row["y"])] for row in of_panel])
        assert np.isfinite(places).all() and places.std() > 0
    silhouettes = drawing.facts["silhouette"]
    assert set(silhouettes) == set(panels)
    assert all(-1 <= value <= 1 for value in silhouettes.values())
    assert drawn("bilateral/fig7", bilateral_run).rows == drawing.rows


@pytest.mark.slow
def test_throughput(tmp_path):
    drawing = throughput.draw_throughput(
        frames_per_s=(50, 100), clips=1, clip_s=0.3, rounds=1, classifier=Classifier(**SMALL_M3NET)
    )
    picture, table, facts = drawing.save(tmp_path / "fig5")
    assert is_picture(picture)
    rows = read_csv(table)
    assert {(row["front_end"], row["frames_per_s"]) for row in rows} == {
        ("mel", "50"),
        ("mel", "100"),
        ("leaf", "50"),
        ("leaf", "100"),
        ("diffres", "50"),
    }
    for row in rows:
        speed = 1000 * 0.3 / float(row["batch_ms"])
        assert float(row["sound_s_per_s"]) == pytest.approx(speed, rel=1e-4)
    sizes = {row["front_end"]: int(row["parameters"]) for row in rows}
    # Origin: the paper's tables 3 and 6: 82 371 trainable for DiffRes (its normalisation has 484
    # more), and LEAF's 7 parameters a filter.
    assert 82_371 < sizes["diffres"] - sizes["mel"] < 90_000
    assert sizes["leaf"] - sizes["mel"] == 7 * 128
    assert json.loads(facts.read_text())["classifier"] == "m3net"


def test_an_unknown_figure_is_refused_with_those_that_exist(tmp_path):
    with refuses(ConfigError, "'fig9'", "m3net/fig3"):
        figures.draw_figure("fig9", tmp_path)


def test_the_command_writes_a_figure_or_lists_all(m3net, tmp_path):
    status, output, _ = m3net("lab", "figure", "diffres/fig11", "--out", tmp_path)
    assert status == 0
    paths = [Path(line) for line in output.split()]
    assert [path.name for path in paths] == ["fig11.png", "fig11.csv", "fig11.json"]
    assert is_picture(paths[0]) and read_csv(paths[1])
    assert json.loads(paths[2].read_text())["figure"] == "diffres/fig11"
    assert "bilateral/fig7" in m3net("lab", "figure")[1]
