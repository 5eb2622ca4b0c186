# SPDX-License-Identifier: Apache-2.0
"""Own sounds: reports of leaks, refusals, silence, and groups guessed from names."""

import itertools
import json
import re
import shlex
import shutil

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.datasets import (
    checking,
    cut_statement,
    load_dataset,
    protocol_statement,
    split_facts,
    tables,
)
from m3net_tf.audio.datasets.clips import Clip
from m3net_tf.audio.datasets.folder import grouped
from m3net_tf.audio.datasets.grouping import suggest_groups
from m3net_tf.audio.datasets.inspection import inspect_folder, sounds_lines
from m3net_tf.system.errors import ConfigError, DataError

GROUPS = {"group_pattern": "(speaker[0-9])"}

# Reports


def test_a_random_split_says_how_much_leaks(make_layout):
    root = make_layout("folder")
    leaking = load_dataset("folder", root, protocol="stratified-random", **GROUPS)
    assert "LEAKS: 100 % of the test clips share a group with" in protocol_statement(leaking)
    assert split_facts(leaking)["test_leak"] == leaking.leak() == 1.0
    honest = load_dataset("folder", root, **GROUPS)
    assert protocol_statement(honest) == "grouped: no group is in both training and test"
    random = load_dataset("esc10", make_layout("esc10"), protocol="paper-random")
    assert "share a recording (src_file) with training" in protocol_statement(random)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"protocol": "stratified-random (groups unknown)"}, "speakers unknown: the accuracy may"),
        ({"protocol": "paper-random", "leaking": True}, "paper-random, LEAKS"),
        ({"protocol": "official-5fold", "leaking": False, "fold": 2}, "official-5fold, fold 2"),
        ({"protocol": "grouped", "statement": "as it was"}, "as it was"),
    ],
)
def test_older_results_have_a_statement_too(facts, said):
    assert protocol_statement(facts).startswith(said) or said in protocol_statement(facts)


def test_clips_longer_than_the_window_are_counted(make_layout, write_wav):
    root = make_layout("folder")
    assert cut_statement(load_dataset("folder", root)) is None
    for take in range(3):
        write_wav(root / "clap" / f"speaker{take}_9.wav", 16_000 * (2 + take))
    said = cut_statement(load_dataset("folder", root))
    assert said.startswith("folder: the window of 1 s is shorter than 3 of 43 clips")
    assert "only their beginning is used; clip_s=4 keeps all clips whole, clip_s=2 ke" in said
    assert "their middle" in cut_statement(load_dataset("folder", root, fit="crop"))
    assert cut_statement(load_dataset("folder", root, clip_s=4)) is None
    assert said in tables.check_lines(checking.check("folder", root))


# The check as a first step


def test_check_skips_what_the_clips_do_not_allow(make_layout):
    root = make_layout("folder")
    checked = checking.check("folder", root)
    assert checked.passed
    names = dict.fromkeys(
        line.protocol.removesuffix(" (groups unknown)") for line in checked.protocols
    )
    assert [*names] == ["stratified-random", "grouped-5fold"]
    assert all(line.leak is None for line in checked.protocols)
    assert tables.check_table(checked).rows[0][5:7] == ("unknown", "unknown")
    lines = "\n".join(tables.check_lines(checked))
    assert "listed-split skipped:" in lines and "grouped skipped:" in lines
    assert (
        tables.check_lines(checked)[-1] == "passed; groups are unknown, so no leak can be measured"
    )


def test_check_with_groups_and_without_a_listed_split(make_layout):
    checked = checking.check("folder", make_layout("folder"), **GROUPS)
    assert checked.passed and tables.check_lines(checked)[-1] == "passed"
    assert [(line.protocol, line.leak) for line in checked.protocols] == [
        ("grouped", 0.0),
        ("stratified-random", 1.0),
        *[("grouped-5fold", 0.0)] * 5,
    ]


def test_a_column_that_is_half_empty_is_no_choice(make_layout):
    root = make_layout("folder")
    rows = [
        f"{path.relative_to(root)},{path.parent.name},{'' if i % 2 else 'a'}"
        for i, path in enumerate(sorted(root.rglob("*.wav")))
    ]
    (root / "clips.csv").write_text("\n".join(["path,label,group", *rows]))
    with refuses(DataError, "20", "40", "clap/speaker0_1"):
        load_dataset("folder", root, table="clips.csv")


