# SPDX-License-Identifier: Apache-2.0
"""Networks that many tests of a module need: building one takes longer than most of the tests."""

import functools
import json
from collections.abc import Callable

from m3net_tf.keras import keras


def built_once(build: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
    """Decorate a function that builds a network: equal arguments give the same network again.

    Each call sets the seeds and the network's first weights; nothing else may change it.
    """
    networks: dict[str, tuple[keras.Model, list]] = {}

    @functools.wraps(build)
    def get(*arguments: object, **options: object) -> keras.Model:
        policy = keras.mixed_precision.global_policy().name
        key = json.dumps([policy, arguments, options], sort_keys=True)
        if key not in networks:
            network = build(*arguments, **options)
            networks[key] = network, network.get_weights()
        network, weights = networks[key]
        network.set_weights(weights)
        keras.utils.set_random_seed(1)
        return network

    return get
