# SPDX-License-Identifier: Apache-2.0
"""Lines on a finished wake word for the terminal."""

from collections.abc import Iterator

from m3net_tf.boards.measure.chain import ChainSummary
from m3net_tf.boards.measure.real_time import measured_pace, pace_lines
from m3net_tf.evaluation.live import StreamingResult
from m3net_tf.evaluation.scoring import poisson_interval
from m3net_tf.system.words import counted
from m3net_tf.wake.evaluation import scenes_of
from m3net_tf.wake.making import WakeWord
from m3net_tf.wake.micro_wake_word import MicroWakeWords


def wake_lines(made: WakeWord) -> Iterator[str]:
    """Lines on misses, false accepts, and memory and pace on its board."""
    yield from _missed_lines(made)
    yield from _live_lines(made.live)
    yield from _memory_lines(made.emulated)
    board = made.settings.board
    yield from pace_lines(board, measured_pace(made.run.folder, board))


def micro_wake_word_lines(made: MicroWakeWords) -> Iterator[str]:
    """Lines on misses and false accepts in micro_wake_word, and on the files."""
    figures = made["all"]
    low, high = (100 * share for share in figures["miss_rate_95"])
    yield (
        f"in micro_wake_word: {100 * figures['miss_rate']:.1f} % missed (95 %: {low:.1f} to "
        f"{high:.1f}) of {figures['true_events']}, "
        f"{counted(figures['false_accepts'], 'false accept')} in {made['hours']:.1f} h"
    )
    for phrase, path in made["files"].items():
        yield f"{phrase} for ESPHome: {path}"


def _missed_lines(made: WakeWord) -> Iterator[str]:
    """Lines on missed phrases of the test's synthetic voices, without noise and with it."""
    scenes = scenes_of(made.settings)
    lowest, highest = scenes.snr_db
    noisy = 100 - 100 * scenes.quiet_share
    noise = f"{noisy:.0f} % of them in noise {lowest:g} to {highest:g} dB below the voice"
    for sound, figures in (("none of them in noise", made.quiet), (noise, made.live["all"])):
        low, high = (100 * share for share in figures["miss_rate_95"])
        yield (
            f"synthetic voices, {sound}: {100 * figures['miss_rate']:.1f} % missed "
            f"(95 %: {low:.1f} to {high:.1f}) of {figures['true_events']}"
        )
    yield "only recordings of people show how many of their words are missed: m3net bench wake"


def _live_lines(live: StreamingResult) -> Iterator[str]:
    """Lines on false accepts, and on what the hours can show."""
    figures = live["all"]
    low, high = figures["false_accepts_per_hour_95"]
    yield (
        f"{counted(figures['false_accepts'], 'false accept')} in {live['hours']:.1f} h: "
        f"{figures['false_accepts_per_hour']:.2f} an hour (95 %: {low:.2f} to {high:.2f})"
    )
    tuned, target = live["tuned_on_validation"], live["target_false_accepts_per_hour"]
    if tuned is not None and target is not None:
        most = poisson_interval(0)[1] / tuned["hours"]
        if most > target:
            needed = (
                f", and {target:g} needs {most * tuned['hours'] / target:.0f} h" if target else ""
            )
            yield (
                f"the threshold is tuned on {tuned['hours']:.1f} h; so few hours without a false "
                f"accept cannot show less than {most:.1f} an hour{needed}: add some by --negatives"
            )


def _memory_lines(chain: ChainSummary) -> Iterator[str]:
    """Lines on memory, and on what the board was compared with."""
    if "emulation_missing" in chain:
        yield f"not emulated: {chain['emulation_missing']}"
        return
    yield (
        f"memory on {chain['board']}: network {chain['arena_bytes']:,} and front end "
        f"{chain['frontend_bytes'] or 0:,} bytes of RAM, firmware {chain['flash_bytes'] or 0:,} "
        "bytes of flash"
    )
    bytes_there = "the same" if chain["bytes_equal"] else "OTHER"
    yield f"output bytes there, streamed and of whole windows: {bytes_there} as on this computer"
