"""The page: everything a run found in one self-contained HTML file, and the same numbers as JSON."""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from driftbound.report import controls, figures, measured_page, tables, versions
from driftbound.report.answers import FormRow
from driftbound.report.cases import SIGNS, Exhibit
from driftbound.report.choice import Reason
from driftbound.report.consensus import Consensus
from driftbound.report.contents import contents
from driftbound.report.costs import Costs, stage_costs, total_seconds
from driftbound.report.drawing import Figure, figures_in
from driftbound.report.further import further
from driftbound.report.measured_figures import interval
from driftbound.report.measured_summary import percent, probability, why_missing
from driftbound.report.progression import course_tables
from driftbound.report.published import published_tables
from driftbound.report.rounds import Rounds
from driftbound.report.spans import displayable
from driftbound.report.tables import shortened
from driftbound.report.training import Training
from driftbound.report.versions import Span
from driftbound.store.manifest import Manifest

_TEMPLATES = "templates"


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
    forms: tuple[FormRow, ...] = ()
    """Length and form of held-out answers."""
    consensus: Consensus | None = None
    rounds: Rounds | None = None
    """``None``: a single round."""
    spans: tuple[Span, ...] = ()
    """Versions that the teachers reported."""
    costs: tuple[Costs, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()
    reasons: tuple[Reason, ...] = ()
    """What became of each reason to show a case."""
    manifests: tuple[Manifest, ...] = ()
    """In the order of the stages."""


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
        "stages": (stages := stage_costs(material.manifests, material.costs, material.recipe)),
        "total_seconds": total_seconds(stages),
        "versions": versions.timeline(material.spans),
        "versions_said": versions.summary_of(material.spans),
        "measured": measured_page.view(material.measure or {}, order, material.findings),
        "packages": _packages(material.manifests),
        "recipe_yaml": yaml.safe_dump(dict(material.recipe), sort_keys=False, allow_unicode=True),
        "sensitive": any(each.sensitivity != "public" for each in material.manifests),
    }
    numbers, script = _numbers(material, view), _file("report.js")
    view |= {"script": Markup(script), "script_hash": _hash(script), "numbers": Markup(_inert(numbers))}
    body = _environment().get_template("body.html.jinja").render(view)
    view |= {"body": Markup(body), "contents": contents(body)}
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


def exact(value: float) -> str:
    """A number for a machine: six digits that count, and nothing where there is none.

    >>> exact(0.61249), exact(-1234567.0), exact(math.nan)
    ('0.61249', '-1.23457e+06', '')
    """
    return f"{value:.6g}" if math.isfinite(value) else ""


def whole(value: float) -> str:
    """A count as the page prints it.

    >>> whole(12345.0), whole(math.nan)
    ('12,345', '–')
    """
    return f"{value:,.0f}" if math.isfinite(value) else "–"


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
        "versions": _plain(material.spans),
        "consensus": _plain(material.consensus),
        "rounds": _plain(material.rounds),
        "training": {
            each.verb: {"points": _plain(each.points), "changes": _plain(each.changes)}
            for each in material.trainings
        },
        "answers": _plain(material.forms),
        "cases": [_case(each) for each in material.exhibits],
        "reasons": _plain(material.reasons),
        "teachers": _plain(material.costs),
        "stages": _plain(view["stages"]),
        "seconds": view["total_seconds"],
        "provenance": [_plain(each) | {"fingerprint": each.fingerprint()} for each in material.manifests],
        "recipe": _plain(material.recipe),
        "figures": {each.name: _numbers_of(each) for each in figures_in([view, material])},
    }


def _numbers_of(figure: Figure) -> dict[str, Any]:
    """What lies behind a figure, its picture apart."""
    return {
        "title": figure.title,
        "says": figure.says,
        "columns": list(figure.columns),
        "rows": _plain(figure.rows),
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
    if isinstance(value, Figure):
        return value.name  # its numbers stand among the figures
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    return value


def _packages(manifests: Sequence[Manifest]) -> list[tuple[list[tuple[str, str]], list[str]]]:
    """Versions of packages, and the stages that ran with them: one entry where all ran with the same."""
    found: list[tuple[list[tuple[str, str]], list[str]]] = []
    for each in manifests:
        own = sorted(each.packages.items())
        same = next((stages for packages, stages in found if packages == own), None)
        if same is None:
            found.append((own, [each.stage]))
        else:
            same.append(each.stage)
    return found


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
        "displayable": displayable,
        "exact": exact,
        "moment": versions.moment,
        "whole": whole,
        "between": tables.between,
        "duration": duration,
        "said": said,
    }
    environment.globals |= {"groups": tables.GROUPS, "signs": SIGNS, "number": tables.number}
    return environment


def _file(name: str) -> str:
    return (files("driftbound.report") / _TEMPLATES / name).read_text(encoding="utf-8")
