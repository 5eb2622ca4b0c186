# SPDX-License-Identifier: Apache-2.0
"""Our networks and DiffRes's layer compared with naive versions: equal answers."""

import naive
import numpy as np
import pytest
from refusals import refuses

from m3net_tf.networks.layers.diffres.frame_importance import frame_importance
from m3net_tf.networks.layers.diffres.warp import FrameScores, FrameWarp, frames_after
from m3net_tf.networks.models import build_model, presets_of
from m3net_tf.networks.models.efficientnet_attention.attention_pooling import attention_classifier
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf

# Small maps, on which the weights do not depend. The papers' presets have the same layers as these,
# only more of them.
COMPARED = {
    ("m3net", "mcu"): (40, 49, 1),
    ("spectromasknet", "mcu"): (24, 20, 1),
    ("bilateral", "small"): (1, 1024, 1),
}
COUNTED = {
    ("m3net", "paper"): None,
    ("spectromasknet", "paper"): (80, 98, 1),  # the paper's input takes minutes
    ("diffres", "paper"): None,
}
# Single Keras layers that are several layers of ours.
PARTS = ("query", "key", "value", "out", "forward_lstm", "backward_lstm")


def copy_weights(ours: keras.Model, plain: keras.Model) -> None:
    """Layer by layer, by name."""
    own_layers = {layer.name: layer for layer in ours.layers}
    for layer in (layer for layer in plain.layers if layer.weights):
        names = [layer.name, *(f"{layer.name}_{part}" for part in PARTS)]
        values = [w for name in names if name in own_layers for w in own_layers[name].get_weights()]
        shapes = [w.shape for w in layer.get_weights()]
        assert len(values) == len(shapes), layer.name
        layer.set_weights([v.reshape(s) for v, s in zip(values, shapes, strict=True)])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), COUNTED)
def test_same_parameters(name: str, size: str):
    preset = presets_of(name)[size]
    shape = COUNTED[name, size] or preset.input_shape
    plain = naive.NETWORKS[name](shape, preset.classes, **preset.arguments)
    assert plain.count_params() == preset.parameters
    assert plain.output_shape == (None, preset.classes)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), COMPARED)
def test_same_parameters_and_answers(name: str, size: str):
    keras.utils.set_random_seed(1)
    preset, shape = presets_of(name)[size], COMPARED[name, size]
    plain = naive.NETWORKS[name](shape, preset.classes, **preset.arguments)
    compare(build_model(name, size, input_shape=shape), plain)


@pytest.mark.parametrize(
    ("shape", "own", "counterpart"),
    [
        ((32, 20, 1), frame_importance, naive.frame_scores),
        ((3, 5, 8), lambda x: attention_classifier(x, 6), lambda x: naive.attention_head(x, 6)),
    ],
    ids=["frame_scores", "attention_head"],
)
def test_same_answers_of_the_parts_around_diffres(shape, own, counterpart):
    keras.utils.set_random_seed(1)
    inputs = keras.Input(shape)
    compare(keras.Model(inputs, own(inputs)), keras.Model(inputs, counterpart(inputs)))


def compare(ours: keras.Model, plain: keras.Model) -> None:
    """Assert the same number of parameters, and equal answers with equal weights."""
    assert plain.count_params() == ours.count_params()
    rng = np.random.default_rng(0)
    for weight in ours.weights:  # biases, scales and shifts must have an effect too
        weight.assign_add(rng.uniform(0, 0.01, weight.shape))
    copy_weights(ours, plain)
    maps = rng.uniform(-1, 1, (2, *ours.input_shape[1:])).astype(np.float32)
    expected = ours(maps).numpy()
    np.testing.assert_allclose(plain(maps), expected, atol=1e-6)
    assert np.abs(expected[0] - expected[1]).max() > 1e-6  # it looks at its input


