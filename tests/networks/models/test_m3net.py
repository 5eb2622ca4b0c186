# SPDX-License-Identifier: Apache-2.0
"""M3Net compared with the paper's figures and tables."""

import numpy as np
import pytest
from refusals import refuses
from shared_networks import built_once, class_loss, train_on

from m3net_tf.networks.models import build_model
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf

SHAPE = (24, 26, 1)
CLASSES = 4


@built_once
def tiny(**overrides: object) -> keras.Model:
    keras.utils.set_random_seed(3)
    return build_model("m3net", "mcu", input_shape=SHAPE, classes=CLASSES, overrides=overrides)


def names(model: keras.Model) -> set[str]:
    return {layer.name for layer in model.layers}


def parameters(model: keras.Model, prefix: str) -> int:
    return sum(layer.count_params() for layer in model.layers if layer.name.startswith(prefix))


def weighed(model: keras.Model) -> np.ndarray:
    """The product of both branches for a few maps, in units of its largest value."""
    probe = keras.Model(model.input, model.get_layer("ma_product").output)
    product = probe(tf.random.stateless_uniform((3, *SHAPE), (1, 2), -1, 1)).numpy()
    return product / np.abs(product).max()


def test_paper_sizes():
    # Origin: the paper, table 1 (0.029 M for 10 classes, 0.031 M for 35) and section 2.2 ("5
    # million" for DFP and "15 million" for MFP can only mean thousands).
    model = build_model("m3net", "paper")
    assert 28_875 <= model.count_params() <= 29_499
    assert parameters(model, "dfp_") == pytest.approx(5_000, rel=0.05)
    assert parameters(model, "mfp_") == pytest.approx(15_000, rel=0.05)
    assert f"{model.count_params() / 1e6:.3f}" == "0.029"
    speech = build_model("m3net", "paper", classes=35)
    assert f"{speech.count_params() / 1e6:.3f}" == "0.031"


# Each ablation of tables 3 to 5: removed layers, and whether the parameters become fewer.
ABLATIONS = {
    "mirror_attention": (("mfp_", "dfp_", "turn_", "ma_"), True),
    "mfp": (("mfp_", "ma_product"), True),
    "dfp": (("dfp_", "turn_", "ma_product"), True),
    "eca": (("dfp_eca",), True),
    "csf": (("turn_csf",), False),
    "vmf": (("mfp_vmf",), False),
    "hmf": (("mfp_hmf",), False),
}


@pytest.mark.parametrize("argument", ABLATIONS)
def test_an_ablation_changes_what_it_says_and_trains(argument):
    gone, fewer = ABLATIONS[argument]
    full = tiny()
    model = tiny(**{argument: False})
    lost = names(full) - names(model)
    assert lost == {name for name in names(full) if name.startswith(gone)}
    assert not names(model) - names(full)
    assert (model.count_params() < full.count_params()) == fewer
    if not fewer:
        model.set_weights(full.get_weights())
        assert np.abs(weighed(model) - weighed(full)).max() > 0.01
    train_one_step(model)


def train_one_step(model: keras.Model) -> None:
    maps = tf.random.stateless_uniform((8, *SHAPE), (3, 4), -1, 1)
    before = [weight.numpy() for weight in model.trainable_variables]
    train_on(model, class_loss(model, maps, CLASSES), 1, 0.01)
    for old, weight in zip(before, model.trainable_variables, strict=True):
        assert np.isfinite(weight.numpy()).all()
        if "kernel" in weight.name:
            assert np.abs(weight.numpy() - old).max() > 1e-4, weight.name


def test_rows_of_the_table_from_a_recipe():
    stages = [
        {"filters": 8, "kernel": [5, 3], "strides": [2, 2], "separable": False},
        {"filters": 16, "pool": 2},
    ]
    model = tiny(sfp=stages, tail=[{"filters": 12}])
    layers = {layer.name: layer for layer in model.layers}
    assert layers["sfp1_conv"].kernel_size == (5, 3)
    assert layers["sfp1_conv"].output_shape == (None, 12, 13, 8)
    assert layers["sfp2_pool"].output_shape == (None, 6, 6, 16)
    assert layers["tail1_relu"].output_shape == (None, 6, 6, 12)


