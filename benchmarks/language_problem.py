"""The language model that several suites measure: SmolLM2-135M on WikiText-2, in windows of 1,024 tokens."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers import ENVIRONMENTS, Peer
from benchmarks.places import data_folder
from benchmarks.registry import Setting
from multum.attention import LanguageModel
from multum.attention.gguf_copy import converted_gguf
from multum.core import UserError
from multum.data import smollm2_file

WINDOW, NUM_UNSCORED = 1024, 512
"""Tokens of a window, and how many of them lie before the first that is scored."""
NUM_WINDOWS = 8
CHARACTERS_PER_TOKEN = 8
"""More than any text has: so much of a file is enough for so many tokens."""


@dataclass(frozen=True, kw_only=True)
class LanguageProblem:
    """The model and a text."""

    language: LanguageModel
    """SmolLM2-135M-Instruct in float32, its 4-bit weights taken apart."""
    tokens: torch.Tensor
    """The text, one row."""

    @property
    def model(self) -> Any:
        """The network."""
        return self.language.model

    @property
    def folder(self) -> Path:
        """The same model as a transformers folder, for peers."""
        return converted_gguf(smollm2_file())

    def windows(self, num_windows: int) -> torch.Tensor:
        """The first windows of the text, (windows, 1024)."""
        return self.tokens[0, : num_windows * WINDOW].view(num_windows, WINDOW)


def language_problem(
    setting: Setting, *, split: str = "test", num_tokens: int = NUM_WINDOWS * WINDOW
) -> LanguageProblem:
    """Load the model and the beginning of a split of WikiText-2, as the file has it, headings included."""
    language = LanguageModel.load(smollm2_file())
    wanted = num_tokens if not setting.quick else min(num_tokens, 2 * WINDOW)
    text = (data_folder("wikitext2") / f"{split}.txt").read_text(encoding="utf-8")
    tokens = language.tokenizer(text[: wanted * CHARACTERS_PER_TOKEN], return_tensors="pt", verbose=False)[
        "input_ids"
    ]
    if tokens.shape[1] < wanted:
        raise UserError(f"the {split} split must have {wanted} tokens; got {tokens.shape[1]}")
    return LanguageProblem(language=language, tokens=tokens[:, :wanted])


def language_peer(problem: LanguageProblem, environment: str, *, num_threads: int = 1) -> Peer:
    """Start transformers in a peer's environment with the model in it."""
    peer = Peer(ENVIRONMENTS[environment], "language_model", num_threads=num_threads)
    peer.call("load", folder=str(problem.folder))
    return peer
