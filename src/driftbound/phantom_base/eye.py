"""The base's eye: phantoms that carry signs, and the training of the vision tower to see them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from driftbound.domains.phantom.drawing import draw
from driftbound.domains.phantom.findings import SIDED_SIGNS, SIGN_NAMES
from driftbound.domains.phantom.language import SIDES
from driftbound.progress import bar, say


@dataclass(frozen=True, slots=True)
class Pool:
    """Phantoms that carry signs drawn at random: no finding stands behind them."""

    signs: list[dict[str, str]]
    pixels: NDArray[np.float16]
    """(images, height, width), normalised as the processor does; the three channels are alike."""


def make_pool(size: int, processor: LlavaProcessor, seed: int) -> Pool:
    """Draw ``size`` phantoms, one in five as the other scanner would show them."""
    rng = np.random.default_rng([seed, 11])
    signs, pixels = [], []
    with bar("drawing phantoms", size) as advance:
        for number in range(size):
            share = rng.uniform(0.15, 0.6)
            drawn = {name: _sign(name, share, rng) for name in SIGN_NAMES}
            film = draw(drawn, int(rng.integers(2**31)), "other" if number % 5 == 4 else "first")
            values = processor.image_processor(film, return_tensors="np")["pixel_values"]
            signs.append(drawn)
            pixels.append(values[0, 0].astype(np.float16))
            advance()
    return Pool(signs, np.stack(pixels))


def _sign(name: str, share: float, rng: np.random.Generator) -> str:
    if rng.random() >= share:
        return "absent"
    return SIDES[int(rng.integers(3))] if name in SIDED_SIGNS else "present"


class SignHead(nn.Module):
    """Which signs an image shows, read off its patch features; thrown away after the eye is trained."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, len(SIGN_NAMES) * 2)

    def forward(self, patches: Tensor) -> Tensor:
        """(B, patches, width) to logits (B, signs, 2) for right and left."""
        logits = self.linear(self.norm(patches))
        pooled: Tensor = torch.logsumexp(logits, dim=1) - math.log(patches.shape[1])
        return pooled.view(len(patches), len(SIGN_NAMES), 2)


def sign_words(model: LlavaForConditionalGeneration, tokenizer: Any) -> Tensor:
    """Directions (signs, 2, D) of the words for each sign on the right and on the left, as they are now."""
    words = model.get_input_embeddings().weight.detach()
    names = torch.stack([words[tokenizer(" " + name)["input_ids"]].mean(0) for name in SIGN_NAMES])
    sides = words[tokenizer.convert_tokens_to_ids(["Ġright", "Ġleft"])]
    return normalize(names[:, None] + sides[None], dim=-1)


class WordHead(nn.Module):
    """Which signs an image shows, read off the likeness of its projected patches to the signs' words.

    What the eye sees so arrives where the words are, and saying it is looking up a word. The words stay
    as they are; each counts by its direction alone.
    """

    def __init__(self, model: LlavaForConditionalGeneration, tokenizer: Any) -> None:
        super().__init__()
        self.projector = model.model.multi_modal_projector
        self.register_buffer("words", sign_words(model, tokenizer))
        self.sharpness = nn.Parameter(torch.tensor(3.0))
        self.bias = nn.Parameter(torch.full((len(SIGN_NAMES), 2), -3.0))

    def forward(self, patches: Tensor) -> Tensor:
        """(B, patches, width) to logits (B, signs, 2) for right and left."""
        seen = normalize(self.projector(patches).float(), dim=-1)
        likeness = self.sharpness.exp() * torch.einsum("bpw,ksw->bpks", seen, self.words)
        pooled: Tensor = torch.logsumexp(likeness, dim=1) - math.log(patches.shape[1])
        return pooled + self.bias


def sign_targets(signs: Mapping[str, str]) -> list[list[float]]:
    """Right and left per sign, 0 or 1; a sign without side counts on both."""
    sides = {"absent": (0.0, 0.0), "right": (1.0, 0.0), "left": (0.0, 1.0)}
    return [list(sides.get(signs[name], (1.0, 1.0))) for name in SIGN_NAMES]


def train_eye(
    model: LlavaForConditionalGeneration,
    tokenizer: Any,
    pool: Pool,
    held: Pool,
    *,
    by_words: bool,
    steps: int,
    seed: int,
    batch: int = 48,
) -> None:
    """Teach the tower what the signs look like, before any sentence; ``by_words`` also the
    projector."""
    tower = model.model.vision_tower
    head = WordHead(model, tokenizer) if by_words else SignHead(tower.config.hidden_size)
    parameters = [*tower.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.02)
    rng = np.random.default_rng([seed, 14])
    targets = torch.tensor([sign_targets(signs) for signs in pool.signs])
    with bar("training the eye", steps) as advance:
        for step in range(steps):
            set_rate(optimizer, 1e-3, step, steps)
            chosen = rng.integers(len(pool.signs), size=batch)
            with torch.autocast("cpu", torch.bfloat16):
                logits = head(_patches(tower, pool, chosen))
            loss = binary_cross_entropy_with_logits(logits.float(), targets[torch.from_numpy(chosen)])
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            advance(1, f"loss {loss.item():.3f}")
            if step % 100 == 99 or step == steps - 1:
                right = _eye_accuracy(tower, head, held)
                say(f"eye: step {step + 1}, loss {loss.item():.3f}, balanced accuracy {right:.3f}")


@torch.no_grad()
def _eye_accuracy(tower: nn.Module, head: nn.Module, held: Pool) -> float:
    guess = head(_patches(tower, held, np.arange(len(held.signs)))) > 0
    truth = torch.tensor([sign_targets(signs) for signs in held.signs]).bool()
    return float((guess[truth].float().mean() + (~guess[~truth]).float().mean()) / 2)


def _patches(tower: nn.Module, pool: Pool, chosen: NDArray[np.int64]) -> Tensor:
    grey = torch.from_numpy(pool.pixels[chosen].astype(np.float32))
    features: Tensor = tower(grey[:, None].expand(-1, 3, -1, -1)).last_hidden_state[:, 1:]
    return features


def set_rate(optimizer: torch.optim.Optimizer, rate: float, step: int, steps: int) -> None:
    """Warm-up over 100 steps, then a cosine to a tenth of the rate."""
    cosine = 0.55 + 0.45 * math.cos(math.pi * step / steps)
    for group in optimizer.param_groups:
        group["lr"] = rate * min(1.0, (step + 1) / 100) * cosine
