# SPDX-License-Identifier: Apache-2.0
"""A board that runs the firmware, at a serial port, over TCP, or emulated."""

from m3net_tf.device.client import Device, Message, Reply
from m3net_tf.device.ports import Port, open_port

__all__ = ["Device", "Message", "Port", "Reply", "open_port"]
