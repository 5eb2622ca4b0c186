# SPDX-License-Identifier: Apache-2.0
"""Tables as YAML: nested patches, cells, runs and their prerequisites; the shipped tables."""

import dataclasses
import functools
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.datasets import dataset_info
from m3net_tf.audio.frontend import FrontendConfig, mel_filterbank
from m3net_tf.lab.studies.grid import SCALES, Repeat, slug
from m3net_tf.lab.studies.grid_file import find_grid, grid_names, load_grid, merge
from m3net_tf.networks.models import design_defaults, model_names, presets_of
from m3net_tf.system.errors import ConfigError

GRID = """
title: Something left out
paper: Somebody, 2025
table: Table 9
seeds: [0, 1]
base: [shared/base.yaml, {training: {epochs: 7}}]
axes:
  Data:
    first: {dataset: {name: us8k, protocol: official-10fold}, folds: [3, 4], seeds: [5]}
    second: {dataset: {name: speech_commands, options: {classes: "35"}}}
  Network:
    whole:
    less: {model: {arguments: {dfp: false}}}
    taught: {fine_tuning: {run: {step: before}}}
    rival: {quoted: true}
steps:
  before: {dataset: {name: us8k}, folds: [2], training: {epochs: 3}}
expected:
  first: {whole: 90, less: [80.5, 0.5], rival: 70}
reference: {Network: whole}
skip:
  - {Data: second, Network: [rival]}
scales:
  paper: {}
  small:
    patch: {training: {epochs: 2}, folds: null, seeds: [0, 1, 2]}
    only: {Data: [second]}
    axes:
      Network: {less: {model: {arguments: {mfp: false}}}}
    steps: {before: {training: {epochs: 1}}}
"""


@pytest.fixture
def write(tmp_path):
    """Write a grid with text replaced; returns its path."""
    (tmp_path / "shared").mkdir()
    base = "dataset: {name: synth}\nmodel: {name: m3net, preset: mcu}\n"
    (tmp_path / "shared/base.yaml").write_text(base)

    def make(*replacements):
        text = GRID
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "table9.yaml"
        path.write_text(text)
        return path

    return make


def cell_of(grid, *labels):
    return next(cell for cell in grid.cells if tuple(cell.labels.values()) == labels)


def test_merge_goes_key_by_key():
    low = {"training": {"epochs": 1, "seed": 2}, "seeds": [1, 2]}
    high = {"training": {"epochs": 3}, "seeds": [4], "folds": None}
    assert merge(low, high) == {
        "training": {"epochs": 3, "seed": 2},
        "seeds": [4],
        "folds": None,
    }
    assert low["training"]["epochs"] == 1


@pytest.mark.parametrize(
    ("low", "high", "merged"),
    [
        (
            {"dataset": {"name": "us8k", "protocol": "grouped"}},
            {"dataset": {"name": "synth"}},
            {"dataset": {"name": "synth"}},
        ),
        (
            {"dataset": {"name": "us8k", "protocol": "grouped"}},
            {"dataset": {"name": "us8k", "seed": 1}},
            {"dataset": {"name": "us8k", "protocol": "grouped", "seed": 1}},
        ),
        (
            {"model": {"name": "m3net", "preset": "paper", "arguments": {"dfp": False}}},
            {"model": {"preset": "mcu"}},
            {"model": {"name": "m3net", "preset": "mcu", "arguments": {"dfp": False}}},
        ),
        (
            {"frontend": {"preset": "m3net", "hop_ms": 3.0}},
            {"frontend": {"preset": "diffres"}},
            {"frontend": {"preset": "diffres"}},
        ),
    ],
)
def test_another_name_resets_its_section(low, high, merged):
    assert merge(low, high) == merged


def test_cells_come_in_order_with_what_the_paper_says(write):
    grid = load_grid(write(), "paper")
    assert [tuple(cell.labels.values()) for cell in grid.cells] == [
        ("first", "whole"),
        ("first", "less"),
        ("first", "taught"),
        ("first", "rival"),
        ("second", "whole"),
        ("second", "less"),
        ("second", "taught"),
    ]
    assert [(cell.expected, cell.expected_std) for cell in grid.cells[:4]] == [
        (90.0, None),
        (80.5, 0.5),
        (None, None),
        (70.0, None),
    ]
    assert grid.cells[3].quoted and not grid.cells[3].repeats
    assert grid.cells[0].repeats == (Repeat(5, 3), Repeat(5, 4))
    assert grid.cells[4].repeats == (Repeat(0, None), Repeat(1, None))


