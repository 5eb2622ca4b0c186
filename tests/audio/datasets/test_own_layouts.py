# SPDX-License-Identifier: Apache-2.0
"""Own sounds as others lay them out: folders of splits and folds, tables, Edge Impulse's list."""

import csv
import io
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from refusals import refuses

from m3net_tf.audio.datasets import load_dataset, protocol_statement
from m3net_tf.audio.datasets.checking import check
from m3net_tf.audio.datasets.folder import require_enough_training
from m3net_tf.audio.datasets.inspection import inspect_folder, sounds_lines
from m3net_tf.audio.datasets.split_names import fold_named, splits_named
from m3net_tf.system.errors import ConfigError, DataError


@pytest.fixture
def put(tmp_path, write_wav):
    """Write sounds of these names, each with a content of its own; returns their folder."""

    def write(*names: str) -> Path:
        for number, name in enumerate(names):
            write_wav(tmp_path / "own" / name, 400 + number)
        return tmp_path / "own"

    return write


def splits(dataset) -> dict[str, int]:
    return dict(Counter(clip.split for clip in dataset.clips))


def takes(form: str, count: int, **parts: str) -> list[str]:
    return [form.format(c=c, i=i, **parts) for c in "ab" for i in range(count)]


# Names


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        ("Train Validation Test", "train validation test"),
        ("training testing", "train test"),
        ("TRAIN val_set 03-Test", "train validation test"),
        ("train_audio test_audio", "train test"),
        ("Train Validation", "train test"),
        ("train dev", "train test"),
        ("train dev test", "train validation test"),
        ("dev eval", "train test"),
        ("development test", "train test"),
        ("train val eval", "train validation test"),
        ("train eval test", "train validation test"),
        ("train", "train"),
        ("train car bus", ""),
        ("train training_plan", ""),
        ("val test", ""),
        ("yes no", ""),
    ],
)
def test_names_of_splits(names, meant):
    assert [*splits_named(names.split()).values()] == meant.split()


def test_names_of_folds():
    names = ("fold1", "Fold_10", "audio-fold 03", "unfold2", "fold", "folder1")
    assert [*map(fold_named, names)] == ["fold 1", "fold 10", "fold 3", "", "", ""]


# Folders


@pytest.mark.parametrize("form", ["{s}/{c}/{s}{i}.wav", "{c}/{s}/{s}{i}.wav"])
def test_folders_of_splits_are_no_classes(put, form):
    names = [n for s, n in (("Training", 5), ("testing", 3)) for n in takes(form, n, s=s)]
    root = put(*names)
    dataset = load_dataset("folder", root)
    assert dataset.info.labels == ("a", "b") and dataset.info.protocol_name == "listed-split"
    assert splits(dataset) == {"train": 8, "validation": 2, "test": 6}
    assert all("esting" in clip.clip_id for clip in dataset.split("test"))
    facts = inspect_folder(root)
    taken = "folders of splits: Training is train (10 clips), testing is test (6 clips)"
    assert facts.split and facts.classes.keys() == {"a", "b"} and facts.groups is None
    assert sorted(sounds_lines(facts)[-1].split(", ")) == sorted(taken.split(", "))
    assert taken.split(", ")[1] in check("folder", root).remarks[0]


def test_a_validation_without_a_test_is_the_test(put):
    names = [
        n for s, n in (("Train", 5), ("Validation", 3)) for n in takes("{s}/{c}/{i}.wav", n, s=s)
    ]
    dataset = load_dataset("folder", put(*names))
    assert {clip.clip_id.split("/")[0] for clip in dataset.split("test")} == {"Validation"}
    assert splits(dataset) == {"train": 8, "validation": 2, "test": 6}
    assert "Validation is test (6 clips)" in dataset.info.notes[0]
    dataset.check_trainable()


@pytest.mark.parametrize("form", ["fold{f}/{c}/{i}-{f}.wav", "{c}/Fold_{f:02}/{i}-{f}.wav"])
@pytest.mark.parametrize(("folds", "trained"), [(10, 6), (5, 3), (3, 1.5), (2, 0.75)])
def test_folds_are_kept_together(put, form, folds, trained):
    names = [
        form.format(c=c, f=f, i=i) for f in range(1, folds + 1) for c in "ab" for i in range(4)
    ]
    dataset = load_dataset("folder", put(*names))
    assert protocol_statement(dataset) == "grouped: no fold is in both training and test"
    trained_folds = {clip.clip_id.split("-")[1] for clip in dataset.split("train")}
    assert trained_folds.isdisjoint(clip.clip_id.split("-")[1] for clip in dataset.split("test"))
    assert len(dataset.split("train")) == pytest.approx(8 * trained, abs=2)
    assert min(map(len, map(dataset.split, ("validation", "test")))) >= 2
    require_enough_training(dataset)  # the folds are the user's decision


