"""Generated texts for the tests of the labeler: frames x findings x places x severities, joined in pairs.

``python tests/data/chest_xray/generate.py`` prints JSON lines with the fields of ``develop.jsonl``. The
expected claims come from the same choices that made the text, by docs/chest-xray-claims.md; no labeler is
asked. "No Finding" is left out: it has no place, no severity and no course to combine.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

COUNT = 160
ATTRIBUTES = ("side", "zone", "severity", "course", "device")
"""In the order in which a claim lists them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What may be combined with one finding: its names, and keys of ``PLACES`` and ``SIZES``."""

    label: str
    things: tuple[str, ...]
    """Names that take an article: "a nodule"."""
    stuffs: tuple[str, ...] = ()
    """Names that take none: "edema"."""
    places: tuple[str, ...] = ()
    sizes: str = ""


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words for a finding, the name among them, and what they say of it."""

    label: str
    name: str
    words: str
    counted: bool
    attributes: tuple[tuple[str, str], ...]


SIZES: dict[str, dict[str, tuple[str, ...]]] = {
    "extent": {
        "mild": ("trace", "small"),
        "moderate": ("moderate", "small to moderate"),
        "severe": ("large",),
    },
    "degree": {
        "mild": ("minimal", "mild"),
        "moderate": ("moderate", "mild to moderate"),
        "severe": ("severe", "moderate to severe"),
    },
    "size": {"mild": ("small", "tiny"), "severe": ("large",)},
}
"""Scale -> severity -> its words."""

PLACES: dict[str, dict[str, tuple[str, str]]] = {
    "side": {
        "left *": ("left", ""),
        "right *": ("right", ""),
        "left-sided *": ("left", ""),
        "* on the right": ("right", ""),
        "* on the left": ("left", ""),
    },
    "pair": {"bilateral *": ("both", ""), "* on both sides": ("both", ""), "b/l *": ("both", "")},
    "lobe": {
        "right lower lobe *": ("right", "lower"),
        "RUL *": ("right", "upper"),
        "LLL *": ("left", "lower"),
        "RML *": ("right", "middle"),
        "lingular *": ("left", "middle"),
        "* in the LUL": ("left", "upper"),
        "* in the left lower lobe": ("left", "lower"),
        "* in the right upper zone": ("right", "upper"),
    },
    "base": {
        "left basal *": ("left", "basal"),
        "right basilar *": ("right", "basal"),
        "bibasilar *": ("both", "basal"),
        "* at the left base": ("left", "basal"),
        "* at both bases": ("both", "basal"),
    },
    "apex": {"left apical *": ("left", "apical"), "* at the right apex": ("right", "apical")},
    "hilum": {"perihilar *": ("", "perihilar"), "right perihilar *": ("right", "perihilar")},
    "heart": {"retrocardiac *": ("", "retrocardiac")},
    "all": {"diffuse *": ("", "diffuse"), "diffuse bilateral *": ("both", "diffuse")},
    "lungs": {"* in both lungs": ("both", "")},
}
"""Kind of place -> words around the name -> side and zone."""

TABLE = """
Enlarged Cardiomediastinum | | mediastinal widening, widening of the mediastinum | | degree
Cardiomegaly | | cardiomegaly, cardiac enlargement | | degree
Lung Lesion | nodule, mass, granuloma, cavitary lesion | | lobe, apex, hilum | size
Lung Opacity | opacity, infiltrate | airspace disease, hazy opacification | lobe, base, hilum, all | degree
Edema | | pulmonary edema, interstitial edema, vascular congestion, oedema | all, lungs, hilum | degree
Consolidation | consolidation, focal consolidation | | lobe, base, heart |
Pneumonia | | pneumonia, bronchopneumonia | lobe, base |
Atelectasis | | atelectasis, volume loss, atelectesis | lobe, base, heart | degree
Pneumothorax | pneumothorax, PTX, pnuemothorax | | side, apex | extent
Pleural Effusion | pleural effusion, effusion, hemothorax | pleural fluid | side, pair, base | extent
Pleural Other | pleural plaque | pleural thickening, pleural scarring | side, pair, apex |
Fracture | rib fracture, clavicle fracture, fracture | | side |
"""
"""The columns are the fields of ``Finding``."""


def finding_of(line: str) -> Finding:
    """One line of ``TABLE``."""
    label, *lists, sizes = (cell.strip() for cell in line.split("|"))
    things, stuffs, places = (tuple(filter(None, words.split(", "))) for words in lists)
    return Finding(label, things, stuffs, places, sizes)


