# SPDX-License-Identifier: Apache-2.0
"""The benchmark of levels on a small copy of Speech Commands that is bursts of noise."""

from pathlib import Path

import numpy as np
import soundfile

from m3net_tf.lab.bench.level import GAINS_DB, run_bench_level, with_gain

NETWORK = Path("m3net-s-keywords")
WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "bed")
RATE_HZ = 16_000


def test_gains_round_and_clip():
    np.testing.assert_array_equal(
        with_gain(np.array([-20_000, -14, 6, 20_000], np.int16), -20), [-2000, -1, 1, 2000]
    )
    np.testing.assert_array_equal(with_gain(np.array([-20_000, 3], np.int16), 20), [-32768, 30])


def test_automatic_gain_leaves_usual_levels_and_restores_quiet_ones(tmp_path):
    rng = np.random.default_rng(0)
    lists = {"testing": [], "validation": []}
    for word in WORDS:
        (tmp_path / word).mkdir()
        for speaker, names in enumerate((*lists.values(), None)):
            sound = 0.0003 * rng.standard_normal(RATE_HZ)
            sound[4000:12000] += 0.08 * rng.standard_normal(8000)
            name = f"{word}/{speaker:08x}_nohash_0.wav"
            soundfile.write(tmp_path / name, sound, RATE_HZ)
            if names is not None:
                names.append(name)
    for split, names in lists.items():
        (tmp_path / f"{split}_list.txt").write_text("\n".join(names) + "\n")
    noise = tmp_path / "_background_noise_"
    noise.mkdir()
    soundfile.write(noise / "hum.wav", 0.01 * rng.standard_normal(RATE_HZ * 20), RATE_HZ)
    result = run_bench_level(NETWORK, tmp_path)
    levels = result["levels"]
    assert list(levels) == [str(gain) for gain in GAINS_DB]
    assert levels["0"]["automatic"] == levels["0"]["accuracy"] and levels["0"]["gain_db"] == 0
    assert abs(levels["-30"]["gain_db"] - 30) <= 4
    assert set(levels["-30"]["verdicts"]) == {"quiet"} and "clips" in levels["30"]["verdicts"]
    # All bursts are of one kind, so what is raised to the level of before gets its answers.
    assert levels["-30"]["automatic"] == levels["0"]["accuracy"]
