"""CXR-MAX in every shape that its rows may have, what is told of a case, and files that do not map."""

import json
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftbound.domains.chest_xray.cxr_max import Answers, read_cxr_max
from driftbound.domains.chest_xray.study import NEGATIVE, POSITIVE, UNCERTAIN
from driftbound.errors import CaseError, ConfigError, StoreError

DICOM = "00000000-11111111-22222222-33333333-44444444"
IMAGE = f"files/p10/p10000001/s50000001/{DICOM}.jpg"
SAID = {
    "gpt-5-nano": "Small left effusion.",
    "qwen-vl-max": "Effusion on the left.",
    "moonshot-v1": "I cannot read films.",
}


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def array(path, *rows):
    path.write_text(json.dumps(rows))
    return path


def parquet(path, *rows):
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


WIDE = [{"id": "a", "image": IMAGE, "report": "Findings: effusion.", "split": "train", **SAID}]
LONG = [
    {"id": "a", "image": IMAGE, "report": "Findings: effusion.", "teacher": t, "text": x}
    for t, x in SAID.items()
]
TABLE = [{"id": "a", "image": IMAGE, "report": "Findings: effusion.", "answers": SAID}]
LISTED = [
    {
        "id": "a",
        "image": IMAGE,
        "report": "Findings: effusion.",
        "responses": [{"model": t, "response": x} for t, x in SAID.items()],
    }
]


@pytest.mark.parametrize("write", [lines, array, parquet])
@pytest.mark.parametrize("rows", [WIDE, LONG, TABLE, LISTED], ids=["wide", "long", "table", "listed"])
def test_every_shape_tells_the_same(tmp_path, write, rows):
    """Ids of subject, study and film are MIMIC's, read off the path."""
    assert read_cxr_max(write(tmp_path / "rows", *rows)) == [
        Answers(
            case_id="a",
            subject="10000001",
            study="50000001",
            dicom=DICOM,
            image=IMAGE,
            report="Findings: effusion.",
            answers=SAID,
        )
    ]


def chat(said, asked="<image>What do you see?"):
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]


def test_rows_for_supervised_training(tmp_path):
    path = array(tmp_path / "sft.json", {"messages": chat("A left effusion."), "images": [IMAGE]})
    (case,) = read_cxr_max(path)
    assert (case.case_id, case.prompt) == (DICOM, "What do you see?")
    assert case.answers == {"assistant": "A left effusion."}


def test_chats_whose_rows_name_the_teacher(tmp_path):
    rows = [{"messages": chat(text), "images": [IMAGE], "teacher": name} for name, text in SAID.items()]
    (case,) = read_cxr_max(lines(tmp_path / "rows.jsonl", *rows))
    assert case.answers == SAID


def test_preferences_with_one_rejected_text_a_row(tmp_path):
    """What was chosen is repeated in each row: one answer. Rejected ones have no names: numbered."""
    rows = [
        {"messages": chat("Left."), "images": [IMAGE], "rejected_response": "Right."},
        {"messages": chat("Left."), "images": [IMAGE], "rejected_response": "Neither."},
        {"messages": chat("Left."), "images": [IMAGE], "rejected_messages": chat("Both.")},
    ]
    (case,) = read_cxr_max(lines(tmp_path / "dpo.jsonl", *rows[:2]))
    assert case.answers == {"chosen": "Left.", "rejected": "Right.", "rejected 2": "Neither."}
    (case,) = read_cxr_max(lines(tmp_path / "other.jsonl", rows[2]))
    assert case.answers == {"chosen": "Left.", "rejected": "Both."}


def test_preferences_with_several_rejected_texts_in_a_row(tmp_path):
    row = {"id": 7, "conversations": [{"from": "human", "value": "See?"}, {"from": "gpt", "value": "Yes."}]}
    (case,) = read_cxr_max(array(tmp_path / "dpo.json", row | {"rejected_response": ["No.", "Perhaps."]}))
    assert (case.case_id, case.prompt) == ("7", "See?")
    assert case.answers == {"chosen": "Yes.", "rejected": "No.", "rejected 2": "Perhaps."}


