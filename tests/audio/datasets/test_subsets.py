# SPDX-License-Identifier: Apache-2.0
"""Subsets behind results: their lists, the folders made from them, and what results record."""

import csv
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from refusals import refuses

from m3net_tf.audio.datasets import (
    AudioDataset,
    dataset_info,
    load_dataset,
    split_facts,
    subset_lists,
)
from m3net_tf.audio.datasets.subset_copy import make_subset
from m3net_tf.audio.datasets.subset_lists import MARKER, find_subset, subset_names
from m3net_tf.system.errors import ConfigError, DataError

RESULTS = Path("experiments/results")
DEFINED = {  # the data set's protocol and fold, and its clips of each split
    "esc10": ("official-5fold", 1, (240, 80, 80)),
    "esc10_cc_by": ("official-5fold (398 of 400 clips)", 1, (240, 79, 79)),
    "ravdess_22_actors": ("speaker-independent (22 of 24 actors)", 1, (840, 240, 240)),
    "ravdess_actors_1_8": ("leave-two-actors-out (8 of 24 actors)", 1, (300, 60, 120)),
    "scv2_mini": ("official-split (3852 of 105829 clips)", None, (2997, 827, 378)),
    "us8k_folds_1_2": ("official-10fold (folds 1, 2 of 10)", 2, (697, 176, 888)),
    "us8k_folds_1_2_part_3": ("official-10fold (folds 1, 2, 3 of 10)", 3, (888, 873, 387)),
}


def us8k_row(name: str) -> str:
    recording, label, *_ = name.split("/")[-1].split("-")
    label_name = dataset_info("us8k").labels[int(label)]
    return (
        f"{name.split('/')[-1]},{recording},0.0,4,1,{name.split('/')[1][4:]},{label},{label_name}"
    )


def esc_row(name: str) -> str:
    fold, source, _, number = name.split("/")[-1].removesuffix(".wav").split("-")
    label = dataset_info("esc50").labels[int(number)]
    return f"{name.split('/')[-1]},{fold},{number},{label},True,{source},A"


TABLES = {
    "metadata/UrbanSound8K.csv": (
        "slice_file_name,fsID,start,end,salience,fold,classID,class",
        us8k_row,
    ),
    "meta/esc50.csv": ("filename,fold,target,category,esc10,src_file,take", esc_row),
}
OUTSIDE = {  # a file of each data set that no list has
    "esc10": "audio/1-1-A-2.wav",
    "ravdess": "Actor_09/03-01-01-01-01-01-09.wav",
    "speech_commands": "yes/00000000_nohash_0.wav",
    "us8k": "audio/fold4/1-0-0-0.wav",
}


def make_official(name: str, root: Path, write_wav) -> Path:
    """The publisher's folder with a subset's files, all empty, and one more."""
    subset = find_subset(name)
    files = [*subset.files, OUTSIDE[subset.dataset]]
    for folder in {Path(file).parent for file in files}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for file in files:
        (root / file).touch()
    for table in subset.tables:
        header, row = TABLES[table]
        (root / table).parent.mkdir()
        (root / table).write_text("\n".join([header, *map(row, files)]) + "\n")
    for folder in subset.folders:
        write_wav(root / folder / "white_noise.wav", 16_000 * 60)
    for path in subset.split_lists.values():  # the publisher's split is another one
        (root / path).touch()
    return root


@pytest.fixture
def tiny_list(tmp_path, monkeypatch, make_layout) -> Path:
    """The folder of a data set; the only subset ``tiny`` has 40 of its files."""
    root = make_layout("us8k")
    folds = root / "UrbanSound8K/audio"
    names = sorted(
        f"audio/fold{n}/{p.name}" for n in (1, 2) for p in (folds / f"fold{n}").iterdir()
    )
    write_list(tmp_path, names[::2])
    monkeypatch.setattr(subset_lists, "require_sources", lambda name: tmp_path / name)
    return root


def write_list(folder: Path, names: list[str]) -> Path:
    body = "".join(f"{name}\n" for name in names)
    path = folder / "experiments/subsets/tiny.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "# Data set: us8k\n# Licence: CC BY-NC 3.0\n# Tables: metadata/UrbanSound8K.csv\n"
        f"# Files: {len(names)}\n"
        f"# SHA-256 of the lines below: {hashlib.sha256(body.encode()).hexdigest()}\n{body}"
    )
    return path


