"""Windows of running text, drawn afresh in every step, so that a pupil cannot learn a fixed set of texts by heart.

The surprise is how badly that is needed: distilled on the same fifteen hundred paragraphs ten times over, a pruned
model found *them* again better than the dense one did, and others no better than before. Windows of one step have one
length, so nothing is padded, and lie close together in groups, so that the batch holds texts hard to tell apart.

Shape legend: B windows of a step, L tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from multum.attention.embedding import SentenceEncoder
from multum.core import invalid

GROUP_SIZE = 8
"""So many windows of a step come from one neighbourhood."""
NEIGHBOURHOOD = 8
"""A neighbourhood is so many windows long."""


@dataclass(frozen=True, kw_only=True)
class TextWindows:
    """A running text as tokens, and how long its windows are.

    Raises:
        UserError: The text is shorter than a window.
    """

    stream: Int[Tensor, " N"]
    """All tokens in a row, without the special ones."""
    begin: tuple[int, ...]
    """Special tokens before a window."""
    end: tuple[int, ...]
    """Special tokens behind it."""
    least_tokens: int
    """The shortest window, special tokens included."""
    most_tokens: int
    """The longest."""

    def __post_init__(self) -> None:
        if not len(self.begin) + len(self.end) < self.least_tokens <= self.most_tokens:
            raise invalid(
                "least_tokens", f"at most {self.most_tokens}, and above the special ones", self.least_tokens
            )
        if len(self.begin) + len(self.stream) + len(self.end) < self.most_tokens:
            raise invalid("texts", f"of at least {self.most_tokens} tokens together", len(self.stream))

    @classmethod
    def of(
        cls, encoder: SentenceEncoder, texts: Sequence[str], *, least_tokens: int, most_tokens: int
    ) -> "TextWindows":
        """Join texts, in their order, as tokens of an encoder; no window is longer than the model or the text.

        Raises:
            UserError: No text, or less than one window of it.
        """
        if not texts:
            raise invalid("texts", "at least one text", list(texts))
        lists = encoder.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        stream = torch.tensor([token for tokens in lists for token in tokens], dtype=torch.long)
        (whole,) = encoder.tokenizer([texts[0]], verbose=False)["input_ids"]
        start = next(place for place in range(len(whole)) if whole[place : place + len(lists[0])] == lists[0])
        begin, end = tuple(whole[:start]), tuple(whole[start + len(lists[0]) :])
        longest = min(most_tokens, encoder.max_tokens, len(begin) + len(stream) + len(end))
        if longest < least_tokens:
            raise invalid("texts", f"of at least {least_tokens} tokens together", f"{longest} tokens")
        return cls(stream=stream, begin=begin, end=end, least_tokens=least_tokens, most_tokens=longest)

    @property
    def num_windows(self) -> int:
        """Windows of mean length that hold as many tokens as the text."""
        return max(1, 2 * len(self.stream) // (self.least_tokens + self.most_tokens))

    def draw(self, num_windows: int) -> Int[Tensor, "B L"]:
        """Draw windows of one length from torch's own generator."""
        length = (
            int(torch.randint(self.least_tokens, self.most_tokens + 1, ())) - len(self.begin) - len(self.end)
        )
        last = len(self.stream) - length
        reach = min(last, NEIGHBOURHOOD * length)
        num_groups = -(-num_windows // GROUP_SIZE)
        anchor_G1 = torch.randint(0, last - reach + 1, (num_groups, 1))
        start_B = (anchor_G1 + torch.randint(0, reach + 1, (num_groups, GROUP_SIZE))).flatten()[:num_windows]
        inside_BL = self.stream[start_B[:, None] + torch.arange(length)]
        before_BL, behind_BL = (
            torch.tensor(it, dtype=torch.long).expand(num_windows, -1) for it in (self.begin, self.end)
        )
        return torch.cat([before_BL, inside_BL, behind_BL], dim=1)
