# SPDX-License-Identifier: Apache-2.0
"""The trained networks of the package: files, cards, names; and how a card is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from refusals import refuses

from m3net_tf import Classifier
from m3net_tf.audio.datasets import dataset_info, load_dataset
from m3net_tf.networks.models import build_model
from m3net_tf.networks.pretrained import CARD, CARD_TEXT, FOLDER, find_pretrained, pretrained_names
from m3net_tf.pages.report.card import ABOUT, FILES, card_markdown, pack, renew_costs
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.system.yaml_files import read_yaml
from m3net_tf.training import Run, load_recipe
from m3net_tf.training.cross_validation import RESULT
from m3net_tf.training.loop.fine_tuning import start_from
from m3net_tf.training.recipe import Recipe

BODIES = ("sounds_l", "sounds_m", "sounds_s")
NAMES = ("diffres-s-keywords", "m3net-mcu-sounds", "m3net-s-keywords", *BODIES)
QUICK_NAMES = [
    pytest.param(name, marks=pytest.mark.slow if name in BODIES[:2] else ()) for name in NAMES
]
LARGEST_BYTES = 9_000_000
ATTRIBUTION = "attribution.txt"  # beside a card that names it
#: What each network hears in a sound that is made here.
HEARD = {
    "diffres-s-keywords": "_silence_",
    "m3net-mcu-sounds": "crying_baby",
    "m3net-s-keywords": "_silence_",
    **dict.fromkeys(BODIES, "Silence"),
}


def card_of(name: str) -> dict:
    return json.loads((FOLDER / name / CARD).read_text())


def test_they_are_small():
    assert pretrained_names() == NAMES
    sizes = [path.stat().st_size for path in FOLDER.glob("*/*") if "__pycache__" not in path.parts]
    assert sum(sizes) < LARGEST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_of_these_files(name):
    folder = FOLDER / name
    card = card_of(name)
    hashes = {file: sha256_of((folder / file).read_bytes()) for file in FILES}
    assert card["files"] == hashes and card["name"] == name
    text = (folder / CARD_TEXT).read_text()
    named = [ATTRIBUTION] if ATTRIBUTION in text else []
    assert {path.name for path in folder.iterdir()} == {*FILES, ABOUT, CARD, CARD_TEXT, *named}
    assert text == card_markdown(card)
    assert hashes["model.tflite"] in text
    assert card["about"] == read_yaml(folder / ABOUT)
    boards = 8 if name == "sounds_l" else 9  # one board has too little flash to link it
    assert len(card["boards"]) == boards and card["git_commit"].isalnum()


@pytest.mark.parametrize("name", QUICK_NAMES)
def test_the_card_and_the_file_name_the_sounds_licence(name):
    card = card_of(name)
    metadata = Classifier(name).metadata
    facts = Run(FOLDER / name).metrics().dataset.facts
    licence = facts["licence"] if "licence" in facts else dataset_info(facts["name"]).licence
    assert card["data"]["licence"] == licence and licence in metadata.licence
    assert any(licence in sentence for sentence in card["about"]["licence"])
    assert [row["label"] for row in card["classes"]] == list(metadata.labels)


def crying() -> np.ndarray:
    """Five seconds of a voice with harmonics that glides, with a pause for breath each 1.2 s."""
    time_s = np.arange(80_000) / 16_000
    frequency_hz = 450 + 100 * np.sin(2 * np.pi * 0.8 * time_s)
    phase = 2 * np.pi * np.cumsum(frequency_hz) / 16_000
    return 0.2 * sum(np.sin(k * phase) / k for k in range(1, 8)) * (time_s % 1.2 < 0.9)


@pytest.mark.parametrize("name", QUICK_NAMES)
def test_they_recognise_a_sound(name, write_wav, classify, capsys, tmp_path):
    hiss = 1e-3 * np.random.default_rng(0).standard_normal(16_000)
    sound = crying() if HEARD[name] == "crying_baby" else hiss
    clip = write_wav(tmp_path / "clip.wav", (32767 * sound).astype("<i2"))
    assert next(iter(Classifier(name).predict(clip))) == HEARD[name]
    assert classify("--model", name, clip) == 0
    assert f"clip.wav: {HEARD[name]} " in capsys.readouterr().out


def test_a_path_wins_and_an_unknown_name_lists_what_there_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = Path(NAMES[-1])
    assert find_pretrained(name) == FOLDER / name
    assert find_pretrained(Path("runs/other")) == Path("runs/other")
    assert find_pretrained(Path("other.tflite")) == Path("other.tflite")
    name.mkdir()
    assert find_pretrained(name) == name
    with refuses(ModelError, "m3net-x", ", ".join(NAMES)):
        Classifier("m3net-x")


# --- Fine-tuning ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "m3net-s-keywords" else pytest.mark.slow)
        for name in NAMES
    ],
)
def test_a_training_starts_with_their_weights(name):
    recipe = Recipe.from_dict(
        {
            **load_recipe(FOLDER / name / "recipe.yaml").to_dict(),
            "dataset": {"name": "synth", "options": {"clips_per_class": 6}},
            "fine_tuning": {"from": name},
        }
    )
    assert recipe.fine_tuning.run == name
    trained = Run(FOLDER / name).load_model()

    def build(classes: int):
        model = recipe.model
        return build_model(
            model.name,
            model.preset,
            input_shape=trained.input_shape[1:],
            classes=classes,
            overrides=model.arguments,
        )

    model = build(10)
    log: list[str] = []
    started = start_from(model, recipe.fine_tuning, load_dataset("synth", None), build, log.append)
    assert started["run"] == name and len(started["layers_new"]) == 1
    taken = 0
    for layer in model.layers:
        if layer.weights and layer.name not in started["layers_new"]:
            source = trained.get_layer(layer.name).get_weights()
            assert all(map(np.array_equal, layer.get_weights(), source)), layer.name
            taken += layer.count_params()
    assert taken == started["parameters_taken"] > 0.9 * model.count_params()


def test_only_one_spelling_at_once(tiny_recipe):
    values = tiny_recipe().to_dict()
    values["fine_tuning"] = {"from": "a", "run": "b"}
    with refuses(ConfigError, "'fine_tuning'", "'from'", "'run'"):
        Recipe.from_dict(values)


# --- The card of a run ---------------------------------------------------------------------------


@pytest.fixture
def measured(tiny_run, exported, tmp_path) -> Path:
    """A run with an export, and the files of its emulation and of m3net footprint."""
    folder = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    shutil.copytree(exported.folder, folder / "export", dirs_exist_ok=True)
    sha256 = exported.manifest.model.sha256
    summary = {"clips": 10, "accuracy": {"int8_desktop": 0.5}, "int8_accuracy_95": [0.2, 0.8]}
    cost = {"instructions": 5, "arena_bytes": 6, "flash_bytes": 7, "ram_bytes": 8}
    boards = [
        {"board": "a", "measured_on": "b", "cost": cost, "cpu_share": 0.25, "fits": True},
        {"board": "c", "measured_on": "b", "cost": cost, "cpu_share": 0.25, "fits": False},
        {"board": "d", "cost": None},
    ]
    for name, values in (
        ("summary.json", summary),
        ("footprint.json", {"engine": "compiled", "boards": boards}),
    ):
        (folder / name).write_text(json.dumps({"model_sha256": sha256, **values}))
    return folder


ABOUT_TEXT = "summary: A | network.\nintended_use: [Use.]\nlimits: []\nlicence: [Free.]\n"


def test_packing_a_run(measured, tmp_path):
    folder = tmp_path / "packed-network"
    folder.mkdir()
    (folder / ABOUT).write_text(ABOUT_TEXT)
    card = pack(Run(measured), folder)
    assert card["name"] == "packed-network" and card["accuracy"]["int8"] == 0.5
    assert json.loads((folder / CARD).read_text())["files"] == card["files"]
    text = (folder / CARD_TEXT).read_text()
    assert "A \\| network." in text and "| a | 5 | 6 | 7 | 8 | 25.0 % | b |" in text
    assert "does not fit" in text
    before = Run(measured).load_model()
    after = Run(folder).load_model()
    assert all(map(np.array_equal, before.get_weights(), after.get_weights()))
    assert Classifier(folder).labels == Classifier(measured).labels


def test_a_cross_validation_is_on_the_card(measured, tmp_path):
    folds = {"clips": 40, "groups": 30, "accuracy": 0.75, "fold_accuracy": [0.5, 1.0]}
    folds["statement"] = "grouped-5fold, by a GUESS"
    bounds = {"accuracy_95_low": 0.5, "accuracy_95_high": 0.875}
    (measured / RESULT).write_text(json.dumps({**folds, **bounds}))
    (tmp_path / ABOUT).write_text(ABOUT_TEXT)
    card = pack(Run(measured), tmp_path)
    assert card["cross_validation"]["folds"] == 2
    text = (tmp_path / CARD_TEXT).read_text()
    assert "75.0 % (50.0 to 87.5 %) of 40 clips in 30 groups" in text
    assert "Held out: grouped-5fold, by a GUESS." in text


def test_only_the_costs_of_a_card_are_renewed(measured, tmp_path):
    folder = tmp_path / "packed-network"
    folder.mkdir()
    (folder / ABOUT).write_text(ABOUT_TEXT)
    card = pack(Run(measured), folder)
    (measured / "metrics.json").rename(tmp_path / "metrics.json")  # a packed network has none
    costs = json.loads((measured / "footprint.json").read_text())
    costs["boards"][0]["cost"]["instructions"] = 4
    (measured / "footprint.json").write_text(json.dumps(costs))
    renewed = renew_costs(Run(measured), folder)
    assert (
        renewed["boards"][0]["instructions"] == 4
        and "| a | 4 |" in (folder / CARD_TEXT).read_text()
    )
    card["boards"][0]["instructions"] = 4
    assert renewed == json.loads(json.dumps(card)) == json.loads((folder / CARD).read_text())
    (measured / "footprint.json").write_text('{"model_sha256": "0"}')
    (tmp_path / "metrics.json").rename(measured / "metrics.json")
    for make in (renew_costs, pack):
        with refuses(ModelError, "footprint.json", "m3net footprint"):
            make(Run(measured), folder)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (None, "about.yaml needs the keys summary, intended_use"),
        ("[]", "give keys and values"),
        ("summery: a", "unknown key 'summery'"),
        ("summary: a", "'intended_use' is missing"),
    ],
)
def test_words_that_are_missing(measured, tmp_path, about, message):
    if about is not None:
        (tmp_path / ABOUT).write_text(about)
    with pytest.raises(ConfigError, match=message):
        pack(Run(measured), tmp_path)
