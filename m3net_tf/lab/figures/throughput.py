# SPDX-License-Identifier: Apache-2.0
"""Seconds of sound classified per second, by frame rate: figure 5 of the DiffRes paper."""

from __future__ import annotations

import functools
import os
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np

from m3net_tf.audio.frontend import FrontendConfig, frontend_preset, graph
from m3net_tf.networks.layers.diffres.time_pooling import AdaptiveAveragePooling
from m3net_tf.networks.layers.diffres.warp import frames_after
from m3net_tf.networks.models import build_model
from m3net_tf.networks.models.learnable_frontend import FRONTENDS, Bank
from m3net_tf.networks.models.stacking import Classifier, put_in_front
from m3net_tf.pages.plotting import Drawing, new_figure
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.progress import Log, silent

EFFICIENTNET_B2 = Classifier("efficientnet_attention", "paper")
CLIPS = 4
CLASSES = 527
"""Classes of AudioSet, the paper's largest experiment."""

Classify = Callable[[tf.Tensor], tf.Tensor]
_COLUMNS = ("front_end", "frames_per_s", "parameters", "sound_s_per_s", "batch_ms")


def draw_throughput(
    *,
    frames_per_s: Sequence[int] = (25, 50, 75, 100),
    clips: int = CLIPS,
    clip_s: float = 10.0,
    rounds: int = 5,
    classifier: Classifier = EFFICIENTNET_B2,
    log: Log = silent,
) -> Drawing:
    """Measure the time from waveform to class probabilities on this machine for all front ends.

    The frames of the mel spectrogram and LEAF are reduced by average pooling, as in the paper.
    DiffRes is only measured below the full frame rate, where it drops frames. All have 128 filters
    and a hop of 10 ms.

    Args:
        frames_per_s: frames per second at the classifier, up to 100.
        rounds: number of timed batches of each, after one for warm-up.
        classifier: network after the front ends, as for ``diffres``.
    """
    config = frontend_preset("diffres")
    full_rate = config.sample_rate_hz // config.hop_samples
    noise = np.random.default_rng(0).uniform(
        -0.1, 0.1, (clips, round(clip_s * config.sample_rate_hz))
    )
    sound = tf.constant(noise, tf.float32)
    networks: dict[tuple[str, int], tuple[Classify, int]] = {}
    for rate in frames_per_s:
        for front_end in ("mel", "leaf", "diffres"):
            if front_end != "diffres" or rate < full_rate:
                log(f"{front_end} at {rate} FPS")
                share = 1.0 - rate / full_rate
                networks[front_end, rate] = _compiled(config, sound, front_end, share, classifier)
    times_s: dict[tuple[str, int], list[float]] = {variant: [] for variant in networks}
    for _ in range(rounds):
        for variant, (classify, _) in networks.items():
            start = time.perf_counter()
            classify(sound).numpy()
            times_s[variant].append(time.perf_counter() - start)
    rows = []
    for variant, (_, parameters) in networks.items():
        seconds = statistics.median(times_s[variant])
        rows.append((*variant, parameters, clips * clip_s / seconds, 1000 * seconds))
    figure = new_figure(5, 3.2)
    axes = figure.subplots()
    for front_end in ("mel", "diffres", "leaf"):
        points = [(rate, speed) for name, rate, _, speed, _ in rows if name == front_end]
        axes.plot(*zip(*points, strict=True), "o-", label=front_end)
    axes.set(xlabel="frames per second", ylabel="sound classified per second (s)", ylim=(0, None))
    axes.legend()
    facts = {
        "clips": clips,
        "clip_s": clip_s,
        "rounds": rounds,
        "classifier": classifier.name,
        "cores": os.cpu_count(),
        "gpus": len(tf.config.list_physical_devices("GPU")),
    }
    return Drawing(figure, _COLUMNS, rows, facts)


def _compiled(
    config: FrontendConfig, sound: tf.Tensor, front_end: str, share: float, classifier: Classifier
) -> tuple[Classify, int]:
    """A graph from waveforms to probabilities after one run, and its number of parameters."""
    build = _leaf if front_end == "leaf" else functools.partial(_with_mel, front_end)
    model = build(config, sound.shape[1], share, classifier)

    def classify(sound: tf.Tensor) -> tf.Tensor:
        if front_end == "leaf":
            return model(sound[:, None, :, None], training=False)
        maps = tf.cast(graph.features_int8(config, sound), tf.float32) / 128.0
        return model(maps[..., None], training=False)

    specification = tf.TensorSpec(sound.shape, tf.float32)
    compiled: Classify = tf.function(classify).get_concrete_function(specification)
    compiled(sound).numpy()
    return compiled, model.count_params()


def _with_mel(
    front_end: str, config: FrontendConfig, samples: int, share: float, classifier: Classifier
) -> keras.Model:
    span = {"feature_min": config.feature_min, "feature_max": config.feature_max}
    method = "diffres" if front_end == "diffres" else "avgpool" if share else "none"
    return build_model(
        "diffres",
        "paper",
        input_shape=(config.feature_bins, config.frame_count(samples), 1),
        classes=CLASSES,
        overrides={"method": method, "classifier": vars(classifier)}
        | ({"reduction": share} if share else {}),
        feature_range=span,
    )


def _leaf(
    config: FrontendConfig, samples: int, share: float, classifier: Classifier
) -> keras.Model:
    inputs = keras.Input((1, samples, 1))
    bank: Bank = {
        "bins": config.mel_bins,
        "width_samples": config.frame_samples + 1,
        "sample_rate_hz": config.sample_rate_hz,
        "min_hz": 60.0,
        "max_hz": 7800.0,
    }
    x = FRONTENDS["leaf"](inputs, config.frame_samples, config.hop_samples, bank)
    if share:
        x = AdaptiveAveragePooling(frames_after(x.shape[2], share))(x)
    return put_in_front(inputs, x, classifier, CLASSES, name="leaf")
