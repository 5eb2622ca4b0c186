# SPDX-License-Identifier: Apache-2.0
"""UrbanSound8K: ten kinds of city sounds.

Classes: air_conditioner, car_horn, children_playing, dog_bark, drilling, engine_idling, gun_shot,
    jackhammer, siren, street_music.
Clips: 8 732 slices of at most 4 s from some 1 300 recordings, in ten folds.
Rate: as uploaded, 8 to 192 kHz, mono and stereo; delivered mono at 16 kHz (soxr).
Licence: CC BY-NC 3.0.
Citation: J. Salamon, C. Jacoby, J. P. Bello, "A Dataset and Taxonomy for Urban Sound Research",
    ACM Multimedia 2014.
Size: about 6 GB compressed, 7 GB unpacked.
Protocols:
    ``official-10fold`` (default): ``fold`` tests, the next one (after 10 comes 1) validates, the
    others train. Group = fsID, the recording; no recording is in two folds.
    ``grouped``: 6:2:2 at random, whole recordings.
    ``paper-random``: 6:2:2 at random over all slices, as in several papers. It LEAKS: slices of
    one recording are in several splits, which raises accuracy by more than ten points. Never
    compare it with the official folds.
    ``random-80-20``: the same with 80:20, an eighth of the 80 validating, as the bilateral
    raw-audio paper does.

Download: one archive from Zenodo, MD5 as published there.

Layout: ``audio/fold<n>/*.wav`` and ``metadata/UrbanSound8K.csv`` in ``DATA_DIR`` or in
``DATA_DIR/UrbanSound8K``. A partial copy works with the available folds, which the protocol's name
then lists. With only two folds none is left for validation, so whole recordings with about a fifth
of the training slices of each class validate instead.

A slice shorter than 4 s is looped (``fit="loop"``; ``fit="pad"`` appends zeros); a longer one
keeps its first 4 s.
"""

from pathlib import Path

from m3net_tf.audio.datasets.clips import Archive, Clip, DatasetInfo, counted_copy
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.files import unknown_entry
from m3net_tf.audio.datasets.protocols import LEAKING_SHARES, split_by_protocol
from m3net_tf.audio.datasets.registry import register
from m3net_tf.system.errors import DataError
from m3net_tf.system.text_tables import read_table

CLIPS, FOLDS = 8_732, 10
COLUMNS = ("slice_file_name", "fsID", "fold", "class")

INFO = DatasetInfo(
    name="us8k",
    labels=(
        "air_conditioner",
        "car_horn",
        "children_playing",
        "dog_bark",
        "drilling",
        "engine_idling",
        "gun_shot",
        "jackhammer",
        "siren",
        "street_music",
    ),
    sample_rate_hz=16_000,
    clip_s=4.0,
    protocols=("official-10fold", "grouped", "paper-random", "random-80-20"),
    licence="CC BY-NC 3.0",
    citation="J. Salamon, C. Jacoby, J. P. Bello, A Dataset and Taxonomy for Urban Sound "
    "Research, ACM Multimedia 2014",
    url="https://urbansounddataset.weebly.com/urbansound8k.html",
    clips=CLIPS,
    folds={"official-10fold": FOLDS},
    leaking_protocols=tuple(LEAKING_SHARES),
    fit="loop",
    group="recording (fsID)",
    archives=(
        Archive(
            "https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz",
            "md5:9aa69802bbf37fb986f71ec1483a196e",
        ),
    ),
)


@register(INFO, adjustable=("fit", "sample_rate_hz"))
def build(info: DatasetInfo, root: Path, seed: int) -> AudioDataset:
    """List the clips."""
    root = root / "UrbanSound8K" if (root / "UrbanSound8K").is_dir() else root
    folds = [n for n in range(1, FOLDS + 1) if (root / f"audio/fold{n}").is_dir()]
    if not folds:
        raise DataError(
            f"{root / 'audio'}: has none of the folders fold1 to fold10; "
            "point DATA_DIR at the unpacked UrbanSound8K folder or fetch it again"
        )
    clips = _read_metadata(root, folds)
    part = f"folds {', '.join(map(str, folds))} of {FOLDS}"
    info = counted_copy(info, len(clips), CLIPS, part)
    fold_of = {c.clip_id: int(c.clip_id.split("/")[0].removeprefix("fold")) for c in clips}
    test_folder = root / f"audio/fold{info.fold}"
    info, split = split_by_protocol(info, clips, seed, fold_of, test_folder, unit="slices")
    return AudioDataset(info, tuple(split))


def _read_metadata(root: Path, folds: list[int]) -> list[Clip]:
    """The clips of the available folds, provisionally in split ``train``."""
    path = root / "metadata/UrbanSound8K.csv"
    rows = read_table(path, COLUMNS)
    present = {f"{n}/{p.name}" for n in folds for p in (root / f"audio/fold{n}").iterdir()}
    clips = []
    for line, row in enumerate(rows, start=2):
        name, fold, label = row["slice_file_name"], row["fold"], row["class"]
        if label not in INFO.labels or fold not in {str(n) for n in range(1, FOLDS + 1)}:
            raise unknown_entry(path, line, f"class or fold {label!r}/{fold!r}")
        if int(fold) not in folds:
            continue
        file_path = root / f"audio/fold{fold}" / str(name)
        if f"{fold}/{name}" not in present:
            raise DataError(f"{file_path}: is in the metadata but missing; fetch the data again")
        clips.append(Clip(f"fold{fold}/{name}", label, "train", f"fsID {row['fsID']}", file_path))
    return clips
