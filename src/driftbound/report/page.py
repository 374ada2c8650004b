"""The page: everything a run found in one self-contained HTML file, and the same numbers as JSON."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from importlib.resources import files
from statistics import median
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from driftbound.records import Estimate, Status, Trajectory
from driftbound.report import figures, tables
from driftbound.report.cases import SIGNS, Exhibit
from driftbound.report.training import Training
from driftbound.store.manifest import Manifest

_TEMPLATES = "templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What asking one teacher took, over all splits."""

    teacher: str
    answers: dict[str, int]
    """Status -> count."""
    prompt_tokens: int
    completion_tokens: int
    latency_s: float
    """Median over the answers."""
    versions: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a run has left for the page; a stage that left nothing is ``None`` or empty."""

    name: str
    headline: tuple[str, ...]
    """Findings that the mean is over."""
    findings: tuple[str, ...]
    """All findings, in the order of the tables."""
    recipe: Mapping[str, Any]
    scores: Mapping[str, Any] | None = None
    """``6-evaluate/summary.json``."""
    measure: Mapping[str, Any] | None = None
    """``2-measure/summary.json``."""
    trainings: tuple[Training, ...] = ()
    consensus: Mapping[str, int] = field(default_factory=dict)
    """What became of the groups: word -> count."""
    costs: tuple[Costs, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()
    manifests: tuple[Manifest, ...] = ()
    """In the order of the stages."""


def costs_of(trajectories: Sequence[Trajectory], teachers: Sequence[str]) -> tuple[Costs, ...]:
    """Sums over each teacher's trajectories, in the order of ``teachers``."""
    found = []
    for name in teachers:
        own = [each for each in trajectories if each.teacher == name]
        counts = Counter(str(each.status) for each in own)
        found.append(
            Costs(
                teacher=name,
                answers={str(status): counts[str(status)] for status in Status},
                prompt_tokens=sum(each.prompt_tokens for each in own),
                completion_tokens=sum(each.completion_tokens for each in own),
                latency_s=median([each.latency_s for each in own]) if own else math.nan,
                versions=dict(Counter(each.version for each in own if each.version)),
            )
        )
    return tuple(found)


def render(material: Material) -> tuple[str, dict[str, Any]]:
    """The page as HTML and the numbers on it as a JSON table (missing numbers are ``None``)."""
    scores = material.scores
    splits = tables.splits_of(scores) if scores else {}
    results = {name: tables.score_rows(table, material.headline) for name, table in splits.items()}
    first = next(iter(splits), "")
    headline = tables.headline_of(splits[first], results[first]) if first else None
    measure = material.measure or {}
    per_finding = _ordered(measure.get("per_finding") or {}, material.findings)
    agreement = {name: _shares(entry) for name, entry in per_finding.items()}
    order = [str(each["name"]) for each in material.recipe.get("teachers", ())]
    teachers = _ordered(measure.get("teachers") or {}, order)
    drift = {
        name: [tables.estimate(step) for step in each["by_step"]]
        for name, each in teachers.items()
        if each.get("by_step")
    }
    view: dict[str, Any] = {
        "material": material,
        "css": Markup(_file("report.css")),
        "headline": headline,
        "splits": splits,
        "results": results,
        "dots": {name: figures.dots(rows, name) for name, rows in results.items()},
        "drift": drift,
        "bands": _bands(drift),
        "overall": {
            name: tables.estimate(each.get("agreement_with_others")) for name, each in teachers.items()
        },
        "vote_teachers": order,
        "total_seconds": _total(material.manifests),
        "agreement": agreement,
        "alpha": {name: tables.number(each.get("alpha")) for name, each in per_finding.items()},
        "stacked": figures.stacked(agreement),
        "measured": measure,
        "recipe_yaml": yaml.safe_dump(dict(material.recipe), sort_keys=False, allow_unicode=True),
        "sensitive": any(each.sensitivity != "public" for each in material.manifests),
    }
    html = _environment().get_template("report.html.jinja").render(view)
    return html.encode("utf-8", "replace").decode("utf-8"), _numbers(material, view)


