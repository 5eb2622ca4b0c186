# SPDX-License-Identifier: Apache-2.0
"""Complete trainings of a few seconds: their files, and resumption after any interruption."""

import csv
import io
import json
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.system.artifacts import write_json
from m3net_tf.system.errors import ConfigError, DataError, ModelError
from m3net_tf.system.keras import tf
from m3net_tf.system.processor import UNKNOWN, machine
from m3net_tf.training import Run, load_recipe, train
from m3net_tf.training.clips.features import compute_features
from m3net_tf.training.loop import epochs, results, state, trainer
from m3net_tf.training.loop.stopping import TrainingStoppedError
from m3net_tf.training.scoring.evaluation import predict

pytestmark = pytest.mark.usefixtures("private_cache")


class StopError(Exception):
    """Simulates a killed process."""


def stop_in_epoch(number: int):
    """A log that stops the training when it reports an epoch, before that epoch is saved."""

    def log(line: str) -> None:
        if line.startswith(f"epoch {number}/"):
            raise StopError

    return log


def history(folder) -> list[dict[str, str]]:
    rows = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def same(first, second) -> bool:
    """Whether two finished runs are equal except for their training time."""
    results = [{**Run(folder).metrics().values, "training_s": 0} for folder in (first, second)]
    assert results[0] == results[1]
    assert history(first) == history(second)
    weights = [Run(folder).load_model().get_weights() for folder in (first, second)]
    return all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


def test_metrics_say_what_made_them(tiny_run, tiny_recipe):
    run = Run(tiny_run)
    metrics = run.metrics().values
    assert metrics["recipe"] == tiny_recipe().to_dict()
    assert metrics["parameters"] == run.load_model().count_params()
    assert metrics["macs"] > 0
    assert metrics["best_epoch"] in (1, 2)
    assert {"python", "tf_keras", "numpy"} <= set(metrics["versions"])
    assert "git_commit" in metrics
    assert metrics["threads"] == 1 and metrics["computers"] == [machine()]
    data = metrics["dataset"]
    assert data["name"] == "synth"
    assert data["protocol"] == "generated-split"
    assert not data["leaking"]
    assert len(data["labels"]) == 10
    assert set(data["clip_list_sha256"]) == {"train", "validation", "test"}
    for split in ("validation", "test"):
        figures = metrics[split]
        assert figures["clips"] == 10
        assert figures["accuracy_95_low"] <= figures["accuracy"] <= figures["accuracy_95_high"]
        assert set(figures["recall"]) == set(data["labels"])


def test_the_kept_network_is_the_best_epochs(tiny_run):
    run = Run(tiny_run)
    rows = history(tiny_run)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    best = max(
        rows, key=lambda row: (float(row["validation_accuracy"]), -float(row["validation_loss"]))
    )
    assert int(best["epoch"]) == run.metrics().values["best_epoch"]
    model = run.load_model()
    dataset = run.dataset(None)
    for split in ("validation", "test"):
        features = compute_features(dataset, split, run.recipe().frontend)
        accuracy = (predict(model, features.clean).argmax(1) == features.labels).mean()
        assert run.metrics().values[split]["accuracy"] == pytest.approx(accuracy)
    assert run.metrics().validation["accuracy"] == pytest.approx(float(best["validation_accuracy"]))
    matrix = list(csv.reader((tiny_run / "confusion_matrix.csv").read_text().splitlines()))
    counts = np.array([row[1:] for row in matrix[1:]], int)
    assert counts.sum() == 10
    assert np.trace(counts) / 10 == pytest.approx(run.metrics().test["accuracy"])


def test_a_finished_run_is_not_repeated(tiny_run, tiny_recipe):
    before = {path: path.stat().st_mtime_ns for path in tiny_run.iterdir()}
    lines: list[str] = []
    metrics = train(tiny_recipe(), tiny_run, log=lines.append)
    assert metrics == Run(tiny_run).metrics()
    assert len(lines) == 1
    assert "already trained" in lines[0]
    assert {path: path.stat().st_mtime_ns for path in tiny_run.iterdir()} == before


def test_another_recipe_in_the_same_folder(tiny_run, tiny_recipe):
    reseeded = tiny_recipe(training={"seed": 1})
    with refuses(ConfigError, "tiny"):
        train(reseeded, tiny_run)
    assert load_recipe(tiny_run / "recipe.yaml") == tiny_recipe()


def test_a_preset_that_has_changed_since(tiny_run, tiny_recipe, tmp_path):
    folder = tmp_path / "older"
    shutil.copytree(tiny_run, folder)
    metrics = Run(folder).metrics().values
    assert not Run(folder).outdated
    write_json(Run(folder).metrics_path, {**metrics, "design_sha256": "0" * 64})
    assert Run(folder).outdated
    with refuses(ConfigError, "m3net"):
        train(tiny_recipe(), folder)
    metrics.pop("design_sha256")  # of a version that did not record it
    write_json(Run(folder).metrics_path, metrics)
    assert not Run(folder).outdated


