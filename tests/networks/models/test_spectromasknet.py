# SPDX-License-Identifier: Apache-2.0
"""SpectroMaskNet compared with the paper's text and tables."""

import numpy as np
import pytest
from shared_networks import class_loss, train_on

from m3net_tf.networks.models import build_model
from m3net_tf.networks.models.spectromasknet import learnt
from m3net_tf.system.keras import keras, tf

SHAPE = (24, 30, 1)
CLASSES = 4
TINY = {
    "modules": [1, 1],
    "channels": [8, 16],
    "strides": [1, 2],
    "expansion": 2,
    "mask_block": 5,
}
TABLE_4 = {  # complete input, masked input
    "global/local": {"complete": "global", "masked": "local"},
    "local/global": {"complete": "local", "masked": "global"},
    "se/se": {"complete": "se", "masked": "se"},
    "none/none": {"complete": "none", "masked": "none"},
}
SINGLE = {
    "global": {"masked": "off"},
    "local": {"complete": "off"},
    "local unmasked": {"complete": "local", "masked": "off"},
    "global masked": {"complete": "off", "masked": "global"},
}
MASKS = {
    f"{mask} {parameters}": {"mask": mask, "mask_parameters": parameters}
    for mask in ("random", "grid", "high_energy")
    for parameters in ("fixed", "learnable")
}


def tiny(shape: tuple = SHAPE, **overrides: object) -> keras.Model:
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    return build_model(
        "spectromasknet",
        "mcu",
        input_shape=shape,
        classes=CLASSES,
        overrides={**TINY, **overrides},
    )


def names(model: keras.Model) -> set[str]:
    return {layer.name for layer in model.layers}


def maps(clips: int = 8, shape: tuple = SHAPE, seed: int = 0) -> tf.Tensor:
    return tf.random.stateless_uniform((clips, *shape), (seed, 4), -1, 1)


def train(model: keras.Model, steps: int, feeds: object = None) -> list[tf.Tensor]:
    """Gradients of the last of a few steps on eight clips."""
    feeds = maps() if feeds is None else feeds
    return train_on(model, class_loss(model, feeds, CLASSES), steps, 0.003)[1]


def assert_trains(model: keras.Model, feeds: object = None) -> None:
    before = [weight.numpy() for weight in model.trainable_variables]
    gradients = train(model, 2, feeds)
    for old, weight, gradient in zip(before, model.trainable_variables, gradients, strict=True):
        assert np.isfinite(gradient).all(), weight.name
        assert np.isfinite(weight.numpy()).all(), weight.name
        if "_reduce/" not in weight.name and "_restore/kernel" not in weight.name:
            assert not np.array_equal(weight.numpy(), old), weight.name  # hidden units may sleep
    for scalar in ("fusion/lambda:0", "mask/block_logit:0", "mask/ratio_logit:0"):
        for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
            if weight.name == scalar:
                assert gradient != 0, scalar


def test_the_papers_size_and_stages():
    model = build_model("spectromasknet", "paper")
    # Origin: the paper, table 6: 2.7 million, with the head of ESC-50.
    assert model.count_params() == pytest.approx(2.7e6, rel=0.02)
    assert model.get_layer("dense").count_params() == 50 * 65
    at = {layer.name: layer.output_shape[1:] for layer in model.layers}
    stages = ((2, 16, 80, 498), (3, 32, 40, 249), (3, 48, 20, 125), (2, 64, 20, 125))
    for branch, last in (("complete", "relu2"), ("masked", "skip")):
        for number, (modules, channels, bins, frames) in enumerate(stages, start=1):
            stage_layers = [name for name in at if name.startswith(f"{branch}{number}_")]
            assert {name.split("_")[1] for name in stage_layers} == {
                "in",
                *(str(index) for index in range(1, modules + 1)),
            }
            for index in range(1, modules + 1):
                assert at[f"{branch}{number}_{index}_{last}"] == (bins, frames, channels)
        assert at[f"{branch}_pool"] == (1, 1, 64)
    kernels = {layer.name: layer.kernel_size for layer in model.layers if "conv" in layer.name}
    assert kernels["complete2_3_conv1"] == kernels["complete2_3_conv2"] == (7, 7)
    assert kernels["complete2_in_conv"] == (7, 7)
    assert kernels["masked2_in_conv"] == (3, 3)
    assert model.get_layer("masked3_2_dw").kernel_size == (7, 7)
    mask = model.get_layer("mask")
    assert (mask.kind, mask.block, mask.ratio, mask.learnable) == ("random", 10.0, 0.5, False)


@pytest.mark.parametrize(
    "rival",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("local/global", "none/none")),
        "se/se",
    ],
)
@pytest.mark.slow
def test_table_4(rival):
    full = tiny(**TABLE_4["global/local"])
    model = tiny(**TABLE_4[rival])
    kinds = {"global": "_att_out", "local": "_sca_out", "se": "_se_out"}
    for branch, kind in zip(("complete", "masked"), rival.split("/"), strict=True):
        branch_layers = {name for name in names(model) if name.startswith(branch)}
        for other_kind, suffix in kinds.items():
            assert any(name.endswith(suffix) for name in branch_layers) == (other_kind == kind)
    if rival == "local/global":
        assert model.count_params() == full.count_params()
    else:
        assert model.count_params() < full.count_params()
    assert_trains(model)


