"""Sensitivity travels: from cases, recordings and checkpoints into students, exports and the report."""

import json
import shutil

import pytest
from test_multistream import call, checkpoint, make, rows  # noqa: F401
from test_trackers import small
from test_training_stages import make_context

from driftbound import pipeline
from driftbound.errors import DataUseError, StoreError
from driftbound.exporting import export
from driftbound.phantom_base import resolve_base
from driftbound.stages.gather import beside_student, sensitivity_of
from driftbound.store.exchange import note_import, sensitivity_beside, write_beside
from driftbound.store.folder import VERBS
from driftbound.store.manifest import Manifest
from driftbound.store.sensitivity import MARK, mark_text, marked, of_run

STAGES = list(VERBS)
FROM_BOOTSTRAP = STAGES[2:]


@pytest.fixture
def secret(tmp_path):
    """A checkpoint folder that says that it is credentialed."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / MARK).write_text(mark_text("credentialed"))
    return folder


def sensitive(context):
    return [verb for verb in VERBS if sensitivity_of(context, verb) == "credentialed"]


def changed(context, **changes):
    return type(context)(context.recipe.model_copy(update=changes), context.folder, context.domain)


def test_nothing_is_sensitive_where_nothing_is(tmp_path):
    assert sensitive(make_context(tmp_path)) == []


def test_imported_answers_count_from_the_start(tmp_path):
    context = make_context(tmp_path)
    note_import(context.folder.stage("collect"), {"sensitivity": "credentialed"})
    assert sensitive(context) == STAGES


def test_a_sensitive_base_counts_from_bootstrap_on(tmp_path, secret):
    context = make_context(tmp_path)
    bootstrap = context.recipe.bootstrap.model_copy(update={"base": str(secret)})
    assert sensitive(changed(context, bootstrap=bootstrap)) == FROM_BOOTSTRAP
    (secret / MARK).write_text("{")
    with pytest.raises(StoreError, match=r"driftbound\.json: cannot be read"):
        sensitive(changed(context, bootstrap=bootstrap))


def test_local_teachers_and_recordings_count_from_the_start(tmp_path, secret):
    context = make_context(tmp_path)
    teacher = context.recipe.teachers[0]
    local = teacher.model_copy(update={"kind": "local", "model": str(secret)})
    assert sensitive(changed(context, teachers=(local,))) == STAGES
    path = tmp_path / "said.jsonl"
    path.write_text("")
    recorded = teacher.model_copy(update={"kind": "recorded", "path": str(path)})
    assert sensitive(changed(context, teachers=(recorded,))) == []
    write_beside(path, Manifest(stage="export", config={}, inputs={}, seed=0, sensitivity="credentialed"))
    assert sensitive(changed(context, teachers=(recorded,))) == STAGES
    over_http = teacher.model_copy(update={"model": str(secret)})  # a name at an endpoint, no folder here
    assert sensitive(changed(context, teachers=(over_http,))) == []


def test_a_students_folder_does_not_depend_on_how_it_was_made(tmp_path):
    """What redoes nothing must not change a byte of what later stages hash."""
    context = make_context(tmp_path)
    before = beside_student(context, "align", context.recipe.align)
    how = context.recipe.align.model_copy(update={"save_steps": 50, "report_to": ("wandb",)})
    assert beside_student(context, "align", how) == before
    assert before[MARK] == '{"sensitivity": "public"}\n'
    assert "Sensitivity: public" in before["README.md"]


def test_a_run_on_a_sensitive_base_says_so_to_the_end(tmp_path):
    """A whole run on public cases, from a student of somebody's credentialed run."""
    base = tmp_path / "base"
    shutil.copytree(resolve_base("phantom-base"), base)
    (base / MARK).write_text(mark_text("credentialed"))
    recipe = small()
    bootstrap = recipe.bootstrap.model_copy(update={"base": str(base)})
    folder = pipeline.run(recipe.model_copy(update={"bootstrap": bootstrap}), tmp_path / "runs")
    said = {verb: Manifest.read(folder.stage(verb)).sensitivity for verb in VERBS}
    assert said == dict.fromkeys(STAGES[:2], "public") | dict.fromkeys(FROM_BOOTSTRAP, "credentialed")
    for verb in ("bootstrap", "align"):
        assert marked(folder.student(verb)) == "credentialed"
        card = (folder.student(verb) / "README.md").read_text()
        assert "**Sensitivity: credentialed.**" in card
        assert str(tmp_path) not in card
    assert of_run(folder) == "credentialed"
    page = (folder.stage("report") / "report.html").read_text()
    assert "Contains credentialed data" in page
    assert json.loads((folder.stage("report") / "report.json").read_text())["sensitivity"] == "credentialed"
    export(folder.root, "trl", tmp_path / "rows.jsonl")
    assert sensitivity_beside(tmp_path / "rows.jsonl") == "credentialed"


def test_align_from_sensitive_rows_leaves_a_student_that_says_so(checkpoint, tmp_path):  # noqa: F811
    """The manifest beside the rows says it, as an export leaves it."""
    path = tmp_path / "rows.jsonl"
    given = {"prompt": "What is seen here?", "chosen": "No effusion.", "rejected": ["Edema."], "images": []}
    path.write_text(json.dumps(given) + "\n")
    words = ("align", "--groups", path, "--base", checkpoint)
    assert call(*words, "--out", tmp_path / "a").exit_code == 0
    assert marked(tmp_path / "a") == "public"
    write_beside(path, Manifest(stage="export", config={}, inputs={}, seed=0, sensitivity="credentialed"))
    assert call(*words, "--out", tmp_path / "b").exit_code == 0
    assert marked(tmp_path / "b") == "credentialed"
    assert "**Sensitivity: credentialed.**" in (tmp_path / "b" / "README.md").read_text()


def test_a_trainer_goes_by_its_base_and_uploads_nothing_sensitive(checkpoint, tmp_path):  # noqa: F811
    base = tmp_path / "base"
    shutil.copytree(checkpoint, base)
    (base / MARK).write_text(mark_text("credentialed"))
    with pytest.raises(DataUseError, match=r"a trainer does not upload.*Nothing was sent"):
        make(base, tmp_path / "a", rows(1), push_to_hub=True, hub_model_id="me/it", hub_token="x")
    trainer = make(base, tmp_path / "b", rows(1))
    assert trainer.sensitivity == "credentialed"
    with pytest.raises(DataUseError, match="driftbound push uploads it"):
        trainer.push_to_hub()
    trainer.save_model()
    assert marked(tmp_path / "b") == "credentialed"
