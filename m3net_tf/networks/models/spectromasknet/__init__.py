# SPDX-License-Identifier: Apache-2.0
"""SpectroMaskNet."""

from m3net_tf.networks.models.spectromasknet.network import Design, build, learnt

__all__ = ["Design", "build", "learnt"]
