"""What the base learns before any recipe: signs on phantoms, textbook words, merging of readings.

No case, truth or teacher of a recipe is in it: its phantoms carry signs drawn without any finding,
its readers say things that no image stands behind, its writing habits are drawn at random.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from driftbound.domains.phantom.findings import FINDINGS, SIDED, SIDED_SIGNS, SIGN_NAMES, SIGNS
from driftbound.domains.phantom.language import (
    CANONICAL,
    CANONICAL_ORDER,
    PHRASES,
    SIDES,
    SIGN_QUESTION,
    STYLES,
    Stance,
    Style,
    merge_question,
    write,
    write_steps,
)

MOST_READERS = 7
DESCRIBE_QUESTION = "Describe the signs of this chest radiograph in your own words."
_SIGN_PHRASES = {sign: (sign,) for sign in SIGN_NAMES}
NAMES: dict[str, tuple[str, ...]] = {**PHRASES, **_SIGN_PHRASES}
"""Everything that a reader may speak of, and how it is called."""
VALUES = ("absent", "present", "left", "right", "both", "uncertain")
_STYLES = tuple(STYLES.values())


@dataclass(frozen=True, slots=True)
class Row:
    """One pretraining example; ``image`` is an index into the pretraining phantoms or ``None``."""

    question: str
    answer: str
    image: int | None = None
    marks: tuple["Mark", ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """What a reader has said up to here: where a step of a question ends that speaks of one name."""

    end: int
    """Code points from the start of the question."""
    name: str
    value: str


def signs_report(signs: Mapping[str, str]) -> str:
    """Every sign in a fixed order, in the student's format; ``signs`` maps each to its value."""
    return _canonical(signs, SIGN_NAMES, _SIGN_PHRASES)


def described(signs: Mapping[str, str], image: int, rng: np.random.Generator) -> Row:
    """The signs of an image in somebody's own words and order, some of the absent ones left out."""
    silence = rng.uniform(0.0, 0.6)
    told = [
        Stance(name, signs[name])
        for name in rng.permutation(SIGN_NAMES).tolist()
        if signs[name] != "absent" or rng.random() >= silence
    ]
    return Row(DESCRIBE_QUESTION, write(told, mixed_style(rng), rng, _SIGN_PHRASES), image)


def textbook() -> list[Row]:
    """Sentences that say which signs speak for which finding, both ways round."""
    rows = []
    for finding, signs in SIGNS.items():
        name = PHRASES[finding][0]
        rows.append(Row(f"Which signs speak for {name}?", f"{' and '.join(signs).capitalize()}."))
    for sign in SIGN_NAMES:
        names = [PHRASES[finding][0] for finding, signs in SIGNS.items() if sign in signs]
        rows.append(Row(f"What may {sign} speak for?", f"{' or '.join(names).capitalize()}."))
    return rows


def yes_no(signs: Mapping[str, str], image: int, rng: np.random.Generator) -> Row:
    """One question about one sign (and side) of an image."""
    sign = SIGN_NAMES[int(rng.integers(len(SIGN_NAMES)))]
    value = signs[sign]
    if sign in SIDED_SIGNS and rng.random() < 0.5:
        side = SIDES[int(rng.integers(2))]
        question = f"Is there {sign} on the {side}?"
        return Row(question, "Yes." if value in (side, "both") else "No.", image)
    return Row(f"Is there {sign}?", "No." if value == "absent" else "Yes.", image)


