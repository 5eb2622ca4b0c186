# SPDX-License-Identifier: Apache-2.0
"""What a small computer needs to use an export: NumPy and a TFLite interpreter, nothing more.

:mod:`.metadata` puts labels and settings into a ``.tflite`` and reads them back, :mod:`.classifier`
goes from sound to scores, :mod:`.sound` reads files and the microphone, and :mod:`.command` is
``m3net classify``. No module here may import TensorFlow, Keras or librosa.
"""

from m3net_tf.runtime.classifier import Classification, Classifier
from m3net_tf.runtime.metadata import Metadata, attach_metadata, network_of, read_metadata

__all__ = [
    "Classification",
    "Classifier",
    "Metadata",
    "attach_metadata",
    "network_of",
    "read_metadata",
]
