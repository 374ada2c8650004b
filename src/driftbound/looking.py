"""Commands that look at what is there: a run's results, as far as it has come; a student's answers."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from driftbound.errors import StoreError
from driftbound.store.folder import VERBS, RunFolder
from driftbound.store.manifest import Manifest, one_line
from driftbound.telling import AsJson, folded, of_run, tell


def show(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="Run folder, or one that measure --streams has left.", show_default=False
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show the results of a run, as far as it has come."""
    if as_json:
        tell(True, looked_at(run), ())
    else:
        show_table(run)


def ask(
    student: Annotated[
        str,
        typer.Argument(
            metavar="STUDENT",
            help="Checkpoint folder, phantom-base, or RUN:base, RUN:bootstrapped, RUN:aligned.",
            show_default=False,
        ),
    ],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files.", show_default=False)
    ],
    question: Annotated[str, typer.Option(help="Else the question of the field.", show_default=False)] = "",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 160,
    as_json: AsJson = False,
) -> None:
    """Put a question to a student about each image."""
    from driftbound import asking

    found = []
    for path, answer in asking.ask(student, images, question=question, max_new_tokens=max_new_tokens):
        found.append({"image": path, "answer": answer})
        if not as_json:
            typer.echo(f"{path}: {answer}", file=sys.stdout)  # its place now: above the bar on a terminal
    tell(as_json, {"student": student, "answers": found}, ())


def looked_at(run: Path) -> dict[str, Any]:
    """Where a run lies, how far it has come, and the summaries of ``measure`` and ``evaluate``.

    ``None`` stands for what is not there yet. Raises ``StoreError`` for a folder that is no run.
    """
    alone = _measured_alone(run)
    if alone is not None:
        return {"run": run, "report": None, "stages": {}, "measured": alone, "results": None}
    folder = _run_at(run)
    measured, results = (_summary(folder.stage(verb), verb) for verb in ("measure", "evaluate"))
    return {**of_run(folder), "measured": measured, "results": results}


def _run_at(run: Path) -> RunFolder:
    """Raises ``StoreError`` for a folder that is no run."""
    folder = RunFolder(run)
    if not folder.cases.is_file() and not any(folder.stage(verb).is_dir() for verb in VERBS):
        raise StoreError(f"{run}: no run of driftbound lies there. Name a run folder, e.g. runs/demo.")
    return folder


def _measured_alone(run: Path) -> dict[str, Any] | None:
    """The summary of a folder that ``measure --streams`` has left."""
    manifest = Manifest.read(run) if run.is_dir() else None
    return _summary(run, "measure") if manifest is not None and manifest.stage == "measure" else None


def _summary(stage: Path, verb: str) -> dict[str, Any] | None:
    """The summary of a stage; ``None`` where it has none yet. Raises ``StoreError`` for a broken one."""
    path = stage / "summary.json"
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({one_line(error)}). Redo it with --from {verb}.") from None
    if not isinstance(given, dict) or not given:
        raise StoreError(f"{path}: is no table of results. Redo it with --from {verb}.")
    return given


def show_table(run: Path) -> None:
    """Print what a run has come to: results, or else what was measured, or else what was answered."""
    alone = _measured_alone(run)
    if alone is not None:
        tell(False, None, _measured(alone))
        return
    folder = _run_at(run)
    results = _summary(folder.stage("evaluate"), "evaluate")
    measured = None if results is not None else _summary(folder.stage("measure"), "measure")
    if results is not None:
        tell(False, None, _results(run, results))
    elif measured is not None:
        tell(False, None, _measured(measured))
    else:
        tell(False, None, _answers(folder))
    show_rounds(run)
    if results is None:
        tell(False, None, folded([_so_far(folder)]))


def _results(run: Path, summary: dict[str, Any]) -> list[Any]:
    """Tables of ``evaluate``, and what they mean."""
    from driftbound.report.tables import headline_of, score_rows, splits_of
    from driftbound.report.terminal import consistency, headline, others, reports

    try:
        tables = (headline(summary), *others(summary), reports(summary), consistency(summary))
        results = next(iter(splits_of(summary).values()))
        verdicts = headline_of(results, score_rows(results, ())).verdicts
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        path = RunFolder(run).stage("evaluate") / "summary.json"
        raise StoreError(
            f"{path}: is no table of results ({error!r}). Redo it with --from evaluate."
        ) from error
    return [*(table for table in tables if table is not None), *folded(each.sentence for each in verdicts)]


def _measured(summary: dict[str, Any]) -> list[Any]:
    from driftbound.report.measured_terminal import headline_sentences, measured_tables

    return [*measured_tables(summary), *folded(headline_sentences(summary))]


def _answers(folder: RunFolder) -> list[str]:
    """A line for each teacher that has been asked."""
    manifest = Manifest.read(folder.stage("collect"))
    teachers: dict[str, Any] = manifest.facts.get("teachers", {}) if manifest is not None else {}
    return folded(
        f"{name}: {', '.join(f'{n} {status}' for status, n in each['answers'].items()) or 'nothing'}"
        for name, each in teachers.items()
    )


def _so_far(folder: RunFolder) -> str:
    """Which stages have finished, and what comes next."""
    there = [verb for verb in VERBS if Manifest.read(folder.stage(verb)) is not None]
    left = [verb for verb in VERBS if verb not in there]
    done = f"Finished: {', '.join(there)}" if there else "No stage has finished yet"
    return f"{done}. Not yet: {', '.join(left)} ('driftbound run RECIPE' goes on)."


def show_rounds(run: Path) -> None:
    """Print what each of several rounds was worth; nothing where a run has one."""
    from driftbound.store.rounds import read_rounds

    for line in read_rounds(run):
        typer.echo(line)