def test_draws_of_a_split_are_apart_from_the_seeds(write):
    both = load_grid(write(("seeds: [0, 1]\nbase", "seeds: [0, 1]\nsplits: [7, 8]\nbase")), "paper")
    cell = cell_of(both, "second", "taught")
    drawn = [(repeat.seed, repeat.split) for repeat in cell.repeats]
    assert drawn == [(0, 7), (0, 8), (1, 7), (1, 8)]
    training = both.training(cell, cell.repeats[1])
    assert (training.recipe.training.seed, training.recipe.dataset.seed) == (0, 8)
    assert training.place.endswith("/second--taught/seed0-split8")
    own = load_grid(write(("seeds: [0, 1]\nbase", "seeds: [0, 1]\nsplits: by seed\nbase")), "paper")
    repeats = cell_of(own, "second", "whole").repeats
    assert [(repeat.seed, repeat.split) for repeat in repeats] == [(0, 0), (1, 1)]


def test_patches_reach_the_recipe(write):
    grid = load_grid(write(), "paper")
    recipe = grid.training(grid.cells[1], Repeat(5, 4)).recipe
    assert (recipe.dataset.name, recipe.dataset.protocol, recipe.dataset.fold) == (
        "us8k",
        "official-10fold",
        4,
    )
    assert (recipe.training.epochs, recipe.training.seed) == (7, 5)
    assert recipe.model.arguments == {"dfp": False}


