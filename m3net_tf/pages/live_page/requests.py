# SPDX-License-Identifier: Apache-2.0
"""The requests of a page: JSON objects whose ``type`` says what is wanted."""

from typing import Annotated

import msgspec

from m3net_tf.system.conversion import Count
from m3net_tf.system.errors import ConfigError


class SetThreshold(msgspec.Struct, tag_field="type", tag="threshold"):
    """Change the threshold of a class, given by its number, on the board."""

    label: Count
    value: Annotated[float, msgspec.Meta(ge=0.01, le=1)]


class Reset(msgspec.Struct, tag_field="type", tag="reset"):
    """Return to the thresholds from the page's start."""


class Save(msgspec.Struct, tag_field="type", tag="save"):
    """Save the thresholds on the board."""


class Forget(msgspec.Struct, tag_field="type", tag="forget"):
    """Forget the saved thresholds."""


class PlaySound(msgspec.Struct, tag_field="type", tag="wav"):
    """Send a kept sound to the page."""

    clip: int


class LabelSound(msgspec.Struct, tag_field="type", tag="label"):
    """Save a kept sound under the name of a class."""

    clip: int
    label: str


class DiscardSound(msgspec.Struct, tag_field="type", tag="discard"):
    """Forget a kept sound."""

    clip: int


class KeepRecording(msgspec.Struct, tag_field="type", tag="recording"):
    """Keep a recording of the browser: little-endian int16 samples, base64 in JSON."""

    samples: bytes


SoundRequest = PlaySound | LabelSound | DiscardSound | KeepRecording
Request = SetThreshold | Reset | Save | Forget | SoundRequest


def read_request(text: str) -> Request:
    """A page's request.

    Raises:
        ConfigError: the text is not a request; the message says what is wrong with it.
    """
    try:
        request: Request = msgspec.json.decode(text, type=Request)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigError(f"no valid request: {error}; reload the page") from None
    return request
