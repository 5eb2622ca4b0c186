# SPDX-License-Identifier: Apache-2.0
"""Live detection: from audio that never ends to events.

The detector and its settings are also C (``firmware/core/detector.c``, generated
``detector_config.h``). Scenes of known truth measure it, and a search finds its settings.
"""

from m3net_tf.streaming.config import (
    ClassSettings,
    DetectorConfig,
    load_detector,
    save_detector,
    write_c_header,
)
from m3net_tf.streaming.detector import Detector, Event, Tape, detect
from m3net_tf.streaming.recognizer import StreamingRecognizer, event_time_s, listen

__all__ = [
    "ClassSettings",
    "Detector",
    "DetectorConfig",
    "Event",
    "StreamingRecognizer",
    "Tape",
    "detect",
    "event_time_s",
    "listen",
    "load_detector",
    "save_detector",
    "write_c_header",
]