FINDINGS = tuple(finding_of(line) for line in TABLE.strip().splitlines())

SIDED = {name: name for name in ("PICC", "port", "chest tube", "pacemaker")} | dict.fromkeys(
    ("internal jugular line", "subclavian central venous catheter"), "central line"
)
MIDDLE = (
    dict.fromkeys(("endotracheal tube", "ETT"), "endotracheal tube")
    | dict.fromkeys(("nasogastric tube", "NGT"), "enteric tube")
    | {"tracheostomy tube": "tracheostomy", "prosthetic valve": "valve", "intra-aortic balloon pump": "other"}
)
DEVICES = SIDED | MIDDLE
SUPPORT = (
    Finding("Support Devices", tuple(SIDED), places=("side",)),
    Finding("Support Devices", tuple(MIDDLE)),
)

FRAMES: dict[tuple[str, str], tuple[str, ...]] = {
    ("present", ""): ("there is {a}", "{a} is seen", "known {np}", "the image shows {a}", "I can see {a}"),
    ("absent", ""): (
        "no {np}",
        "no evidence of {a}",
        "negative for {np}",
        "{a} is not seen",
        "I see no {np}",
    ),
    ("absent", "gone"): (
        "interval resolution of the {np}",
        "the {np} is no longer seen",
        "the {np} has resolved",
    ),
    ("uncertain", ""): (
        "possible {np}",
        "questionable {np}",
        "{a} cannot be excluded",
        "{a} is suspected",
        "there may be {a}",
        "findings concerning for {a}",
        "I cannot rule out {a}",
        "the appearance is suggestive of {a}",
    ),
    ("uncertain", "left open"): ("no new {np}",),
    ("present", "new"): ("new {np}", "interval development of {a}"),
    ("present", "worse"): ("the {np} has worsened", "the {np} has increased", "worsening {np}"),
    ("present", "better"): ("the {np} has improved", "resolving {np}", "the {np} has decreased"),
    ("present", "stable"): (
        "the {np} is unchanged",
        "no significant change in the {np}",
        "no increase in the {np}",
        "persistent {np}",
    ),
}
"""Presence and course -> sentences in lower case: ``{np}`` is the phrase, ``{a}`` has its article too."""

DEVICE_FRAMES: dict[tuple[str, str], tuple[str, ...]] = {
    ("present", ""): ("{a} is in place", "there is {a}"),
    ("present", "stable"): ("the {np} is unchanged",),
    ("present", "new"): ("new {np}",),
    ("absent", ""): ("the {np} has been removed", "no {np}"),
    ("uncertain", ""): ("possible {np}",),
}
CHANCES = {("absent", ""): 3, ("present", ""): 2, ("uncertain", ""): 4}
"""How much likelier than the others a kind of sentence is."""

OF_MODELS = ("I ", "the image ", "the appearance ")
"""How sentences begin that no report has."""

LASTING = ("Fracture", "Pleural Other")
"""What is not said to grow or to go away."""

TWINS = (
    ("no {0} or {1}", "absent", ("", "")),
    ("neither {0} nor {1} is seen", "absent", ("", "")),
    ("there is no evidence of {0} or {1}", "absent", ("", "")),
    ("{0} versus {1}", "uncertain", ("", "")),
    ("the differential includes {0} and {1}", "uncertain", ("", "")),
    ("{0} on the left, {1} on the right", "present", ("left", "right")),
    ("{0} on the right and {1} on the left", "present", ("right", "left")),
)
"""Sentences of two names, the presence of both, and their sides."""


def phrase(rng: random.Random, finding: Finding, *, severe: bool) -> Phrase:
    """Words for ``finding`` with, by chance, a place, and a severity where ``severe`` allows one."""
    name = rng.choice(finding.things + finding.stuffs)
    words = name
    attributes = [("device", DEVICES[name])] if name in DEVICES else []
    if finding.places and rng.random() < 0.8:
        places = [place for kind in finding.places for place in PLACES[kind].items()]
        around, (side, zone) = rng.choice(places)
        words = around.replace("*", name)
        attributes += [(key, value) for key, value in (("side", side), ("zone", zone)) if value]
    if severe and finding.sizes and rng.random() < 0.6:
        severity, sizes = rng.choice(list(SIZES[finding.sizes].items()))
        words = f"{rng.choice(sizes)} {words}"
        attributes.append(("severity", severity))
    return Phrase(finding.label, name, words, name in finding.things, tuple(attributes))


