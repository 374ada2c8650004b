"""Text metrics: by hand, against the packages that define them, and by patient."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftbound.errors import ConfigError, MeasureError
from driftbound.evaluation import meteor, text_metrics
from driftbound.evaluation.cider import cider_d
from driftbound.evaluation.meteor import meteor_nosyn
from driftbound.evaluation.text_metrics import BLEU, METRICS, sampled, text_cases, text_scores
from driftbound.statistics.intervals import Resamples, difference, resample

CORPUS = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "text_metrics.jsonl").read_text().splitlines()
]
SAID = [row["hypothesis"] for row in CORPUS]
WANTED = [row["reference"] for row in CORPUS]
CLUSTERS = [row["cluster"] for row in CORPUS]
LOG2 = math.log(2)


@pytest.fixture(scope="module")
def packages():
    """What the extra ``text`` brings."""
    for name in ("sacrebleu", "rouge_score", "nltk"):
        pytest.importorskip(name)


def draws(clusters, n=200):
    return resample(clusters, rng=np.random.default_rng(0), draws=n)


def means(said, wanted):
    found = text_scores(said, wanted, draws([str(c) for c in range(len(wanted))]))
    return {name: one.mean for name, one in found.estimates.items()}


# ---------------------------------------------------------------- against the packages


def test_corpus_is_what_the_tests_need():
    assert len(CORPUS) == 30
    assert len(set(CLUSTERS)) == 12
    assert len({row["case"] for row in CORPUS}) == 30
    assert SAID.count("") == 1
    assert all(WANTED)


@pytest.mark.parametrize("order", range(1, 5))
def test_bleu_is_sacrebleu_s(packages, order):
    import sacrebleu

    bleu = sacrebleu.BLEU(
        tokenize="none", lowercase=True, smooth_method="none", max_ngram_order=order, force=True
    )
    assert means(SAID, WANTED)[f"bleu_{order}"] == pytest.approx(
        bleu.corpus_score(SAID, [WANTED]).score / 100, abs=1e-6
    )


def test_bleu_of_every_draw_is_sacrebleu_s_of_the_drawn_cases(packages):
    import sacrebleu

    bleu = sacrebleu.BLEU(tokenize="none", lowercase=True, smooth_method="none", force=True)
    resamples = draws(CLUSTERS, 20)
    drawn = sampled(text_cases(SAID, WANTED), resamples)["bleu_4"].drawn[:, 0]
    for weights, found in zip(resamples.weights, drawn, strict=True):
        cases = [c for c, g in enumerate(resamples.index) for _ in range(int(weights[g]))]
        score = bleu.corpus_score([SAID[c] for c in cases], [[WANTED[c] for c in cases]]).score
        assert found == pytest.approx(score / 100, abs=1e-6)


def test_rouge_is_rouge_score_s(packages):
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    cases = text_cases(SAID, WANTED)
    for ours, theirs in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
        expected = [scorer.score(ref, said)[theirs].fmeasure for said, ref in zip(SAID, WANTED, strict=True)]
        np.testing.assert_allclose(cases.scores[ours], expected, atol=1e-6)


def test_meteor_is_nltk_s_where_no_word_has_a_synonym(packages):
    from nltk.translate.meteor_score import single_meteor_score

    class Bare:
        def synsets(self, word):
            return ()

    expected = [
        single_meteor_score(ref.split(), said.split(), wordnet=Bare())
        for said, ref in zip(SAID, WANTED, strict=True)
    ]
    np.testing.assert_allclose(meteor_nosyn(SAID, WANTED), expected, atol=1e-6)
    assert text_cases(SAID, WANTED).scores["meteor_nosyn"].tolist() == meteor_nosyn(SAID, WANTED).tolist()


def test_cider_is_pycocoevalcap_s():
    """Its class lowers no case, so that it is given lower case."""
    cider = pytest.importorskip("pycocoevalcap.cider.cider")
    said = {c: [text.lower()] for c, text in enumerate(SAID)}
    wanted = {c: [text.lower()] for c, text in enumerate(WANTED)}
    mean, scores = cider.Cider().compute_score(wanted, said)
    np.testing.assert_allclose(cider_d(SAID, WANTED), scores, atol=1e-6)
    assert cider_d(SAID, WANTED).mean() == pytest.approx(mean, abs=1e-6)


# ---------------------------------------------------------------- by hand


def test_bleu_by_hand(packages):
    """Case 1 shares 3 of 4 words and 2 of 3 pairs ("a b", "b c"), case 2 one of 2 words and none of 1 pair.

    p_1 = 4 / 6, p_2 = 2 / 4, p_3 = 1 / 2, p_4 = 0 / 1; 6 words against 4 + 4: exp(1 - 8 / 6).
    """
    found = means(["a b c x", "d y"], ["A b C d", "d e f g"])
    penalty = math.exp(-1 / 3)
    assert found["bleu_1"] == pytest.approx(penalty * 4 / 6)
    assert found["bleu_2"] == pytest.approx(penalty * math.sqrt(4 / 6 * 2 / 4))
    assert found["bleu_3"] == pytest.approx(penalty * (4 / 6 * 2 / 4 * 1 / 2) ** (1 / 3))
    assert found["bleu_4"] == 0


def test_bleu_counts_a_repeated_word_as_often_as_the_reference_has_it(packages):
    """One of three "the" is in the reference; 3 words against 2: no penalty."""
    assert means(["the the the"], ["the cat"])["bleu_1"] == pytest.approx(1 / 3)


def test_rouge_by_hand(packages):
    """5 words, of which 4 in a reference of 6: F = 8 / 11; pairs "a b", "c d" of 4 and 5: F = 4 / 9; the
    longest common subsequence is a b c d."""
    found = means(["a b x c d"], ["a b y z c d"])
    assert found["rouge_1"] == pytest.approx(8 / 11)
    assert found["rouge_2"] == pytest.approx(4 / 9)
    assert found["rouge_l"] == pytest.approx(8 / 11)


def test_meteor_by_hand(packages):
    """1: four words in one run: 1 - 0.5 / 64. 2: "nodules" stems to "nodul" as "nodule" does: two matches
    in one run, P = 1, R = 1/2: F = 0.5 / (0.9 + 0.05), less 0.5 * (1/2)^3. 3: two runs of one word each:
    1 - 0.5. 4: nothing matches."""
    found = meteor_nosyn(
        ["a b c d", "small nodules", "b a", "x"], ["A b c d", "small nodule to follow", "a b", "y"]
    )
    expected = [1 - 0.5 / 64, (1 - 0.5 / 8) * 0.5 / 0.95, 0.5, 0]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_synonym_is_no_match(packages):
    assert meteor_nosyn(["heart"], ["pump"]).tolist() == [0]


def test_cider_by_hand():
    """Two references without a common word: every sequence of theirs, and of nobody, weighs ln 2 each time.

    1: own words and pair: cosine 1 twice, of four lengths: 10 * 2 / 4. 2: words (a 2, clipped at 1): 1 / (2
    sqrt 2), no pair: 10 / 4 * 0.3536.
    """
    np.testing.assert_allclose(
        cider_d(["a b", "c c"], ["a b", "c d"]), [5, 10 / 4 / (2 * math.sqrt(2))], atol=1e-12
    )


def test_cider_damps_another_length():
    """Six words too many: exp(-36 / 72). Words: a 1, b 1, e 6: 2 / sqrt(2 * 38); pairs: "a b" of seven with
    "e e" five times: 1 / sqrt(27)."""
    found = cider_d(["a b e e e e e e", "c d"], ["a b", "c d"])
    expected = 10 / 4 * (2 / math.sqrt(76) + 1 / math.sqrt(27)) * math.exp(-0.5)
    np.testing.assert_allclose(found, [expected, 5], atol=1e-12)


def test_cider_weighs_by_rarity():
    """Of three references two have "a" (weight ln 1.5), one "b" (ln 3); case 1 says "a" of "a b"."""
    rare, common = math.log(3), math.log(1.5)
    found = cider_d(["a", "", "c"], ["a b", "a", "c"])
    damped = math.exp(-1 / 72)
    expected = 10 / 4 * common**2 / (common * math.hypot(common, rare)) * damped
    np.testing.assert_allclose(found, [expected, 0, 10 / 4], atol=1e-12)


def test_what_all_references_share_tells_nothing():
    assert cider_d(["a", "a"], ["a", "a"]).tolist() == [0, 0]


TEXTS = st.lists(st.sampled_from("abcde"), min_size=4, max_size=12).map(" ".join)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=2, max_size=5))
def test_cider_stays_in_its_bounds_and_needs_no_order(pairs):
    said, wanted = zip(*pairs, strict=True)
    found = cider_d(said, wanted)
    assert (found >= 0).all()
    assert (found <= 10 + 1e-9).all()
    np.testing.assert_allclose(cider_d(said[::-1], wanted[::-1]), found[::-1], atol=1e-9)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_all_but_cider_stay_between_0_and_1_and_reach_1_on_the_reference(packages, pairs):
    said, wanted = zip(*pairs, strict=True)
    found, perfect = means(said, wanted), means(wanted, wanted)
    for name in METRICS[:-1]:
        assert 0 <= found[name] <= 1 + 1e-9
        assert perfect[name] == pytest.approx(1, abs=0.01)  # METEOR: 1 - 0.5 / words^3


# ---------------------------------------------------------------- what is empty


def test_an_empty_text_scores_0_and_is_told(packages):
    """BLEU-1: 4 of 4 words match, 4 against 8: exp(1 - 2)."""
    found = text_scores(["a b c d", "  "], ["a b c d", "e f g h"], draws(["p", "q"]))
    assert found.estimates["bleu_1"].mean == pytest.approx(math.exp(-1))
    assert found.estimates["rouge_l"].mean == 0.5
    assert found.estimates["meteor_nosyn"].mean == pytest.approx((1 - 0.5 / 64) / 2)
    assert found.estimates["cider_d"].mean == pytest.approx(5)
    assert found.notes == ("1 of 2 texts are empty: they score 0",)
    assert found.scored == 2


def test_a_case_without_reference_is_left_out_and_told(packages):
    """The scores are those of the other cases alone, the weights of CIDEr-D among them."""
    with_it = text_scores(["a b c", "x", "d"], ["a b", "\n", "d e"], draws(["p", "p", "q"]))
    without = text_scores(["a b c", "d"], ["a b", "d e"], draws(["p", "q"]))
    assert with_it.estimates == without.estimates
    assert (with_it.scored, without.scored) == (2, 2)
    assert with_it.notes == ("1 of 3 references are empty: left out",)


def test_rouge_leaves_out_what_it_cannot_read(packages):
    """Of the first case it would say 0, though text and reference are equal."""
    found = text_scores(["胸水 なし", "clear"], ["胸水 なし", "clear"], draws(["p", "q"]))
    assert found.estimates["rouge_1"].mean == 1
    assert found.estimates["bleu_1"].mean == 1
    assert found.notes == ("1 of 2 references have no Latin letter or digit: left out of ROUGE",)


def test_nothing_can_be_said_of_nothing(packages):
    for said, wanted in (([], []), (["a"], [""])):
        found = text_scores(said, wanted, draws(["p"] * len(said)))
        assert all(math.isnan(one.mean) for one in found.estimates.values())
        assert found.scored == 0


def test_only_empty_texts_score_0(packages):
    found = text_scores(["", ""], ["a", "b"], draws(["p", "q"]))
    assert {one.mean for one in found.estimates.values()} == {0}


def test_of_a_single_case_cider_says_nothing(packages):
    found = text_scores(["a"], ["a"], draws(["p"]))
    assert math.isnan(found.estimates["cider_d"].mean)
    assert found.estimates["bleu_1"].mean == 1


def test_numbers_of_texts_must_fit(packages):
    with pytest.raises(MeasureError, match="1 texts and 2 references"):
        text_cases(["a"], ["a", "b"])
    with pytest.raises(MeasureError, match="2 references and 1 clusters"):
        text_scores(["a", "b"], ["a", "b"], draws(["p"]))


# ---------------------------------------------------------------- patients


def test_table_names_every_metric_and_its_implementation(packages):
    found = text_scores(SAID, WANTED, draws(CLUSTERS))
    assert tuple(found.estimates) == METRICS
    assert set(found.implementations) == set(METRICS)
    assert found.implementations["bleu_4"].startswith("sacrebleu ")
    assert found.clusters == 12
    assert all(one.low < one.mean < one.high for one in found.estimates.values())


def test_patients_are_resampled_not_cases(packages):
    """By hand: two draws, one takes patient p twice (words 2 of 2, then 2 of 4), the other q (0 of 1)."""
    both = Resamples(np.array([0, 0, 1]), np.array([[2.0, 0.0], [0.0, 2.0]]), 2)
    found = sampled(text_cases(["a b", "c d x y", "z"], ["a b", "c d f g", "h"]), both)
    assert found["bleu_1"].drawn[:, 0].tolist() == pytest.approx([4 / 6, 0])
    assert found["bleu_1"].point[0] == pytest.approx(4 / 7)
    assert found["rouge_1"].drawn[:, 0].tolist() == pytest.approx([0.75, 0])


def test_a_draw_without_reference_has_no_score(packages):
    both = Resamples(np.array([0, 1]), np.array([[0.0, 2.0], [1.0, 1.0]]), 2)
    found = sampled(text_cases(["a", "b"], ["a", ""]), both)
    for name in (*BLEU[:1], "rouge_1"):
        assert np.isnan(found[name].drawn[0, 0])
        assert found[name].drawn[1, 0] == 1


def test_two_writers_of_the_same_cases_are_compared_in_pairs(packages):
    """Each text of the second is the first's: no difference in any draw."""
    resamples = draws(CLUSTERS)
    one, other = (sampled(text_cases(SAID, WANTED), resamples) for _ in range(2))
    apart = difference(one["bleu_4"], other["bleu_4"])
    assert (apart.mean, apart.low, apart.high) == (0, 0, 0)


# ---------------------------------------------------------------- the extra


@pytest.mark.parametrize(
    ("module", "name"),
    [("sacrebleu", "sacrebleu"), ("rouge_score", "rouge-score"), ("nltk", "nltk")],
)
def test_a_missing_package_is_named_with_its_extra(packages, monkeypatch, module, name):
    real = text_metrics.import_module

    def without(wanted):
        if wanted.split(".")[0] == module:
            raise ImportError(wanted)
        return real(wanted)

    for home in (text_metrics, meteor):
        monkeypatch.setattr(home, "import_module", without)
    with pytest.raises(ConfigError, match=rf"package {name}: pip install 'driftbound\[text\]'"):
        text_cases(["a"], ["a"])


def test_importing_loads_no_package():
    probe = "import sys, driftbound.evaluation.text_metrics; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("'sacrebleu'", "'rouge_score'", "'nltk'") if name in loaded]
