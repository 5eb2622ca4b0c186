# SPDX-License-Identifier: Apache-2.0
"""Which classes are speech: a trained body has not learnt to tell words apart.

A body's own last layer knows speech. The mean of its scores over some clips of a class is 0.42 to
0.96 for the words of Speech Commands, and at most 0.18 for the classes of ESC-10 and UrbanSound8K.
"""

from collections import defaultdict

import numpy as np

from m3net_tf.audio.datasets import AudioDataset, Clip
from m3net_tf.runtime.classifier import Classifier

_BODY = "sounds_s"
_SPEECH = (
    "Speech",
    "Child speech, kid speaking",
    "Conversation",
    "Narration, monologue",
    "Speech synthesizer",
)
_LEAST_SCORE = 0.3
_EXAMPLES = 8  # of each class


def spoken_classes(dataset: AudioDataset) -> list[str]:
    """Classes whose clips are mostly speech.

    Args:
        dataset: clips at the rate of a trained body.

    Raises:
        DataError: a clip cannot be read.
    """
    examples = defaultdict[str, list[Clip]](list)
    for clip in dataset.clips:
        if not clip.synthetic:
            examples[clip.label].append(clip)
    body = Classifier(_BODY, fast=True)
    speech = [body.labels.index(name) for name in _SPEECH]
    spoken = []
    for label, clips in sorted(examples.items()):
        tried = clips[:: max(1, len(clips) // _EXAMPLES)][:_EXAMPLES]
        scores = [body.classify(dataset.load(clip)).scores[speech].sum() for clip in tried]
        if np.mean(scores) >= _LEAST_SCORE:
            spoken.append(label)
    return spoken
