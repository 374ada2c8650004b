"""A text-only teacher: a tiny random GGUF model, behind the HTTP server of llama.cpp.

    python benchmarks/text_server.py write model.gguf
    python benchmarks/text_server.py serve model.gguf --port 8080

The model knows a dozen words and means nothing by them; what is real is the server (`xllamacpp` carries
llama.cpp's own) and the file format. Nothing is downloaded.
"""

import argparse
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gguf import GGUFWriter

WORDS = ("no", "edema", "effusion", "the", "film", "shows", "clear", "lungs", "left", "right", "heart")
NAME = "random-text"
"""What the server calls the model; it answers to every other name too."""
CONTEXT = 1024
_WIDTH, _HIDDEN, _LAYERS, _HEADS = 64, 128, 2, 4
_BYTES = 256
_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


def write_model(path: Path, *, seed: int = 0) -> None:
    """Write a LLaMA of two narrow layers with random weights, the same for the same seed."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_name(NAME)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(_WIDTH)
    writer.add_feed_forward_length(_HIDDEN)
    writer.add_block_count(_LAYERS)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    _add_vocabulary(writer)
    for name, tensor in _tensors(np.random.default_rng(seed)).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: "GGUFWriter") -> None:
    """Three control tokens, every byte so that any question can be read, and the words."""
    from gguf import TokenType

    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{n:02X}>" for n in range(_BYTES)), *(f"▁{w}" for w in WORDS)]
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
    kinds += [TokenType.BYTE] * _BYTES + [TokenType.NORMAL] * len(WORDS)
    writer.add_tokenizer_model("llama")
    writer.add_vocab_size(len(tokens))
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(_TEMPLATE)


def _tensors(random: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights by llama.cpp's names; the head's rows are 0 but for the words, so that it says nothing else."""

    def normal(*shape: int) -> np.ndarray:
        return random.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)

    ones = np.ones(_WIDTH, np.float32)
    silent = 3 + _BYTES
    head = np.zeros((silent + len(WORDS), _WIDTH), np.float32)
    head[silent:] = 8 * normal(len(WORDS), _WIDTH)
    tensors = {"token_embd.weight": normal(len(head), _WIDTH)}
    for n in range(_LAYERS):
        tensors |= {f"blk.{n}.attn_norm.weight": ones, f"blk.{n}.ffn_norm.weight": ones}
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"blk.{n}.{name}.weight"] = normal(_WIDTH, _WIDTH)
        tensors[f"blk.{n}.ffn_gate.weight"] = normal(_HIDDEN, _WIDTH)
        tensors[f"blk.{n}.ffn_up.weight"] = normal(_HIDDEN, _WIDTH)
        tensors[f"blk.{n}.ffn_down.weight"] = normal(_WIDTH, _HIDDEN)
    return tensors | {"output_norm.weight": ones, "output.weight": head}


def serve(path: Path, port: int) -> None:
    """Serve on 127.0.0.1 until the process is ended."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = [NAME]
    params.port = port
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)  # serves from a thread of its own for as long as it is referred to
    print(server.listening_address, flush=True)
    threading.Event().wait()


def main(arguments: list[str] | None = None) -> None:
    """Write or serve; ``arguments`` as on the command line, else those."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("doing", choices=("write", "serve"))
    parser.add_argument("model", type=Path)
    parser.add_argument("--port", type=int, default=8080)
    given = parser.parse_args(arguments)
    if given.doing == "write":
        write_model(given.model)
    else:
        serve(given.model, given.port)


if __name__ == "__main__":
    main()
