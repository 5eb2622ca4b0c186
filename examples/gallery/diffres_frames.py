# SPDX-License-Identifier: Apache-2.0
# %% [markdown]
# # The frames that DiffRes keeps
#
# DiffRes scores each frame of a sound. Important frames keep their own column, and the others are
# merged, so the classifier gets half the frames. This script shows scores and warp of the trained
# network `diffres-s-keywords`.

# %%
from pathlib import Path

import numpy as np

from m3net_tf import Run
from m3net_tf.audio.datasets import load_dataset
from m3net_tf.audio.frontend import dequantize_features, features_int8
from m3net_tf.networks.layers.diffres.warp import warp_matrix
from m3net_tf.networks.models.diffres import probe
from m3net_tf.networks.pretrained import find_pretrained
from m3net_tf.pages.plotting import COLOURS, new_figure

FOLDER = Path("build/gallery")
FOLDER.mkdir(parents=True, exist_ok=True)
run = Run(find_pretrained(Path("diffres-s-keywords")))
network = run.load_model()

# %% [markdown]
# Half a second of each generated sound, with silence around it: where does the network look?

# %%
sounds = load_dataset("synth", clips_per_class=6)
chosen = ("siren", "dog_bark", "jackhammer")
examples = {clip.label: sounds.load(clip) for clip in sounds.split("test")}
config = run.recipe().frontend
windowed = []
for label in chosen:
    audio = np.zeros(16_000)
    audio[4_000:12_000] = examples[label][:8_000]
    windowed.append(features_int8(config, audio))
maps = dequantize_features(np.stack(windowed))[..., None]

# %%
values = probe(network)(maps, training=False)
layer = network.get_layer("diffres_warp")
matrices = warp_matrix(values["scores"], layer.frames_out, layer.fill_rows).numpy()

# %% [markdown]
# Top: the input. Middle: the score of each frame. Bottom: the warp, which says how much of each
# input frame is in each output frame. Where the scores are high, it is steep: a column for each.

# %%
figure = new_figure(10, 6)
grid = figure.subplots(3, len(chosen), sharex=True, height_ratios=[2, 1, 2])
frames = maps.shape[2]
for i, (column, label) in enumerate(zip(grid.T, chosen, strict=True)):
    column[0].set_title(label)
    column[0].imshow(maps[i, ..., 0], origin="lower", aspect="auto", cmap=COLOURS)
    column[1].bar(np.arange(frames), values["scores"][i].numpy())
    column[2].imshow(matrices[i], origin="lower", aspect="auto", cmap=COLOURS)
    column[2].set_xlabel("frame")
for axes, name in zip(grid[:, 0], ("mel bin", "score", "frame out"), strict=True):
    axes.set_ylabel(name)
figure.savefig(FOLDER / "diffres_frames.png", dpi=100)