def load(name: str, folder: Path) -> AudioDataset:
    protocol, fold, _ = DEFINED[name]
    return load_dataset(
        find_subset(name).dataset, folder, protocol=protocol.split(" (")[0], fold=fold
    )


def copy_of(protocol: str) -> str:
    """What a protocol's name says of a partial copy; a subset can be split in several ways."""
    return protocol.partition(" (")[2]


def test_every_result_is_of_a_listed_subset_and_carries_its_hash():
    assert set(DEFINED) == {*subset_names()}
    listed = {
        (find_subset(name).dataset, copy_of(facts[0])): find_subset(name).sha256
        for name, facts in DEFINED.items()
    }
    for path in RESULTS.glob("*/*.csv"):
        for row in csv.DictReader(path.read_text().splitlines()):
            if row.get("dataset") not in ("", "synth", None):  # built-in sounds are no subset
                sha256 = listed[row["dataset"], copy_of(row["protocol"])]
                assert row.get("subset_sha256", sha256) == sha256, path
    for path in RESULTS.glob("*/*.json"):
        drawn = json.loads(path.read_text())
        for recipe in drawn.get("recipes", {}).values() if "figure" in drawn else ():
            data = recipe["dataset"]
            if data["name"] != "synth":
                sha256 = listed[data["name"], copy_of(data["protocol"])]
                assert data["subset_sha256"] == sha256, path
    page = Path("docs/evidence/results/conditions.md").read_text()
    for name in DEFINED:  # as sha256sum prints it, which is not the hash of the list's entries
        content = (RESULTS.parent / "subsets" / f"{name}.txt").read_bytes()
        assert hashlib.sha256(content).hexdigest() in page, name


@pytest.mark.parametrize("name", DEFINED)
def test_lists_make_the_subsets_of_the_results(name, tmp_path, write_wav):
    official = make_official(name, tmp_path / "official", write_wav)
    subset = make_subset(name, tmp_path / "made", official)
    dataset = load(name, tmp_path / "made")
    protocol, _, counts = DEFINED[name]
    assert dataset.info.protocol == protocol
    assert tuple(len(dataset.split(split)) for split in ("train", "validation", "test")) == counts
    made = {p.relative_to(tmp_path / "made").as_posix() for p in (tmp_path / "made").rglob("*.wav")}
    assert {file for file in made if not file.startswith("_")} == {*subset.files}
    facts = split_facts(dataset)
    assert (facts["subset"], facts["subset_sha256"]) == (name, subset.sha256)
    assert f"subset {name} (SHA-256 {subset.sha256})" in dataset.info.notes
    assert "subset" not in split_facts(load(name, official))
    for path in subset.split_lists.values():
        (tmp_path / "made" / path).write_text("")
        with refuses(DataError, path, name):
            load(name, tmp_path / "made")
        make_subset(name, tmp_path / "made", official)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "copy"),
    [
        ("esc10", "esc10"),
        ("ravdess_actors_1_8", "ravdess_speech_actors_01_08"),
        ("scv2_mini", "speech_commands_v2_mini"),
        ("us8k_folds_1_2", "urbansound8k_folds_1_2"),
    ],
)
def test_real_copies_have_the_listed_clips(name, copy, tmp_path, real_data, monkeypatch):
    monkeypatch.setattr(os, "link", os.symlink)  # quick on every file system
    make_subset(name, tmp_path / "made", real_data(copy))
    assert (
        load(name, tmp_path / "made").clip_list_hash()
        == load(name, real_data(copy)).clip_list_hash()
    )


def test_files_are_linked_and_a_stopped_call_goes_on(tiny_list, tmp_path, monkeypatch):
    target = tmp_path / "new/tiny"
    link = os.link
    linked = []

    def stop_at_20(source, path):
        if len(linked) == 20:
            raise KeyboardInterrupt
        linked.append(path)
        link(source, path)

    monkeypatch.setattr(os, "link", stop_at_20)
    with pytest.raises(KeyboardInterrupt):
        make_subset("tiny", target, tiny_list)
    assert not target.exists()
    monkeypatch.setattr(os, "link", lambda *paths: (linked.append(paths), link(*paths)))
    make_subset("tiny", target, tiny_list)
    assert len(linked) == 40
    assert [path.name for path in target.parent.iterdir()] == ["tiny"]  # no lock, no partial folder
    file = find_subset("tiny").files[0]
    assert (target / file).samefile(tiny_list / "UrbanSound8K" / file)
    table = (target / "metadata/UrbanSound8K.csv").read_text().splitlines()
    assert len(table) == 41
    assert set(table) < set(
        (tiny_list / "UrbanSound8K/metadata/UrbanSound8K.csv").read_text().splitlines()
    )
    (target / file).unlink()
    make_subset("tiny", target, tiny_list)
    assert (target / file).exists()


