# SPDX-License-Identifier: Apache-2.0
"""What kind of sound each patch is, as the teacher says, and how often rare kinds are drawn.

Most free sound is music and speech. Drawn as it comes, a body hardly learns what rain or a dog is.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets.audio import from_pcm16
from m3net_tf.audio.datasets.loudness import at_level
from m3net_tf.audio.frontend import graph
from m3net_tf.lab.bodies.sounds import Source, kept_array
from m3net_tf.lab.bodies.yamnet import FRONTEND, Teacher
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.keras import keras
from m3net_tf.system.processor import arithmetic, machine
from m3net_tf.system.progress import Log, track

_LEVEL_DB = -25.0
_AT_ONCE = 64
# Rare kinds are drawn more often than they occur, and so are patches of small sources.
_KIND_POWER, _SOURCE_POWER = -0.75, -0.15
_KIND_FLOOR = 15  # patches that a kind counts as having, in addition

Kinds = npt.NDArray[np.int16]


def kinds_of(sources: Sequence[Source], teacher: Teacher, log: Log) -> list[Kinds]:
    """The teacher's most probable class of each patch of each source; it is kept in the cache."""
    network = functools.cache(teacher.network)
    found = []
    with track(log, "kinds of sound", len(sources), "sources") as task:
        for source in sources:
            key = f"{source.sha256} {teacher.facts['sha256']} {arithmetic([machine()])}"
            make = functools.partial(_kinds, source, network)
            found.append(kept_array("kinds", sha256_of(key.encode()), make))
            task.advance()
    return found


def shares_of(kinds: Sequence[Kinds]) -> npt.NDArray[np.float64]:
    """How often each patch of all sources is drawn, shape (patches,), with a sum of 1."""
    patches = np.concatenate(kinds)
    _, kind, counts = np.unique(patches, return_inverse=True, return_counts=True)
    sizes = np.repeat([len(each) for each in kinds], [len(each) for each in kinds])
    weights = (counts[kind] + _KIND_FLOOR) ** _KIND_POWER * sizes.astype(float) ** _SOURCE_POWER
    return np.asarray(weights / weights.sum())


def _kinds(source: Source, network: Callable[[], keras.Model]) -> Kinds:
    parts = []
    for first in range(0, len(source.patches), _AT_ONCE):
        patches = source.patches[first : first + _AT_ONCE]
        waves = np.stack([at_level(from_pcm16(patch), _LEVEL_DB) for patch in patches])
        features = graph.batch_features(FRONTEND, waves, "float32")
        parts.append(network().predict_on_batch(features[..., None])[1].argmax(axis=1))
    return np.concatenate(parts).astype(np.int16)
