"""Command line: what is wrong is one line and exit code 2; what is right says where to look."""

import errno
import json
import subprocess
import sys
import textwrap

import pytest
from typer.testing import CliRunner

from driftbound import __version__, doctor, measure_command
from driftbound.cli import app
from driftbound.recipe_files import SHIPPED
from driftbound.store.folder import VERBS
from driftbound.store.tables import write_cases

TINY = "name: tiny\nteachers: [{name: a, model: a}, {name: b, model: b}]\n"


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def complaint(result):
    """The one line on standard error of a call that the user can put right."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("driftbound: ")
    return lines[0]


def test_version():
    result = call("--version")
    assert (result.exit_code, result.output) == (0, f"driftbound {__version__}\n")


def test_help_names_every_command_within_80_columns():
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert all(f" {verb} " in result.output for verb in (*VERBS, "run", "demo", "doctor", "ask", "show"))
    assert max(map(len, result.output.splitlines())) <= 80


# ---- the whole method -------------------------------------------------------------------------


def test_run_says_where_the_report_is(world, tiny):
    result = call("run", tiny, "--runs", world.runs)
    assert result.exit_code == 0
    assert result.stdout == f"{world.folder.stage('report') / 'report.html'}\n"
    assert world.calls == ["cases", *VERBS]


def test_options_reach_the_pipeline(world, tiny):
    call("run", tiny, "--runs", world.runs, "--only", "collect")
    assert world.calls == ["cases", "collect"]
    call("run", tiny, "--runs", world.runs, "--from", "collect")
    assert world.calls == ["cases", "collect", *VERBS]
    call("run", tiny, "--runs", world.runs, "--name", "second", "--only", "collect")
    assert (world.runs / "second" / "1-collect" / "manifest.json").exists()
    world.calls.clear()
    call("run", tiny, "--runs", world.runs, "--force")
    assert world.calls == ["cases", *VERBS]


@pytest.fixture
def no_tables(monkeypatch):
    """The stages of ``world`` measure nothing that could be shown."""
    monkeypatch.setattr(measure_command, "_tell", lambda folder, as_json: print(folder))


@pytest.mark.usefixtures("no_tables")
def test_one_verb_per_stage(world, tiny):
    for verb in VERBS:
        world.calls.clear()
        result = call(verb, tiny, "--runs", world.runs)
        assert result.stdout == f"{world.folder.stage(verb)}\n"
        assert world.calls == ["cases"] * (verb == "collect") + [verb]


@pytest.mark.parametrize("name", ["demo", "short"])
def test_demo_runs_the_shipped_recipe_and_shows_the_table(world, monkeypatch, name):
    world.folder = type(world.folder)(world.runs / name)
    evaluate = world.module("evaluate")
    folder = world.folder.stage("evaluate")
    modules = {"evaluate": lambda context: (folder / "summary.json").write_text(json.dumps(SUMMARY))}

    def module(verb):
        made = world.module(verb)
        if verb in modules:
            made.run = lambda context: evaluate.run(context) | {"bytes": modules[verb](context)}
        return made

    monkeypatch.setattr("driftbound.pipeline.stage_module", module)
    words = ["demo", "--short"] if name == "short" else ["demo"]
    result = call(*words, "--runs", world.runs)
    assert result.exit_code == 0, result.output
    assert "0.612" in result.stdout
    assert result.stdout.splitlines()[-2:] == [
        f"Report: {world.folder.stage('report') / 'report.html'}",
        f"Every case in a browser: driftbound view {world.folder.root}",
    ]


# ---- what is wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (TINY + "algin: {}\n", "unknown key 'algin'; did you mean 'align'?"),
        (TINY + "align: {bata: 1}\n", "unknown key 'bata' in 'align'; did you mean 'beta'?"),
        (TINY + "align: {beta: [}\n", "not valid YAML"),
        ("", "a recipe is a table of keys"),
        (None, "cannot be read"),
        (TINY + "domain: {name: phantim}\n", "no domain 'phantim' is installed; did you mean 'phantom'?"),
    ],
    ids=["unknown table", "unknown key", "broken YAML", "empty", "missing", "unknown domain"],
)
@pytest.mark.parametrize("verb", ["run", "collect"])
def test_bad_recipe(tmp_path, verb, content, said):
    path = tmp_path / "bad.yaml"
    if content is not None:
        path.write_text(content)
    assert said in complaint(call(verb, path, "--runs", tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("option", ["--from", "--only"])
def test_unknown_stage(world, tiny, option):
    said = complaint(call("run", tiny, "--runs", world.runs, option, "sythesize"))
    assert f"{option}: no stage is called 'sythesize'; did you mean 'synthesize'?" in said


def test_run_directory_of_another_recipe(world, tiny):
    call("run", tiny, "--runs", world.runs, "--only", "collect")
    tiny.write_text(TINY + "collect: {temperature: 0.5}\n")
    said = complaint(call("collect", tiny, "--runs", world.runs))
    assert "made by another recipe (collect.temperature: 1.0 there, 0.5 here)" in said


def test_runs_folder_below_a_file(world, tiny):
    said = complaint(call("run", tiny, "--runs", tiny / "runs"))
    assert "Not a directory" in said


@pytest.mark.parametrize("how", ["no rows", "no bytes", "removed"])
def test_empty_case_file(world, tiny, how):
    call("run", tiny, "--runs", world.runs, "--only", "collect")
    if how == "no rows":
        write_cases(world.folder.cases, [])
    elif how == "no bytes":
        world.folder.cases.write_bytes(b"")
    else:
        world.folder.cases.unlink()
    assert str(world.folder.cases) in complaint(call("run", tiny, "--runs", world.runs))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS], ids=errno.errorcode.get)
def test_full_or_unwritable_disk(world, tiny, code):
    call("run", tiny, "--runs", world.runs, "--only", "collect")
    world.fails["measure"] = OSError(code, "as if it were so", "claims.parquet")
    result = call("run", tiny, "--runs", world.runs)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert "as if it were so (claims.parquet)" in result.stderr.splitlines()[-1]
    assert (world.folder.stage("collect") / "out.txt").exists()


def test_disk_trouble_outside_of_the_pipeline(monkeypatch, tiny):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(doctor, "examine", full)
    assert "No space left on device" in complaint(call("doctor"))


def test_interruption(world, tiny):
    world.fails["bootstrap"] = KeyboardInterrupt()
    result = call("run", tiny, "--runs", world.runs)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "stopped; run the same command to go on"
    assert "Traceback" not in result.output


def test_a_fault_of_ours_keeps_its_traceback(world, tiny):
    world.fails["bootstrap"] = ZeroDivisionError("a bug")
    result = call("run", tiny, "--runs", world.runs)
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize(
    "words", [["dmeo"], ["run"], ["run", "x.yaml", "--nmae", "y"], ["ask", "phantom-base"]]
)
def test_wrong_usage(words):
    result = call(*words)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


# ---- looking ----------------------------------------------------------------------------------


def estimate(mean):
    return {"mean": mean, "low": mean - 0.03, "high": mean + 0.04}


def scores(balanced, accuracy):
    return {
        "balanced_accuracy": estimate(balanced),
        "accuracy": estimate(accuracy),
        "per_finding": {},
        "parsable": 0.97,
    }


SUMMARY = {
    "n_cases": 12,
    "n_clusters": 9,
    "seed": 0,
    "students": {
        "base": scores(0.5, 0.77),
        "bootstrapped": scores(0.58, 0.7),
        "aligned": scores(0.612, 0.71),
    },
    "teachers": {"grok-4": scores(0.7, 0.72)},
    "consensus": scores(0.73, 0.63),
    "baselines": {"always_prior": scores(0.5, 0.77), "majority": scores(0.74, 0.64)},
    "comparisons": {"aligned_minus_bootstrapped": {"balanced_accuracy": estimate(0.032)}},
}


@pytest.fixture
def evaluated(tmp_path):
    folder = tmp_path / "demo" / "6-evaluate"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    return tmp_path / "demo"


def test_show_fits_80_columns_and_holds_the_numbers(evaluated):
    result = CliRunner().invoke(app, ["show", str(evaluated)], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    rows = [line for line in result.stdout.splitlines() if "aligned student" in line]
    assert len(rows) == 1
    assert all(number in rows[0] for number in ("0.612", "0.582", "0.652", "0.710", "0.97"))
    assert "grok-4" in result.stdout
    assert "+0.032" in result.stdout
    table = [line for line in result.stdout.splitlines() if "0." in line and "difference" not in line]
    assert max(map(len, table)) <= 80


def test_show_json_holds_the_summary(evaluated):
    said = json.loads(call("show", evaluated, "--json").stdout)
    assert (said["run"], said["results"], said["measured"]) == (str(evaluated), SUMMARY, None)
    assert said["stages"] == dict.fromkeys(VERBS)  # no manifest says that one has finished


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, content) for name in ("2-measure", "6-evaluate") for content in ("{", "[]", "{}")]
    + [("6-evaluate", '{"students": 3}')],
)
def test_show_a_broken_summary(tmp_path, content, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "summary.json").write_text(content)
    assert "summary.json" in complaint(call("show", tmp_path))


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_show_what_is_no_run(tmp_path, words):
    for place in (tmp_path, tmp_path / "nowhere"):
        said = complaint(call("show", place, *words))
        assert f"{place}: no run of driftbound lies there. Name a run folder" in said


def test_show_says_how_far_a_run_has_come(world, tiny):
    """The tiny stages leave no summaries: what is left to say is which of them have finished."""
    call("run", tiny, "--runs", world.runs, "--only", "collect")
    result = call("show", world.folder.root)
    assert result.exit_code == 0, result.output
    assert "Finished: collect. Not yet: measure, bootstrap" in " ".join(result.stdout.splitlines())
    said = json.loads(call("show", world.folder.root, "--json").stdout)
    assert [verb for verb, stage in said["stages"].items() if stage] == ["collect"]
    assert said["stages"]["collect"]["facts"]["lines"] == 1
    assert said["measured"] is said["results"] is None


@pytest.mark.parametrize("content", [None, b"no image"], ids=["missing", "unreadable"])
def test_ask_about_a_bad_image(tmp_path, content):
    path = tmp_path / "lungs.png"
    if content is not None:
        path.write_bytes(content)
    assert str(path) in complaint(call("ask", "phantom-base", path))


@pytest.fixture
def image(tmp_path):
    from PIL import Image

    path = tmp_path / "grey.png"
    Image.new("L", (8, 8)).save(path)
    return path


def test_ask_an_unfinished_student(world, tiny, image):
    call("run", tiny, "--runs", world.runs, "--only", "collect")
    said = complaint(call("ask", f"{world.folder.root}:aligned", image, "--question", "?"))
    assert f"align has not finished in {world.folder.root}" in said
    said = complaint(call("ask", f"{world.folder.root}:alinged", image, "--question", "?"))
    assert "did you mean 'aligned'?" in said
    assert "has no bootstrap stage" in complaint(call("ask", f"{world.folder.root}:base", image))


def test_ask_finds_the_students_of_a_run(world, tiny, image, monkeypatch):
    from driftbound.learning import policy

    asked = []

    class Parrot:
        @staticmethod
        def load(path, threads=0):
            asked.append(str(path))
            return Parrot()

        def generate(self, questions, images, *, max_new_tokens):
            said = zip(questions, images, strict=True)
            return [(f"{q} {i[0].name} {max_new_tokens}", True) for q, i in said]

    monkeypatch.setattr(policy, "LocalPolicy", Parrot)
    tiny.write_text(TINY + "bootstrap: {base: some/base}\n")
    call("run", tiny, "--runs", world.runs)
    for which in ("base", "bootstrapped", "aligned"):
        result = call(
            "ask", f"{world.folder.root}:{which}", image, "--question", "edema?", "--max-new-tokens", 7
        )
        assert result.stdout == f"{image}: edema? grey.png 7\n", result.output
    students = [str(world.folder.student("bootstrap")), str(world.folder.student("align"))]
    assert asked == ["some/base", *students]


def test_ask_gives_each_answer_when_it_is_there(image, monkeypatch):
    """The first answer is out before the second is asked for."""
    from driftbound import asking
    from driftbound.learning import policy

    asked = []

    class Parrot:
        @staticmethod
        def load(path, threads=0):
            return Parrot()

        def generate(self, questions, images, *, max_new_tokens):
            asked.append(questions[0])
            return [(f"answer {len(asked)}", False)]

    monkeypatch.setattr(policy, "LocalPolicy", Parrot)
    answers = asking.ask("some/base", [image, image, image], question="?")
    for n in (1, 2, 3):
        assert next(answers) == (image, f"answer {n}")
        assert len(asked) == n
    assert list(answers) == []


# ---- doctor -----------------------------------------------------------------------------------


def test_doctor_checks_a_recipe_without_loading_a_model_library():
    probe = f"""
        import sys
        from driftbound import doctor
        from pathlib import Path
        checks = doctor.examine(Path({str(SHIPPED["short"])!r}), Path("runs"))
        print([check.said for check in checks if check.name == "requests"][0])
        sys.exit(bool({{"torch", "transformers", "peft"}} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(probe)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("168 ")  # (12 + 2 + 8 + 2) cases x 7 teachers


def test_doctor_as_json():
    checks = json.loads(call("doctor", "--json").stdout)
    by_name = {check["name"]: check for check in checks}
    assert by_name["python"]["said"] == ".".join(map(str, sys.version_info[:3]))
    assert by_name["torch"]["ok"] is True
    assert {"cores", "memory", "disk", "gpu"} <= set(by_name)


def test_doctor_says_keys_by_yes_and_no_only(tmp_path, monkeypatch):
    path = tmp_path / "keys.yaml"
    endpoint = "base_url: https://api.example.org/v1, api_key_env: EXAMPLE_KEY"
    path.write_text(f"name: keys\nteachers: [{{name: a, model: a, {endpoint}}}]\n")
    monkeypatch.delenv("EXAMPLE_KEY", raising=False)
    result = call("doctor", path, "--runs", tmp_path)
    assert result.exit_code == 2
    assert "api.example.org, key set: no. Set the variable EXAMPLE_KEY." in result.stderr
    monkeypatch.setenv("EXAMPLE_KEY", "hunter2")
    checks = json.loads(call("doctor", path, "--runs", tmp_path, "--json").stdout)
    assert [check["said"] for check in checks if check["name"] == "a"] == ["api.example.org, key set: yes"]
    assert "hunter2" not in json.dumps(checks)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (TINY + "algin: {}\n", "unknown key 'algin'; did you mean 'align'?"),
        (TINY + "bootstrap: {base: ./nowhere}\n", "base checkpoint: ./nowhere: no checkpoint (config.json"),
        (TINY.replace("model: b", "model: b, base_url: nonsense"), "b: no host in 'nonsense'"),
    ],
    ids=["key", "base", "url"],
)
def test_doctor_says_what_must_be_put_right(tmp_path, content, said):
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    result = call("doctor", path, "--runs", tmp_path)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert len(result.stderr.splitlines()) == 1
    assert said in result.stderr


