# SPDX-License-Identifier: Apache-2.0
"""The sounds of a wake word: speakers on one side, where a phrase ends, hours without it."""

import itertools
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from m3net_tf.audio.datasets import load_dataset, read_audio
from m3net_tf.audio.datasets.fetch import RECORD
from m3net_tf.audio.datasets.loudness import active_part_s
from m3net_tf.audio.datasets.noise import NOISE_FOLDER
from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.runtime import DetectorConfig
from m3net_tf.system.artifacts import write_json
from m3net_tf.system.errors import DataError
from m3net_tf.wake.project import VOICES, keep_settings, project_settings
from m3net_tf.wake.sounds import (
    HARD,
    OTHER,
    RATE_HZ,
    TABLE,
    hours_files,
    list_hard_windows,
    read_wake_sounds,
    recorded_words,
    write_wake_sounds,
)
from m3net_tf.wake.voices.speaking import SpokenClip, SpokenVoices

PHRASE_S = 0.6


def tone_step(speaker: str) -> float:
    """The radians between two samples of a speaker's tone."""
    return 0.1 + int(speaker.partition("_")[2]) / 100


def spoken(folder: Path, kind: str, speaker: int, seconds: float, phrase: str) -> SpokenClip:
    """A tone, which stands for speech, after a pause and before a soft consonant."""
    name = {"phrase": phrase, "class": "_words_/left"}.get(kind, "_near_")
    path = folder / name / f"{kind}_{speaker}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = np.sin(np.arange(round(seconds * RATE_HZ)) * tone_step(f"tone_{speaker}")) / 2
    parts = [np.zeros(1600), tone, tone[:1600] / 100]
    soundfile.write(path, np.concatenate(parts), RATE_HZ)
    split = "train" if speaker < 6 else "validation"
    return SpokenClip(
        path.relative_to(folder).as_posix(),
        *("text", "", kind, "tone", "", f"tone_{speaker}", split),
        *(1.0, 1.0, "none"),
    )


def write(root: Path, phrase: str = "computer", recordings: tuple[str, ...] = ()) -> Path:
    """Write the sounds of ten voices, of 20 real speakers of a word, and of 20 other files."""
    voices = root / "voices"
    others = root / "others"
    folder = root / "sounds"
    others.mkdir()
    words = root / "words"
    for name in ("left", "Computer", "_background_noise_"):
        (words / name).mkdir(parents=True)
        for number in range(40):
            beep = np.pad(np.ones(4000) * 0.1, 6000)
            path = words / name / f"real{number // 2:02d}_nohash_{number % 2}.wav"
            soundfile.write(path, beep, RATE_HZ)
    (words / "airport").mkdir()  # that the voices alone say
    rng = np.random.default_rng(0)
    for number in range(20):  # noise that is louder from file to file
        noise = rng.normal(0, 0.001 * (1 + number), 5 * 8000)
        soundfile.write(others / f"{number:02d}.flac", noise, 8000)
    lengths_s = {"phrase": PHRASE_S, "changed": 0.5, "other": 11.0, "class": 0.5}
    clips = [
        spoken(voices, kind, speaker, seconds, phrase)
        for kind, seconds in lengths_s.items()
        for speaker in range(10)
    ]
    voiced = SpokenVoices(tuple(clips), {phrase: "tone"}, 10, 7.5, ())
    (words / "testing_list.txt").write_text("left/nobody_0.wav\nleft/tester_0.wav\n")
    shutil.copyfile(next((words / "left").iterdir()), words / "left" / "tester_0.wav")
    recorded = recorded_words(words, ["computer"])
    assert {word: len(files) for word, files in recorded.items()} == {"airport": 0, "left": 40}
    assert recorded_words(root, ["computer"]) == recorded  # of the folder around it, too
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("m3net_tf.wake.sounds._MOST_RECORDINGS", 9)
        some = recorded_words(words, ["computer"])["left"]
    assert len(some) == 9 and len({path.name.partition("_")[0] for path in some}) > 5
    write_wake_sounds(
        voiced, voices, [others], folder, recordings=recordings, words=recorded, seed=3
    )
    return folder


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("first"))


