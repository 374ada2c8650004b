"""Prints a run's results as the README's Markdown table: `python examples/results_table.py runs/demo`."""

import json
import sys
from pathlib import Path

ROWS = (
    ("students", "base"),
    ("students", "bootstrapped"),
    ("students", "aligned"),
    ("teachers", None),
    ("consensus", None),
    ("baselines", "majority"),
    ("baselines", "always_prior"),
    ("baselines", "bootstrapped_images_shuffled"),
    ("baselines", "aligned_images_shuffled"),
    ("baselines", "signs"),
)
NAMES = {
    "base": "student: base",
    "bootstrapped": "student: bootstrapped",
    "aligned": "**student: aligned**",
    "consensus": "consensus (uses the teachers at test time)",
    "majority": "majority of the teachers (likewise)",
    "always_prior": "always the more frequent answer",
    "bootstrapped_images_shuffled": "bootstrapped, images shuffled",
    "aligned_images_shuffled": "aligned, images shuffled",
    "signs": "the base's eye with a textbook rule, no teacher",
}


def cell(estimate: dict) -> str:
    """A number with its interval."""
    return f"{estimate['mean']:.2f} ({estimate['low']:.2f}–{estimate['high']:.2f})"


def line(name: str, scores: dict) -> str:
    """One row of the table."""
    numbers = (cell(scores["balanced_accuracy"]), cell(scores["accuracy"]), f"{scores['parsable']:.2f}")
    return f"| {NAMES.get(name, 'teacher: ' + name)} | " + " | ".join(numbers) + " |"


def table(summary: dict) -> list[str]:
    """The first split's table; teachers from best to worst."""
    lines = ["| | balanced accuracy | accuracy | parsable |", "|---|---|---|---|"]
    for group, name in ROWS:
        if group == "consensus":
            lines.append(line(group, summary[group]))
        elif name is None:
            ranked = sorted(summary[group].items(), key=lambda item: -item[1]["balanced_accuracy"]["mean"])
            lines += [line(teacher, scores) for teacher, scores in ranked]
        elif name in summary[group]:  # not every field has a textbook rule
            lines.append(line(name, summary[group][name]))
    return lines


def main() -> None:
    """Read the summary of the run that the first argument names."""
    summary = json.loads((Path(sys.argv[1]) / "6-evaluate" / "summary.json").read_text())
    out = [*table(summary), ""]
    out.append(
        f"{summary['n_cases']} held-out cases of {summary['n_clusters']} patients, seed {summary['seed']}."
    )
    for name, difference in sorted(summary["comparisons"].items()):
        estimate = difference["balanced_accuracy"]
        text = f"{estimate['mean']:+.3f} ({estimate['low']:+.3f} to {estimate['high']:+.3f})"
        out.append(f"{name.replace('_', ' ')}, balanced accuracy, paired: {text}.")
    sys.stdout.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
