"""A language model with its tokenizer, from a folder of safetensors or one GGUF file; nothing is downloaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Int
from safetensors import SafetensorError
from torch import Tensor

from multum.attention.gguf_copy import converted_gguf
from multum.core import UserError, invalid, require_module

GGUF_SUFFIX = ".gguf"


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """A transformers model that generates, with its tokenizer."""

    model: Any
    """The model, in evaluation mode."""
    tokenizer: Any
    """Its tokenizer."""
    max_tokens: int
    """The longest context the model has positions for."""
    name: str
    """What to call it: the folder's or the file's name."""

    @classmethod
    def load(cls, path: Path) -> "LanguageModel":
        """Load a model folder (safetensors only) or a GGUF file, whose tokenizer comes from the file as well.

        Raises:
            UserError: There is no such folder or file, or it holds no causal language model.
            MissingExtraError: A GGUF file, and gguf or accelerate is not installed.
        """
        if path.suffix == GGUF_SUFFIX and not path.is_file():
            raise invalid("model file", "an existing GGUF file", str(path))
        if path.suffix != GGUF_SUFFIX and not (path / "config.json").is_file():
            raise invalid("model", "a model folder with config.json, or a .gguf file", str(path))
        transformers: Any = require_module("transformers", "generation")
        transformers.utils.logging.disable_progress_bar()
        folder = converted_gguf(path) if path.suffix == GGUF_SUFFIX else path
        settings = {"local_files_only": True}
        try:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, **settings
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **settings)
        except (OSError, ValueError, SafetensorError) as error:
            raise UserError(
                f"model must hold a causal language model in safetensors and its tokenizer; got {str(path)!r}; {error}"
            ) from error
        longest = int(getattr(model.config, "max_position_embeddings", 0)) or tokenizer.model_max_length
        return cls(model=model.eval(), tokenizer=tokenizer, max_tokens=longest, name=path.stem)

    def tokenize(self, text: str, *, room_for: int = 0) -> Int[Tensor, "1 L"]:
        """Token ids of one text.

        Args:
            text: Non-empty text.
            room_for: Tokens that are to be generated after it.

        Raises:
            UserError: Empty text, or more tokens than the model has positions for.
        """
        if not text.strip():
            raise invalid("text", "non-empty", text)
        ids: Tensor = self.tokenizer(text, return_tensors="pt", verbose=False)["input_ids"]
        length = ids.shape[1] + room_for
        if length > self.max_tokens:
            raise invalid("text and new tokens", f"at most {self.max_tokens} tokens together", length)
        return ids

    def chat(self, prompt: str) -> str:
        """The prompt in the model's own template for a question, where it has one; unchanged otherwise."""
        if not getattr(self.tokenizer, "chat_template", None):
            return prompt
        message = [{"role": "user", "content": prompt}]
        text: str = self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        return text

    @property
    def pad_id(self) -> int:
        """The token that fills up shorter texts: the padding token, else one that ends a text."""
        for known in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if known is not None:
                return int(known)
        return 0

    @property
    def num_layers(self) -> int:
        """How many layers the model has."""
        return int(self.model.config.num_hidden_layers)