# Refusals before training


def test_one_class_is_refused(make_layout):
    root = make_layout("folder")
    shutil.rmtree(root / "snap")
    with refuses(DataError, "'clap'", "20"):
        load_dataset("folder", root).check_trainable()
    checked = checking.check("folder", root)
    assert not checked.passed and "only one class" in checked.errors[0]


@pytest.mark.parametrize(
    ("kept", "options", "said"),
    [
        (
            3,
            {},
            r"'snap' has 3 clips, which gives 2 train, 0 validation, 1 test .*add more \(",
        ),
        (8, GROUPS, r"'snap' has 8 clips of 2 groups, which gives 4 train, 0 validation, 4 test"),
    ],
)
def test_a_class_with_too_few_clips_is_refused(make_layout, kept, options, said):
    root = make_layout("folder")
    for path in sorted((root / "snap").iterdir())[kept:]:
        path.unlink()
    with pytest.raises(DataError, match=said):
        load_dataset("folder", root, **options)


def test_a_listed_split_without_a_test_is_refused(make_layout, tmp_path):
    root = make_layout("folder")
    shutil.copytree(root, tmp_path / "own" / "train")
    dataset = load_dataset("folder", tmp_path / "own")
    with pytest.raises(DataError, match=r"no test clips .*train, \d+ validation, 0 test"):
        dataset.check_trainable()


# The folder of the data set


def test_hidden_folders_are_no_classes(make_layout, write_wav):
    root = make_layout("folder")
    write_wav(root / ".venv" / "lib" / "tone.wav")
    write_wav(root / "clap" / ".trash" / "old.wav")
    dataset = load_dataset("folder", root)
    assert dataset.info.labels == ("clap", "snap")
    assert len(dataset.clips) == 40


def test_a_parent_folder_is_refused_with_the_data_sets_name(make_layout, write_wav, tmp_path):
    made = make_layout("folder", tmp_path / "project" / "data")
    root = made.rename(made.with_name("sounds"))
    write_wav(tmp_path / "project" / ".venv" / "lib" / "tone.wav")
    (tmp_path / "project" / "docs").mkdir()
    with refuses(DataError, "DATA_DIR=", root):
        load_dataset("folder", tmp_path / "project" / "data")
    with refuses(DataError, "DATA_DIR=", root):
        load_dataset("folder", tmp_path / "project")


def test_folders_of_speakers_in_the_classes_are_fine(tmp_path, write_wav):
    for label, speaker, take in itertools.product(("yes", "no"), "abcde", range(2)):
        write_wav(tmp_path / "own" / label / speaker / f"{take}.wav", 400)
    dataset = load_dataset("folder", tmp_path / "own", group_pattern="/([a-e])/")
    assert dataset.info.labels == ("no", "yes") and dataset.info.protocol == "grouped"


def test_classes_may_be_named(make_layout, write_wav):
    root = make_layout("folder")
    (root / "notes").mkdir()
    with refuses(DataError, "notes", "classes"):
        load_dataset("folder", root)
    assert load_dataset("folder", root, classes=["snap", "clap"]).info.labels == ("clap", "snap")
    with refuses(DataError, "'whistle'"):
        load_dataset("folder", root, classes=["clap", "whistle"])
    with refuses(ConfigError, "dataset.options.classes"):
        load_dataset("folder", root, classes=[True])


# Silence


def test_silence_is_cut_out_of_noise_recordings(make_layout, write_wav):
    root = make_layout("folder")
    write_wav(root / "_background_noise_" / "fan.wav", 44_100 * 12, rate_hz=44_100)
    dataset = load_dataset("folder", root, **GROUPS)
    assert dataset.info.labels == ("_silence_", "clap", "snap")
    silence = [clip for clip in dataset.clips if clip.label == "_silence_"]
    counts = {s: sum(clip.split == s for clip in silence) for s in ("train", "validation", "test")}
    assert counts == {"train": 2, "validation": 1, "test": 1}
    assert all(dataset.load(clip).shape == (16_000,) for clip in (*silence, *dataset.noise))
    zero = [clip.split for clip in silence if not dataset.load(clip).any()]
    assert zero == ["train"] and dataset.shared_groups() == {} and len(dataset.noise) == 1
    assert load_dataset("folder", root, silence_percentage=0).info.labels == ("clap", "snap")
    write_wav(root / "_background_noise_" / "short.wav", 16_000)
    with refuses(DataError, "short.wav", "10"):
        load_dataset("folder", root)


