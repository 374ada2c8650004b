"""Live scoring: models whose divergence is known by enumeration, two students, and what is refused."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy as scipy_entropy

from driftbound.errors import MeasureError, ModelError
from driftbound.learning import models
from driftbound.learning.policy import LocalPolicy
from driftbound.measure import forced
from driftbound.measure.chain import chain
from driftbound.measure.divergence import gjs, kl
from driftbound.measure.live import (
    Asked,
    LiveScores,
    Said,
    concatenate,
    forced_mean,
    information_mean,
    panel_values,
    score_case,
    teacher_values,
)
from driftbound.phantom_base import resolve_base
from driftbound.protocols import Scorer
from driftbound.records import Tokens

WORDS = ("left", "right", "none")
START = END = 3
LONGEST = 4


class Toy:
    """A model over three words and an end: the next depends on the last. After four words it ends."""

    vocabulary = "words"

    def __init__(self, seed: int, spread: float = 1.0, extra: int = 0):
        logits = np.random.default_rng(0).normal(0, 1, (4, 4))
        logits += spread * np.random.default_rng(seed).normal(0, 1, (4, 4))
        logits[START, END] = -np.inf  # something has to be said
        rows = np.exp(logits)
        self.rows = rows / rows.sum(1, keepdims=True)
        self.extra = extra

    def tokens(self, answer, *, ended=True):
        ids, spans, place = [], [], 0
        for word in answer.split():
            start = answer.index(word, place)
            place = start + len(word)
            ids.append(WORDS.index(word))
            spans.append((start, place))
        if ended:
            ids.append(END)
            spans.append((len(answer), len(answer)))
        return Tokens(tuple(ids), tuple(spans))

    def law(self, ids):
        """(T, 4) before each token."""
        rows = self.rows[[START, *ids[:-1]]].copy()
        rows[LONGEST:] = np.eye(4)[END]
        return rows

    def distributions(self, question, images, answer, *, ended=True):
        with np.errstate(divide="ignore"):
            rows = np.log(self.law(self.tokens(answer, ended=ended).ids)).astype(np.float32)
        return np.pad(rows, ((0, 0), (0, self.extra)), constant_values=-np.inf)

    def draw(self, rng):
        ids = []
        while len(ids) <= LONGEST:
            row = self.law([*ids, 0])[len(ids)]
            ids.append(int(rng.choice(4, p=row)))
            if ids[-1] == END:
                break
        return " ".join(WORDS[i] for i in ids[:-1])


class TwoWords(Toy):
    """The same model, seen through tokens of two words each."""

    vocabulary = "pairs of words"

    def tokens(self, answer, *, ended=True):
        single = super().tokens(answer, ended=False)
        ids = [a * 4 + b for a, b in zip(single.ids[::2], single.ids[1::2], strict=True)]
        spans = [(a[0], b[1]) for a, b in zip(single.spans[::2], single.spans[1::2], strict=True)]
        return Tokens(tuple(ids), tuple(spans))

    def distributions(self, question, images, answer, *, ended=True):
        rows = self.law(super().tokens(answer, ended=False).ids)[::2]
        return np.log((rows[:, :, None] * self.rows[None]).reshape(len(rows), 16) + 1e-30).astype(np.float32)


def asked(*texts, ended=True, case_id="c1", names="abcdefg"):
    answers = {name: Said(text=text, ended=ended) for name, text in zip(names, texts, strict=False)}
    return Asked(case_id=case_id, question="What?", images=(), answers=answers)


TOYS = {"a": Toy(1), "b": Toy(2), "c": Toy(3)}
TEXTS = [
    " ".join(words) for length in range(1, LONGEST + 1) for words in itertools.product(WORDS, repeat=length)
]


def law_of(toy: Toy, text: str) -> float:
    ids = list(toy.tokens(text).ids)
    return float(np.prod(toy.law(ids)[np.arange(len(ids)), ids]))


def test_one_text_by_hand():
    """Three teachers read "left none right": divergence, entropies, information and pairs at each of its four
    tokens, two to a part."""
    text, ids = "left none right", [0, 2, 1, END]
    rows = np.stack([toy.law(ids) for toy in TOYS.values()], axis=1)
    found = score_case(TOYS, asked(text, "right", "left"), steps=2)
    mixed = rows.mean(1)
    js = np.array([np.mean([scipy_entropy(p, m) for p in q]) for q, m in zip(rows, mixed, strict=True)])
    assert found.forced[0, 0] == pytest.approx(js.reshape(2, 2).mean(1), abs=1e-6)
    entropies = scipy_entropy(mixed, axis=1).reshape(2, 2).sum(1)
    assert found.relative[0, 0] == pytest.approx(js.reshape(2, 2).sum(1) / entropies, abs=1e-6)
    assert found.entropy[0, 0] == pytest.approx(
        scipy_entropy(rows[:, 0], axis=1).reshape(2, 2).mean(1), abs=1e-6
    )
    assert found.kl[0, 0, 2] == pytest.approx(
        scipy_entropy(rows[:, 0], rows[:, 2], axis=1).reshape(2, 2).sum(1), abs=1e-6
    )
    apart = jensenshannon(rows[:, 1], rows[:, 2], axis=1) ** 2
    assert found.pairs[0, 0, 1, 2] == pytest.approx(apart.reshape(2, 2).mean(1), abs=1e-6)
    said = rows[np.arange(4), :, ids]
    weights = np.cumprod(np.vstack([np.ones(3), said[:-1]]), axis=0)
    weights /= weights.sum(1, keepdims=True)
    mixed = (weights[:, :, None] * rows).sum(1)
    informed = [
        sum(w * scipy_entropy(p, m) for w, p in zip(ws, q, strict=True))
        for ws, q, m in zip(weights, rows, mixed, strict=True)
    ]
    assert found.information[0, 0] == pytest.approx(np.reshape(informed, (2, 2)).sum(1), abs=1e-6)
    assert found.tokens.tolist() == [[4, 2, 2]]
    assert found.reasons == (("", "", ""),)


def test_own_prefixes_are_compared_at_the_same_share_of_the_way():
    """Answers of 2, 3 and 4 words with their ends: three positions; of five tokens 0, 1 and 3."""
    texts = ["left right", "right none left", "none none left left"]
    found = score_case(TOYS, asked(*texts), steps=3)
    laws = [toy.law(toy.tokens(text).ids) for toy, text in zip(TOYS.values(), texts, strict=True)]
    rows = [np.stack([laws[0][i], laws[1][4 * i // 3], laws[2][5 * i // 3]]) for i in range(3)]
    expected = [np.mean([scipy_entropy(p, q.mean(0)) for p in q]) for q in rows]
    assert found.free[0] == pytest.approx(expected, abs=1e-6)


def test_a_short_answer_leaves_parts_without_a_token():
    """Sums over no tokens are 0, means are undefined."""
    found = score_case(TOYS, asked("left", "left right none", "left none"), steps=4)
    assert np.isnan(found.forced[0, 0]).tolist() == [False, True, False, True]
    assert (found.information[0, 0, [1, 3]] == 0).all()
    assert np.isnan(found.free[0]).tolist() == [False, True, False, True]


def test_the_chain_of_drawn_texts_is_the_divergence_of_the_teachers_laws():
    """100 cases: the sum over parts against all 120 texts, within three standard errors; pairs likewise."""
    rng = np.random.default_rng(8)
    cases = [asked(*(toy.draw(rng) for toy in TOYS.values()), case_id=f"c{n}") for n in range(100)]
    scores = concatenate([score_case(TOYS, case, steps=2) for case in cases])
    laws = np.array([[law_of(toy, text) for text in TEXTS] for toy in TOYS.values()])
    assert laws.sum(1) == pytest.approx([1, 1, 1])
    clusters = np.arange(100, dtype=np.intp)
    total = chain(information_mean(scores), clusters).cumulative
    assert abs(total.value[-1] - gjs(laws)) < 3 * total.se[-1] < 0.15
    pair = chain(scores.kl[:, 0, 1], clusters).cumulative
    assert abs(pair.value[-1] - kl(laws[0], laws[1])) < 3 * pair.se[-1] < 0.4
    assert scores.kl[:, 2, 2] == pytest.approx(np.zeros((100, 2)), abs=1e-6)
    assert forced_mean(scores) == pytest.approx(scores.forced.mean(1), nan_ok=True)
    assert scores.case_ids[-1] == "c99"


def test_blocks_of_positions_change_nothing(monkeypatch):
    whole = score_case(TOYS, asked("left none right none", "right", "left"), steps=2)
    monkeypatch.setattr(forced, "_NUMBERS", 1)
    parts = score_case(TOYS, asked("left none right none", "right", "left"), steps=2)
    for name in ("forced", "relative", "information", "kl", "pairs", "entropy"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), abs=1e-12, nan_ok=True)


def test_a_model_with_more_rows_than_tokens_is_compared_all_the_same():
    padded = {"a": TOYS["a"], "b": Toy(2, extra=5), "c": TOYS["c"]}
    texts = ("left none", "right", "left none left")
    found, plain = (score_case(scorers, asked(*texts), steps=1) for scorers in (padded, TOYS))
    assert found.forced == pytest.approx(plain.forced, abs=1e-12)
    assert found.free == pytest.approx(plain.free, abs=1e-12)


def test_one_of_four_stands_apart():
    """Three alike and one that is not: it is far from the typical other, they are not; without it the panel
    has nothing left to part over, nor without its text."""
    four = {"a": Toy(1, 0.01), "b": Toy(2, 0.01), "c": Toy(3, 0.01), "d": Toy(4, 2.0)}
    found = score_case(four, asked("left none", "right left", "none", "none none left"), steps=1)
    distances = teacher_values(found, [0, 1, 2, 3])[0, 0]
    assert distances[3] > 0.1 > 100 * distances[:3].max()
    assert panel_values(found, [0, 1, 2, 3])[0, 0] > 0.05 > 100 * panel_values(found, [0, 1, 2])[0, 0]
    two = panel_values(found, [1, 3])[0]
    assert two == pytest.approx(found.pairs[0, [1, 3], 1, 3].mean(0))
    with pytest.raises(MeasureError, match="fewer than two"):
        panel_values(found, [1])


# --- different tokenizers


def test_teachers_of_different_tokenizers_are_compared_by_chunks():
    """One model read through words and through pairs of words is itself; another one's log-ratio is
    that of the texts' probabilities. The second chunk begins in the middle of the text."""
    text = "none right left left"
    scorers = {"a": Toy(1), "b": TwoWords(1), "c": TwoWords(3)}
    found = score_case(scorers, asked(text, text, text, ended=False), steps=2)
    assert not found.exact
    assert found.kl[0, 0, 1] == pytest.approx([0, 0], abs=1e-6)
    ids = [2, 1, 0, 0]
    said = np.array([TOYS[name].law(ids)[np.arange(4), ids] for name in "ac"])
    ratio = np.log(said[0] / said[1]).reshape(2, 2).sum(1)
    assert found.kl[0, 0, 2] == pytest.approx(ratio, abs=1e-5)
    p, q = said.prod(1)
    assert found.information[0, 0].sum() == pytest.approx(math.log(p / ((2 * p + q) / 3)), abs=1e-5)
    assert found.information[0, 2].sum() == pytest.approx(math.log(q / ((2 * p + q) / 3)), abs=1e-5)
    assert np.isnan(found.forced).all()
    assert np.isnan(found.free).all()
    assert not np.isnan(found.entropy).any()
    assert found.tokens.tolist() == [[4, 2, 2]]