@pytest.fixture(scope="module")
def stopped(private_cache, tiny_recipe, tmp_path_factory):
    """Folder of a run that was killed in its second epoch; do not write into it."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.raises(StopError):
        train(tiny_recipe(), folder, log=stop_in_epoch(2))
    return folder


@pytest.mark.slow
def test_a_stopped_run_says_so(stopped):
    run = Run(stopped)
    assert not run.finished
    for read in (run.metrics, run.load_model):
        with refuses(ModelError, "stopped"):
            read()


def test_a_stopped_run_resumed_equals_one_in_one_go(
    stopped, tiny_run, tiny_recipe, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    lines: list[str] = []

    def stop(*_: object) -> None:
        raise StopError

    with monkeypatch.context() as patch:  # killed again before it is finished
        patch.setattr(results, "write_archive", stop)
        with pytest.raises(StopError):
            train(tiny_recipe(), folder, log=lines.append)
    assert any("resuming after epoch 1" in line for line in lines)
    assert not Run(folder).finished

    metrics = train(tiny_recipe(), folder, log=lines.append).values
    assert any("resuming after epoch 2" in line for line in lines)
    assert not Run(folder).state_path.exists()
    assert same(folder, tiny_run)
    assert metrics == Run(folder).metrics().values


@pytest.mark.slow
def test_a_run_names_each_computer_that_has_trained_it(stopped, tiny_recipe, tmp_path, monkeypatch):
    folder = shutil.copytree(stopped, tmp_path / "run")
    other = {**machine(), "instruction_set": "AVX"}
    monkeypatch.setattr(state, "machine", lambda: other)
    assert train(tiny_recipe(), folder).values["computers"] == [machine(), other]


@pytest.mark.slow
def test_epochs_of_an_older_state_are_of_an_unknown_computer(stopped, tiny_recipe, tmp_path):
    folder = shutil.copytree(stopped, tmp_path / "run")
    path = Run(folder).state_path
    with np.load(path) as file:
        arrays = dict(file)
    figures = json.loads(str(arrays["figures"]))
    del figures["computers"]
    np.savez(path, **{**arrays, "figures": np.array(json.dumps(figures))})
    assert train(tiny_recipe(), folder).values["computers"] == [UNKNOWN, machine()]


@pytest.mark.slow
def test_a_damaged_state_falls_back_to_the_one_before_it(tiny_run, tiny_recipe, tmp_path):
    recipe = tiny_recipe(training={"epochs": 3})
    with pytest.raises(StopError):
        train(recipe, tmp_path / "run", log=stop_in_epoch(3))
    run = Run(tmp_path / "run")
    lines = list[str]()
    before = run.previous_state_path.read_bytes()
    run.state_path.write_bytes(run.state_path.read_bytes()[:-10])
    with pytest.raises(StopError):  # killed again before an epoch: the good state is still there
        train(recipe, run.folder, log=stop_in_epoch(2))
    assert run.previous_state_path.read_bytes() == before
    run.state_path.write_bytes(b"")
    kept: list[bytes] = []

    def log(line: str) -> None:
        lines.append(line)
        if line.startswith("epoch 3/"):
            kept.append(run.previous_state_path.read_bytes())

    train(recipe, run.folder, log=log)
    assert before in kept  # the damaged state has been replaced, not kept as the one before
    assert [line for line in lines if "damaged" in line] == [
        f"{run.state_path} is damaged: using state.previous.npz, which is one epoch older"
    ]
    assert any("resuming after epoch 1" in line for line in lines)
    assert not list(run.folder.glob("state*"))


def test_two_damaged_states_name_both_files(stopped, tiny_recipe, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    run = Run(tmp_path / "run")
    for path in (run.state_path, run.previous_state_path):
        path.write_bytes(b"")
    with refuses(ModelError, "state.npz", "state.previous.npz"):
        train(tiny_recipe(), run.folder)


@pytest.mark.slow
def test_the_same_seed_on_another_day_gives_the_same_files(
    tiny_run, tiny_recipe, tmp_path, monkeypatch
):
    """Also where the clock stands before 1980, which ZIP archives cannot store."""
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(0))
    train(tiny_recipe(), tmp_path / "run")
    assert same(tmp_path / "run", tiny_run)
    assert Run(tmp_path / "run").model_path.read_bytes() == Run(tiny_run).model_path.read_bytes()


def test_a_damaged_state_names_the_file(stopped, tiny_recipe, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    path = Run(folder).state_path
    whole = path.read_bytes()
    for damaged in (whole[:-10], b"not a zip file"):
        path.write_bytes(damaged)
        with refuses(ModelError, "state.npz") as caught:
            train(tiny_recipe(), folder)
        assert "\n" not in str(caught.value)
    with np.load(io.BytesIO(whole)) as arrays:
        np.savez(path, **{key: arrays[key] for key in arrays if key != "optimizer_1"})
    with refuses(ModelError, "state.npz", "KeyError"):
        train(tiny_recipe(), folder)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"dataset": {"name": "us9k"}}, ConfigError, "'us9k' is unknown"),
        ({"dataset": {"options": {"clips": 6}}}, ConfigError, "no option 'clips'"),
        ({"dataset": {"name": "us8k", "options": {}}}, DataError, "needs its folder"),
        ({"model": {"name": "m4net"}}, ConfigError, "unknown model 'm4net'"),
        ({"model": {"preset": "huge"}}, ConfigError, "unknown preset 'huge'"),
        ({"model": {"arguments": {"sfp": 3}}}, ConfigError, "model.arguments.sfp is 3"),
        ({"frontend": {"sample_rate_hz": 44_100}}, ConfigError, "sample_rate_hz is 44100 but"),
    ],
)
def test_a_recipe_that_cannot_be_trained_leaves_no_folder(
    changes, kind, message, tiny_recipe, tmp_path
):
    with pytest.raises(kind, match=message):
        train(tiny_recipe(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_explodes(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "make_step", lambda *_, **__: lambda *_: tf.constant(float("nan")))
    with refuses(ModelError, "1", "training.learn"):
        train(tiny_recipe(), tmp_path / "run")


def test_no_run_folder(tmp_path):
    with refuses(ModelError, "recipe.yaml"):
        Run(tmp_path).recipe()
    with pytest.raises(ModelError, match="is not a run folder"):
        Run(tmp_path / "nowhere").load_model()


def test_a_damaged_model_file(tiny_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    path = Run(folder).model_path
    whole = path.read_bytes()
    for damaged in (whole[:1000], b"", b"nonsense"):
        path.write_bytes(damaged)
        with refuses(ModelError, "model.keras") as caught:
            Run(folder).load_model()
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_plateau_halves_the_rate_and_training_goes_without_extras(tiny_recipe, tmp_path):
    recipe = tiny_recipe(
        training={
            "schedule": "plateau",
            "epochs": 4,
            "plateau_patience": 1,
            "learning_rate": 3e-2,  # too much: the validation loss soon rises
            "weight_average": 0.0,
        },
        augmentation={"copies": 0, "time_masks": 0, "frequency_masks": 0, "mixup_probability": 0.0},
    )
    train(recipe, tmp_path / "run")
    rows = history(tmp_path / "run")
    best = float("inf")
    factor = 1.0
    for row in rows:
        assert float(row["learning_rate"]) == pytest.approx(3e-2 * factor)
        loss = float(row["validation_loss"])
        factor, best = (factor, loss) if loss < best else (factor / 2, best)
    assert factor < 1


@pytest.mark.slow
def test_early_exits_distil_and_are_left_out_of_the_result(tiny_recipe, tmp_path):
    recipe = tiny_recipe(
        frontend={"kind": "waveform", "feature_min": -1.0, "feature_max": 127 / 128},
        model={
            "name": "bilateral",
            "preset": "small",
            "arguments": {
                "early_exits": True,
                "fd_modules": "AB",
                "semantic_filters": [4, 8],
                "detail_filters": [4, 8],
                "token_filters": 8,
                "token_step": 16,
                "heads": 2,
            },
        },
        augmentation={"copies": 0, "time_masks": 0, "frequency_masks": 0},
        training={"epochs": 1, "schedule": "one_cycle"},
    )
    folder = tmp_path / "run"
    metrics = train(recipe, folder).values
    model = Run(folder).load_model()
    assert len(model.outputs) == 1
    assert metrics["parameters"] == model.count_params()


@pytest.mark.slow
def test_fresh_waveforms_are_varied_in_every_epoch_and_repeatable(tiny_recipe, tmp_path):
    recipe = tiny_recipe(augmentation={"copies": 0, "fresh": True, "room_probability": 0.5})
    first = train(recipe, tmp_path / "first")
    again = train(recipe, tmp_path / "again")
    assert first.validation == again.validation and first.test == again.test
    clean = train(tiny_recipe(augmentation={"copies": 0}), tmp_path / "clean")
    histories = [(tmp_path / name / "history.csv").read_text() for name in ("first", "clean")]
    losses = [[row.split(",")[1] for row in text.splitlines()[1:]] for text in histories]
    assert losses[0] != losses[1]
    assert clean.test["clips"] == first.test["clips"]


@pytest.mark.parametrize("key", ["copies", "pitch_probability"])
def test_fresh_refuses_what_needs_stored_copies(tiny_recipe, key):
    with refuses(ConfigError, key):
        tiny_recipe(augmentation={"copies": 0, "fresh": True, key: 1})


def test_the_caller_may_stop_a_training_when_it_resumes(tmp_path):
    """It learns of the saved epochs, and whether they were the last."""
    settings = SimpleNamespace(tensorboard=False, epochs=2, early_stopping=None)
    state = SimpleNamespace(ended=False, history=[{"epoch": 1}], epoch=1, steps_per_epoch=2)
    loop = epochs.Loop(state, None, None, None, None, SimpleNamespace(training=settings), print)

    def stop(history, ended):
        raise TrainingStoppedError(f"{history} {ended}")

    with pytest.raises(TrainingStoppedError, match=r"\[\{'epoch': 1\}\] False"):
        epochs.run_epochs(loop, Run(tmp_path), stop)
    assert (tmp_path / "history.csv").read_text() == "epoch\n1\n"
