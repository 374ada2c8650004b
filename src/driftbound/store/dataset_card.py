"""Card of a data set folder: where its answers come from, what was disclosed, what may be done with it."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from driftbound.records import SPLITS, Trajectory
from driftbound.stances import disclosed_names

MIMIC = "mimic-cxr"
_LICENCE = {
    "public": {"license": "unknown"},
    "credentialed": {"license": "other", "license_name": "terms-of-the-source-data"},
    MIMIC: {
        "license": "other",
        "license_name": "physionet-credentialed-health-data-license-1.5.0",
        "license_link": "https://physionet.org/about/licenses/physionet-credentialed-health-data-license-150/",
    },
}
_TERMS = {
    "public": "Public: nothing that this was made of is marked as credentialed. No licence is chosen yet: "
    "put one into the head of this card before you pass it on.",
    "credentialed": "**Credentialed. Do not pass this on.** It was made of data under a data use agreement, "
    "and counts as such data: pass it to nobody outside the agreement, and onto no platform that is not "
    "covered by it, a private repository of a hub included.",
    MIMIC: "**Credentialed. Do not pass this on.** It was made of MIMIC-CXR. What is derived from MIMIC is "
    "to be treated as containing sensitive information and must not be shared outside PhysioNet's terms "
    "(Credentialed Health Data Use Agreement 1.5.0; guideline on derived data sets and models, 24 April "
    "2024): if it is shared at all, then on PhysioNet, under the same agreement, and under a name that says "
    "that it extends MIMIC. It goes onto no hub, into no message and to no interface of a model.",
}
_VENDORS = (
    "What a vendor's model has said is under that vendor's terms, too; some forbid to train others on it."
)
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))
_LOCAL = ("root", "exclude", "cases", "path")
"""Keys whose values are places on somebody's disk."""


@dataclass(slots=True)
class Tally:
    """What was counted while the rows were written."""

    rows: Counter[str] = field(default_factory=Counter)
    """By split."""
    statuses: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    versions: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    models: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    dates: dict[str, list[str]] = field(default_factory=dict)
    told: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By teacher: what a prompt gave away -> answers."""
    waves: Counter[int] = field(default_factory=Counter)

    def add(self, split: str, each: Trajectory) -> None:
        """Count one answer."""
        self.rows[split] += 1
        self.waves[each.wave] += 1
        self.statuses[each.teacher][str(each.status)] += 1
        self.models[each.teacher][each.model or "not told"] += 1
        self.versions[each.teacher][each.version or "not told"] += 1
        if each.created_at:
            first, last = self.dates.get(each.teacher, (each.created_at, each.created_at))
            self.dates[each.teacher] = [min(first, each.created_at), max(last, each.created_at)]
        if each.prompt_discloses:
            self.told[each.teacher][", ".join(disclosed_names(each.prompt_discloses))] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a card tells besides."""

    title: str
    sensitivity: str
    domain: Mapping[str, Any]
    """The recipe's table."""
    asked_through: Mapping[str, str]
    """Teacher -> vendor, or how else it was reached."""
    fingerprint: str
    """Of the recipe's part that asks: domain, teachers, collect, seed and inputs."""
    finished: bool
    code: str
    made: str
    question: str
    """That was put about every case; empty where each has its own."""
    told_question: str
    """Beginning, without labels, of that of those who were told them; empty where nobody was."""
    pictured: bool


def card(about: About, tally: Tally) -> str:
    """The whole ``README.md``: metadata that the Hub reads, and text."""
    kind = _kind(about)
    n = sum(tally.rows.values())
    head: dict[str, Any] = {
        **_LICENCE[kind],
        "pretty_name": about.title,
        "task_categories": ["image-text-to-text"],
        "size_categories": [next((name for most, name in _SIZES if n < most), "n>1M")],
        "tags": ["driftbound", "distillation", *([about.sensitivity] if kind != "public" else [])],
        "configs": [{"config_name": "default", "data_files": _files(tally)}],
    }
    parts = (
        f"# {about.title}",
        f"What {len(tally.statuses)} models say of the same cases: {n} answers, a row each.",
        f"## Data use\n\n{_TERMS[kind]} {_VENDORS}",
        f"## Where it comes from\n\n{_provenance(about, tally)}",
        f"## Teachers\n\n{_teachers(about, tally)}",
        f"## Prompts\n\n{_prompts(about, tally)}",
        f"## Rows\n\n{_rows(about, tally)}",
    )
    return f"---\n{yaml.safe_dump(head, sort_keys=False, width=1000)}---\n\n" + "\n\n".join(parts) + "\n"


