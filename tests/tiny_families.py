"""A tiny random model of each family, two prompts made by hand, and the table of docs/families.md.

`python tests/tiny_families.py` prints the table.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
import transformers as hf
from torch import Tensor

from driftbound.learning.collator import MultiStreamCollator
from driftbound.learning.families import why_not_packed

IMAGE = 60
SPECIAL = {
    "image_token_id": IMAGE,
    "video_token_id": 61,
    "vision_start_token_id": 62,
    "vision_end_token_id": 63,
}
TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}
QWEN_TOWER = {"depth": 2, "num_heads": 2, "patch_size": 4, "temporal_patch_size": 2, "spatial_merge_size": 2}
QWEN_WIDTHS = {"hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 48}


@dataclass(frozen=True)
class Family:
    """How one family is built and asked."""

    config: Callable[[], Any]
    pictures: tuple[dict[str, Tensor], ...] = ({}, {})
    """What the processor says of the image of each of two prompts."""
    types: str = ""
    """Name of the field that marks image tokens with 1, where the family wants one."""
    answer_type: int = 0
    """What the family's own processor writes into it on answers."""
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    """Tokens around an image."""


def decoder(kind: type, **changes: Any) -> Any:
    """Configuration of a decoder of two layers and 64 tokens."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
    tokens = {"vocab_size": 64, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    return kind(**sizes | heads | tokens | changes)


def plain(kind: type, **changes: Any) -> dict[str, Any]:
    """The same as keywords, for families that make the decoder's configuration themselves."""
    return decoder(kind, **changes).to_dict()


def sections(*counts: int, **more: Any) -> dict[str, Any]:
    """M-RoPE: how many frequencies go by time, height and width."""
    return {"rope_type": "default", "rope_theta": 100.0, "mrope_section": list(counts), **more}