def test_a_given_mapping_wins(tmp_path):
    """`text` and `teacher` are there and mean something else."""
    row = {
        "case": "c",
        "who": "one",
        "said": {"final": "Clear."},
        "teacher": "Dr X",
        "text": "Refer.",
        "gpt": "no",
    }
    path = lines(tmp_path / "rows.jsonl", row)
    columns = {"case_id": "case", "teacher": "who", "text": "said.final"}
    assert read_cxr_max(path, columns=columns)[0].answers == {"one": "Clear."}
    columns = {"case_id": "case", "answers.student": "said.final", "answers.tutor": "text"}
    assert read_cxr_max(path, columns=columns)[0].answers == {"student": "Clear.", "tutor": "Refer."}


def test_a_given_mapping_wins_over_a_plainer_shape(tmp_path):
    row = {"id": "a", "answers": {"gpt": "No."}, "teacher": "x", "text": "Yes.", "gpt_reference": "Seen."}
    path = lines(tmp_path / "rows.jsonl", row)
    assert read_cxr_max(path)[0].answers == {"gpt": "No."}
    assert read_cxr_max(path, columns={"text": "text"})[0].answers == {"x": "Yes."}
    columns = {"answers": "", "text": "", "report": "gpt_reference"}
    with pytest.raises(CaseError, match="no answers of teachers"):
        read_cxr_max(path, columns=columns)
    row = {"id": "a", "glm": "Clear.", "gpt_reference": "Seen."}
    (case,) = read_cxr_max(lines(path, row), columns={"report": "gpt_reference"})
    assert (case.answers, case.report) == ({"glm": "Clear."}, "Seen.")


def test_a_column_wins_over_the_path(tmp_path):
    path = lines(tmp_path / "rows.jsonl", {"subject_id": "p", "image": IMAGE, "gpt": "Clear."})
    (case,) = read_cxr_max(path)
    assert (case.subject, case.study) == ("p", "50000001")


def test_an_empty_name_says_that_the_file_has_none(tmp_path):
    path = lines(
        tmp_path / "rows.jsonl", {"id": "a", "gpt": "Clear.", "report": "of another film", "prompt": "?"}
    )
    (case,) = read_cxr_max(path, columns={"report": ""})
    assert (case.report, case.prompt) == ("", "?")


def test_a_teacher_that_begins_late_is_read_too(tmp_path):
    """Columns are looked up in the first hundred rows: later rows are looked at again."""
    rows = [{"id": n, "gpt": "a"} for n in range(150)] + [{"id": 150, "gpt": "a", "gemini": "b", "Edema": 1}]
    cases = read_cxr_max(lines(tmp_path / "rows.jsonl", *rows))
    assert cases[150].answers == {"gpt": "a", "gemini": "b"}
    assert cases[150].labels == {"Edema": POSITIVE}


def test_columns_about_an_answer_are_no_teachers(tmp_path):
    row = {
        "id": "a",
        "gpt_response": "Clear.",
        "gpt_tokens": 17,
        "gpt_finish_reason": "stop",
        "gpt_version": "x",
    }
    assert read_cxr_max(lines(tmp_path / "rows.jsonl", row))[0].answers == {"gpt_response": "Clear."}


NUMBERS = {"Edema": 1.0, "Pneumonia": 0, "pleural_effusion": -1, "Fracture": None}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (NUMBERS, {"Edema": POSITIVE, "Pneumonia": NEGATIVE, "Pleural Effusion": UNCERTAIN}),
        (["Edema", "Airspace Opacity"], {"Edema": POSITIVE, "Lung Opacity": POSITIVE}),
        ("Edema, Lung Lesion", {"Edema": POSITIVE, "Lung Lesion": POSITIVE}),
        ('{"Edema": "0.0", "Support Devices": true}', {"Edema": NEGATIVE, "Support Devices": POSITIVE}),
        (None, {}),
    ],
    ids=["table", "list", "text", "json", "none"],
)
def test_labels_in_every_form(tmp_path, labels, expected):
    path = lines(tmp_path / "rows.jsonl", {"id": "a", "gpt": "Clear.", "labels": labels})
    assert read_cxr_max(path)[0].labels == expected


