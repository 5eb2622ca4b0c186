# SPDX-License-Identifier: Apache-2.0
"""The one place where TensorFlow and Keras are imported.

Keras 2 (``tf_keras``) is used throughout because ``tensorflow-model-optimization`` needs it.
Two of its environment variables are set here unless they are set already: ``TF_CPP_MIN_LOG_LEVEL``,
for its start-up chatter, and ``TF_ENABLE_ONEDNN_OPTS``, as without AVX-512 it leaves oneDNN's
kernels aside, which are up to three times as quick in training there, too.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from m3net_tf.native import native_stderr

with native_stderr():
    import tensorflow as tf
    import tf_keras as keras

# Dropout draws from a generator that can be reset, so that a stopped training can be resumed.
keras.backend.experimental.enable_tf_random_generator()

__all__ = ["keras", "tf"]