def dataset(folder: Path):
    clip_s = read_wake_sounds(folder).clip_s
    options = {"table": TABLE, "clip_s": clip_s, "long_clips": "windows", "silence_percentage": 0}
    return load_dataset("folder", folder, **options)


def test_fetched_recordings_are_used_from_then_on(sounds, tmp_path, monkeypatch):
    monkeypatch.setenv("M3NET_CACHE", str(tmp_path / "cache"))
    project = tmp_path / "project"
    keep_settings(project, project_settings(project, ["computer"], {}))
    (project / VOICES).mkdir()
    for kind in ("music", "noise", "speech"):
        for number in range(10):
            path = tmp_path / f"cache/recordings/musan/musan/musan/{kind}/{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.full(100 * 8000, 0.01), 8000)
    words = tmp_path / "cache/datasets/speech_commands"
    (words / "speech_commands_v0.02").mkdir(parents=True)
    states = {"speech_commands_v0.02.tar.gz": {"folder": "speech_commands_v0.02"}}
    write_json(words / RECORD, {"archives": states})
    begun = project_settings(project, ["computer"], {})
    assert begun.recordings == () and begun.words is None
    new = project_settings(tmp_path / "new", ["computer"], {})
    fetched = new.recordings
    assert fetched == ("musan",) and new.words == str(words)
    assert project_settings(tmp_path / "new", ["computer"], {"words": "own"}).words == "own"
    assert project_settings(tmp_path / "new", ["Hallo"], {"language": "de"}).words is None
    before = read_wake_sounds(sounds).hours
    folder = write(tmp_path, recordings=fetched)
    after = read_wake_sounds(folder).hours
    added = {split: round((after[split] - before[split]) * 60) for split in after}
    assert added == {"train": 25, "validation": 10, "test": 15}
    noise = [soundfile.info(path).duration for path in (folder / NOISE_FOLDER).iterdir()]
    assert max(noise) < 90  # training holds them in memory


def test_no_speaker_is_on_both_sides(sounds):
    split_of: dict[str, set[str]] = {}
    for clip in dataset(sounds).clips:
        split_of.setdefault(clip.group, set()).add(clip.split)
    assert all(len(splits) == 1 for splits in split_of.values())
    speakers = {group: next(iter(splits)) for group, splits in split_of.items() if "tone" in group}
    counts = [list(speakers.values()).count(split) for split in ("train", "validation", "test")]
    assert counts == [6, 2, 2]


def test_a_phrase_ends_shortly_before_its_window_and_a_part_is_no_phrase(sounds):
    clips = dataset(sounds).split("train")
    clip_s = read_wake_sounds(sounds).clip_s
    assert clip_s == 1.2  # holds the phrase, its pauses and 0.3 s
    phrases = [clip for clip in clips if clip.label == "computer"]
    parts = [clip for clip in clips if clip.clip_id.startswith("parts/")]
    assert len(phrases) == 4 * 6 and 6 < len(parts) < 6 + 34 / 2  # some of the word
    assert {clip.label for clip in parts} == {OTHER}
    lengths = []
    pitches = []
    for clip in phrases:
        sound = read_audio(clip.path, sample_rate_hz=RATE_HZ)
        assert len(sound) == clip_s * RATE_HZ
        start_s, end_s = active_part_s(sound, RATE_HZ)
        if end_s - start_s < 1.35 * PHRASE_S:  # no other speech around it
            assert 0.1 + 0.075 - 0.03 < clip_s - end_s < 0.3 + 0.14 + 0.03
            assert np.abs(sound[round(end_s * RATE_HZ) :][:1000]).max() > 0  # the consonant
            lengths.append((end_s - start_s) / PHRASE_S)
            loud = np.abs(np.fft.rfft(sound[round(start_s * RATE_HZ) :], 1 << 16))
            pitches.append(2 * np.pi * loud.argmax() / (1 << 16) / tone_step(clip.group))
    assert min(lengths) < 0.9 and max(lengths) > 1.1
    played = list(zip(lengths, pitches, strict=True))
    for length, pitch in itertools.product((1, -1), repeat=2):  # each tempo at each pitch
        assert any(length * (a - 1) > 0.05 and pitch * (b - 1) > 0.05 for a, b in played)
    sounding = [read_audio(clip.path, sample_rate_hz=RATE_HZ) for clip in parts]
    lengths_s = [np.diff(active_part_s(sound, RATE_HZ)) for sound in sounding]
    assert min(lengths_s) < 0.75 * PHRASE_S


