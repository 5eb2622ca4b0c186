# SPDX-License-Identifier: Apache-2.0
"""UrbanSound8K: ten kinds of city sound.

Classes: air_conditioner, car_horn, children_playing, dog_bark, drilling, engine_idling, gun_shot,
    jackhammer, siren, street_music.
Clips: 8 732 slices of at most 4 s out of some 1 300 recordings, in ten folds.
Rate: as uploaded, 8 to 192 kHz, mono and stereo; delivered mono at 16 kHz (soxr).
Licence: CC BY-NC 3.0.
Citation: J. Salamon, C. Jacoby, J. P. Bello, "A Dataset and Taxonomy for Urban Sound Research",
    ACM Multimedia 2014.
Size: about 6 GB compressed, 7 GB unpacked.
Protocols:
    ``official-10fold`` (default): ``fold`` tests, the next one (after 10 comes 1) validates, the
    others train. Group = fsID, the recording; no recording is in two folds.
    ``paper-random``: 6:2:2 at random over all slices, as several papers do. It LEAKS: slices of
    one recording land on both sides, which lifts accuracy by more than ten points. Never compare
    it with the official folds.

Layout: ``audio/fold<n>/*.wav`` and ``metadata/UrbanSound8K.csv`` in ``DATA_DIR`` or in
``DATA_DIR/UrbanSound8K``. A partial copy works with the folds whose folders exist; the protocol's
name then lists them. With fewer than three folds none is left to validate on, so about a fifth of
the training recordings, whole ones and class by class, validates instead.

A slice shorter than 4 s is looped (``fit="loop"``; ``fit="pad"`` appends zeros), a longer one
keeps its first 4 s.
"""

import csv
import dataclasses
from pathlib import Path

from m3net_tf.datasets.audio import FIT_RULES, FitRule
from m3net_tf.datasets.base import (
    AudioDataset,
    Clip,
    DatasetInfo,
    check_number,
    held_out_groups,
    rank,
    register,
)
from m3net_tf.errors import ConfigError, DataError

CLIPS, FOLDS = 8_732, 10
COLUMNS = ("slice_file_name", "fsID", "fold", "class")
VALIDATION_SHARE = 0.2
RANDOM_SHARES = (0.6, 0.8)  # train up to here, validation up to here, the rest tests

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
    protocols=("official-10fold", "paper-random"),
    licence="CC BY-NC 3.0",
    citation="J. Salamon, C. Jacoby, J. P. Bello, A Dataset and Taxonomy for Urban Sound "
    "Research, ACM Multimedia 2014",
    url="https://urbansounddataset.weebly.com/urbansound8k.html",
    size="8 732 clips of up to 4 s, about 6 GB compressed",
    folds=FOLDS,
    leaking_protocols=("paper-random",),
    fit="loop",
)