def with_article(said: Phrase) -> str:
    """``a nodule``, ``an RUL nodule``, ``edema``."""
    first = said.words.split()[0]
    vowels = "AEFHILMNORSX" if first.isupper() else "aeiou"
    return f"{'an' if first[0] in vowels else 'a'} {said.words}" if said.counted else said.words


def claim(said: Phrase, presence: str, course: str = "") -> dict[str, str]:
    """The expected claim, but for the case of its words; what is absent has no attributes."""
    true = dict(said.attributes) | ({"course": course} if course else {})
    kept = () if presence == "absent" else tuple(key for key in ATTRIBUTES if key in true)
    told = {"finding": said.label, "presence": presence, "words": said.name}
    return told | {key: true[key] for key in kept}


def sentence(rng: random.Random, kind: str, finding: Finding) -> tuple[str, list[dict[str, str]]]:
    """A framed sentence about ``finding`` and its one claim.

    What is denied, or only not new, has no severity: "no large effusion" would leave a small one open.
    """
    frames = DEVICE_FRAMES if finding in SUPPORT else FRAMES
    barred = ("worse", "better", "gone") if finding.label in LASTING else ()
    ways = [way for way in frames if way[1] not in barred]
    presence, course = way = rng.choices(ways, [CHANCES.get(way, 1) for way in ways])[0]
    fit = [text for text in frames[way] if kind == "rationale" or not text.startswith(OF_MODELS)]
    frame = rng.choice(fit)
    said = phrase(rng, finding, severe=presence == "present" or way == ("uncertain", "") or course == "gone")
    text = frame.format(np=said.words, a=with_article(said))
    return text, [claim(said, presence, "" if course in ("gone", "left open") else course)]


def twin(rng: random.Random) -> tuple[str, list[dict[str, str]]]:
    """A sentence about two findings of the lung or the pleura, and both claims."""
    pool = [finding for finding in FINDINGS if {"side", "lobe"} & set(finding.places)]
    text, presence, sides = rng.choice(TWINS)
    names, claims = [], []
    for finding, side in zip(rng.sample(pool, 2), sides, strict=True):
        name = rng.choice(finding.things + finding.stuffs)
        names.append(name)
        attributes = (("side", side),) if side else ()
        claims.append(claim(Phrase(finding.label, name, name, False, attributes), presence))
    return text.format(*names), claims


def joined(rng: random.Random, kind: str, parts: list[str], contrast: bool) -> str:
    """The sentences as one text: a paragraph, lines, a list, or one sentence with "but" where they differ."""
    if contrast and rng.random() < 0.5:
        text = f"{parts[0]}, but {parts[1]}."
        return text[0].upper() + text[1:]
    full = [f"{part[0].upper()}{part[1:]}." for part in parts]
    if kind == "rationale" and rng.random() < 0.5:
        return "\n".join(f"- {part}" for part in full)
    return rng.choice((" ", "\n")).join(full)


def example(rng: random.Random) -> dict[str, object]:
    """One text with its claims, all fields but ``id``."""
    kind = "report" if rng.random() < 0.55 else "rationale"
    one, other = rng.sample((*FINDINGS, *SUPPORT), 2)
    first, claims = twin(rng) if rng.random() < 0.2 else sentence(rng, kind, one)
    while other.label in {told["finding"] for told in claims}:
        other = rng.choice(FINDINGS)
    second, more = sentence(rng, kind, other)
    contrast = claims[0]["presence"] == "absent" and more[0]["presence"] == "present"
    text = joined(rng, kind, [first, second], contrast)
    at = 0
    for told in (*claims, *more):
        at = text.lower().index(told["words"].lower(), at)
        told["words"] = text[at : at + len(told["words"])]
        at += len(told["words"])
    return {"text": text, "kind": kind, "tags": ["generated"], "claims": [*claims, *more]}


def examples(count: int = COUNT, seed: int = 0) -> Iterator[dict[str, object]]:
    """``count`` different texts, ids ``g001`` and on; the same for the same ``seed``."""
    rng = random.Random(seed)
    seen: set[object] = set()
    while len(seen) < count:
        made = example(rng)
        if made["text"] not in seen:
            seen.add(made["text"])
            yield {"id": f"g{len(seen):03d}", **made}


if __name__ == "__main__":
    for row in examples():
        print(json.dumps(row))
