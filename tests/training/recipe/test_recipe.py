# SPDX-License-Identifier: Apache-2.0
import dataclasses
import re

import pytest
from refusals import refuses

from m3net_tf.audio.frontend import frontend_preset
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.yaml_files import parse_yaml
from m3net_tf.training import Recipe, load_recipe, save_recipe

LEAST = {"dataset": {"name": "synth"}, "model": {"name": "m3net"}}
SECTIONS = {field.name: field.default_factory for field in dataclasses.fields(Recipe)}


def with_(section: str, **changes: object) -> dict:
    return {**LEAST, section: {**LEAST.get(section, {}), **changes}}


def test_defaults():
    recipe = Recipe.from_dict(LEAST)
    assert recipe.model.preset == "mcu"
    assert recipe.training.epochs == 60
    assert recipe.frontend.mel_bins == 40
    assert recipe.dataset.options == {}


@pytest.mark.parametrize("section", SECTIONS)
def test_an_unknown_key_names_the_section_and_its_keys(section):
    kind = type(getattr(Recipe.from_dict(LEAST), section))
    keys = ", ".join(field.name for field in dataclasses.fields(kind))
    message = f"unknown key 'epoch' in section '{section}': .*known keys are {keys}$"
    with pytest.raises(ConfigError, match=message):
        Recipe.from_dict(with_(section, epoch=3))


def test_an_unknown_section():
    sections = ", ".join(SECTIONS)
    message = f"unknown key 'optimiser' in section 'recipe': known keys are {sections}$"
    with pytest.raises(ConfigError, match=message):
        Recipe.from_dict({**LEAST, "optimiser": {}})


