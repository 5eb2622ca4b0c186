# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
from collections import Counter

import numpy as np
import pytest
import soundfile

from m3net_tf.audio.datasets import read_audio
from m3net_tf.audio.datasets.pitch import pitch_hz
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.wake.voices import speaking
from m3net_tf.wake.voices.speaking import finished, say_phrases
from m3net_tf.wake.voices.synthesis import Espeak
from m3net_tf.wake.voices.synthesiser import Voice, covers
from m3net_tf.wake.voices.variety import distinct, variety


@pytest.fixture
def few_voices(espeak, monkeypatch):
    """espeak-ng with six speakers, one of which has two names."""

    class Few(Espeak):
        def voices(self, language):
            names = ("", "f1", "f2", "m1", "m3", "klatt")
            voices = [
                Voice(f"{language}+{name}" if name else language, name or "default")
                for name in names
            ]
            return [*voices, Voice(f"{language}+f1", "twin")]

    monkeypatch.setattr(speaking, "available", lambda models: [Few()])
    monkeypatch.setattr(speaking, "installed_words", lambda language: ["commuter", "window"])


def test_phrases_become_clips(few_voices, tmp_path, monkeypatch):
    lines = []
    settings = {"count": 12, "near_count": 12, "seed": 1}
    spoken = say_phrases(["hey computer"], tmp_path, log=lines.append, **settings)
    record = json.loads((tmp_path / "voices.json").read_text())
    assert record["clips"] == [dataclasses.asdict(each) for each in spoken.clips]
    with monkeypatch.context() as patch:
        patch.delattr(speaking, "available")  # a complete folder needs no synthesiser
        assert say_phrases(["hey computer"], tmp_path, **settings) == spoken
    assert spoken.speakers == 6
    assert 3 < spoken.variety <= 6
    assert any("too like another" in line for line in lines)
    kinds = Counter(each.path.split("/")[0] for each in spoken.clips)
    assert kinds == {"hey_computer": 12, "_near_": 12, "_foreign_": 6}
    assert len(spoken.clips) == len([*tmp_path.rglob("*.wav")]) == 30
    foreign = {clip.voice.partition("+")[0] for clip in spoken.clips if clip.kind == "foreign"}
    assert len(foreign) > 2 and not any(covers("en", language) for language in foreign)
    splits = {(each.speaker, each.split) for each in spoken.clips}
    assert len(splits) == len({speaker for speaker, _ in splits})
    assert {split for _, split in splits} == {"train", "validation"}
    for clip in spoken.clips:
        pcm, rate_hz = soundfile.read(tmp_path / clip.path, dtype="int16")
        assert rate_hz == 16_000
        assert pcm.ndim == 1
        assert 0.1 < len(pcm) / rate_hz < 8
        assert np.sqrt(np.mean((pcm / 32768.0) ** 2)) == pytest.approx(10 ** (-26 / 20), rel=0.3)

    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}
    lost = min(stamps)
    lost.unlink()
    assert say_phrases(["hey computer"], tmp_path, **settings) == spoken
    assert lost.exists()
    changed = {path for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp}
    assert changed == {lost}

    settings["count"] = 5
    respelt = say_phrases(
        ["hey computer"], tmp_path, say={"hey computer": "hay kom-PYOO-ter"}, **settings
    )
    phrases = [each for each in respelt.clips if each.kind == "phrase"]
    assert len([*tmp_path.glob("hey_computer/*.wav")]) == len(phrases) == 5
    assert all(
        tmp_path.joinpath(each.path).stat().st_mtime_ns not in stamps.values()
        for each in phrases
        if each.phonemes
    )
    assert respelt.phonemes == {"hey computer": "heɪkɒmpjˈuːtə"}


@pytest.mark.slow
def test_given_words_are_spoken_in_place_of_random_ones(few_voices, tmp_path):
    spoken = say_phrases(["computer"], tmp_path / "own", count=1, near_count=100)
    assert {each.text.strip(".?!") for each in spoken.clips if each.kind == "class"} == {"window"}
    given = say_phrases(["computer"], tmp_path / "given", count=1, near_count=100, words=["tree"])
    assert {each.text.strip(".?!") for each in given.clips if each.kind == "class"} == {"tree"}