@register(INFO)
def build(
    root: Path,
    *,
    protocol: str,
    fold: int | None,
    seed: int,
    fit: FitRule = "loop",
    sample_rate_hz: int = 16_000,
) -> AudioDataset:
    """List the clips.

    Options:
        fit: ``loop``, ``pad`` or ``crop`` to 4 s.
        sample_rate_hz: rate of delivery.
    """
    if fit not in FIT_RULES:
        raise ConfigError(f"us8k: fit {fit!r} is unknown; choose from {', '.join(FIT_RULES)}")
    check_number("us8k", "sample_rate_hz", sample_rate_hz, 4_000, 192_000)
    root = root / "UrbanSound8K" if (root / "UrbanSound8K").is_dir() else root
    folds = [n for n in range(1, FOLDS + 1) if (root / f"audio/fold{n}").is_dir()]
    if not folds:
        raise DataError(
            f"{root / 'audio'}: has none of the folders fold1 to fold10; "
            "point DATA_DIR at the unpacked UrbanSound8K folder or fetch it again"
        )
    clips = _read_metadata(root, folds)
    info = dataclasses.replace(
        INFO, protocol=protocol, fold=fold, fit=fit, sample_rate_hz=sample_rate_hz
    )
    notes = []
    if len(clips) != CLIPS:
        part = f"folds {', '.join(map(str, folds))} of {FOLDS}"
        info = dataclasses.replace(info, protocol=f"{protocol} ({part})")
        notes.append(f"partial copy: {part}, {len(clips)} of {CLIPS} clips")
    if info.leaking:
        order = sorted(clips, key=lambda clip: rank((seed, clip.clip_id)))
        ends = [round(share * len(clips)) for share in RANDOM_SHARES]
        of = {
            clip.clip_id: ("train", "validation", "test")[sum(i >= end for end in ends)]
            for i, clip in enumerate(order)
        }
        notes.append("leaks: slices of one recording are on both sides of this random split")
    else:
        of = _fold_splits(root, clips, folds, fold or 1, seed, notes)
    clips = [dataclasses.replace(clip, split=of[clip.clip_id]) for clip in clips]
    return AudioDataset(dataclasses.replace(info, notes=tuple(notes)), tuple(clips))


def _fold_splits(
    root: Path, clips: list[Clip], folds: list[int], fold: int, seed: int, notes: list[str]
) -> dict[str, str]:
    """Clip id -> split when ``fold`` tests."""
    if fold not in folds:
        raise DataError(
            f"{root / f'audio/fold{fold}'}: folder of the test fold is missing; "
            f"fetch it or choose from the folds {', '.join(map(str, folds))}"
        )
    if len(folds) == 1:
        raise DataError(f"{root / 'audio'}: only fold {fold} is there; fetch one more to train on")
    fold_of = {clip.clip_id: int(clip.clip_id.split("/")[0].removeprefix("fold")) for clip in clips}
    if len(folds) > 2:
        following = folds[(folds.index(fold) + 1) % len(folds)]
        name = {fold: "test", following: "validation"}
        return {clip_id: name.get(n, "train") for clip_id, n in fold_of.items()}
    rest = [clip for clip in clips if fold_of[clip.clip_id] != fold]
    held = held_out_groups([c.group for c in rest], [c.label for c in rest], VALIDATION_SHARE, seed)
    notes.append("validation: about a fifth of the training fold's recordings")
    of = {clip.clip_id: "test" for clip in clips}
    return of | {c.clip_id: "validation" if c.group in held else "train" for c in rest}


def _read_metadata(root: Path, folds: list[int]) -> list[Clip]:
    """The clips of the folds that are there, all in split ``train`` for now."""
    path = root / "metadata/UrbanSound8K.csv"
    if not path.is_file():
        raise DataError(f"{path}: metadata is missing; fetch the data again")
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            table = csv.DictReader(file)
            columns, rows = table.fieldnames or (), list(table)
    except csv.Error as error:
        raise DataError(f"{path}: is not a CSV table; fetch the data again") from error
    for column in COLUMNS:
        if column not in columns:
            raise DataError(f"{path}: has no column {column!r}; fetch the data again")
    present = {f"{n}/{p.name}" for n in folds for p in (root / f"audio/fold{n}").iterdir()}
    clips = []
    for line, row in enumerate(rows, start=2):
        name, fold, label = row["slice_file_name"], row["fold"], row["class"]
        if label not in INFO.labels or fold not in {str(n) for n in range(1, FOLDS + 1)}:
            raise DataError(
                f"{path}: line {line} has the unknown class or fold {label!r}/{fold!r}; "
                "fetch the data again"
            )
        if int(fold) not in folds:
            continue
        file_path = root / f"audio/fold{fold}" / str(name)
        if f"{fold}/{name}" not in present:
            raise DataError(f"{file_path}: is in the metadata but missing; fetch the data again")
        clips.append(Clip(f"fold{fold}/{name}", label, "train", f"fsID {row['fsID']}", file_path))
    return clips
