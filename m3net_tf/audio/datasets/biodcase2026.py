# SPDX-License-Identifier: Apache-2.0
"""BioDCASE-Tiny 2026: ten birds and background, for a microcontroller.

Classes: Background, Common Chaffinch, Common Chiffchaff, Eurasian Blackbird, Eurasian Blackcap,
    Eurasian Blue Tit, Great Spotted Woodpecker, Great Tit, Mallard, Song Thrush, Tawny Owl; in the
    order of the task's ``label_dict.yaml``.
Clips: 2 750 of 3 s, 200 of each class in ``Train`` and 50 in ``Validation``.
Rate: 24 kHz, 16 bit, mono.
Licence: CC BY-SA 4.0.
Citation: S. Kahl, R. Martin, "BioDCASE 2026 Task 3: Bioacoustics for Tiny Hardware Development
    Set", Zenodo, 2026.
Size: about 400 MB unpacked.
Protocol: ``official-split``: ``Train`` trains, but for the last fifth of each class, which
    validates; ``Validation`` tests, because the task keeps its own test clips. Groups unknown: the
    file names do not say which clips are of one recording. Neighbours may be, so the fifth is a
    run of the numbered files.
Download: one archive from Zenodo. No checksum is known here: the first download is trusted and its
    SHA-256 recorded.

Layout: ``{Train,Validation}/<class>/BioDCASE2026_TinyML_<split>_<number>_<class>.wav`` in
``DATA_DIR`` or in one folder inside it. Words of a class are separated by spaces or underscores. A
partial copy works with the available clips.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from m3net_tf.audio.datasets.clips import Archive, Clip, DatasetInfo, counted_copy
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.files import files_below, find_root
from m3net_tf.audio.datasets.protocols import HELD_OUT_SHARE, divide_in_order
from m3net_tf.audio.datasets.registry import register
from m3net_tf.system.errors import DataError

FOLDERS = {"Train": "train", "Validation": "test"}

INFO = DatasetInfo(
    name="biodcase2026",
    labels=(
        *("Background", "Common Chaffinch", "Common Chiffchaff", "Eurasian Blackbird"),
        *("Eurasian Blackcap", "Eurasian Blue Tit", "Great Spotted Woodpecker", "Great Tit"),
        *("Mallard", "Song Thrush", "Tawny Owl"),
    ),
    sample_rate_hz=24_000,
    clip_s=3.0,
    protocols=("official-split",),
    licence="CC BY-SA 4.0",
    citation="S. Kahl, R. Martin, BioDCASE 2026 Task 3: Bioacoustics for Tiny Hardware "
    "Development Set, Zenodo, 2026",
    url="https://zenodo.org/records/19453065",
    clips=2_750,
    group="recording",
    groups_known=False,
    notes=("the task's Validation tests, and the last fifth of each class of Train validates",),
    archives=(
        Archive(
            "https://zenodo.org/records/19453065/files/BioDCASE2026_TinyML_Development_Dataset.zip"
        ),
    ),
)


@register(INFO, adjustable=("sample_rate_hz", "clip_s"))
def build(info: DatasetInfo, root: Path, seed: int) -> AudioDataset:
    """List the clips."""
    clips = list_clips(info, root, FOLDERS, {label: label for label in info.labels})
    split_of = {clip.path: clip.split for clip in clips}
    shares = {"train": 1 - HELD_OUT_SHARE, "validation": HELD_OUT_SHARE}
    for label in info.labels:
        files = [c.path for c in clips if c.path and c.label == label and c.split == "train"]
        split_of |= dict.fromkeys(divide_in_order(files, shares)["validation"], "validation")
    split = [dataclasses.replace(clip, split=split_of[clip.path]) for clip in clips]
    return AudioDataset(counted_copy(info, len(split), info.clips), tuple(split))


def list_clips(
    info: DatasetInfo, root: Path, folders: Mapping[str, str], labels: Mapping[str, str]
) -> list[Clip]:
    """The clips below the folders of the splits, in the order of their names.

    Args:
        folders: split of each folder.
        labels: label of each class folder; underscores of a folder's name count as spaces.

    Raises:
        DataError: there is no clip, or a folder of another name has one.
    """
    root = find_root(root, f"{next(iter(folders))}/*/*.wav")
    clips = []
    for folder, split in folders.items():
        for path in files_below(root / folder, {".wav"}):
            name = path.parent.name.replace("_", " ")
            if name not in labels or path.parent.parent != root / folder:
                raise DataError(
                    f"{path}: its folder is not one of {', '.join(labels)} in {folder}; "
                    "move or remove it, or fetch the data again"
                )
            clip_id = f"{folder}/{name}/{path.name}"
            clips.append(Clip(clip_id, labels[name], split, clip_id, path))
    if not clips:
        raise DataError(
            f"{root}: has no {' or '.join(folders)} with <class>/*.wav; point DATA_DIR at the "
            f"folder that contains them or get the data from {info.url}"
        )
    return clips
