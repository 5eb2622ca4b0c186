# SPDX-License-Identifier: Apache-2.0
"""NSynth: single notes of 1 006 instruments.

Classes: ``task="instrument"`` (default): eleven families, bass, brass, flute, guitar, keyboard,
    mallet, organ, reed, string, synth_lead, vocal (synth_lead has training notes only);
    ``task="pitch"``: the MIDI pitches of the training notes.
Clips: 305 979 of 4 s: 289 205 train, 12 678 validate, 4 096 test.
Rate: 16 kHz, 16 bit, mono.
Licence: CC BY 4.0.
Citation: J. Engel et al., "Neural Audio Synthesis of Musical Notes with WaveNet Autoencoders",
    ICML 2017.
Size: about 25 GB compressed, 40 GB unpacked.
Protocols: ``official-split``: the publisher's three folders. Group = instrument. The publisher
    keeps the training instruments out of both other parts; validation and test share theirs.
    ``paper-random``: 6:2:2 at random over all notes. It LEAKS: every instrument is in all splits.
Download: three archives. No checksum is published for their JSON/WAV form: the first download
    is trusted and its SHA-256 recorded.

Layout: ``nsynth-{train,valid,test}/{examples.json,audio/*.wav}`` in ``DATA_DIR`` or in one folder
inside it. A partial copy works with the available notes.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from m3net_tf.audio.datasets.clips import Archive, Clip, DatasetInfo, counted_copy
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.files import find_root
from m3net_tf.audio.datasets.protocols import split_by_protocol
from m3net_tf.audio.datasets.registry import register
from m3net_tf.system.artifacts import read_json
from m3net_tf.system.errors import DataError

CLIPS = 305_979
FOLDERS = {"train": "nsynth-train", "validation": "nsynth-valid", "test": "nsynth-test"}
FIELDS = {"instrument": "instrument_family_str", "pitch": "pitch"}
SITE = "http://download.magenta.tensorflow.org/datasets/nsynth/"

INFO = DatasetInfo(
    name="nsynth",
    labels=(
        *("bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string"),
        *("synth_lead", "vocal"),
    ),
    sample_rate_hz=16_000,
    clip_s=4.0,
    protocols=("official-split", "paper-random"),
    licence="CC BY 4.0",
    citation="J. Engel et al., Neural Audio Synthesis of Musical Notes with WaveNet "
    "Autoencoders, ICML 2017",
    url="https://magenta.tensorflow.org/datasets/nsynth",
    clips=CLIPS,
    leaking_protocols=("paper-random",),
    group="instrument",
    held_out_may_share=True,
    archives=tuple(Archive(f"{SITE}{folder}.jsonwav.tar.gz") for folder in FOLDERS.values()),
)


@register(INFO)
def build(
    info: DatasetInfo, root: Path, seed: int, *, task: Literal["instrument", "pitch"] = "instrument"
) -> AudioDataset:
    """List the clips.

    Options:
        task: ``instrument`` (family) or ``pitch`` (MIDI number).
    """
    root = find_root(root, "nsynth-*/examples.json")
    clips = [clip for split in FOLDERS for clip in _notes(root, split, FIELDS[task])]
    if not clips:
        raise DataError(
            f"{root}: has none of the folders {', '.join(FOLDERS.values())} with notes; "
            "point DATA_DIR at the folder that contains them or fetch them again"
        )
    info = counted_copy(info, len(clips), CLIPS)
    info, split = split_by_protocol(info, clips, seed, unit="notes")
    notes = [*info.notes]
    if not info.leaking:
        notes.append("validation and test share instruments, as published; training shares none")
    if task == "pitch":
        trained = {clip.label for clip in split if clip.split == "train"}
        info = dataclasses.replace(info, labels=tuple(sorted(trained, key=int)))
        kept = [clip for clip in split if clip.label in trained]
        if len(kept) != len(split):
            notes.append(f"{len(split) - len(kept)} notes of pitches without training are left out")
        split = kept
    return AudioDataset(dataclasses.replace(info, notes=tuple(notes)), tuple(split))


_MOST_BYTES = 1 << 30  # of a table; the largest has 200 MB


def _notes(root: Path, split: str, field: str) -> Iterator[Clip]:
    """The notes of one folder whose files exist; none if the folder is missing."""
    folder = root / FOLDERS[split]
    table = folder / "examples.json"
    if not table.is_file():
        return
    examples = read_json(table, dict[str, dict[str, Any]], most_bytes=_MOST_BYTES)
    present = {path.stem for path in (folder / "audio").glob("*.wav")}
    for name in sorted(present):
        if not {field, "instrument_str"} <= examples.get(name, {}).keys():
            raise DataError(
                f"{folder / 'audio' / name}.wav: is not in {table.name} with its {field}; "
                "remove the file or fetch the data again"
            )
        note = examples[name]
        path = folder / "audio" / f"{name}.wav"
        yield Clip(name, str(note[field]), split, f"instrument {note['instrument_str']}", path)
