# SPDX-License-Identifier: Apache-2.0
"""Configuration of this component in ESPHome: what it listens to, and what a detection starts."""

import json
from pathlib import Path

import esphome.codegen as cg
import esphome.config_validation as cv
from esphome import automation
from esphome.components import esp32, microphone
from esphome.const import CONF_ID, CONF_MICROPHONE, PLATFORM_ESP32, PLATFORM_HOST
from esphome.core import CORE

DEPENDENCIES = ["microphone"]

FOLDER = Path(__file__).resolve().parent
FACTS = json.loads((FOLDER / "export.json").read_text(encoding="utf-8"))
OLDEST_ESPHOME = (2026, 6, 0)  # of whose C++ interface the tests are
CONF_LABEL = "label"
CONF_LISTENER_ID = "listener_id"
CONF_ON_DETECTION = "on_detection"

namespace = cg.esphome_ns.namespace(FACTS["namespace"])
Listener = namespace.class_("Listener", cg.Component)

# What the platforms of this component have in common: the class of an entity, and its listener.
CLASS_SCHEMA = cv.Schema(
    {
        cv.GenerateID(CONF_LISTENER_ID): cv.use_id(Listener),
        cv.Required(CONF_LABEL): cv.one_of(*FACTS["classes"], string=True),
    }
)

CONFIG_SCHEMA = cv.All(
    cv.Schema(
        {
            cv.GenerateID(): cv.declare_id(Listener),
            cv.Optional(CONF_MICROPHONE, default={}): microphone.microphone_source_schema(),
            cv.Optional(CONF_ON_DETECTION): automation.validate_automation(single=True),
        }
    ).extend(cv.COMPONENT_SCHEMA),
    cv.only_on([PLATFORM_ESP32, PLATFORM_HOST]),
    cv.require_esphome_version(*OLDEST_ESPHOME),
)

FINAL_VALIDATE_SCHEMA = cv.Schema(
    {
        cv.Required(CONF_MICROPHONE): microphone.final_validate_microphone_source_schema(
            FOLDER.name, sample_rate=FACTS["sample_rate_hz"]
        ),
    },
    extra=cv.ALLOW_EXTRA,
)


def index(config):
    """Number of an entity's class among the outputs of the detector."""
    return FACTS["classes"][config[CONF_LABEL]]


async def to_code(config):
    """Write the C++ that sets the listener up."""
    listener = cg.new_Pvariable(config[CONF_ID])
    await cg.register_component(listener, config)
    source = await microphone.microphone_source_to_code(config[CONF_MICROPHONE])
    cg.add(listener.set_microphone_source(source))
    if CONF_ON_DETECTION in config:
        await automation.build_automation(
            listener.get_detection_trigger(),
            [(cg.std_string, "label"), (cg.float_, "score")],
            config[CONF_ON_DETECTION],
        )
    if CORE.is_esp32:
        esp32.add_idf_component(name=FOLDER.name, path=str(FOLDER))
    else:  # a test on a computer, which compiles the library itself
        cg.add_build_flag(f"-I{FOLDER / 'src'}")
