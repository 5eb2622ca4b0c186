# SPDX-License-Identifier: Apache-2.0
"""Runs an exported network with NumPy and a TFLite interpreter: scores and live detection.

:mod:`.metadata` writes labels and settings into a ``.tflite`` and reads them, :mod:`.foreign` takes
them for a ``.tflite`` without metadata from a recipe and a text file, :mod:`.classifier`
computes scores of a sound, :mod:`.sound` reads files and the microphone, and :mod:`.command` is
``m3net classify``. No module here may import TensorFlow, Keras or librosa.
"""

from m3net_tf.runtime.classifier import Classification, Classifier
from m3net_tf.runtime.detector import Detector, Event, Refusal, Tape, detect
from m3net_tf.runtime.detector_config import (
    ClassSettings,
    DetectorConfig,
    load_detector,
    save_detector,
    write_c_header,
)
from m3net_tf.runtime.metadata import Metadata, attach_metadata, network_of, read_metadata
from m3net_tf.runtime.near_misses import NearMiss, NearMisses, Reason, explain
from m3net_tf.runtime.prototypes import Prototypes
from m3net_tf.runtime.recognizer import StreamingRecognizer, event_time_s, listen

__all__ = [
    "ClassSettings",
    "Classification",
    "Classifier",
    "Detector",
    "DetectorConfig",
    "Event",
    "Metadata",
    "NearMiss",
    "NearMisses",
    "Prototypes",
    "Reason",
    "Refusal",
    "StreamingRecognizer",
    "Tape",
    "attach_metadata",
    "detect",
    "event_time_s",
    "explain",
    "listen",
    "load_detector",
    "network_of",
    "read_metadata",
    "save_detector",
    "write_c_header",
]
