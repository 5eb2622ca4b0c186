# SPDX-License-Identifier: Apache-2.0
"""Layouts of normal sounds: MIMII's, DCASE's and any other."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from m3net_tf.audio.datasets import AudioDataset, load_dataset
from m3net_tf.system.errors import DataError


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, np.full(800, 0.1), 16_000)


def counted(dataset: AudioDataset) -> Counter[tuple[str, str]]:
    return Counter((clip.label, clip.split) for clip in dataset.clips)


def test_mimii(tmp_path: Path):
    normal = [f"fan/id_00/normal/{n:08}.wav" for n in range(20)]
    write(tmp_path, *normal, *(f"fan/id_00/abnormal/{n:08}.wav" for n in range(4)))
    dataset = load_dataset("normal_only", tmp_path / "fan/id_00")
    assert counted(dataset) == {
        ("anomaly", "test"): 4,
        ("normal", "test"): 4,
        ("normal", "train"): 13,
        ("normal", "validation"): 3,
    }
    write(tmp_path, "fan/id_02/normal/0.wav", "fan/id_02/abnormal/0.wav")
    with pytest.raises(DataError, match="several machines, id_00 and id_02"):
        load_dataset("normal_only", tmp_path / "fan")


def test_dcase(tmp_path: Path):
    names = [f"train/normal_id_00_{n:08}.wav" for n in range(10)]
    names += [f"train/section_01_source_train_normal_{n:04}_noAttribute.wav" for n in range(10)]
    names += ["test/normal_id_00_0.wav", "test/anomaly_id_00_0.wav", "test/anomaly_id_00_1.wav"]
    write(tmp_path, *names)
    assert counted(load_dataset("normal_only", tmp_path)) == {
        ("anomaly", "test"): 2,
        ("normal", "test"): 1,
        ("normal", "train"): 16,
        ("normal", "validation"): 4,
    }
    chosen = load_dataset("normal_only", tmp_path, only="id_00")
    assert counted(chosen)["normal", "train"] == 8
    with pytest.raises(DataError, match="'id_09'"):
        load_dataset("normal_only", tmp_path, only="id_09")


def test_any_other_folder_is_normal(tmp_path: Path):
    write(tmp_path, *(f"day{day}/{part}.wav" for day in range(5) for part in range(3)))
    dataset = load_dataset("normal_only", tmp_path, group_pattern="(day[0-9])")
    assert counted(dataset) == {("normal", "train"): 12, ("normal", "validation"): 3}
    assert len({clip.group for clip in dataset.split("validation")}) == 1
    with pytest.raises(DataError, match="m3net normal"):
        dataset.check_trainable()


def test_one_recording_has_no_threshold(tmp_path: Path):
    write(tmp_path, "only.wav")
    with pytest.raises(DataError, match="only one normal recording"):
        load_dataset("normal_only", tmp_path)
