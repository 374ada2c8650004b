"""Trials: a grid of settings on a recipe's own run, judged on validation cases without the truth."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from driftbound import pipeline
from driftbound.config import Recipe
from driftbound.domains.registry import load_domain
from driftbound.errors import ConfigError, StoreError, TrainingError
from driftbound.evaluation.answers import Job as Asked
from driftbound.evaluation.answers import Text, generate
from driftbound.progress import bar, say
from driftbound.protocols import Domain
from driftbound.records import Case
from driftbound.stages.answering import Loader
from driftbound.stages.context import Context
from driftbound.stages.gather import image_paths
from driftbound.stances import stances
from driftbound.store.folder import RunFolder
from driftbound.store.manifest import atomic_write_text
from driftbound.store.measures import Beliefs, read_beliefs
from driftbound.store.tables import read_cases
from driftbound.strict_yaml import load_table
from driftbound.study.arms import load_policy
from driftbound.study.identity import fingerprint
from driftbound.study.plan import slug, with_settings
from driftbound.study.pool import Task, work_off
from driftbound.study.sharing import discard, shared_stages, take_over

TUNED = ("bootstrap", "synthesize", "align", "rounds")
"""Tables of a recipe whose keys can be tried out."""
SPLIT = "validation"
COLUMNS = ("support", "log p", "loss", "unparsable", "words")


def grid(given: Sequence[str]) -> list[dict[str, Any]]:
    """Every combination of ``KEY=V1,V2`` words; the first key varies slowest. Raises ``ConfigError``.

    >>> grid(["align.beta=0.1,0.3", "align.epochs=2"])
    [{'align.beta': 0.1, 'align.epochs': 2}, {'align.beta': 0.3, 'align.epochs': 2}]
    """
    values: dict[str, list[Any]] = {}
    for word in given:
        key, equals, said = word.partition("=")
        if not equals or not said.strip(" ,"):
            raise ConfigError(f"{word!r}: a sweep takes KEY=V1,V2, e.g. align.beta=0.1,0.3.")
        if key.split(".")[0] not in TUNED:
            raise ConfigError(f"{key}: only keys of {', '.join(TUNED)} can be tried out on one run.")
        if key in values:
            raise ConfigError(f"{key} stands twice. Put all its values behind one =.")
        values[key] = [_value(each.strip()) for each in said.split(",")]
    if not values:
        raise ConfigError("a sweep takes KEY=V1,V2, e.g. align.beta=0.1,0.3.")
    return [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]


def sweep(path: Path, runs: Path, given: Sequence[str], *, name: str = "", processes: int = 1) -> Path:
    """Try out a grid of settings on the run of a recipe; returns the JSON file of the results, best first.

    The run is made as far as the bootstrapped student where it is not there yet. A trial that is there
    already is not made again. Raises ``ConfigError`` and what the pipeline raises.
    """
    table = load_table(path, "recipe")
    base = Recipe.parse(table, where=str(path))
    if base.domain.name == "phantom" and not base.domain.validation:
        raise ConfigError(f"{path}: a sweep judges by validation cases. Set domain.validation.")
    name = name or base.name
    place = runs / f"{name}.sweep"
    trials = [_trial(table, settings, base, runs / name, place, str(path)) for settings in grid(given)]
    pipeline.run(base, runs, name=name, until="bootstrap")
    todo = [each for each in trials if _result(each) is None]
    say(f"sweep: {len(trials)} trials, {len(trials) - len(todo)} done before")
    tasks = [
        Task(
            name=each["name"],
            file=place / f"{each['name']}.job.json",
            given=json.dumps(each, indent=1),
            title=each["name"],
        )
        for each in todo
    ]
    with pipeline.working_on(RunFolder(place)), bar("sweep: trials", len(tasks)) as advance:
        failed = work_off(tasks, processes, lambda task, why: advance(1, task.title))
    if failed:
        first, why = next(iter(failed.items()))
        raise TrainingError(f"sweep: {len(failed)} trials failed, first {first}: {why}.")
    found = sorted((r for each in trials if (r := _result(each)) is not None), key=_rank)
    out = place / "sweep.json"
    atomic_write_text(out, json.dumps({"split": SPLIT, "trials": found}, indent=1) + "\n")
    return out


def make_trial(given: Mapping[str, Any], load: Loader = load_policy) -> None:
    """One trial: the recipe's run up to ``align``, and what its student says of the validation cases.

    ``support`` is the mean chance, by what ``measure`` believes, of what the student says of each finding;
    what it leaves out or open counts as absent. No truth is read.
    """
    recipe = Recipe.parse(given["recipe"], where=given["name"])
    base = Recipe.parse(given["base"], where="base")
    source, place = RunFolder(Path(given["run"])), Path(given["place"])
    own = RunFolder(place / given["name"])
    reason = ""
    take_over(source, own, shared_stages(base, recipe))
    try:
        pipeline.run(recipe, place, name=given["name"], until="align")
    except TrainingError as error:
        reason = str(error)
    context = Context(recipe, own, load_domain(recipe.domain, recipe.seed))
    found: dict[str, Any] = {"settings": given["settings"], "reason": reason, **_losses(own)}
    if (own.student("align") / "config.json").exists():
        found |= _judged(context, load)
    said = {"fingerprint": given["fingerprint"], **found}
    atomic_write_text(place / f"{given['name']}.json", json.dumps(said, indent=1) + "\n")
    discard(own.root)


def support_of(
    domain: Domain, cases: Sequence[Case], texts: Sequence[str], beliefs: Mapping[str, Beliefs]
) -> float | None:
    """Mean probability, by what ``measure`` believes, of what texts say; ``None``: it believes nothing."""
    chances = []
    for case, text in zip(cases, texts, strict=True):
        said = stances(domain.claims(text), domain.findings)
        for finding, value in said.items():
            belief = beliefs.get(case.case_id, {}).get((finding, "presence"))
            if belief is not None and belief.values:
                stated = "absent" if value in ("absent", "omitted", "uncertain") else "present"
                chances.append(belief.values.get(stated, 0.0))
    return float(np.mean(chances)) if chances else None


def table_of(path: Path) -> Any:
    """The results of a sweep for the terminal; fits 80 columns. The best, by support, comes first."""
    from rich.table import Table

    trials = json.loads(path.read_text(encoding="utf-8"))["trials"]
    keys = list(trials[0]["settings"])
    shown = Table(title=f"On {SPLIT} cases, without the truth", title_justify="left")
    for key in keys:
        shown.add_column(key, overflow="fold")
    for column in COLUMNS:
        shown.add_column(column, justify="right", no_wrap=True)
    for number, trial in enumerate(trials):
        cells = [str(trial["settings"][key]) for key in keys]
        cells += [_shown(trial.get(column)) for column in COLUMNS]
        if trial["reason"]:
            cells[len(keys)] = "stopped"
        shown.add_row(*cells, style="bold" if number == 0 and not trial["reason"] else "")
    return shown


def _trial(
    table: Mapping[str, Any], settings: Mapping[str, Any], base: Recipe, run: Path, place: Path, where: str
) -> dict[str, Any]:
    said = ", ".join(f"{key}={value}" for key, value in settings.items())
    recipe = Recipe.parse(with_settings(table, dict(settings), where), where=f"{where}: {said}")
    made = recipe.model_dump(mode="json")
    return {
        "kind": "trial",
        "name": f"{slug(said)[:60]}-{fingerprint(recipe)[:6]}",
        "settings": dict(settings),
        "fingerprint": fingerprint(recipe),
        "base": base.model_dump(mode="json"),
        "recipe": made,
        "run": str(run),
        "place": str(place),
    }


def _result(trial: Mapping[str, Any]) -> dict[str, Any] | None:
    path = Path(trial["place"]) / f"{trial['name']}.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({error}). Delete it and run again.") from None
    return found if found.get("fingerprint") == trial["fingerprint"] else None


def _rank(trial: Mapping[str, Any]) -> tuple[bool, float]:
    support = trial.get("support")
    return bool(trial["reason"]), -(support if support is not None else -1.0)


def _judged(context: Context, load: Loader) -> dict[str, Any]:
    cases = [case for case in read_cases(context.folder.cases) if case.split == SPLIT]
    config, folder = context.recipe.evaluate, context.folder.stage("measure")
    asked = Asked(
        row=f"student:{SPLIT}",
        split=SPLIT,
        case_ids=tuple(case.case_id for case in cases),
        questions=tuple(context.domain.question(case) for case in cases),
        images=tuple(image_paths(context, case) for case in cases),
    )
    said: list[Text] = generate(
        [asked],
        lambda: load(str(context.folder.student("align")), context.recipe.threads),
        context.folder.root / "answers",
        batch_size=config.batch_size,
        max_new_tokens=config.max_new_tokens,
        title="sweep: asking",
    )[0]
    beliefs = read_beliefs(folder / "slots.parquet", folder / "reliability.parquet")
    texts = [text.text for text in said]
    lost = [text.truncated or not context.domain.claims(text.text) for text in said]
    return {
        "support": support_of(context.domain, cases, texts, beliefs),
        "unparsable": float(np.mean(lost)) if lost else None,
        "words": float(np.mean([len(text.split()) for text in texts])) if texts else None,
    }


def _losses(own: RunFolder) -> dict[str, Any]:
    """Preference loss and log p(consensus) per token on the validation cases, as the training left them."""
    path = own.stage("align") / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    last: dict[str, Any] = next((row["validation"] for row in rows[::-1] if "validation" in row), {})
    return {"log p": last.get("logp_consensus_per_token"), "loss": last.get("preference_loss")}


def _value(said: str) -> Any:
    for kind in (int, float):
        try:
            return kind(said)
        except ValueError:
            continue
    return yaml.safe_load(said)


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
