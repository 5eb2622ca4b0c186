# SPDX-License-Identifier: Apache-2.0
"""The one place where TensorFlow and Keras are imported.

The package uses Keras 2 (``tf_keras``) because ``tensorflow-model-optimization`` requires it.
This module sets two environment variables of TensorFlow unless the user has set them:
``TF_CPP_MIN_LOG_LEVEL`` silences its start-up messages. ``TF_ENABLE_ONEDNN_OPTS`` enables oneDNN's
kernels, which TensorFlow does not use on CPUs without AVX-512, although training is up to three
times as fast with them.

An operation uses one thread, whatever the number of cores, unless :func:`use_threads` says
otherwise.
"""

import contextlib
import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from m3net_tf.system.errors import ConfigError
from m3net_tf.system.native import native_stderr
from m3net_tf.system.terminal import say_loading

say_loading("TensorFlow")
with native_stderr():
    import tensorflow as tf
    import tf_keras as keras

# Dropout uses a generator whose state can be restored, so interrupted training can resume.
keras.backend.experimental.enable_tf_random_generator()


def use_threads(count: int) -> None:
    """Set the number of threads of each operation, before TensorFlow computes anything.

    TensorFlow cuts a sum into parts by the number of threads, not of cores, and the parts determine
    how it is rounded. So this number, but not the number of cores, changes trained weights.

    Raises:
        ConfigError: TensorFlow computes with another number in this process.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(count)
    except RuntimeError:
        raise ConfigError(
            f"training.threads is {count}, but TensorFlow already computes with another number of "
            "threads in this process: start a new one (m3net table: --jobs 2)"
        ) from None


with contextlib.suppress(ConfigError):  # a program that has used TensorFlow before this package
    use_threads(1)

__all__ = [
    "keras",
    "keras_3_error",
    "require_keras_2",
    "tf",
    "use_threads",
]


def require_keras_2(where: str, *values: Any) -> None:
    """Refuse objects of Keras 3, the package ``keras``, which do not work with objects of Keras 2.

    Lists and dictionaries among the values are searched, too; ``where`` was given them.

    Raises:
        ConfigError: one is a tensor, layer, model or another object of Keras 3.
    """
    for value in tf.nest.flatten(values):
        if any(kind.__module__.partition(".")[0] == "keras" for kind in type(value).__mro__):
            raise keras_3_error(f"{where} was given a {type(value).__name__} of Keras 3")


def keras_3_error(fact: str) -> ConfigError:
    """The error for a mixture of Keras 2 and 3; it says what to do."""
    return ConfigError(
        f"{fact}, but this project uses Keras 2 (tf_keras): take all layers and tensors from it, "
        "`from m3net_tf import keras`"
    )
