# SPDX-License-Identifier: Apache-2.0
"""LEAF, SincNet and TD-filterbanks in front of a classifier."""

import numpy as np
import pytest
from shared_networks import built_once, class_loss, train_on

from m3net_tf.audio.frontend import frontend_preset
from m3net_tf.networks.models import build_model
from m3net_tf.networks.models.complexity import count_macs
from m3net_tf.networks.models.learnable_frontend import FRONTENDS
from m3net_tf.system.keras import keras, tf

SAMPLES, CLASSES = 1600, 3
SMALL = {
    "name": "m3net",
    "preset": "mcu",
    "arguments": {
        "sfp": [{"filters": 8, "strides": [4, 4]}],
        "tail": [{"filters": 8}],
        "dropout": 0.0,  # the loss of a step must depend only on the weights
    },
}
# Origin: DiffRes, table 3; its AudioSet row has 64 filters.
PRINTED = {"leaf": "448", "sincnet": "256", "td_fbank": "51k"}


@built_once
def tiny(frontend: str, **changes: object) -> keras.Model:
    keras.utils.set_random_seed(3)
    settings = {"classifier": SMALL, "frontend": frontend, "bins": 8, **changes}
    shape = (1, SAMPLES, 1)
    return build_model(
        "learnable_frontend", "leaf", input_shape=shape, classes=CLASSES, overrides=settings
    )


def waves(clips: int = 9) -> np.ndarray:
    """Int8 tones of a different pitch for each class, in noise; the last clip is silent."""
    rng = np.random.default_rng(0)
    hz = np.array([400.0, 1350.0, 3000.0])[np.arange(clips) % CLASSES, None]
    x = np.sin(2 * np.pi * hz * np.arange(SAMPLES) / 16_000) * 60
    x = (x + rng.normal(size=x.shape) * 20).clip(-127, 127)
    x[-1] = 0
    return x.astype(np.int8)[:, None, :, None]


def real() -> tf.Tensor:
    return tf.constant(waves() / 128, tf.float32)


def front_part(model: keras.Model, frontend: str) -> keras.Model:
    last = [layer for layer in model.layers if layer.name.startswith(frontend)][-1]
    return keras.Model(model.input, last.output)


@pytest.mark.parametrize(
    "frontend",
    [pytest.param(name, marks=() if name == "leaf" else pytest.mark.slow) for name in FRONTENDS],
)
class TestEveryFrontend:
    def test_has_the_printed_size(self, frontend):
        part = front_part(tiny(frontend, bins=64), frontend)
        count = sum(int(np.prod(weight.shape)) for weight in part.trainable_weights)
        text = str(count) if count < 1000 else f"{count // 1000}k"
        assert text == PRINTED[frontend]

    def test_gives_the_frames_of_diffres_mel(self, frontend):
        part = front_part(tiny(frontend), frontend)
        frames = frontend_preset("diffres").frame_count(SAMPLES)
        assert part.output_shape == (None, 8, frames, 1)

    def test_starts_as_a_filter_bank_on_the_mel_scale(self, frontend):
        """Each tone is loudest in the filter at its mel frequency."""
        model = tiny(frontend)
        pooled = keras.Model(model.input, model.get_layer(f"{frontend}_pool").output)(real())
        strongest = pooled.numpy()[:3, :, :, 0].mean(2).argmax(1)
        mel = 2595 * np.log10(1 + np.array([60, 7800, 400, 1350, 3000]) / 700)
        place = (mel[2:] - mel[0]) / (mel[1] - mel[0])
        # Bands side by side, or filters whose peaks divide the scale in nine.
        expected = np.floor(place * 8) if frontend == "sincnet" else np.round(place * 9) - 1
        np.testing.assert_array_equal(strongest, expected)

    @pytest.mark.slow
    def test_learns_with_the_classifier_and_stays_finite_in_silence(self, frontend):
        model = tiny(frontend)
        before = front_part(model, frontend).get_weights()
        loss = class_loss(model, real(), CLASSES)
        losses, gradients = train_on(model, loss, 15, 0.005, traced=True)
        assert all(gradient is not None for gradient in gradients)
        assert losses[-1] < 0.9 * losses[0]
        after = front_part(model, frontend).get_weights()
        changed = [np.abs(new - old).max() > 0 for old, new in zip(before, after, strict=True)]
        assert all(changed)


def test_costs_are_those_of_the_convolutions():
    classifier = build_model(
        "m3net", "mcu", input_shape=(8, 8, 1), classes=CLASSES, overrides=SMALL["arguments"]
    )
    own = count_macs(tiny("leaf")) - count_macs(classifier)
    assert own == SAMPLES * 2 * 8 * 401 + 8 * 8 * 400


def test_other_rates_and_hops():
    part = front_part(tiny("leaf", sample_rate_hz=8000, max_hz=3800.0, hop_s=0.005), "leaf")
    assert part.output_shape == (None, 8, 1 + (SAMPLES - 200) // 40, 1)
    assert part.get_layer("leaf_filters").width_samples == 201
