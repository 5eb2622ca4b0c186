# SPDX-License-Identifier: Apache-2.0
"""The one place where tensorflow-model-optimization is imported.

It takes some seconds: who may do without imports this module inside a function.
"""

import warnings

from m3net_tf.keras import keras  # first: it decides which Keras tfmot takes

# isort: split
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it compares versions by distutils
    import tensorflow_model_optimization as tfmot

__all__ = ["keras", "tfmot"]
