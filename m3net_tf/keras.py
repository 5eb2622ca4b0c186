# SPDX-License-Identifier: Apache-2.0
"""The one place where TensorFlow and Keras are imported.

The package uses Keras 2 (``tf_keras``) because ``tensorflow-model-optimization`` requires it.
This module sets two environment variables of TensorFlow unless the user has set them:
``TF_CPP_MIN_LOG_LEVEL`` silences its start-up messages. ``TF_ENABLE_ONEDNN_OPTS`` enables oneDNN's
kernels, which TensorFlow does not use on CPUs without AVX-512, although training is up to three
times as fast with them.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from m3net_tf.native import native_stderr

with native_stderr():
    import tensorflow as tf
    import tf_keras as keras

# Dropout uses a generator whose state can be restored, so interrupted training can resume.
keras.backend.experimental.enable_tf_random_generator()

__all__ = ["keras", "tf"]