def test_a_slow_synthesiser_says_phrases_and_few_other_texts(few_voices, tmp_path, monkeypatch):
    fast = speaking.available(())[0]

    class Slow(type(fast)):
        name, is_slow = "slow", True

        def voices(self, language):
            names = ("f4", "m4", "m5", "m6")
            return [Voice(f"{language}+{name}", name) for name in names]

    monkeypatch.setattr(speaking, "available", lambda models: [fast, Slow()])
    spoken = say_phrases(["computer"], tmp_path, count=60, near_count=120)
    length = {"phrase": "phrase", "other": "long", "foreign": "long"}
    said: dict[str, list[bool]] = {}
    for clip in spoken.clips:
        said.setdefault(length.get(clip.kind, "short"), []).append(clip.synthesiser == "slow")
    share = {texts: np.mean(slow) for texts, slow in said.items()}
    assert share["phrase"] > share["short"] > share["long"] == 0


def test_some_clips_are_careful_and_half_are_of_high_voices(few_voices, tmp_path):
    spoken = say_phrases(["computer"], tmp_path, count=80, near_count=0)
    careful = {clip.phonemes for clip in spoken.clips} - {""}
    assert careful == {f"k{vowel}mpjˈuːtə" for vowel in "ʌɒɛæ"}
    assert 0.2 < np.mean([bool(clip.phonemes) for clip in spoken.clips]) < 0.4
    pitches: dict[str, list[float]] = {}
    for clip in spoken.clips:
        sound = read_audio(tmp_path / clip.path, sample_rate_hz=16_000)
        pitches.setdefault(clip.speaker, []).append(pitch_hz(sound, 16_000))
    high = {speaker for speaker, found in pitches.items() if np.median(found) > 150}
    assert 1 <= len(high) <= len(pitches) / 3
    train = [clip.speaker in high for clip in spoken.clips if clip.split == "train"]
    assert 0.35 < np.mean(train) < 0.65


@pytest.mark.parametrize(
    ("phrases", "message"),
    [
        ([], "no phrase"),
        (["<computer>"], "write it in letters"),
        (["R2 D2"], "write it in letters"),
        (["hey you", "Hey  You"], "given twice"),
        (["go"], "at least 4"),
    ],
)
def test_a_phrase_that_cannot_wake_is_refused(few_voices, tmp_path, phrases, message):
    with pytest.raises(ConfigError, match=message):
        say_phrases(phrases, tmp_path / "voices")
    assert not (tmp_path / "voices").exists()


def test_an_unknown_language_is_refused(espeak, tmp_path):
    with pytest.raises(ConfigError, match="no language 'xx'"):
        say_phrases(["computer"], tmp_path / "voices", language="xx")


def test_a_voice_that_says_something_else_gets_phonemes_or_is_left_out(few_voices):
    class Other(Espeak):
        name = "other"

        def pronounced(self, voice, text):
            return ["b", "iː", "b", "iː"]

    class Deaf(Other):
        name = "deaf"
        takes_phonemes = False

    class Broken(Other):
        name = "broken"

        def pronounced(self, voice, text):
            raise DataError("ends with status 1")

    wanted = speaking._pronounced(["computer"], "en", {}, lambda line: None)
    left_out: list[str] = []
    ways = speaking._ways([Espeak(), Other(), Deaf(), Broken()], wanted, "en", {}, left_out, print)
    assert ways["espeak-ng", "computer"] == ()
    assert ways["other", "computer"] == wanted["computer"]
    assert ("deaf", "computer") not in ways
    assert left_out == ["deaf says biːbiː for 'computer'", "broken: ends with status 1"]


def test_pauses_are_cut_and_the_level_is_set():
    tone = np.sin(np.arange(8000) * 0.3).astype(np.float32)
    audio = np.pad(0.01 * tone, (30_000, 20_000))
    whole = finished(audio, 16_000)
    assert whole.size == pytest.approx(8000 + 2 * 800, abs=320)
    assert np.sqrt(np.mean(whole**2)) == pytest.approx(10 ** (-26 / 20), rel=1e-3)
    for nothing in (np.zeros(9000, np.float32), np.zeros(0, np.float32)):
        with pytest.raises(DataError, match="says nothing"):
            finished(nothing, 22_050)


def test_variety_counts_voices():
    rng = np.random.default_rng(0)
    far = list(rng.normal(0, 100, (7, 38)))
    assert variety(far) == pytest.approx(7)
    assert variety([far[0]] * 7) == pytest.approx(1)
    assert variety([*far, *far]) == pytest.approx(7)
    assert distinct([*far, far[2] + 0.01]) == list(range(7))
