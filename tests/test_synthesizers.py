"""Synthesizers and the stage: what each writes of beliefs made by hand, and what becomes of bad input."""

import json
import math
from pathlib import Path

import pytest
from wanting import WantedStreams as Streams

from driftbound.config import Recipe
from driftbound.consensus.believed import believed_stances, hints
from driftbound.consensus.context import digest
from driftbound.consensus.one_style import restyled
from driftbound.consensus.synthesize import seed_of, vote
from driftbound.domain_config import ClaimsConfig
from driftbound.domains.generic.domain import generic_domain
from driftbound.domains.phantom import language
from driftbound.domains.phantom.claims import claims, is_refusal
from driftbound.errors import TrainingError
from driftbound.records import Belief, Case, Status, Trajectory
from driftbound.stages import synthesize
from driftbound.stages.context import Context
from driftbound.stages.writers import Window
from driftbound.store.folder import RunFolder
from driftbound.store.measures import RELIABILITY, SLOTS, write_table
from driftbound.store.tables import read_groups, read_rows, write_cases

FINDINGS = ("Edema", "Pleural Effusion", "Support Devices", "No Finding")
TEACHERS = ("ann", "bob", "cy")


class Field:
    """A field of four findings, read and written as phantoms are."""

    name = "field"
    findings = headline = FINDINGS
    sided = frozenset({"Pleural Effusion"})
    claims = staticmethod(claims)
    is_refusal = staticmethod(is_refusal)
    mentions_sources = staticmethod(language.mentions_sources)
    render = staticmethod(language.canonical)

    def question(self, case):
        return case.case_id

    def merge_question(self, case, answers):
        return f"{case.case_id}?" + language.merge_question(answers)

    def guided_question(self, case, answers, believed):
        return f"{case.case_id}?" + language.guided_question(answers, believed)

    def refine_question(self, case, answers, draft, lacking):
        return f"{case.case_id}?" + language.refine_question(answers, draft, lacking)


def belief(decided="", votes=None, **values) -> Belief:
    return Belief(values=values, decided=decided, votes=votes or {}, wrong={})


BOTH_WAYS = {"ann": "present", "bob": "absent"}
PRESENT, ABSENT = {"ann": "present"}, {"ann": "absent"}


def all_of(*values):
    return dict(zip(FINDINGS, values, strict=True))


@pytest.mark.parametrize(
    ("beliefs", "likelier", "omit"),
    [
        (
            {("Edema", "presence"): belief("present", PRESENT, present=0.9, absent=0.1)},
            all_of("present", "absent", "absent", "absent"),
            {"Edema": "present", "No Finding": "absent"},
        ),
        (  # open: the likelier; a tie is absent
            {
                ("Edema", "presence"): belief("", BOTH_WAYS, present=0.6, absent=0.4),
                ("Pleural Effusion", "presence"): belief("", BOTH_WAYS, present=0.5, absent=0.5),
            },
            all_of("present", "absent", "absent", "absent"),
            {},
        ),
        (  # nothing learnt: the votes; a side where it is present; its tie by votes, then both, left, right
            {
                ("Pleural Effusion", "presence"): belief("", {"ann": "present", "bob": "present"}),
                ("Pleural Effusion", "side"): belief("", {"ann": "right"}, right=0.4, left=0.4, both=0.2),
            },
            all_of("absent", "right", "absent", "absent"),
            {},
        ),
        (  # devices are nothing abnormal
            {
                ("Edema", "presence"): belief("absent", ABSENT, absent=1.0, present=0.0),
                ("Pleural Effusion", "presence"): belief("absent", ABSENT, absent=1.0, present=0.0),
                ("Support Devices", "presence"): belief("present", PRESENT, present=1.0, absent=0.0),
                ("No Finding", "presence"): belief("absent", ABSENT, absent=1.0, present=0.0),
            },
            all_of("absent", "absent", "present", "present"),
            all_of("absent", "absent", "present", "present"),
        ),
        (  # a side is left open, its finding is decided
            {
                ("Pleural Effusion", "presence"): belief("present", PRESENT, present=0.9, absent=0.1),
                ("Pleural Effusion", "side"): belief("", {"ann": "left"}, left=0.6, right=0.4),
            },
            all_of("absent", "left", "absent", "absent"),
            {"Pleural Effusion": "present", "No Finding": "absent"},
        ),
        ({("Edema", "presence"): belief("", {"ann": "uncertain"})}, {}, {}),
        ({}, {}, {}),
    ],
)  # fmt: skip
def test_what_is_believed_as_stances(beliefs, likelier, omit):
    assert believed_stances(beliefs, FINDINGS, omit=False) == likelier
    assert believed_stances(beliefs, FINDINGS, omit=True) == omit