def test_an_overlay_has_the_last_word_in_all_cells_and_steps(write, tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("training: {epochs: 9}")
    grid = load_grid(write(), "small", overlay)
    assert {training.recipe.training.epochs for training in grid.trainings()} == {9}
    overlay.write_text("training: {epoks: 9}")
    grid = load_grid(write(), "small", overlay)
    with pytest.raises(ConfigError, match="unknown key 'epoks'"):
        grid.recipe(grid.cells[0])


@pytest.mark.parametrize("name", ["m3net/table4", "spectromasknet/table1", "diffres/table1"])
def test_the_overlay_for_a_gpu_keeps_all_but_the_precision(name):
    plain, fast = (shipped(name, "paper", path) for path in (None, Path("experiments/gpu.yaml")))
    for first, second in zip(plain.cells, fast.cells, strict=True):
        if first.trained:
            recipes = [dataclasses.asdict(g.recipe(c)) for g, c in ((plain, first), (fast, second))]
            changed = _differences(*map(_settings, recipes))
            assert changed <= {
                f"training.{key}" for key in ("mixed_precision", "half_precision", "xla")
            }
            assert "training.xla" in changed


def test_exceptions_change_single_combinations(write):
    exception = """exceptions:
  - where: {Data: first, Network: [less, taught]}
    patch: {training: {epochs: 9}, clip: dog}
reference"""
    grid = load_grid(write(("reference", exception)), "paper")
    epochs = {
        tuple(cell.labels.values()): cell.values["training"]["epochs"]
        for cell in grid.cells
        if cell.trained
    }
    changed = {labels for labels, count in epochs.items() if count == 9}
    assert changed == {("first", "less"), ("first", "taught")}
    assert {cell.clip for cell in grid.cells} == {None, "dog"}


def test_averages_are_another_label_where_there_is_more_than_one(write):
    path = write(
        ("  first: {whole", "  Average: {whole: [85, 1]}\n  first: {whole"),
        ("reference", "averages: {Data: Average}\nreference"),
    )
    grid = load_grid(path, "paper")
    assert grid.axes["Data"] == ("first", "second", "Average")
    cell = cell_of(grid, "Average", "whole")
    assert (cell.average_of, cell.expected, cell.expected_std) == ("Data", 85, 1)
    assert not cell.trained and not cell.repeats
    assert load_grid(path, "small").axes["Data"] == ("second",)  # the scale keeps one


def test_a_grid_is_of_a_table_or_a_figure(write):
    grid = load_grid(write(("table: Table 9", "figure: Figure 9")), "paper")
    assert grid.table == "Figure 9"
    quoted = grid.cells[3]
    assert quoted.quoted and grid.recipe(grid.cells[0]).training.seed == 5
    with refuses(ConfigError, "'table'"):
        load_grid(write(("table: Table 9\n", "")), "paper")


def test_values_of_another_split_are_known(write):
    grid = load_grid(
        write(("seeds: [0, 1]\nbase", "paper_protocol: official-split\nbase")), "paper"
    )
    marked = {tuple(cell.labels.values()) for cell in grid.cells if cell.other_split}
    assert marked == {("first", "whole"), ("first", "less"), ("first", "taught")}  # not the rival


@pytest.mark.parametrize(
    "change",
    [
        "dataset: {name: synth}",
        "dataset: {options: {classes: '12'}}",
        "metric: mean_average_precision",
    ],
)
def test_values_of_other_data_than_the_papers_are_known(write, change):
    path = write(("patch: {training: {epochs: 2},", f"patch: {{{change},"))
    assert all(cell.other_data for cell in load_grid(path, "small").cells)
    assert not any(cell.other_data for cell in load_grid(path, "paper").cells)


def test_an_average_over_other_data_is_known():
    for scale, other in (("tiny", True), ("paper", False)):
        averages = [c for c in shipped("diffres/table3", scale).cells if c.average_of]
        assert averages and all(cell.other_data == other for cell in averages)


def test_one_step_with_a_seed_of_its_own_serves_all(write):
    own = ("before: {dataset: {name: us8k}, folds: [2]", "before: {seeds: [3]")
    grid = load_grid(write(own), "small")
    cell = cell_of(grid, "second", "taught")
    needed = [grid.training(cell, repeat).needs["fine_tuning"][0] for repeat in cell.repeats]
    assert len(needed) == 3
    assert {(step.recipe.training.seed, step.place) for step in needed} == {(3, needed[0].place)}


def test_a_scale_has_the_last_word(write):
    grid = load_grid(write(), "small")
    assert {cell.labels["Data"] for cell in grid.cells} == {"second"}
    assert grid.axes["Data"] == ("second",)
    less = cell_of(grid, "second", "less")
    assert less.repeats == (Repeat(0, None), Repeat(1, None), Repeat(2, None))
    recipe = grid.training(less, less.repeats[2]).recipe
    assert recipe.training.epochs == 2
    assert recipe.model.arguments == {"dfp": False, "mfp": False}


def test_a_step_keeps_the_fold_of_its_own_data_set_only(write):
    grid = load_grid(write(), "paper")
    same = grid.training(grid.cells[2], Repeat(5, 4))
    assert same.needs["fine_tuning"][0].recipe.dataset.fold == 4
    other_training = grid.training(grid.cells[6], Repeat(1, None))
    step = other_training.needs["fine_tuning"][0].recipe
    assert (step.dataset.name, step.dataset.fold) == ("us8k", 2)
    assert (step.training.epochs, step.training.seed) == (3, 1)
    assert step.fine_tuning.run is None
    assert (
        other_training.recipe.fine_tuning.run
        == f"recipe {other_training.needs['fine_tuning'][0].key}"
    )
    small = load_grid(write(), "small")
    cell = cell_of(small, "second", "taught")
    assert small.training(cell, cell.repeats[0]).needs["fine_tuning"][0].recipe.training.epochs == 1


def test_keys_are_equal_where_recipes_are(write):
    grid = load_grid(write(("dfp: false", "dfp: true")), "paper")
    whole = grid.cells[4]
    less = grid.cells[5]
    assert grid.training(whole, Repeat(0, None)).key != grid.training(whole, Repeat(1, None)).key
    assert grid.training(whole, Repeat(0, None)).key != grid.training(less, Repeat(0, None)).key
    changed = load_grid(write(("less: {model: {arguments: {dfp: false}}}", "less:")), "paper")
    again = changed.training(changed.cells[5], Repeat(0, None))
    assert grid.training(whole, Repeat(0, None)).key == again.key
    # A run that starts from another run differs where that run differs.
    longer = load_grid(write(("{epochs: 3}", "{epochs: 4}")), "paper")
    cells = (grid.cells[6], longer.cells[6])
    keys = [g.training(c, Repeat(0, None)).key for g, c in zip((grid, longer), cells, strict=True)]
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ("replacement", "message"),
    [
        (("title: Something left out\n", ""), "'title' is missing"),
        (("title:", "titel:"), "unknown key 'titel'"),
        (("seeds: [0, 1, 2]", "seeds: [0, 0]"), "seeds is [0, 0]"),
        (("seeds: [0, 1, 2]", "seeds: 3"), "seeds is 3"),
        (("seeds: [0, 1, 2]", "splits: [1, 1]"), "splits is [1, 1]"),
        (("folds: null", "folds: [true]"), "folds[0] is True"),
        (("less: {model: {arguments: {dfp: false}}}", "less: {colour: red}"), "'colour'"),
        (("quoted: true", "quotes: true"), "unknown key 'quotes'"),
        (("step: before", "step: after"), "known steps are before"),
        (("epochs: 3}}", "epochs: 3}, seeds: [1, 2]}"), "step before has 2 seeds: give it one"),
        (("{Network: whole}", "{Net: whole}"), "reference names the axis 'Net'"),
        (("{Network: whole}", "{Network: full}"), "reference names 'full'"),
        (("Network: [rival]", "Network: [foe]"), "skip names 'foe'"),
        (("only: {Data: [second]}", "only: {Data: [third]}"), "scales.small.only names 'third'"),
        (("{less: {model", "{lees: {model"), "scales.small.axes names 'lees'"),
        (("less: [80.5, 0.5]", "lees: 80.5"), "expected names 'lees'"),
        (("less: [80.5, 0.5]", "less: good"), "give a number"),
        (("whole: 90", "whole: {a: 90}"), "expected has {'a': 90}"),
        (
            ("less: {model: {arguments: {dfp: false}}}", "less: {training: long}"),
            "training is 'long'",
        ),
        (("shared/base.yaml", "shared/bass.yaml"), "bass.yaml cannot be read"),
        (("  small:\n", "  large:\n"), "there is no scale 'small'"),
        (("patch: {training: {epochs: 2}", "patches: {training: {epochs: 2}"), "'patches'"),
    ],
)
def test_wrong_grids_are_reported_in_one_line_that_names_the_file(write, replacement, message):
    path = write(replacement)
    with pytest.raises(ConfigError) as caught:
        load_grid(path, "small")
    text = str(caught.value)
    assert message in text and "\n" not in text and text.startswith(str(path.parent))


