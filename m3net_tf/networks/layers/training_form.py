# SPDX-License-Identifier: Apache-2.0
"""A network's form for training on a CPU: the same mathematics in operations of less time.

A network is made of stock layers, which quantisation tools support. TensorFlow computes each of
them alone, and on a CPU some gradients take several times as long as the same sums written in
another way. This form has other layers in place of these; all have the network's own weights.
"""

from m3net_tf.system.keras import keras, tf

_FEW_CHANNELS = 4


def training_form(model: keras.Model) -> keras.Model:
    """The network as a CPU trains it fast; shares all weights.

    Outputs and gradients are equal up to rounding. Only for ``training=True``: normalisation
    always uses the batch. A network without such layers is returned as it is.
    """
    forms: dict[str, keras.layers.Layer] = {}
    for layer in model.layers:
        chain = _pooled_chain(model, layer)
        if chain:
            convolution, norm, activation, pool = chain
            forms[convolution.name] = PooledNorm(convolution, norm, pool)
            forms |= {skipped.name: _nothing(skipped) for skipped in (norm, activation, pool)}
        elif _is_pointwise(layer):
            forms[layer.name] = MatrixProduct(layer)
        elif _is_whole_depthwise(layer):
            forms[layer.name] = WeightedSum(layer)
        elif _is_narrow_depthwise(layer):
            forms[layer.name] = FullConvolution(layer)
    if not forms:
        return model
    return keras.models.clone_model(
        model, clone_function=lambda layer: forms.get(layer.name, layer)
    )


def readers(model: keras.Model, layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Layers of a network that take a layer's output; another network may share the layer."""
    ids = {id(each) for each in model.layers}
    found = {id(node.layer): node.layer for node in layer.outbound_nodes}
    return [reader for key, reader in found.items() if key in ids]


def _is_pointwise(layer: keras.layers.Layer) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and layer.kernel_size == layer.strides == (1, 1)
        and _is_plain(layer)
    )


def _is_depthwise(layer: keras.layers.Layer) -> bool:
    return (
        type(layer) is keras.layers.DepthwiseConv2D
        and layer.depth_multiplier == 1
        and _is_plain(layer)
    )


def _is_narrow_depthwise(layer: keras.layers.Layer) -> bool:
    return _is_depthwise(layer) and layer.input_shape[-1] <= _FEW_CHANNELS


def _is_whole_depthwise(layer: keras.layers.Layer) -> bool:
    """Whether a depthwise convolution's only window is the whole map."""
    return (
        _is_depthwise(layer)
        and layer.padding == "valid"
        and layer.input_shape[1:3] == layer.kernel_size
    )


def _is_plain(layer: keras.layers.Layer) -> bool:
    """Whether a convolution has one group, no activation and single precision."""
    return (
        layer.groups == 1
        and layer.activation is keras.activations.linear
        and layer.data_format == "channels_last"
        and layer.compute_dtype == "float32"
    )


def _nothing(layer: keras.layers.Layer) -> keras.layers.Layer:
    return keras.layers.Activation("linear", name=layer.name)


def _pooled_chain(
    model: keras.Model, layer: keras.layers.Layer
) -> tuple[keras.layers.Layer, ...] | None:
    """A pointwise convolution and its only readers: normalisation, ReLU, max pooling."""
    if not _is_pointwise(layer):
        return None
    chain = [layer]
    for kind in (
        keras.layers.BatchNormalization,
        keras.layers.ReLU,
        keras.layers.MaxPooling2D,
    ):
        next_layers = readers(model, chain[-1])
        if len(next_layers) != 1 or type(next_layers[0]) is not kind:
            return None
        chain += next_layers
    _, norm, activation, _ = chain
    plain = (
        norm.trainable
        and norm.scale
        and norm.center
        and activation.max_value is None
        and activation.negative_slope == activation.threshold == 0
        and not any(each.name in model.output_names for each in chain[:-1])
    )
    return tuple(chain) if plain else None