def test_labels_in_columns_of_their_own(tmp_path):
    row = {"id": "a", "gpt": "Clear.", "Edema": 1.0, "Pneumothorax": float("nan"), "no_finding": 0.0}
    (case,) = read_cxr_max(parquet(tmp_path / "rows.parquet", row))
    assert case.labels == {"Edema": POSITIVE, "No Finding": NEGATIVE}


def test_words_that_are_no_finding_are_noted(tmp_path):
    path = lines(tmp_path / "rows.jsonl", {"id": "a", "gpt": "Clear.", "labels": ["Edema", "Gout"]})
    assert read_cxr_max(path)[0].notes == ("1 unknown label words: Gout",)


def test_an_empty_text_is_an_answer_and_a_missing_one_is_none(tmp_path):
    rows = [{"id": "a", "gpt": "", "glm": None}, {"id": "b", "gpt": None, "glm": None}]
    first, second = read_cxr_max(lines(tmp_path / "rows.jsonl", *rows))
    assert (first.answers, first.notes) == ({"gpt": ""}, ())
    assert (second.answers, second.notes) == ({}, ("no answer",))


def test_rows_of_a_case_that_differ_are_noted(tmp_path):
    rows = [
        {"id": "a", "teacher": "x", "text": "1", "report": "r"},
        {"id": "a", "teacher": "y", "text": "2", "report": "q"},
    ]
    (case,) = read_cxr_max(lines(tmp_path / "rows.jsonl", *rows))
    assert case.report == "r"
    assert case.notes == ("rows differ in report: the first counts",)


def test_numbers_with_gaps_are_ids(tmp_path):
    """A column of whole numbers with gaps comes as floats."""
    rows = [
        {"subject_id": 10000001.0, "dicom_id": "d", "gpt": "x"},
        {"subject_id": None, "dicom_id": "e", "gpt": "y"},
    ]
    first, second = read_cxr_max(parquet(tmp_path / "rows.parquet", *rows))
    assert (first.subject, second.subject, second.case_id) == ("10000001", "", "e")


def test_images_of_a_hub_table_are_named_by_their_paths(tmp_path):
    row = {"image": {"bytes": b"\x00" * 100, "path": IMAGE}, "glm": "Clear."}
    assert read_cxr_max(parquet(tmp_path / "rows.parquet", row))[0].image == IMAGE


@pytest.mark.parametrize(
    "rows", [LONG[:2] + LONG[:1], [WIDE[0], WIDE[0]], [{"id": "a", "messages": chat("x")}] * 2]
)
def test_a_teacher_twice_names_both_rows(tmp_path, rows):
    path = lines(tmp_path / "rows.jsonl", *rows)
    with pytest.raises(
        CaseError, match=rf"line {len(rows)}: case 'a' has an answer of .* already \(line 1\)"
    ) as caught:
        read_cxr_max(path)
    assert "\n" not in str(caught.value)