def test_a_wrong_recipe_is_reported_with_its_cell(write):
    grid = load_grid(write(("epochs: 7", "epochs: 0")), "paper")
    with refuses(ConfigError, "training.epochs", "0"):
        grid.training(grid.cells[0], Repeat(0, None))


def test_unknown_tables_are_reported_with_those_that_exist():
    with refuses(ConfigError, "m3net/table99", "m3net/table4"):
        find_grid("m3net/table99")


def test_slugs_are_safe_and_different():
    labels = [("+ ECA",), ("+ ECA + CSF",), ("a/b", "c d"), ("..",), ("2.5",)]
    slugs = [slug(label) for label in labels]
    assert slugs == ["eca", "eca-csf", "a-b--c-d", "x", "2.5"]


SHIPPED = grid_names()
shipped = functools.cache(load_grid)
PAPERS = ("m3net", "spectromasknet", "bilateral", "diffres")  # the other grids are of devices


def test_all_papers_tables_are_shipped():
    names = {f"m3net/table{n}" for n in range(1, 6)}
    names |= {f"spectromasknet/table{n}" for n in range(1, 8)}
    names |= {"spectromasknet/converged", "spectromasknet/converged_features"}
    names |= {f"bilateral/table{n}" for n in range(1, 8)}
    names |= {f"diffres/table{n}" for n in range(1, 4)}
    names |= {"diffres/figure8", "diffres/readings", "m3net/mirrors", "m3net/sensitivity"}
    names |= {"mcu/clips", "mcu/keywords", "mcu/presets", "mcu/search_picks", "mcu/sounds"}
    names |= {"mcu/streaming", "bilateral/actors", "bilateral/efficiency"}
    names |= {"leakage/draws", "leakage/splits"}
    assert set(SHIPPED) == names


