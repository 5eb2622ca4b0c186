# SPDX-License-Identifier: Apache-2.0
"""CREMA-D: six acted emotions.

Classes: anger, disgust, fear, happy, neutral, sad (of the acted, not the perceived emotion).
Clips: 7 442 of 1 to 5 s: 91 actors say twelve sentences.
Rate: 16 kHz, 16 bit, mono.
Licence: Open Database License (ODbL) 1.0.
Citation: H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova, R. Verma, "CREMA-D:
    Crowd-sourced Emotional Multimodal Actors Dataset", IEEE Transactions on Affective Computing
    5(4), 2014.
Size: about 600 MB.
Protocols:
    ``speaker-independent`` (default): seven folds of 13 actors in the order of their numbers.
    ``fold`` tests, the next one (after 7 comes 1) validates, the others train. Group = actor. The
    publisher defines no split; these folds are defined here.
    ``random-80-20``: 80:20 at random over all clips, an eighth of the 80 validating, as the
    bilateral raw-audio paper does. It LEAKS: every actor is in all splits.
Download: by hand, with git and git-lfs; there is no archive. ``fetch --url`` accepts your own
    archive of ``AudioWAV``.

Layout: ``AudioWAV/<actor>_<sentence>_<emotion>_<intensity>.wav``, such as 1001_DFA_ANG_XX.wav, or
the WAV files themselves, in ``DATA_DIR`` or in one folder inside it. A partial copy works with
the available actors. A git-lfs pointer in place of a sound counts as a broken file.

A clip is padded or truncated to 4 s (``fit="pad"``); the paper does so at 22.05 kHz.
"""

from pathlib import Path

from m3net_tf.audio.datasets.clips import Clip, DatasetInfo, counted_copy
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.files import find_root
from m3net_tf.audio.datasets.protocols import split_by_protocol
from m3net_tf.audio.datasets.registry import register
from m3net_tf.system.errors import DataError

CLIPS, FIRST_ACTOR, ACTORS, ACTORS_PER_FOLD = 7_442, 1001, 91, 13
CODES = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}

INFO = DatasetInfo(
    name="cremad",
    labels=tuple(CODES.values()),
    sample_rate_hz=16_000,
    clip_s=4.0,
    protocols=("speaker-independent", "random-80-20"),
    licence="ODbL 1.0",
    citation="H. Cao et al., CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset, "
    "IEEE Transactions on Affective Computing 5(4), 2014",
    url="https://github.com/CheyneyComputerScience/CREMA-D",
    clips=CLIPS,
    folds={"speaker-independent": ACTORS // ACTORS_PER_FOLD},
    leaking_protocols=("random-80-20",),
    group="actor",
    fetch_hint="git lfs clone https://github.com/CheyneyComputerScience/CREMA-D",
)


@register(INFO, adjustable=("fit", "sample_rate_hz", "clip_s"))
def build(info: DatasetInfo, root: Path, seed: int) -> AudioDataset:
    """List the clips."""
    root = find_root(root, "AudioWAV")
    folder = root / "AudioWAV" if (root / "AudioWAV").is_dir() else find_root(root, "1*_*.wav")
    clips = [_clip(path) for path in sorted(folder.glob("*.wav"))]
    if not clips:
        raise DataError(
            f"{folder}: has no <actor>_<sentence>_<emotion>_<intensity>.wav; "
            f"point DATA_DIR at the folder with AudioWAV or get it by {INFO.fetch_hint}"
        )
    actors = {clip.group for clip in clips}
    info = counted_copy(info, len(clips), CLIPS, f"{len(actors)} of {ACTORS} actors")
    fold_of = {c.clip_id: (int(c.clip_id[:4]) - FIRST_ACTOR) // ACTORS_PER_FOLD + 1 for c in clips}
    first = FIRST_ACTOR + ((info.fold or 1) - 1) * ACTORS_PER_FOLD
    test_files = folder / f"{first}_* to {first + ACTORS_PER_FOLD - 1}_*"
    info, split = split_by_protocol(info, clips, seed, fold_of, test_files)
    return AudioDataset(info, tuple(split))


def _clip(path: Path) -> Clip:
    """A clip from its file name, provisionally in split ``train``."""
    fields = path.stem.split("_")
    actor = int(fields[0]) if fields[0].isdecimal() else 0
    if (
        len(fields) != 4
        or fields[2] not in CODES
        or not FIRST_ACTOR <= actor < FIRST_ACTOR + ACTORS
    ):
        raise DataError(
            f"{path}: name is not <actor>_<sentence>_<emotion>_<intensity>.wav with an emotion of "
            f"{', '.join(CODES)}; remove the file or get the data again"
        )
    return Clip(path.name, CODES[fields[2]], "train", f"actor {actor}", path)
