# SPDX-License-Identifier: Apache-2.0
"""From a recipe to shards, to a run trained on them, on the command line."""

import contextlib
import dataclasses
import json

import pytest
import yaml
from refusals import refuses

from m3net_tf import cli
from m3net_tf.audio.datasets import load_dataset
from m3net_tf.audio.shards import open_shards
from m3net_tf.audio.shards.writing import write_shards
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.progress import silent
from m3net_tf.training import Run, load_recipe, train
from m3net_tf.training.clips.source import record_source
from m3net_tf.training.start import prepare

pytestmark = pytest.mark.usefixtures("private_cache")


def command(capsys, *words):
    """Standard output of a command."""
    with contextlib.suppress(SystemExit):
        cli.app([*map(str, words)])
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def recipe_path(tiny_recipe, tmp_path_factory):
    recipe = tiny_recipe(augmentation={"copies": 0}, training={"epochs": 1, "batch_size": 20})
    path = tmp_path_factory.mktemp("recipes") / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.to_dict()))
    return path


@pytest.fixture(scope="module")
def written(private_cache, recipe_path, tmp_path_factory):
    """Folder of the recipe's shards."""
    folder = tmp_path_factory.mktemp("data") / "shards"
    section = dataclasses.asdict(load_recipe(recipe_path).dataset)
    write_shards(load_dataset("synth", clips_per_class=6), section, str(folder))
    return folder


def test_a_recipe_names_the_data_set(written, recipe_path, capsys):
    lines = command(capsys, "data", "shard", recipe_path, "--out", written).splitlines()
    assert lines[0].startswith(f"{written}: 60 clips in 3 shards, 2 MB, index SHA-256 ")
    words = "data shard synth --option clips_per_class=6 --json --out".split()
    facts = json.loads(command(capsys, *words, written))
    assert (facts["clips"], facts["shards"], facts["url"]) == (60, 3, str(written))
    assert facts["sha256"] == open_shards(str(written)).sha256


def test_a_recipe_has_its_own_options(recipe_path, tmp_path, capsys):
    with refuses(Exception, "fold", "protocol", "seed"):
        cli.data.data_shard(str(recipe_path), str(tmp_path), seed=1)


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"augmentation": {"copies": 2}}, "augmentation.copies is 2"),
        ({"augmentation": {"copies": 0, "random_crop": True}}, "augmentation.random_crop is True"),
        (
            {
                "augmentation": {"copies": 0, "mixup_probability": 0.0},
                "distillation": {"teacher": "a.tflite"},
            },
            "distillation.teacher is a.tflite",
        ),
    ],
)
def test_keys_that_need_files_are_refused(written, tiny_recipe, tmp_path, sections, key):
    with refuses(ConfigError, key, "--shards"):
        train(tiny_recipe(**sections), tmp_path / "run", open_shards(str(written)))
    assert not (tmp_path / "run/recipe.yaml").exists()


def test_a_stopped_run_continues_with_its_shards(written, recipe_path, tmp_path, monkeypatch):
    monkeypatch.chdir(written.parent)
    folder = tmp_path / "run"
    recipe = load_recipe(recipe_path)
    folder.mkdir()
    started = prepare(recipe, folder, open_shards(written.name), silent)
    monkeypatch.chdir(tmp_path)
    record_source(folder, "synth", started.source)
    assert Run(folder).data_folder(None) is None
    again = prepare(recipe, folder, None, silent)
    assert again.shards == started.source and again.dataset.clip_list_hash()
    given = prepare(recipe, folder, tmp_path, silent)
    assert given.folder == tmp_path  # --data-dir prevails


@pytest.mark.slow
def test_a_run_on_shards(written, recipe_path, tmp_path, capsys):
    folder = tmp_path / "run"
    out = command(capsys, "train", recipe_path, "--run", folder, "--shards", written, "--json")
    facts = json.loads(out[out.index("{") :])
    trained = Run(folder).metrics()
    assert facts["dataset"]["clip_list_sha256"] == trained.dataset.clip_list_sha256
    assert Run(folder).dataset(None).clip_list_hash() == trained.dataset.clip_list_sha256
    assert json.loads((folder / "data.json").read_text()) == {"shards": str(written)}
    assert "test" in command(capsys, "evaluate", folder, "--json")