@pytest.mark.parametrize(
    "which",
    [
        pytest.param(name, marks=() if name in ("global", "local") else pytest.mark.slow)
        for name in SINGLE
    ],
)
def test_one_branch(which):
    model = tiny(**SINGLE[which])
    branch = "masked" if SINGLE[which].get("complete") == "off" else "complete"
    other_branch = {"masked": "complete", "complete": "masked"}[branch]
    assert not any(name.startswith(other_branch) for name in names(model))
    assert ("mask" in names(model)) == (branch == "masked")
    assert "fusion" not in names(model)
    assert "lambda" not in learnt(model, maps())
    assert_trains(model)


@pytest.mark.parametrize(
    "which",
    [
        pytest.param(name, marks=() if name == "random learnable" else pytest.mark.slow)
        for name in MASKS
    ],
)
def test_masks(which):
    model = tiny(**MASKS[which])
    plain = tiny(**MASKS[which] | {"mask": "none"})
    assert "mask" not in names(plain)
    weights = [w.numpy() for w in model.weights if not w.name.startswith("mask/")]
    plain.set_weights(weights)
    x = maps()
    np.testing.assert_array_equal(model(x), plain(x))  # no mask at inference
    probe = keras.Model(model.input, [model.get_layer("mask").output, model.output])
    first = probe(x, training=True)
    second = probe(x, training=True)
    assert not np.array_equal(first[1], plain(x, training=True))
    assert np.array_equal(first[0], second[0]) == ("high" in which)
    assert_trains(model)
    names_of_values = {"lambda", "mask_block", "mask_ratio"} if "learnable" in which else {"lambda"}
    assert set(learnt(model, x)) == names_of_values


def test_the_mask_is_the_masked_branchs_alone():
    model = tiny()
    probe = keras.Model(
        model.input, [model.get_layer(f"{name}_pool").output for name in ("complete", "masked")]
    )
    x = maps()
    for (seen, expected), equal in zip(
        zip(probe(x, training=True), probe(x), strict=True), (True, False), strict=True
    ):
        assert np.allclose(seen, expected, atol=1e-4) == equal


@pytest.mark.slow
def test_lambda_starts_in_the_middle_is_penalised_learnt_saved_and_read(tmp_path):
    model = tiny(mask_parameters="learnable", fusion_l2=0.01)
    assert learnt(model, maps())["lambda"] == 0.5
    np.testing.assert_allclose(model.losses, [0.01 * 0.5**2])
    pools = [model.get_layer(f"{name}_pool").output for name in ("complete", "masked")]
    probe = keras.Model(model.input, [*pools, model.get_layer("fusion").output])
    f_g, f_l, fused = probe(maps())
    np.testing.assert_allclose(fused, 0.5 * f_g + 0.5 * f_l, rtol=1e-5, atol=1e-6)
    train(model, 5)
    values = learnt(model, maps())
    assert values["lambda"] != 0.5
    assert abs(values["lambda"] - 0.5) < 0.1
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert learnt(loaded, maps()) == values
    np.testing.assert_array_equal(loaded(maps()), model(maps()))


@pytest.fixture(scope="module")
def padded() -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    clips = [rng.uniform(-1, 1, (24, n, 1)).astype(np.float32) for n in (13, 30, 21, 8, 1)]
    lengths = np.array([[13], [30], [21], [8], [1]])
    batch = np.stack([np.pad(clip, [(0, 0), (0, 30 - clip.shape[1]), (0, 0)]) for clip in clips])
    return clips, batch, lengths


@pytest.mark.parametrize(
    "which",
    [
        pytest.param(name, marks=() if name == "global/local" else pytest.mark.slow)
        for name in TABLE_4
    ],
)
@pytest.mark.slow
def test_padding_changes_nothing(which, padded):
    clips, batch, lengths = padded
    model = tiny((24, None, 1), lengths=True, **TABLE_4[which])
    together = model({"features": batch, "lengths": lengths}).numpy()
    noisy = batch.copy()
    for row, length in zip(noisy, lengths[:, 0], strict=True):
        row[:, length:] = 9.0
    np.testing.assert_array_equal(model({"features": noisy, "lengths": lengths}), together)
    longer = np.pad(batch, [(0, 0), (0, 0), (0, 7), (0, 0)])
    again = model({"features": longer, "lengths": lengths})
    np.testing.assert_allclose(again, together, atol=1e-6)
    for clip, expected in zip(clips, together, strict=True):
        alone = model({"features": clip[None], "lengths": np.array([[clip.shape[1]]])})[0]
        np.testing.assert_allclose(alone, expected, atol=1e-6)
    spread = np.ptp(together, axis=0).max()
    assert spread > 0.01  # so that equality says something


@pytest.mark.slow
def test_centred_bins_hide_the_level_of_each_bin():
    levels = np.linspace(-0.5, 0.5, SHAPE[0])[:, None, None]
    for centred in (True, False):
        model = tiny(centre_bins=centred)
        difference = model(maps() + levels) - model(maps())
        assert (np.abs(difference).max() < 1e-5) == centred


@pytest.mark.slow
def test_lengths_of_full_clips_are_the_network_without_lengths():
    model = tiny(lengths=True)
    plain = tiny()
    trained = {weight.name: weight for weight in model.weights}
    for weight in plain.weights:
        weight.assign(trained[weight.name])
    feeds = {"features": maps(), "lengths": tf.fill((8, 1), SHAPE[1])}
    np.testing.assert_allclose(model(feeds), plain(maps()), atol=1e-6)


@pytest.mark.slow
def test_training_with_lengths(tmp_path):
    model = tiny((24, None, 1), lengths=True, mask="high_energy", mask_parameters="learnable")
    feeds = {
        "features": maps(),
        "lengths": tf.constant([[30], [25], [20], [15], [9], [8], [7], [6]]),
    }
    assert_trains(model, feeds)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(loaded(feeds), model(feeds))
