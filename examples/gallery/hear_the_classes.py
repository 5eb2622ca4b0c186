# SPDX-License-Identifier: Apache-2.0
# %% [markdown]
# # Hear the classes
#
# The data set `synth` is generated: ten city sounds that need no download. This script writes one
# sound of each class, as a WAV file and as the picture that a network sees: the log-mel map.

# %%
from pathlib import Path

import numpy as np
import soundfile

from m3net_tf.audio.datasets import load_dataset
from m3net_tf.audio.frontend import frontend_preset, log_mel
from m3net_tf.pages.plotting import COLOURS, new_figure

FOLDER = Path("build/gallery")
FOLDER.mkdir(parents=True, exist_ok=True)
sounds = load_dataset("synth", clips_per_class=6)
rate_hz = sounds.info.sample_rate_hz
examples = {clip.label: sounds.load(clip) for clip in sounds.split("test")}

# %% [markdown]
# Listen to them, with half a second of silence in between. The classes differ in their course over
# time. Their pitch, loudness, noise and room are drawn at random.

# %%
pause = np.zeros(rate_hz // 2)
together = np.concatenate([part for audio in examples.values() for part in (audio, pause)])
soundfile.write(FOLDER / "hear_the_classes.wav", together, rate_hz)

# %%
config = frontend_preset("mcu")
figure = new_figure(10, 4.5)
for axes, (label, audio) in zip(
    figure.subplots(2, 5, sharex=True, sharey=True).flat, examples.items(), strict=True
):
    features = log_mel(config, audio)
    axes.imshow(features, origin="lower", aspect="auto", extent=(0, 1, 0, 40), cmap=COLOURS)
    axes.set_title(label, fontsize="medium")
figure.supxlabel("time, s")
figure.supylabel("mel bin")
figure.savefig(FOLDER / "hear_the_classes.png", dpi=100)