def test_naive_masks_hide_half_the_cells_in_training_alone():
    keras.utils.set_random_seed(2)
    plain = naive.spectromasknet((20, 20, 1), 3, modules=[1], channels=[4], strides=[1])
    (mask,) = (
        layer
        for layer in plain.layers
        if isinstance(layer, keras.layers.Lambda)
        if layer.input_shape[1:] == (20, 20, 1) and layer.output_shape[1:] == (20, 20, 1)
    )
    maps = tf.ones((200, 20, 20, 1))
    np.testing.assert_array_equal(mask(maps, training=False), maps)
    kept = mask(maps, training=True).numpy()[..., 0]
    assert 0.4 < kept.mean() < 0.6
    cells = kept.reshape(200, 2, 10, 2, 10).mean(axis=(2, 4))
    assert set(np.unique(cells)) == {0.0, 1.0}


def test_arguments_that_the_naive_networks_refuse():
    with refuses(ConfigError, "ds_cnn"):
        naive.diffres((40, 49, 1), 12, classifier={"name": "ds_cnn", "preset": "mcu"})
    with pytest.raises(ConfigError, match="resize first"):
        naive.m3net((128, 32, 1), 10, sfp=(), tail=(), image=(256, 256))


class TestDiffResLayer:
    reduction = 0.4

    def inputs(self, frames: int = 30, bins: int = 5) -> tuple[tf.Tensor, tf.Tensor]:
        rng = np.random.default_rng(5)  # no score sum is on a border, where gradients have corners
        maps = rng.uniform(-1, 1, (2, bins, frames, 1))
        maps[:, :, :6] = -0.7  # empty frames, for the guide loss
        scores = rng.uniform(0.1, 1, (2, frames))
        return tf.constant(maps, tf.float32), tf.constant(scores, tf.float32)

    def ours(self, maps: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        layer = FrameScores(self.reduction)
        warp = FrameWarp(frames_after(maps.shape[2], self.reduction))
        out = warp([maps, layer([maps, scores])])
        return out, tf.add_n(layer.losses)

    def plain(
        self, maps: tf.Tensor, scores: tf.Tensor, warp: naive.Warp
    ) -> tuple[tf.Tensor, tf.Tensor]:
        layer = naive.DiffResLayer(self.reduction, warp)
        return layer([maps, scores]), tf.add_n(layer.losses)

    @pytest.mark.parametrize("warp", [naive.warp_by_loop, naive.warp_by_matrix])
    def test_answers_guide_loss_and_gradients(self, warp):
        maps, scores = self.inputs()
        answers = []
        for way in (self.ours, lambda m, s: self.plain(m, s, warp)):
            with tf.GradientTape() as tape:
                tape.watch([maps, scores])
                out, guide = way(maps, scores)
                loss = tf.reduce_sum(tf.square(out)) + guide
            answers.append([out, guide, *tape.gradient(loss, [maps, scores])])
        assert float(answers[0][1]) > 0
        for own, counterpart in zip(*answers, strict=True):
            np.testing.assert_allclose(counterpart, own, rtol=2e-3, atol=5e-3)

    def largest_tensor(self, function, frames: int) -> int:
        """Elements of the largest tensor in the graph of forward and backward pass."""

        def both(maps: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(scores)
                out, guide = function(maps, scores)
                loss = tf.reduce_sum(tf.square(out)) + guide
            return tape.gradient(loss, scores)

        graph = tf.function(both).get_concrete_function(*self.inputs(frames, bins=2)).graph
        sizes = [t.shape.num_elements() for op in graph.get_operations() for t in op.outputs]
        assert sum(size is None for size in sizes) <= 0.1 * len(sizes)
        return max(size for size in sizes if size is not None)

    def test_memory_grows_with_the_frames_and_not_with_their_square(self):
        def matrix(maps: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return self.plain(maps, scores, naive.warp_by_matrix)

        own = [self.largest_tensor(self.ours, frames) for frames in (200, 400)]
        assert own[1] <= 2.01 * own[0]
        assert self.largest_tensor(matrix, 400) >= 3.9 * self.largest_tensor(matrix, 200)
