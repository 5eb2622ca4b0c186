# SPDX-License-Identifier: Apache-2.0
"""Trainings that start from other runs, are distilled from them, stop early or report more."""

import csv
import dataclasses
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.networks.models import build_model, learnt_figures
from m3net_tf.system.errors import ConfigError, DataError, ModelError
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.keras_internals import loss_scale_variables
from m3net_tf.training import Recipe, Run, save_recipe, train
from m3net_tf.training.augmentation.maps import cutmix, mixup
from m3net_tf.training.clips.features import compute_features, with_lengths
from m3net_tf.training.clips.source import load_section
from m3net_tf.training.loop.fine_tuning import start_from
from m3net_tf.training.loop.state import TrainingState
from m3net_tf.training.loop.steps import augment_batch
from m3net_tf.training.loss.distillation import load_teacher
from m3net_tf.training.recipe.sections import AugmentationSection, FineTuningSection
from m3net_tf.training.scoring.evaluation import predict, predict_originals

pytestmark = pytest.mark.usefixtures("private_cache")

SHAPE = (40, 49, 1)
ONE_EPOCH = {"epochs": 1, "weight_average": 0.0}


def student(tiny_recipe, tiny_run, **sections: dict) -> Recipe:
    """A recipe with the tiny run as its teacher."""
    return tiny_recipe(**{"distillation": {"run": str(tiny_run)}, **sections})


def teacher_of(recipe: Recipe):
    dataset = load_section(recipe.dataset, None)
    return load_teacher(recipe, dataset, SHAPE, None, lambda _: None)


# Distillation


