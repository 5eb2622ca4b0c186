# SPDX-License-Identifier: Apache-2.0
"""BioDCASE-Tiny 2025: whether a yellowhammer sings, for a microcontroller.

Classes: other (the folder ``Negatives``: other birds and background), yellowhammer.
Clips: 4 718 of 2 s; songs of eight birds in ``Training_Set``, of two others in ``Validation_Set``,
    each played at distances up to 200 m in a forest and on grassland.
Rate: 16 kHz, 16 bit, mono.
Licence: CC BY 4.0.
Citation: I. Morandi, P. Linhart, M. Kwak, T. Petruskova, "BioDCASE 2025 Task 3: Bioacoustics for
    Tiny Hardware Development Set", Zenodo, 2025.
Size: 225 MB compressed, about 300 MB unpacked.
Protocol: ``official-split``: ``Training_Set`` trains, but for about a fifth of its groups, which
    validates; ``Validation_Set`` tests, because the task keeps its own test clips. Group = the
    song, from names such as ``YH_063_grassland_D.wav``; other clips are groups of their own. The
    publisher keeps the birds of both folders apart.
Download: one archive from Zenodo. No checksum is known here: the first download is trusted and its
    SHA-256 recorded.

Layout: ``{Training_Set,Validation_Set}/{Negatives,Yellowhammer}/*.wav`` in ``DATA_DIR`` or in one
folder inside it. A partial copy works with the available clips.
"""

import dataclasses
from pathlib import Path

from m3net_tf.audio.datasets.biodcase2026 import list_clips
from m3net_tf.audio.datasets.clips import Archive, Clip, DatasetInfo, counted_copy
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.protocols import HELD_OUT_SHARE, hold_out_validation
from m3net_tf.audio.datasets.registry import register
from m3net_tf.system.errors import DataError

FOLDERS = {"Training_Set": "train", "Validation_Set": "test"}
SONG = "yellowhammer"

INFO = DatasetInfo(
    name="biodcase2025",
    labels=("other", SONG),
    sample_rate_hz=16_000,
    clip_s=2.0,
    protocols=("official-split",),
    licence="CC BY 4.0",
    citation="I. Morandi, P. Linhart, M. Kwak, T. Petruskova, BioDCASE 2025 Task 3: Bioacoustics "
    "for Tiny Hardware Development Set, Zenodo, 2025",
    url="https://zenodo.org/records/15228365",
    clips=4_718,
    group="song",
    group_exceptions="clips without a song are groups of their own",
    notes=("the task's Validation_Set tests, and about a fifth of Training_Set validates",),
    archives=(
        Archive(
            "https://zenodo.org/records/15228365/files/Development_Set.zip",
            size_bytes=224_706_547,
        ),
    ),
)


@register(INFO, adjustable=("sample_rate_hz", "clip_s"))
def build(info: DatasetInfo, root: Path, seed: int) -> AudioDataset:
    """List the clips."""
    labels = {"Negatives": "other", "Yellowhammer": SONG}
    clips = [_grouped(clip) for clip in list_clips(info, root, FOLDERS, labels)]
    info = counted_copy(info, len(clips), info.clips)
    return AudioDataset(info, tuple(hold_out_validation(clips, seed, HELD_OUT_SHARE)))


def _grouped(clip: Clip) -> Clip:
    """A clip with its song as group; the number of a song counts within its folder."""
    if clip.label != SONG:
        return clip
    folder, _, name = clip.clip_id.split("/")
    fields = name.split("_")
    if len(fields) != 4 or fields[0] != "YH" or not fields[1].isdecimal():
        raise DataError(
            f"{clip.path}: name is not YH_<song>_<place>_<distance>.wav; "
            "remove the file or fetch the data again"
        )
    return dataclasses.replace(clip, group=f"{folder}, song {fields[1]}")