def test_silence_is_made_where_there_are_no_recordings(make_layout):
    root = make_layout("folder")
    assert "_silence_" not in load_dataset("folder", root).info.labels
    dataset = load_dataset("folder", root, silence_percentage=50, **GROUPS)
    silence = [clip for clip in dataset.clips if clip.label == "_silence_"]
    assert len(silence) == 20 and all(clip.synthetic for clip in silence)
    sounds = [dataset.load(clip) for clip in silence]
    assert not sounds[0].any() and silence[0].split == "train"
    levels_db = [20 * np.log10(np.sqrt(np.mean(sound**2))) for sound in sounds if sound.any()]
    assert (
        len(levels_db) == 18
        and min(levels_db) >= -90.1
        and max(levels_db) <= -29.9
        and np.ptp(levels_db) > 30
    )
    assert np.array_equal(dataset.load(silence[0]), sounds[0])
    assert dataset.info.groups_known and dataset.leak() == 0
    (root / "clap").rename(root / "_silence_")
    with refuses(ConfigError, "_silence_"):
        load_dataset("folder", root, silence_percentage=10)


# Groups guessed from names

WORDS = ("yes", "no", "up")


def named(form: str, speakers, takes) -> list[Clip]:
    names = [
        form.format(word=word, s=s, take=take)
        for word, s, take in itertools.product(WORDS, speakers, takes)
    ]
    return [Clip(name, name.split("/")[0], "", "") for name in names]


@pytest.mark.parametrize(
    ("form", "speakers", "takes", "group"),
    [
        ("{word}/spk{s:02d}_{take:02d}.wav", range(30), range(2), "spk00"),
        ("{word}/{take:02d}-spk{s:02d}.wav", range(30), range(5), "spk00"),
        ("{word}/{s:08x}_nohash_{take}.wav", range(7919, 99999, 7919), range(2), "00001eef"),
        ("{word}/{s}_{take}.wav", ("anna", "bob", "carl", "dora"), range(12), "anna"),
        ("{word}/{word}_{s}_{take}.wav", ("anna", "bob", "carl", "dora"), range(12), "anna"),
        ("{word}/{s}/{take}.wav", ("anna", "bob", "carl", "dora"), range(12), "anna"),
        ("{word}/{s:02d}_{take:02d}.wav", range(30), range(4), "00"),
        ("{word}/03-01-{take:02d}-01-{s:02d}.wav", range(1, 25), range(1, 3), "01"),
        ("{word}/1-{s}-A-{take}.wav", range(100_000, 109_000, 1000), range(3), "100000"),
    ],
)
def test_groups_are_guessed_from_names(form, speakers, takes, group):
    best = suggest_groups(named(form, speakers, takes))[0]
    assert best.groups == len(speakers)
    assert best.example[1] == group


def test_running_numbers_are_no_groups():
    assert suggest_groups(named("{word}/{word}_{take:05d}.wav", "a", range(60))) == []
    assert suggest_groups(named("{word}/{take}.wav", "a", range(60))) == []


def slices(form: str, starts, recordings=range(6)) -> list[Clip]:
    """Slices of recordings, of which each class has its own."""
    return named(form, recordings, starts)


@pytest.mark.parametrize(
    ("form", "starts"),
    [
        ("{word}/{word}-{s:02d}_{take:05d}.wav", range(0, 4000, 500)),  # milliseconds
        ("{word}/{word}-{s:02d}_{take:05d}.wav", (0, 333, 667, 1000, 1333)),
        ("{word}/{word}{s}.s{take}.wav", range(8)),
        ("{word}/{word}{s}_{take:03d}.wav", range(60)),
        ("{word}/{word}{s}-part{take}.wav", range(1, 9)),
        ("{word}/2026-05-{s:02d}_{take:04d}.wav", range(8)),
    ],
)
def test_starts_and_counts_are_no_groups(form, starts):
    """A slice that starts at the same time is no other slice of the same recording."""
    clips = slices(form, starts)
    whole = [clip.clip_id[: re.search("[0-9]+.wav$", clip.clip_id).start()] for clip in clips]
    guesses = suggest_groups(clips)
    assert guesses[0].likely
    for guess in guesses:
        groups = {}
        for recording, clip in zip(whole, grouped(clips, guess.pattern)[0], strict=True):
            groups.setdefault(recording, set()).add(clip.group)
        assert all(len(of) == 1 for of in groups.values())


