# SPDX-License-Identifier: Apache-2.0
"""Sections on single clips: the worst ones, and a map of all."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets.audio import Audio
from m3net_tf.audio.frontend import FrontendConfig, dequantize_features, feature_hz
from m3net_tf.pages.report.charts import Row, Spec, drawn
from m3net_tf.pages.report.content import (
    Block,
    Chart,
    ClipCard,
    Gallery,
    Note,
    Playlist,
    Section,
    side_by_side,
)
from m3net_tf.pages.report.gather import (
    Floats,
    HeldOutClips,
    RunData,
    Truth,
    answers,
    hits,
    names_of,
)
from m3net_tf.pages.report.projection import FEWEST, plane, spread_over_classes
from m3net_tf.pages.report.sounds import map_uri, saliency_uri, sound_uri
from m3net_tf.pages.report.words import percent

WORST = 12
MAP_CLIPS = 300
_MAP_SOUND_S = 600.0  # of sound in a map; MP3 takes 5 kB a second
_WINDOWS = (6, 8)  # steps of a hidden window over bins and frames; it is two steps wide
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-left")
_CUT = (
    "Answer and probabilities are of the whole clip; sound and pictures are of the window with the "
    "largest loss."
)


def no_clips(run: RunData) -> Note:
    """The line that stands for sounds that are not at hand."""
    return Note(
        f"The test clips are not at hand: {run.clips_missing}.",
        f"m3net report {run.path} --data-dir FOLDER",
    )


def worst_clips(runs: Sequence[RunData]) -> Section:
    """The clips that the network gets most wrong, with sound, feature map and saliency."""
    return Section(
        "worst",
        "Worst clips",
        "The test clips with the largest loss, the worst first: listen whether the label or the "
        "network is wrong. Left, the features that enter the network; right, in orange, the parts "
        "without which its answer becomes less likely, found by hiding one part at a time.",
        side_by_side(runs, _worst_of),
    )


def _worst_of(run: RunData) -> list[Block]:
    clips = run.clips
    if clips is None:
        return [no_clips(run)]
    config = run.run.recipe().frontend
    scores, truth = clips.whole()
    losses = clip_losses(scores, truth, several_labels=run.multi_label)
    rows = clips.rows()
    window_losses = clip_losses(clips.probabilities, clips.truth, several_labels=run.multi_label)
    cards = []
    for whole in np.argsort(-losses, kind="stable")[:WORST]:
        worst_window = max(rows[whole], key=lambda row: window_losses[row])
        cards.append(_card(run, clips, config, worst_window, scores[whole]))
    gallery = Gallery(cards, (*frequency_range(config), f"{clips.dataset.info.clip_s:g} s"))
    return [Note(_CUT), gallery] if clips.cut else [gallery]


def clip_losses(probabilities: Floats, truth: Truth, *, several_labels: bool) -> Floats:
    """Cross-entropy of each clip, shape (clips,).

    Args:
        probabilities: shape (clips, classes).
        truth: whether a clip has a class, same shape.
        several_labels: whether clips may have several classes; then the mean over all classes.
    """
    likely = np.clip(probabilities, 1e-7, 1 - 1e-7)
    losses: Floats
    if several_labels:
        losses = -np.log(np.where(truth, likely, 1 - likely)).mean(1)
    else:
        losses = -np.log(likely[truth])
    return losses


def _card(
    run: RunData, clips: HeldOutClips, config: FrontendConfig, index: int, scores: Floats
) -> ClipCard:
    """Sound and pictures of a row, with the answer to the whole clip by its scores."""
    clip = clips.features.clips[index]
    answer = int(scores.argmax())
    answered = answers(scores[None], run.thresholds)[0]
    truth = ", ".join(clip.all_labels)
    features = np.asarray(clips.features.features[0, index])
    drop = occlusion(clips, index, answer)
    sound = clips.dataset.load(clip)
    shown: npt.NDArray[np.floating] = dequantize_features(features)
    shown_drop = drop
    if config.kind == "waveform":
        shown, shown_drop = with_spectrogram(sound, drop)
    return ClipCard(
        name=clip.clip_id,
        truth=f"{truth} ({percent(scores[clips.truth[index]].mean())})",
        answer=f"{names_of(run.labels, answered)}{_mean_of(scores[answered])}",
        sound=sound_uri(sound, clips.dataset.info.sample_rate_hz),
        map_picture=map_uri(shown),
        saliency_picture=saliency_uri(shown, shown_drop),
        spoken=saliency_words(run.labels[answer], drop, clips.dataset.info.clip_s),
    )


def _mean_of(scores: Floats) -> str:
    return f" ({percent(scores.mean(), 0)})" if len(scores) else ""


def saliency_words(answer: str, drop: npt.NDArray[np.float64], clip_s: float) -> str:
    """Where the saliency is largest, in words."""
    if not drop.any():
        return f"No single part of the sound makes the answer {answer} likelier."
    bins, frames = np.unravel_index(drop.argmax(), drop.shape)
    where = f"at {frames / drop.shape[1] * clip_s:.2f} s"
    if drop.shape[0] > 1:
        where += f", in bin {bins + 1} of {drop.shape[0]} from the bottom"
    return f"The answer {answer} depends most on the part {where}."


def occlusion(clips: HeldOutClips, index: int, answer: int) -> npt.NDArray[np.float64]:
    """Fall of an answer's probability where parts of the map are hidden, averaged over windows.

    A hidden part has the mean of each bin over the clip, so its changes over time are gone.

    Returns:
        From 0 to 1, shape (bins, frames); 0 where the probability rises.
    """
    from m3net_tf.training.scoring.evaluation import predict

    features = np.asarray(clips.features.features[0, index])
    filler = np.broadcast_to(features.mean(1, keepdims=True).round(), features.shape)
    rows = np.linspace(0, features.shape[0], min(_WINDOWS[0], features.shape[0]) + 1).astype(int)
    columns = np.linspace(0, features.shape[1], min(_WINDOWS[1], features.shape[1]) + 1).astype(int)
    masks = []
    for top in range(max(1, len(rows) - 2)):
        for left in range(max(1, len(columns) - 2)):
            mask = np.zeros(features.shape, bool)
            high, right = min(top + 2, len(rows) - 1), min(left + 2, len(columns) - 1)
            mask[rows[top] : rows[high], columns[left] : columns[right]] = True
            masks.append(mask)
    hidden = np.stack([np.where(mask, filler, features) for mask in masks]).astype(np.int8)
    lengths = None
    if clips.features.lengths is not None:
        lengths = np.repeat(clips.features.lengths[0, index : index + 1], len(hidden))
    scores = predict(clips.model, hidden[..., None], lengths)[:, answer]
    drops = float(clips.probabilities[index, answer]) - scores
    counts = np.sum(masks, axis=0)
    sums = np.tensordot(drops, np.array(masks, float), axes=1)
    falls: npt.NDArray[np.float64] = np.maximum(sums / counts, 0)
    return falls


def with_spectrogram(
    sound: Audio, drop: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Spectrogram in dB of a clip of raw samples, and its saliency: both (bins, frames).

    Args:
        sound: the clip, shape (samples,).
        drop: saliency over time, shape (1, any).
    """
    from scipy.signal import spectrogram  # takes a second to import

    _, _, power = spectrogram(sound, nperseg=256, noverlap=128)
    level = 10 * np.log10(np.maximum(power, 1e-10))
    columns = np.linspace(0, drop.shape[1] - 1, level.shape[1]).astype(int)
    return level, np.broadcast_to(drop[:, columns], level.shape)


