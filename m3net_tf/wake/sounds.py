# SPDX-License-Identifier: Apache-2.0
"""The sounds of a wake word: windows in which a phrase ends, and hours in which nobody says it.

The folder is a data set for :mod:`m3net_tf.audio.datasets.folder`. Long recordings without the
phrase are in ``hours/<split>``; live detection is tuned and tested on them.
"""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import librosa
import numpy as np
import soxr

from m3net_tf.audio.datasets import read_audio, to_pcm16
from m3net_tf.audio.datasets.audio import Audio, audio_chunks, write_wav
from m3net_tf.audio.datasets.clips import SPLITS
from m3net_tf.audio.datasets.dataset import LONGEST_S
from m3net_tf.audio.datasets.files import SUFFIXES, files_below, find_root
from m3net_tf.audio.datasets.folder import sounds_below
from m3net_tf.audio.datasets.loudness import active_part_s, at_level
from m3net_tf.audio.datasets.noise import NOISE_FOLDER, coloured_noise
from m3net_tf.audio.datasets.protocols import divide_in_order, rank
from m3net_tf.audio.datasets.recordings import divided_recordings
from m3net_tf.audio.datasets.speech_commands import LISTS
from m3net_tf.system.artifacts import csv_table, read_json, write_json, write_text
from m3net_tf.system.conversion import from_plain
from m3net_tf.system.errors import DataError
from m3net_tf.system.locks import complete_folder
from m3net_tf.system.progress import Log, silent, track
from m3net_tf.wake.voices.speaking import SpokenClip, SpokenVoices

TABLE, HOURS, HARD, OTHER = "clips.csv", "hours", "hard", "_unknown_"
_RECORD = "sounds.json"
RATE_HZ = 16_000
SHARES = {"train": 0.7, "validation": 0.2, "test": 0.1}

_LEVEL_DB = (-34.0, -18.0)  # of speech
_SOUND_DB = (-45.0, -20.0)  # of other sounds
_NOISE_DB = (-90.0, -30.0)
_SPEED = (0.75, 1.3)  # of training sounds: of their pitch and formants, ...
_TEMPO = (0.7, 1.3)  # ... and of their tempo, so that high voices are as slow as low ones
_VOCODER_SAMPLES = 512
_SOFT_S = 0.15  # that consonants may last before and after the loud part
_TAIL_S = (0.1, 0.3)  # from the end of a phrase to the end of its window
_WINDOW_STEP_S = 0.2  # an odd number of columns, so that the network's stride divides the window
_WINDOW_S = (1.0, 2.0)
_LONG_S = 60.0
_GAP_S = (0.0, 0.4)
_CONTEXT = 0.3  # share of phrases with other speech before them, and of those with speech after
_CONTEXT_GAP_S = (0.05, 0.3)
_WINDOWS = 4  # of a phrase in training, each at another place, level and between other speech
_SPEECH = ("other", "foreign")  # kinds of texts without windows of their own
_AROUND = (*_SPEECH, "class")  # kinds of texts before and after phrases
_PART = (0.3, 0.7)  # shares of a phrase that are not the phrase
_MOST_RECORDINGS = 100  # of a word
_WORD_PARTS = 0.25  # share of other words of which there is a part, too
_NOISE_S = 5.0
_NOISE_HOURS = {"train": 1 / 6, "validation": 1 / 20, "test": 1 / 20}
_LISTED_FILES = 10  # long recordings of a held-out split that count as its clips
_NOISE_FILES = 60  # long recordings of each kind that are mixed into training clips

Rng = np.random.Generator


@dataclasses.dataclass(frozen=True)
class WakeSounds:
    """What :func:`write_wake_sounds` has written.

    Attributes:
        near: near phrases and parts of phrases by split.
        words: number of other words that are classes.
    """

    clip_s: float
    phrases: Mapping[str, int]
    near: Mapping[str, int]
    words: int
    hours: Mapping[str, float]
    phonemes: Mapping[str, str]
    speakers: int
    variety: float


