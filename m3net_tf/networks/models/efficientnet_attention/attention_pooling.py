# SPDX-License-Identifier: Apache-2.0
"""Attention pooling over time with several heads."""

from typing import Any

from m3net_tf.networks.layers.configured import Layer
from m3net_tf.networks.layers.precision import average_pooling, mean_pool
from m3net_tf.system.keras import keras, tf


@keras.utils.register_keras_serializable("m3net_tf")
class AttentionHeads(Layer):
    """Average class scores over time, weighted by each head's attention, then over the heads.

    Gong et al., "PSLA: Improving Audio Tagging With Pretraining, Sampling, Labeling, and
    Aggregation", TASLP 2021, section IV.E: attention between 0 and 1 is normalised over time; the
    heads are summed with learnt weights, which are equal at first.

    Shapes:
        [attention, class scores], both (batch, 1, T, heads x classes), to (batch, 1, 1, classes).
    """

    def __init__(self, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, input_shape: list[tf.TensorShape]) -> None:
        self.head_weights = self.add_weight(
            "head_weights",
            (self.heads,),
            initializer=keras.initializers.Constant(1.0 / self.heads),
            trainable=True,
        )
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        attention, scores = inputs
        whole = (1, scores.shape[2])
        mean = mean_pool(attention, whole)
        # Divide by the mean as a squared inverse root, because int8 has no division. The floor
        # keeps half precision finite if all attention is zero.
        root = tf.math.rsqrt(tf.maximum(mean, 1e-4))
        pooled = mean_pool(attention * scores, whole) * (root * root)
        parts = tf.split(pooled, self.heads, axis=-1)  # each (batch, 1, 1, classes)
        weights = tf.cast(self.head_weights, pooled.dtype)
        # Summed in pairs: ADD has an int8 kernel, ADD_N has none.
        return sum(part * weights[i] for i, part in enumerate(parts))


def attention_classifier(
    x: tf.Tensor, classes: int, heads: int = 4, *, multi_label: bool = False
) -> tf.Tensor:
    """PSLA's head: mean over frequency, attention over time: (batch, F, T, C) to (batch, classes).

    It has 2 heads (C + 1) classes + heads parameters. With ``multi_label`` a sigmoid is applied to
    each class before pooling, as in PSLA; otherwise a softmax over the classes after it.
    """
    x = average_pooling(x, (x.shape[1], 1), "frequency_pool")  # (1, T, C)
    attention = keras.layers.Conv2D(heads * classes, 1, name="attention")(x)
    attention = keras.layers.Activation("sigmoid", name="attention_gate")(attention)
    scores = keras.layers.Conv2D(heads * classes, 1, name="class_scores")(x)
    if multi_label:
        scores = keras.layers.Activation("sigmoid", name="class_gate")(scores)
    x = AttentionHeads(heads, name="heads")([attention, scores])  # (1, 1, classes)
    x = keras.layers.Flatten(name="logits")(x)
    return x if multi_label else keras.layers.Softmax(name="probabilities")(x)