def _kind(about: About) -> str:
    if about.sensitivity == "public":
        return "public"
    data = about.domain.get("data") or {}
    return MIMIC if data.get("set") == MIMIC else "credentialed"


def _files(tally: Tally) -> list[dict[str, str]]:
    return [{"split": split, "path": f"data/{split}-*"} for split in SPLITS if tally.rows[split]]


def _provenance(about: About, tally: Tally) -> str:
    waves = f" Rounds of asking: {', '.join(map(str, sorted(tally.waves)))}." if len(tally.waves) > 1 else ""
    unfinished = "" if about.finished else " **The collection is not finished.**"
    table = yaml.safe_dump(_without_places(about.domain), sort_keys=False).rstrip()
    return (
        f"Collected by driftbound {about.code}, written {about.made}.{unfinished}{waves} Fingerprint of the "
        f"recipe (field, teachers, collect, seed and inputs): `{about.fingerprint}`. `manifest.json` has the "
        f"hashes of all that went in. The cases:\n\n```yaml\n{table}\n```"
    )


def _without_places(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: _without_places(each) for key, each in value.items() if key not in _LOCAL}


def _teachers(about: About, tally: Tally) -> str:
    lines = [
        "| teacher | through | asked for | reported | answers | from | to |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in sorted(tally.statuses):
        first, last = tally.dates.get(name, ("not told", "not told"))
        through = about.asked_through.get(name, "another recipe")
        cells = (name, through, _counted(tally.models[name]), _counted(tally.versions[name]))
        answers = ", ".join(f"{n} {status}" for status, n in sorted(tally.statuses[name].items()))
        lines.append(f"| {' | '.join(map(_cell, cells))} | {answers} | {first[:10]} | {last[:10]} |")
    return "\n".join(lines)


def _counted(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{name} ({n})" for name, n in sorted(counts.items()))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _prompts(about: About, tally: Tally) -> str:
    usual = "Each case has its own; see the column `question`."
    if about.question:
        usual = f"The same about every case:\n\n{_quoted(about.question)}"
    if not tally.told:
        return f"{usual}\n\nNo prompt gave any label away."
    streams = "\n".join(
        f"- {name}: {n} answers; {what}"
        for name, told in sorted(tally.told.items())
        for what, n in told.items()
    )
    asked = f" They were asked:\n\n{_quoted(about.told_question)}" if about.told_question else ""
    return (
        f"{usual}\n\n**Disclosed.** The prompts of these streams gave labels away (column "
        f"`prompt_discloses`; `FINDING:side` is the side):\n\n{streams}\n\nWhat such a stream says of the "
        "presence of these findings is no evidence, and is not to be scored; nor is the side, where that was "
        f"disclosed.{asked}"
    )


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" if line else ">" for line in text.splitlines())


def _rows(about: About, tally: Tally) -> str:
    counts = ", ".join(f"{tally.rows[split]} {split}" for split in SPLITS if tally.rows[split])
    images = (
        "`images` holds the images."
        if about.pictured
        else "`images` are paths within the run, whose files are not in here; `film` names the source's "
        "image, where the field has noted it."
    )
    first = next(split for split in SPLITS if tally.rows[split])
    return (
        f"{counts}. A row is one answer (`case_id`, `teacher`, `sample`, `wave`) with everything that was "
        "stored of it: `text` to the letter, `status` (`ok`, `truncated`, `refused`, `empty`, `failed`), "
        "what was asked (`model`, `params`, `question`: empty where the answer was given elsewhere) and what "
        f"answered (`version`). `cluster` is the patient or document. {images} `driftbound import RUN "
        "FOLDER` takes the answers into a run.\n\n```python\nfrom datasets import load_dataset\n\n"
        f'rows = load_dataset("FOLDER", split="{first}")\n```'
    )