@pytest.mark.parametrize("name", SHIPPED)
def test_the_command_of_a_header_has_the_tables_data(name):
    header = "".join(re.findall(r"^#(.*)\n", find_grid(name).read_text(), re.MULTILINE))
    command = re.search(r"Command: m3net table.*?(?=m3net lab figure|$)", header)[0]
    scale = re.search(r"--scale (\w+)|$", command)[1] or "paper"
    grid = shipped(name, scale)
    needed = set()
    for cell in (cell for cell in grid.cells if cell.trained):
        training = grid.training(cell, cell.repeats[0])
        needed |= {step.recipe.dataset.name for step in (training, *training.needed)}
    assert set(re.findall(r"--data-dir\s+(\w+)=", command)) == needed


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_tables_expand_to_valid_recipes(name, scale):
    grid = shipped(name, scale)
    folders = [cell.slug for cell in grid.cells]
    assert len(set(folders)) == len(folders)
    for cell in grid.cells:
        for repeat in cell.repeats[:1]:
            training = grid.training(cell, repeat)
            for step in (training, *training.needed):
                _require_known_arguments(step.recipe.model)
                data = step.recipe.dataset
                rate_hz = dataset_info(data.name).sample_rate_hz
                rate_hz = data.options.get("sample_rate_hz", rate_hz)
                assert step.recipe.frontend.sample_rate_hz == rate_hz
                if scale == "tiny":
                    assert step.recipe.dataset.name == "synth"
                    assert step.recipe.training.epochs == 1


def _require_known_arguments(model):
    assert model.preset in presets_of(model.name)
    assert set(model.arguments) <= set(design_defaults(model.name))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_small_scale_leaves_cells_apart(name):
    # Its patch follows the patches of the cells, and must keep mask ratios that a table compares.
    full, small = (
        {tuple(cell.labels.items()): (cell.metric, cell.values) for cell in grid.cells}
        for grid in (shipped(name, scale) for scale in ("paper", "small"))
    )
    for first, second in itertools.combinations(small, 2):
        assert small[first] != small[second] or full[first] == full[second], (first, second)


# Settings that differ between a table's cells at small scale alone, each named in its grid.
DIFFERENT_AT_SMALL_SCALE = {
    "mcu/presets": {"training.epochs"},
    "spectromasknet/converged_features": {"frontend.frame_samples", "frontend.fft_samples"},
    "spectromasknet/table1": {
        "frontend.frame_samples",
        "frontend.fft_samples",
        "augmentation.between_class_probability",
        "augmentation.mixup_probability",
    },
}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_small_scale_compares_nothing_but_what_the_table_compares(name):
    full, small = (
        {
            tuple(cell.labels.items()): _settings(
                dataclasses.asdict(grid.training(cell, cell.repeats[0]).recipe)
            )
            for cell in grid.cells
            if cell.repeats
        }
        for grid in (shipped(name, scale) for scale in ("paper", "small"))
    )
    for first, second in itertools.combinations(small.keys() & full.keys(), 2):
        # Data sets and networks have settings of their own.
        if all(small[first][key] == small[second][key] for key in ("dataset.name", "model.name")):
            different = _differences(small[first], small[second])
            compared = _differences(full[first], full[second])
            allowed = DIFFERENT_AT_SMALL_SCALE.get(name, set())
            assert different - compared <= allowed, (first, second)


def _settings(recipe, section=""):
    """A recipe's settings by dotted name, with the arguments of presets and defaults."""
    if {"name", "preset"} <= set(recipe) and recipe["name"] in model_names():
        preset = presets_of(recipe["name"])[recipe["preset"]].arguments
        defaults = design_defaults(recipe["name"])
        arguments = {**defaults, **preset, **(recipe.get("arguments") or {})}
        recipe = {**recipe, "arguments": arguments}
    settings = {}
    for name, value in recipe.items():
        nested = isinstance(value, dict)
        settings |= _settings(value, f"{section}{name}.") if nested else {section + name: value}
    return settings


def _differences(first, second):
    missing = object()
    return {
        name
        for name in first.keys() | second.keys()
        if first.get(name, missing) != second.get(name, missing)
    }


def test_diffres_has_the_papers_table_of_settings():
    expected = {  # Liu et al., table 4: rate, epochs, batch, first epoch, factor, every
        "audioset": (1.0e-4, 30, 22, 11, 0.5, 5),
        "fsd50k": (5.0e-4, 40, 15, 21, 0.5, 5),
        "esc50": (2.5e-4, 80, 32, 41, 0.95, 1),
        "speech_commands": (2.5e-4, 60, 128, 25, 0.9, 1),
        "nsynth": (1.0e-4, 30, 48, 11, 0.85, 1),
    }
    grid = shipped("diffres/table1", "paper")
    settings = {}
    for cell in grid.cells:
        recipe = grid.training(cell, cell.repeats[0]).recipe
        t = recipe.training
        settings[recipe.dataset.name] = (
            *(t.learning_rate, t.epochs, t.batch_size),
            *(t.step_start, t.step_factor, t.step_every),
        )
        assert t.loss == "binary_cross_entropy"
        assert (t.optimizer, t.schedule, len({r.seed for r in cell.repeats})) == (
            "adam",
            "step",
            3,
        )
        assert isinstance(recipe.frontend, FrontendConfig) and recipe.frontend.mel_bins == 128
    assert settings == expected


