# SPDX-License-Identifier: Apache-2.0
"""Normal only: recordings of what is normal, to find what is not; MIMII and DCASE task 2, too.

Classes: normal, and for the test anomaly.
Clips: every sound file that libsndfile reads below the folder.
Rate: any; delivered mono at ``sample_rate_hz`` (16 kHz, soxr) in ``clip_s`` (10 s).
Licence: yours; MIMII's is CC BY-SA 4.0, and DCASE names one for each of its sets.
Citation: H. Purohit et al., "MIMII Dataset: Sound Dataset for Malfunctioning Industrial Machine
    Investigation and Inspection", DCASE 2019; Y. Koizumi et al., "Description and Discussion on
    DCASE2020 Challenge Task 2", DCASE 2020.
Size: yours.
Protocols:
    ``normal-only`` (default): normal recordings train, but a fifth of them, which set the
    threshold. Of MIMII, as in its paper, the abnormal recordings test with as many normal ones (at
    most half of them); of DCASE its folder ``test`` does. Sounds in other layouts are all normal,
    without a test. Group: the match of the first parentheses of the regular expression
    ``group_pattern`` in a file's path, else the file.

Download: MIMII's archives are at https://zenodo.org/records/3384388, DCASE's at the addresses that
https://dcase.community/challenge2020 and the pages of later years name for task 2.

Layout: ``DATA_DIR`` is the folder of one machine. MIMII: ``<machine>/<id>``, with the folders
``normal`` and ``abnormal``. DCASE task 2: ``<machine>``, with ``train/*normal_*``,
``test/*normal_*`` and ``test/*anomaly_*``; ``only=id_00`` takes one of its machines. Any other:
normal sounds at any depth.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from m3net_tf.audio.datasets.clips import Clip, DatasetInfo
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.files import SUFFIXES, files_below
from m3net_tf.audio.datasets.folder import grouped
from m3net_tf.audio.datasets.protocols import (
    HELD_OUT_SHARE,
    held_out_groups,
    hold_out_validation,
)
from m3net_tf.audio.datasets.registry import register
from m3net_tf.system.errors import DataError
from m3net_tf.system.words import in_words

NORMAL, ANOMALY = "normal", "anomaly"
INFO = DatasetInfo(
    name="normal_only",
    labels=(NORMAL, ANOMALY),
    untrained=(ANOMALY,),
    sample_rate_hz=16_000,
    clip_s=10.0,
    protocols=("normal-only",),
    licence="yours",
    citation="none: your own sounds",
    url="your own folder",
    group="recording",
    fetch_hint="put recordings of normal sound into one folder",
)
_STATE = re.compile(r"(?:^|_)(normal|anomaly)_")  # in a name of DCASE
_MOST_TESTED = 0.5  # of the normal recordings


@register(INFO, adjustable=("fit", "sample_rate_hz", "clip_s"))
def build(
    info: DatasetInfo, root: Path, seed: int, *, only: str = "", group_pattern: str = ""
) -> AudioDataset:
    """List the clips.

    Options:
        only: text in the paths of the files that are taken, such as ``id_00``.
        group_pattern: regular expression with one pair of parentheses, searched in each path.
    """
    names = [str(path.relative_to(root)) for path in files_below(root, SUFFIXES)]
    names = [name for name in names if only in name]
    if not names:
        wanted = f" with {only!r} in their paths" if only else ""
        raise DataError(f"{root}: has no sound files{wanted}: put recordings of normal sound there")
    clips = [
        Clip(name, label, split, group=name, path=root / name)
        for name in names
        for label, split in [_dcase(name) or _mimii(name) or (NORMAL, "train")]
    ]
    _require_one_machine(clips, root)
    if group_pattern:
        clips, _ = grouped(clips, group_pattern)
    if any(clip.label == ANOMALY for clip in clips) and not _tests_normal(clips):
        clips = _with_normal_test(clips, seed)
    clips = hold_out_validation(clips, seed, HELD_OUT_SHARE)
    if not any(clip.split == "validation" for clip in clips):
        raise DataError(
            f"{root}: has only one normal recording: the threshold needs others, which are not "
            "learnt; add recordings from other times, ten or more"
        )
    return AudioDataset(info, tuple(clips))


def _dcase(name: str) -> tuple[str, str] | None:
    """Label and split of a file of DCASE task 2."""
    path = Path(name)
    state = _STATE.search(path.name)
    if not state or path.parent.name not in ("train", "test"):
        return None
    return state[1], path.parent.name


def _mimii(name: str) -> tuple[str, str] | None:
    """Label and split of a file of MIMII."""
    return (ANOMALY, "test") if Path(name).parent.name == "abnormal" else None


def _require_one_machine(clips: Sequence[Clip], root: Path) -> None:
    """Refuse a folder of several machines: each has its own normal sound."""
    tested = {Path(clip.clip_id).parent.parent for clip in clips if clip.label == ANOMALY}
    if len(tested) > 1:
        names = sorted(map(str, tested))
        shown = names[:3] + [f"{len(names) - 3} more"] * (len(names) > 3)
        raise DataError(f"{root}: has several machines, {in_words(shown)}: name the folder of one")


def _tests_normal(clips: Sequence[Clip]) -> bool:
    return any((clip.label, clip.split) == (NORMAL, "test") for clip in clips)


def _with_normal_test(clips: Sequence[Clip], seed: int) -> list[Clip]:
    """Let as many normal clips test as there are anomalies, whole groups of them."""
    normal = [clip for clip in clips if clip.label == NORMAL]
    share = min((len(clips) - len(normal)) / max(1, len(normal)), _MOST_TESTED)
    groups = held_out_groups([c.group for c in normal], [c.label for c in normal], share, seed)
    return [
        dataclasses.replace(c, split="test") if c.label == NORMAL and c.group in groups else c
        for c in clips
    ]
