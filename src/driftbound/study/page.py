"""The page: docs/study.md and its pictures, written from the raw results."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from driftbound.store.manifest import atomic_write_text
from driftbound.study import plots, tables
from driftbound.study.compare import DRAWS
from driftbound.study.material import (
    SCANNER,
    TEST,
    VALIDATION,
    Asked,
    Material,
    Run,
    Where,
    kind_of,
    main_arms,
)
from driftbound.study.plan import MAIN
from driftbound.study.rendering import (
    arm_table,
    comparison_table,
    dispersion_table,
    finding_table,
    goal_table,
    helped,
    listed,
    look_table,
    sweep_table,
    table,
)

_TITLES = {VALIDATION: "Validation", TEST: "Test", SCANNER: "The other scanner"}


@dataclass(frozen=True, slots=True)
class Section:
    """A piece of the page that is made of data alone."""

    title: str
    body: str


def write_page(results: Path, page: Path, asked: Asked) -> list[Path]:
    """Write ``page`` (Markdown) and ``pictures/study-*.svg`` beside it; returns what was written.

    ``results`` holds one folder per phase with the raw results. The same results give the same bytes.
    Raises ``StoreError`` where there are none, or where one cannot be read.
    """
    material = Material.read(results, asked)
    pictures: list[plots.Picture] = []
    context = {
        "asked": asked,
        "results": results.name,
        "draws": f"{DRAWS:,}",
        "seeds": {phase: listed(map(str, seeds)) for phase, seeds in material.seeds.items()},
        "sections": [*_tested(material, pictures), *_swept(material, pictures), *_tuned(material, pictures)],
        "state": _state(material),
        "made_with": _versions(material),
        "overrides": _overrides(material),
    }
    loader = PackageLoader("driftbound.study", "templates")
    environment = Environment(  # Markdown, not HTML: nothing to escape
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    body = environment.get_template("study.md.jinja").render(context)
    page.parent.mkdir(parents=True, exist_ok=True)
    folder = page.parent / "pictures"
    folder.mkdir(exist_ok=True)
    for picture in pictures:
        atomic_write_text(folder / picture.name, picture.body)
    atomic_write_text(page, body.rstrip() + "\n")
    return [page, *(folder / picture.name for picture in pictures)]


def _tested(material: Material, pictures: list[plots.Picture]) -> list[Section]:
    """Everything about the test patients."""
    phase, default = material.asked.test, material.asked.default
    splits = [split for split in (TEST, SCANNER) if split in material.splits(phase)]
    if TEST not in splits:
        return [Section("Test", "The test patients have not been looked at yet.")]
    rows = tables.comparisons(material, phase, TEST)
    looks = tables.look_rows(material, phase, TEST)
    sections = [
        Section("Goals", goal_table(material, rows, looks)),
        Section("What helped, and what did not", helped(material, phase, TEST, rows)),
    ]
    for split in splits:
        sections.append(_arms(material, phase, split, pictures))
        compared = rows if split == TEST else tables.comparisons(material, phase, split)
        sections.append(Section(f"{_TITLES[split]}: {default} minus each", comparison_table(compared)))
        sections.append(
            Section(f"{_TITLES[split]}: finding by finding", finding_table(material, phase, split))
        )
    sections.append(Section("Does the student look?", look_table(looks)))
    sections.append(Section("Is the feature space tighter?", dispersion_table(material, phase, TEST)))
    return sections


def _tuned(material: Material, pictures: list[plots.Picture]) -> list[Section]:
    """The choice of the default, on validation patients."""
    phase = material.asked.tuning
    if VALIDATION not in material.splits(phase):
        return [Section("The choice of the default", "No result of the tuning phase.")]
    arms = _arms(material, phase, VALIDATION, pictures)
    rows = tables.comparisons(material, phase, VALIDATION)
    intro = (
        f"The default is `{material.asked.default}`, by the key `default` of the study file. What it was "
        f"chosen from: validation patients, seeds {listed(map(str, material.seeds[phase]))}. "
        f"{_place(material)}"
    )
    return [
        Section("The choice of the default", "\n\n".join([intro, arms.body])),
        Section("Validation: what helped, and what did not", helped(material, phase, VALIDATION, rows)),
        Section(f"Validation: {material.asked.default} minus each", comparison_table(rows)),
    ]


def _place(material: Material) -> str:
    """Where the default stands among the arms on validation patients."""
    rows = [
        row
        for row in tables.arm_rows(material, material.asked.tuning, VALIDATION)
        if row.kind == "arm" and math.isfinite(row.metrics["balanced_accuracy"].estimate.mean)
    ]
    ranked = sorted(rows, key=lambda row: -row.metrics["balanced_accuracy"].estimate.mean)
    place = next((n for n, row in enumerate(ranked, 1) if row.arm == material.asked.default), 0)
    if not place:
        return "It has no result there."
    return f"By balanced accuracy it is number {place} of the {len(ranked)} arms there."


def _swept(material: Material, pictures: list[plots.Picture]) -> list[Section]:
    sections = []
    for (phase, sweep), settings in material.sweeps().items():
        runs = [run for run in material.results if (run.phase, run.sweep) == (phase, sweep)]
        split = TEST if any(TEST in run.splits for run in runs) else VALIDATION
        rows = tables.sweep_rows(material, phase, sweep, settings, split)
        title = f"Sweep: {sweep}"
        name = f"study-sweep-{_slug(sweep)}" + ("-tuning" if phase == material.asked.tuning else "")
        picture = plots.lines(
            f"{name}.svg", f"{title}, {_TITLES[split].lower()}", rows, material.asked.default
        )
        seeds = sorted({run.seed for run in runs})
        intro = f"{_TITLES[split]} patients, phase `{phase}`, seeds {listed(map(str, seeds))}."
        sections.append(Section(title, "\n\n".join([intro, *_shown(picture, pictures), sweep_table(rows)])))
    return sections


def _arms(material: Material, phase: str, split: str, pictures: list[plots.Picture]) -> Section:
    rows = tables.arm_rows(material, phase, split)
    title = f"{_TITLES[split]}: all arms"
    picture = plots.dots(f"study-{split.replace('_', '-')}.svg", title, rows, material.asked.default)
    note = "Means over seeds, with 95 % intervals over seeds and patients for the first two."
    intro = f"{_asked(material, phase, split)} {note}".strip()
    return Section(title, "\n\n".join([intro, *_shown(picture, pictures), arm_table(rows, material)]))


def _asked(material: Material, phase: str, split: str) -> str:
    """How many cases and patients, and whether they are the same in every seed."""
    place = main_arms(phase)
    found = [one for arm in material.arms(place) for one in material.scored(place, arm, split).values()]
    if not found:
        return ""
    asked = len({one.patients for one in found})
    same = "the same in every seed" if asked == 1 else f"{asked} different sets of them over the seeds"
    return f"{found[0].cases} cases of {len(found[0].clusters)} patients per seed, {same}."


def _state(material: Material) -> str:
    """What is missing and what was stopped."""
    missing, stopped = material.missing(), material.stopped()
    parts = []
    if not material.asked.expected:
        parts.append("What the study asks for was not given, so what is missing is not known.")
    elif missing:
        share = f"{len(missing)} of {len(material.asked.expected)} results are missing:"
        parts.append("\n".join([f"**Incomplete.** {share}", "", *_by_arm(missing)]))
    else:
        parts.append(f"Complete: all {len(material.asked.expected)} results are there.")
    twice = set(material.seeds.get(material.asked.tuning, ())) & set(
        material.seeds.get(material.asked.test, ())
    )
    parts += _doubts(material)
    if twice:
        parts.append(f"**Not fresh:** both phases used seeds {listed(map(str, sorted(twice)))}.")
    if stopped:
        lines = [[run.phase, _place_of(run.where), run.arm, str(run.seed), run.reason] for run in stopped]
        parts.append(
            f"Stopped: {len(stopped)}. They have no numbers; their arms are compared on the other seeds, "
            "which the tables count. So an arm's mean leaves out the seeds on which it failed."
        )
        parts.append(table(("phase", "setting", "arm", "seed", "reason"), lines))
    return "\n\n".join(parts)


def _doubts(material: Material) -> list[str]:
    """What keeps the results from being of one study file, one code and one choice, made before the test."""
    asked, parts = material.asked, []
    if asked.stale:
        parts.append(
            f"**Not of one study file:** {len(asked.stale)} results are of another recipe than the file "
            "has now."
        )
    if material.left_out:
        parts.append(f"Left out: {material.left_out} results that the study file no longer asks for.")
    for phase in dict.fromkeys(run.phase for run in material.results):
        codes = {run.versions.get("driftbound", "") for run in material.results if run.phase == phase}
        if len(codes) > 1:
            parts.append(f"**Not of one code:** {phase} was made by {len(codes)} versions of driftbound.")
    tested = [run for run in material.results if run.phase == asked.test]
    late = [run for run in tested if not asked.chosen or run.chosen != asked.chosen]
    if late and asked.expected:
        parts.append(
            f"**Not chosen beforehand:** {len(late)} of {len(tested)} results on test patients were made "
            "before the choice that is written down now, or without one."
        )
    return parts


def _by_arm(runs: Sequence[Run]) -> list[str]:
    """One line per place and seeds, with the arms that lack them."""
    seeds: dict[tuple[str, str, str], list[str]] = {}
    for run in runs:
        seeds.setdefault((run.phase, _place_of(run.where), run.arm), []).append(str(run.seed))
    arms: dict[tuple[str, str, str], list[str]] = {}
    for (phase, place, arm), each in seeds.items():
        arms.setdefault((phase, place, listed(each)), []).append(f"`{arm}`")
    return [
        f"- {phase}, {place}, seeds {each}: {listed(names)}" for (phase, place, each), names in arms.items()
    ]


def _place_of(where: Where) -> str:
    return f"{where[1]} {where[2]}".strip()


def _versions(material: Material) -> str:
    found: dict[str, set[str]] = {}
    for run in material.results:
        for name, version in run.versions.items():
            found.setdefault(name, set()).add(version)
    return "; ".join(f"{name} {listed(sorted(each))}" for name, each in sorted(found.items()))


def _overrides(material: Material) -> str:
    known: dict[str, str] = {}
    for run in material.results:
        if run.overrides and run.setting == MAIN and kind_of(run.arm) == "arm":
            known.setdefault(run.arm, run.overrides)
    lines = [[arm, f"`{said}`"] for arm, said in known.items()]
    return table(("arm", "changes of the recipe"), lines) if lines else ""


def _shown(picture: plots.Picture | None, pictures: list[plots.Picture]) -> list[str]:
    if picture is None:
        return []
    pictures.append(picture)
    return [f"![{picture.alt.replace('[', '(').replace(']', ')')}](pictures/{picture.name})"]


def _slug(words: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in words.lower()).strip("-")