def frequency_range(config: FrontendConfig) -> tuple[str, str]:
    """The lowest and highest frequency of a map, in words."""
    if config.mfcc_coefficients:
        return "c0", f"c{config.mfcc_coefficients - 1}"
    hz = feature_hz(config)
    if hz is None:  # raw samples
        return "0 Hz", f"{config.sample_rate_hz / 2:,.0f} Hz"
    return f"{hz[0]:,.0f} Hz", f"{hz[-1]:,.0f} Hz"


def sound_map(runs: Sequence[RunData]) -> Section:
    """Test clips as points: close points look alike to the network."""
    several = any(run.multi_label for run in runs)
    of_several = " (of several classes all must be right)" * several
    return Section(
        "map",
        "Map of the sounds",
        "t-SNE of the values before the classifier: close points look alike to the network. Click "
        "a point, or choose a clip from the list, to hear it. Rings mark wrong answers"
        f"{of_several}.",
        side_by_side(runs, _map_of),
    )


def _map_of(run: RunData) -> list[Block]:
    clips = run.clips
    if clips is None:
        return [no_clips(run)]
    info = clips.dataset.info
    most = min(MAP_CLIPS, int(_MAP_SOUND_S / info.clip_s))
    chosen = spread_over_classes(clips.features.labels, most)
    if len(chosen) < FEWEST:
        return [Note(f"A map needs {FEWEST} test clips; there are {len(chosen)}.")]
    points = plane(embeddings(clips, chosen), seed=0)
    right = hits(clips.probabilities, clips.truth, run.thresholds)
    answered = answers(clips.probabilities, run.thresholds)
    rows, sounds = [], []
    for index, (x, y) in zip(chosen, points.tolist(), strict=True):
        clip, key = clips.features.clips[index], f"{run.name}/{index}"
        answer = names_of(run.labels, answered[index])
        label = ", ".join(sorted(clip.all_labels))
        rows.append(
            {
                "x": round(x, 2),
                "y": round(y, 2),
                "label": label,
                "clip": clip.clip_id,
                "answer": answer,
                "right": "right" if right[index] else "wrong",
                "sound": key,
            }
        )
        uri = sound_uri(clips.dataset.load(clip), info.sample_rate_hz)
        sounds.append((key, f"{label}: {clip.clip_id} (answer {answer})", uri))
    wrong = sum(row["right"] == "wrong" for row in rows)
    text = (
        f"Scatter plot of {len(rows)} {clips.unit} of {run.name} in the plane, coloured by class; "
        f"{wrong} of them are answered wrong."
    )
    found = {str(row["label"]) for row in rows}
    labels = [label for label in run.labels if label in found]
    labels += sorted(found.difference(labels))
    return [
        Chart(map_chart(rows, labels), text, f"{len(rows)} of {len(right)} {clips.unit}.", True),
        Playlist("Clips of the map", sorted(sounds, key=lambda sound: sound[1])),
    ]