def test_nothing_maps(tmp_path):
    path = lines(tmp_path / "rows.jsonl", {"id": "a", "film": "x.png", "essay": "Clear."})
    with pytest.raises(CaseError, match="no answers of teachers") as caught:
        read_cxr_max(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    for part in (
        "id, film, essay",
        "teacher, teacher_name",
        "messages",
        "columns: {teacher: COLUMN, text: COLUMN}",
        "answers.NAME: COLUMN",
    ):
        assert part in said
    assert "\n" not in said


def test_no_column_names_the_case(tmp_path):
    path = lines(tmp_path / "rows.jsonl", {"gpt": "Clear."})
    with pytest.raises(
        CaseError, match=r"no column that names the case\. Its columns: gpt\. .*case_id: COLUMN"
    ):
        read_cxr_max(path)


def test_a_row_that_names_no_case(tmp_path):
    path = lines(tmp_path / "rows.jsonl", {"id": "a", "gpt": "x"}, {"id": None, "gpt": "y"})
    with pytest.raises(CaseError, match="line 2: names no case"):
        read_cxr_max(path)


def test_a_mapping_that_makes_no_sense(tmp_path):
    path = lines(tmp_path / "rows.jsonl", {"id": "a", "gpt": "x"})
    with pytest.raises(ConfigError, match="no 'tecaher' is read of CXR-MAX; did you mean 'teacher'"):
        read_cxr_max(path, columns={"tecaher": "gpt"})
    with pytest.raises(CaseError, match=r"no column 'who'\. Its columns: id, gpt\. Correct 'teacher'"):
        read_cxr_max(path, columns={"teacher": "who"})


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "a", "gpt": 3}, "the answer of 'gpt' is of type int, not text"),
        ({"id": "a", "gpt": "x", "labels": {"Edema": 2}}, "label 'Edema' is '2', none of 1, 0, -1"),
        ({"id": "a", "gpt": "x", "labels": 3}, "the labels are of type int"),
        ({"id": "a", "gpt": "x", "labels": "[3"}, "the labels are no JSON"),
        ({"id": True, "gpt": "x"}, "case_id is of type bool"),
        ({"id": "a", "teacher": None, "text": "x"}, "an answer without its teacher"),
        ({"id": "a", "messages": "Clear."}, "the chat is of type str, not a list of turns"),
        ({"id": "a", "messages": [{"role": "user", "content": "?"}]}, "no turn of the chat is of assistant"),
        ({"id": "a", "answers": ["Clear."]}, "the answers are of type list, not a table of teachers"),
    ],
)
def test_values_that_make_no_sense_name_their_row(tmp_path, row, said):
    path = lines(tmp_path / "rows.jsonl", row)
    with pytest.raises(CaseError, match=said) as caught:
        read_cxr_max(path)
    assert str(caught.value).startswith(f"{path}, line 1: ")


def test_broken_json_names_the_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a", "gpt": "x"}\n{"id": "b", "gpt"\n')
    with pytest.raises(StoreError, match=r"line 2: is no JSON .* Correct the line"):
        read_cxr_max(path)


IDS = st.text("abcdef0123456789", min_size=1, max_size=6)
TEXTS = st.dictionaries(
    st.sampled_from(["gpt-5-nano", "qwen-vl-max", "glm-4.5v", "sonnet-4"]), st.text(max_size=40), min_size=1
)


@given(st.dictionaries(IDS, TEXTS, max_size=5).filter(bool))
@settings(max_examples=60, deadline=None)
def test_long_and_wide_rows_of_any_texts_tell_the_same(tmp_path_factory, cases):
    folder = tmp_path_factory.mktemp("rows")
    wide = lines(folder / "wide.jsonl", *({"id": name, **said} for name, said in cases.items()))
    long = lines(
        folder / "long.jsonl",
        *({"id": name, "teacher": t, "text": x} for name, said in cases.items() for t, x in said.items()),
    )
    told = {each.case_id: dict(each.answers) for each in read_cxr_max(wide)}
    assert told == cases
    assert {each.case_id: dict(each.answers) for each in read_cxr_max(long)} == cases


def test_seventy_thousand_answers_take_seconds(tmp_path):
    names = [f"gpt-{n}" for n in range(7)]
    path = lines(
        tmp_path / "rows.jsonl",
        *({"id": n, **dict.fromkeys(names, "Clear lungs. " * 20)} for n in range(10_000)),
    )
    start = time.perf_counter()
    cases = read_cxr_max(path)
    assert time.perf_counter() - start < 5
    assert len(cases) == 10_000
    assert {len(case.answers) for case in cases} == {7}
