# SPDX-License-Identifier: Apache-2.0
"""Makes whistles/: three whistles by ten people, 120 WAV files of one second."""

from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000
TIME_S = np.arange(RATE_HZ) / RATE_HZ
rng = np.random.default_rng(0)
for person in range(10):
    low_hz, high_hz = rng.uniform(600, 1000), rng.uniform(1400, 2200)
    for take in range(4):
        start_s = rng.uniform(0.1, 0.4)
        course = np.clip((TIME_S - start_s) / 0.4, 0, 1)
        for name, bend in (("up", course), ("down", 1 - course), ("flat", 0.5 + 0 * course)):
            frequency_hz = low_hz * (high_hz / low_hz) ** bend
            whistle = np.sin(2 * np.pi * np.cumsum(frequency_hz) / RATE_HZ)
            whistle *= (course > 0) & (course < 1)
            sound = 0.1 * whistle + rng.normal(0, 0.02, RATE_HZ)
            path = Path(f"whistles/{name}/person{person:02}_{take}.wav")
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, sound, RATE_HZ)