def test_a_train_among_other_classes_is_a_class(put):
    root = put(*(f"{c}/{i}.wav" for c in ("train", "car", "bus") for i in range(8)))
    assert load_dataset("folder", root).info.labels == ("bus", "car", "train")


def test_splits_that_are_not_clear_are_refused(put):
    root = put(*(f"{s}/{c}/{i}.wav" for s in ("train", "Test") for c in "ab" for i in range(3)))
    put(*(f"fan/{i}.wav" for i in range(8)))
    with refuses(DataError, root / "fan", "Test and train"):
        load_dataset("folder", root)
    assert load_dataset("folder", root, classes=["fan", "train"]).info.labels == ("fan", "train")
    shutil.rmtree(root / "fan")
    put("eval/0.wav")
    with refuses(DataError, root / "eval", "class"):
        inspect_folder(root)
    shutil.rmtree(root / "eval")
    (root / "empty").mkdir()
    assert load_dataset("folder", root).info.labels == ("a", "b")
    (root / "train").rename(root / "val")
    with refuses(DataError, "Test and val", "training"):
        inspect_folder(root)


def test_folders_inside_of_the_classes_are_named(put):
    """As in MIMII, whose machines have folders of normal and of abnormal sounds."""
    names = [
        f"id_0{m}/{s}/{i}.wav" for m in (0, 2) for s in ("normal", "abnormal") for i in range(8)
    ]
    facts = inspect_folder(put(*names))
    assert facts.classes.keys() == {"id_00", "id_02"}
    assert "classes: the outer folders; abnormal and normal inside them are not" in facts.taken


# Tables

ROWS = [(f"{c}{i}.wav", c, "training" if i < 6 else "testing") for c in "ab" for i in range(8)]


def as_text(rows, head="path,label,split", delimiter=",") -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerows([head.split(","), *rows])
    return text.getvalue()


@pytest.mark.parametrize(
    ("head", "delimiter", "encoding"),
    [
        ("path,label,split", ",", "utf-8"),
        ("Path, LABEL ,Split", ";", "utf-8-sig"),
        ("filename,class,subset", "\t", "utf-16"),
        ("slice_file_name,category,split", "\t", "utf-8"),
    ],
)
def test_tables_of_spreadsheets_are_read(put, head, delimiter, encoding):
    root = put(*(f"sounds/{name}" for name, *_ in ROWS))
    rows = [(f" sounds\\{name} ", f" t\u00fcr {label} ", split) for name, label, split in ROWS]
    text = as_text(rows, head, delimiter)
    (root / "list.csv").write_text(
        "\ufeff" * (encoding == "utf-8-sig") + text, encoding.removesuffix("-sig")
    )
    dataset = load_dataset("folder", root, table="list.csv")
    assert dataset.info.labels == ("t\u00fcr a", "t\u00fcr b")
    assert splits(dataset) == {"train": 10, "validation": 2, "test": 4}
    assert "list.csv lists classes and splits of 16 files" in dataset.info.notes
    facts = inspect_folder(root)
    assert facts.table == "list.csv" and facts.split and facts.clips == 16


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (as_text([("a0.wav", "t\u00fcr", "")]).encode("latin-1"), "line 2 is not UTF-8"),
        (as_text([("a0.wav", "t\ufffdr", "")]).encode(), "a character that was lost"),
        (as_text([("a0.wav", "a", "")]).encode("utf-16-le"), "a zero byte"),
        (
            as_text([("a0.wav", "a", "")], "sound,label,split").encode(),
            "no column 'path' but 'sound'",
        ),
        (b"path,label\na,b.wav,a\n", "line 2 has more cells"),
        (b"\n\npath,label\na0.wav,\n", "line 4 has no path or no label"),
        (as_text([("a0.wav", "a", "tset")]).encode(), "line 2 has the unknown split 'tset'"),
    ],
)
def test_a_table_is_refused_with_the_true_cause(put, data, cause):
    root = put("a0.wav")
    (root / "list.csv").write_bytes(data)
    with pytest.raises(DataError, match=cause) as caught:
        load_dataset("folder", root, table="list.csv")
    assert "fetch the data again" not in str(caught.value) and "\n" not in str(caught.value)


