# SPDX-License-Identifier: Apache-2.0
"""ESC-50: fifty kinds of environmental sounds.

Classes: 50, ten each of animals, nature and water, human non-speech, interior and domestic, and
    urban sounds; ``labels`` are in the order of the table's ``target``.
Clips: 2 000 of 5 s (40 per class) in five folds; the publisher padded short sounds with zeros.
Rate: 44.1 kHz, 16 bit, mono; delivered at 16 kHz (soxr).
Licence: CC BY-NC 3.0.
Citation: K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015.
Size: about 600 MB compressed, 880 MB unpacked.
Protocols:
    ``official-5fold`` (default): ``fold`` tests, the next one (after 5 comes 1) validates, the
    others train. Group = src_file, the Freesound recording; no recording is in two folds.
    ``grouped``: 6:2:2 at random, whole recordings.
    ``paper-random``: 6:2:2 at random over all clips. It LEAKS: clips of one recording are in
    several splits. Never compare it with the official folds.
    ``random-80-20``: the same with 80:20, an eighth of the 80 validating, as the bilateral
    raw-audio paper does.
Download: GitHub's archive of the repository. GitHub regenerates it from time to time, so it has no
    permanent checksum: the first download is trusted and its SHA-256 recorded.

Layout: ``audio/*.wav`` and ``meta/esc50.csv`` in ``DATA_DIR`` or in one folder inside it. A
partial copy works with the available folds. ``clip_s`` below 5 cuts the end of each clip.
"""

from pathlib import Path

from m3net_tf.audio.datasets.clips import Archive, Clip, DatasetInfo, counted_copy
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.files import find_root, unknown_entry
from m3net_tf.audio.datasets.protocols import LEAKING_SHARES, split_by_protocol
from m3net_tf.audio.datasets.registry import register
from m3net_tf.system.errors import DataError
from m3net_tf.system.text_tables import read_table

TABLE, FOLDS, CLIPS_PER_CLASS = "meta/esc50.csv", 5, 40
COLUMNS = ("filename", "fold", "category", "src_file")

INFO = DatasetInfo(
    name="esc50",
    labels=(
        *("dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow"),
        *("rain", "sea_waves", "crackling_fire", "crickets", "chirping_birds", "water_drops"),
        *("wind", "pouring_water", "toilet_flush", "thunderstorm", "crying_baby", "sneezing"),
        *("clapping", "breathing", "coughing", "footsteps", "laughing", "brushing_teeth"),
        *("snoring", "drinking_sipping", "door_wood_knock", "mouse_click", "keyboard_typing"),
        *("door_wood_creaks", "can_opening", "washing_machine", "vacuum_cleaner", "clock_alarm"),
        *("clock_tick", "glass_breaking", "helicopter", "chainsaw", "siren", "car_horn"),
        *("engine", "train", "church_bells", "airplane", "fireworks", "hand_saw"),
    ),
    sample_rate_hz=16_000,
    clip_s=5.0,
    protocols=("official-5fold", "grouped", "paper-random", "random-80-20"),
    licence="CC BY-NC 3.0",
    citation="K. J. Piczak, ESC: Dataset for Environmental Sound Classification, "
    "ACM Multimedia 2015",
    url="https://github.com/karolpiczak/ESC-50",
    clips=50 * CLIPS_PER_CLASS,
    folds={"official-5fold": FOLDS},
    leaking_protocols=tuple(LEAKING_SHARES),
    group="recording (src_file)",
    archives=(Archive("https://github.com/karolpiczak/ESC-50/archive/master.zip"),),
)


@register(INFO, adjustable=("fit", "sample_rate_hz", "clip_s"))
def build(info: DatasetInfo, root: Path, seed: int) -> AudioDataset:
    """List the clips."""
    return list_clips(info, root, seed)


def list_clips(info: DatasetInfo, root: Path, seed: int) -> AudioDataset:
    """List the clips of ``info.labels``, split by ``info.protocol`` and ``info.fold``."""
    root = find_root(root, TABLE)
    total = CLIPS_PER_CLASS * len(info.labels)
    clips, fold_of = _read_metadata(root, info)
    folds = sorted(set(fold_of.values()))
    part = f"folds {', '.join(map(str, folds))} of {FOLDS}" if len(folds) < FOLDS else ""
    info = counted_copy(info, len(clips), total, part)
    test_files = root / f"audio/{info.fold}-*.wav"
    info, split = split_by_protocol(info, clips, seed, fold_of, test_files)
    return AudioDataset(info, tuple(split))


def _read_metadata(root: Path, info: DatasetInfo) -> tuple[list[Clip], dict[str, int]]:
    """The clips of the available folds, and a map of clip name to fold."""
    path = root / TABLE
    rows = read_table(path, COLUMNS)
    present = {p.name for p in (root / "audio").glob("*.wav")}
    folds = {row["fold"] for row in rows if row["filename"] in present}
    if not folds:
        raise DataError(
            f"{root / 'audio'}: has none of the WAV files of {TABLE}; "
            "point DATA_DIR at the unpacked ESC-50 folder or fetch it again"
        )
    clips, fold_of = [], {}
    for line, row in enumerate(rows, start=2):
        name, fold, label = row["filename"], row["fold"], row["category"]
        if label not in INFO.labels or fold not in {str(n) for n in range(1, FOLDS + 1)}:
            raise unknown_entry(path, line, f"class or fold {label!r}/{fold!r}")
        if label not in info.labels or fold not in folds:
            continue
        file_path = root / "audio" / name
        if name not in present:
            raise DataError(f"{file_path}: is in the metadata but missing; fetch the data again")
        clips.append(Clip(name, label, "train", f"src_file {row['src_file']}", file_path))
        fold_of[name] = int(fold)
    return clips, fold_of
