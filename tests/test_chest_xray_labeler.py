"""The labeler against claims written by hand: the scorer by cases worked out by hand, and the bars."""

import importlib.util
import json
import math
import random
import sys
from pathlib import Path

import pytest

from benchmarks import labeler
from benchmarks.rationales import rationale
from driftbound.domains.chest_xray.claim_scores import grouped, read_set, score
from driftbound.domains.chest_xray.claims import claims
from driftbound.errors import CaseError
from driftbound.records import Claim, Polarity

DATA = Path(__file__).parent / "data" / "chest_xray"


def row(text, *expected):
    """A text with claims as ``"absent Edema: edema"``, with ``side=left`` and the like behind the words."""
    made = []
    for told in expected:
        head, _, tail = told.partition(": ")
        presence, _, finding = head.partition(" ")
        words, *details = tail.split(" | ")
        pairs = dict(detail.split("=") for detail in details)
        made.append({"finding": finding, "presence": presence, "words": words, **pairs})
    return {"id": "t1", "text": text, "claims": made}


def says(*told):
    """A labeler that claims the same of every text: ``(finding, presence, words, details)``."""

    def label(text):
        found = []
        for finding, presence, words, details in told:
            start = text.index(words)
            for attribute, value in {"presence": presence, **details}.items():
                polarity = Polarity(presence) if attribute == "presence" else Polarity.PRESENT
                found.append(
                    Claim(
                        finding=finding,
                        attribute=attribute,
                        value=value,
                        polarity=polarity,
                        start=start,
                        end=start + len(words),
                        step=0,
                    )
                )
        return found

    return label


TEXT = "Left effusion, no edema, maybe pneumonia. No edema."


def test_all_right_is_one():
    expected = row(TEXT, "present Pleural Effusion: effusion | side=left", "absent Edema: edema")
    said = says(
        ("Pleural Effusion", "present", "Left effusion", {"side": "left"}),
        ("Edema", "absent", "no edema", {}),
    )
    figures = score([expected], said).summary()
    assert (figures["mention_f1"], figures["negation_f1"], figures["side_accuracy"]) == (1, 1, 1)
    assert math.isnan(figures["uncertainty_f1"])
    assert math.isnan(figures["zone_accuracy"])


def test_each_kind_of_fault_is_counted_where_it_belongs():
    """Expected 4, found 4, 3 of them in pairs: 6/8. Absent: 2 expected, 1 found and right: 2/3. Uncertain: 1
    expected, 2 found, 1 right: 2/3. Sides: the effusion's is wrong, the pneumonia's not expected: 0 of 2."""
    expected = row(
        "Left effusion, no edema, maybe pneumonia, no mass, and a rib fracture.",
        "present Pleural Effusion: effusion | side=left",
        "absent Edema: edema",
        "uncertain Pneumonia: pneumonia",
        "absent Lung Lesion: mass",
    )
    said = says(
        ("Pleural Effusion", "uncertain", "effusion", {"side": "right"}),
        ("Edema", "absent", "edema", {}),
        ("Pneumonia", "uncertain", "pneumonia", {"side": "left"}),
        ("Fracture", "present", "fracture", {}),
    )
    result = score([expected], said)
    assert result.mention_f1() == pytest.approx(6 / 8)
    assert result.presence_f1("absent") == pytest.approx(2 / 3)
    assert result.presence_f1("uncertain") == pytest.approx(2 / 3)
    assert result.accuracy("side") == 0
    assert result.details["side"] == [0, 2]
    assert (result.mention_f1("Edema"), result.mention_f1("Fracture")) == (1, 0)
    assert [wrong.what for wrong in result.wrong] == [
        "Lung Lesion: absent missed, 'mass'",
        "Pneumonia: side left instead of none, 'pneumonia'",
        "Pleural Effusion: uncertain instead of present, 'effusion'",
        "Pleural Effusion: side right instead of left, 'effusion'",
        "Fracture: present found, 'fracture'",
    ]