def test_a_choice_is_rendered_too():
    beliefs = {("answer", "value"): belief("", {"ann": "B", "bob": "C"}, B=0.4, C=0.4, A=0.2)}
    assert believed_stances(beliefs, (), omit=False) == {"answer": "B"}
    assert believed_stances(beliefs, (), omit=True) == {}


def test_a_field_that_nobody_declared_is_said_too():
    beliefs = {("edema", "presence"): belief("present", {"ann": "present"}, present=0.9, absent=0.1)}
    assert believed_stances(beliefs, (), omit=False) == {"edema": "present"}
    assert believed_stances(beliefs, (), omit=True) == {"edema": "present"}


CHOICE = generic_domain(ClaimsConfig(kind="choice"), [])
JSON = generic_domain(ClaimsConfig(kind="json", findings={"edema": (), "size": ()}), [])
BARE = generic_domain(ClaimsConfig(kind="json"), [])


@pytest.mark.parametrize(
    ("domain", "answers", "expected"),
    [
        (CHOICE, ["Answer: B"] * 3, {("answer", "B")}),
        (CHOICE, ["Answer: B", "Answer: B", "Answer: A"], {("answer", "B")}),
        (CHOICE, ["Answer: B", "Answer: A"], set()),
        (CHOICE, ["Answer: B", "Answer: A", "The answer is possibly B."], set()),
        (JSON, ['{"edema": true, "size": "large"}'] * 3, {("edema", "present"), ("size", "large")}),
        (JSON, ['{"edema": true, "size": "large"}', '{"size": "small"}', "{}"], {("edema", "absent")}),
        (BARE, ['{"edema": true}'] * 2 + ['{"edema": false}'], {("edema", "present")}),
        (BARE, ['{"edema": true}', "{}"], set()),
    ],
)
def test_a_vote_on_values_too(domain, answers, expected):
    voted = vote(domain, answers)
    assert {(claim.finding, claim.value) for claim in domain.claims(voted)} == expected


def test_a_hedge_becomes_no_assertion():
    for text in ("The answer is possibly B.", "I lean towards an answer, Answer: A or B."):
        assert restyled(CHOICE, text) == digest(CHOICE, CHOICE.claims(text)) == ""
    assert restyled(CHOICE, "It is clear. Answer: B") == digest(CHOICE, CHOICE.claims("Answer: B"))
    assert restyled(BARE, '{"edema": true}') != ""


def test_hints_tell_what_anybody_asserts_or_is_decided():
    beliefs = {
        ("Edema", "presence"): belief("", BOTH_WAYS, present=0.25, absent=0.75),
        ("Pleural Effusion", "presence"): belief("absent", {"ann": "absent"}, present=0.05, absent=0.95),
        ("Pleural Effusion", "side"): belief("", {"ann": "left", "bob": "left", "cy": "right"}),
        ("Support Devices", "presence"): belief("", {"ann": "absent"}, present=0.3, absent=0.7),
        ("No Finding", "presence"): belief("present", {"ann": "present"}, present=1.0),
    }
    assert hints(beliefs) == [
        "Edema: absent 75 %, present 25 %",
        "Pleural Effusion: absent 95 %, present 5 %",
        "Pleural Effusion, side: left 67 %, right 33 %",
    ]


def test_restyled_says_what_the_text_says_and_omits_what_it_omits():
    assert restyled(Field(), "Possible edema. I see effusion on the left.") == (
        "Edema: uncertain. Pleural effusion: left."
    )
    assert restyled(Field(), "Lovely weather.") == ""


def test_seeds_of_candidates_are_their_own():
    cases = [Case(case_id=name, cluster=name, split="train", prompt="", images=()) for name in ("a", "b")]
    seeds = {seed_of(seed, case, number) for seed in range(2) for case in cases for number in range(3)}
    assert len(seeds) == 12
    assert all(0 <= seed < 2**31 for seed in seeds)


# ---- the stage ----------------------------------------------------------------------------------

GOOD = "Edema: present. Pleural effusion: absent."
SAID = {
    "agreed": ("Edema is seen. No effusion.", "Edema is seen. Without effusion.", "I see edema."),
    "single": ("Edema is seen.", None, None),
    "refused": (None, None, None),
    "contrary": ("Edema is seen.", "No edema.", None),
}  # fmt: skip
AGREED = {"Edema": ("present", 0.9), "Pleural Effusion": ("absent", 0.9)}


