"""The measure on the page and in the terminal: its numbers, whole, escaped, what is missing named."""

import copy
import io
import json
import random
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from measured_summaries import summary, told
from rich.cells import cell_len
from rich.console import Console

from driftbound.config import MeasureConfig
from driftbound.records import Measured
from driftbound.report.measured import along_of
from driftbound.report.measured_figures import bands
from driftbound.report.measured_terminal import fitted, headline_sentences, measured_tables
from driftbound.report.page import Material, dumps, render
from driftbound.store.measures import CASES, DRIFT, RELIABILITY, SLOTS

DOCS = Path(__file__).parent.parent / "docs"
TEACHERS = ("alpha", "beta", "gamma")
FINDINGS = ("Pleural Effusion", "Edema")


@pytest.fixture
def table() -> dict:
    return summary(TEACHERS, FINDINGS)


def page(table: dict, teachers: tuple[str, ...] = TEACHERS) -> tuple[str, dict]:
    recipe = {"teachers": [{"name": name} for name in teachers]}
    return render(Material(name="r", headline=FINDINGS, findings=FINDINGS, recipe=recipe, measure=table))


class Tables(HTMLParser):
    """Every table of a page: its caption and its rows of cells; open tags are kept to see that all close."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: dict[str, list[list[str]]] = {}
        self.captions: dict[str, str] = {}
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self._label = ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.attributes |= {name for name, _ in attrs}
        if tag in ("meta", "img"):
            return
        self.open.append(tag)
        self._label = dict(attrs).get("aria-label", "") if tag == "div" else self._label
        if tag == "table":
            self.found[self._label] = []
            self.captions[self._label] = ""
        elif tag == "tr":
            self.found[self._label].append([])
        elif tag in ("th", "td"):
            self.found[self._label][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "caption" in self.open:
            self.captions[self._label] += data
        elif "td" in self.open or "th" in self.open:
            self.found[self._label][-1][-1] += (" " if self.open[-1] == "small" else "") + data


def rows(table: dict, label: str) -> dict[str, list[str]]:
    found = Tables(page(table)[0]).found[label]
    return {row[0]: row[1:] for row in found[1:]}


def test_alarms_come_first_with_effect_interval_and_adjusted_p(table: dict) -> None:
    html, _ = page(table)
    found = Tables(html).found["Alarms"][1:]
    assert found == [
        ["alpha", "is contradicted more after 50% of its answers", "+0.123 +0.113 to +0.133", "0.001", "40",
         "along the reasoning"],
        ["beta", "refuses more often than the others do", "+0.051 +0.041 to +0.061", "0.002", "40",
         "refusals"],
    ]  # fmt: skip
    assert html.index(">Alarms<") < html.index("Contradiction along the answer")
    assert "2 at the 5 % level for the whole run" in html


def test_no_alarm_is_said(table: dict) -> None:
    table["alarms"] = []
    html, _ = page(table)
    assert "No alarm at the 5 % level for the whole run." in html
    assert "Alarms" not in Tables(html).found
    assert headline_sentences(table)[0] == "No alarm at the 5 % level for the whole run."


def test_contradiction_is_what_agreement_leaves(table: dict) -> None:
    """0.6, 0.55, 0.5 of the others agree, each +-0.02: 0.4, 0.45, 0.5 contradict; the last is unknown."""
    assert rows(table, "Contradiction by part of the answer")["beta"] == [
        "0.400 0.380–0.420", "0.450 0.430–0.470", "0.500 0.480–0.520", "–",
    ]  # fmt: skip


def test_the_split_is_drawn_where_the_teacher_drifts(table: dict) -> None:
    """Four parts over 34 to 194: the later part begins at part 3, so the line is half-way, at 114."""
    html, _ = page(table)
    figures = re.findall(r"<figcaption>(\w+)<small>([^<]+)</small></figcaption>(<svg.*?</svg>)", html)
    assert {name: said for name, said, _ in figures} == {
        "alpha": "+0.123 after 50 %", "beta": "no drift shown", "gamma": "no drift shown",
    }  # fmt: skip
    lines = {name: re.findall(r'class="limit" x1="([\d.]+)"', svg) for name, _, svg in figures}
    assert lines == {"alpha": ["114.0"], "beta": [], "gamma": []}


def test_levels_of_the_plots_are_labelled_with_their_values() -> None:
    """Between 0.4 and 0.7 the middle line is 0.55, and must not be called 0.6."""
    part = Measured(estimator="", n=1, value=0.5, low=0.45, high=0.55)
    labels = re.findall(r'text-anchor="end">([^<]+)<', bands("one", [part] * 2, 0.4, 0.7).svg)
    assert labels == ["0.40", "0.55", "0.70"]


@pytest.mark.parametrize(
    ("drifts", "p", "verdict"),
    [
        (True, 0.9, "drifts"),
        (True, 0.05, "drifts, by less than the margin"),
        (False, 0.049, "no change that matters"),
        (False, 0.051, "nothing shown"),
        (False, None, "nothing shown"),
    ],
)
def test_no_alarm_is_not_yet_equivalence(table: dict, drifts: bool, p: float | None, verdict: str) -> None:
    own = table["along"]["teachers"]["beta"]
    own |= {"drifts": drifts, "no_meaningful_drift": told(0.01, 0.01, **({} if p is None else {"p": p}))}
    assert along_of(table, TEACHERS)[1].verdict == verdict
    assert rows(table, "Change per teacher")["beta"][-1] == verdict


def test_changes_per_teacher_are_told_with_interval_p_and_honest_effect(table: dict) -> None:
    table["along"]["teachers"]["alpha"]["p_adjusted"] = told(0.00125, reason="a p-value has no interval")
    found = rows(table, "Change per teacher")
    assert found["beta"][2] == "–"  # an older run knows of no adjusted p
    assert found["alpha"] == [
        "+0.123 +0.112 to +0.134", "<0.001", "0.001", "50 %", "+0.117 +0.097 to +0.137", "0.010", "0.900",
        "drifts",
    ]  # fmt: skip
    assert found["the panel"][:4] == ["+0.022 +0.018 to +0.026", "<0.001", "", "50 %"]
    assert "0.200 (0.190 to 0.210) of claims in the first halves" in page(table)[0]
    assert "change −0.050 (−0.070 to −0.030), p 0.004" in page(table)[0]


def test_the_noise_floor_or_why_there_is_none(table: dict) -> None:
    found = rows(table, "Noise floor")
    assert found["excess of the first over the second"] == ["0.065 0.058–0.072", "", "30"]
    assert found["change of the excess along the answer"] == ["−0.017 −0.035 to +0.001", "0.212", "30"]
    table["along"]["noise_floor"] = told(None, n=0, reason="0 cases were asked twice, 20 are needed")
    html, _ = page(table)
    assert "No noise floor: 0 cases were asked twice, 20 are needed" in html
    assert "Noise floor" not in Tables(html).found
    assert "No noise floor: 0 cases were asked twice, 20 are needed." in headline_sentences(table)


def test_changes_over_the_collection_and_between_versions(table: dict) -> None:
    found = Tables(page(table)[0]).found
    assert found["Changes during the collection"][1:] == [
        ["beta", "omits", "+0.210 +0.160 to +0.260", "19 17–21", "40"]
    ]
    assert "ADWIN" not in page(table)[0]
    table["collection"]["beta"]["omits"]["adwin"] = told(31)
    assert "cuts its window first at answer beta, omits: 31." in page(table)[0]
    assert found["Monitors of the collection"][1] == ["alpha", "0.220", "<0.001"]
    change = {row[0]: row[1:] for row in found["Change of beta, beta-1 → beta-2"][1:]}
    assert change["words"] == ["−3.8 −4.6 to −3.0", "<0.001", "40"]
    assert change["all votes together (two-sample MMD)"] == ["0.120 0.100–0.140", "0.002", "40"]
    assert change["history: it speaks of other things"] == ["+0.013 +0.010 to +0.016", "", "40"]
    assert change["claims on points that one version never names"][0] == "7"
    assert "3 cases were asked in both rounds, 10 are needed" in page(table)[0]


def test_agreement_and_the_matrix(table: dict) -> None:
    """Of three teachers: 0.5, 0.625 with the first; 0.625 between the others. Colour from 0 to 1."""
    html, _ = page(table)
    found = Tables(html).found
    per_finding = {row[0]: row[1:] for row in found["Agreement beyond chance"][1:]}
    assert list(per_finding) == [
        "all findings, presence",
        "Pleural Effusion",
        "Pleural Effusion, side",
        "Edema",
    ]
    assert per_finding["Edema"][3:5] == ["–", "−0.031 −0.041 to −0.021"]
    assert "–: all name the same everywhere." in html
    matrix = [row[:4] for row in found["Agreement, teacher by teacher"][1:]]
    assert matrix == [
        ["alpha", "·", "0.500", "0.625"], ["beta", "0.500", "·", "0.625"], ["gamma", "0.625", "0.625", "·"],
    ]  # fmt: skip
    heats = re.findall(r'class="hot" style="--heat:([\d.]+)" title="(\w+) and (\w+)', html)
    assert ("0.000", "alpha", "beta") in heats
    assert ("1.000", "gamma", "beta") in heats
    assert [row[:3] for row in found["Agreement of every two teachers"][1:]] == [
        ["alpha", "beta", "0.500 0.490–0.510"],
        ["alpha", "gamma", "0.625 0.615–0.635"],
        ["beta", "gamma", "0.625 0.615–0.635"],
    ]


def test_whom_to_trust(table: dict) -> None:
    found = Tables(page(table)[0]).found
    methods = {row[0]: row[1:] for row in found["Method per finding"][1:]}
    assert list(methods) == ["Pleural Effusion", "Pleural Effusion, side", "Edema"]
    assert methods["Edema"] == [
        "dawid skene independence is not rejected", "2.50 2.30–2.70", "0.210", "0.040 0.030–0.050", "–", "17",
        "alpha + beta; copying 0.10",
    ]  # fmt: skip
    reliable = {row[0]: row[1:] for row in found["Reliability, findings"][1:]}
    assert reliable["Edema: present"][0] == "0.71 0.68–0.74"
    assert "Pleural Effusion, side: left" in [
        row[0] for row in found["Reliability, Sides and other attributes"]
    ]
    rest = found["Risks, prevalence and calibration"]
    assert ["Edema", "calibration", "–", "0", "no gold was given"] in rest
    assert ["Edema", "risks, majority", "0.150 0.140–0.160", "40", ""] in rest


def test_dependence_as_the_measure_tells_it(table: dict) -> None:
    """Its p stands with the largest excess, which is that of two named teachers; copying is per teacher."""
    table["reliability"] = {
        "Edema": {
            "presence": {
                "method": "one voice",
                "teachers": {},
                "lineages": [["alpha", "<i>gamma"], ["beta"]],
                "dependence": {
                    "pair": ["alpha", "<i>gamma"],
                    "largest_excess": told(0.206, p=0.0376),
                    "copying": {"alpha": told(0.9857), "<i>gamma": told(0.33)},
                },
            }
        }
    }
    html, _ = page(table)
    row = Tables(html).found["Method per finding"][1]
    assert row[0] == "Edema"
    assert row[3:] == ["0.038", "0.206", "alpha + <i>gamma", "–", "alpha (0.99) + <i>gamma (0.33)"]
    assert "<i>gamma" not in html


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"notes": ["n"]},
        None,
        {"findings": {"Edema": {"presence": {"method": "majority", "undecided": told(None)}}}},
        {"Edema": {"method": "majority", "teachers": {"alpha": {"present": told(0.5, 0.1)}}}},
        {"Edema": {"presence": {"teachers": {"alpha": {"present": 0.5}}, "dependence": {"p": 0.2}}}},
        {"Edema": {"presence": {"method": None, "dependence": told(None, p=0.3), "lineages": "none"}}},
    ],
)
def test_reliability_of_another_shape_is_told_as_far_as_it_goes(table: dict, given: object) -> None:
    table["reliability"] = given
    html, _ = page(table)
    found = Tables(html).found
    if isinstance(given, dict) and {"Edema", "findings"} & set(given):
        assert found["Method per finding"][1][0] == "Edema"
    else:
        assert "The measure stage has left no reliability." in html
    assert measured_tables(table)


def test_every_table_says_whether_gold_was_used(table: dict) -> None:
    table["tokens"] = {"live": {"own_prefix": [told(0.1, 0.01), told(0.2, 0.01)], "kl": told(1.0, 0.1)}}
    read = Tables(page(table)[0])
    assert len(read.found) > 12
    for label, caption in read.captions.items():
        assert caption.startswith("Split train: 40 cases in 20 clusters. No gold was used"), label
    table["about"]["gold"] = "120 claims of checked.csv"
    read = Tables(page(table)[0])
    assert all("Gold was used: 120 claims of checked.csv." in each for each in read.captions.values())
    assert "Gold was used: 120 claims of checked.csv." in headline_sentences(table)[-1]


def test_divergence_is_shown_where_there_is_any(table: dict) -> None:
    assert "Divergence, in nats" not in page(table)[0]
    table["identification"] = {"cumulative": told(None, reason="needs two teachers")}
    table["tokens"] = {"live": told(None, reason="no teachers at hand")}
    html, _ = page(table)
    assert "–: needs two teachers." in html
    assert "–: no teachers at hand." in html
    table["identification"] = {"cumulative": [told(0.1, 0.01), told(0.2, 0.01)]}
    table["tokens"] = {
        "teachers": ["alpha", "beta"],
        "own_prefix_bounds": [{"lower": told(0.11, 0.01), "upper": told(0.31, 0.01)}] * 2,
        "change_of_lower_bound": told(0.05, 0.01, p=0.03),
        "live": {
            "common_prefix": [told(0.3, 0.01), told(None)],
            "cumulative": [told(0.4, 0.01), told(0.5, 0.01)],
            "pairwise_kl": {"alpha": {"beta": told(1.5, 0.1)}},
        },
    }
    found = Tables(page(table)[0]).found
    parts = {row[0]: row[1:] for row in found["Divergence by part of the answer"][1:]}
    claims = "given away so far of who writes, by claims alone (cumulative, lower bound)"
    assert parts[claims] == ["0.100 0.090–0.110", "0.200 0.190–0.210"]
    assert parts["given away so far of who writes (cumulative)"][1] == "0.500 0.490–0.510"
    assert parts["own prefixes, from stored lists, upper"] == ["0.310 0.300–0.320"] * 2
    assert parts["common prefix: how they would go on (instantaneous)"] == ["0.300 0.290–0.310", "–"]
    totals = {row[0]: row[1:] for row in found["Divergence of whole answers"][1:]}
    assert totals["change of the lower bound"] == ["0.050 0.040–0.060", "0.030", "40"]
    assert totals["KL divergence, alpha, beta"] == ["1.500 1.400–1.600", "", "40"]


def test_the_numbers_are_also_in_the_json(table: dict) -> None:
    _, numbers = page(table)
    assert json.loads(dumps(numbers))["measure"] == json.loads(json.dumps(table))


def places(table: object, path: tuple = ()) -> Iterator[tuple]:
    if path:
        yield path
    pairs = table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ()
    for key, inner in pairs:
        yield from places(inner, (*path, key))


def test_no_missing_or_strange_entry_breaks_page_or_terminal(table: dict) -> None:
    """Places of the summary in turn get something else; the page stays whole."""
    table["tokens"] = {"live": {"own_prefix": [told(0.1, 0.01)], "kl": told(1.0, 0.1)}}
    rng = random.Random(0)
    chosen = rng.sample(list(places(table)), 30)
    top = [path for path in places(table) if len(path) <= 2]
    for path in [*chosen, *top]:
        broken = copy.deepcopy(table)
        inner = broken
        for key in path[:-1]:
            inner = inner[key]
        strange = rng.choice(["gone", None, [], {}, "word", -3, [None], {"value": "x", "estimator": 1}])
        if strange == "gone":
            del inner[path[-1]]
        else:
            inner[path[-1]] = strange
        html, numbers = page(broken)
        Tables(html)
        dumps(numbers)
        assert isinstance(measured_tables(broken), list)
        assert all(isinstance(each, str) for each in headline_sentences(broken))


def test_hostile_names_are_escaped_everywhere() -> None:
    evil = ('"><script>alert(1)</script>', "'};</style><u>", "[bold]{{ 7 * 7 }}")
    table = summary(evil, ("<img src=x onerror=y>", 'b" onload="z'))
    table["along"]["phi"] = table["alarms"][0]["what"] = table["about"]["notes"][0] = evil[0]
    table["reliability"] = {evil[0]: {evil[1]: table["reliability"]["<img src=x onerror=y>"]["presence"]}}
    html, _ = page(table, evil)
    shown, numbers, own = html.lower().split("<script", maxsplit=2)
    lowered = html.lower()
    assert not re.search(r"<script|<img|<u>", shown)
    assert numbers.count("<") == 1  # it ends there
    assert own.count("</script>") == 1
    assert lowered.count("</style>") == 1
    assert not [name for name in Tables(html).attributes if name.startswith("on")]
    assert "49" not in re.findall(r"\[bold\][^<]*", html)[0]


def luminance(colour: tuple[float, ...]) -> float:
    parts = [c / 255 / 12.92 if c / 255 <= 0.03928 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_can_be_told_apart(theme: str) -> None:
    """WCAG: text 4.5 to 1, lines and marks 3 to 1; on the strongest cell of a matrix, too."""
    css = (files("driftbound.report") / "templates" / "report.css").read_text()
    root = re.findall(r":root \{(.*?)\}", css, re.S)[0 if theme == "light" else 1]
    colours = {
        name: tuple(int(value[i : i + 2], 16) for i in (0, 2, 4))
        for name, value in re.findall(r"--([\w-]+): #([0-9a-f]{6})", root)
    }
    least, most = map(
        float, re.search(r"opacity: calc\(([\d.]+) \+ ([\d.]+) \* var\(--heat\)\)", css).groups()
    )
    paper, accent = colours["paper"], colours["accent"]
    hot = tuple(p + (least + most) * (a - p) for p, a in zip(paper, accent, strict=True))
    assert contrast(colours["ink"], hot) >= 4.5
    assert contrast(colours["ink"], paper) >= 4.5
    assert contrast(colours["soft"], paper) >= 4.5
    for line in ("accent", "grey", "clash"):
        assert contrast(colours[line], paper) >= 3
        assert contrast(colours[line], colours["faint"]) >= 3  # on the field of the margin


def printed(table: dict) -> str:
    console = Console(width=80, file=io.StringIO(), record=True)
    for each in measured_tables(table):
        console.print(each)
    return console.export_text()


def test_the_terminal_says_the_same(table: dict) -> None:
    lines = {line.split()[0]: line.split()[1:] for line in printed(table).splitlines() if line.split()}
    assert lines["gamma"] == ["40", "7.5", "%", "0.61", "0.59–0.63", "+0.004", "±0.012", "0.700", "0"]
    teachers = [line for line in printed(table).splitlines() if line.startswith("alpha") and "±" in line]
    assert "+0.123 ±0.011* <0.001" in teachers[0]
    assert lines["Edema"] == ["25.0", "%", "70.0", "%", "5.0", "%", "–", "dawid", "skene", "17"]
    said = headline_sentences(table)
    assert said[0] == (
        "2 alarms at the 5 % level for the whole run. along the reasoning: alpha; refusals: beta."
    )
    assert said[1] == (
        "Of 1,012 claims: agreed 0.4 %, conflicting 99.6 %, undecided 0 %; "
        "alpha of presence 0.127 (0.117 to 0.137)."
    )
    assert said[2].startswith("Asked again, a teacher differs from itself on 37.1 % of its votes; ")


def test_the_terminal_stays_within_80_columns() -> None:
    """Names of any length and width, the widest numbers: no line is longer, no number is cut."""
    names = ("a-teacher-whose-name-goes-on-and-on-2025-11-27", "[red]模型模型模型模型模型模型模型模型", "c")
    table = summary(names, [f"Finding {n} with a long name of its own" for n in range(30)])
    for each in table["agreement"]["findings"].values():
        each["alpha"] = told(-0.234, 0.1)
    for each in table["refusals"].values():
        each["answers"]["ok"]["value"] = 1234567
    table["along"]["teachers"][names[0]]["change"] = told(-0.123, 0.111, p=1e-9)
    text = printed(table)
    assert max(cell_len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "−0.123 ±0.111* <0.001" in text
    assert "1,234,570" in text
    assert "−0.23 −0.33 to −0.13" in text
    assert "+0.123 +0.113 to +0.133 0.001" in text
    assert "a-teache…5-11-27" in text
    assert "[red]模…模型模" in text
    assert "20 of 30, most conflicting first" in text


def test_the_thresholds_in_the_documentation_are_those_of_the_recipe() -> None:
    texts = "".join(path.read_text() for path in sorted(DOCS.glob("measure*.md")))
    block = re.search(r"```yaml\n(measure:\n.*?)```", texts, re.S)
    assert yaml.safe_load(block.group(1))["measure"] == MeasureConfig().model_dump()


def test_the_columns_in_the_documentation_are_those_of_the_files() -> None:
    texts = "".join(path.read_text() for path in sorted(DOCS.glob("measure*.md")))
    for name, schema in {"slots": SLOTS, "cases": CASES, "reliability": RELIABILITY, "drift": DRIFT}.items():
        row = re.search(rf"^\| `{name}\.parquet` \|(.*)$", texts, re.M)
        named = re.findall(r"`(\w+)`", row.group(1))
        assert named
        assert set(named) <= set(schema.names)


def test_silence_is_no_all_clear_where_nothing_could_be_tested(table: dict) -> None:
    table["alarms"] = []
    table["along"] = {"panel": told(None, reason="one teacher alone contradicts nobody"), "teachers": {}}
    table["agreement"]["presence"] = {"alpha": told(None)}
    said = headline_sentences(table)
    assert "Drift along the answers could not be tested: one teacher alone contradicts nobody." in said
    assert "could not be tested: one teacher alone contradicts nobody." in page(table)[0]
    assert not any("alpha" in each for each in said)


def test_names_are_cut_in_the_middle_to_their_width() -> None:
    assert fitted("exactly-sixteen!") == "exactly-sixteen!"
    assert cell_len(fitted("模" * 30)) <= 16
    assert fitted("line\nbreak\x1b[31m") == "line break\ufffd[31m"