def test_what_is_said_again_alike_is_not_counted_but_the_contrary_is():
    text = "No edema here. Edema is absent. There is oedema."
    expected = row(text, "absent Edema: edema")
    again = says(("Edema", "absent", "edema", {}), ("Edema", "absent", "Edema", {}))
    assert score([expected], again).mention_f1() == 1
    contrary = says(("Edema", "absent", "edema", {}), ("Edema", "present", "oedema", {}))
    assert score([expected], contrary).mention_f1() == pytest.approx(2 / 3)
    elsewhere = says(("Edema", "absent", "Edema", {}))  # not where it was expected: missed, and one too many
    assert score([expected], elsewhere).mention_f1() == 0


def test_order_on_the_same_words_does_not_matter():
    expected = row(
        "RUL and LLL nodules",
        "present Lung Lesion: nodules | side=left | zone=lower",
        "present Lung Lesion: nodules | side=right | zone=upper",
    )
    said = says(
        ("Lung Lesion", "present", "nodules", {"side": "right", "zone": "upper"}),
        ("Lung Lesion", "present", "nodules", {"side": "left", "zone": "lower"}),
    )
    result = score([expected], said)
    assert (result.mention_f1(), result.accuracy("side"), result.accuracy("zone")) == (1, 1, 1)


def test_words_that_stand_twice_are_found_in_order():
    text = "Left: effusion. Right: no effusion."
    expected = row(
        text, "present Pleural Effusion: effusion | side=left", "absent Pleural Effusion: effusion"
    )
    result = score([expected], claims)
    assert (result.mention_f1(), result.presence_f1("absent"), result.accuracy("side")) == (1, 1, 1)


def test_of_what_is_absent_only_the_presence_counts():
    expected = row("No left effusion", "absent Pleural Effusion: effusion")
    said = says(("Pleural Effusion", "present", "effusion", {"side": "left"}))
    assert score([expected], said).details["side"] == [0, 0]


def test_echoes_are_left_out():
    assert claims("You mentioned edema.")[0].echo
    assert grouped("You mentioned edema.", claims("You mentioned edema.")) == []


def test_a_line_that_is_no_text_is_told(tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps(row("No edema", "absent Edema: oedema")) + "\n")
    with pytest.raises(CaseError, match=r"set\.jsonl:1: .*'oedema'"):
        read_set(path)


# ---- the bars ---------------------------------------------------------------------------------


def generated():
    """What tests/data/chest_xray/generate.py makes."""
    spec = importlib.util.spec_from_file_location("generate", DATA / "generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module
    spec.loader.exec_module(module)
    return list(module.examples())


@pytest.mark.parametrize("name", ["develop.jsonl", "develop_more.jsonl", "develop_fresh.jsonl", "generated"])
def test_the_labeler_reaches_the_bars(name):
    rows = generated() if name == "generated" else read_set(DATA / name)
    assert len(rows) > 150
    result = score(rows, claims)
    assert labeler.missed(result.summary()) == [], "\n".join(f"{w.text_id} {w.what}" for w in result.wrong)


def test_the_command_shows_figures_in_80_columns_and_fails_below_a_bar(tmp_path, monkeypatch, capsys):
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps(row(TEXT, "present Edema: edema")) + "\n")
    monkeypatch.setattr(sys, "argv", ["labeler", str(path), "--wrong"])
    assert labeler.main() == 1
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "Edema: absent instead of present" in shown
    monkeypatch.setattr(sys, "argv", ["labeler", str(path), "--json"])
    assert labeler.main() == 1
    told = json.loads(capsys.readouterr().out)[str(path)]
    assert (told["texts"], told["negation_f1"], told["side_accuracy"]) == (1, 0, None)


def test_speed_reads_as_many_as_it_says():
    rng = random.Random(0)
    texts = [rationale(rng) for _ in range(20)]
    assert all(1000 < len(text) <= 1200 for text in texts)
    wall, processor, letters, found = labeler.read_some(0, 20)
    assert letters == sum(map(len, texts))
    assert found == sum(len(claims(text)) for text in texts) > 20 * 10
    assert wall > 0 < processor
