# SPDX-License-Identifier: Apache-2.0
"""The one place where TensorFlow and Keras are imported.

The package uses Keras 2 (``tf_keras``) because ``tensorflow-model-optimization`` needs it. Two
environment variables get a value unless they have one. ``TF_CPP_MIN_LOG_LEVEL`` silences
TensorFlow's messages at start-up. ``TF_ENABLE_ONEDNN_OPTS`` turns on oneDNN's kernels, which
TensorFlow does not use by default without AVX-512, but which train up to three times as fast.
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
