"""Exporting: a run's answers and groups written for other tools, and a manifest beside the file."""

from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from driftbound.errors import ConfigError, StoreError
from driftbound.exporting_dataset import export_dataset
from driftbound.progress import counted, say
from driftbound.records import SPLITS, Case, Trajectory
from driftbound.store.exchange import write_beside, write_trajectories
from driftbound.store.exchange_groups import Asked, group_rows, sft_row, trl_schema, why_no_sft_row
from driftbound.store.folder import RunFolder
from driftbound.store.manifest import Manifest, sha256_file
from driftbound.store.rowfiles import write_lines, write_table
from driftbound.store.sensitivity import of_run
from driftbound.store.streams import Streams
from driftbound.store.tables import each_group, read_cases
from driftbound.store.wanted import question

OF_GROUPS = ("rows", "trl", "ms-swift", "llamafactory", "nemo-rl")
FOR_TRAINERS = (*OF_GROUPS, "ms-swift-sft", "llamafactory-sft")
FORMATS = ("jsonl", "parquet", "hf-dataset", *FOR_TRAINERS)
"""What an export may be called."""


def export(run: Path, to: str, out: Path, *, split: str = "", images: bool = False) -> int:
    """Write a run's answers or groups to ``out`` in the format ``to``; returns the number of rows.

    Answers (``jsonl``, ``parquet``) are all that the run has, or those to the cases of ``split``;
    rows for trainers are those of ``split``, else of ``train``. Beside ``out`` stands its manifest; a folder
    (``hf-dataset``, see ``exporting_dataset``) has it within. ``images`` are for that alone.
    Raises ``ConfigError`` for an unknown format or split and an ending that does not fit, and
    ``StoreError`` for a run that has not come so far and a file that is there already.
    """
    _check(to, out, split)
    if to == "hf-dataset":
        return export_dataset(run, out, manifest_of(run), split=split, images=images)
    if images:
        raise ConfigError("--images belongs to --to hf-dataset. Leave it out: other formats name the files.")
    folder, whole = RunFolder(run), manifest_of(run)
    cases = {case.case_id: case for case in read_cases(folder.cases)}
    left_out: Counter[str] = Counter()

    def seal(partial: Path, rows: int) -> None:
        """The manifest, beside the export before that takes its place: it never stands there without."""
        if not rows:
            raise StoreError(f"{run}: nothing to export to {to}{_listed(left_out)}. Choose another --split.")
        read = {"cases": folder.cases, "streams": folder.streams}
        read |= {"groups": folder.groups} if to in OF_GROUPS else {}
        made = Manifest.of(
            "export",
            config={"to": to, "split": split},
            inputs={name: sha256_file(path) for name, path in read.items()},
            seed=whole.seed,
            outputs={out.name: sha256_file(partial)},
            facts={"rows": rows, "left_out": dict(sorted(left_out.items()))},
            sensitivity=of_run(folder),
        )
        write_beside(out, made)

    with Streams.open_readonly(folder.streams) as streams:
        if to not in FOR_TRAINERS:
            answers = counted("export: answers", _answers(streams, cases, split))
            return write_trajectories(out, answers, seal)
        chosen = {case_id: case for case_id, case in cases.items() if case.split == (split or SPLITS[0])}
        rows = counted("export: rows", _rows(run, to, streams, chosen, left_out))
        if out.suffix == ".parquet":
            n = write_table(out, rows, trl_schema(pictured=_pictured(chosen)), seal)
        else:
            n = write_lines(out, rows, seal)
    if left_out:
        say(f"export: left out{_listed(left_out)}")
    return n


def _check(to: str, out: Path, split: str) -> None:
    for option, value, known in (("--to", to, FORMATS), ("--split", split or SPLITS[0], SPLITS)):
        if value not in known:
            near = get_close_matches(value, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}."
            raise ConfigError(f"{option}: there is no {value!r}; {hint}")
    endings = (
        ("",)
        if to == "hf-dataset"
        else (".jsonl", ".parquet")
        if to == "trl"
        else (".parquet",)
        if to == "parquet"
        else (".jsonl",)
    )
    if out.suffix not in endings:
        what = f"a file that ends in {' or '.join(endings)}" if any(endings) else "a folder"
        raise ConfigError(f"--out {out}: {to} goes to {what}.")
    if out.exists():
        raise StoreError(f"{out}: is there already. Choose another --out, or remove it.")


def manifest_of(run: Path) -> Manifest:
    """What the domain has made of the run. Raises ``StoreError`` where there is no run."""

    found = Manifest.read(run)
    if found is None:
        raise StoreError(f"{run}: no run with its cases. Name a run folder, e.g. runs/demo.")
    return found


def _answers(streams: Streams, cases: Mapping[str, Case], split: str) -> Iterator[Trajectory]:
    for each in streams.each():
        if not split or (each.case_id in cases and cases[each.case_id].split == split):
            yield each


def _pictured(cases: Mapping[str, Case]) -> bool:
    return any(case.images for case in cases.values())


def _rows(
    run: Path, to: str, streams: Streams, cases: Mapping[str, Case], left_out: Counter[str]
) -> Iterator[dict[str, Any]]:
    """Rows for a trainer, of these cases; their images are named where they lie, never copied."""
    root, pictured = run.absolute(), _pictured(cases)

    def ask(case: Case) -> Asked:
        images = tuple(str(root / name) for name in case.images) if pictured else None
        return Asked(case, question(streams, case.case_id), images)

    if to in OF_GROUPS:
        groups = each_group(RunFolder(run).groups)
        asked = ((group, ask(cases[group.case_id])) for group in groups if group.case_id in cases)
        yield from group_rows(to, asked, left_out)
        return
    for answer in streams.current():
        if answer.sample == 0 and answer.case_id in cases:
            case = ask(cases[answer.case_id])
            why = why_no_sft_row(case, answer)
            if why:
                left_out[f"answers ({why})"] += 1
            else:
                yield sft_row(case, answer)


def _listed(left_out: Counter[str]) -> str:
    return "".join(f"; {n} {what}" for what, n in sorted(left_out.items())).replace(";", ":", 1)
