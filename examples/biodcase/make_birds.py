# SPDX-License-Identifier: Apache-2.0
"""Makes birds/: 275 WAV files in the layout of BioDCASE-Tiny 2026, whose birds are trills."""

from pathlib import Path

import numpy as np
import soundfile

from m3net_tf.audio.datasets import dataset_info

INFO = dataset_info("biodcase2026")
TIME_S = np.arange(INFO.clip_samples) / INFO.sample_rate_hz
rng = np.random.default_rng(0)
for folder, part, clips in (("Train", "TRAIN", 20), ("Validation", "VAL", 5)):
    for bird, label in enumerate(INFO.labels):
        for clip in range(clips):
            sound = rng.normal(0, 0.02, len(TIME_S))
            if bird:  # the first class is background
                bend = 3 * np.sin(2 * np.pi * (3 + bird) * TIME_S + rng.uniform(0, 6))
                sound += 0.1 * np.sin(2 * np.pi * (500 + 700 * bird) * TIME_S + bend)
            number = bird * clips + clip + 1
            name = f"BioDCASE2026_TinyML_{part}_{number:04}_{label.replace(' ', '_')}.wav"
            path = Path("birds") / folder / label / name
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, sound, INFO.sample_rate_hz)
