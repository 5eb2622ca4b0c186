# SPDX-License-Identifier: Apache-2.0
"""Guesses the option ``group_pattern``, which names the groups, from the names of clips."""

import dataclasses
import re
import shlex
from collections import Counter
from collections.abc import Sequence

import numpy as np
import yaml

from m3net_tf.audio.datasets.clips import Clip

SHOWN = 3
_FIELDS = 5
_SHARED = 0.1  # of the clips that have a group in common with another one
_LIKELY, _GIVEN = 0.3, 10.0
_FIELD, _BREAK, _END = "[^/_.-]+", "[_-]", r"\.[^./]+$"
_SPEAKER_WORDS = (
    *("actor", "author", "child", "id", "p", "person", "rec", "recording", "s", "sess", "session"),
    *("sp", "speaker", "spk", "spkr", "sub", "subj", "subject", "user"),
)
_KNOWN = ("([^/]+)_nohash_", "/([^/]+)/[^/]+$")


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A pattern that may name the groups, and the groups that it gives.

    Attributes:
        clips: fewest and most clips per group.
        classes: mean number of classes per group.
        score: how likely the pattern names groups; see :func:`suggest_groups`.
    """

    pattern: str
    groups: int
    clips: tuple[int, int]
    classes: float
    example: tuple[str, str]
    score: float

    @property
    def likely(self) -> bool:
        """Whether the groups are probably speakers or recordings, rather than takes or folds."""
        return self.score >= _LIKELY

    @property
    def given(self) -> bool:
        """Whether the user gave the pattern."""
        return self.score >= _GIVEN

    @property
    def option(self) -> str:
        """The option for the command line."""
        return f"--option {shlex.quote(f'group_pattern={self.pattern}')}"

    @property
    def recipe(self) -> str:
        """The option for a recipe, in YAML."""
        section = {"dataset": {"name": "folder", "options": {"group_pattern": self.pattern}}}
        return yaml.safe_dump(section, sort_keys=False).rstrip()


def suggest_groups(clips: Sequence[Clip]) -> list[Suggestion]:
    """Patterns that divide the clips into groups such as speakers or recordings, best first.

    A pattern is valid if it matches every clip, gives each class at least three groups, so that
    whole groups can train, validate and test, and if a tenth of the clips share their group. Its
    score rises if groups span several classes, have names such as ``spk03`` or are at the beginning
    of a name; it falls for short numbers and letters, which may name the takes.

    Args:
        clips: clips of the data set ``folder``; only their names and labels are used.
    """
    listed = [clip for clip in clips if not clip.synthetic]
    best: dict[tuple[str, ...], Suggestion] = {}
    for order, pattern in enumerate(_candidates(listed)):
        groups = _groups(pattern, listed)
        if not groups or not _can_be_split(groups, listed):
            continue
        score = _score(pattern, groups, listed) - 1e-3 * order
        if groups not in best or score > best[groups].score:
            best[groups] = _suggestion(pattern, groups, listed, score)
    return sorted(best.values(), key=lambda suggestion: -suggestion.score)[:SHOWN]


def given_groups(clips: Sequence[Clip], pattern: str) -> Suggestion:
    """The groups of clips that have one, by a pattern that is no guess."""
    return _suggestion(pattern, [clip.group for clip in clips], clips, _GIVEN)


def _candidates(clips: Sequence[Clip]) -> list[str]:
    """Candidate patterns: words with numbers, common forms, then fields of the file name."""
    start, skipped = "(?:^|/)", f"{_FIELD}{_BREAK}"
    fields = [f"{start}{i * skipped}({_FIELD}){_BREAK}[^/]*$" for i in range(_FIELDS)]
    fields += [f"({_FIELD}){i * (_BREAK + _FIELD)}{_END}" for i in range(_FIELDS)]
    fields.append(f"{start}([0-9]+)[^/0-9][^/]*$")
    named = []
    for field in (*fields, *_KNOWN):
        groups = _groups(field, clips)
        forms = [re.fullmatch("([A-Za-z]+)[0-9]+", group) for group in groups]
        words = {form[1] for form in forms if form}
        if groups and all(forms) and len(words) == 1:
            named.append(f"({words.pop()}[0-9]+)")
    return [*dict.fromkeys(named), *_KNOWN, *fields]


def _groups(pattern: str, clips: Sequence[Clip]) -> tuple[str, ...]:
    """Each clip's group; empty if the pattern does not match every clip."""
    expression = re.compile(pattern)
    matches = [expression.search(clip.clip_id) for clip in clips]
    if not all(match and match[1] for match in matches):
        return ()
    return tuple(match[1] for match in matches if match)


def _can_be_split(groups: Sequence[str], clips: Sequence[Clip]) -> bool:
    """Whether each class has at least three groups, and enough clips share theirs.

    Numbers that occur only once in each class merely number its clips.
    """
    of_class: dict[str, set[str]] = {}
    for group, clip in zip(groups, clips, strict=True):
        of_class.setdefault(clip.label, set()).add(group)
    enough = min(map(len, of_class.values())) >= 3
    numbering = all(map(str.isdigit, groups)) and sum(map(len, of_class.values())) == len(groups)
    shared = sum(count for count in Counter(groups).values() if count > 1)
    return enough and not numbering and shared >= _SHARED * len(clips)


def _score(pattern: str, groups: Sequence[str], clips: Sequence[Clip]) -> float:
    labels = {clip.label for clip in clips}
    spanning = (_classes(groups, clips) - 1) / max(1, len(labels) - 1)
    word = re.fullmatch(r"\(([A-Za-z]+)\[0-9\]\+\)", pattern)
    sizes = np.array([*Counter(groups).values()], float)
    return (
        spanning
        + 1.0 * bool(word and word[1].lower() in _SPEAKER_WORDS)
        + 0.5 * (pattern in _KNOWN)
        + 0.5 * all(re.fullmatch("[0-9]{4,}", group) for group in groups)  # such as Freesound's
        - 1.0 * all(re.fullmatch("[0-9]{1,2}|[A-Za-z]", group) for group in groups)  # or takes
        - 0.1 * float(sizes.std() / sizes.mean())
    )


def _classes(groups: Sequence[str], clips: Sequence[Clip]) -> float:
    """Mean number of classes per group."""
    pairs = {(group, clip.label) for group, clip in zip(groups, clips, strict=True)}
    return len(pairs) / len(set(groups))


def _suggestion(
    pattern: str, groups: Sequence[str], clips: Sequence[Clip], score: float
) -> Suggestion:
    sizes = Counter(groups).values()
    return Suggestion(
        pattern=pattern,
        groups=len(set(groups)),
        clips=(min(sizes), max(sizes)),
        classes=_classes(groups, clips),
        example=(clips[0].clip_id, groups[0]),
        score=score,
    )
