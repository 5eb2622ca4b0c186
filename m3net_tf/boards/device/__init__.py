# SPDX-License-Identifier: Apache-2.0
"""A board that runs the firmware, at a serial port, over TCP, or emulated."""

from m3net_tf.boards.device.client import Device
from m3net_tf.boards.device.messages import Message, Reply
from m3net_tf.boards.device.ports import Port, open_port

__all__ = ["Device", "Message", "Port", "Reply", "open_port"]