# --- what is refused


class Broken(Toy):
    def __init__(self, how):
        super().__init__(2)
        self.how = how

    def distributions(self, question, images, answer, *, ended=True):
        rows = super().distributions(question, images, answer, ended=ended)
        if self.how == "fails" and answer == "left":
            raise RuntimeError("out of memory")
        if self.how == "too long" and answer == "left":
            raise ModelError("an answer takes 9 tokens, 2 fit behind its prompt.")
        return {"sums": rows - 0.1, "rows": rows[:-1], "nan": rows * np.nan}.get(self.how, rows)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("fails", "scoring the answer of a with b: out of memory"),
        ("too long", "an answer takes 9 tokens"),
        ("sums", r"add up to 0\.9048, not to one"),
        ("nan", "add up to nan"),
        ("rows", "1 distributions for 2 tokens"),
    ],
)
def test_a_scorer_that_fails_leaves_the_host_undefined_with_its_reason(how, said):
    found = score_case(TOYS | {"b": Broken(how)}, asked("left", "right none", "left none"), steps=1)
    assert re.search(said, found.reasons[0][0])
    for name in ("forced", "relative", "information", "kl", "pairs", "entropy"):
        assert np.isnan(getattr(found, name)[0, 0]).all()
    assert np.isnan(found.free).all()
    if how in ("fails", "too long"):
        assert found.reasons[0][1:] == ("", "")
        assert not np.isnan(found.forced[0, 1:]).any()
        assert np.isnan(forced_mean(found)).all()


