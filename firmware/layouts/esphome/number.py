# SPDX-License-Identifier: Apache-2.0
"""A number entity that is the threshold of a class."""

import esphome.codegen as cg
import esphome.config_validation as cv
from esphome.components import number
from esphome.const import CONF_RESTORE_VALUE, ENTITY_CATEGORY_CONFIG, UNIT_PERCENT

from . import CLASS_SCHEMA, CONF_LISTENER_ID, Listener, index, namespace

Threshold = namespace.class_(
    "Threshold", number.Number, cg.Component, cg.Parented.template(Listener)
)

CONFIG_SCHEMA = (
    number.number_schema(
        Threshold,
        icon="mdi:tune-variant",
        entity_category=ENTITY_CATEGORY_CONFIG,
        unit_of_measurement=UNIT_PERCENT,
    )
    .extend(CLASS_SCHEMA)
    .extend({cv.Optional(CONF_RESTORE_VALUE, default=True): cv.boolean})
    .extend(cv.COMPONENT_SCHEMA)
)


async def to_code(config):
    """Write the C++ that registers the threshold of a class."""
    threshold = await number.new_number(
        config, index(config), config[CONF_RESTORE_VALUE], min_value=0.1, max_value=100, step=0.1
    )
    await cg.register_component(threshold, config)
    await cg.register_parented(threshold, config[CONF_LISTENER_ID])