def merging(
    image: int | None,
    rng: np.random.Generator,
    signs: Mapping[str, str] | None = None,
    most: int = MOST_READERS,
) -> Row:
    """``most`` readers' texts, or half as many, in, what more than half of them say out.

    With ``signs`` the readers describe these, with errors; without, they state findings that are
    drawn at random, so that merging is a skill of reading and not of seeing.
    """
    names: Sequence[str] = SIGN_NAMES if signs is not None else FINDINGS
    phrases = _SIGN_PHRASES if signs is not None else PHRASES
    sided = SIDED_SIGNS if signs is not None else SIDED
    truth = dict(signs) if signs is not None else _random_truth(names, sided, rng)
    readers = [_reader(truth, sided, rng) for _ in range(int(rng.integers((most + 1) // 2, most + 1)))]
    reports = []
    for stances in readers:
        order = [names[i] for i in rng.permutation(len(names))]
        reports.append(_report([Stance(n, stances[n]) for n in order if n in stances], rng))
    question, marks = _asked(reports)
    target = {name: majority([r.get(name, "absent") for r in readers]) for name in names}
    told_in = SIGN_NAMES if signs is not None else CANONICAL_ORDER
    return Row(question, _canonical(target, told_in, phrases), image, marks)


def lookup(count: int, rng: np.random.Generator) -> Row:
    """One reader says ``count`` things, findings and signs alike; the answer repeats them in another order.

    Every value is as likely for one name as for the next, so nothing but reading helps.
    """
    told = [name for name in NAMES if name != "No Finding"]
    names = [told[i] for i in rng.permutation(len(told))[:count]]
    stances = {name: _any_value(name, rng) for name in names}
    question, marks = _asked([_report([Stance(*item) for item in stances.items()], rng)])
    order = [names[i] for i in rng.permutation(count) if stances[names[i]] != "uncertain"]
    answer = write([Stance(name, stances[name]) for name in order], CANONICAL, rng, NAMES)
    return Row(question, answer, marks=marks)


def _any_value(name: str, rng: np.random.Generator) -> str:
    drawn = rng.random()
    if drawn < 0.35:
        return "absent" if drawn < 0.3 else "uncertain"
    return _asserted(name, SIDED | SIDED_SIGNS, rng)


def _report(stances: Sequence[Stance], rng: np.random.Generator) -> tuple[str, list[Mark]]:
    """One reader's text in a drawn style; marks count from its own start."""
    style = mixed_style(rng)
    text, marks = "", list[Mark]()
    for number, (step, told) in enumerate(write_steps(stances, style, rng, NAMES)):
        text += style.between * (number > 0) + step
        if len(told) == 1:
            marks.append(Mark(len(text), told[0].finding, told[0].value))
    return text, marks


def _asked(reports: Sequence[tuple[str, list[Mark]]]) -> tuple[str, tuple[Mark, ...]]:
    question = merge_question([text for text, _ in reports])
    marks, start = list[Mark](), 0
    for text, own in reports:
        start = question.index(text, start)
        marks += [Mark(start + mark.end, mark.name, mark.value) for mark in own]
        start += len(text)
    return question, tuple(marks)


def majority(values: Sequence[str]) -> str:
    """What more than half say; the side is the most frequent one among those.

    >>> majority(["left", "left", "absent"]), majority(["left", "absent"]), majority(["present"] * 2)
    ('left', 'absent', 'present')
    """
    asserted = [value for value in values if value not in ("absent", "uncertain")]
    if 2 * len(asserted) <= len(values):
        return "absent"
    return max(("present", *SIDES), key=asserted.count)


def mixed_style(rng: np.random.Generator) -> Style:
    """A writer whose every habit is drawn from another one's."""

    def any_style() -> Style:
        return _STYLES[int(rng.integers(len(_STYLES)))]

    words = any_style()
    layout = any_style()
    return Style(
        sided=any_style().sided,
        present=any_style().present,
        absent=any_style().absent,
        uncertain=any_style().uncertain,
        normal=words.normal,
        abnormal=words.abnormal,
        openings=layout.openings,
        closings=layout.closings,
        between=layout.between,
        joins=words.joins,
        joined=words.joined,
        synonyms=bool(rng.random() < 0.5),
    )


def words() -> Iterator[str]:
    """Texts for the tokenizer: every phrase and template often enough to become whole tokens."""
    rng = np.random.default_rng(7)
    for row in textbook():
        yield row.question
        yield row.answer
    for _ in range(1500):
        yield merging(None, rng).question
        yield merging(None, rng, _random_truth(SIGN_NAMES, SIDED_SIGNS, rng)).answer
        yield merging(None, rng).answer
        yield from (SIGN_QUESTION, DESCRIBE_QUESTION, "Yes.", "No.")


def _canonical(
    values: Mapping[str, str], order: Sequence[str], phrases: Mapping[str, tuple[str, ...]]
) -> str:
    stances = [Stance(name, values[name]) for name in order]
    return write(stances, CANONICAL, np.random.default_rng(0), phrases)


def _random_truth(names: Sequence[str], sided: frozenset[str], rng: np.random.Generator) -> dict[str, str]:
    share = rng.uniform(0.2, 0.8)
    return {name: _asserted(name, sided, rng) if rng.random() < share else "absent" for name in names}


def _asserted(name: str, sided: frozenset[str], rng: np.random.Generator) -> str:
    return SIDES[int(rng.integers(3))] if name in sided else "present"


def _reader(truth: Mapping[str, str], sided: frozenset[str], rng: np.random.Generator) -> dict[str, str]:
    skill, silence = rng.uniform(0.5, 1.0), rng.uniform(0.0, 0.5)
    said: dict[str, str] = {}
    for name, value in truth.items():
        if rng.random() < skill:
            stance = value
        else:
            stance = "absent" if value != "absent" else _asserted(name, sided, rng)
        if stance == "absent":
            if rng.random() < silence:
                continue
            if rng.random() < 0.1 and name != "No Finding":
                stance = "uncertain"
        said[name] = stance
    return said
