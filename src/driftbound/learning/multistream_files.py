"""What a trainer's folders hold: newest whole checkpoint, trained weights by name, how sensitive they are."""

from pathlib import Path
from typing import Any

from torch import Tensor

from driftbound.errors import DataUseError, TrainingError, boundary
from driftbound.learning.training import COMPLETE
from driftbound.store.sensitivity import marked


def last_complete(output_dir: Path) -> Path | None:
    """The newest checkpoint that was written to its end."""
    found = [path for path in output_dir.glob("checkpoint-*") if (path / COMPLETE).exists()]
    return max(found, key=lambda path: int(path.name.partition("-")[2]), default=None)


def trained(model: Any) -> dict[str, Tensor]:
    """Weights that a checkpoint holds, by the name that they have in memory; adapters alone, if any."""
    if not hasattr(model, "peft_config"):
        return dict(model.named_parameters())
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(model)


def stored(folder: Path, model: Any) -> dict[str, Tensor]:
    """The same out of a checkpoint; raises ``TrainingError`` where a name is missing or unknown.

    Read by the way that knows the names in it: families (LLaVA) are written under older ones.
    """
    with boundary(TrainingError, f"reading {folder}", then="Start anew, or from another checkpoint."):
        if hasattr(model, "peft_config"):
            from peft import load_peft_weights

            found, missing = load_peft_weights(str(folder), device="cpu"), set()
        else:
            read, report = type(model).from_pretrained(folder, dtype=model.dtype, output_loading_info=True)
            found, missing = dict(read.named_parameters()), set(report["missing_keys"])
    strange = sorted(missing | (found.keys() ^ trained(model).keys()))
    if strange:
        raise TrainingError(f"{folder}: written by a training of other weights ({strange[0]}). Start anew.")
    return found


def sensitivity_of(base: str, args: Any) -> str:
    """What the folder of a base says; ``public`` for one that says nothing, and for a name on a hub.

    Raises ``DataUseError`` where the arguments of the training would have it uploaded and must not.
    """
    sensitivity = (marked(Path(base)) if base else None) or "public"
    if args.push_to_hub:
        refuse_hub(sensitivity)
    return sensitivity


def refuse_hub(sensitivity: str) -> None:
    """Raise ``DataUseError`` where a trainer would upload what it must not."""
    if sensitivity != "public":
        raise DataUseError(
            f"a trainer does not upload what is made of {sensitivity} data: it knows no acknowledgement. "
            "Set push_to_hub: false; driftbound push uploads it under the recipe's. Nothing was sent."
        )
