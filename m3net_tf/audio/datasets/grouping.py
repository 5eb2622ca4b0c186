# SPDX-License-Identifier: Apache-2.0
"""Guesses the option ``group_pattern``, which names the groups, from the names of clips."""

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from m3net_tf.audio.datasets.clips import Clip
from m3net_tf.audio.datasets.split_names import splits_named
from m3net_tf.audio.labels import is_event

SHOWN = 3
ODD_SHARE = 0.1
"""Most clips, as a share, whose names a pattern need not match."""
_FIELDS = 5
_SHARED = 0.1  # of the clips that have a group in common with another one
_LIKELY, _GIVEN = 0.3, 10.0
_FIELD, _BREAK, _END = "[^/_.-]+", "[_-]", r"\.[^./]+$"
_PERSONS = (
    *("actor", "author", "child", "person", "speaker", "spk", "spkr", "sub", "subj", "subject"),
    "user",
)
_SPEAKER_WORDS = (*_PERSONS, "id", "p", "rec", "recording", "s", "sess", "session", "sp")
_KNOWN = ("([^/]+)_nohash_", "/([^/]+)/[^/]+$")
_SLICED = r"(?:^|/)([^/]+)[_.-][^/_.-]+\.[^./]+$"
"""The name without its last field, which may be the number or the start of a slice."""
_DRAWN = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EVEN = 0.7  # of the steps between sorted numbers


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A pattern that may name the groups, and the groups that it gives.

    Attributes:
        clips: fewest and most clips per group.
        classes: mean number of classes per group.
        examples: a clip and its group, for up to three groups.
        score: how likely the pattern names groups; see :func:`suggest_groups`.
        odd: names of the clips that have no group.
    """

    pattern: str
    groups: int
    clips: tuple[int, int]
    classes: float
    examples: tuple[tuple[str, str], ...]
    score: float
    odd: tuple[str, ...] = ()

    @property
    def likely(self) -> bool:
        """Whether the groups are probably speakers or recordings, rather than takes or folds."""
        return self.score >= _LIKELY

    @property
    def given(self) -> bool:
        """Whether the user gave the pattern."""
        return self.score >= _GIVEN

    @property
    def example(self) -> tuple[str, str]:
        """The first of the examples."""
        return self.examples[0]

    @property
    def shown_examples(self) -> str:
        """The examples in words."""
        return ", ".join(f"{name} -> {group}" for name, group in self.examples)

    @property
    def recipe(self) -> str:
        """The option for a recipe, in YAML."""
        section = {"dataset": {"name": "folder", "options": {"group_pattern": self.pattern}}}
        return yaml.safe_dump(section, sort_keys=False).rstrip()


def suggest_groups(clips: Sequence[Clip]) -> list[Suggestion]:
    """Patterns that divide the clips into groups such as speakers or recordings, best first.

    A pattern is valid if it matches nine of ten clips, gives each class at least three groups, so
    that whole groups can train, validate and test, and if a tenth of the clips share their group.
    Numbers that count or give the start of a slice are not groups, nor are names of splits or of
    silence. The score rises if groups span several classes, have names such as ``spk03`` or are at
    the beginning of a name; it falls for short numbers and letters, which may name the takes.

    Args:
        clips: clips of the data set ``folder``; only their names and labels are used.
    """
    listed = [clip for clip in clips if not clip.synthetic]
    best: dict[tuple[str, ...], Suggestion] = {}
    for order, pattern in enumerate((*_candidates(listed), _SLICED)):
        groups = _groups(pattern, listed)
        pairs = [pair for pair in zip(groups, listed, strict=True) if pair[0]] if groups else []
        named, members = [group for group, _ in pairs], [clip for _, clip in pairs]
        if not pairs or not _can_be_split(named, members) or _counts(pattern, named, members):
            continue
        if pattern == _SLICED and (
            any(found.likely for found in best.values()) or not _sliced(named, members)
        ):
            continue  # a recording may be a part of a larger group
        score = _score(pattern, named, members) - 1e-3 * order - 1 + len(pairs) / len(listed)
        if groups not in best or score > best[groups].score:
            best[groups] = _suggestion(pattern, named, members, score)
    return sorted(best.values(), key=lambda suggestion: -suggestion.score)[:SHOWN]


def given_groups(
    clips: Sequence[Clip], odd: Sequence[Clip], pattern: str, score: float = _GIVEN
) -> Suggestion:
    """The groups of clips that have one; by default of a pattern that is not a guess.

    Args:
        odd: clips whose names do not fit the pattern.
    """
    names = tuple(clip.clip_id for clip in odd)
    left_out = {*names}
    members = [clip for clip in clips if clip.clip_id not in left_out]
    return _suggestion(pattern, [clip.group for clip in members], members, score, names)


def _candidates(clips: Sequence[Clip]) -> list[str]:
    """Candidate patterns: words with numbers, common forms, then fields of the file name."""
    start, skipped = "(?:^|/)", f"{_FIELD}{_BREAK}"
    fields = [f"{start}{i * skipped}({_FIELD}){_BREAK}[^/]*$" for i in range(_FIELDS)]
    fields += [f"({_FIELD}){i * (_BREAK + _FIELD)}{_END}" for i in range(_FIELDS)]
    fields.append(f"{start}([0-9]+)[^/0-9][^/]*$")
    if _most(len(clips), sum(bool(_DRAWN.fullmatch(Path(clip.clip_id).stem)) for clip in clips)):
        fields = []  # names drawn at random have parts in common by chance
    named = []
    for field in (*fields, *_KNOWN):
        groups = [group for group in _groups(field, clips) if group]
        forms = [re.fullmatch("([A-Za-z]+)[0-9]+", group) for group in groups]
        words = Counter(form[1] for form in forms if form).most_common(1)
        if words and _most(len(clips), words[0][1]):
            pattern = f"({words[0][0]}[0-9]+)"
            pairs = zip(_groups(pattern, clips), _groups(field, clips), strict=False)
            if _most(len(clips), sum(group == other for group, other in pairs)):
                named.append(pattern)
    return [*dict.fromkeys(named), *_KNOWN, *fields]


def _groups(pattern: str, clips: Sequence[Clip]) -> tuple[str, ...]:
    """Each clip's group, '' for odd names; empty if the pattern does not match most clips."""
    expression = re.compile(pattern)
    matches = [expression.search(clip.clip_id) for clip in clips]
    groups = tuple(match[1] if match and _may_be_named(match[1]) else "" for match in matches)
    return groups if _most(len(clips), len(clips) - groups.count("")) else ()


