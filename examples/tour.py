"""Writes the page that follows one case through a run: `python examples/tour.py runs/demo docs/tour.md`."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tour_records import Run, code, doubts_of, fenced, prose, share, stretches, table, votes_of

STUDENTS = {"base": "before bootstrap", "bootstrapped": "after bootstrap", "aligned": "after align"}
SHOWN = 6
"""Claims of an answer, and of the consensus, that are listed."""


def start(run: Run) -> list[str]:
    """Which run, which case, and why this one."""
    (measured,) = run.rows("measure", "cases")
    name, case = run.recipe["name"], run.case
    return [
        "# One case through all stages",
        prose(
            "What the seven stages make of one case, in the records that they left. Nothing here is typed:",
            f"`python examples/tour.py runs/{name} docs/tour.md` writes this page from a finished run, here",
            f"of the recipe `{name}`, seed {run.made.seed}, driftbound {run.made.code},",
            f"{run.made.finished_at[:10]}. `driftbound run {name}` makes such a run.",
        ),
        prose(
            f"The case was chosen by a rule that knows no truth: of the {run.summary['n_cases']} held-out",
            f"cases of `{run.split}` those with most usable answers, and of these the one in most conflict",
            f"({share(measured['conflict'])} of all that its teachers speak of). It is not typical, and what",
            "becomes of it proves nothing; [evaluate](evaluation.md) counts all cases.",
        ),
        "## The case",
        f"![The film of case {run.case_id}](pictures/tour.png)",
        prose(
            f"A case is an image and a question. It belongs to a patient (`{case['cluster']}`), the unit of",
            f"every interval, and to a split: `{case['split']}` is held out, so that everybody is asked",
            "about it and no training sees it. In `cases.parquet`:",
        ),
        fenced(json.dumps(case, indent=1), "json"),
        "What is true of it lies in a file outside the run, which stage 6 alone opens.",
    ]


def collect(run: Run) -> list[str]:
    """What the teachers said."""
    first = run.first()
    out = [
        "## 1 · collect",
        prose(
            f"Each of the {len(run.teachers)} teachers is asked over HTTP. What it answers is kept to the",
            f"letter, with all that came beside it, in `1-collect/streams.sqlite`: {len(run.answers)}",
            f"answers to this case, {len(run.answers) - len(first)} of them second samples, which only tell",
            "a teacher's own noise from conflict. The first ones:",
        ),
    ]
    for name in run.teachers:
        answer = first[name]
        out.append(
            f"**{name}** · {answer.status} · `{answer.version}` · {answer.completion_tokens} tokens of answer"
        )
        out += [fenced(answer.text)] if answer.text else []
    return out


def measure(run: Run) -> list[str]:
    """Claims, votes, and what is believed of them."""
    first = run.first()
    claims = [row for row in run.rows("measure", "claims") if row["sample"] == 0]
    name = next((each for each in run.teachers if any(row["teacher"] == each for row in claims)), "")
    own = [row for row in claims if row["teacher"] == name]
    said = [
        [
            row["step"],
            code(first[name].text[row["start"] : row["end"]]),
            row["finding"],
            row["attribute"],
            row["value"],
        ]
        for row in own[:SHOWN]
    ]
    return [
        "## 2 · measure",
        prose(
            "A text becomes claims: a finding, what is said of it, and the stretch of characters that says",
            f"it. The first {len(said)} of {len(own)} claims of {name} (`claims.parquet`):",
        ),
        table(["step", "words", "finding", "attribute", "value"], said),
        prose(
            "A teacher's last word on a finding, or on its side, is its vote: `+` present, `−` absent, `?`",
            "uncertain, empty where it does not speak of it. The votes agree where at least",
            f"{share(run.recipe['measure']['decisive'])} of those that commit themselves are the same.",
            "*Believed* is the likeliest value by all votes together, each weighed by how reliable its",
            "teacher proved on this kind of claim: estimated from agreement and contradiction over all",
            "training cases, without any label (`slots.parquet`).",
        ),
        table(["", *run.teachers, "status", "believed"], votes_of(run)),
        prose(
            "Few votes may outweigh many. The chance that a vote is wrong, by the votes of the others",
            "(`reliability.parquet`):",
        ),
        table(["", *run.teachers], doubts_of(run)),
        *_alarms(run),
    ]


def _alarms(run: Run) -> list[str]:
    alarms = [f"- {alarm['teacher']} {alarm['what']}" for alarm in run.alarms if alarm["teacher"]]
    alpha = run.recipe["measure"]["alpha"]
    if not alarms:
        return ["Drift shows only over many cases; in this run no alarm was raised ([measure](measure.md))."]
    return [
        prose(
            "Drift shows only over many cases. In this run these alarms were raised, any false one among",
            f"them with a chance of at most {share(alpha)} ([measure](measure.md)):",
        ),
        "\n".join(alarms),
    ]


def bootstrap(run: Run) -> list[str]:
    """What the student learns from all teachers."""
    made = run.manifest("bootstrap")
    first, last, held = run.steps("bootstrap")
    texts = {which: run.predictions[f"student:{which}"]["text"] for which in ("base", "bootstrapped")}
    return [
        "## 3 · bootstrap",
        prose(
            f"The student, an ordinary checkpoint (`{made.config['bootstrap']['base']}`), learns to answer",
            "as the teachers do: image, question, and each usable answer in turn. Our case is held out;",
            f"{made.facts['groups']} training cases with {made.facts['answers']} answers made",
            f"{made.facts['steps']} steps, in which a teacher's answer went from a mean log-probability of",
            f"{first['logp_per_token']:.2f} per token to {last['logp_per_token']:.2f}"
            + (f" ({held['logp_per_token']:.2f} on validation cases)." if held else "."),
            "Asked about our case, the student says",
        ),
        *(part for which, text in texts.items() for part in (f"**{STUDENTS[which]}**", fenced(text))),
    ]


def synthesize(run: Run) -> list[str]:
    """The consensus, its support, and what counts against the teachers."""
    (group,) = run.rows("synthesize", "groups")
    (chosen,) = [row for row in run.rows("synthesize", "candidates") if row["chosen"]]
    text = group["consensus"]
    support = sorted(run.rows("synthesize", "support"), key=lambda row: row["support"])[:SHOWN]
    weak = [
        [code(text[row["start"] : row["end"]]), row["finding"], row["attribute"], f"{row['support']:.2f}"]
        for row in support
    ]
    made = run.manifest("synthesize").config["synthesize"]
    return [
        "## 4 · synthesize",
        f"One text per case, by the synthesizer `{made['synthesizer']}` ([the others](consensus.md)):",
        fenced(text),
        prose(
            "The gate holds each of its claims against what is believed. The score is",
            f"{chosen['support']:.2f}, with {chosen['contradictions']} contradictions,",
            f"{chosen['inventions']} inventions and {chosen['omissions']} omissions. The claims with least",
            "support (`support.parquet`):",
        ),
        table(["words", "finding", "attribute", "support"], weak),
        *_constraints(run, group),
    ]


def _constraints(run: Run, group: dict[str, Any]) -> list[str]:
    rivals = [one for one in group["negatives"] if one["valid"]]
    held = [
        [one["teacher"], code(words), f"{weight:.2f}"]
        for one in rivals
        for words, weight in stretches(one["text"], one["spans"])
        if weight > 0
    ]
    plain = not any(one["spans"] for one in rivals)
    what = (
        "In this recipe every character weighs 1 (`groups.parquet`)."
        if plain
        else "What counts against the teachers of our case (`groups.parquet`; all else weighs 0):"
    )
    return [
        prose(
            "Here drift and conflict become constraints: each teacher's answer is weighed, stretch by",
            "stretch, by how it stands to the consensus ([constraints](constraints.md)).",
            what,
        ),
        *([] if plain else [table(["teacher", "words", "weight"], held)]),
    ]


def align(run: Run) -> list[str]:
    """What the preference training did."""
    facts = run.manifest("align").facts
    seen = dict(zip(("first step", "last step", "validation cases"), run.steps("align"), strict=True))
    keys = {
        "loss of the preference": "preference_loss",
        "log p of the consensus, per token": "logp_consensus_per_token",
        "reward of the consensus": "rewards/consensus",
        **{f"reward of {name}": f"rewards/rejected/{name}" for name in run.teachers},
    }
    numbers = [
        [what, *(f"{line[key]:.2f}" if key in line else "" for line in seen.values())]
        for what, key in keys.items()
    ]
    return [
        "## 5 · align",
        prose(
            f"The student is trained to prefer the consensus over all {len(run.teachers)} answers at once,",
            f"again on training cases alone ({facts['groups']} cases, {facts['steps']} steps). A reward says",
            "how much likelier a text has become than it was under the bootstrapped student; at the first",
            "step all are 0, and the loss is the logarithm of the number of candidates. Means over cases",
            "(`metrics.jsonl`):",
        ),
        table(["", *seen], numbers),
        prose(
            "The second line is the one to watch: the loss can fall while the consensus itself becomes less",
            "likely ([safe training](safe-training.md)).",
        ),
    ]


def evaluate(run: Run) -> list[str]:
    """The truth, at last, and who was right."""
    columns = {
        "bootstrapped student": "student:bootstrapped",
        "aligned student": "student:aligned",
        "consensus": "consensus",
        "majority": "baseline:majority",
    }
    truth = json.loads(run.predictions["student:aligned"]["truth"])
    teachers = [name for name in run.teachers if f"teacher:{name}" in run.predictions]
    rows = []
    for each in (finding for finding in run.domain.headline if finding in truth):
        right = sum(run.judged(f"teacher:{name}", each, truth[each]) != "✗" for name in teachers)
        marks = [run.judged(row, each, truth[each]) for row in columns.values() if row in run.predictions]
        rows.append([each, truth[each], f"{right} of {len(teachers)}", *marks])
    shown = [name for name, row in columns.items() if row in run.predictions]
    return [
        "## 6 · evaluate",
        "Only now the truth is read. Without any teacher, the aligned student says of the film:",
        fenced(run.predictions["student:aligned"]["text"]),
        "Who was right about whether a finding is there (`predictions.parquet`); sides are counted apart:",
        table(["", "truth", "teachers right", *shown], rows),
    ]


def report(run: Run) -> list[str]:
    """All cases together."""
    every = run.summary
    best = max(every["teachers"], key=lambda name: every["teachers"][name]["balanced_accuracy"]["mean"])
    rows = {f"student {when}": every["students"][which] for which, when in STUDENTS.items()}
    rows |= {
        f"best teacher, {best}": every["teachers"][best],
        "consensus, teachers at hand": every["consensus"],
    }
    rows |= {"majority of the teachers": every["baselines"]["majority"]}
    numbers = {name: scores["balanced_accuracy"] for name, scores in rows.items()}
    name = run.recipe["name"]
    return [
        "## 7 · report",
        f"What one case cannot say, {every['n_cases']} can. Balanced accuracy, 95 % intervals over patients:",
        table(
            ["", "balanced accuracy"],
            [[who, f"{n['mean']:.2f} ({n['low']:.2f}–{n['high']:.2f})"] for who, n in numbers.items()],
        ),
        prose(
            f"`runs/{name}/7-report/report.html` has all tables, plots, and cases chosen for a reason;",
            f"`driftbound view runs/{name}` shows every case as this page shows one ([viewer](viewer.md)).",
        ),
    ]


STAGES = (start, collect, measure, bootstrap, synthesize, align, evaluate, report)


def write(root: Path, page: Path) -> None:
    """Write the page, and the case's picture in ``pictures/`` beside it."""
    run = Run(root)
    text = "\n\n".join(part for stage in STAGES for part in stage(run)) + "\n"
    (page.parent / "pictures").mkdir(exist_ok=True)
    shutil.copyfile(root / run.case["images"][0], page.parent / "pictures" / "tour.png")
    page.write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
