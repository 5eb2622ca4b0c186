# SPDX-License-Identifier: Apache-2.0
"""A microphone for ESPHome on a computer: it gives the samples of a file, and ends the program."""

import esphome.codegen as cg
import esphome.config_validation as cv
from esphome.components import audio, microphone
from esphome.const import CONF_FILE, CONF_ID, CONF_SAMPLE_RATE

PcmMicrophone = cg.esphome_ns.namespace("pcm_microphone").class_(
    "PcmMicrophone", microphone.Microphone, cg.Component
)


def _limits(config):
    rate = config[CONF_SAMPLE_RATE]
    audio.set_stream_limits(16, 16, 1, 1, rate, rate)(config)
    return config


CONFIG_SCHEMA = cv.All(
    microphone.MICROPHONE_SCHEMA.extend(
        {
            cv.GenerateID(): cv.declare_id(PcmMicrophone),
            cv.Required(CONF_FILE): cv.string,
            cv.Required(CONF_SAMPLE_RATE): cv.positive_int,
        }
    ).extend(cv.COMPONENT_SCHEMA),
    _limits,
)


async def to_code(config):
    """Write the C++ that sets the microphone up."""
    var = cg.new_Pvariable(config[CONF_ID], config[CONF_FILE], config[CONF_SAMPLE_RATE])
    await cg.register_component(var, config)
    await microphone.register_microphone(var, config)