class Writer:
    """Writes what it is told for a case, by the number of the request; remembers the questions."""

    def __init__(self, **texts):
        self.texts, self.questions, self.drawn = texts, [], []

    def generate(self, questions, images, *, max_new_tokens, temperature=0.0, seeds=None):
        self.questions += questions
        self.drawn += zip(temperature, seeds, strict=True) if seeds else [(0.0, None)] * len(questions)
        return [(self.texts.get(q.split("?")[0], [GOOD]).pop(0), True) for q in questions]


def make_context(root: Path, cases=("agreed",), **config) -> Context:
    folder = RunFolder(root / "run")
    folder.stage("measure").mkdir(parents=True)
    everything = [Case(case_id=c, cluster=c, split="train", prompt="", images=()) for c in cases]
    write_cases(folder.cases, everything)
    rows = []
    with Streams(folder.streams) as streams:
        for c in cases:
            for name, text in zip(TEACHERS, SAID[c], strict=True):
                status = Status.REFUSED if text is None else Status.OK
                streams.put(Trajectory(case_id=c, teacher=name, status=status, text=text or "No."))
            if c in ("agreed", "contrary"):
                rows += [row_of(c, finding) for finding in AGREED]
    columns = {name: [row.get(name) for row in rows] for name in SLOTS.names}
    write_table(folder.slots, columns, SLOTS)
    write_table(folder.reliability, {name: [] for name in RELIABILITY.names}, RELIABILITY)
    recipe = {"name": "run", "teachers": [{"name": name, "model": name} for name in TEACHERS]}
    recipe["synthesize"] = {"synthesizer": "student"} | config
    return Context(Recipe.parse(recipe, where="test"), folder, Field())


def row_of(case_id, finding):
    """As ``measure`` leaves it: of ``agreed`` both are decided, of ``contrary`` edema is open."""
    value, p = AGREED[finding]
    other = {"present": "absent", "absent": "present"}[value]
    if case_id == "contrary":
        votes = (
            dict(zip(TEACHERS, ("present", "absent", "refused"), strict=True)) if finding == "Edema" else {}
        )
        return {"case_id": case_id, "split": "train", "finding": finding, "attribute": "presence",
                "votes": json.dumps(votes), "decided": "", "posterior": ""}  # fmt: skip
    return {"case_id": case_id, "split": "train", "finding": finding, "attribute": "presence",
            "votes": json.dumps(dict.fromkeys(TEACHERS, value)), "decided": value,
            "posterior": json.dumps({value: p, other: 1 - p})}  # fmt: skip


def run(context, writer=None):
    room = Window(len, lambda case: context.recipe.synthesize.context_tokens or 10**6)
    return synthesize.run(context, lambda path, threads: writer, lambda context, student: room)


def table(context, name):
    return read_rows(context.folder.stage("synthesize") / f"{name}.parquet")


def rejected(context):
    return {row["case_id"]: row["reason"] for row in table(context, "rejected")}


def test_reliability_writes_what_is_believed_and_its_support(tmp_path):
    context = make_context(tmp_path, synthesizer="reliability")
    facts = run(context)
    [group] = read_groups(context.folder.groups)
    text = "Edema: present. Pleural effusion: absent. Support devices: absent. Study: abnormal."
    assert group.consensus == text
    assert group.support == facts["mean_support"] == pytest.approx(0.9)  # nobody speaks of devices
    told = [
        (text[r["start"] : r["end"]], r["finding"], r["value"], r["support"])
        for r in table(context, "support")
    ]
    assert [each[1:] for each in told] == [("Edema", "present", 0.9), ("Pleural Effusion", "absent", 0.9)]


@pytest.mark.parametrize("synthesizer", ["vote", "reliability", "student"])
def test_every_case_without_a_consensus_is_rejected_with_its_reason(tmp_path, synthesizer):
    """One usable teacher, all refused, contradictory claims only: point by point."""
    context = make_context(tmp_path, tuple(SAID), synthesizer=synthesizer, undecided="omit", refine=False)
    writer = Writer(contrary=["Edema: present. Pleural effusion: present."])
    facts = run(context, writer)
    contrary = {
        "vote": {},  # nothing has a majority: all absent, half supported
        "reliability": {"contrary": "nothing decided"},
        "student": {"contrary": "support 0.25 below 0.50: nobody says Pleural Effusion present"},
    }
    same = {"single": "one usable answer", "refused": "no usable answer"}
    assert rejected(context) == same | contrary[synthesizer]
    assert sum(facts["rejected_because"].values()) == facts["rejected"] == len(rejected(context))
    assert facts["groups"] + facts["rejected"] == 4


def test_contradictory_claims_take_the_likelier_value_if_asked_for(tmp_path):
    context = make_context(tmp_path, ("contrary",), synthesizer="reliability", undecided="likelier")
    run(context)
    [group] = read_groups(context.folder.groups)
    assert group.consensus.startswith("Edema: absent.")  # one against one: a tie
    assert group.support == 0.5


