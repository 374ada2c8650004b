"""The phantom domain: who is examined, what is drawn, what lands on disk."""

import os
import struct
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import entry_points
from itertools import combinations, pairwise

import numpy as np
import pytest
from PIL import Image

from driftbound.config import DomainConfig
from driftbound.domains.phantom import language
from driftbound.domains.phantom.domain import PhantomDomain
from driftbound.domains.phantom.drawing import draw
from driftbound.domains.phantom.findings import FINDINGS, HEADLINE, SIDED, SIDED_SIGNS, SIGN_NAMES, SIGNS
from driftbound.domains.phantom.language import QUESTION
from driftbound.domains.phantom.population import population, signs_of
from driftbound.domains.registry import load_domain
from driftbound.protocols import Domain
from driftbound.records import Case
from driftbound.store.tables import read_cases, read_rows, read_truth

SIZES = {"train": 11_000, "validation": 400, "test": 1_300, "test_scanner": 801}
PREVALENCE = {
    "Consolidation": 0.88,
    "Pleural Effusion": 0.60,
    "Pneumonia": 0.36,
    "Pneumothorax": 0.12,
    "Edema": 0.86,
}
SMALL = DomainConfig(train=5, validation=2, test=3, test_scanner=2)


@pytest.fixture(scope="module")
def phantoms():
    return population(DomainConfig(**SIZES), 3)


def share(phantoms, finding):
    return np.mean([phantom.findings[finding] != "absent" for phantom in phantoms])


# who is examined


@pytest.mark.parametrize("finding", HEADLINE)
def test_headline_prevalences_are_the_issues(phantoms, finding):
    assert share(phantoms, finding) == pytest.approx(PREVALENCE[finding], abs=0.02)


def test_prevalence_is_the_same_in_every_split(phantoms):
    """The second scanner is another scanner, not other patients: 801 images in clusters of about two
    that agree by half have a standard error of about 0.02."""
    for split in SIZES:
        own = [phantom for phantom in phantoms if phantom.case.split == split]
        for finding in HEADLINE:
            assert share(own, finding) == pytest.approx(PREVALENCE[finding], abs=0.08)


def test_splits_have_their_sizes_and_share_no_patient(phantoms):
    assert Counter(phantom.case.split for phantom in phantoms) == SIZES
    splits = defaultdict(set)
    for phantom in phantoms:
        splits[phantom.case.cluster].add(phantom.case.split)
    assert all(len(own) == 1 for own in splits.values())
    images = Counter(phantom.case.cluster for phantom in phantoms)
    assert set(images.values()) == {1, 2, 3}
    assert len({phantom.case.case_id for phantom in phantoms}) == sum(SIZES.values())


def test_an_empty_split_is_empty():
    sizes = {"train": 1, "validation": 0, "test": 1, "test_scanner": 0}
    assert [p.case.split for p in population(DomainConfig(**sizes), 0)] in (
        ["train", "test"],
        ["test", "train"],
    )


def test_the_other_scanner_belongs_to_its_split(phantoms):
    for phantom in phantoms:
        assert phantom.scanner == ("other" if phantom.case.split == "test_scanner" else "first")


def test_a_patient_resembles_itself(phantoms):
    """An image repeats its patient's stance with chance 0.7: for two images of a patient the stances
    on a finding correlate by 0.7 squared, a little more because the healthy share their health."""
    own = defaultdict(list)
    for phantom in phantoms:
        own[phantom.case.cluster].append(phantom.findings["Pleural Effusion"] != "absent")
    pairs = np.array([stances[:2] for stances in own.values() if len(stances) > 1], float)
    assert np.corrcoef(pairs.T)[0, 1] == pytest.approx(0.5, abs=0.06)


def test_seed_settles_the_population(phantoms):
    again = population(DomainConfig(**SIZES), 3)
    assert again == phantoms
    other = population(DomainConfig(**SIZES), 4)
    assert [p.findings for p in other] != [p.findings for p in phantoms]
    assert {p.seed for p in other} != {p.seed for p in phantoms}


def test_asking_order_is_shuffled_over_splits_and_patients(phantoms):
    """Each split's mean position is the middle: a uniform position has standard deviation 0.29."""
    for split, size in SIZES.items():
        places = [i / len(phantoms) for i, p in enumerate(phantoms) if p.case.split == split]
        assert np.mean(places) == pytest.approx(0.5, abs=4 * 0.29 / np.sqrt(size))
    assert sum(a.case.cluster == b.case.cluster for a, b in pairwise(phantoms)) < 10


