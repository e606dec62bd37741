"""A llama-architecture model of a few hundred kilobytes that says known words: real to llama.cpp, exact for a test.

Its one block adds nothing (all its weights are zero), so the hidden state after a token is that token's own embedding;
the output matrix maps each embedding to the next word of a sentence. The chat template chooses the sentence by what
the user wrote. `python tiny_model.py FILE` writes it; it runs in the peer's environment, where `gguf` and `numpy` are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

# The peer's environment has these two; the one that mypy runs in need not.
import gguf  # type: ignore[import-not-found, import-untyped, unused-ignore]
import numpy as np  # type: ignore[import-not-found, unused-ignore]

CONTEXT = 65_536  # room for an endless answer that lasts many seconds
WIDTH = 128  # one dimension a word, so that words never mistake each other
HEADS = 4
SHARPNESS = 60.0  # logits of the next word: after the softmax nothing else has a chance, at any temperature

# The trigger that ends the prompt, and what it makes the model say. "▁" is the tokenizer's space.
ANSWER = ("<|answer|>", ["Hello", ",", "▁I", "▁am", "▁a", "▁tiny", "▁model", "▁✓", "</s>"])
FOREVER = ("<|forever|>", ["▁on", "▁and", "▁on"])  # comes back to "on" and never ends

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}"
    "{% if 'forever' in messages[-1]['content'] %}<|forever|>{% else %}<|answer|>{% endif %}"
)

_TYPE = gguf.TokenType


def vocabulary() -> list[tuple[str, float, int]]:
    """Every token as (text, score, type); its place is its id."""
    special = [("<unk>", 0.0, _TYPE.UNKNOWN), ("<s>", 0.0, _TYPE.CONTROL), ("</s>", 0.0, _TYPE.CONTROL)]
    special += [(trigger, 0.0, _TYPE.CONTROL) for trigger, _ in (ANSWER, FOREVER)]
    octets = [(f"<0x{octet:02X}>", 0.0, _TYPE.BYTE) for octet in range(256)]
    words = dict.fromkeys(word for _, sentence in (ANSWER, FOREVER) for word in sentence if word != "</s>")
    return special + octets + [(word, -1.0, _TYPE.NORMAL) for word in words]


def successions() -> Iterator[tuple[str, str]]:
    """Each (token, the token that follows it)."""
    for trigger, sentence in (ANSWER, FOREVER):
        yield from zip([trigger, *sentence], sentence, strict=False)


def matrices(tokens: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The embedding and the output matrix, (tokens, WIDTH) each: a dimension of its own for each word that speaks."""
    embedding = np.zeros((len(tokens), WIDTH), dtype=np.float32)
    output = np.zeros((len(tokens), WIDTH), dtype=np.float32)
    for dimension, (token, following) in enumerate(dict(successions()).items()):
        embedding[tokens.index(token), dimension] = 1.0
        # RMS normalisation scales a one-hot row to sqrt(WIDTH).
        output[tokens.index(following), dimension] = SHARPNESS / np.sqrt(WIDTH)
    return embedding, output


def write(path: Path) -> None:
    """Writes the model as one GGUF file."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    tokens = vocabulary()
    _add_tokenizer(writer, tokens)
    _add_tensors(writer, *matrices([text for text, _, _ in tokens]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: gguf.GGUFWriter, tokens: list[tuple[str, float, int]]) -> None:
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text.encode() for text, _, _ in tokens])
    writer.add_token_scores([score for _, score, _ in tokens])
    writer.add_token_types([kind for _, _, kind in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)


def _add_tensors(writer: gguf.GGUFWriter, embedding: np.ndarray, output: np.ndarray) -> None:
    square = np.zeros((WIDTH, WIDTH), dtype=np.float32)
    ones = np.ones(WIDTH, dtype=np.float32)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", output)
    writer.add_tensor("output_norm.weight", ones)
    for norm in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{norm}.weight", ones)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", square)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
