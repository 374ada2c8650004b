"""The model card that a trainer leaves beside what it has trained; it says how sensitive that is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from driftbound import __version__
from driftbound.store.checkpoint import is_hub_name

PAPER = "2510.04142"
_LINK = f"([arXiv {PAPER}](https://arxiv.org/abs/{PAPER}))"
_NAMES = {
    "plackett_luce": "the chosen answer is the first choice among all answers (Plackett-Luce)",
    "pairwise": "the chosen answer is preferred over each rejected one (mean of DPO terms)",
}
_FROM = f", as in Autonomous Preference Optimization {_LINK}."

_HOW = {
    "bootstrap": "on the answers of several teachers, one branch per teacher (supervised bootstrapping)",
    "align": "to prefer one consensus over the answers of all teachers at once: {}",
}
_SENSITIVITY = {
    "public": "Sensitivity: public; nothing that it was made of is marked as credentialed.",
    "credentialed": "**Sensitivity: credentialed.** It was made of data under a data use agreement and is to "
    "be treated as containing sensitive information (PhysioNet's guideline on derived data sets and models, "
    "24 April 2024): pass it on to nobody outside the agreement.",
}
_PREFERRING = ("beta", "anchor", "nca", "dpop", "length_normalised")
"""Settings of a preference, which fine-tuning on the chosen answer does not have."""
_SHOWN = ("objective", *_PREFERRING, "max_length", "row_tokens", "learning_rate")
_SHOWN_OF_STUDENTS = ("epochs", "groups_per_step", "tuner", "weights", "train_vision", "seed")


def settings_of(args: Any, model: Any) -> dict[str, object]:
    """What a card says of a training: its main settings, the weights' dtype and the adapters, if any."""
    found: dict[str, object] = _shown({name: getattr(args, name) for name in (*_SHOWN, "seed")})
    found["weights"] = str(model.dtype).removeprefix("torch.")
    for used in getattr(model, "peft_config", {}).values():
        rank = f", rank {used.r}" if hasattr(used, "r") else ""
        found["adapters"] = f"{used.peft_type.value}{rank}"
    return found


def model_card(
    title: str,
    *,
    base: str,
    objective: str,
    adapter: bool,
    settings: Mapping[str, object],
    tags: Sequence[str],
    sensitivity: str = "public",
) -> str:
    """Markdown with the metadata that the Hub reads; ``base`` is linked where it is a name on the Hub."""
    how = f"with several rejected answers per prompt: {_NAMES.get(objective, '')}{_FROM}"
    if objective == "sft":
        how = "on the chosen answers alone (NLL per token)."
    said = f"Trained from {base or 'a model given in memory'} by driftbound {__version__}, {how}"
    return _page(title, base, adapter, tags, said, sensitivity, settings)


def student_card(
    title: str, verb: str, *, base: str, settings: Mapping[str, object], sensitivity: str
) -> str:
    """The card of a run's student, as ``bootstrap`` or ``align`` leaves it."""
    how = _HOW[verb].format(_NAMES.get(str(settings.get("objective")), "")) + _FROM
    if settings.get("objective") == "sft":
        how = "on one consensus of several teachers per case, without their own answers (NLL per token)."
    name = base if is_hub_name(base) else Path(base).name  # where it lay is nobody's business
    said = f"Trained from {name} by driftbound {__version__} {how}"
    shown = _shown({key: settings[key] for key in (*_SHOWN, *_SHOWN_OF_STUDENTS) if key in settings})
    return _page(title, base, False, (), said, sensitivity, shown)


def _shown(settings: Mapping[str, object]) -> dict[str, object]:
    dead = _PREFERRING if settings.get("objective") == "sft" else ()
    return {name: value for name, value in settings.items() if name not in dead}


def _page(
    title: str,
    base: str,
    adapter: bool,
    tags: Sequence[str],
    said: str,
    sensitivity: str,
    settings: Mapping[str, object],
) -> str:
    head = [f"library_name: {'peft' if adapter else 'transformers'}", "pipeline_tag: image-text-to-text"]
    if base and is_hub_name(base):
        head.append(f"base_model: {base}")
    head += ["tags:", *(f"- {tag}" for tag in dict.fromkeys(("driftbound", *tags)))]
    rows = [f"| {name} | {value} |" for name, value in settings.items()]
    return "\n".join(
        [
            *("---", *head, "---", "", f"# {title}", ""),
            said,
            *("", _SENSITIVITY[sensitivity]),
            *("", "| setting | value |", "| --- | --- |", *rows, ""),
        ]
    )