@pytest.mark.parametrize("kind", ["shuffle", "shift"])
def test_a_control_has_other_views_and_the_same_weights(kind):
    full = tiny()
    model = tiny(views=kind)
    assert names(full) == names(model)
    model.set_weights(full.get_weights())
    assert np.abs(weighed(model) - weighed(full)).max() > 0.01
    maps = tf.reshape(tf.range(80.0), (1, 8, 10, 1))
    for layer_name, axes in (("mfp_hmf", (2,)), ("mfp_vmf", (1,)), ("turn_csf", (1, 2))):
        view = model.get_layer(layer_name)(maps).numpy()
        for axis in (1, 2):
            lines, old = (
                [tuple(np.sort(np.take(x, i, axis).ravel())) for i in range(x.shape[axis])]
                for x in (view, maps.numpy())
            )
            assert sorted(lines) == sorted(old)
            assert (lines != old) == (axis in axes)
    train_one_step(model)


def test_the_momentum_of_the_normalisation_is_a_setting():
    momenta = {layer.momentum for layer in tiny(norm_momentum=0.99).layers if "_bn" in layer.name}
    assert momenta == {0.99}


def test_the_plain_control_has_the_size_and_cost_of_m3net():
    from m3net_tf.networks.models.complexity import count_macs

    full, plain = (
        build_model("m3net", "paper", overrides=overrides)
        for overrides in ({}, {"mirror_attention": False, "tail": [{"filters": 64}] * 5})
    )
    assert plain.count_params() == pytest.approx(full.count_params(), rel=0.02)
    assert count_macs(plain) == pytest.approx(count_macs(full), rel=0.001)


def test_features_become_the_papers_image():
    model = build_model("m3net", "paper", input_shape=(40, 49, 1))
    assert model.get_layer("image").output_shape == (None, 256, 256, 3)
    assert model.count_params() == build_model("m3net", "paper").count_params()
    assert "image" not in names(build_model("m3net", "paper"))
    with refuses(ConfigError, "channel"):
        build_model("m3net", "paper", input_shape=(40, 49, 2))


def test_branches_are_multiplied_and_the_input_added_twice():
    """Equation 7 and the two-stage skip, computed layer by layer."""
    model = tiny()
    at = {layer.name: layer.output for layer in model.layers}
    layer_names = ["mfp_out_relu", "dfp_eca", "ma_skip", "mfp_skip", "mfp_align_relu"]
    at["x"] = model.get_layer("mfp_hmf").input
    probe = keras.Model(model.input, [at[name] for name in [*layer_names, "x"]])
    x_mfp, x_dfp, joined, summed, narrowed, x = probe(
        tf.random.stateless_uniform((2, *SHAPE), (5, 6), -1, 1)
    )
    np.testing.assert_allclose(summed, narrowed + x, rtol=1e-5)
    np.testing.assert_allclose(joined, x_mfp * x_dfp + x, rtol=1e-5)


def test_without_padding_in_time_columns_stay_the_same_when_the_window_moves():
    """`plain` differs: its first and last columns see padding."""
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 1, (1, 20, 66, 1)).astype(np.float32)
    for preset, equal in (("plain_stream", True), ("plain", False)):
        model = build_model("m3net", preset)
        columns = keras.Model(model.input, model.get_layer("tail1_relu").output)
        window = model.input_shape[2]
        before, after = (columns(sound[:, :, i : i + window]).numpy() for i in (0, 2))
        np.testing.assert_array_equal(
            np.allclose(before[:, :, 1:], after[:, :, :-1], atol=1e-5), equal, preset
        )
