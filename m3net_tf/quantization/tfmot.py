# SPDX-License-Identifier: Apache-2.0
"""The one place where tensorflow-model-optimization is imported.

The import takes some seconds, so modules that may not need it import this module in a function.
"""

import warnings

from m3net_tf.system.keras import keras  # first, because it determines which Keras tfmot uses

# isort: split
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it compares versions with distutils
    import tensorflow_model_optimization as tfmot

__all__ = ["keras", "tfmot"]
