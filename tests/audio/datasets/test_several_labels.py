# SPDX-License-Identifier: Apache-2.0
"""Own sounds with several labels a clip: columns, cells, rows, and files in several folders."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.datasets import load_dataset, protocol_statement
from m3net_tf.audio.datasets.checking import check
from m3net_tf.audio.datasets.inspection import inspect_folder, sounds_lines
from m3net_tf.boards.starter.project import starter_recipe
from m3net_tf.system.errors import ConfigError, DataError

TRUTH = {"0.wav": {"low"}, "1.wav": {"high"}, "2.wav": {"high", "low"}}
"""Labels of the first sounds; the others repeat them."""
FORMS = {
    "columns": ("path,label1,label2", "{},low,", "{},,high", "{},low,high"),
    "label and label2": ("path,label,label 2", "{},low,", "{},high,", "{},high,low"),
    "cell with ;": ("path,label", "{},low", "{},high", "{},low; high"),
    "cell with |": ("path;label", "{};low", "{};high", "{};low|high"),
    "quoted cell": ("fname,labels", "{},low", "{},high", '{},"low,high"'),
    "a column a class": ("filename,seconds,low,high", "{},1,1,0", "{},1,0,1.0", "{},1,TRUE,1"),
    "rows": ("path,label", "{},low", "{},high", "{},low\n{},high"),
}


@pytest.fixture
def listed(tmp_path, write_wav):
    """Write eight sounds for each set of labels, with a table of this form."""

    def write(form: str) -> Path:
        header, *rows = FORMS[form]
        lines = [header]
        for number in range(24):
            write_wav(tmp_path / "own" / "sounds" / f"{number}.wav", 500 + number)
            lines.append(rows[number % 3].replace("{}", f"sounds/{number}.wav"))
        (tmp_path / "own" / "clips.csv").write_text("\n".join(lines) + "\n")
        return tmp_path / "own"

    return write


@pytest.fixture
def twice(tmp_path, write_wav) -> Path:
    """Class folders with eight sounds of their own each, and eight that are in both."""
    root = tmp_path / "own"
    for number in range(8):
        write_wav(root / "low" / f"a{number}.wav", 500 + number)
        write_wav(root / "high" / f"b{number}.wav", 600 + number)
        for label in ("low", "high"):
            write_wav(root / label / f"{label}{number}.wav", 700 + number)
    return root


@pytest.mark.parametrize("form", FORMS)
def test_a_table_gives_several_labels(listed, form):
    root = listed(form)
    sounds = inspect_folder(root)
    assert (sounds.table, sounds.clips, sounds.several_labels) == ("clips.csv", 24, 8)
    assert {label: of.clips for label, of in sounds.classes.items()} == {"high": 16, "low": 16}
    assert any(line.startswith("several labels: 8 of 24 clips") for line in sounds_lines(sounds))
    dataset = load_dataset("folder", root, table="clips.csv", several_labels=True)
    assert dataset.info.labels == ("high", "low") and dataset.info.multi_label
    assert len(dataset.clips) == 24
    for clip in dataset.clips:
        number = int(Path(clip.clip_id).stem) % 3
        assert set(clip.all_labels) == TRUTH[f"{number}.wav"]
    matrix = dataset.label_matrix(dataset.clips)
    assert Counter(map(tuple, matrix.tolist())) == {(0, 1): 8, (1, 0): 8, (1, 1): 8}
    checked = check("folder", root, table="clips.csv", several_labels=True)
    assert checked.passed and not [line for line in checked.remarks if "not used" in line]


def test_a_row_without_a_class_is_background(tmp_path, write_wav):
    rows = ["path,low,high"]
    for number in range(30):
        write_wav(tmp_path / "own" / f"{number}.wav", 500 + number)
        rows.append(f"{number}.wav,{number % 3 == 1:d},{number % 3 == 2:d}")
    (tmp_path / "own" / "clips.csv").write_text("\n".join(rows))
    facts = inspect_folder(tmp_path / "own")
    assert facts.several_labels == 0  # so it is one label a clip, which softmax gives
    dataset = load_dataset("folder", tmp_path / "own", table="clips.csv")
    assert dataset.info.labels == ("_background_", "high", "low")
    assert not dataset.info.multi_label


def test_a_row_with_several_labels_needs_the_option(listed):
    with refuses(DataError, "clips.csv", "line 4", "low", "high", "several_labels"):
        load_dataset("folder", listed("a column a class"), table="clips.csv")


def test_one_label_is_read_as_before(listed):
    root = listed("cell with ;")
    dataset = load_dataset("folder", root, table="clips.csv")
    assert dataset.info.labels == ("high", "low", "low; high") and not dataset.info.multi_label
    assert not any(clip.labels for clip in dataset.clips)


def test_the_same_file_in_two_class_folders_is_one_clip(twice):
    sounds = inspect_folder(twice)
    assert (sounds.clips, sounds.several_labels, sounds.repeated) == (24, 8, ())
    lines = sounds_lines(sounds)
    assert any("8 of 24 clips, such as high/high0.wav ('high' and 'low')" in line for line in lines)
    assert not any("not used" in line for line in lines)
    options = starter_recipe(sounds)["dataset"]["options"]
    assert (
        options["several_labels"] and "cross_validation" not in starter_recipe(sounds)["training"]
    )
    for seed in range(3):
        dataset = load_dataset("folder", twice, several_labels=True, seed=seed)
        names = [clip.clip_id for clip in dataset.clips]
        assert len(names) == 24 and "low/low0.wav" not in names and "high/high0.wav" in names
        contents = Counter(Path(str(clip.path)).read_bytes() for clip in dataset.clips)
        assert max(contents.values()) == 1
        counts = dataset.counts()
        assert all(count for of_class in counts.values() for count in of_class.values())
    checked = check("folder", twice, several_labels=True)
    assert checked.passed and not [line for line in checked.remarks if "not used" in line]
    before = load_dataset("folder", twice)
    assert len(before.clips) == 32 and not before.info.multi_label


def test_the_same_file_in_two_splits_is_refused(tmp_path, write_wav):
    for number, part in enumerate(("train", "test")):
        for label in ("low", "high"):
            write_wav(tmp_path / part / label / f"{label}.wav", 500 + number)
            write_wav(tmp_path / part / label / f"own {label}.wav", 700 + number + len(label))
    write_wav(tmp_path / "train" / "low" / "leak.wav", 900)
    write_wav(tmp_path / "test" / "high" / "leak.wav", 900)
    with refuses(DataError, "train/low/leak.wav", "test/high/leak.wav", "'train'", "'test'"):
        load_dataset("folder", tmp_path, several_labels=True)


def test_copies_in_one_class_stay_as_they_are(twice, write_wav):
    """They are reported, as with one label; in the folders of several splits, too."""
    write_wav(twice / "low" / "again.wav", 500)
    facts = inspect_folder(twice)
    assert facts.repeated == (("low/a0.wav", "low/again.wav"),) and facts.clips == 25
    assert len(load_dataset("folder", twice, several_labels=True).clips) == 25
    for part in ("train", "test"):
        for label in ("low", "high"):
            write_wav(twice / "parts" / part / label / "same.wav", 500 + len(label))
            write_wav(twice / "parts" / part / label / "own.wav", 600 + len(part) + 10 * len(label))
    facts = inspect_folder(twice / "parts")
    assert facts.several_labels == 0 and facts.split and len(facts.repeated) == 2


def test_silence_is_not_the_same_sound(twice, write_wav):
    for label in ("low", "high"):
        write_wav(twice / label / "zero.wav", np.zeros(700, np.int16))
    dataset = load_dataset("folder", twice, several_labels=True)
    assert {*dataset.silent} == {"low/zero.wav", "high/zero.wav"}
    assert inspect_folder(twice).several_labels == 8


def test_a_split_divides_the_clips_by_their_rarest_label(tmp_path, write_wav):
    """All clips of the rare class are clips of the common one, too."""
    rows = ["path,labels"]
    for number in range(60):
        write_wav(tmp_path / "own" / f"{number}.wav", 500 + number)
        rows.append(
            f"{number}.wav,common{';rare' * (number % 6 == 0)}{';other' * (number % 6 > 3)}"
        )
    (tmp_path / "own" / "clips.csv").write_text("\n".join(rows))
    for seed in range(5):
        dataset = load_dataset(
            "folder", tmp_path / "own", table="clips.csv", several_labels=True, seed=seed
        )
        counts = dataset.counts()
        assert [counts[split]["rare"] for split in ("train", "validation", "test")] == [6, 2, 2]
        assert [counts[split]["common"] for split in counts] == [36, 12, 12]


def test_a_statement_on_figures_names_map(twice):
    several, one = (load_dataset("folder", twice, several_labels=on) for on in (True, False))
    assert "the mAP may be too high" in protocol_statement(several)
    assert "the accuracy may be too high" in protocol_statement(one)


def test_annotated_segments_keep_one_label(tmp_path):
    with refuses(ConfigError, "several_labels"):
        load_dataset("folder", tmp_path, annotations=True, several_labels=True)