def test_bilateral_has_the_papers_training():
    grid = shipped("bilateral/table7", "paper")
    recipe = grid.training(grid.cells[-1], Repeat(0, 1)).recipe
    t = recipe.training
    assert (t.optimizer, t.learning_rate, t.schedule, t.weight_decay) == (
        "adamw",
        3e-4,
        "one_cycle",
        1e-5,
    )
    assert (t.batch_size, t.weight_average, t.epochs) == (64, 0.995, 1500)
    assert recipe.model.arguments["early_exits"] is True
    a = recipe.augmentation
    assert (a.shift_s, a.gain_db) == (0, (0, 0))
    assert a.fresh and a.one_mixture and a.mixup_probability == a.cutmix_probability == 1
    assert a.noise_probability == 1 and len(a.noise_kinds) > 1


def test_bilateral_has_the_papers_clips_and_splits():
    options = {
        "esc50": {"sample_rate_hz": 22_050, "clip_s": 4.0},
        "us8k": {"sample_rate_hz": 22_050, "fit": "pad"},
        "ravdess": {"sample_rate_hz": 22_050},
        "cremad": {"sample_rate_hz": 22_050},
    }
    for number in range(1, 8):
        grid = shipped(f"bilateral/table{number}", "paper")
        for cell in (cell for cell in grid.cells if cell.trained):
            section = grid.training(cell, cell.repeats[0]).recipe.dataset
            assert section.options == options[section.name]
            assert (section.protocol == "random-80-20") == (cell.labels["Split"] == "random")
            assert cell.other_split == (cell.labels["Split"] != "random")
            info = dataset_info(section.name)
            assert section.options.get("fit", info.fit) == "pad"
            assert section.options.get("clip_s", info.clip_s) == 4.0


@pytest.mark.parametrize("number", range(1, 6))
def test_m3net_has_the_papers_rate_and_both_splits(number):
    grid = shipped(f"m3net/table{number}", "paper")
    splits = set()
    for cell in (cell for cell in grid.cells if cell.trained):
        recipe = grid.training(cell, cell.repeats[0]).recipe
        assert recipe.dataset.options["sample_rate_hz"] == recipe.frontend.sample_rate_hz == 44_100
        splits.add((recipe.dataset.name, recipe.dataset.protocol == "paper-random"))
        if cell.scored:
            assert cell.other_split == (recipe.dataset.protocol != "paper-random")
    assert splits == {(name, random) for name, _ in splits for random in (False, True)}


@pytest.mark.parametrize("name", [name for name in SHIPPED if name.split("/")[0] in PAPERS])
def test_features_are_rounded_only_as_a_device_rounds_them(name):
    for scale in ("paper", "small"):
        grid = shipped(name, scale)
        for cell in (cell for cell in grid.cells if cell.trained):
            recipe = grid.training(cell, cell.repeats[0]).recipe
            precise = recipe.training.features == "float32"
            assert precise or scale == "small"
            if recipe.frontend.kind == "waveform":
                assert precise or recipe.frontend.log == "mu"


def test_mel_rows_that_upsampled_clips_leave_blank():
    """The figures of docs/design/decisions.md."""
    grid = load_grid("m3net/mirrors", "paper")
    config = grid.recipe(grid.cells[0]).frontend
    assert (config.mel_bins, config.clip_range_db) == (128, 80)
    weights = mel_filterbank(config)
    assert (weights.sum(axis=1) == 0).sum() == 11
    bins_hz = np.arange(weights.shape[1]) * config.sample_rate_hz / config.fft_samples
    blank = [
        int((weights[:, bins_hz < rate / 2].sum(axis=1) == 0).sum()) for rate in (22_050, 16_000)
    ]
    assert blank == [31, 42]
