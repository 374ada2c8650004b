"""Web: the viewer's pages and what they are made of; reads a run, and writes marks and nothing else."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qsl, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from driftbound.errors import DriftboundError
from driftbound.protocols import Domain
from driftbound.viewer.case_page import case_page, record_of
from driftbound.viewer.films import film_of, films_of
from driftbound.viewer.filters import CONSENSUS, MARKED, PAGE, SORTS, Filters, chosen
from driftbound.viewer.guard import REPORT_POLICY, Guard, Token, same_site
from driftbound.viewer.listing import compare, rows_of
from driftbound.viewer.marks import Marks
from driftbound.viewer.opened import STANDS, STATUSES, Opened
from driftbound.viewer.search import BUDGET_S, Search

LONGEST_FORM = 200_000
"""Bytes of a form: a note of the greatest length, whatever its letters, and the rest."""
_SAID = {404: "There is no such page.", 405: "That cannot be done here.", 403: "This form was not made here."}


class Site:
    """One run, perhaps beside another one, as web pages."""

    def __init__(self, run: Opened, domain: Domain, other: Opened | None, hosts: frozenset[str]) -> None:
        self.run, self.domain, self.other, self.hosts = run, domain, other, hosts
        self.marks, self.token, self.search = Marks(run.root), Token(), Search(run)
        self._pages = Environment(
            loader=PackageLoader("driftbound.viewer", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._pages.globals |= {
            "run": run,
            "other": other,
            "token": self.token.text,
            "stands": STANDS,
            "statuses": STATUSES,
            "sorts": SORTS,
            "marked": MARKED,
            "consensus_words": tuple(CONSENSUS),
            "urlencode": urlencode,
            "budget": BUDGET_S,
        }

    def app(self) -> Starlette:
        """The application; it refuses other hosts than those it was made for."""
        pages: list[tuple[str, Callable[[Request], Response], str]] = [
            ("/", self.cases, "GET"),
            ("/case", self.case, "GET"),
            ("/compare", self.compare, "GET"),
            ("/text", self.text, "GET"),
            ("/image", self.image, "GET"),
            ("/report", self.report, "GET"),
            ("/marks.csv", self.marks_csv, "GET"),
            ("/marks.json", self.marks_json, "GET"),
        ]
        static = StaticFiles(packages=[("driftbound.viewer", "static")])
        routes: list[Any] = [Route(path, made, methods=[method]) for path, made, method in pages]
        routes += [Route("/mark", self.mark, methods=["POST"]), Mount("/static", static)]
        return Starlette(
            routes=routes,
            middleware=[Middleware(Guard, hosts=self.hosts)],
            exception_handlers={
                HTTPException: self._refused,
                DriftboundError: self._broken,
                Exception: self._broken,
            },
        )

    def cases(self, request: Request) -> Response:
        """The list of cases that pass the filters."""
        filters = Filters.of(request.query_params)
        found, whole = self.search.find(filters.q) if filters.q else (None, True)
        places = chosen(self.run, filters, self.marks, found)
        pages = max(1, -(-len(places) // PAGE))
        page = min(max(1, _whole(request.query_params.get("page", "1"))), pages)
        shown = places[(page - 1) * PAGE : page * PAGE].tolist()
        return self._page(
            "list.html.jinja",
            filters=filters,
            rows=rows_of(self.run, shown, self.marks),
            count=len(places),
            page=page,
            pages=pages,
            first=(page - 1) * PAGE,
            whole=whole,
            index=self.search,
            finished=self.run.finished(),
            ignored=filters.ignored(self.run),
        )

    def case(self, request: Request) -> Response:
        """One case; the filters say what is before and behind it."""
        case_id, filters = self._case_id(request), Filters.of(request.query_params)
        found = self.search.find(filters.q)[0] if filters.q else None
        places = chosen(self.run, filters, self.marks, found).tolist()
        here = self.run.place[case_id]
        at = places.index(here) if here in places else -1
        near = {
            name: self.run.cases[places[k]].case_id if at >= 0 and 0 <= k < len(places) else ""
            for name, k in (("before", at - 1), ("behind", at + 1))
        }
        there = None
        if self.other is not None and case_id in self.other.place:
            there = case_page(self.other, self.domain, case_id)
        return self._page(
            "case.html.jinja",
            filters=filters,
            page=case_page(self.run, self.domain, case_id),
            there=there,
            films=films_of(self.run, self.run.cases[here]),
            mark=self.marks.of(case_id),
            at=at + 1,
            count=len(places),
            heat=request.query_params.get("heat") == "1",
            before=near["before"],
            behind=near["behind"],
        )

    def compare(self, request: Request) -> Response:
        """Where the two runs differ."""
        if self.other is None:
            raise HTTPException(404, "No second run was opened: driftbound view RUN --beside OTHER")
        who = request.query_params.get("who", "aligned")
        both = [name for name in self.run.right if name in self.other.right]
        who = who if who in both else next(iter(both), "aligned")
        found = compare(self.run, self.other, who)
        pages = max(1, -(-len(found.differing) // PAGE))
        page = min(max(1, _whole(request.query_params.get("page", "1"))), pages)
        shown = found.differing[(page - 1) * PAGE : page * PAGE]
        theirs = [self.other.place[self.run.cases[n].case_id] for n in shown]
        return self._page(
            "compare.html.jinja",
            found=found,
            who=who,
            both=both,
            page=page,
            pages=pages,
            pairs=list(
                zip(
                    rows_of(self.run, shown, self.marks),
                    rows_of(self.other, theirs, Marks(self.other.root)),
                    strict=True,
                )
            ),
        )

    def text(self, request: Request) -> Response:
        """One answer, whole, as plain text."""
        record = record_of(self.run, self._case_id(request))
        who = request.query_params.get("who", "")
        kind, _, name = who.partition(":")
        if kind == "teacher" and name in record.teachers:
            said = record.teachers[name].text
        elif who in record.predictions:
            said = record.predictions[who].text
        elif who == "consensus" and record.consensus:
            said = record.consensus
        else:
            raise HTTPException(404, "There is no such answer.")
        return PlainTextResponse(said.encode("utf-8", "replace"))

    def image(self, request: Request) -> Response:
        """An image of a case: by its number, never by a path that a request names."""
        case = self.run.cases[self.run.place[self._case_id(request)]]
        number = _whole(request.query_params.get("n", "0"))
        if not 0 <= number < len(case.images):
            raise HTTPException(404, "There is no such image.")
        film = film_of(self.run, case, number)
        if film.status != 200:
            raise HTTPException(film.status, film.said)
        return FileResponse(film.path, media_type=film.said)

    def report(self, request: Request) -> Response:
        """The run's report, in a sandbox."""
        path = self.run.folder.stage("report") / "report.html"
        if not path.is_file():
            raise HTTPException(404, "This run has no report yet: driftbound report RECIPE makes it.")
        return FileResponse(path, media_type="text/html", headers={"content-security-policy": REPORT_POLICY})

    async def mark(self, request: Request) -> Response:
        """Keep what a person thinks of a case, and go back to it."""
        form = await _form(request)
        if not same_site(request.headers, self.hosts) or not self.token.is_in(form):
            raise HTTPException(403)
        case_id = form.get("id", "")
        if case_id not in self.run.place:
            raise HTTPException(404, "There is no such case.")
        try:
            self.marks.put(case_id, form.get("verdict", ""), form.get("note", ""))
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        query = Filters.of(form).query(id=case_id)
        return RedirectResponse(f"/case?{query}", status_code=303)

    def marks_csv(self, request: Request) -> Response:
        """All marks as a table; cells that a spreadsheet would compute are quoted."""
        out = io.StringIO()
        table = csv.writer(out)
        table.writerow(("case_id", "verdict", "note", "at"))
        for mark in self.marks.all().values():
            table.writerow([_inert(value) for value in asdict(mark).values()])
        return _download(out.getvalue(), "text/csv", "marks.csv")

    def marks_json(self, request: Request) -> Response:
        """All marks as JSON."""
        text = json.dumps([asdict(mark) for mark in self.marks.all().values()], indent=2, ensure_ascii=False)
        return _download(text + "\n", "application/json", "marks.json")

    def _page(self, name: str, **shown: Any) -> HTMLResponse:
        return HTMLResponse(self._pages.get_template(name).render(**shown))

    def _error(self, status: int, said: str) -> HTMLResponse:
        page = self._page("error.html.jinja", status=status, said=said)
        page.status_code = status
        return page

    def _case_id(self, request: Request) -> str:
        case_id = request.query_params.get("id", "")
        if case_id not in self.run.place:
            raise HTTPException(404, "There is no such case in this run.")
        return case_id

    def _refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        standard = HTTPException(error.status_code).detail
        said = error.detail if error.detail != standard else _SAID.get(error.status_code, error.detail)
        return self._error(error.status_code, said)

    def _broken(self, request: Request, error: Exception) -> Response:
        """What a stage left cannot be read; what else goes wrong is told without its inside."""
        said = (
            str(error)
            if isinstance(error, DriftboundError)
            else f"The viewer failed ({type(error).__name__})."
        )
        return self._error(503 if isinstance(error, DriftboundError) else 500, said)


def serve(site: Site, host: str, port: int, started: Callable[[], None]) -> None:
    """Serve until interrupted; ``started`` is called when requests are taken."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                started()

    uvicorn_config = uvicorn.Config(
        site.app(), host=host, port=port, log_level="warning", server_header=False, date_header=False
    )
    Server(uvicorn_config).run()


async def _form(request: Request) -> dict[str, str]:
    """Fields of a form as browsers send a small one; other bodies, and longer ones, are refused."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise HTTPException(415, "Send the page's own form.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_FORM:
            raise HTTPException(413, "The note is too long.")
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def _inert(cell: str) -> str:
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def _download(text: str, kind: str, name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(text.encode("utf-8", "replace"), media_type=kind, headers=headers)
