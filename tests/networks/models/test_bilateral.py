# SPDX-License-Identifier: Apache-2.0
"""The bilateral network: its branches, its ablations (tables 6 and 7), its exits, int8."""

import numpy as np
import pytest
from shared_networks import built_once, train_on

from m3net_tf.networks.models import build_model
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.loss.self_distillation import self_distillation_loss

SAMPLES, CLASSES = 320, 3
NARROW = {
    "semantic_filters": [4, 4, 6, 6, 8],
    "detail_filters": [4, 4, 6, 6, 8],
    "token_filters": 8,
    "token_step": 1,
    "heads": 2,
}
# The fewest stages that have every kind of module; five would only take longer.
SHORT = {"fd_modules": "AB", "semantic_filters": [4, 8], "detail_filters": [4, 8]}


@built_once
def tiny(**overrides: object) -> keras.Model:
    keras.utils.set_random_seed(5)
    return build_model(
        "bilateral",
        "small",
        input_shape=(1, SAMPLES, 1),
        classes=CLASSES,
        overrides={**NARROW, **overrides},
    )


def names(model: keras.Model) -> set[str]:
    return {layer.name for layer in model.layers}


def sounds(clips: int, seed: int = 0) -> np.ndarray:
    """int8 waveforms: a third each of a slow tone, a fast tone and noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(SAMPLES)
    rows = [
        100 * np.sin(2 * np.pi * rate * time + rng.uniform(0, 6)) + rng.normal(0, 8, SAMPLES)
        for rate in np.resize([0.01, 0.2, 0.0], clips)
    ]
    rows[2::3] = [rng.normal(0, 60, SAMPLES) for _ in rows[2::3]]
    return np.clip(np.round(rows), -128, 127).astype(np.int8).reshape(clips, 1, SAMPLES, 1)


def test_shapes_of_the_papers_branches():
    # Origin: the paper, sections 3.1 and 3.2: 256 channels at a 32nd of the length in both.
    model = build_model("bilateral", "paper", classes=10)
    shapes = {layer.name: layer.output_shape for layer in model.layers}
    assert shapes["semantic_fd5_macem1a_q"] == (None, 1, 2757, 256)
    assert shapes["detail_garm5_q"] == (None, 1, 2757, 256)
    assert shapes["detail_down3_lrelu"] == (None, 1, 88_200 // 8, 128)
    assert shapes["semantic"] == shapes["detail"] == shapes["fusion"] == (None, 1, 2757, 128)
    assert shapes["pool"] == (None, 1, 1, 128)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [50, 10, 8, 6])  # ESC-50, US8K, RAVDESS, CREMA-D
def test_only_the_head_depends_on_the_classes(classes):
    rest = 10_114_994 - 50 * 129
    assert build_model("bilateral", "paper", classes=classes).count_params() == rest + classes * 129


def kinds(model: keras.Model) -> list[str]:
    """Letters of the MACEMs of each FD module in turn."""
    quantities = sorted(name for name in names(model) if name.endswith(("a_q", "b_q")))
    return ["".join(n[-3] for n in quantities if f"fd{i}_" in n) for i in range(1, 6)]


@pytest.mark.slow
def test_fd_modules():
    assert kinds(tiny()) == ["ab", "ab", "bb", "bb", "a"]
    assert kinds(tiny(fd_modules="RBABA")) == ["a", "bb", "ab", "bb", "ab"]
    assert kinds(tiny(macem_a=False)) == ["b", "b", "bb", "bb", ""]
    assert kinds(tiny(macem_b=False)) == ["a", "a", "", "", "a"]


# Each row of table 6: the omitted part, and the prefixes of the names that go with it.
TABLE_6 = {
    "semantic alone": ({"detail": False}, ("detail", "fused")),
    "detail alone": ({"semantic": False}, ("semantic", "fused")),
    "no modules": ({"macem_a": False, "macem_b": False, "garm": False}, ()),
    "no GARM": ({"garm": False}, ("detail_garm",)),
    "MACEM-A alone": ({"macem_b": False, "garm": False}, ("detail_garm",)),
    "MACEM-B and GARM": ({"macem_a": False}, ()),
}


@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE_6)
def test_rows_of_table_6_leave_out_what_they_say(row):
    changes, prefixes = TABLE_6[row]
    full = tiny()
    model = tiny(**changes)
    lost = names(full) - names(model)
    assert not names(model) - names(full)
    assert model.count_params() < full.count_params()
    for name in names(full):
        module = "_macem" in name or "_garm" in name
        if name.startswith(prefixes or ("-",)):
            assert name in lost
        elif not module:
            assert name not in lost
    assert model(sounds(2) / np.float32(128)).shape == (2, CLASSES)


@pytest.mark.slow
def test_fusions_of_table_7():
    waves = sounds(4) / np.float32(128)
    sizes = {}
    for kind in ("gam", "sum", "concat"):
        model = tiny(fusion=kind, **SHORT)
        sizes[kind] = model.count_params()
        branches = [model.get_layer(name).output for name in ("semantic", "detail", "fusion")]
        s, d, joined = (x.numpy() for x in keras.Model(model.input, branches)(waves))
        if kind == "sum":
            np.testing.assert_allclose(joined, s + d, rtol=1e-6)
        elif kind == "concat":
            np.testing.assert_array_equal(joined, np.concatenate([s, d], -1))
        else:
            gate = joined / s - 1  # equation 11
            np.testing.assert_allclose(gate, np.broadcast_to(gate[:, :, :1], s.shape), atol=1e-3)
            assert ((gate > 0) & (gate < 1)).all()
    assert sizes["gam"] - sizes["sum"] == 2 * (8 * 8 + 8)
    assert sizes["concat"] - sizes["sum"] == 8 * CLASSES


@pytest.mark.slow
def test_early_exits_are_further_outputs_that_can_be_dropped():
    plain = tiny()
    model = tiny(early_exits=True)
    assert [out.name.split("/")[0] for out in model.outputs] == [
        "probabilities",
        "exit_semantic4_probabilities",
        "exit_semantic5_probabilities",
        "exit_semantic_probabilities",
        "exit_detail4_probabilities",
        "exit_detail5_probabilities",
        "exit_detail_probabilities",
    ]
    waves = sounds(3) / np.float32(128)
    answers = model(waves)
    for answer in answers:
        np.testing.assert_allclose(answer.numpy().sum(1), 1, rtol=1e-5)
    bare = keras.Model(model.input, model.outputs[0])
    assert bare.count_params() == plain.count_params()
    np.testing.assert_array_equal(bare(waves), answers[0])
    with_exits = tiny(early_exits=True, semantic=False)
    assert len(with_exits.outputs) == 4


@pytest.mark.slow
def test_trains_with_self_distillation_and_reaches_every_weight():
    model = tiny(early_exits=True, **SHORT)
    waves = tf.constant(sounds(12) / np.float32(128))
    labels = np.arange(12) % CLASSES
    targets = tf.one_hot(labels, CLASSES)

    def loss() -> tf.Tensor:
        return self_distillation_loss(targets, model(waves, training=True))

    losses, gradients = train_on(model, loss, 12, 3e-3, traced=True)
    assert losses[-1] < 0.7 * losses[0]
    still = [
        variable.name
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
        if "kernel" in variable.name and not gradient.numpy().any()
    ]
    # Scores may have come to be shut for a time; convolutions of the sound itself may not.
    assert not [name for name in still if "squeeze" not in name and "expand" not in name]


@pytest.mark.slow
def test_a_longer_first_step_and_an_unrolled_lstm():
    plain = tiny(**SHORT)
    model = tiny(stem_step=5, unrolled_lstm=True, **SHORT)
    layers = {layer.name: layer for layer in model.layers}
    for branch, kernel in (("semantic_up", 10), ("detail_down1", 20)):
        assert layers[f"{branch}_conv"].kernel_size == (1, kernel)
    for branch in ("semantic", "detail"):
        assert plain.get_layer(branch).output_shape == (None, 1, SAMPLES // 4, 8)
        assert layers[branch].output_shape == (None, 1, SAMPLES // 20, 8)
    assert not [layer for layer in model.layers if isinstance(layer, keras.layers.LSTM)]
    extra = 4 * 3 + 4 * 17  # taps more of the first convolutions, of 4 channels each
    assert model.count_params() == plain.count_params() + extra
    assert model(sounds(2) / np.float32(128)).shape == (2, CLASSES)