def test_published_tables_give_the_folds(put):
    """As UrbanSound8K's, whose files are found by their names."""
    rows = [(f"{c}{i}.wav", i % 5 + 1, c) for c in "ab" for i in range(10)]
    root = put(*(f"audio/fold{fold}/{name}" for name, fold, _ in rows))
    (root / "metadata").mkdir()
    (root / "metadata" / "own.csv").write_text(as_text(rows, "slice_file_name,fold,class"))
    facts = inspect_folder(root)
    assert facts.taken == ("metadata/own.csv lists classes and 5 folds of 20 files",)
    dataset = load_dataset("folder", root, table=facts.table)
    assert dataset.info.group == "fold" and splits(dataset) == {
        "train": 12,
        "validation": 4,
        "test": 4,
    }


def test_tables_that_are_not_the_labels_are_not_taken(put):
    root = put(*takes("{c}/{i}.wav", 8))
    good = [(f"{c}/{i}.wav", c) for c in "ab" for i in range(8)]
    tables = {
        "same.csv": as_text(good, "path,label"),
        "scores.csv": as_text(
            [(name, "ab"[i % 2]) for i, (name, _) in enumerate(good)], "file,class"
        ),
        "part.csv": as_text(good[:4], "path,label"),
        "gone.csv": as_text([*good, ("a/9.wav", "a")], "path,label"),
        "other.csv": as_text([*good[:-1], (f"{root}/../own/b/7.wav", "b")], "path,label"),
        "outside.csv": as_text([*good[:-1], ("x" * 300, "b")], "path,label"),
        "notes.csv": "day,weather\n1,rain\n",
    }
    for name, text in tables.items():
        (root / name).write_text(text)
    facts = inspect_folder(root)
    assert facts.table == "" and facts.classes.keys() == {"a", "b"}
    assert [line.split(" ")[0] for line in facts.taken] == [
        *("gone.csv", "other.csv", "outside.csv", "part.csv", "scores.csv"),
    ]


def test_edge_impulse_lists_the_labels(put):
    files = [
        {"path": f"{split}/{name}", "category": split, "label": {"type": "label", "label": label}}
        for name, label, split in ROWS
    ]
    root = put(*(file["path"] for file in files))
    with refuses(DataError, "table=info.labels"):
        (root / "info.labels").write_text("{}")
        load_dataset("folder", root)
    with refuses(DataError, "info.labels", "Edge Impulse"):
        inspect_folder(root)
    (root / "info.labels").write_text(json.dumps({"version": 1, "files": files}))
    facts = inspect_folder(root)
    assert facts.taken == ("info.labels lists classes and splits of 16 files",)
    assert facts.classes.keys() == {"a", "b"}
    dataset = load_dataset("folder", root, table=facts.table)
    assert splits(dataset) == {"train": 10, "validation": 2, "test": 4}
    put(*takes("{c}/{i}.wav", 8))
    for path in root.glob("t*ing"):
        shutil.rmtree(path)
    assert inspect_folder(root).classes.keys() == {"a", "b"}  # the list is out of date
    files[3]["label"] = {"type": "unlabeled"}
    (root / "info.labels").write_text(json.dumps({"files": files}))
    with refuses(DataError, files[3]["path"]):
        load_dataset("folder", root, table="info.labels")


# Names of classes in YAML


def test_classes_that_yaml_reads_as_values(put):
    root = put(*(f"{c}/{i}.wav" for c in ("yes", "no", "01", "up") for i in range(8)))
    dataset = load_dataset("folder", root, classes=[True, False, 1])  # [yes, no, 01]
    assert dataset.info.labels == ("01", "no", "yes")
    assert load_dataset("folder", root, classes=True).info.labels == ("yes",)
    put("on/0.wav")
    with refuses(ConfigError, "dataset.options.classes", "on", "yes"):
        load_dataset("folder", root, classes=[True, False])
    assert load_dataset("folder", root, classes=["yes", "no"]).info.labels == ("no", "yes")


# Too few clips for training


def test_a_split_without_enough_training_is_refused(put):
    names = [
        f"{c}/{g}_{i}.wav"
        for c in "ab"
        for g, n in (("x", 12), ("y", 12), ("z", 1))
        for i in range(n)
    ]
    options = {"group_pattern": "/([xyz])_"}
    for seed in range(10):
        dataset = load_dataset("folder", put(*names), seed=seed, **options)
        with refuses(DataError, "less than half", "group_pattern"):
            require_enough_training(dataset)
    checked = check("folder", put(*names), **options)
    assert not checked.passed and "less than half" in checked.errors[0]


def test_a_class_needs_five_clips_for_training(put):
    root = put(*takes("{c}/{i}.wav", 7))
    with refuses(DataError, "4 of the 7 clips of class 'a'", "eight"):
        require_enough_training(load_dataset("folder", root))
    put(*takes("{c}/{i}.wav", 8))
    require_enough_training(load_dataset("folder", root))