def write_wake_sounds(
    spoken: SpokenVoices,
    voices: Path,
    negatives: Sequence[Path],
    folder: Path,
    *,
    recordings: Sequence[str] = (),
    words: Mapping[str, Sequence[Path]] | None = None,
    seed: int = 0,
    log: Log = silent,
) -> WakeSounds:
    """Write the data set.

    Args:
        spoken: clips of phrases, of near phrases and of other speech; half of the speakers that
            it holds out for validation are the test's.
        voices: their folder; the folders in it are the phrases' classes.
        negatives: folders of any other sounds. The files of a folder are divided in the order of
            their names, so that recordings with the same beginning mostly stay together.
        folder: the data set, which appears when it is complete.
        recordings: names of fetched recordings, as of :mod:`m3net_tf.audio.datasets.recordings`,
            which are further sounds.
        words: recordings of words, as of :func:`recorded_words`. Each word becomes a class that
            triggers no event, ``_<word>_``, together with its spoken clips, so that the network
            learns what real and synthetic voices have in common.

    Raises:
        DataError: a file cannot be read, or a folder has no sounds.
    """
    with complete_folder(folder) as scratch:
        said = _said(spoken.clips, voices)
        divided = _divided(negatives)
        for name in recordings:
            for split, paths in divided_recordings(name).items():
                divided[split] += paths
        for word, split, path in _divided_words(words or {}):
            if split == "train":
                said.append(_Said(_trimmed(path), f"_{word}_", path.stem, split, "class"))
            else:
                divided[split].append(path)
        writer = _Writer(scratch, said, np.random.default_rng([seed, 45]))
        writer.write(divided, log)
        result = writer.result(spoken)
        write_json(scratch / _RECORD, dataclasses.asdict(result))
    return result


@dataclasses.dataclass(frozen=True)
class _Said:
    """A spoken clip or a recording: its samples, class, speaker, split, and kind of text."""

    sound: Audio
    label: str
    speaker: str
    split: str
    kind: str

    @property
    def is_phrase(self) -> bool:
        """Whether it is a phrase."""
        return self.kind == "phrase"


def _said(spoken: Sequence[SpokenClip], voices: Path) -> list[_Said]:
    split_of = {clip.speaker: clip.split for clip in spoken}
    # Held-out speakers come first, and one more if there are not two.
    ranked = sorted(split_of, key=lambda speaker: (split_of[speaker] == "train", rank(speaker)))
    held_out = ranked[: max(2, sum(split != "train" for split in split_of.values()))]
    split_of |= dict.fromkeys(held_out, "validation") | dict.fromkeys(held_out[1::2], "test")
    return [
        _Said(
            _trimmed(voices / clip.path),
            _label(clip),
            clip.speaker,
            split_of[clip.speaker],
            clip.kind,
        )
        for clip in spoken
    ]


def _label(clip: SpokenClip) -> str:
    folder = Path(clip.path).parent.name
    return {"phrase": folder, "class": f"_{folder}_"}.get(clip.kind, OTHER)


def recorded_words(folder: Path, phrases: Iterable[str]) -> dict[str, list[Path]]:
    """Recordings of words in a folder for each; other folders and the phrases' are left out.

    A folder may be empty: then the voices alone say its word. Of many recordings some are drawn.
    Where a data set lists the recordings that test (``testing_list.txt``, as Speech Commands does),
    they are left out.

    Raises:
        DataError: there is none.
    """
    folder = find_root(folder, LISTS["test"])
    left_out = {phrase.lower() for phrase in phrases}
    listed = folder / LISTS["test"]
    test = set(listed.read_text().split()) if listed.is_file() else set()
    found = {}
    for place in sorted(folder.iterdir()):
        if place.is_dir() and place.name.isalpha() and place.name.lower() not in left_out:
            names = {path.relative_to(folder).as_posix() for path in files_below(place, SUFFIXES)}
            drawn = sorted(names - test, key=rank)[:_MOST_RECORDINGS]
            found[place.name.lower()] = [folder / name for name in sorted(drawn)]
    if not found:
        raise DataError(f"{folder}: has no folder of a word: name one with a folder for each")
    return found