@pytest.mark.parametrize(
    "form",
    [
        "{word}/street_{take:03d}.wav",
        "{word}/take{take}.wav",
        "{word}/session_{s}/{take}.wav",
        "{word}/{s}/{take}.wav",
    ],
)
def test_two_recordings_of_a_class_are_too_few_to_guess(form):
    places = ("a", "b") if "session" in form else ("noise", "Background")
    assert suggest_groups(named(form, places if "{s}" in form else "a", range(20))) == []


def test_odd_names_do_not_spoil_a_guess(make_layout, write_wav):
    root = make_layout("folder")
    for number in range(3):
        write_wav(root / "clap" / f"new sound {number}.wav")
    for number, path in enumerate(sorted(root.rglob("*.wav"))):  # the same bytes would be one clip
        write_wav(path, 500 + number)
    best = suggest_groups(load_dataset("folder", root).clips)[0]
    assert best.pattern == "(speaker[0-9]+)" and best.groups == 5
    assert inspect_folder(root).groups.odd == tuple(f"clap/new sound {n}.wav" for n in range(3))
    (said,) = (line for line in sounds_lines(inspect_folder(root)) if "do not fit" in line)
    assert said.startswith("3 names do not fit this pattern, such as clap/new sound 0.wav")
    dataset = load_dataset("folder", root, group_pattern=best.pattern)
    assert not any("new sound" in clip.clip_id for clip in dataset.split("test"))
    said = protocol_statement(dataset)
    assert said == (
        "grouped: no group is in both training and test; no group for 3 clips, such as "
        "clap/new sound 0.wav"
    )
    for number in range(9):
        write_wav(root / "snap" / f"{number}.wav", 600 + number)
    with refuses(DataError, "clap/new sound 0.wav", "finds no group"):
        load_dataset("folder", root, group_pattern=best.pattern)


def test_a_guess_is_no_fact(make_layout):
    options = {**GROUPS, "group_pattern_guessed": True}
    root = make_layout("folder")
    dataset = load_dataset("folder", root, **options)
    examples = ", ".join(f"clap/speaker{n}_0.wav -> speaker{n}" for n in range(3))
    said = f"names, group_pattern (speaker[0-9]), as in {examples}: if it is wrong, the accuracy"
    facts = json.loads(json.dumps(split_facts(dataset)))
    for statement in (protocol_statement(dataset), facts["statement"], protocol_statement(facts)):
        assert said in statement and "too high" in statement and "no group is in" not in statement
    folded = load_dataset("folder", root, protocol="grouped-5fold", **options)
    assert said in protocol_statement(folded)
    leaking = load_dataset("folder", root, protocol="stratified-random", **options)
    assert "share a guessed group with" in protocol_statement(leaking)
    said = f"groups are a guess: group_pattern (speaker[0-9]), as in {examples}"
    assert said in tables.check_lines(checking.check("folder", root, **options))


@pytest.mark.parametrize("value", ["[a-z]+_(s1)", "(s[0-9]+)", "a: (b)", "#(x)", "yes", 1.5, True])
def test_an_option_is_read_as_it_is_printed(value):
    _, word = shlex.split(tables.typed_option("some", value))
    assert tables.parse_options([word]) == {"some": value}


def test_a_guess_is_printed_as_it_is_used(make_layout):
    root = make_layout("folder")
    table, lines = tables.suggestions("folder", root)
    assert table.rows[0][:4] == ("(speaker[0-9]+)", "5", "8", "2.0")
    assert lines[0].endswith("--option 'group_pattern=(speaker[0-9]+)'")
    assert "    group_pattern: (speaker[0-9]+)" in lines
    options = tables.parse_options(["group_pattern=(speaker[0-9]+)"])
    assert load_dataset("folder", root, **options).info.protocol == "grouped"
    with refuses(ConfigError, "--suggest"):
        tables.suggestions("synth")