class MatrixProduct(keras.layers.Layer):  # type: ignore[misc]
    """A 1 x 1 convolution as a product of two matrices, whose gradients take less time.

    Shapes:
        (batch, F, T, channels) to (batch, F, T, filters).
    """

    def __init__(self, convolution: keras.layers.Conv2D) -> None:
        super().__init__(name=convolution.name)
        self.convolution = convolution

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs = tf.tensordot(inputs, tf.squeeze(self.convolution.kernel, (0, 1)), 1)
        if not self.convolution.use_bias:
            return outputs
        return tf.nn.bias_add(outputs, self.convolution.bias)


class WeightedSum(keras.layers.Layer):  # type: ignore[misc]
    """A depthwise convolution of which one window is the whole map, as a sum over the map.

    Shapes:
        (batch, F, T, channels) to (batch, 1, 1, channels).
    """

    def __init__(self, depthwise: keras.layers.DepthwiseConv2D) -> None:
        super().__init__(name=depthwise.name)
        self.depthwise = depthwise

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        layer = self.depthwise
        products = inputs * layer.depthwise_kernel[..., 0]
        outputs = tf.reduce_sum(products, (1, 2), keepdims=True)
        return tf.nn.bias_add(outputs, layer.bias) if layer.use_bias else outputs


class FullConvolution(keras.layers.Layer):  # type: ignore[misc]
    """A depthwise convolution of few channels as a full one whose other weights are zero.

    Shapes:
        (batch, F, T, channels) to (batch, F', T', channels).
    """

    def __init__(self, depthwise: keras.layers.DepthwiseConv2D) -> None:
        super().__init__(name=depthwise.name)
        self.depthwise = depthwise

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        layer = self.depthwise
        kernel = tf.linalg.diag(layer.depthwise_kernel[..., 0])
        outputs = tf.nn.conv2d(
            inputs, kernel, layer.strides, layer.padding.upper(), dilations=layer.dilation_rate
        )
        return tf.nn.bias_add(outputs, layer.bias) if layer.use_bias else outputs


class PooledNorm(keras.layers.Layer):  # type: ignore[misc]
    """A 1 x 1 convolution, normalisation by the batch, ReLU and max pooling at once.

    The mean and the variance of the convolution's outputs follow from the mean and the covariance
    of its inputs. So normalisation is a factor of the convolution's weights and a term after the
    pooling, and the map before the pooling, the largest of the network, is only computed and
    pooled.

    Shapes:
        (batch, F, T, channels) to (batch, F', T', filters).
    """

    def __init__(
        self,
        convolution: keras.layers.Conv2D,
        norm: keras.layers.BatchNormalization,
        pool: keras.layers.MaxPooling2D,
    ) -> None:
        super().__init__(name=convolution.name)
        self.convolution = convolution
        self.norm = norm
        self.pool = pool

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        norm = self.norm
        kernel = tf.squeeze(self.convolution.kernel, (0, 1))
        bias = self.convolution.bias if self.convolution.use_bias else 0.0
        rows = tf.reshape(inputs, (-1, inputs.shape[-1]))
        count = tf.cast(tf.shape(rows)[0], tf.float32)
        means = tf.reduce_mean(rows, 0)
        centred = rows - means
        covariance = tf.matmul(centred, centred, transpose_a=True) / count
        mean = tf.linalg.matvec(kernel, means, transpose_a=True) + bias
        variance = tf.reduce_sum(kernel * tf.matmul(covariance, kernel), 0)
        for moving, value in (
            (norm.moving_mean, mean),
            (norm.moving_variance, variance * (count / (count - 1.0))),  # as Keras keeps it
        ):
            moving.assign_sub((moving - value) * (1.0 - norm.momentum))
        scale = norm.gamma * tf.math.rsqrt(variance + norm.epsilon)
        pooled = self.pool(tf.tensordot(inputs, kernel * scale, 1))
        return tf.nn.relu(pooled + (norm.beta + (bias - mean) * scale))
