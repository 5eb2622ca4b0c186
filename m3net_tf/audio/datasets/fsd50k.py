# SPDX-License-Identifier: Apache-2.0
"""FSD50K: 200 kinds of sound from the AudioSet ontology; a clip may have several.

Classes: 200, in the order of ``vocabulary.csv``; multi-label, scored by mean average precision.
Clips: 51 197 of 0.3 to 30 s: 40 966 for development (36 796 train, 4 170 validate), 10 231 test.
Rate: 44.1 kHz, 16 bit, mono; delivered at 16 kHz (soxr).
Licence: CC BY 4.0 as a whole; each clip has its own Creative Commons licence.
Citation: E. Fonseca, X. Favory, J. Pons, F. Font, X. Serra, "FSD50K: An Open Dataset of
    Human-Labeled Sound Events", IEEE/ACM TASLP 30, 2022.
Size: about 25 GB compressed, 34 GB unpacked.
Protocol: ``official-split``: the column ``split`` of ``dev.csv`` (train, val), ``eval.csv`` tests.
    Group = the Freesound sound; the tables do not name the uploader.
Download: split zip archives from Zenodo, MD5 as published there. Their volumes are read directly,
    without joining them first.

Layout: ``FSD50K.ground_truth/{dev,eval,vocabulary}.csv``, ``FSD50K.dev_audio/*.wav`` and
``FSD50K.eval_audio/*.wav`` in ``DATA_DIR`` or in one folder inside it. A partial copy works with
the available clips.

A clip is padded or truncated to ``clip_s`` (10 s).
"""

import csv
import dataclasses
import io
from pathlib import Path

from m3net_tf.audio.datasets.clips import Archive, Clip, DatasetInfo, counted_copy
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.files import find_root, unknown_entry
from m3net_tf.audio.datasets.registry import register
from m3net_tf.system.errors import DataError
from m3net_tf.system.text_tables import read_table, read_text

CLIPS, CLASSES = 51_197, 200
TABLES = "FSD50K.ground_truth"
FOLDERS = {"dev": "FSD50K.dev_audio", "eval": "FSD50K.eval_audio"}
SPLIT_OF = {"train": "train", "val": "validation"}
SITE = "https://zenodo.org/records/4060432/files/"
CHECKSUMS = {
    "FSD50K.ground_truth.zip": "ca27382c195e37d2269c4c866dd73485",
    "FSD50K.dev_audio.z01": "faa7cf4cc076fc34a44a479a5ed862a3",
    "FSD50K.dev_audio.z02": "8f9b66153e68571164fb1315d00bc7bc",
    "FSD50K.dev_audio.z03": "1196ef47d267a993d30fa98af54b7159",
    "FSD50K.dev_audio.z04": "d088ac4e11ba53daf9f7574c11cccac9",
    "FSD50K.dev_audio.z05": "81356521aa159accd3c35de22da28c7f",
    "FSD50K.dev_audio.zip": "c480d119b8f7a7e32fdb58f3ea4d6c5a",
    "FSD50K.eval_audio.z01": "3090670eaeecc013ca1ff84fe4442aeb",
    "FSD50K.eval_audio.zip": "6fa47636c3a3ad5c7dfeba99f2637982",
}

INFO = DatasetInfo(
    name="fsd50k",
    labels=(),
    sample_rate_hz=16_000,
    clip_s=10.0,
    protocols=("official-split",),
    licence="CC BY 4.0",
    citation="E. Fonseca et al., FSD50K: An Open Dataset of Human-Labeled Sound Events, "
    "IEEE/ACM TASLP 30, 2022",
    url="https://zenodo.org/records/4060432",
    clips=CLIPS,
    group="Freesound sound",
    multi_label=True,
    class_count=CLASSES,
    archives=tuple(
        Archive(f"{SITE}{name}", f"md5:{md5}", unpack=name.endswith(".zip"))
        for name, md5 in CHECKSUMS.items()
    ),
)


@register(INFO, adjustable=("fit", "sample_rate_hz", "clip_s"))
def build(info: DatasetInfo, root: Path, seed: int) -> AudioDataset:
    """List the clips."""
    root = find_root(root, f"{TABLES}/vocabulary.csv")
    info = dataclasses.replace(info, labels=_vocabulary(root))
    clips = []
    for part, folder_name in FOLDERS.items():
        columns = ("fname", "labels", "split") if part == "dev" else ("fname", "labels")
        table, folder = root / TABLES / f"{part}.csv", root / folder_name
        present = {path.stem for path in folder.glob("*.wav")}
        for line, row in enumerate(read_table(table, columns), start=2):
            split = SPLIT_OF.get(row["split"]) if part == "dev" else "test"
            if split is None:
                raise unknown_entry(table, line, f"split {row['split']!r}")
            name = row["fname"]
            labels = tuple(row["labels"].split(","))
            if name in present:
                path = folder / f"{name}.wav"
                clips.append(
                    Clip(f"{part}/{name}", labels[0], split, f"sound {name}", path, labels=labels)
                )
    if not clips:
        raise DataError(
            f"{root}: has none of the listed clips in {', '.join(FOLDERS.values())}; "
            "point DATA_DIR at the folder that contains them or fetch them again"
        )
    info = counted_copy(info, len(clips), CLIPS)
    return AudioDataset(info, tuple(clips))


def _vocabulary(root: Path) -> tuple[str, ...]:
    """Class names in order, from rows of number, name and ontology id without a header."""
    path = root / TABLES / "vocabulary.csv"
    if not path.is_file():
        raise DataError(
            f"{path}: is missing; point DATA_DIR at the folder with {TABLES} or fetch it again"
        )
    text = read_text(path, "fetch the data again")
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    if any(len(row) < 2 for row in rows) or not rows:
        raise DataError(f"{path}: is not a table of number, name and id; fetch the data again")
    return tuple(row[1] for row in rows)
