"""Phrases: the small language of the lexicon files, and finding the longest phrase at a word."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import product
from typing import Any, Generic, TypeVar

import yaml

from driftbound.errors import ConfigError

T = TypeVar("T")
Words = Sequence[str]


@cache
def lexicon(name: str) -> Any:
    """A lexicon file as plain tables. Raises ``ConfigError`` for one that is no YAML."""
    source = files("driftbound.domains.chest_xray").joinpath("lexicon", f"{name}.yaml")
    try:
        text = source.read_text(encoding="utf-8")
        return yaml.load(text, Loader=yaml.BaseLoader)  # every word is a word: "no" too
    except yaml.YAMLError as error:
        line = str(error).splitlines()[0]
        raise ConfigError(f"lexicon/{name}.yaml: is no YAML ({line}). Correct the file.") from error


def expand(phrase: str) -> Iterator[tuple[str, ...]]:
    """Every sequence of words that a line of the lexicon means.

    >>> [" ".join(words) for words in expand("pleural? effusion|effusions")]
    ['pleural effusion', 'pleural effusions', 'effusion', 'effusions']
    """
    choices = []
    for group in phrase.lower().replace("-", " ").split():
        words = [word.removesuffix("?") for word in group.split("|")]
        choices.append([*words, ""] if "?" in group else words)
    for chosen in product(*choices):
        kept = tuple(word for word in chosen if word)
        if kept:
            yield kept


class Phrases(Generic[T]):
    """What phrases mean; the same phrase may mean several things."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}

    def add(self, phrase: str, meaning: T) -> None:
        """Let every sequence of words that ``phrase`` stands for mean this, too."""
        for words in expand(phrase):
            node = self._root
            for word in words:
                node = node.setdefault(word, {})
            meanings = node.setdefault("", [])
            if meaning not in meanings:
                meanings.append(meaning)

    def add_all(self, phrases: Sequence[str], meaning: T) -> None:
        """``add`` each."""
        for phrase in phrases:
            self.add(phrase, meaning)

    def at(self, words: Words, start: int) -> tuple[int, Sequence[T]]:
        """Where the longest phrase that begins at ``start`` ends, and what it means; none: ``()``."""
        node: Mapping[str, Any] | None = self._root.get(words[start])
        end, found, at = start, (), start + 1
        while node is not None:
            if "" in node:
                end, found = at, node[""]
            node = node.get(words[at]) if at < len(words) else None
            at += 1
        return end, found

    def heads(self) -> frozenset[str]:
        """The words with which phrases begin."""
        return frozenset(self._root)

    def all(self, words: Words, among: Sequence[int] | None = None) -> Iterator[tuple[int, int, Sequence[T]]]:
        """The phrases of a sentence from left to right, the longest first, none in another:
        ``(start, end, meanings)``. With ``among`` only those that begin at these words."""
        root, past, size = self._root, 0, len(words)
        for start in range(size) if among is None else among:
            word = words[start]
            if word not in root or start < past:
                continue
            node, at = root[word], start + 1
            end, found = start, None
            while node is not None:
                if "" in node:
                    end, found = at, node[""]
                node = node.get(words[at]) if at < size else None
                at += 1
            if found:
                yield start, end, found
                past = end