@pytest.mark.parametrize("finding", FINDINGS)
def test_ids_carry_no_label(phantoms, finding):
    """Rank of the case id, of the patient and of the drawing seed against the finding: correlations
    of independent things stay below 4 / sqrt(n), n the patients (about 6,750)."""
    there = np.array([phantom.findings[finding] != "absent" for phantom in phantoms], float)
    for key in (
        [phantom.case.case_id for phantom in phantoms],
        [phantom.case.cluster for phantom in phantoms],
        [f"{phantom.seed:012d}" for phantom in phantoms],
    ):
        rank = np.argsort(np.argsort(key))
        assert abs(np.corrcoef(rank, there)[0, 1]) < 4 / np.sqrt(6_750)


def test_cases_of_two_findings_differ_in_nothing_but_their_names(phantoms):
    """Everything but id, patient, split and image name is one and the same for all cases."""
    blank = {"case_id": "", "cluster": "", "split": "", "images": ()}
    assert {replace(phantom.case, **blank) for phantom in phantoms} == {Case(**blank, prompt=QUESTION)}
    assert all(p.case.images == (f"images/{p.case.case_id}.png",) for p in phantoms)


def test_values_are_sides_where_a_finding_has_one(phantoms):
    for finding in FINDINGS:
        values = Counter(phantom.findings[finding] for phantom in phantoms)
        expected = {"left", "right", "both"} if finding in SIDED else {"present"}
        assert set(values) == expected | {"absent"}
        if finding in SIDED:
            there = len(phantoms) - values["absent"]
            assert values["both"] / there == pytest.approx(0.2, abs=0.05)
            assert values["left"] / there == pytest.approx(0.4, abs=0.05)


def test_no_finding_means_nothing_but_support_devices(phantoms):
    devices = 0
    for phantom in phantoms:
        asserted = {finding for finding, value in phantom.findings.items() if value != "absent"}
        assert ("No Finding" in asserted) == (not asserted - {"No Finding", "Support Devices"})
        devices += {"No Finding", "Support Devices"} == asserted
    assert share(phantoms, "No Finding") == pytest.approx(0.05, abs=0.01)
    assert devices > 50


# signs


ABSENT = dict.fromkeys(FINDINGS, "absent")


@pytest.mark.parametrize(
    ("findings", "signs"),
    [
        ({}, {}),
        ({"No Finding": "present"}, {}),
        ({"Pleural Effusion": "left"}, {"white base": "left", "curved edge": "left"}),
        (
            {"Pleural Effusion": "left", "Atelectasis": "right"},
            {"white base": "both", "curved edge": "left", "raised diaphragm": "right"},
        ),
        (
            {"Pleural Effusion": "right", "Atelectasis": "right"},
            {"white base": "right", "curved edge": "right", "raised diaphragm": "right"},
        ),
        ({"Enlarged Cardiomediastinum": "present"}, {"wide mediastinum": "present"}),
        ({"Edema": "present"}, {"haze": "both", "fine lines": "both"}),
        ({"Pneumonia": "left"}, {"haze": "left", "mottled dots": "left"}),
        (
            {"Edema": "present", "Pneumonia": "left"},
            {"haze": "both", "fine lines": "both", "mottled dots": "left"},
        ),
        (
            {"Lung Opacity": "both", "Consolidation": "right"},
            {"patch": "both", "dark branches": "right"},
        ),
        (
            {"Cardiomegaly": "present", "Support Devices": "present"},
            {"wide heart": "present", "wire and box": "present"},
        ),
    ],
    ids=lambda value: ", ".join(value) or "none",
)  # fmt: skip
def test_signs_by_hand(findings, signs):
    assert signs_of(ABSENT | findings) == dict.fromkeys(SIGN_NAMES, "absent") | signs


def test_three_signs_are_shared():
    """No two findings have the same signs."""
    assert len(set(SIGNS.values())) == 13
    shared = {sign: [f for f, signs in SIGNS.items() if sign in signs] for sign in SIGN_NAMES}
    assert {sign: names for sign, names in shared.items() if len(names) > 1} == {
        "patch": ["Lung Opacity", "Consolidation"],
        "haze": ["Edema", "Pneumonia"],
        "white base": ["Atelectasis", "Pleural Effusion"],
    }
    assert len(SIGN_NAMES) == 16