def dumps(numbers: Mapping[str, Any]) -> str:
    """``report.json``: valid JSON, no ``NaN``."""
    return json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(0.4), duration(75), duration(3720), duration(math.nan)
    ('0.4 s', '1 min 15 s', '1 h 2 min', '–')
    """
    if not math.isfinite(seconds):
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def said(facts: Mapping[str, Any]) -> str:
    """A stage's plain facts in one line, the seconds apart.

    >>> said({"cases": 12, "seconds": 3.0, "mean_loss": 2.07944, "deep": {"a": 1}})
    'cases 12, mean loss 2.079'
    """
    plain = [(key.replace("_", " "), value) for key, value in facts.items() if key != "seconds"]
    return ", ".join(
        f"{key} {value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{key} {value}"
        for key, value in plain
        if isinstance(value, (int, float, str)) and value != ""
    )


def _numbers(material: Material, view: Mapping[str, Any]) -> dict[str, Any]:
    """All that the page says, without pictures."""
    return {
        "run": material.name,
        "sensitivity": "credentialed" if view["sensitive"] else "public",
        "headline": _plain(view["headline"]),
        "results": {
            split: {
                "n_cases": view["splits"][split].get("n_cases"),
                "n_clusters": view["splits"][split].get("n_clusters"),
                "rows": _plain(rows),
            }
            for split, rows in view["results"].items()
        },
        "drift_by_step": _plain(view["drift"]),
        "agreement": {"per_finding": _plain(view["agreement"]), "alpha": _plain(view["alpha"])},
        "training": {each.verb: _plain(each.points) for each in material.trainings},
        "consensus": _plain(material.consensus),
        "cases": [_case(each) for each in material.exhibits],
        "teachers": _plain(material.costs),
        "stages": {
            each.stage: {"facts": _plain(each.facts), "code": each.code} for each in material.manifests
        },
        "recipe": _plain(material.recipe),
    }


def _case(exhibit: Exhibit) -> dict[str, Any]:
    """A case without its pictures, each text in one piece with its marks as ``[start, end, mark]``."""
    found: dict[str, Any] = _plain(exhibit)
    del found["images"]
    for answer in (*found["students"], *found["teachers"], found["consensus"]):
        if answer is not None:
            pieces, start, marks = answer.pop("pieces"), 0, []
            for piece in pieces:
                end = start + len(piece["text"])
                marks += [[start, end, piece["mark"]]] if piece["mark"] else []
                start = end
            answer |= {"text": "".join(piece["text"] for piece in pieces), "marks": marks}
    return found


def _plain(value: Any) -> Any:
    """JSON values of dataclasses, mappings and sequences; what is not a finite number becomes ``None``."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    return value


def _total(manifests: Sequence[Manifest]) -> float:
    """Seconds of all stages that say theirs."""
    seconds = [tables.number(each.facts.get("seconds")) for each in manifests]
    return sum(each for each in seconds if math.isfinite(each))


def _ordered(table: Mapping[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """The same table in a given order; what the order does not name comes last."""
    names = [name for name in order if name in table] + [name for name in table if name not in order]
    return {name: table[name] for name in names}


def _shares(entry: Mapping[str, Any]) -> dict[str, float]:
    return {status: tables.number(entry.get(status)) for status in ("agreed", "conflicting", "undecided")}


def _bands(drift: Mapping[str, Sequence[Estimate]]) -> dict[str, Markup]:
    """Small multiples on one common scale."""
    ends = [end for steps in drift.values() for step in steps for end in (step.mean, step.low, step.high)]
    known = [end for end in ends if math.isfinite(end)]
    if not known:
        return {}
    low, high = math.floor(min(known) * 10) / 10, math.ceil(max(known) * 10) / 10
    high = high if high > low else low + 0.1
    return {name: figures.bands(name, steps, low, high) for name, steps in drift.items()}


def _environment() -> Environment:
    """Every value is escaped; an unknown one is an error."""
    environment = Environment(
        loader=PackageLoader("driftbound.report", _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "digits": tables.digits,
        "between": tables.between,
        "duration": duration,
        "said": said,
    }
    environment.globals |= {"groups": tables.GROUPS, "signs": SIGNS, "number": tables.number}
    return environment


def _file(name: str) -> str:
    return (files("driftbound.report") / _TEMPLATES / name).read_text(encoding="utf-8")
