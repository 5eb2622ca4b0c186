# SPDX-License-Identifier: Apache-2.0
"""Seconds of sound classified per second, by frame rate: figure 5 of the DiffRes paper."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EFFICIENTNET_B2 = Classifier("efficientnet_attention", "paper")
CLIPS = 4
CLASSES = 527
"""Classes of AudioSet, the paper's largest experiment."""

Classify = Callable[[tf.Tensor], tf.Tensor]
Variant = tuple[str, int]
"""Front end, and frames per second at the classifier."""
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
    rng = np.random.default_rng(0)
    samples = round(clip_s * config.sample_rate_hz)
    sound = tf.constant(rng.uniform(-0.1, 0.1, (clips, samples)), tf.float32)
    variants = {
        (front_end, rate): _build(config, sound, front_end, rate, classifier, log)
        for rate in frames_per_s
        for front_end in ("mel", "leaf", "diffres")
        if front_end != "diffres" or rate < config.sample_rate_hz // config.hop_samples
    }
    rows = [
        (*variant, variants[variant][1], clips * clip_s / seconds, 1000 * seconds)
        for variant, seconds in _median_seconds(variants, sound, rounds).items()
    ]
    facts = {
        "clips": clips,
        "clip_s": clip_s,
        "rounds": rounds,
        "classifier": classifier.name,
        "cores": os.cpu_count(),
        "gpus": len(tf.config.list_physical_devices("GPU")),
    }
    return Drawing(_plot(rows), _COLUMNS, rows, facts)


def _build(
    config: FrontendConfig,
    sound: tf.Tensor,
    front_end: str,
    rate: int,
    classifier: Classifier,
    log: Log,
) -> tuple[Classify, int]:
    """A compiled network after one run, and its number of parameters."""
    log(f"{front_end} at {rate} FPS")
    samples = sound.shape[1]
    share = 1.0 - rate / (config.sample_rate_hz // config.hop_samples)
    if front_end == "leaf":
        model = _leaf(config, samples, share, classifier)
        classify = _compiled(model, None, sound.shape)
    else:
        model = _with_mel(config, samples, share, front_end, classifier)
        classify = _compiled(model, config, sound.shape)
    classify(sound).numpy()
    return classify, model.count_params()


def _median_seconds(
    variants: Mapping[Variant, tuple[Classify, int]], sound: tf.Tensor, rounds: int
) -> dict[Variant, float]:
    """Median time per batch of each network."""
    times_s: dict[Variant, list[float]] = {variant: [] for variant in variants}
    for _ in range(rounds):
        for variant, (classify, _) in variants.items():
            start = time.perf_counter()
            classify(sound).numpy()
            times_s[variant].append(time.perf_counter() - start)
    return {variant: statistics.median(seconds) for variant, seconds in times_s.items()}


def _plot(rows: Sequence[tuple[Any, ...]]) -> Figure:
    figure = new_figure(5, 3.2)
    axes = figure.subplots()
    for front_end in ("mel", "diffres", "leaf"):
        points = [(rate, speed) for name, rate, _, speed, _ in rows if name == front_end]
        axes.plot(*zip(*points, strict=True), "o-", label=front_end)
    axes.set(xlabel="frames per second", ylabel="sound classified per second (s)", ylim=(0, None))
    axes.legend()
    return figure


def _with_mel(
    config: FrontendConfig,
    samples: int,
    share: float,
    front_end: str,
    classifier: Classifier,
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


def _compiled(model: keras.Model, config: FrontendConfig | None, shape: tf.TensorShape) -> Classify:
    """A graph from waveforms to probabilities, with the mel front end if ``config`` is given."""

    def classify(sound: tf.Tensor) -> tf.Tensor:
        if config is None:
            return model(sound[:, None, :, None], training=False)
        maps = tf.cast(graph.features_int8(config, sound), tf.float32) / 128.0
        return model(maps[..., None], training=False)

    compiled = tf.function(classify).get_concrete_function(tf.TensorSpec(shape, tf.float32))
    traced: Classify = compiled
    return traced
