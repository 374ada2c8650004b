"""The only home of torch: models, scoring, objectives and the trainers.

``MultiStreamConfig`` and ``MultiStreamTrainer`` are here by name, loaded when they are asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from driftbound.learning.multistream import MultiStreamConfig, MultiStreamTrainer

__all__ = ["MultiStreamConfig", "MultiStreamTrainer"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from driftbound.learning import multistream

    return getattr(multistream, name)
