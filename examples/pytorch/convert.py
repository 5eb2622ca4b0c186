# SPDX-License-Identifier: Apache-2.0
"""Writes small.tflite, full int8, from a classifier of log-mel maps in PyTorch.

It needs the package litert-torch, which brings PyTorch and the quantiser. The weights are random:
put a trained network in the place of NETWORK, and features of training clips in the place of CLIPS.
"""

import litert_torch
import numpy as np
import torch
from ai_edge_quantizer import quantizer, recipe
from torch import nn

torch.manual_seed(0)
NETWORK = nn.Sequential(
    nn.Conv2d(1, 16, 3, stride=2, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 16, 3, padding=1, groups=16),
    nn.ReLU(),
    nn.Conv2d(16, 24, 1),
    nn.Hardswish(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(24, 4),
    nn.Softmax(dim=1),
)
#: Features whose ends, -1 and 127 / 128, become -128 and 127, as the front end has them. The
#: quantiser averages the ends of all clips, so each clip needs them.
CLIPS = np.random.default_rng(0).uniform(-1, 127 / 128, (64, 1, 40, 49, 1)).astype(np.float32)
CLIPS[:, 0, 0, :2, 0] = -1, 127 / 128

if __name__ == "__main__":
    network = litert_torch.to_channel_last_io(NETWORK.eval(), args=[0])
    litert_torch.convert(network, (torch.from_numpy(CLIPS[0]),)).export("float.tflite")
    quantised = quantizer.Quantizer("float.tflite", recipe.static_wi8_ai8())
    clips = {"serving_default": [{"args_0": clip} for clip in CLIPS]}
    result = quantised.quantize(quantised.calibrate(clips))
    result.export_model("small.tflite", overwrite=True)
