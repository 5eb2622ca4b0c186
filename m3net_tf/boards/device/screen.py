# SPDX-License-Identifier: Apache-2.0
"""The picture of a stream: bars, spectrogram and events, laid out for the terminal's size."""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from m3net_tf.audio.frontend import FrontendConfig, feature_hz
from m3net_tf.boards.device.live import LiveView
from m3net_tf.system.terminal import printable
from m3net_tf.system.words import counted

HINT = "Ctrl-C ends"
_SHADES = " .:-=+*#%@"
_SHADE_STYLES = [f"color({n})" for n in (17, 18, 24, 30, 36, 71, 107, 149, 184, 226)]
_HEAD_LINES = 5  # board, state, heads of classes and events, time axis
_LEAST_STRIP_ROWS = 3
_MOST_STRIP_ROWS = 16
_LEAST_EVENTS = 2
_AXIS_WIDTH = 9
_SCORE_WIDTH = 6
_TICK_WIDTH = 12
_TICKS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


class Screen:
    """Draws a :class:`LiveView` into the available space, from 60 columns and 16 lines up.

    Each drawing reads the size again, so that it follows a terminal that is resized. Without
    colours (``NO_COLOR``) it has no styles.

    Attributes:
        ended: whether the stream is over and this is its last picture.
    """

    def __init__(self, view: LiveView, frontend: FrontendConfig | None = None) -> None:
        """Draw ``view``; ``frontend``, if known, gives the frequencies of its bins."""
        self.view = view
        self.ended = False
        self._feature_hz = feature_hz(frontend) if frontend else None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lines that fit the width and the height."""
        width, height = options.max_width, options.height or console.height
        for line in itertools.islice(self._lines(width, height), height):
            line.truncate(width, overflow="ellipsis")
            line.no_wrap = True
            yield Text(line.plain, no_wrap=True) if console.no_color else line

    def _lines(self, width: int, height: int) -> Iterator[Text]:
        bars, strip_rows, events = allot(height, len(self.view.info.labels))
        yield self._head()
        yield self._state(width)
        yield from self._bars(width, bars)
        strip_width = max(width - _AXIS_WIDTH, 1)
        yield from self._strip(strip_width, strip_rows)
        yield self._time_axis(strip_width)
        yield from self._events(width, events)

    def _head(self) -> Text:
        view = self.view
        model = view.info.model.get("name", "?")
        counts = f"{view.audio_s:.1f} s of sound, {counted(view.event_count, 'event')}"
        if view.level:
            counts += f", {view.level.meter}"
        return Text(printable(f"{view.info.board}, {model}: {counts}"), "bold")

    def _state(self, width: int) -> Text:
        """The board's state, lost and damaged data, and how to end."""
        view = self.view
        state, style = "listening", "green"
        if self.ended:
            state, style = "ended", ""
        elif view.filling:
            state = f"listening: the model's window takes {view.window_s:.1f} s"
        elif view.quiet:
            state, style = "quiet: too faint for the model to run", "blue"
        line = Text()
        if view.lost_hops:
            line.append(f"{counted(view.lost_hops, 'hop')} LOST, ", "bold red")
        if view.damaged_lines:
            line.append(f"{counted(view.damaged_lines, 'line')} damaged, ", "red")
        if view.level and (warning := view.level.warning) and not self.ended:
            line.append(f"{warning}, ", "bold red")
        line.append(state, style)
        if self.ended:
            return line
        line.truncate(width - len(HINT) - 1, overflow="ellipsis", pad=True)
        return line.append(f" {HINT}", "dim")

    def _bars(self, width: int, count: int) -> Iterator[Text]:
        """The classes with the best scores, in the network's order, with their thresholds."""
        view = self.view
        labels = view.info.labels
        best = np.argsort(-view.scores, kind="stable")[:count]
        head = "class"
        if hidden := len(labels) - len(best):
            head = f"class ({hidden} of {len(labels)} hidden)"
        name_width = max(map(cell_len, labels), default=0)
        name_width = min(max(name_width, len(head)), max(width // 3, len(head)))
        bar_width = max(width - name_width - _SCORE_WIDTH - 2, 1)
        marked = "score, | = threshold" if np.isfinite(view.thresholds).any() else "score"
        yield Text(f"{head:{name_width}} {marked:{bar_width}} {'%':>{_SCORE_WIDTH}}", "dim")
        for index in sorted(best):
            line = Text(_fitted(labels[index], name_width) + " ")
            score = 0.0 if view.quiet else float(view.scores[index])
            line.append_text(_bar(score, float(view.thresholds[index]), bar_width))
            shown = "quiet" if view.quiet else f"{100 * score:.0f} %"
            yield line.append(f" {shown:>{_SCORE_WIDTH}}")

    def _strip(self, width: int, rows: int) -> Iterator[Text]:
        """The newest columns as shades: low frequencies at the bottom, newest at the right."""
        bins = self.view.info.frontend["bins"]
        bands = np.array_split(np.arange(bins), min(rows, bins))[::-1]
        values = self._newest_columns(width)
        for row, band in enumerate(bands):
            named = row in (0, len(bands) // 2, len(bands) - 1)
            name = self._band_name(band) if named else ""
            line = Text.assemble((f"{name:>{_AXIS_WIDTH - 1}} ", "dim"))
            line.append(" " * (width - values.shape[1]))
            level = (values[band].mean(axis=0) + 128) / 256 * len(_SHADES)
            shades = level.astype(int).clip(0, len(_SHADES) - 1)
            for shade, run in itertools.groupby(shades):
                line.append(_SHADES[shade] * len(list(run)), _SHADE_STYLES[shade])
            yield line
        for _ in range(rows - len(bands)):
            yield Text()

    def _newest_columns(self, count: int) -> npt.NDArray[np.float64]:
        """The newest columns, at most ``count``, shape (bins, columns)."""
        newest = list(self.view.columns)[-count:]
        if not newest:
            return np.zeros((self.view.info.frontend["bins"], 0))
        return np.stack(newest, axis=1).astype(float)

    def _band_name(self, band: npt.NDArray[np.int64]) -> str:
        if self._feature_hz is None:
            return f"bin {band[len(band) // 2]}"
        return f"{self._feature_hz[band].mean() / 1000:.1f} kHz"

    def _time_axis(self, width: int) -> Text:
        """A time axis with marks at whole steps before now."""
        frontend = self.view.info.frontend
        columns_a_second = frontend["rate_hz"] / frontend["hop_samples"]
        steps = (step for step in _TICKS_S if step * columns_a_second >= _TICK_WIDTH)
        step_s = next(steps, _TICKS_S[-1])
        axis = [" "] * (width - 4) + list("now|")
        for tick in itertools.count(1):
            at = width - 1 - round(tick * step_s * columns_a_second)
            if at < 0:
                break
            label = f"|-{tick * step_s:g} s"
            if at + len(label) < width - 4:
                axis[at : at + len(label)] = label
        return Text(" " * _AXIS_WIDTH + "".join(axis), "dim")

    def _events(self, width: int, count: int) -> Iterator[Text]:
        name_width = min(max(map(cell_len, (*self.view.info.labels, "event"))), max(width - 32, 5))
        head = _fitted("event", name_width)
        yield Text(f"{'time':>10}  {head} {'score':>6} {'delay':>11}", "dim")
        for event in itertools.islice(reversed(self.view.events), count):
            line = Text(f"{event.time_s:8.2f} s  ")
            line.append(_fitted(event.label, name_width), "bold")
            yield line.append(f" {100 * event.score:4.0f} % {event.latency_ms:8.1f} ms")


def allot(height: int, classes: int) -> tuple[int, int, int]:
    """Numbers of lines for classes, spectrogram and events; classes have priority."""
    room = max(height - _HEAD_LINES, 0)
    events = max(_LEAST_EVENTS, room // 5)
    strip_rows = max(_LEAST_STRIP_ROWS, room // 4)
    bars = max(room - events - strip_rows, 1)
    if spare := max(bars - classes, 0):
        bars = classes
        wider = min(spare, max(_MOST_STRIP_ROWS - strip_rows, 0))
        strip_rows += wider
        events += spare - wider
    return bars, strip_rows, events


def _fitted(name: str, width: int) -> str:
    """A name padded or cut to a width in terminal cells, with an ellipsis if it is cut."""
    name = printable(name)
    if cell_len(name) > width:
        name = set_cell_size(name, width - 1) + "…"
    return set_cell_size(name, width)


def _bar(score: float, threshold: float, width: int) -> Text:
    """A bar from 0 to 1 with a mark at its threshold, unless that is NaN."""
    filled = round(width * score)
    style = "green" if score >= threshold else "cyan"
    bar = Text.assemble(("#" * filled, style), ("." * (width - filled), "dim"))
    if np.isnan(threshold):
        return bar
    at = min(int(width * threshold), width - 1)
    return Text.assemble(bar[:at], ("|", "yellow"), bar[at + 1 :])
