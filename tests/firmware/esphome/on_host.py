# SPDX-License-Identifier: Apache-2.0
"""ESPHome's command line, whose component ``audio`` is not for ESP32 alone.

Components with a microphone load it, and need only sources of it that compile without ESP-IDF.
"""

import sys

import esphome.config_validation as cv
from esphome.__main__ import main
from esphome.components import audio

audio.AUTO_LOAD = []
audio.CONFIG_SCHEMA = cv.Schema({})
audio.to_code = None
sys.exit(main())
