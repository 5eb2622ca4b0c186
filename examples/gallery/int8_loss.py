# SPDX-License-Identifier: Apache-2.0
# %% [markdown]
# # Where int8 loses
#
# A device computes with whole numbers of 8 bits. Each layer rounds its output, and rounding errors
# of earlier layers pass through later ones. This script quantises the trained network
# `m3net-s-keywords` and compares each tensor with the float network's.

# %%
from pathlib import Path

import numpy as np

from m3net_tf import Run
from m3net_tf.audio.datasets import load_dataset
from m3net_tf.audio.frontend import features_int8
from m3net_tf.networks.pretrained import find_pretrained
from m3net_tf.pages.plotting import new_figure
from m3net_tf.quantization.comparison import compare_tensors
from m3net_tf.quantization.methods import Method, Quantizer

FOLDER = Path("build/gallery")
FOLDER.mkdir(parents=True, exist_ok=True)
run = Run(find_pretrained(Path("m3net-s-keywords")))
config = run.recipe().frontend

# %% [markdown]
# Generated sounds calibrate the ranges of the tensors, and other ones measure the errors. The
# network's own sounds would be better for both.

# %%
sounds = load_dataset("synth", clips_per_class=12)


def features_of(split: str) -> np.ndarray:
    """int8 features of a split, shape (clips, bins, frames, 1)."""
    maps = [features_int8(config, sounds.load(clip)) for clip in sounds.split(split)]
    return np.stack(maps)[..., None]


quantizer = Quantizer(run.load_model(), features_of("train"))
tensors = compare_tensors(quantizer.quantize(Method.parse("ptq")), features_of("test"))

# %% [markdown]
# The signal to noise ratio falls with depth: a sum or product has the errors of both its inputs.
# Convolutions average errors, so the ratio may also rise.

# %%
shown = [tensor for tensor in tensors if tensor["sqnr_db"] is not None]
figure = new_figure(9, 0.28 * len(shown) + 1)
axes = figure.subplots()
names = [f"{tensor['layer']} ({tensor['operator']})" for tensor in shown]
axes.barh(names, [tensor["sqnr_db"] for tensor in shown])
axes.invert_yaxis()
axes.tick_params(axis="y", labelsize="small")
axes.set_xlabel("signal to quantisation noise, dB: longer is better")
figure.savefig(FOLDER / "int8_loss.png", dpi=100)