@pytest.mark.parametrize("finding", [name for name in FINDINGS if name != "No Finding"])
def test_every_finding_but_opacity_shows(phantoms, finding):
    """Without the finding the signs would be others. A patch is hidden by consolidation (0.88 / 0.95
    of the sick) that is on both sides (0.2), or on the same one side (0.8 x 0.5 x 0.8): 0.48."""
    there = [p for p in phantoms if p.findings[finding] != "absent"]
    hidden = np.mean([signs_of(p.findings | {finding: "absent"}) == p.signs for p in there])
    expected = 0.88 / 0.95 * (0.2 + 0.8 * 0.5 * 0.8) if finding == "Lung Opacity" else 0
    assert hidden == pytest.approx(expected, abs=0.04 if expected else 0)


# what is drawn


NORMAL = dict.fromkeys(SIGN_NAMES, "absent")
SEEDS = (2, 5, 9)
BLOCK = 8
MIDDLE = 4
"""Blocks (of 32) on each side of the spine that belong to neither lung: heart, mediastinum, tails of haze."""


def blocks(film):
    """Means of 8 x 8 pixels (32, 32): noise of 4 grey values shrinks to a half."""
    values = np.asarray(film, float)
    side = len(values) // BLOCK
    return values.reshape(side, BLOCK, side, BLOCK).mean(axis=(1, 3))


def rest(film, other, where=np.s_[:, :]):
    """What is left of the difference of two films (blocks) when their exposures are made equal."""
    gain, offset = np.polyfit(other[where].ravel(), film[where].ravel(), 1)
    return np.abs(film - gain * other - offset)


def change(signs, seed):
    """Size of the change against the normal film of the same anatomy: (left of the picture, right).

    The exposure differs between two films, so it is fitted on the quieter half, robustly, first.
    """
    normal, film = blocks(draw(NORMAL, seed)), blocks(draw(NORMAL | signs, seed))
    left, right = np.s_[:, : 16 - MIDDLE], np.s_[:, 16 + MIDDLE :]
    fits = [rest(film, normal, half) for half in (left, right)]
    best = min(fits, key=np.median)
    return best[left].max(), best[right].max()


@pytest.mark.parametrize("seed", SEEDS)
def test_two_normal_films_of_one_seed_do_not_differ(seed):
    assert change({}, seed) == pytest.approx((0, 0), abs=1e-9)


@pytest.mark.parametrize("sign", sorted(SIDED_SIGNS))
def test_a_sign_changes_the_side_it_lies_on(sign):
    """The patient's left is the right half of the picture; noise and tails stay below 5 grey values,
    the faintest sign is above 20."""
    for seed in SEEDS:
        left, right = change({sign: "left"}, seed)
        assert left < 5 and right > 20, f"{sign} left, seed {seed}: {left:.1f} {right:.1f}"  # noqa: PT018
        left, right = change({sign: "right"}, seed)
        assert right < 5 and left > 20, f"{sign} right, seed {seed}: {left:.1f} {right:.1f}"  # noqa: PT018


def test_all_signs_and_sides_can_be_told_apart():
    """13 x 2 + 3 films with one sign, and the normal one, of the same anatomy: every two differ
    somewhere by more than noise and another exposure could make them."""
    kinds = [(s, v) for s in SIGN_NAMES for v in (("left", "right") if s in SIDED_SIGNS else ("present",))]
    kinds.append((SIGN_NAMES[0], "absent"))
    assert len(kinds) == 30
    films = {kind: blocks(draw(NORMAL | dict([kind]), 8)) for kind in kinds}
    for one, two in combinations(kinds, 2):
        assert rest(films[one], films[two]).max() > 20, (one, two)


@pytest.mark.parametrize("sign", sorted(set(SIGN_NAMES) - SIDED_SIGNS))
def test_a_sign_without_side_shows(sign):
    for seed in SEEDS:
        assert rest(blocks(draw(NORMAL | {sign: "present"}, seed)), blocks(draw(NORMAL, seed))).max() > 30


