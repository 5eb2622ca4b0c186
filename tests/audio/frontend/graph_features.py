# SPDX-License-Identifier: Apache-2.0
"""Features of the TensorFlow front end and of the reference, for comparison."""

import numpy as np

from m3net_tf.audio.frontend import FrontendConfig, features_int8, graph
from m3net_tf.system.keras import tf


def graph_and_reference(
    config: FrontendConfig, sounds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The graph's features, and their absolute difference from the reference's.

    Fails if the graph gives other features when it is traced.
    """
    eager = graph.features_int8(config, sounds).numpy()
    stream = tf.data.Dataset.from_tensor_slices(sounds).batch(len(sounds))
    (traced,) = stream.map(lambda batch: graph.features_int8(config, batch)).as_numpy_iterator()
    np.testing.assert_array_equal(traced, eager)
    np.testing.assert_array_equal(graph.batch_features(config, sounds), eager)
    reference = np.stack([features_int8(config, audio) for audio in sounds])
    assert eager.shape == reference.shape
    return eager, np.abs(eager.astype(int) - reference)
