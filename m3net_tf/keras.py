# SPDX-License-Identifier: Apache-2.0
"""The one place where TensorFlow and Keras are imported.

The package uses Keras 2 (``tf_keras``) because ``tensorflow-model-optimization`` requires it.
This module sets two environment variables of TensorFlow unless the user has set them:
``TF_CPP_MIN_LOG_LEVEL`` silences its start-up messages. ``TF_ENABLE_ONEDNN_OPTS`` enables oneDNN's
kernels, which TensorFlow does not use on CPUs without AVX-512, although training is up to three
times as fast with them.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from m3net_tf.native import native_stderr

with native_stderr():
    import tensorflow as tf
    import tf_keras as keras

# Dropout uses a generator whose state can be restored, so interrupted training can resume.
keras.backend.experimental.enable_tf_random_generator()

_Function = TypeVar("_Function", bound=Callable[..., Any])


def unconverted(function: _Function) -> _Function:
    """A function that builds networks; AutoGraph converts none of their layers meanwhile.

    The conversion takes a quarter of the time in which a process first builds networks. It is for
    Python's branches and loops over tensors, which layers cannot have: training runs without it.
    """
    return tf.autograph.experimental.do_not_convert(function)


__all__ = ["keras", "tf", "unconverted"]