def test_files_are_copied_where_links_are_impossible(tiny_list, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    make_subset("tiny", tmp_path / "made", tiny_list)
    file = find_subset("tiny").files[0]
    assert (tmp_path / "made" / file).read_bytes() == (
        tiny_list / "UrbanSound8K" / file
    ).read_bytes()
    assert not (tmp_path / "made" / file).samefile(tiny_list / "UrbanSound8K" / file)
    assert len([*(tmp_path / "made/audio").rglob("*")]) == 42


def test_what_cannot_be_made_is_refused(tiny_list, tmp_path):
    first, second, *_ = find_subset("tiny").files
    with refuses(ConfigError, "'huge'"):
        make_subset("huge", tmp_path / "made", tiny_list)
    with refuses(DataError, "us8k"):
        make_subset("tiny", tmp_path / "made", tmp_path / "void")
    with refuses(DataError, "UrbanSound8K"):
        make_subset("tiny", tiny_list / "UrbanSound8K", tiny_list)
    table = tiny_list / "UrbanSound8K/metadata/UrbanSound8K.csv"
    rows = table.read_text()
    table.write_text("\n".join(row for row in rows.splitlines() if Path(second).name not in row))
    with refuses(DataError, Path(second).name):
        make_subset("tiny", tmp_path / "made", tiny_list)
    table.unlink()
    with refuses(DataError, "UrbanSound8K.csv"):
        make_subset("tiny", tmp_path / "made", tiny_list)
    for name in (first, second):
        (tiny_list / "UrbanSound8K" / name).unlink()
    with refuses(DataError, first):
        make_subset("tiny", tmp_path / "made", tiny_list)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# Files: 40", "# Files: 41", "its 40 lines do not match"),
        ("audio/fold1/1000-0-0-0.wav", "audio/fold1/1000-0-0-1.wav", "do not match"),
        ("# Licence", "# Terms", "has no comment 'Licence'"),
    ],
)
def test_a_changed_list_is_refused(old, new, message, tiny_list, tmp_path):
    path = tmp_path / "experiments/subsets/tiny.txt"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        find_subset("tiny")
    write_list(tmp_path, ["train a.wav", "b.wav"])
    with pytest.raises(DataError, match="only some of its lines have a split"):
        find_subset("tiny")
    write_list(tmp_path, ["a b.wav", "c.wav"])
    assert find_subset("tiny").files == ("a b.wav", "c.wav")


def test_a_changed_folder_is_no_subset(tiny_list, tmp_path):
    target = tmp_path / "made"
    make_subset("tiny", target, tiny_list)
    file = target / find_subset("tiny").files[0]
    file.unlink()
    table = target / "metadata/UrbanSound8K.csv"
    rows = table.read_text().splitlines(keepends=True)
    table.write_text("".join(row for row in rows if file.name not in row))
    with refuses(DataError, file):
        load_dataset("us8k", target, protocol="paper-random")
    make_subset("tiny", target, tiny_list)
    shutil.copy(file, file.with_name("1-0-0-9.wav"))
    table.write_text(table.read_text() + "1-0-0-9.wav,1,1,0,air_conditioner\n")
    with refuses(DataError, "1-0-0-9.wav"):
        load_dataset("us8k", target, protocol="paper-random")
    (target / MARKER).write_text("# Subset: tiny\n")
    with refuses(DataError, "'Data set'"):
        load_dataset("us8k", target, protocol="paper-random")
    (target / MARKER).unlink()
    assert not load_dataset("us8k", target, protocol="paper-random").info.subset


def test_the_command_prints_the_hash(tiny_list, tmp_path, m3net):
    words = ["subset", "tiny", "--from", tiny_list, "--to", tmp_path / "made"]
    for extra in ([], ["--json"]):
        status, out, _ = m3net("data", *words, *extra)
        assert status == 0
        sha256 = find_subset("tiny").sha256
        assert sha256 in out
    assert json.loads(out) == {
        "name": "tiny",
        "dataset": "us8k",
        "folder": str(tmp_path / "made"),
        "files": 40,
        "sha256": sha256,
    }
