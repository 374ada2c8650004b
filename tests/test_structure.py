"""Shape of the project: imports point down, truth has one reader, help is light, no key is dead."""

import ast
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from driftbound import config, pipeline, strict_yaml
from driftbound.cli import HELP
from driftbound.store.folder import VERBS, RunFolder

SOURCE = Path(config.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
HEAVY = ("torch", "transformers", "peft", "accelerate")

FLOOR = {
    **dict.fromkeys(
        (
            "errors",
            "records",
            "protocols",
            "config",
            "teacher_config",
            "domain_config",
            "data_config",
            "training_config",
            "consensus_config",
            "progress",
            "strict_yaml",
            "recipe_files",
        ),
        0,
    ),
    **dict.fromkeys(("store", "statistics", "endpoints", "stances", "quality"), 1),
    **dict.fromkeys(("domains", "teachers", "measure", "consensus", "learning"), 2),
    **dict.fromkeys(("evaluation", "report", "phantom_base"), 2),
    **dict.fromkeys(("stages", "viewer", "phantom_base script"), 3),
    **dict.fromkeys(
        (
            "pipeline",
            "doctor",
            "asking",
            "aligning",
            "looking",
            "viewing",
            "view_command",
            "rounds",
            "publishing",
            "removing",
            "launching",
            "launched",
            "collecting",
            "merging",
            "batching",
            "collect_commands",
            "exchanging",
            "exporting",
            "exporting_dataset",
            "importing",
            "pushing",
            "uploading",
            "measuring",
            "measure_command",
            "study",
            "study_command",
            "telling",
        ),
        4,
    ),
    "cli": 5,
}
"""Part of the package -> floor. Parts of floors 2 and 3 are siblings that must not meet."""

TRUTH_OWNERS = {
    *("stages/evaluate.py", "study/score.py", "pipeline.py"),
    *("store/folder.py", "store/tables.py", "store/references.py"),
}


def relative(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def part_of(module: str) -> str:
    """``driftbound.store.folder`` -> ``store``; the package itself -> an empty word.

    The makers of the shipped base are scripts above field and learning; where it lies is plain.
    """
    if module.startswith(
        tuple(
            f"driftbound.phantom_base.{name}"
            for name in ("make", "batches", "eye", "reading", "tongue", "corpus")
        )
    ):
        return "phantom_base script"
    return [*module.split("."), ""][1]


def modules_of(tree: ast.AST) -> set[str]:
    """Every module that a file imports, wherever in the file, ``from a import b`` as ``a.b``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which floor they reach for"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def refusal(home: str, target: str) -> str:
    """Why a file of one part must not import a module of another; empty if it may."""
    if home == target or target in ("", "__version__"):
        return ""
    if FLOOR[target] > FLOOR[home]:
        return "points up"
    if FLOOR[target] == FLOOR[home] and FLOOR[home] in (2, 3):
        return "is a sibling"
    return ""


def test_rule_about_imports_can_refuse():
    assert refusal("store", "domains") == "points up"
    assert refusal("measure", "domains") == "is a sibling"
    assert refusal("stages", "domains") == refusal("cli", "pipeline") == refusal("store", "store") == ""


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_point_down(path):
    home = part_of("driftbound." + relative(path).removesuffix(".py").replace("/", "."))
    for module in modules_of(ast.parse(path.read_text())):
        if home != "__init__" and module.split(".")[0] == "driftbound":
            why = refusal(home, part_of(module))
            assert not why, f"{relative(path)} imports {module}, which {why}"


@pytest.mark.parametrize("verb", VERBS)
def test_a_stage_imports_no_other_stage(verb):
    others = {f"driftbound.stages.{other}" for other in VERBS if other != verb}
    found = modules_of(ast.parse((SOURCE / "stages" / f"{verb}.py").read_text()))
    assert not [module for module in found if any(module.startswith(other) for other in others)]


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_torch_lives_in_learning(path):
    if relative(path).startswith("learning/") or relative(path) in (
        *(f"phantom_base/{name}.py" for name in ("make", "batches", "eye", "reading", "tongue")),
    ):
        return
    heavy = [name for name in modules_of(ast.parse(path.read_text())) if name.split(".")[0] in HEAVY]
    assert not heavy, f"{relative(path)} imports {heavy}"


def truth_seekers(home: str, source: str) -> list[str]:
    """Lines of a file that could reach the truth file: by its path, its reader or its name.

    On the upper floors, and wherever the run's folder is known, any attribute ``truth`` counts;
    elsewhere it is a word like any other (a domain's writer, the report's table of results).
    """
    tree = ast.parse(source)
    knows_folder = FLOOR.get(home, 4) >= 3 or any("RunFolder" in module for module in modules_of(tree))
    found = []
    for node in ast.walk(tree):
        name = getattr(node, "attr", getattr(node, "id", getattr(node, "name", None)))
        text = getattr(node, "value", None)
        if (
            name in ("read_truth", "read_references")
            or (knows_folder and isinstance(node, ast.Attribute) and name == "truth")
            or (isinstance(text, str) and ("truth.parquet" in text or "references.parquet" in text))
        ):
            found.append(f"line {getattr(node, 'lineno', 0)}")
    return found


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_only_evaluate_opens_the_truth(path):
    """Others may define it (tables, folder) or have it written (pipeline); those are named above."""
    if relative(path) not in TRUTH_OWNERS:
        assert not truth_seekers(relative(path).split("/")[0].removesuffix(".py"), path.read_text())


def test_truth_seekers_are_found():
    assert truth_seekers("stages", "context.folder.truth")
    assert truth_seekers("measure", "from driftbound.store.tables import read_truth")
    assert truth_seekers("report", "from driftbound.store.folder import RunFolder\nRunFolder(x).truth")
    assert truth_seekers("learning", "Path('demo.truth.parquet')")
    assert truth_seekers("report", "from driftbound.store.references import read_references")
    assert truth_seekers("learning", "Path('demo.references.parquet')")
    assert not truth_seekers("report", "record.truth")


def test_pipeline_only_hands_the_truth_to_the_domain():
    tree = ast.parse((SOURCE / "pipeline.py").read_text())
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "truth"]
    writer = [
        argument
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "write_cases"
        for argument in node.args
    ]
    assert len(uses) == 1
    assert uses[0] in writer


HELP_PROBE = """
import json, sys
from typer.testing import CliRunner
from driftbound.cli import app
result = CliRunner().invoke(app, ["--help"])
assert result.exit_code == 0, result.output
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def test_help_loads_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", HELP_PROBE], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert not loaded & {*HEAVY, "numpy", "scipy", "pyarrow", "PIL", "openai", "jinja2", "pydantic"}


def test_help_answers_within_half_a_second():
    """Best of three, in processor time: what one waits on an idle machine, and the same on a busy one."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "driftbound.cli", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5


def models_within(model: type[BaseModel]) -> set[type[BaseModel]]:
    """A recipe table and all tables inside it."""
    inner = {strict_yaml._table_of(field.annotation) for field in model.model_fields.values()} - {None}
    return {model}.union(*(models_within(each) for each in inner))


KEYS = sorted((model.__name__, key) for model in models_within(config.Recipe) for key in model.model_fields)
READ = {
    node.attr
    for path in FILES
    if path.name != "config.py"
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.Attribute)
}


def test_keys_of_every_table_are_known():
    assert {"Recipe", "TeacherConfig", "LoraConfig", "AlignConfig"} <= {model for model, _ in KEYS}


@pytest.mark.parametrize(("model", "key"), KEYS)
def test_every_recipe_key_is_read(model, key):
    assert key in READ, f"{model}.{key} changes nothing: wire it or delete it"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_first_line_says_what_the_file_is_for(path):
    first = path.read_text().splitlines()[0]
    assert first.startswith('"""')
    assert len(first) > 10


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_files_and_functions_stay_small(path):
    lines = path.read_text()
    assert len(lines.splitlines()) <= 300
    for node in ast.walk(ast.parse(lines)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} has over 60 lines"


def test_one_word_per_stage():
    """Verb of the command line = file in stages/ = folder of the run = table of the recipe."""
    files = {path.stem for path in (SOURCE / "stages").glob("*.py")} - {
        "__init__",
        "context",
        "drafting",
        "answering",
        "benchmarks",
        "gather",
        "grading",
        "held_out",
        "instrument",
        "judging",
        "leaving_out",
        "progression",
        "scoring",
        "probabilities",
        "reader",
        "recordings",
        "questions",
        "roster",
        "watching",
        "writers",
    }
    folders = {RunFolder(Path("run")).stage(verb).name.partition("-")[2] for verb in VERBS}
    assert set(VERBS) == files == folders == set(HELP)
    assert set(VERBS) == set(pipeline.READS) - {pipeline.CASES}
    assert set(VERBS) <= set(config.Recipe.model_fields)
    assert [RunFolder(Path("run")).stage(verb).name[0] for verb in VERBS] == list("1234567")


@pytest.mark.parametrize("verb", VERBS)
def test_stage_has_two_public_functions(verb):
    tree = ast.parse((SOURCE / "stages" / f"{verb}.py").read_text())
    public = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_"
    }
    assert public == {"inputs", "run"}
