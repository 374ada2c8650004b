"""The model card that a trainer leaves beside what it has trained."""

from collections.abc import Mapping, Sequence
from typing import Any

from driftbound import __version__
from driftbound.store.checkpoint import is_hub_name

PAPER = "2510.04142"
_NAMES = {
    "plackett_luce": "the chosen answer is the first choice among all answers (Plackett-Luce)",
    "pairwise": "the chosen answer is preferred over each rejected one (mean of DPO terms)",
}

_SHOWN = ("objective", "beta", "anchor", "length_normalised", "max_length", "row_tokens", "learning_rate")


def settings_of(args: Any, model: Any) -> dict[str, object]:
    """What a card says of a training: its main settings, the weights' dtype and the adapters, if any."""
    found: dict[str, object] = {name: getattr(args, name) for name in (*_SHOWN, "seed")}
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
) -> str:
    """Markdown with the metadata that the Hub reads; ``base`` is linked where it is a name on the Hub."""
    head = [f"library_name: {'peft' if adapter else 'transformers'}", "pipeline_tag: image-text-to-text"]
    if base and is_hub_name(base):
        head.append(f"base_model: {base}")
    head += ["tags:", *(f"- {tag}" for tag in dict.fromkeys(("driftbound", *tags)))]
    rows = [f"| {name} | {value} |" for name, value in settings.items()]
    return "\n".join(
        [
            *("---", *head, "---", "", f"# {title}", ""),
            f"Trained from {base or 'a model given in memory'} by driftbound {__version__}, with several "
            f"rejected answers per prompt: {_NAMES[objective]}, as in Autonomous Preference Optimization "
            f"([arXiv {PAPER}](https://arxiv.org/abs/{PAPER})).",
            *("", "| setting | value |", "| --- | --- |", *rows, ""),
        ]
    )
