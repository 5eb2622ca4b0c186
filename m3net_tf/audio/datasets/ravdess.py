# SPDX-License-Identifier: Apache-2.0
"""RAVDESS, speech: eight acted emotions.

Classes: neutral, calm, happy, sad, angry, fearful, disgust, surprised.
Clips: 1 440 of 3 to 5 s: 24 actors (odd numbers male, even female) say two sentences twice, at
    two intensities (neutral at one).
Rate: 48 kHz, 16 bit, mono (a few stereo); delivered mono at 16 kHz (soxr).
Licence: CC BY-NC-SA 4.0.
Citation: S. R. Livingstone, F. A. Russo, "The Ryerson Audio-Visual Database of Emotional Speech
    and Song (RAVDESS)", PLoS ONE 13(5): e0196391, 2018.
Size: 208 MB compressed, about 510 MB unpacked.
Protocols:
    ``speaker-independent`` (default): six folds of four actors in the order of their numbers, two
    male and two female. ``fold`` tests, the next one (after 6 comes 1) validates, the others
    train. Group = actor. The publisher defines no split; these folds are defined here.
    ``leave-two-actors-out``: twelve folds of two actors, a man and a woman, who test; the next
    available actor validates, the others train. For copies with few actors. Also defined here.
    ``random-80-20``: 80:20 at random over all clips, an eighth of the 80 validating, as the
    bilateral raw-audio paper does. It LEAKS: every actor is in all splits.
Download: one archive from Zenodo (audio only, speech), MD5 as published there.

Layout: ``Actor_<nn>/03-01-<emotion>-<intensity>-<sentence>-<repetition>-<actor>.wav`` in
``DATA_DIR`` or in one folder inside it; songs (``03-02-``) are left out. A partial copy works
with the available actors.

A clip is padded or truncated to 4 s (``fit="pad"``); the paper does so at 22.05 kHz.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from m3net_tf.audio.datasets.clips import Archive, Clip, DatasetInfo, counted_copy
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.files import find_root
from m3net_tf.audio.datasets.protocols import split_by_protocol
from m3net_tf.audio.datasets.registry import register
from m3net_tf.system.errors import DataError

CLIPS, ACTORS = 1_440, 24
ACTORS_PER_FOLD = {"speaker-independent": 4, "leave-two-actors-out": 2}

INFO = DatasetInfo(
    name="ravdess",
    labels=("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"),
    sample_rate_hz=16_000,
    clip_s=4.0,
    protocols=("speaker-independent", "leave-two-actors-out", "random-80-20"),
    licence="CC BY-NC-SA 4.0",
    citation="S. R. Livingstone, F. A. Russo, The Ryerson Audio-Visual Database of Emotional "
    "Speech and Song (RAVDESS), PLoS ONE 13(5): e0196391, 2018",
    url="https://zenodo.org/records/1188976",
    clips=CLIPS,
    folds={protocol: ACTORS // actors for protocol, actors in ACTORS_PER_FOLD.items()},
    leaking_protocols=("random-80-20",),
    group="actor",
    archives=(
        Archive(
            "https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip",
            "md5:bc696df654c87fed845eb13823edef8a",
            208_468_073,
        ),
    ),
)


@register(INFO, adjustable=("fit", "sample_rate_hz", "clip_s"))
def build(info: DatasetInfo, root: Path, seed: int) -> AudioDataset:
    """List the clips."""
    root = find_root(root, "Actor_*/03-01-*.wav")
    clips = [_clip(path) for path in sorted(root.glob("Actor_*/03-01-*.wav"))]
    if not clips:
        raise DataError(
            f"{root}: has no Actor_<nn>/03-01-*.wav; "
            "point DATA_DIR at the unpacked RAVDESS speech folder or fetch it again"
        )
    present = {clip.group for clip in clips}
    info = counted_copy(info, len(clips), CLIPS, f"{len(present)} of {ACTORS} actors")
    actors = ACTORS_PER_FOLD.get(info.protocol_name, 1)
    fold_of = {c.clip_id: (int(c.group[-2:]) - 1) // actors + 1 for c in clips}
    last = (info.fold or 1) * actors
    test_files = root / f"Actor_{last - actors + 1:02d} to _{last:02d}"
    info, split = split_by_protocol(info, clips, seed, fold_of, test_files)
    if info.protocol_name == "leave-two-actors-out":
        split = _one_validates(split)
    return AudioDataset(info, tuple(split))


def _one_validates(clips: Sequence[Clip]) -> list[Clip]:
    """Move the second actor of the validation fold to training."""
    first = min(clip.group for clip in clips if clip.split == "validation")
    return [
        dataclasses.replace(clip, split="train")
        if clip.split == "validation" and clip.group != first
        else clip
        for clip in clips
    ]


def _clip(path: Path) -> Clip:
    """A clip from its file name, provisionally in split ``train``."""
    fields = path.stem.split("-")
    numbers = [int(field) if field.isdecimal() else 0 for field in fields]
    if (
        len(numbers) != 7
        or not 1 <= numbers[2] <= len(INFO.labels)
        or not 1 <= numbers[6] <= ACTORS
        or path.parent.name != f"Actor_{numbers[6]:02d}"
    ):
        raise DataError(
            f"{path}: name is not 03-01-<emotion>-<intensity>-<sentence>-<repetition>-<actor>.wav "
            "of its folder's actor; remove the file or fetch the data again"
        )
    label = INFO.labels[numbers[2] - 1]
    return Clip(f"{path.parent.name}/{path.name}", label, "train", f"actor {fields[6]}", path)
