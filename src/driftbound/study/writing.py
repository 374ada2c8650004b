"""Writing: the page of a study file, from the results that exist; nothing is run."""

from dataclasses import replace
from pathlib import Path

from driftbound.errors import ConfigError
from driftbound.progress import say
from driftbound.study.chosen import Chosen, read_chosen
from driftbound.study.material import Asked, run_of
from driftbound.study.page import write_page
from driftbound.study.plan import jobs_of, read_study, steps_of
from driftbound.study.results import read_result, result_path


def write_study(path: Path, out: Path | None, page: Path) -> list[Path]:
    """Write the page of a study and its pictures; returns what was written.

    Results of an older study file are shown, and that is said, here and on the page. Raises ``ConfigError``
    where the file names no default, and ``StoreError`` where there is no result or one cannot be read.
    """
    study, where = read_study(path), str(path)
    if not study.default:
        raise ConfigError(f"{where}: the page is about one arm, and none is chosen. Name it: `default: ARM`.")
    out, jobs = out or Path("studies") / study.name, jobs_of(study, where)
    found = [(job, read_result(result_path(out, job))) for job in jobs]
    old = [job for job, said in found if said is not None and said.get("fingerprint") != job.fingerprint]
    if old:
        say(
            f"study: {len(old)} results are of another recipe than the study file has now, first "
            f"{old[0].arm}, seed {old[0].seed}. Run the study again to renew them."
        )
    asked = Asked.of(study.name, study.default, jobs, rivals=study.rivals, like=steps_of(study, where))
    after = [study.phases[asked.test].after] if asked.test in study.phases else []
    chosen = next((read_chosen(out / name) for name in after if name), Chosen())
    mark = chosen.mark if chosen.arm == study.default else ""
    return write_page(out, page, replace(asked, chosen=mark, stale=frozenset(map(run_of, old))))