def noise(*shape: int) -> Tensor:
    """Pixels."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def square(*tiles: int) -> dict[str, Tensor]:
    return {"pixel_values": noise(*tiles, 3, 16, 16)}


def grid(height: int, width: int) -> dict[str, Tensor]:
    """Patches of 3 channels, 2 frames and 4 x 4 pixels."""
    return {
        "pixel_values": noise(height * width, 3 * 2 * 4 * 4),
        "image_grid_thw": torch.tensor([[1, height, width]]),
    }


def tiled(*sizes: tuple[int, int]) -> tuple[dict[str, Tensor], ...]:
    """LLaVA-NeXT: the whole image, then tiles of 16 x 16."""
    tiles = [1 + -(-height // 16) * -(-width // 16) for height, width in sizes]
    pairs = zip(tiles, sizes, strict=True)
    return tuple(square(1, n) | {"image_sizes": torch.tensor([size])} for n, size in pairs)


def masked(tiles: int, rows: int) -> dict[str, Tensor]:
    """Idefics3: tiles of which the last has only so many rows of pixels."""
    mask = torch.ones(1, tiles, 16, 16, dtype=torch.long)
    mask[0, -1, rows:] = 0
    return square(1, tiles) | {"pixel_attention_mask": mask}


def llava() -> Any:
    vision = hf.CLIPVisionConfig(**TOWER)
    text = decoder(hf.LlamaConfig)
    return hf.LlavaConfig(
        vision_config=vision, text_config=text, image_token_id=IMAGE, vision_feature_layer=-1
    )


def llava_next() -> Any:
    return hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**TOWER),
        text_config=decoder(hf.MistralConfig, sliding_window=None),
        image_token_id=IMAGE,
        vision_feature_layer=-1,
        image_grid_pinpoints=[[16, 32], [32, 16], [32, 32]],
    )


def idefics3() -> Any:
    text = decoder(hf.LlamaConfig)
    return hf.Idefics3Config(vision_config=TOWER, text_config=text, image_token_id=IMAGE, scale_factor=2)


def smolvlm() -> Any:
    text = decoder(hf.LlamaConfig)
    return hf.SmolVLMConfig(vision_config=TOWER, text_config=text, image_token_id=IMAGE, scale_factor=2)


def internvl(text: Any) -> Any:
    tower = TOWER | {"image_size": [16, 16], "patch_size": [4, 4]}
    return hf.InternVLConfig(vision_config=tower, text_config=text, image_token_id=IMAGE, image_seq_length=4)


def qwen2_vl() -> Any:
    text = plain(hf.Qwen2VLTextConfig, rope_parameters=sections(1, 1, 2))
    tower = QWEN_TOWER | {"embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2}
    return hf.Qwen2VLConfig(text_config=text, vision_config=tower, **SPECIAL)


def qwen2_5_vl() -> Any:
    text = plain(hf.Qwen2_5_VLTextConfig, rope_parameters=sections(1, 1, 2))
    tower = QWEN_TOWER | QWEN_WIDTHS | {"window_size": 16, "fullatt_block_indexes": [1]}
    return hf.Qwen2_5_VLConfig(text_config=text, vision_config=tower, **SPECIAL)


def qwen3_vl() -> Any:
    text = plain(hf.Qwen3VLTextConfig, rope_parameters=sections(2, 1, 1, mrope_interleaved=True))
    tower = QWEN_TOWER | QWEN_WIDTHS | {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
    return hf.Qwen3VLConfig(text_config=text, vision_config=tower, **SPECIAL)


def gemma3() -> Any:
    kinds = ["sliding_attention", "full_attention"]
    text = decoder(hf.Gemma3TextConfig, sliding_window=8, layer_types=kinds, query_pre_attn_scalar=8)
    vision = hf.SiglipVisionConfig(**TOWER, vision_use_head=False)
    tokens = {"image_token_id": IMAGE, "boi_token_index": 62, "eoi_token_index": 63}
    return hf.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, **tokens)


def paligemma() -> Any:
    vision = hf.SiglipVisionConfig(**TOWER, vision_use_head=False, projection_dim=32)
    text = decoder(hf.GemmaConfig)
    return hf.PaliGemmaConfig(
        text_config=text, vision_config=vision, image_token_id=IMAGE, projection_dim=32, hidden_size=32
    )


SQUARES = (square(1), square(1) | {"pixel_values": noise(1, 3, 16, 16).flip(3)})
TILES = (square(1), square(3))
GRIDS = {"pictures": (grid(4, 8), grid(6, 4)), "types": "mm_token_type_ids", "before": (62,), "after": (63,)}
FAMILIES: dict[str, Family] = {
    "LLaVA": Family(llava, SQUARES),
    "LLaVA-NeXT": Family(llava_next, tiled((16, 32), (32, 26))),
    "Idefics3": Family(idefics3, (masked(1, 16), masked(3, 8))),
    "SmolVLM": Family(smolvlm, (masked(3, 16), masked(1, 8))),
    "InternVL": Family(lambda: internvl(decoder(hf.Qwen2Config)), TILES),
    "InternVL 3.5": Family(lambda: internvl(decoder(hf.Qwen3Config)), TILES),
    "Qwen2-VL": Family(qwen2_vl, **GRIDS),
    "Qwen2.5-VL": Family(qwen2_5_vl, **GRIDS),
    "Qwen3-VL": Family(qwen3_vl, **GRIDS),
    "Gemma 3": Family(gemma3, SQUARES, types="token_type_ids", before=(62,), after=(63,)),
    "PaliGemma": Family(paligemma, SQUARES, types="token_type_ids", answer_type=1),
    "Llama": Family(lambda: decoder(hf.LlamaConfig)),
    "Mistral": Family(lambda: decoder(hf.MistralConfig, sliding_window=None)),
    "Qwen2": Family(lambda: decoder(hf.Qwen2Config)),
    "Qwen3": Family(lambda: decoder(hf.Qwen3Config)),
}


def build(name: str) -> Any:
    """The model, in float64, for scoring."""
    torch.manual_seed(0)
    config = FAMILIES[name].config()
    kind = hf.AutoModelForImageTextToText if FAMILIES[name].pictures[0] else hf.AutoModelForCausalLM
    model = kind.from_config(config, attn_implementation="sdpa").double().eval()
    with torch.no_grad():  # biases and norms start at 0 and 1, and would hide what they do
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model


def prompts(name: str, model: Any) -> list[dict[str, Tensor]]:
    """Two encoded prompts of different length, as the family's processor would give them."""
    family, found = FAMILIES[name], []
    for picture, text in zip(family.pictures, ([7, 8, 9, 10, 11], [12, 13, 14]), strict=True):
        ids = [2, 5]
        if picture:
            with torch.no_grad():
                features = list(model.get_image_features(**picture).pooler_output)
            count = sum(each.reshape(-1, 32).shape[0] for each in features)
            ids += [*family.before, *[IMAGE] * count, *family.after]
        encoded = {"input_ids": torch.tensor([ids + text]), **picture}
        if family.types:
            marked = encoded["input_ids"] == IMAGE
            # PaliGemma's processor marks answers, not images
            encoded[family.types] = marked.long() * (1 - family.answer_type)
        found.append(encoded)
    return found


class Collator(MultiStreamCollator):
    """Answers are numbers, prompts are made by hand: ``question`` says which."""

    made: tuple[dict[str, Tensor], ...] = ()

    def encode_prompt(self, example: Any) -> dict[str, Tensor]:
        return dict(self.made[int(example.question)])


class Tokenizer:
    """Numbers between spaces are tokens."""

    pad_token_id, eos_token_id = 0, 1

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [int(word) for word in text.split()]}


PROCESSOR = SimpleNamespace(tokenizer=Tokenizer())


def table() -> str:
    """Which family runs how, as Markdown."""
    lines = ["| family | `model_type` | answers of a case | positions | because |", "|" + " --- |" * 5]
    for name in FAMILIES:
        model = build(name)
        reason = why_not_packed(model)
        rows = any(hasattr(type(module), "get_rope_index") for module in model.modules())
        text = model.config.get_text_config().model_type
        kind = (
            model.config.model_type
            if text == model.config.model_type
            else f"{model.config.model_type}, {text}"
        )
        how = "a row each" if reason else "one row"
        lines.append(
            f"| {name} | {kind} | {how} | {'three rows' if rows else 'plain'} | {reason or 'equal by test'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