@pytest.mark.parametrize(
    ("section", "value", "keys"),
    [
        ("dataset", 0, "training_share"),
        ("training", 0, "epochs batch_size learning_rate step_start step_every step_factor"),
        (
            "training",
            -1,
            "learning_rate learning_rate_floor weight_average seed weight_decay "
            "gradient_norm warm_up_epochs early_stopping",
        ),
        ("training", 1, "label_smoothing momentum mixed_precision"),
        ("training", "other", "schedule optimizer class_weights keep"),
        ("distillation", 2, "weight"),
        ("distillation", 0, "temperature"),
        ("quantization", 0, "calibration_clips epochs learning_rate"),
        ("quantization", -1, "seed"),
        (
            "augmentation",
            -1,
            "copies shift_s time_masks time_mask_frames frequency_masks frequency_mask_bins "
            "mixup_probability stretch_probability",
        ),
        (
            "augmentation",
            2,
            "speed_probability noise_probability mixup_min room_probability "
            "pitch_probability cutmix_probability cutmix_min between_class_probability",
        ),
        ("frontend", 0, "mel_bins"),
    ],
)
def test_values_outside_their_range(section, value, keys):
    for key in keys.split():
        with pytest.raises(ConfigError, match=rf"{section}\.{key} is {value!r}"):
            Recipe.from_dict(with_(section, **{key: value}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "key 'dataset' is missing in section 'recipe'"),
        ({"dataset": {"name": "synth"}}, "key 'model' is missing in section 'recipe'"),
        ({**LEAST, "dataset": {}}, "key 'name' is missing in section 'dataset'"),
        ({**LEAST, "model": {"preset": "mcu"}}, "key 'name' is missing in section 'model'"),
        (None, "section 'recipe' is None: give keys and values"),
        ([1], r"section 'recipe' is \[1\]"),
        ({**LEAST, "training": 3}, "section 'training' is 3: give keys and values"),
        ({**LEAST, "training": None}, "section 'training' is None"),
        (with_("dataset", name=3), r"dataset\.name is 3"),
        (with_("dataset", fold="one"), r"dataset\.fold is 'one'"),
        (with_("dataset", options={"seed": 1}), r"dataset\.options\.seed is not a data set option"),
        (with_("dataset", options=[1]), r"dataset\.options is \[1\]"),
        (with_("training", epochs="many"), r"training\.epochs is 'many'"),
        (with_("training", epochs=2.0), r"training\.epochs is 2"),
        (with_("training", epochs=True), r"training\.epochs is True"),
        (with_("training", learning_rate="fast"), r"training\.learning_rate is 'fast'"),
        (with_("training", learning_rate=True), r"training\.learning_rate is True"),
        (with_("training", learning_rate=float("inf")), r"training\.learning_rate is inf"),
        (with_("training", weight_decay=0.1), r"weight_decay is 0\.1 with optimizer adam: choose"),
        (
            with_("training", warm_up_epochs=2, schedule="one_cycle"),
            r"warm_up_epochs is 2\.0 with schedule one_cycle, which has its own warm-up",
        ),
        (
            with_("training", keep="last", early_stopping=3),
            r"early_stopping is 3 with keep last, which needs the whole",
        ),
        (with_("distillation", run=1), r"distillation\.run is 1"),
        (with_("fine_tuning", run="a", freeze="b"), r"fine_tuning\.freeze is 'b'"),
        (with_("fine_tuning", run="a", freeze=[1]), r"fine_tuning\.freeze\[0\] is 1"),
        (with_("distillation", ensemble=["b"]), r"ensemble adds teachers: name distillation.run"),
        (with_("fine_tuning", freeze=["b"]), r"fine_tuning\.freeze needs trained layers: name"),
        (with_("augmentation", gain_db=3), r"augmentation\.gain_db is 3"),
        (with_("augmentation", gain_db=[1, 2, 3]), r"augmentation\.gain_db is \[1, 2, 3\]"),
        (with_("augmentation", gain_db=["a", 2]), r"augmentation\.gain_db\[0\] is 'a'"),
        (with_("augmentation", gain_db=[2, 1]), r"augmentation\.gain_db is \(2\.0, 1\.0\)"),
        (with_("augmentation", noise_snr_db=[9, 1]), r"augmentation\.noise_snr_db is \(9\.0, 1\."),
        (with_("augmentation", speed=[0, 1]), r"augmentation\.speed is \(0\.0, 1\.0\)"),
        (with_("frontend", mel_min_hz="low"), r"frontend\.mel_min_hz is 'low'"),
    ],
)
def test_wrong_values(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Recipe.from_dict(values)
    remedy = r": (give|choose|set|name|remove|use)|add it|not a data set option"
    assert re.search(remedy, str(caught.value)) and "\n" not in str(caught.value)


def test_whole_numbers_and_yamls_exponents_may_stand_for_floats():
    text = "learning_rate: 2e-3\nlabel_smoothing: 0\n"
    recipe = Recipe.from_dict({**LEAST, "training": parse_yaml(text, "recipe")})
    assert recipe.training.learning_rate == 0.002
    assert isinstance(recipe.training.label_smoothing, float)


def test_round_trip(tmp_path, tiny_recipe):
    recipe = tiny_recipe(
        dataset={"fold": 3, "protocol": "p"},
        augmentation={"gain_db": [-3, 3]},
        fine_tuning={"run": "runs/a", "freeze": ["b", "c", "d"]},
    )
    save_recipe(recipe, tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml") == recipe
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    first = (tmp_path / "recipe.yaml").read_bytes()
    save_recipe(load_recipe(tmp_path / "recipe.yaml"), tmp_path / "again.yaml")
    assert (tmp_path / "again.yaml").read_bytes() == first


def test_newer_keys_leave_the_hashes_of_published_results(tiny_recipe):
    plain = tiny_recipe()
    assert "features" not in plain.hashed_values()["training"]
    assert "loss" in plain.to_dict()["training"]
    changed = tiny_recipe(training={"features": "float32"})
    assert changed.hashed_values()["training"]["features"] == "float32"
    assert "loss" not in changed.hashed_values()["training"]


def test_a_missing_file_lists_the_recipes_beside_it(tmp_path):
    path = tmp_path / "mine.yaml"
    with refuses(ConfigError, "mine.yaml"):
        load_recipe(path)
    for name in ("b.yaml", "a.yaml", "notes.txt"):
        (tmp_path / name).touch()
    with refuses(ConfigError, "mine.yaml", "a", "b"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"dataset: [", "is not valid YAML: "),
        (b"dataset: {name: synth}\n\tmodel: x", "is not valid YAML: "),
        (
            b"training: {epochs: 1}\ntraining: {seed: 1}",
            "duplicate key 'training' in lines 1 and 2",
        ),
        (b"dataset: " + b"{a: " * 300 + b"}" * 300, "is nested more than 50 levels deep"),
        (b"\xff\xfe\xfa", "cannot be read"),
        (b"", "section 'recipe' is None"),
        (b"dataset: {name: synth}\nmodel: {name: m3net}\ntraining: {epochs: 0}", "epochs is 0"),
        (b"dataset: {name: synth}\nmodel: {nam: m3net}", "unknown key 'nam' in section 'model'"),
    ],
)
def test_a_bad_file_is_named(content, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"mine\.yaml.*{message}") as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_recipe(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recipe(tmp_path)


LEAST_FRONTEND = {"dataset": {"name": "synth"}, "model": {"name": "m3net"}}


def frontend(**values: object):
    return Recipe.from_dict({**LEAST_FRONTEND, "frontend": values}).frontend


def test_a_preset_and_what_differs_from_it():
    assert frontend(preset="mcu") == Recipe.from_dict(LEAST_FRONTEND).frontend
    assert frontend(preset="kaldi_fbank", mel_bins=40).mel_bins == 40
    assert frontend(preset="diffres", hop_ms=3) == frontend_preset("diffres", hop_ms=3)
    cd = frontend(preset="spectromasknet", sample_rate_hz=44_100, level_db=-25)
    assert (cd.frame_samples, cd.mel_max_hz, cd.level_db) == (1102, 22_050, -25.0)


def test_the_saved_recipe_has_all_keys(tmp_path):
    recipe = Recipe.from_dict({**LEAST_FRONTEND, "frontend": {"preset": "m3net"}})
    save_recipe(recipe, tmp_path / "recipe.yaml")
    assert (
        "preset" not in (tmp_path / "recipe.yaml").read_text().split("frontend:")[1].split(":")[0]
    )
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"preset": "leaf"}, "front end 'leaf' is unknown; choose from mcu, kaldi_fbank"),
        ({"preset": 3}, r"frontend\.preset is 3: give text"),
        ({"preset": "mcu", "sample_rate_hz": "cd"}, r"frontend\.sample_rate_hz is 'cd'"),
        ({"preset": "mcu", "hop_ms": "x"}, r"frontend\.hop_ms is 'x'"),
        ({"preset": "mcu", "hop": 3}, "unknown key 'hop' in section 'frontend'"),
        ({"hop_ms": 3}, "unknown key 'hop_ms' in section 'frontend'"),
        ({"preset": "mcu", "sample_rate_hz": -5}, r"frontend\.\w+ is -?\d+: give a whole number"),
        ({"preset": "mcu", "hop_ms": -5}, r"frontend\.hop_samples is -80: give a whole number"),
    ],
)
def test_errors_name_the_key(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        frontend(**values)
    assert "\n" not in str(caught.value)
