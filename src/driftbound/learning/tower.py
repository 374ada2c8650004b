"""Features of a frozen vision tower: computed once per case, for reference, policy and every epoch."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from driftbound.learning.models import vision_modules

_CACHE = "_driftbound_features"
"""Attribute of the module that owns ``get_image_features``."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The images of a batch, for each prompt that has some. No tuple: a data loader takes tuples apart."""

    keys: Sequence[int]
    sizes: Sequence[dict[str, int]]
    """How much of the first dimension of each input belongs to each prompt."""


class FeatureCache:
    """What the tower said of each prompt's images, up to ``limit`` bytes; what comes first stays.

    An epoch goes through everything: to forget the oldest would be to forget what is wanted next.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used, self.computed = limit, 0, 0
        self.kept: dict[int, Any] = {}
        self.shown: Shown | None = None

    def __deepcopy__(self, memo: Any) -> "FeatureCache":
        return FeatureCache(self.limit)

    def of(self, key: int, device: torch.device, compute: Callable[[], Any]) -> Any:
        """The tower's output for one prompt; a new object each time, since families write into it."""
        if key not in self.kept:
            self.computed += 1
            output = compute()
            found = dict(output.items())
            size = sum({t.data_ptr(): t.nbytes for t in _tensors(found)}.values())
            if self.used + size > self.limit:
                return output
            self.used += size
            self.kept[key] = (type(output), _moved(found, torch.device("cpu")))
        kind, found = self.kept[key]
        return kind(**_moved(found, device))


@contextmanager
def kept_features(model: Any, megabytes: int) -> Iterator[FeatureCache | None]:
    """Within, what the vision tower says of a prompt's images is computed once and kept in memory.

    For trainings that leave the tower alone, and the passes that go with them; ``None`` where the model has
    no images or no memory is given. Projectors behind the tower run anew each time and may be trained.
    """
    cache = keep_features(model, megabytes)
    try:
        yield cache
    finally:
        forget_features(model)


def keep_features(model: Any, megabytes: int) -> FeatureCache | None:
    """The same until ``forget_features``."""
    owner = _owner(model) if megabytes else None
    if owner is None:
        return None
    cache = FeatureCache(megabytes * 10**6)
    setattr(owner, _CACHE, cache)
    owner.get_image_features = MethodType(_features, owner)
    return cache


def forget_features(model: Any) -> None:
    """Leave the model as it was; nothing happens where no features are kept."""
    owner = _owner(model)
    if owner is not None and hasattr(owner, _CACHE):
        del owner.get_image_features
        delattr(owner, _CACHE)


@contextmanager
def without_kept_features(model: Any) -> Iterator[None]:
    """Within, the model sees for itself: ``generate`` reads off its methods how it is to be asked."""
    owner = _owner(model)
    kept = None if owner is None else vars(owner).pop("get_image_features", None)
    try:
        yield
    finally:
        if kept is not None:
            owner.get_image_features = kept


def tower_is_trained(model: Any) -> bool:
    """Whether a weight of a vision tower, or an adapter on it, takes a gradient."""
    owner = _owner(model)
    return owner is not None and any(p.requires_grad for p in vision_modules(owner)[0].parameters())


@contextmanager
def showing(model: Any, shown: Shown | None) -> Iterator[None]:
    """Within, a forward of the model is about these images."""
    cache = getattr(_owner(model), _CACHE, None) if shown is not None else None
    if cache is None:
        yield
        return
    cache.shown = shown
    try:
        yield
    finally:
        cache.shown = None


def _features(self: Any, *args: Any, **kwargs: Any) -> Any:
    """In place of a family's ``get_image_features``: the same, prompt by prompt, from the cache."""
    own = type(self).get_image_features
    cache: FeatureCache = getattr(self, _CACHE)
    shown, tower = cache.shown, vision_modules(self)[0]
    if shown is None:
        return own(self, *args, **kwargs)
    given = dict(zip([*inspect.signature(own).parameters][1:], args, strict=False)) | kwargs
    layers = given.get("vision_feature_layer")
    layers = getattr(self.config, "vision_feature_layer", None) if layers is None else layers
    starts = dict.fromkeys(given, 0)
    found = []
    for key, sizes in zip(shown.keys, shown.sizes, strict=True):
        part = dict(given)
        for name, size in sizes.items():
            if isinstance(given.get(name), Tensor):
                part[name] = given[name][starts[name] : starts[name] + size]
                starts[name] += size
        with _answering(tower, cache, key, layers, merges="image_grid_thw" in given):
            found.append(own(self, **part))
    return _joined(found)


@contextmanager
def _answering(tower: Any, cache: FeatureCache, key: int, layers: Any, *, merges: bool) -> Iterator[None]:
    """Within, the tower's forward is the cache's answer."""
    before, forward = tower.__dict__.get("forward"), tower.forward

    def answer(*args: Any, **kwargs: Any) -> Any:
        device = next(tower.parameters()).device
        return cache.of(key, device, lambda: _needed(forward(*args, **kwargs), layers, merges=merges))

    tower.forward = answer
    try:
        yield
    finally:
        del tower.forward
        if before is not None:
            tower.forward = before


def _joined(outputs: Sequence[Any]) -> Any:
    """What decoders take from several outputs of ``get_image_features``, as one."""
    whole = outputs[0]
    # set, not given anew: not every family's kind of output has these fields
    whole.pooler_output = _chained([each.pooler_output for each in outputs])
    if getattr(whole, "deepstack_features", None) is not None:
        layers = zip(*(each.deepstack_features for each in outputs), strict=True)
        whole.deepstack_features = [_chained(layer) for layer in layers]
    return whole


def _chained(values: Sequence[Any]) -> Any:
    """One tensor, or one list with a tensor for each image."""
    return torch.cat(list(values)) if isinstance(values[0], Tensor) else [t for each in values for t in each]


def _needed(output: Any, layers: Any, *, merges: bool) -> Any:
    """Of what a tower says, what is read behind it; ``merges``: patches are merged inside, as in Qwen-VL."""
    found = {name: value for name, value in output.items() if name != "attentions"}
    states = found.pop("hidden_states", None)
    if states is not None and layers is not None:
        wanted = {n % len(states) for n in ([layers] if isinstance(layers, int) else layers)}
        found["hidden_states"] = tuple(state if n in wanted else None for n, state in enumerate(states))
    if merges:
        found.pop("last_hidden_state", None)
    return type(output)(**found)


def _moved(value: Any, device: torch.device) -> Any:
    """Tensors, wherever they are inside, detached and on ``device``."""
    if isinstance(value, Tensor):
        return value.detach().to(device)
    if isinstance(value, dict):
        return {name: _moved(each, device) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_moved(each, device) for each in value])
    return value


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _tensors(each)


def _owner(model: Any) -> Any:
    """The innermost module that has ``get_image_features``, which a family's forward calls."""
    owners = [m for m in model.modules() if hasattr(type(m), "get_image_features")]
    return owners[-1] if owners else None
