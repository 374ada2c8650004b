"""The page: everything a run found in one self-contained HTML file, and the same numbers as JSON."""

import base64
import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cache
from importlib.resources import files
from statistics import median
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from driftbound.records import Status, Trajectory
from driftbound.report import controls, figures, measured_page, tables
from driftbound.report.cases import SIGNS, Exhibit
from driftbound.report.further import further
from driftbound.report.measured_figures import interval
from driftbound.report.measured_summary import percent, probability, why_missing
from driftbound.report.progression import course_tables
from driftbound.report.published import published_tables
from driftbound.report.tables import shortened
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
    published: Mapping[str, Any] | None = None
    """What others have published on this data, as the field gives it."""
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
    order = [str(each["name"]) for each in material.recipe.get("teachers", ())]
    view: dict[str, Any] = {
        "material": material,
        "css": Markup(_file("report.css")),
        "headline": headline,
        "splits": splits,
        "controls": {name: controls.sentences(table, material.headline) for name, table in splits.items()},
        "results": results,
        "progression": course_tables(scores or {}),
        "further": {name: further(table, material.headline) for name, table in splits.items()},
        "published": published_tables(material.published, splits[first]) if first else (),
        "dots": {name: figures.dots(rows, name) for name, rows in results.items()},
        "vote_teachers": order,
        "total_seconds": _total(material.manifests),
        "measured": measured_page.view(material.measure or {}, order, material.findings),
        "recipe_yaml": yaml.safe_dump(dict(material.recipe), sort_keys=False, allow_unicode=True),
        "sensitive": any(each.sensitivity != "public" for each in material.manifests),
    }
    numbers, script = _numbers(material, view), _file("report.js")
    view |= {"script": Markup(script), "script_hash": _hash(script), "numbers": Markup(_inert(numbers))}
    html = _environment().get_template("report.html.jinja").render(view)
    return html.encode("utf-8", "replace").decode("utf-8"), numbers


def dumps(numbers: Mapping[str, Any]) -> str:
    """``report.json``: valid JSON, no ``NaN``."""
    return json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _hash(script: str) -> str:
    """By which the page's policy knows its own script, and no other one."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _inert(numbers: Mapping[str, Any]) -> str:
    """JSON that no browser takes for markup, wherever it stands."""
    text = json.dumps(numbers, ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


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
                "further": _plain(view["further"][split]),
            }
            for split, rows in view["results"].items()
        },
        "progression": _plain(view["progression"]),
        "published": _plain(view["published"]),
        "measure": _plain(material.measure or {}),
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


@cache
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
        "interval": interval,
        "percent": percent,
        "probability": probability,
        "shortened": shortened,
        "why_missing": why_missing,
        "digits": tables.digits,
        "between": tables.between,
        "duration": duration,
        "said": said,
    }
    environment.globals |= {"groups": tables.GROUPS, "signs": SIGNS, "number": tables.number}
    return environment


def _file(name: str) -> str:
    return (files("driftbound.report") / _TEMPLATES / name).read_text(encoding="utf-8")
