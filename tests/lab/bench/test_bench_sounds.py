# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of bodies on small copies of ESC-10 and US8K that are tones and noise."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from m3net_tf.audio.datasets import dataset_info
from m3net_tf.lab.bench.enrolled_sounds import run_bench_sounds
from m3net_tf.lab.bench.normal import MACHINES, normal_markdown, run_bench_normal

BODY = Path("m3net-s-keywords")
RATE_HZ = 16_000
TARGETS = {"dog": 0, "rooster": 1, "rain": 10}


def tone(hz: float, seed: int) -> np.ndarray:
    """A tone that beats, with a little noise, shape (samples,)."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    beats = 1 + np.sin(2 * np.pi * 4 * time_s)
    return 0.2 * beats * np.sin(2 * np.pi * hz * time_s) + 0.01 * rng.standard_normal(len(time_s))


@pytest.fixture(scope="module")
def us8k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds: low hums are the machines, high tones the faults."""
    root = tmp_path_factory.mktemp("us8k")
    (root / "metadata").mkdir()
    rows = ["slice_file_name,fsID,fold,class"]
    for fold in (1, 2):
        (root / f"audio/fold{fold}").mkdir(parents=True)
        others = [label for label in dataset_info("us8k").labels if label not in MACHINES]
        for number, label in enumerate([*MACHINES * 4, *others]):
            name = f"{fold}{number:02}-0-0-0.wav"
            seed = 100 * fold + number
            hz = 200 if label in MACHINES else 2_500 + 10 * number
            soundfile.write(root / f"audio/fold{fold}" / name, tone(hz, seed), RATE_HZ)
            rows.append(f"{name},{seed},{fold},{label}")
    (root / "metadata/UrbanSound8K.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.mark.slow
def test_louder_faults_are_found_more_easily(us8k: Path):
    result = run_bench_normal(us8k, BODY)
    assert (result["normal_clips"], result["recordings"]) == (16, 16)
    assert [*result["cells"]] == [f"{machine}, fold{f}" for machine in MACHINES for f in (1, 2)]
    assert result["levels"]["12"]["auc"] > 0.9
    low, high = result["levels"]["0"]["auc_95"]
    assert low <= result["levels"]["0"]["auc"] <= high
    assert "+12 dB" in normal_markdown(result)


@pytest.mark.slow
def test_the_second_half_of_a_recording_is_tested(us8k: Path, tmp_path: Path):
    root = shutil.copytree(us8k, tmp_path / "us8k")
    rows = [f"7-0-0-{number}.wav" for number in range(12)]
    for seed, name in enumerate(rows):
        soundfile.write(root / "audio/fold1" / name, tone(200, seed), RATE_HZ)
    with (root / "metadata/UrbanSound8K.csv").open("a") as table:
        table.writelines(f"{name},7,1,{MACHINES[0]}\n" for name in rows)
    result = run_bench_normal(root, BODY, machines=MACHINES[:1], own=True)
    assert (result["normal_clips"], [*result["cells"]]) == (5, [f"{MACHINES[0]}, fsID 7"])
    assert result["levels"]["12"]["auc"] > 0.9
    assert "fsID" not in normal_markdown(result)


def test_enrolled_tones_are_recognised(tmp_path: Path):
    (tmp_path / "audio").mkdir()
    (tmp_path / "meta").mkdir()
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for number, label in enumerate(dataset_info("esc10").labels):
        for fold in range(1, 6):
            name = f"{fold}-{number}-A-{number}.wav"
            sound = tone(200 * 1.4**number, fold)
            soundfile.write(tmp_path / "audio" / name, sound, RATE_HZ)
            target = TARGETS.get(label, number)
            rows.append(f"{name},{fold},{target},{label},True,{number}{fold},A")
    (tmp_path / "meta/esc50.csv").write_text("\n".join(rows) + "\n")
    result = run_bench_sounds(tmp_path, BODY, count=3, draws=2)
    assert (result["clips"], result["draws"], [*result["by_fold"]]) == (50, 2, [*"12345"])
    assert result["accuracy"] > 0.8
    assert result["accuracy"] == pytest.approx(np.mean([*result["by_class"].values()]))
