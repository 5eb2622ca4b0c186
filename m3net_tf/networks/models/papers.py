# SPDX-License-Identifier: Apache-2.0
"""The papers' networks by their own names: :func:`.build_model` without its first argument.

DiffRes stands before any classifier: :class:`m3net_tf.networks.layers.DiffRes`.
"""
# ruff: noqa: N802 (the networks' own names)

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from m3net_tf.networks.models.registry import build_model

if TYPE_CHECKING:
    from m3net_tf.system.keras import keras


def M3Net(
    preset: str,
    *,
    input_shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
    overrides: Mapping[str, object] | None = None,
    feature_range: Mapping[str, float | str] | None = None,
    head: str = "softmax",
) -> keras.Model:
    """M3Net (Jiang et al., AAAI 2025): convolutions around a mirror attention.

    Arguments, result and errors as in :func:`.build_model`; ``m3net model list`` shows the
    presets.
    """
    return build_model(
        "m3net",
        preset,
        input_shape=input_shape,
        classes=classes,
        overrides=overrides,
        feature_range=feature_range,
        head=head,
    )


def SpectroMaskNet(
    preset: str,
    *,
    input_shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
    overrides: Mapping[str, object] | None = None,
    feature_range: Mapping[str, float | str] | None = None,
    head: str = "softmax",
) -> keras.Model:
    """SpectroMaskNet (Chen et al., 2025): attention on a spectrogram and on its masked copy.

    Arguments, result and errors as in :func:`.build_model`; ``m3net model list`` shows the
    presets.
    """
    return build_model(
        "spectromasknet",
        preset,
        input_shape=input_shape,
        classes=classes,
        overrides=overrides,
        feature_range=feature_range,
        head=head,
    )


def BilateralNetwork(
    preset: str,
    *,
    input_shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
    overrides: Mapping[str, object] | None = None,
    feature_range: Mapping[str, float | str] | None = None,
    head: str = "softmax",
) -> keras.Model:
    """The bilateral raw-audio network (Sun et al., 2025): two branches over a waveform.

    Arguments, result and errors as in :func:`.build_model`; ``m3net model list`` shows the
    presets.
    """
    return build_model(
        "bilateral",
        preset,
        input_shape=input_shape,
        classes=classes,
        overrides=overrides,
        feature_range=feature_range,
        head=head,
    )