def _most(total: int, count: int) -> bool:
    """Whether this is the number of all clips, but for a few odd names."""
    return count >= (1 - ODD_SHARE) * total


@functools.lru_cache(1 << 16)
def _may_be_named(group: str) -> bool:
    """Whether a recording or a speaker may have this name."""
    return is_event(group.replace("-", "_")) and not splits_named(["train", group])


def _can_be_split(groups: Sequence[str], clips: Sequence[Clip]) -> bool:
    """Whether each class has at least three groups, and enough clips share theirs.

    Numbers that occur only once in each class merely number its clips.
    """
    of_class: dict[str, set[str]] = {clip.label: set() for clip in clips}
    for group, clip in zip(groups, clips, strict=True):
        of_class[clip.label].add(group)
    enough = min(map(len, of_class.values())) >= 3
    numbering = all(map(str.isdigit, groups)) and sum(map(len, of_class.values())) == len(groups)
    shared = sum(count for count in Counter(groups).values() if count > 1)
    return enough and not numbering and shared >= _SHARED * len(clips)


def _counts(pattern: str, groups: Sequence[str], clips: Sequence[Clip]) -> bool:
    """Whether the groups are evenly spaced numbers: starts of slices, or a count at the end.

    Speakers may be numbered without a gap too, so only the last number of a name is a count. It is
    none after a word such as ``spk``; nor if the whole name is a code of short numbers, of which
    any may be the speaker.
    """
    forms = [re.fullmatch("([A-Za-z]*?)([0-9]+)", group) for group in groups]
    words = Counter(form[1].lower() for form in forms if form).most_common(1)
    if not words or not _most(len(clips), words[0][1]) or words[0][0] in _PERSONS:
        return False
    step = _step({int(form[2]) for form in forms if form and form[1].lower() == words[0][0]})
    short = all(len(group) <= 2 for group in groups)
    last = _are_last(pattern, clips) and not (short and _codes(clips, 3))
    return step > 1 or (step == 1 and last)