def test_a_teacher_stands_in_with_its_own_words(tmp_path):
    context = make_context(tmp_path, ("agreed", "single", "contrary"), synthesizer="teacher", teacher="bob")
    facts = run(context)
    said = {group.case_id: group for group in read_groups(context.folder.groups)}
    assert {name: group.consensus for name, group in said.items()} == {
        "agreed": SAID["agreed"][1],
        "contrary": "No edema.",
    }
    assert rejected(context) == {"single": "no usable answer of the teacher: bob"}
    assert [n.valid for n in said["agreed"].negatives] == [True, False, True]  # bob's equals the consensus
    assert facts["negatives_equal_to_consensus"] == 2


def test_a_candidate_that_copies_a_teacher_is_rejected_and_another_taken(tmp_path):
    copy = "Edema is seen.  No effusion."
    context = make_context(tmp_path, candidates=2, threshold=0.4)
    writer = Writer(agreed=[copy, "Edema: present."])
    run(context, writer)
    [group] = read_groups(context.folder.groups)
    assert group.consensus == "Edema: present."
    assert group.support == pytest.approx(0.45)  # the effusion is left out
    rows = table(context, "candidates")
    assert [(r["number"], r["chosen"], r["reason"]) for r in rows] == [
        (0, False, "copies ann"),
        (1, True, ""),
    ]


def test_the_best_candidate_wins_drawn_by_seeds_of_their_own(tmp_path):
    context = make_context(tmp_path, candidates=3)
    writer = Writer(agreed=["Edema: absent.", GOOD, GOOD + " "])
    run(context, writer)
    assert read_groups(context.folder.groups)[0].consensus == GOOD
    assert [temperature for temperature, _ in writer.drawn] == [0.0, 0.7, 0.7]
    assert len({seed for _, seed in writer.drawn}) == 3
    assert [row["chosen"] for row in table(context, "candidates")] == [False, True, False]


def test_a_weak_candidate_is_refined_once(tmp_path):
    context = make_context(tmp_path)
    writer = Writer(agreed=["Edema: absent.", GOOD])
    facts = run(context, writer)
    assert facts["refined"] == 1
    assert read_groups(context.folder.groups)[0].consensus == GOOD
    assert "Edema: absent." in writer.questions[1]
    assert "contradicted is Edema absent; left out is Pleural Effusion absent" in writer.questions[1]
    rows = table(context, "candidates")
    assert [(row["refined"], row["chosen"]) for row in rows] == [(False, False), (True, True)]


def test_what_stays_weak_is_rejected_with_its_reason_and_the_better_text(tmp_path):
    context = make_context(tmp_path)
    with pytest.raises(TrainingError, match=r"first reason: support 0\.45 below 0\.50"):
        run(context, Writer(agreed=["Edema: present.", "Edema: absent."]))
    [row] = table(context, "rejected")
    assert row["reason"] == "support 0.45 below 0.50: left out is Pleural Effusion absent"
    assert (row["text"], row["support"]) == ("Edema: present.", pytest.approx(0.45))


def test_guided_sees_what_is_believed_and_student_does_not(tmp_path):
    for synthesizer in ("guided", "student"):
        writer = Writer(agreed=[GOOD])
        run(make_context(tmp_path / synthesizer, synthesizer=synthesizer), writer)
        assert ("Edema: present 90 %, absent 10 %" in writer.questions[0]) is (synthesizer == "guided")
        assert all(text in writer.questions[0] for text in SAID["agreed"])
        assert not any(name in writer.questions[0] for name in TEACHERS)


def test_a_context_that_does_not_fit_is_a_rejection(tmp_path):
    context = make_context(tmp_path, context_tokens=5)
    with pytest.raises(TrainingError, match="context does not fit"):
        run(context, Writer())
    [row] = table(context, "rejected")
    assert (row["reason"], row["text"]) == ("context does not fit", "")
    assert math.isnan(row["support"])


def test_in_one_style_all_texts_are_in_the_students_format(tmp_path):
    context = make_context(tmp_path, one_style=True)
    facts = run(context, Writer(agreed=["There is edema. The effusion is absent."]))
    [group] = read_groups(context.folder.groups)
    assert group.consensus == GOOD
    assert [(n.text, n.valid) for n in group.negatives] == [
        (GOOD, False),  # says the same: nothing to prefer the consensus over
        (GOOD, False),
        ("Edema: present.", True),  # what it omits is left out
    ]
    assert facts["negatives_equal_to_consensus"] == 2
