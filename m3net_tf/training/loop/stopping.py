# SPDX-License-Identifier: Apache-2.0
"""The end of a training by its caller, before the recipe's last epoch."""

from collections.abc import Callable, Sequence

from m3net_tf.system.errors import M3NetError

AfterEpoch = Callable[[Sequence[dict[str, float]], bool], None]
"""Is called with the figures of all epochs, and whether they were the last, after each saved epoch
and when a training resumes. It may raise :class:`TrainingStoppedError`."""


class TrainingStoppedError(M3NetError):
    """The caller has stopped a training after an epoch; the same training continues from there."""