def test_the_right_is_marked():
    """An "R" stands in the upper left corner of the picture, where the patient's right is."""
    film = np.asarray(draw(NORMAL, 1), float)
    assert film[12:30, 6:20].max() > 180
    assert film[12:30, -20:-6].max() < 80


def test_drawing_is_reproducible_to_the_byte_in_another_process():
    """Also under another hash seed, where sets come in another order."""
    signs = NORMAL | {"haze": "both", "dark apex": "left", "wire and box": "present"}
    code = (
        "from hashlib import sha256; from driftbound.domains.phantom.drawing import draw;"
        f"print(sha256(draw({signs!r}, 12, 'other').tobytes()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == sha256(draw(signs, 12, "other").tobytes()).hexdigest()
    assert draw(signs, 12).tobytes() != draw(signs, 13).tobytes()


def test_a_film_has_the_promised_form():
    film = draw(NORMAL, 0)
    assert (film.size, film.mode) == ((256, 256), "L")


def test_the_other_scanner_has_less_contrast_and_more_noise():
    """Contrast 0.78 of the first; noise of 8 grey values instead of 4."""
    contrast, noise = defaultdict(list), defaultdict(list)
    for seed in range(6):
        for scanner in ("first", "other"):
            film = np.asarray(draw(NORMAL, seed, scanner), float)
            body, lung = film[232:246, 60:110], film[90:150, 62:74]
            contrast[scanner].append(body.mean() - lung.mean())
            noise[scanner].append((body[:, 1:] - body[:, :-1]).std() / np.sqrt(2))
    assert np.mean(contrast["other"]) / np.mean(contrast["first"]) == pytest.approx(0.78, abs=0.06)
    assert np.mean(noise["first"]) == pytest.approx(4, abs=0.4)
    assert np.mean(noise["other"]) == pytest.approx(8, abs=0.8)


def test_the_other_scanner_is_blurred_and_turned():
    """The first film, turned by the right angle, is the other one but for exposure and noise; angles
    are uniform within 6 degrees. The sharp edge of the mark loses more than the contrast."""
    inside = np.s_[40:216, 40:216]
    angles = []
    for seed in range(8):
        first, other = draw(NORMAL, seed), np.asarray(draw(NORMAL, seed, "other"), float)
        fit = {}
        for angle in np.arange(-8, 8.1, 1):
            turned = np.asarray(first.rotate(angle, Image.Resampling.BILINEAR), float)
            fit[angle] = np.corrcoef(turned[inside].ravel(), other[inside].ravel())[0, 1]
        angles.append(max(fit, key=fit.get))
        assert max(fit.values()) > 0.94
        steepest = [np.abs(np.diff(np.asarray(film, float)[5:60, 2:60])).max() for film in (first, other)]
        assert steepest[1] < 0.5 * steepest[0]
    assert max(map(abs, angles)) <= 6.5
    assert len(set(angles)) > 4
    assert min(angles) < -2 < 2 < max(angles)


# what lands on disk


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folders = []
    for name in ("one", "two"):
        root = tmp_path_factory.mktemp(name)
        PhantomDomain(SMALL, 6).write_cases(root / "run", root / "elsewhere" / "truth.parquet")
        folders.append(root)
    return folders


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_two_writes_are_byte_identical(written):
    one, two = map(files, written)
    assert one == two
    names = {f"run/images/c6-{n:05d}.png" for n in range(12)}
    assert set(one) == names | {
        "run/cases.parquet",
        "elsewhere/truth.parquet",
        "elsewhere/references.parquet",
    }


def test_cases_and_truth_are_the_populations(written):
    phantoms = population(SMALL, 6)
    assert read_cases(written[0] / "run" / "cases.parquet") == [phantom.case for phantom in phantoms]
    truth = read_truth(written[0] / "elsewhere" / "truth.parquet")
    assert truth == {phantom.case.case_id: phantom.findings for phantom in phantoms}


def test_images_are_the_drawings(written):
    for phantom in population(SMALL, 6):
        with Image.open(written[0] / "run" / phantom.case.images[0]) as film:
            assert film.tobytes() == draw(phantom.signs, phantom.seed, phantom.scanner).tobytes()


def test_pngs_hold_pixels_and_nothing_else(written):
    """Walk the chunks by hand: length, type, data, checksum. No text, time or profile."""
    for name, data in files(written[0] / "run" / "images").items():
        assert data[:8] == b"\x89PNG\r\n\x1a\n", name
        kinds, at = [], 8
        while at < len(data):
            (length,) = struct.unpack(">I", data[at : at + 4])
            kinds.append(data[at + 4 : at + 8])
            at += 12 + length
        assert kinds[0] == b"IHDR"
        assert kinds[-1] == b"IEND"
        assert set(kinds[1:-1]) == {b"IDAT"}


def test_truth_is_only_at_its_path(written):
    """No cell of the run's table and no file name has a finding's, sign's or side's word."""
    said = read_rows(written[0] / "run" / "cases.parquet")
    words = " ".join([*files(written[0] / "run"), *(str(row) for row in said)]).lower()
    for word in (*FINDINGS, *SIGN_NAMES, "absent", "present", "left", "right", "both"):
        assert word.lower() not in words


def test_rewriting_leaves_what_is_there_and_adds_what_is_missing(written):
    root = written[1]
    images = sorted((root / "run" / "images").iterdir())
    before = files(root)
    images[0].unlink()
    times = {path: path.stat().st_mtime_ns for path in images[1:]}
    PhantomDomain(SMALL, 6).write_cases(root / "run", root / "elsewhere" / "truth.parquet")
    assert files(root) == before
    assert {path: path.stat().st_mtime_ns for path in images[1:]} == times


# the plug


def test_it_is_found_by_its_entry_point_and_is_a_domain():
    assert [point.load() for point in entry_points(group="driftbound.domains", name="phantom")] == [
        PhantomDomain
    ]
    domain = load_domain(DomainConfig(), 0)
    assert isinstance(domain, PhantomDomain)
    assert isinstance(domain, Domain)
    assert domain.findings == FINDINGS
    assert domain.headline == tuple(PREVALENCE)
    assert set(domain.headline) <= set(domain.findings)
    assert domain.sided < set(domain.findings)


def test_questions_name_no_finding_and_no_teacher():
    domain = PhantomDomain(SMALL, 0)
    case = population(SMALL, 0)[0].case
    assert domain.question(case) == domain.question(replace(case, prompt="")) == QUESTION
    assert domain.question(replace(case, prompt="Any fracture?")) == "Any fracture?"
    asked = domain.merge_question(case, ["No edema.", "- Edema: present"])
    assert asked.startswith("Reader 1: No edema.\nReader 2: - Edema: present\n")
    assert domain.claims(asked.splitlines()[-1]) == []


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("Reader 2: No edema.", True),
        ("All readers agree: no edema.", True),
        ("no edema, says the reader", True),
        ("Edema: present. Fracture: absent.", False),
        ("Read as edema. The film is readily readable.", False),
    ],
)
def test_words_for_the_sources_are_those_of_the_merge_question(text, mentions):
    domain = PhantomDomain(SMALL, 0)
    assert domain.mentions_sources(text) is mentions
    case = population(SMALL, 0)[0].case
    assert domain.mentions_sources(domain.merge_question(case, ["No edema."]))
    assert not domain.mentions_sources(domain.question(case))