def map_chart(rows: Sequence[Row], labels: Sequence[str]) -> Spec:
    """The clips as points, the wrong ones in rings.

    Args:
        rows: a clip each: ``x``, ``y``, ``label``, ``clip``, ``answer``, ``right``, ``sound``.
        labels: names of the classes that have clips.
    """
    shapes = [_SHAPES[index % len(_SHAPES)] for index in range(len(labels))]
    position = [
        alt.X("x:Q", axis=None, scale=alt.Scale(zero=False)),
        alt.Y("y:Q", axis=None, scale=alt.Scale(zero=False)),
    ]
    tooltip = [
        alt.Tooltip(f"{field}:N", title=title)
        for field, title in (("clip", "clip"), ("label", "class"), ("answer", "answer"))
    ]
    legend = alt.Legend(
        title=None,
        orient="bottom",
        columns=alt.ExprRef("max(2, floor(width / 170))"),
        symbolLimit=0,
        labelLimit=140,
    )
    points = (
        alt.Chart()
        .mark_point(filled=True, size=70, opacity=0.85, cursor="pointer")
        .encode(
            *position,
            color=alt.Color("label:N", scale=alt.Scale(domain=list(labels)), legend=legend),
            shape=alt.Shape(
                "label:N", scale=alt.Scale(domain=list(labels), range=shapes), legend=legend
            ),
            tooltip=tooltip,
        )
    )
    layers = [points]
    if any(row["right"] == "wrong" for row in rows):  # Vega warns of layers without points
        rings = (
            alt.Chart()
            .mark_point(size=220, shape="circle", strokeWidth=1.5, opacity=1, cursor="pointer")
            .transform_filter("datum.right === 'wrong'")
            .encode(*position, tooltip=tooltip, stroke=alt.value("#d55e00"))
        )
        layers.insert(0, rings)
    return drawn(alt.layer(*layers, data=alt.InlineData(values=rows)), 420)


def embeddings(clips: HeldOutClips, chosen: npt.NDArray[np.int64]) -> Floats:
    """Values before the classifier, averaged over bins and frames: shape (clips, channels).

    The classifier is the last layer with weights whose input is not scores of the classes. Without
    one, the probabilities are taken.
    """
    from m3net_tf.system.keras import keras
    from m3net_tf.training.scoring.evaluation import predict

    model = clips.model
    inputs: Any = [layer.input for layer in reversed(model.layers) if layer.weights]
    classes = clips.probabilities.shape[1]
    # Heads with attention have further layers behind the classifier, on scores of the classes.
    usable = (x for x in inputs if hasattr(x, "shape") and x.shape[-1] != classes)
    before = next(usable, None)
    if before is None:
        return clips.probabilities[chosen]
    lengths = clips.features.lengths
    values = predict(
        keras.Model(model.input, before),
        np.asarray(clips.features.features[np.zeros_like(chosen), chosen])[..., None],
        None if lengths is None else lengths[0, chosen],
    )
    means: Floats = values.reshape(len(values), -1, values.shape[-1]).mean(1)
    return means