def _divided_words(words: Mapping[str, Sequence[Path]]) -> Iterator[tuple[str, str, Path]]:
    """Each recording with its word and split; what precedes ``_`` in a name is the speaker."""
    speakers = sorted({_speaker(path) for paths in words.values() for path in paths})
    stops = np.cumsum([SHARES[split] for split in SPLITS]) * len(speakers)
    place = {speaker: index for index, speaker in enumerate(speakers)}
    for word, paths in words.items():
        for path in paths:
            split = int(np.searchsorted(stops, place[_speaker(path)] + 0.5))
            yield word, SPLITS[split], path


def _speaker(recording: Path) -> str:
    return recording.stem.partition("_")[0]


def read_wake_sounds(folder: Path) -> WakeSounds:
    """What :func:`write_wake_sounds` has written into a folder.

    Raises:
        DataError: the record is missing or damaged.
    """
    return from_plain(WakeSounds, read_json(folder / _RECORD), _RECORD)


def hours_files(folder: Path, split: str) -> list[Path]:
    """The long recordings of a split without a phrase."""
    return sorted((folder / HOURS / split).glob("*.wav"))


def list_hard_windows(folder: Path) -> None:
    """List the sounds in ``hard/``, which a first network takes for a phrase, for training.

    They come last, so that the features of the others stay in the cache.
    """
    names = [f"{HARD}/{path.name}" for path in sorted((folder / HARD).glob("*.wav"))]
    rows = (folder / TABLE).read_text(encoding="utf-8").splitlines()
    kept = [row for row in rows if not row.startswith(f"{HARD}/")]
    added = [f"{name},{OTHER},train,{name}" for name in names]
    write_text(folder / TABLE, "\n".join([*kept, *added, ""]))