def test_a_teacher_of_the_same_front_end_hears_the_same_maps(tiny_recipe, tiny_run):
    teacher = teacher_of(student(tiny_recipe, tiny_run))
    assert teacher.predictions is None
    expected = Run(tiny_run).load_model().get_weights()
    for weights, weight in zip(teacher.model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(weights, weight)


@pytest.mark.slow
def test_another_front_end_has_the_answers_to_the_clips_as_recorded(
    tiny_recipe, tiny_run, tmp_path
):
    recipe = student(
        tiny_recipe, tiny_run, frontend={"mel_bins": 24, "hop_samples": 512}, training=ONE_EPOCH
    )
    teacher = teacher_of(recipe)
    assert teacher.model is None
    run = Run(tiny_run)
    own = compute_features(run.dataset(None), "train", run.recipe().frontend)
    np.testing.assert_array_equal(teacher.predictions, predict(run.load_model(), own.clean))
    distilled = train(recipe, tmp_path / "distilled")
    alone = dataclasses.replace(
        recipe, distillation=dataclasses.replace(recipe.distillation, weight=0.0)
    )
    train(alone, tmp_path / "alone")
    histories = [(tmp_path / name / "history.csv").read_text() for name in ("distilled", "alone")]
    losses = [float(next(csv.DictReader(text.splitlines()))["loss"]) for text in histories]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
    assert distilled.values["recipe"]["distillation"]["run"] == str(tiny_run)


@pytest.mark.parametrize("mel_bins", [40, pytest.param(24, marks=pytest.mark.slow)])
def test_an_ensemble_teaches_the_mean_of_its_probabilities(mel_bins, tiny_recipe, tiny_run, copied):
    other = Run(copied())
    changed = other.load_model()
    changed.set_weights([weight * 0.5 for weight in changed.get_weights()])
    changed.save(other.model_path)
    recipe = tiny_recipe(
        distillation={"run": str(tiny_run), "ensemble": [str(other.folder)]},
        frontend={"mel_bins": mel_bins},
    )
    own = compute_features(other.dataset(None), "train", other.recipe().frontend).clean
    expected = np.mean([predict(model, own) for model in (Run(tiny_run).load_model(), changed)], 0)
    teacher = teacher_of(recipe)
    same_maps = mel_bins == 40
    predictions = predict(teacher.model, own) if same_maps else teacher.predictions
    np.testing.assert_allclose(predictions, expected, atol=1e-6)


def test_mixing_mixes_a_teachers_answers_as_it_mixes_targets(tiny_recipe):
    recipe = tiny_recipe(
        augmentation={
            "mixup_probability": 0.5,
            "between_class_probability": 0.5,
            "cutmix_probability": 0.5,
        }
    )
    rng = np.random.default_rng(0)
    maps = tf.constant(rng.uniform(-1, 1, (16, *SHAPE)), tf.float32)
    targets = tf.constant(rng.dirichlet(np.ones(10), 16), tf.float32)
    lengths = tf.range(1, 17)
    seed = tf.constant([1, 2])
    plain = augment_batch({}, maps, targets, recipe, seed)
    augmented = augment_batch(
        {"predictions": targets, "lengths": lengths}, maps, targets, recipe, seed
    )
    np.testing.assert_array_equal(augmented[0], plain[0])
    np.testing.assert_array_equal(augmented[1], plain[1])
    np.testing.assert_array_equal(augmented[2], plain[1])
    assert plain[2] is plain[3] is None
    # A mixture is as long as the longer clip; an unmixed clip keeps its own length.
    mixed = ~np.all(np.isclose(augmented[1], targets), axis=1)
    assert 0 < mixed.sum() < 16
    own = np.arange(1, 17)
    expected = np.where(mixed, np.maximum(own, own[::-1]), own)
    np.testing.assert_array_equal(augmented[3][:, 0], expected)


def test_one_mixture_in_a_step(tiny_recipe):
    shares = {"mixup_probability": 1.0, "cutmix_probability": 1.0, "one_mixture": True}
    recipe = tiny_recipe(augmentation={"time_masks": 0, "frequency_masks": 0, **shares})
    maps = tf.constant(np.random.default_rng(0).uniform(-1, 1, (16, *SHAPE)), tf.float32)
    targets = tf.eye(16)
    drawn = []
    for number in range(8):
        seed = tf.constant([number, 2])
        mixed = augment_batch({}, maps, targets, recipe, seed)
        seeds = tf.random.experimental.stateless_split(seed, 2)
        alone = [
            mixup(maps, targets, recipe.augmentation, seeds[1]),
            cutmix(maps, targets, recipe.augmentation, seed + 2),
        ]
        drawn += [i for i in (0, 1) if all(map(np.array_equal, mixed[:2], alone[i]))]
    assert len(drawn) == 8 and set(drawn) == {0, 1}


@pytest.mark.slow
def test_a_run_of_float_features_and_binary_cross_entropy(tiny_recipe, tmp_path):
    options = {"epochs": 3, "loss": "binary_cross_entropy", "features": "float32"}
    recipe = tiny_recipe(training=options)
    train(recipe, tmp_path / "run")
    model = Run(tmp_path / "run").load_model()
    maps = np.random.default_rng(0).uniform(-1, 1, (4, *model.input_shape[1:]))
    assert np.ptp(model(maps.astype(np.float32)).numpy().sum(1)) > 1e-3  # no distribution
    rows = (tmp_path / "run" / "history.csv").read_text().split()[1:]
    losses = [float(row.split(",")[1]) for row in rows]  # per class: 0.69 for equal scores
    assert losses[-1] < losses[0] < 1


@pytest.fixture
def copied(tiny_run, tmp_path):
    """Copy of the tiny run whose metrics can be changed."""

    def copy(**changes: object):
        folder = tmp_path / "copy"
        shutil.copytree(tiny_run, folder)
        metrics = json.loads((folder / "metrics.json").read_text())
        metrics["dataset"].update(changes)
        (folder / "metrics.json").write_text(json.dumps(metrics))
        return folder

    return copy


@pytest.mark.parametrize(
    ("changes", "frontend", "message"),
    [
        ({"labels": ["a", "b"]}, {}, "copy has 2 classes, which differ from the 10 of synth: name"),
        (
            {"clip_list_sha256": {"validation": "0", "test": "0"}},
            {},
            "distillation.run .*copy has another split of synth, so it may have been trained",
        ),
        ({"name": "us8k"}, {"mel_bins": 24}, "copy was trained on us8k with another front end"),
    ],
)
def test_teachers_that_do_not_fit(changes, frontend, message, tiny_recipe, copied):
    with pytest.raises(ConfigError, match=message):
        teacher_of(student(tiny_recipe, copied(**changes), frontend=frontend))


@pytest.mark.parametrize("section", ["distillation", "fine_tuning"])
def test_an_unfinished_run_is_no_teacher_and_no_start(section, tiny_recipe, tmp_path):
    save_recipe(tiny_recipe(), tmp_path / "begun/recipe.yaml")
    with refuses(ModelError, "begun"):
        train(tiny_recipe(**{section: {"run": str(tmp_path / "begun")}}), tmp_path / "run")
    with refuses(ModelError, "nowhere"):
        train(tiny_recipe(**{section: {"run": str(tmp_path / "nowhere")}}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Fine-tuning


@pytest.fixture(scope="module")
def short_clips(tmp_path_factory):
    """Two classes of clips of a tenth to half a second."""
    root = tmp_path_factory.mktemp("short")
    rng = np.random.default_rng(0)
    for label, number in [(label, n) for label in ("hiss", "hum") for n in range(8)]:
        samples = 800 * (number + 2)
        wave = 0.1 * rng.standard_normal(samples)
        if label == "hum":
            wave = 0.3 * np.sin(2 * np.pi * 400 * np.arange(samples) / 8000)
        (root / label).mkdir(exist_ok=True)
        soundfile.write(root / label / f"{number}.wav", wave, 8000, subtype="PCM_16")
    return root


@pytest.fixture(scope="module")
def short_recipe(tiny_recipe) -> Recipe:
    return tiny_recipe(
        dataset={"name": "folder", "options": {"sample_rate_hz": 8000, "clip_s": 0.6}},
        frontend={"sample_rate_hz": 8000, "mel_max_hz": 4000.0, "mel_bins": 16},
        model={
            "name": "spectromasknet",
            "arguments": {
                "modules": [1],
                "channels": [8],
                "strides": [2],
                "mask_parameters": "learnable",
                "lengths": True,
            },
        },
        training={
            "epochs": 9,
            "batch_size": 4,
            "early_stopping": 2,
            "learning_rate": 1e-30,  # nothing gets better
            "optimizer": "adamw",
            "gradient_norm": 1.0,
            "weight_average": 0.0,
            "tensorboard": True,
        },
    )


def test_own_lengths(short_recipe, short_clips):
    dataset = load_section(short_recipe.dataset, short_clips)
    config = short_recipe.frontend
    features = compute_features(dataset, "train", config)
    augmentation = AugmentationSection(shift_s=0.05, speed_probability=0.5, speed=(0.8, 1.2))
    lengths = with_lengths(features, dataset, config, augmentation).lengths
    for clip, own, longest in zip(features.clips, *lengths, strict=True):
        samples = dataset.read(clip).size
        assert own == config.frame_count(min(samples, 4800))
        assert longest == config.frame_count(min(int(np.ceil(samples / 0.8 + 400)), 4800))
    assert len(set(lengths[0])) > 3
    looped = dataclasses.replace(dataset, info=dataclasses.replace(dataset.info, fit="loop"))
    assert set(with_lengths(features, looped, config).lengths.flat) == {config.frame_count(4800)}
    missing = dataclasses.replace(features.clips[0], path=short_clips / "missing.wav")
    gone = dataclasses.replace(features, clips=(missing,))
    with refuses(DataError, "missing.wav"):
        with_lengths(gone, dataset, config)


@pytest.mark.slow
def test_a_run_with_lengths_that_ends_early_and_says_what_it_learns(
    short_recipe, short_clips, tmp_path
):
    lines: list[str] = []
    folder = tmp_path / "run"
    metrics = train(short_recipe, folder, short_clips, lines.append).values
    assert metrics["epochs"] == 3 and metrics["best_epoch"] == 1
    assert "no better epoch than 1 for 2: ended early" in lines
    rows = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    assert len(rows) == 3
    assert set(metrics["learnt"]) == {"lambda", "mask_block", "mask_ratio"}
    for key, value in metrics["learnt"].items():
        assert float(rows[-1][key]) == pytest.approx(value, rel=1e-4)
    assert metrics["learnt"]["lambda"] == pytest.approx(0.5)

    model = Run(folder).load_model()
    dataset = Run(folder).dataset(short_clips)
    features = compute_features(dataset, "test", short_recipe.frontend)
    with_own_lengths = predict_originals(
        model, with_lengths(features, dataset, short_recipe.frontend)
    )
    assert not np.allclose(with_own_lengths, predict_originals(model, features), atol=1e-4)
    accuracy = (with_own_lengths.argmax(1) == features.labels).mean()
    assert metrics["test"]["accuracy"] == pytest.approx(accuracy)

    (written,) = (folder / "tensorboard").iterdir()
    logged = {}
    for record in tf.data.TFRecordDataset(str(written)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            assert value.metadata.plugin_data.plugin_name in ("scalars", "")
            logged[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    for row in rows:
        for key in ("loss", "validation_accuracy", "lambda"):
            assert logged[key, int(row["epoch"])] == pytest.approx(float(row[key]), rel=1e-4)


@pytest.mark.parametrize(
    ("losses", "patience", "ended"),
    [
        ([3, 2, 1], 1, False),
        ([3, 2, 2], 1, True),
        ([3, 2, 2], 2, False),
        ([3, 2, 4, 5], 2, True),
        ([3, 2, 4, 5], 0, False),
    ],
)
def test_when_a_training_ends(losses, patience, ended, tiny_recipe):
    settings = dataclasses.replace(tiny_recipe().training, epochs=9, early_stopping=patience)
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    state = TrainingState(model, settings, 1)
    for loss in losses:
        state.close_epoch({"validation_accuracy": 0.5, "validation_loss": loss})
    assert state.ended is ended
    assert state.best_epoch == 1 + losses.index(min(losses))


@pytest.mark.parametrize(("keep", "epoch"), [("best", 4), ("last", 5)])
def test_which_epochs_weights_are_kept(keep, epoch, tiny_recipe):
    """Of those with the best score, the one with the lowest loss, though it comes later."""
    settings = dataclasses.replace(tiny_recipe().training, epochs=5, keep=keep)
    model = keras.Sequential([keras.layers.Dense(1, use_bias=False, input_shape=(1,))])
    state = TrainingState(model, settings, 1)
    figures = [(0.1, 0.1), (0.9, 1.0), (0.5, 0.2), (0.9, 0.8), (0.9, 0.9)]
    for number, (accuracy, loss) in enumerate(figures, start=1):
        model.set_weights([np.full((1, 1), number, np.float32)])
        state.close_epoch({"validation_accuracy": accuracy, "validation_loss": loss})
    state.model.set_weights(state.kept)
    assert state.kept_epoch == epoch and state.best_epoch == 4
    assert model.get_weights()[0] == epoch


@pytest.mark.slow
def test_what_diffres_reports():
    model = build_model("diffres", "mcu")
    rng = np.random.default_rng(0)
    figures = learnt_figures("diffres", model, rng.uniform(-1, 1, (4, *SHAPE)).astype(np.float32))
    assert set(figures) == {"activeness", "guide_loss"}
    assert figures["activeness"] > 0 and figures["guide_loss"] >= 0
    rival = build_model("diffres", "mcu", overrides={"method": "avgpool"})
    assert learnt_figures("diffres", rival, np.zeros((1, *SHAPE), np.float32)) == {}
    assert learnt_figures("m3net", rival, np.zeros((1, *SHAPE), np.float32)) == {}


# Half precision, and memory


@pytest.mark.slow
def test_half_precision_in_training_alone(tiny_recipe, tmp_path):
    recipe = tiny_recipe(training={**ONE_EPOCH, "mixed_precision": True, "gradient_norm": 5.0})
    save_recipe(recipe, tmp_path / "recipe.yaml")
    words = ["-m", "m3net_tf", "train", tmp_path / "recipe.yaml", "--run", tmp_path / "run"]
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": ""}  # the command limits and lifts it
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env=environment)
    metrics = Run(tmp_path / "run").metrics().values
    rows = list(csv.DictReader((tmp_path / "run/history.csv").read_text().splitlines()))
    assert 0 < float(rows[0]["loss"]) < 10
    model = Run(tmp_path / "run").load_model()
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert metrics["parameters"] == model.count_params()


def test_half_precision_after_avx2_in_one_process_is_refused(tiny_recipe, tmp_path, monkeypatch):
    tf.ones(1)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    with refuses(ConfigError, "mixed_precision", "AVX2"):
        train(tiny_recipe(training={**ONE_EPOCH, "mixed_precision": True}), tmp_path / "run")


def test_the_policy_is_reset_after_an_error(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "ALL")
    recipe = tiny_recipe(
        model={"arguments": {"sfp": 3}}, training={**ONE_EPOCH, "mixed_precision": True}
    )
    with refuses(ConfigError, "model.arguments.sfp"):
        train(recipe, tmp_path / "run")
    assert keras.mixed_precision.global_policy().name == "float32"


class Listener:
    """Replaces a network, and records how many clips it gets at once."""

    input = None

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, maps: tf.Tensor, training: bool) -> tf.Tensor:
        self.batches.append(maps.shape[0])
        return maps[:, 0, :2, 0]


def test_large_inputs_are_answered_few_at_a_time():
    config = FrontendConfig()
    small = np.zeros((300, config.feature_bins, config.frame_count(16_000), 1), np.int8)
    waves = np.arange(-15, 15).astype(np.int8)[:, None, None, None] * np.ones(
        (1, 1, 88_200, 1), np.int8
    )
    listener = Listener()
    predict(listener, small)
    assert listener.batches == [256, 44]
    listener = Listener()
    predictions = predict(listener, waves)
    assert max(listener.batches) * 88_200 <= 2**20
    np.testing.assert_array_equal(predictions[:, 0] * 128, np.arange(-15, 15))


def test_the_loss_scale_survives_a_stop(tiny_recipe, tmp_path):
    settings = dataclasses.replace(tiny_recipe().training, mixed_precision=True)

    def state() -> TrainingState:
        model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
        return TrainingState(model, settings, 1)

    stopped = state()
    resumed = state()
    loss_scale_variables(stopped.optimizer)[0].assign(64.0)
    stopped.close_epoch({"validation_accuracy": 0.5, "validation_loss": 1.0})
    stopped.save(tmp_path / "state.npz")
    resumed.load(tmp_path / "state.npz")
    assert float(resumed.optimizer.loss_scale) == 64.0
    assert resumed.best_epoch == 1
    for a, b in zip(resumed.model.weights, stopped.model.weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_fine_tuning_begins_with_the_runs_layers_and_a_new_head(tiny_recipe, tiny_run, tmp_path):
    recipe = tiny_recipe(
        training=ONE_EPOCH, fine_tuning={"run": str(tiny_run), "freeze": ["sfp", "mfp_align"]}
    )
    lines: list[str] = []
    metrics = train(recipe, tmp_path / "run", log=lines.append).values
    facts = metrics["fine_tuning"]
    assert facts["layers_new"] == ["dense"]
    assert facts["layers_frozen"]
    assert facts["parameters_taken"] == metrics["parameters"] - 90  # 8 channels to 10 classes
    assert any(line.startswith(f"{facts['layers_taken']} layers with ") for line in lines)
    before, after = (Run(folder).load_model() for folder in (tiny_run, tmp_path / "run"))
    for layer in after.layers:
        same = [
            np.array_equal(a, b)
            for a, b in zip(
                layer.get_weights(), before.get_layer(layer.name).get_weights(), strict=True
            )
        ]
        assert all(same) if layer.name in facts["layers_frozen"] else not all(same) or not same


def begin(tiny_run, tiny_recipe, classes: int = 10, **settings: object) -> dict:
    overrides = tiny_recipe().model.arguments

    def build(count: int) -> keras.Model:
        return build_model("m3net", "mcu", input_shape=SHAPE, classes=count, overrides=overrides)

    section = FineTuningSection(str(tiny_run), **settings)
    dataset = load_section(tiny_recipe().dataset, None)
    return start_from(build(classes), section, dataset, build, lambda _: None)


def test_freezing_what_is_not_there(tiny_run, tiny_recipe):
    with refuses(ConfigError, "'stem'"):
        begin(tiny_run, tiny_recipe, freeze=("stem",))
    with refuses(ConfigError, "freeze"):
        begin(tiny_run, tiny_recipe, freeze=("",))


def test_a_run_of_another_network(tiny_run, tiny_recipe, tmp_path):
    recipe = tiny_recipe(
        model={"name": "ds_cnn", "arguments": {}}, fine_tuning={"run": str(tiny_run)}
    )
    source = Run(tiny_run).load_model()
    for layer in source.layers:
        layer._name = f"other_{layer.name}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "load_model", lambda _: source)
        with refuses(ConfigError, "ds_cnn"):
            train(recipe, tmp_path / "run")
