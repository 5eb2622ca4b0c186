# SPDX-License-Identifier: Apache-2.0
# %% [markdown]
# # The map of mirror attention
#
# M3Net compares a map with its mirror images: time reversed (HMF), frequency reversed (VMF) and
# both (CSF). One branch merges the first two, the other one weights the third. Their product is
# added to the map. This script shows these maps in the trained network `m3net-s-keywords`.

# %%
from pathlib import Path

import numpy as np

from m3net_tf import Run, keras
from m3net_tf.audio.datasets import load_dataset
from m3net_tf.audio.frontend import dequantize_features, features_int8
from m3net_tf.networks.pretrained import find_pretrained
from m3net_tf.pages.plotting import COLOURS, new_figure

FOLDER = Path("build/gallery")
FOLDER.mkdir(parents=True, exist_ok=True)
run = Run(find_pretrained(Path("m3net-s-keywords")))
network = run.load_model()

# %% [markdown]
# Two generated sounds, as the network's input: a siren, which lasts, and a bark, which is short.

# %%
sounds = load_dataset("synth", clips_per_class=6)
chosen = ("siren", "dog_bark")
clips = [next(clip for clip in sounds.split("test") if clip.label == label) for label in chosen]
config = run.recipe().frontend
features = np.stack([features_int8(config, sounds.load(clip)) for clip in clips])
maps = dequantize_features(features)[..., None]

# %% [markdown]
# Each picture is the mean over the channels. The map that mirror attention receives has fewer bins
# and frames than the input, since the convolutions before it have strides.

# %%
attention = network.get_layer("ma_skip")
parts = {
    "input": network.input,
    "X": network.get_layer("mfp_hmf").input,
    "time reversed": network.get_layer("mfp_hmf").output,
    "frequency reversed": network.get_layer("mfp_vmf").output,
    "both reversed": network.get_layer("turn_csf").output,
    "product of the branches": network.get_layer("ma_product").output,
    "product + X": attention.output,
}
values = keras.Model(network.input, parts)(maps, training=False)

# %%
figure = new_figure(12, 4)
grid = figure.subplots(len(chosen), len(parts))
for i, (row, label) in enumerate(zip(grid, chosen, strict=True)):
    for axes, name in zip(row, parts, strict=True):
        axes.imshow(values[name][i].numpy().mean(-1), origin="lower", aspect="auto", cmap=COLOURS)
        axes.set(xticks=[], yticks=[])
        if i == 0:
            axes.set_title(name, fontsize="small")
    row[0].set_ylabel(label)
figure.savefig(FOLDER / "mirror_attention.png", dpi=100)
