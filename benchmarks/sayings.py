"""What the unruly server answers: it follows from model and question, and nothing else."""

import hashlib
import json
from dataclasses import dataclass

WORDS = tuple(
    a + b for a in ("ba", "dé", "gi", "kö", "lu", "肺") for b in ("ma", "ne", "pi", "ro", "su", "🫁", "ß")
)
DECLINED = "I cannot help with medical images."


@dataclass(frozen=True, slots=True)
class Said:
    """An answer: what a client should make of it, and what is sent."""

    status: str
    """One of driftbound's: ok, truncated, refused, empty."""
    text: str
    finish_reason: str = "stop"
    refusal: str | None = None

    @property
    def body(self) -> bytes:
        """The answer in the chat-completions schema."""
        content = None if self.refusal else self.text
        message = {"role": "assistant", "content": content, "refusal": self.refusal}
        usage = {"prompt_tokens": 70, "completion_tokens": 40, "total_tokens": 110}
        choice = {"index": 0, "finish_reason": self.finish_reason, "message": message}
        given = {"object": "chat.completion", "model": "unruly", "choices": [choice], "usage": usage}
        return json.dumps(given, ensure_ascii=False).encode()


def said(model: str, question: str) -> Said:
    """The one answer of ``model`` to ``question``: of 16 questions, 11 are answered in 20 to 80 words.

    >>> said("m", "Look at c1") == said("m", "Look at c1") != said("n", "Look at c1")
    True
    """
    drawn = hashlib.shake_256(f"{model}\n{question}".encode()).digest(82)
    words = [WORDS[byte % len(WORDS)] for byte in drawn[2 : 22 + drawn[1] % 61]]
    text = ". ".join(" ".join(words[at : at + 8]) for at in range(0, len(words), 8)) + "."
    match drawn[0] % 16:
        case 0:
            return Said("refused", f"Policy: {text}", refusal=f"Policy: {text}")
        case 1:
            return Said("refused", text, finish_reason="content_filter")
        case 2:
            return Said("refused", f"{DECLINED} {text}")
        case 3:
            return Said("truncated", text[:-1], finish_reason="length")
        case 4:
            return Said("empty", "")
    return Said("ok", text)