def test_doctor_compares_versions_with_the_ranges(monkeypatch):
    """Other systems and extras are passed over; a local or an early version counts as its release."""
    required = [
        "torch>=2.11",
        "typer<0.1,>=0.0.1",
        "rich>=13",
        "nowhere-to-be-found>=1; python_version > '3'",
        "pywin32>=300; sys_platform == 'nowhere'",
        "pytest>=999; extra == 'dev'",
    ]
    versions = {"torch": "2.13.0+cpu", "typer": "0.29.2", "rich": "14.0.0rc1"}

    def version(name):
        if name not in versions:
            raise doctor.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(doctor.metadata, "requires", lambda name: required)
    monkeypatch.setattr(doctor.metadata, "version", version)
    found = {check.name: check for check in doctor._packages()}
    assert {name: check.ok for name, check in found.items()} == {
        "torch": True,
        "typer": False,
        "rich": True,
        "nowhere-to-be-found": False,
    }
    assert found["typer"].line == (
        "0.29.2 is installed, <0.1,>=0.0.1 is needed. Install it: pip install 'typer<0.1,>=0.0.1'."
    )
    assert found["nowhere-to-be-found"].said == "not installed"


def test_doctor_looks_for_a_chat_template_in_the_base(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    path = tmp_path / "recipe.yaml"
    path.write_text(TINY + f"bootstrap: {{base: {base}}}\n")
    result = call("doctor", path, "--runs", tmp_path)
    assert result.exit_code == 2
    assert f"base checkpoint: {base}: its processor has no chat template" in result.stderr
    (base / "chat_template.jinja").write_text("{{ messages }}")
    checks = json.loads(call("doctor", path, "--runs", tmp_path, "--json").stdout)
    assert [check["ok"] for check in checks if check["name"] == "base checkpoint"] == [True]


@pytest.mark.parametrize("there", [False, True])
def test_doctor_says_what_the_papers_recipe_lacks_here(tmp_path, monkeypatch, there):
    monkeypatch.setattr(doctor, "find_spec", lambda name: object() if there else None)
    monkeypatch.setattr(doctor, "_has_gpu", lambda: there)
    result = call("doctor", "apo_qwen2_5_vl_7b", "--runs", tmp_path, "--json")
    assert result.exit_code == (0 if there else 2)
    checks = {check["name"]: check for check in json.loads(result.stdout)}
    assert checks["torchvision"]["ok"] is there
    assert ("trainings" in checks) is not there
    assert "Qwen/Qwen2.5-VL-7B-Instruct" in checks["base checkpoint"]["said"]
    assert there or "torchvision: not installed; the processor of this base needs it" in result.stderr


def test_doctor_reads_the_family_of_a_base_in_a_folder(tmp_path, monkeypatch):
    """Its folder's name says Qwen-VL, its configuration LLaVA: nothing is missing."""
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    base = tmp_path / "qwen2-vl"
    base.mkdir()
    (base / "chat_template.jinja").write_text("{{ messages }}")
    path = tmp_path / "recipe.yaml"
    path.write_text(TINY + f"bootstrap: {{base: {base}}}\n")
    for kind, code in (("llava", 0), ("qwen3_vl", 2)):
        (base / "config.json").write_text(json.dumps({"model_type": kind}))
        assert call("doctor", path, "--runs", tmp_path).exit_code == code


@pytest.mark.usefixtures("no_tables")
def test_a_shipped_recipe_runs_by_its_name(world):
    result = call("run", "short", "--runs", world.runs, "--only", "collect")
    assert result.exit_code == 0, result.output
    assert (world.runs / "short" / "1-collect" / "manifest.json").exists()
    assert call("measure", "short", "--runs", world.runs).exit_code == 0
    assert "no shipped recipe is called 'shrt'; did you mean 'short'?" in complaint(call("run", "shrt"))


def test_doctor_sees_a_runs_folder_that_cannot_be_written(tiny):
    result = call("doctor", "--runs", tiny / "runs")
    assert result.exit_code == 2
    assert "runs folder" in result.stderr
