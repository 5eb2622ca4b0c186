# SPDX-License-Identifier: Apache-2.0
"""The place of a process among the workers of one training; needs no TensorFlow."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Member:
    """This process among the workers of a training.

    Attributes:
        addresses: ``HOST:PORT`` of each worker, the same in all of them.
        number: index of this process's address; worker 0 writes the files.
    """

    addresses: tuple[str, ...]
    number: int