def test_domain_reads_what_it_renders():
    domain = PhantomDomain(SMALL, 0)
    for phantom in population(SMALL, 0):
        said = domain.claims(domain.render(phantom.findings))
        values = {c.finding: c.value for c in said if c.attribute == "presence"}
        values |= {c.finding: c.value for c in said if c.attribute == "side"}
        assert values == phantom.findings
    assert domain.is_refusal("As an AI I cannot interpret medical images.")
    assert not domain.is_refusal(domain.render(phantom.findings))


def test_questions_that_guide_and_refine_show_more_than_the_merge_question():
    merged = language.merge_question(["No edema."])
    guided = language.guided_question(["No edema."], ["Edema: present 90 %, absent 10 %"])
    refined = language.refine_question(["No edema."], "Edema: absent.", ["contradicted is Edema absent"])
    for text in ("Edema: present 90 %, absent 10 %", "Reader 1: No edema."):
        assert text in guided
    for text in ("Edema: absent.", "contradicted is Edema absent", "Reader 1: No edema."):
        assert text in refined
    assert language.guided_question(["No edema."], []) == merged
    assert guided.endswith(merged.splitlines()[-1])
    assert refined.endswith(merged.splitlines()[-1])
    assert language.mentions_sources("Unlike the draft: no edema.")
