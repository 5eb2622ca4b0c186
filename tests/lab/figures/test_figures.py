# SPDX-License-Identifier: Apache-2.0
"""The papers' figures from run folders: right numbers, equal bytes, errors in one line."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.lab.figures import catalogue as figures
from m3net_tf.lab.figures import throughput
from m3net_tf.lab.figures.tsne import draw_tsne
from m3net_tf.networks.layers.diffres.warp import warp_matrix
from m3net_tf.networks.models.diffres import probe
from m3net_tf.networks.models.stacking import Classifier
from m3net_tf.pages.report.projection import spread_over_classes
from m3net_tf.system.artifacts import write_json, write_text
from m3net_tf.system.errors import ConfigError, DataError, ModelError
from m3net_tf.system.keras import keras
from m3net_tf.training.features import compute_features, input_shape
from m3net_tf.training.recipe import Recipe, save_recipe
from m3net_tf.training.run import Run
from m3net_tf.training.trainer import build_network

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


@pytest.fixture(scope="module")
def diffres_run(tmp_path_factory, private_cache) -> Path:
    return finish(tmp_path_factory.mktemp("runs") / "half", DIFFRES, network=True)


@pytest.fixture(scope="module")
def bilateral_run(tmp_path_factory, private_cache) -> Path:
    return finish(tmp_path_factory.mktemp("runs") / "raw", BILATERAL, network=True)


@pytest.fixture
def with_reduction(tmp_path) -> Callable[[str, float], Path]:
    def make(name: str, reduction: float) -> Path:
        arguments = {**DIFFRES["model"]["arguments"], "reduction": reduction}
        return finish(
            tmp_path / name, {**DIFFRES, "model": {"name": "diffres", "arguments": arguments}}
        )

    return make


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def is_picture(path: Path) -> bool:
    data = path.read_bytes()
    return data.startswith(b"\x89PNG") and b"tEXt" not in data and len(data) > 5000


def test_warp_figure_has_the_networks_own_numbers(diffres_run, tmp_path):
    picture, table, facts = figures.draw_figure("diffres/fig4", [diffres_run], tmp_path)
    assert picture == tmp_path / "diffres" / "fig4.png" and is_picture(picture)
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
    assert noted["runs"] == ["half"] and noted["figure"] == "diffres/fig4"
    np.testing.assert_allclose(noted["activeness"], seen["activeness"], atol=1e-5)


def test_ablated_channels_are_left_out(tmp_path):
    arguments = {**DIFFRES["model"]["arguments"], "maximum": False, "fill_rows": False}
    values = {**DIFFRES, "model": {"name": "diffres", "arguments": arguments}}
    run = finish(tmp_path / "run", values, network=True)
    _, table, _ = figures.draw_figure("diffres/fig4", [run], tmp_path)
    assert {row["part"] for row in read_csv(table)} == {
        "spectrogram",
        "importance",
        "warp",
        "mean",
        "encoding",
    }


def test_activeness_and_guide_loss_by_frame_rate(with_reduction, tmp_path):
    runs = [with_reduction("a", 0.5), with_reduction("b", 0.75), with_reduction("c", 0.5)]
    picture, table, _ = figures.draw_figure("diffres/fig6", runs, tmp_path)
    rows = read_csv(table)
    assert is_picture(picture)
    assert [(row["run"], row["frames_per_s"]) for row in rows[::2]] == [
        ("b", "12.5"),
        ("a", "25"),
        ("c", "25"),
    ]
    assert [row["activeness"] for row in rows[:2]] == ["0.1", "nan"]
    _, table, _ = figures.draw_figure("diffres/fig7", runs[:1], tmp_path)
    assert [row["guide_loss"] for row in read_csv(table)] == ["0.2", "0.1"]
    again = figures.draw_figure("diffres/fig6", runs, tmp_path / "again")
    assert again[0].read_bytes() == picture.read_bytes()


def test_fusion(with_reduction, tmp_path):
    run = with_reduction("a", 0.5)
    _, table, _ = figures.draw_figure("spectromasknet/fig5", [run], tmp_path)
    assert [row["lambda"] for row in read_csv(table)] == ["0.5", "0.6"]


@pytest.mark.slow
def test_tsne_of_both_branches(bilateral_run, tmp_path):
    picture, table, facts = figures.draw_figure("bilateral/fig7", [bilateral_run], tmp_path)
    assert is_picture(picture)
    rows = read_csv(table)
    panels = ["raw audio", "detail branch", "semantic branch", "last layer"]
    assert list(dict.fromkeys(row["panel"] for row in rows)) == panels
    clips = Run(bilateral_run).dataset(None).split("test")
    for panel in panels:
        of_panel = [row for row in rows if row["panel"] == panel]
        assert sorted(row["clip"] for row in of_panel) == sorted(clip.clip_id for clip in clips)
        places = np.array([[float(row["x"]), float(row["y"])] for row in of_panel])
        assert np.isfinite(places).all() and places.std() > 0
    silhouettes = json.loads(facts.read_text())["silhouette"]
    assert set(silhouettes) == set(panels)
    assert all(-1 <= value <= 1 for value in silhouettes.values())
    again = figures.draw_figure("bilateral/fig7", [bilateral_run], tmp_path / "again")
    assert [path.read_bytes() for path in again] == [
        p.read_bytes() for p in (picture, table, facts)
    ]
    with pytest.raises(ConfigError, match="at least 8 test clips"):
        draw_tsne(Run(bilateral_run), clips=5)


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


def test_user_errors(diffres_run, with_reduction, tmp_path):
    with refuses(ConfigError, "'fig9'", "m3net/fig3"):
        figures.draw_figure("fig9", [], tmp_path)
    with pytest.raises(ConfigError, match="needs one finished run, not 2"):
        figures.draw_figure("diffres/fig4", [diffres_run, diffres_run], tmp_path)
    with pytest.raises(ConfigError, match="needs no run, not 1"):
        figures.draw_figure("diffres/fig5", [diffres_run], tmp_path)
    with pytest.raises(ConfigError, match="no two branches"):
        figures.draw_figure("bilateral/fig7", [diffres_run], tmp_path)
    run = with_reduction("a", 0.5)
    (run / "history.csv").write_text("epoch,loss\n1,2\n")
    with refuses(DataError, "epoch", "loss"):
        figures.draw_figure("diffres/fig6", [run], tmp_path)
    (run / "history.csv").write_text("epoch,loss\n1,high\n")
    with pytest.raises(DataError, match="damaged"):
        figures.draw_figure("diffres/fig6", [run], tmp_path)
    (run / "metrics.json").unlink()
    with pytest.raises(ModelError, match="has not finished"):
        figures.draw_figure("diffres/fig6", [run], tmp_path)
    without_warp = finish(tmp_path / "m3net", {"dataset": DATASET, "model": SMALL_M3NET})
    with refuses(ConfigError, "diffres"):
        figures.draw_figure("diffres/fig6", [without_warp], tmp_path)
    assert not list(tmp_path.rglob("*.png"))


def test_command(m3net, with_reduction, tmp_path):
    def call(*arguments: object) -> str:
        status, output, _ = m3net("lab", "figure", *arguments)
        assert status == 0
        return output

    runs = [with_reduction("a", 0.5), with_reduction("b", 0.75)]
    out = call("diffres/fig6", "--run", runs[0], "--run", runs[1], "--out", tmp_path / "out")
    assert [Path(line).name for line in out.split()] == ["fig6.png", "fig6.csv", "fig6.json"]
    assert all(Path(line).is_file() for line in out.split())
    assert "bilateral/fig7" in call()