def _divided(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """The sound files of folders by split."""
    divided: dict[str, list[Path]] = {split: [] for split in SPLITS}
    for folder in folders:
        for split, paths in divide_in_order(sounds_below(folder), SHARES).items():
            divided[split] += paths
    return divided


class _Row(NamedTuple):
    """A file's row in the table."""

    path: str
    label: str
    split: str
    group: str


class _Writer:
    """Writes the files and their table.

    All parts draw from one generator, so that their order decides the sounds of a seed.
    """

    def __init__(self, folder: Path, said: Sequence[_Said], rng: Rng) -> None:
        self._folder = folder
        self._said = said
        self._rng = rng
        self._clip_s = _window_s([len(each.sound) / RATE_HZ for each in said if each.is_phrase])
        self._context = {
            split: [each.sound for each in said if each.kind in _AROUND and each.split == split]
            for split in SPLITS
        }
        self._rows: list[_Row] = []
        self._seconds = dict.fromkeys(SPLITS, 0.0)

    def write(self, negatives: Mapping[str, Sequence[Path]], log: Log) -> None:
        """Write the windows, the hours without a phrase, more windows of phrases, and the table."""
        windows = [each for each in self._said if each.kind not in _SPEECH]
        with track(log, "windows of phrases", len(windows), "clips") as task:
            for index, each in enumerate(windows):
                self._write_phrase(each, index)
                task.advance()
        for split in SPLITS:
            log(f"hours without a phrase: {split}")
            self._write_hours(split, negatives[split])
        trained = [each for each in self._said if each.is_phrase and each.split == "train"]
        for index, each in enumerate(trained * (_WINDOWS - 1), len(windows)):
            self._write_window(self._played(each), f"{_folder(each)}/{index:05d}.wav", each)
        write_text(self._folder / TABLE, csv_table(_Row._fields, self._rows))

    def result(self, spoken: SpokenVoices) -> WakeSounds:
        """What is written."""
        clips = [row for row in self._rows if not row.path.startswith(HOURS)]
        near = Counter(row.split for row in clips if row.label.startswith("_"))
        phrases = Counter(row.split for row in clips if not row.label.startswith("_"))
        return WakeSounds(
            clip_s=self._clip_s,
            phrases={split: phrases[split] for split in SPLITS},
            near={split: near[split] for split in SPLITS},
            words=len({each.label for each in self._said if each.kind == "class"}),
            hours={split: seconds / 3600 for split, seconds in self._seconds.items()},
            phonemes=spoken.phonemes,
            speakers=spoken.speakers,
            variety=spoken.variety,
        )

    def _write_phrase(self, said: _Said, index: int) -> None:
        """A window in which a phrase or word ends, and of phrases one with a part of it."""
        sound = self._played(said)
        self._write_window(sound, f"{_folder(said)}/{index:05d}.wav", said)
        if said.is_phrase or (said.label != OTHER and self._rng.random() < _WORD_PARTS):
            size = round(self._rng.uniform(*_PART) * len(sound))
            part = sound[:size] if self._rng.random() < 0.5 else sound[-size:]
            other = dataclasses.replace(said, label=OTHER)
            self._write_window(part, f"parts/{index:05d}.wav", other)

    def _played(self, said: _Said) -> Audio:
        """A sound of training at another pitch and tempo; the augmentation would move its end."""
        if said.split != "train":
            return said.sound
        speed, tempo = (low * (high / low) ** self._rng.random() for low, high in (_SPEED, _TEMPO))
        sound = np.asarray(soxr.resample(said.sound, 1000 * speed, 1000), np.float32)
        return librosa.effects.time_stretch(sound, rate=tempo / speed, n_fft=_VOCODER_SAMPLES)

    def _write_window(self, sound: Audio, name: str, said: _Said) -> None:
        window = self._window(sound, self._context[said.split])
        (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(self._folder / name, to_pcm16(window), RATE_HZ)
        self._rows.append(_Row(name, said.label, said.split, said.speaker))

    def _window(self, sound: Audio, context: Sequence[Audio]) -> Audio:
        """A sound that ends shortly before the end of a window, some between other speech."""
        samples = round(self._clip_s * RATE_HZ)
        rng = self._rng
        end = samples - round(rng.uniform(*_TAIL_S) * RATE_HZ)
        placed = sound[-end:]
        start = end - len(placed)
        level_db = rng.uniform(*_LEVEL_DB)
        window = np.zeros(samples, np.float32)
        window[start:end] = at_level(placed, level_db)
        for place in (slice(0, start), slice(end, samples)):
            gap = round(rng.uniform(*_CONTEXT_GAP_S) * RATE_HZ)
            free = place.stop - place.start - gap
            if not context or rng.random() >= _CONTEXT or free <= 0:
                continue
            other = at_level(context[int(rng.integers(len(context)))], level_db)
            if place.start == 0:
                other = other[-free:]
                window[start - gap - len(other) : start - gap] = other
            else:
                other = other[:free]
                window[end + gap : end + gap + len(other)] = other
        return window

    def _write_hours(self, split: str, negatives: Sequence[Path]) -> None:
        """The long recordings of a split; the training's are also the noise of its clips."""
        speech = iter(self._context[split])
        sounds = itertools.chain.from_iterable(map(_pieces, negatives))
        count = round(_NOISE_HOURS[split] * 3600 / _NOISE_S)
        noise = (coloured_noise(self._rng, round(_NOISE_S * RATE_HZ)) for _ in range(count))
        kinds = [
            self._write_recordings(split, "speech", speech, _LEVEL_DB),
            self._write_recordings(split, "sounds", sounds, _SOUND_DB),
            self._write_recordings(split, "noise", noise, _NOISE_DB),
        ]
        files = [path for paths in kinds for path in paths]
        listed = files if split == "train" else _some(files, _LISTED_FILES)
        self._rows += [_Row(path, OTHER, split, path) for path in listed]
        if split == "train":
            (self._folder / NOISE_FOLDER).mkdir()
            for path in (path for paths in kinds for path in _some(paths, _NOISE_FILES)):
                link = self._folder / NOISE_FOLDER / Path(path).name
                link.hardlink_to(self._folder / path)

    def _write_recordings(
        self, split: str, kind: str, sounds: Iterator[Audio], level_db: tuple[float, float]
    ) -> list[str]:
        """The sounds in recordings of a minute; returns their names."""
        (self._folder / HOURS / split).mkdir(parents=True, exist_ok=True)
        names = []
        for number, (recording, seconds) in enumerate(self._recordings(sounds, level_db)):
            name = f"{HOURS}/{split}/{kind}-{number:04d}.wav"
            write_wav(self._folder / name, to_pcm16(recording), RATE_HZ)
            self._seconds[split] += seconds
            names.append(name)
        return names

    def _recordings(
        self, sounds: Iterator[Audio], level_db: tuple[float, float]
    ) -> Iterator[tuple[Audio, float]]:
        """Sounds one after the other, about a minute at once, with the length in seconds.

        A rest of less than half a minute is left out: it is too short for background noise. A long
        sound is put at its level before it is cut, so that its quiet minutes stay quiet.
        """
        parts: list[Audio] = []
        seconds = 0.0
        for sound in sounds:
            gap = np.zeros(round(self._rng.uniform(*_GAP_S) * RATE_HZ), np.float32)
            parts += [at_level(sound, self._rng.uniform(*level_db)), gap]
            seconds += (len(sound) + len(gap)) / RATE_HZ
            if seconds >= _LONG_S:
                for minute in np.array_split(np.concatenate(parts), round(seconds / _LONG_S)):
                    yield minute, len(minute) / RATE_HZ
                parts = []
                seconds = 0.0
        if seconds >= _LONG_S / 2:
            yield np.concatenate(parts), seconds


def _some(files: list[str], most: int) -> list[str]:
    """At most so many of the files, spread evenly."""
    chosen = np.linspace(0, len(files) - 1, min(len(files), most)).round().astype(int)
    return [files[i] for i in chosen]


def _folder(said: _Said) -> str:
    if said.label == OTHER:
        return "near"
    # A phrase may have the name of another folder, such as "hard".
    return f"phrases/{said.label}" if said.is_phrase else said.label


def _trimmed(path: Path) -> Audio:
    """A recording without the quiet at its ends, but with soft consonants there."""
    sound = read_audio(path, sample_rate_hz=RATE_HZ, most=round(LONGEST_S * RATE_HZ))
    start_s, end_s = active_part_s(sound, RATE_HZ)
    start = max(0, round((start_s - _SOFT_S) * RATE_HZ))
    end = round((end_s + _SOFT_S) * RATE_HZ)
    return sound[start:end]


def _pieces(path: Path) -> Iterator[Audio]:
    """A recording, which may have hours, in pieces of some minutes."""
    parts: list[Audio] = []
    for chunk in audio_chunks(path, sample_rate_hz=RATE_HZ):
        parts.append(chunk)
        if sum(map(len, parts)) >= LONGEST_S * RATE_HZ:
            yield np.concatenate(parts)
            parts.clear()
    if sum(map(len, parts)):
        yield np.concatenate(parts)


def _window_s(lengths_s: Iterable[float]) -> float:
    """A window for 95 % of the phrases."""
    needed_s = float(np.quantile(list(lengths_s), 0.95)) + _TAIL_S[1]
    window_s = math.ceil(needed_s / _WINDOW_STEP_S - 1e-6) * _WINDOW_STEP_S
    return round(min(max(window_s, _WINDOW_S[0]), _WINDOW_S[1]), 1)
