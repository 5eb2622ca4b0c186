# SPDX-License-Identifier: Apache-2.0
"""Speech Commands V2: one-second spoken words (keyword spotting).

Classes: ``classes="12"`` (default): ten words, ``_unknown_`` (all other words) and ``_silence_``;
    ``classes="35"``: all words.
Clips: 105 829 of at most 1 s by 2 618 speakers (official lists: 84 843 train, 9 981 validation,
    11 005 test), and six minutes of background noise.
Rate: 16 kHz, 16 bit, mono; resampled (soxr) if ``sample_rate_hz`` is another one.
Licence: CC BY 4.0.
Citation: P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition",
    arXiv:1804.03209, 2018.
Size: 2.4 GB compressed, 3.4 GB unpacked.
Protocols:
    ``official-split`` (default): ``validation_list.txt`` and ``testing_list.txt`` as published,
    every other clip trains. Group = speaker, the part of the file name before ``_nohash_``.
    ``paper-random``: 6:2:2 at random over all clips, as in several papers. It LEAKS: one
    speaker's clips are in several splits.
Download: one archive; SHA-256 as TensorFlow Datasets and torchaudio publish it.

Layout: ``<word>/<speaker>_nohash_<n>.wav``, the two lists and ``_background_noise_/*.wav`` in
``DATA_DIR`` or in one ``speech_commands*`` folder inside it.

The 12-class task follows section 7 of the paper: ``_unknown_`` and ``_silence_`` each have about a
tenth as many clips as the ten words, in every split. Clips of other words are drawn by a hash of
their names. A split where they are at most 1.5 times that share has already been drawn (the
published test archive, small copies) and is kept whole. Silence clips are excerpts of the noise
files at a random gain: the first 80 % of each file train, the next 10 % validate, the last 10 %
test. They are marked ``synthetic``, so accuracy can also be reported for the listed clips only.
Validation and test are the same for every seed; ``seed`` draws only training clips. The publisher's
separate 12-class test archive has its own 408 unknown and 408 silence clips; figures on it differ
slightly from figures on these clips.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from m3net_tf.audio.datasets.clips import SPLITS, Archive, Clip, DatasetInfo, counted_copy
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.noise import (
    NOISE_FOLDER,
    SILENCE,
    Percentage,
    cut_silence,
    noise_parts,
)
from m3net_tf.audio.datasets.protocols import rank, split_by_protocol
from m3net_tf.audio.datasets.registry import register
from m3net_tf.system.errors import DataError

UNKNOWN = "_unknown_"
WORDS_10 = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
WORDS_35 = (
    *("backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward"),
    *("four", "go", "happy", "house", "learn", "left", "marvin", "nine", "no", "off", "on"),
    *("one", "right", "seven", "sheila", "six", "stop", "three", "tree", "two", "up", "visual"),
    *("wow", "yes", "zero"),
)
TASKS = {"12": (SILENCE, UNKNOWN, *WORDS_10), "35": WORDS_35}
CLIPS = 105_829
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
ALREADY_DRAWN = 1.5

INFO = DatasetInfo(
    name="speech_commands",
    labels=TASKS["12"],
    sample_rate_hz=16_000,
    clip_s=1.0,
    protocols=("official-split", "paper-random"),
    licence="CC BY 4.0",
    citation="P. Warden, Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, "
    "arXiv:1804.03209, 2018",
    url="https://www.tensorflow.org/datasets/catalog/speech_commands",
    clips=CLIPS,
    resample=False,
    leaking_protocols=("paper-random",),
    group="speaker",
    archives=(
        Archive(
            "https://storage.googleapis.com/download.tensorflow.org/data/"
            "speech_commands_v0.02.tar.gz",
            "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
            2_428_923_189,
        ),
    ),
)


@register(INFO, adjustable=("fit", "sample_rate_hz", "clip_s"))
def build(
    info: DatasetInfo,
    root: Path,
    seed: int,
    *,
    classes: Literal["12", "35", 12, 35] = "12",
    unknown_percentage: Annotated[float, Meta(ge=1, le=1000)] = 10.0,
    silence_percentage: Percentage = 10.0,
    resample: bool = False,
) -> AudioDataset:
    """List the clips.

    Options:
        classes: ``"12"`` or ``"35"``.
        unknown_percentage: clips of other words, in percent of the ten words' clips.
        silence_percentage: silence clips, in percent of the ten words' clips; 0 drops the class.
        resample: accept files with another rate (otherwise reading them is an error); always for
            another ``sample_rate_hz``.
    """
    labels = TASKS[str(classes)]
    root = _root(root)
    listed = _listed_clips(root, labels)
    info, parted = split_by_protocol(counted_copy(info, len(listed), CLIPS), listed, seed)
    noise = noise_parts(
        root / NOISE_FOLDER,
        info.sample_rate_hz,
        info.clip_samples,
        remedy=f"delete {root} and run m3net data fetch {INFO.name}",
    )
    if labels == WORDS_35:
        clips = [clip for clip in parted if clip.label in labels]
    else:
        clips = list(_draw_unknown(parted, unknown_percentage, seed))
        if silence_percentage:
            words = Counter(clip.split for clip in clips if clip.label in WORDS_10)
            for split in SPLITS:
                count = round(words[split] * silence_percentage / 100)
                clips += _silence(noise, root, split, count, seed, info.sample_rate_hz)
        else:
            labels = tuple(label for label in labels if label != SILENCE)
    resample = resample or info.sample_rate_hz != INFO.sample_rate_hz
    info = dataclasses.replace(info, labels=labels, resample=resample)
    train_noise = tuple(clip for clip in noise if clip.split == "train")
    return AudioDataset(info, tuple(clips), noise=train_noise)


def _root(folder: Path) -> Path:
    """The folder with the lists: ``folder`` or its only subfolder ``speech_commands*``."""
    subfolders = [p for p in folder.glob("speech_commands*") if (p / LISTS["test"]).is_file()]
    in_subfolder = len(subfolders) == 1 and not (folder / LISTS["test"]).is_file()
    root = subfolders[0] if in_subfolder else folder
    for name in LISTS.values():
        if not (root / name).is_file():
            raise DataError(
                f"{root / name}: list of the official split is missing; "
                "point DATA_DIR at the unpacked speech_commands folder or fetch it again"
            )
    return root


def _read_lists(root: Path) -> dict[str, str]:
    """Map of clip name to split for the listed clips."""
    split_of: dict[str, str] = {}
    for split, list_name in LISTS.items():
        for name in (root / list_name).read_text("utf-8", errors="replace").split():
            if split_of.setdefault(name, split) != split:
                raise DataError(
                    f"{root / list_name}: {name} is also in {LISTS[split_of[name]]}; "
                    "fetch the data again"
                )
    return split_of


def _listed_clips(root: Path, labels: tuple[str, ...]) -> list[Clip]:
    """Every clip with its official split, sorted by name; no listed clip may be missing."""
    split_of = _read_lists(root)
    words = dict(_scan(root, labels))
    for name, split in split_of.items():
        if name not in words:
            raise DataError(
                f"{root / name}: is listed in {LISTS[split]} but missing; fetch the data again"
            )
    return [
        Clip(name, word, split_of.get(name, "train"), Path(name).stem.split("_nohash_")[0], path)
        for name, (word, path) in sorted(words.items())
    ]


def _scan(root: Path, labels: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, Path]]]:
    """Yield clip name and (word, path) of every clip; each word of the task needs clips."""
    words = {entry.name for entry in os.scandir(root) if entry.is_dir()}
    for word in sorted(words | {label for label in labels if not label.startswith("_")}):
        if word.startswith(("_", ".")):
            continue
        folder = root / word
        files = [e.name for e in os.scandir(folder)] if word in words else []
        names = [name for name in files if name.endswith(".wav") and "_nohash_" in name]
        if not names and word in labels:
            raise DataError(f"{folder}: class has no WAV file; fetch the data again")
        yield from ((f"{word}/{name}", (word, folder / name)) for name in names)


def _draw_unknown(clips: Sequence[Clip], percentage: float, seed: int) -> Iterator[Clip]:
    """The ten words' clips, and per split a share of the others relabelled as unknown."""
    for split in SPLITS:
        part = [clip for clip in clips if clip.split == split]
        others = [clip for clip in part if clip.label not in WORDS_10]
        count = round((len(part) - len(others)) * percentage / 100)
        if len(others) > ALREADY_DRAWN * count:
            salt = seed if split == "train" else 0
            others = sorted(others, key=lambda clip: rank((salt, clip.clip_id)))[:count]
        kept = {clip.clip_id for clip in others}
        for clip in part:
            if clip.label in WORDS_10:
                yield clip
            elif clip.clip_id in kept:
                yield dataclasses.replace(clip, label=UNKNOWN)


def _silence(
    noise: list[Clip], root: Path, split: str, count: int, seed: int, sample_rate_hz: int
) -> Iterator[Clip]:
    """Cut ``count`` one-second clips from a split's noise; held-out ones ignore the seed."""
    if not any(clip.split == split for clip in noise):
        raise DataError(
            f"{root / NOISE_FOLDER}: class has no WAV file; "
            "fetch the data again or set silence_percentage to 0"
        )
    salt = seed if split == "train" else 0
    yield from cut_silence(noise, split, count, salt, sample_rate_hz, INFO.clip_s)
