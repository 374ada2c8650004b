"""Pairs of films the whole way through a run: asked in order, never learnt from, scored on their own."""

import json

import chest_xray_trees_other as trees
from chest_xray_trees import film, mimic
from test_chest_xray_further import ADA, BOB, CAT, SAID, pair, pairs, picture, place
from test_collect import chat, vendor

from driftbound import pipeline
from driftbound.config import Recipe
from driftbound.store.streams import Streams
from driftbound.store.tables import read_rows

TREE = [
    (ADA, "50000001", "test", [(film(1), "PA")], {"Edema": "1.0"}, 1, 1.0),
    (ADA, "50000002", "test", [(film(2), "PA")], {"Edema": "0.0"}, 2, 1.0),
    (BOB, "50000003", "train", [(film(3), "AP")], {"Edema": "1.0"}, 1, 1.0),
    (BOB, "50000004", "train", [(film(4), "AP")], {}, 2, 1.0),
    (CAT, "50000005", "validate", [(film(5), "AP")], {"Edema": "1.0"}, 1, 1.0),
]


def teacher_says(model, question, nth):
    """One in the words of the course where pairs are shown; the other calls everything stable."""
    if "the earlier one" in question:
        return 200, chat("Edema: worsening" if model == "a" else "Edema: stable", version=model)
    return 200, chat("Edema: present.\nPneumonia: absent.", version=model)


def test_pairs_go_the_whole_way_with_a_small_student(tmp_path):
    """From the folders to the tables: two films are sent, no pair gets a consensus, a real (tiny) student
    answers about both films, and nobody learns from the benchmark or from a further set."""
    root = mimic(tmp_path / "jpg", TREE)
    for number, (subject, study, *_) in enumerate(TREE, start=1):
        picture(place(root, subject, study, number), 30 * number)
    folder = pairs(tmp_path / "t", pair(ADA, "50000002", 2, "50000001", 1, edema_progression="worsening"))
    films = [(f"0000000{n}_000.png", "Edema", 0, n, "PA") for n in range(1, 4)]
    far = trees.nih(tmp_path / "nih", films)
    for n, (name, *_) in enumerate(films):
        picture(far / "images" / name, 200 + n)
    data = SAID | {"set": "mimic-cxr", "root": str(root), "ms_cxr_t": str(folder), "size": 32}
    data |= {"others": {"far": SAID | {"set": "nih", "root": str(far)}}}
    with vendor(teacher_says) as server:
        recipe = Recipe.parse(
            {
                "name": "r",
                "threads": 1,
                "domain": {"name": "chest-xray", "data": data},
                "teachers": [{"name": n, "model": n, "base_url": server.url} for n in "ab"],
                "bootstrap": {
                    "base": "phantom-base",
                    "groups_per_step": 1,
                    "groups_per_forward": 1,
                    "epochs": 1,
                },
                "synthesize": {"synthesizer": "vote"},
                "align": {"groups_per_step": 1, "groups_per_forward": 1, "epochs": 1},
                "evaluate": {"max_new_tokens": 4, "resamples": 100},
            },
            where="test",
        )
        made = pipeline.run(recipe, tmp_path / "runs", until="evaluate")
        shown = {
            body["messages"][0]["content"][-1]["text"]: len(body["messages"][0]["content"]) - 1
            for body in server.requests
        }
    assert sorted(shown.values()) == [1, 2]
    with Streams.open_readonly(made.streams) as streams:
        asked = {answer.case_id for answer in streams.current()}
    name = "mscxrt_progression:50000002:50000001"
    assert name in asked
    synthesized = read_rows(made.groups) + read_rows(made.stage("synthesize") / "rejected.parquet")
    assert name not in {row["case_id"] for row in synthesized}
    facts = {
        verb: json.loads((made.stage(verb) / "manifest.json").read_text())["facts"]
        for verb in ("bootstrap", "align")
    }
    assert (facts["bootstrap"]["groups"], facts["bootstrap"]["answers"]) == (2, 4)  # Bob's, of two teachers
    assert facts["align"]["groups"] == 2
    summary = json.loads((made.stage("evaluate") / "summary.json").read_text())
    assert set(summary["splits"]) == {"test", "far", "mscxrt_presence"}
    assert "always_no" in summary["splits"]["mscxrt_presence"]["baselines"]
    assert "always_no" not in summary["baselines"]
    rows = summary["progression"]["mscxrt_progression"]["rows"]
    assert rows["teacher:a"]["accuracy"]["mean"] == 1.0
    assert rows["teacher:b"]["accuracy"]["mean"] == rows["baseline:always_stable"]["accuracy"]["mean"] == 0.0
    assert rows["student:aligned"]["accuracy"]["mean"] in (0.0, 1.0)