def test_teachers_without_an_answer_are_no_hosts():
    case = Asked(case_id="c", question="?", images=(), answers={"a": Said(text="left", ended=True),
                 "b": Said(text=" \n", ended=True)})  # fmt: skip
    found = score_case(TOYS, case, steps=1)
    assert found.reasons == (("", "the answer of b is empty", "c gave no answer"),)
    assert not np.isnan(found.forced[0, 0]).any()
    assert np.isnan(found.forced[0, 1:]).all()
    assert np.isnan(found.free).all()


def test_a_cut_answer_has_no_end_to_read():
    found = score_case(TOYS, asked("left none", "left", "left", ended=False), steps=1)
    assert found.tokens.tolist() == [[2, 1, 1]]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(MeasureError, match="1 scorers"):
        score_case({"a": TOYS["a"]}, asked("left"), steps=1)
    one = score_case(TOYS, asked("left", "left", "left"), steps=1)
    other = score_case({"a": Toy(1), "b": Toy(2)}, asked("left", "left"), steps=1)
    for given in ([one, other], []):
        with pytest.raises(MeasureError, match="put together"):
            concatenate(given)


# --- real models


def test_two_students_read_each_other():
    """The shipped base and a copy whose weights are a little off, on drawn answers: the same numbers as from
    their distributions at hand."""
    base = resolve_base("phantom-base")
    other = models.load(base)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in other.model.parameters():
            weight += 0.05 * weight.std() * torch.randn_like(weight) if weight.numel() > 1 else 0
    students = {"base": LocalPolicy.load(base), "other": LocalPolicy(other)}
    assert all(isinstance(student, Scorer) for student in students.values())
    question = "What does this chest radiograph show?"
    answers = {}
    for seed, (name, student) in enumerate(students.items()):
        made = student.complete([question], [()], max_new_tokens=24, temperature=1.0, seeds=[seed])[0]
        answers[name] = Said(text=made.text, ended=made.ended)
    case = Asked(case_id="c", question=question, images=(), answers=answers)
    found: LiveScores = score_case(students, case, steps=1)
    assert found.exact
    assert found.reasons == (("", ""),)
    for host, (name, said) in enumerate(answers.items()):
        p = np.exp([s.distributions(question, (), said.text, ended=said.ended) for s in students.values()])
        p = p.astype(float)
        assert found.tokens[0, host] == p.shape[1]
        assert found.forced[0, host, 0] == pytest.approx(gjs(p.swapaxes(0, 1)).mean(), abs=1e-5)
        assert found.kl[0, host, 1 - host, 0] == pytest.approx(kl(p[host], p[1 - host]).sum(), abs=1e-4)
        logps = students[name].score([question], [()], [said.text])[0] if said.ended else None
        if logps is not None:
            ids = students[name].tokens(said.text).ids
            assert np.log(p[host][np.arange(len(ids)), ids]).sum() == pytest.approx(logps, abs=1e-3)