def _are_last(pattern: str, clips: Sequence[Clip]) -> bool:
    """Whether only the file's suffix follows the groups of a pattern."""
    expression = re.compile(pattern)
    matches = [(expression.search(clip.clip_id), clip.clip_id) for clip in clips]
    return all(match and name[match.end(1) :] == Path(name).suffix for match, name in matches)


def _codes(clips: Sequence[Clip], fields: int) -> bool:
    """Whether the names are codes of so many short numbers, or more."""
    return all(
        re.fullmatch(rf"[0-9]{{1,2}}([_-][0-9]{{1,2}}){{{fields - 1},}}", Path(clip.clip_id).stem)
        for clip in clips
    )


def _step(numbers: set[int]) -> float:
    """The step of evenly spaced numbers that start before it; 0 for others."""
    ordered = np.array(sorted(numbers), float)
    steps = np.diff(ordered)
    if len(steps) < 2:
        return 0
    step = float(np.median(steps))
    even = np.mean(np.abs(steps - step) <= (1 if step > 2 else 0)) >= _EVEN
    return step if even and ordered[0] <= step else 0


def _score(pattern: str, groups: Sequence[str], clips: Sequence[Clip]) -> float:
    labels = {clip.label for clip in clips}
    spanning = (_classes(groups, clips) - 1) / max(1, len(labels) - 1)
    word = re.fullmatch(r"\(([A-Za-z]+)\[0-9\]\+\)", pattern)
    sizes = np.array([*Counter(groups).values()], float)
    return (
        spanning
        + 1.0 * bool(word and word[1].lower() in _SPEAKER_WORDS)
        + 0.5 * (pattern in (*_KNOWN, _SLICED))
        + 0.5 * all(re.fullmatch("[0-9]{4,}", group) for group in groups)  # such as Freesound's
        - 1.0 * all(re.fullmatch("[0-9]{1,2}|[A-Za-z]", group) for group in groups)  # or takes
        - 0.1 * (all(map(str.isdigit, groups)) and _step({int(group) for group in groups}) > 0)
        - 0.1 * float(sizes.std() / sizes.mean())
    )


def _sliced(groups: Sequence[str], clips: Sequence[Clip]) -> bool:
    """Whether the last field of the names counts, or gives the start, from anew in each group."""
    numbers: dict[str, set[int]] = {}
    for group, clip in zip(groups, clips, strict=True):
        last = re.search(r"[_.-]([A-Za-z]*)([0-9]+)\.[^./]+$", clip.clip_id)
        if last is None or last[1].lower() in _PERSONS:
            return False
        numbers.setdefault(group, set()).add(int(last[2]))
    step = _step(set().union(*numbers.values()))
    anew = sum(min(of) <= step for of in numbers.values() if len(of) > 1)
    coded = step == 1 and _codes(clips, 2)
    return step > 0 and not coded and anew >= _EVEN * len(numbers)


def _classes(groups: Sequence[str], clips: Sequence[Clip]) -> float:
    """Mean number of classes per group."""
    pairs = {(group, clip.label) for group, clip in zip(groups, clips, strict=True)}
    return len(pairs) / len(set(groups))


def _suggestion(
    pattern: str,
    groups: Sequence[str],
    clips: Sequence[Clip],
    score: float,
    odd: Sequence[str] = (),
) -> Suggestion:
    sizes = Counter(groups).values()
    first: dict[str, str] = {}
    for group, clip in zip(groups, clips, strict=True):
        first.setdefault(group, clip.clip_id)
    return Suggestion(
        pattern=pattern,
        groups=len(set(groups)),
        clips=(min(sizes), max(sizes)),
        classes=_classes(groups, clips),
        examples=tuple(zip(first.values(), first, strict=True))[:SHOWN],
        score=score,
        odd=tuple(odd),
    )