def test_real_and_synthetic_voices_share_the_class_of_a_word(sounds):
    clips = [clip for clip in dataset(sounds).clips if clip.label == "_left_"]
    assert {clip.label for clip in dataset(sounds).clips} == {OTHER, "computer", "_left_"}
    real = {clip.group for clip in clips if "real" in clip.group}
    assert len(real) == 28 and len(clips) == 28 + 10  # 14 of 20 speakers train
    assert not DetectorConfig.default(FrontendConfig(), 49, ["_left_", "left"]).classes[0].event


def test_hours_are_as_long_as_recorded(sounds):
    record = read_wake_sounds(sounds)
    for split in ("train", "validation", "test"):
        files = hours_files(sounds, split)
        seconds = sum(soundfile.info(path).duration for path in files)
        assert seconds / 3600 == pytest.approx(record.hours[split], abs=1e-6)
        assert seconds >= 60
        kinds = {path.name.partition("-")[0] for path in files}
        assert {"sounds" if split == "train" else "noise", "noise"} <= kinds


def test_hours_of_every_kind_are_noise_of_training(sounds):
    def kinds(paths: Iterable[Path]) -> Counter[str]:
        return Counter(path.name.partition("-")[0] for path in paths)

    heard = kinds(hours_files(sounds, "train"))
    mixed = kinds((sounds / NOISE_FOLDER).iterdir())
    assert len(mixed) > 1 and mixed == {kind: min(count, 20) for kind, count in heard.items()}


def test_hard_windows_are_listed_once_and_last(sounds, tmp_path):
    folder = shutil.copytree(sounds, tmp_path / "sounds")
    before = dataset(folder).split("train")
    (folder / HARD).mkdir()
    for number in range(2):
        soundfile.write(folder / HARD / f"{number}.wav", np.ones(19200) / (number + 2), RATE_HZ)
    list_hard_windows(folder)
    list_hard_windows(folder)
    after = dataset(folder).split("train")
    assert [clip.clip_id for clip in after[:-2]] == [clip.clip_id for clip in before]
    assert [(clip.clip_id, clip.label) for clip in after[-2:]] == [
        (f"{HARD}/0.wav", OTHER),
        (f"{HARD}/1.wav", OTHER),
    ]


@pytest.mark.parametrize("phrase", ["hard", "parts", "hours"])
def test_a_phrase_may_have_the_name_of_another_folder(tmp_path, phrase):
    folder = write(tmp_path, phrase)
    table = folder / TABLE
    before = table.read_text().splitlines()
    assert len({row.partition(",")[0] for row in before}) == len(before)
    list_hard_windows(folder)
    assert table.read_text().splitlines() == before
    assert read_wake_sounds(folder).phrases == {"train": 24, "validation": 2, "test": 2}


def test_equal_seeds_give_equal_sounds(sounds, tmp_path):
    again = write(tmp_path)
    files = [path.relative_to(sounds) for path in sorted(sounds.rglob("*.*"))]
    assert files == [path.relative_to(again) for path in sorted(again.rglob("*.*"))]
    assert all((sounds / path).read_bytes() == (again / path).read_bytes() for path in files)


def test_a_folder_without_sounds_is_named(tmp_path):
    with pytest.raises(DataError, match="has no sound files: name a folder of sounds"):
        write_wake_sounds(SpokenVoices((), {}, 0, 0.0, ()), tmp_path, [tmp_path], tmp_path / "out")
