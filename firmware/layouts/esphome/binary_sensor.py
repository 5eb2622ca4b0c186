# SPDX-License-Identifier: Apache-2.0
"""A binary sensor that is on from a class's detection until its score falls again."""

import esphome.codegen as cg
from esphome.components import binary_sensor
from esphome.const import DEVICE_CLASS_SOUND

from . import CLASS_SCHEMA, CONF_LISTENER_ID, index

CONFIG_SCHEMA = binary_sensor.binary_sensor_schema(device_class=DEVICE_CLASS_SOUND).extend(
    CLASS_SCHEMA
)


async def to_code(config):
    """Write the C++ that gives the listener its sensor of a class."""
    listener = await cg.get_variable(config[CONF_LISTENER_ID])
    sensor = await binary_sensor.new_binary_sensor(config)
    cg.add(listener.add_binary_sensor(index(config), sensor))
