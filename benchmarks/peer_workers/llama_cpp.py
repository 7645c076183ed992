"""llama.cpp on the same GGUF file: a long prompt once, then a few tokens more at every call."""

from importlib import import_module
from typing import Any

from benchmarks.peer_workers.serve import serve

CACHE_TYPES = {"f16": 1, "q8_0": 8, "q4_0": 2}
"""ggml's numbers of the types that its cache may have."""


class LlamaCpp:
    """One context for each type of cache, all of the same model."""

    def __init__(self) -> None:
        self.num_threads = 1
        self.models: dict[str, Any] = {}
        self.last: dict[str, int] = {}

    def threads(self, num_threads: int) -> None:
        """Set how many threads the models may use; before `prepare`."""
        self.num_threads = num_threads

    def prepare(self, file: str, tokens: list[int], cache: str, num_context: int) -> None:
        """Load the model with this type of cache and read the prompt."""
        model = import_module("llama_cpp").Llama(
            model_path=file,
            n_ctx=num_context,
            n_threads=self.num_threads,
            n_threads_batch=self.num_threads,
            type_k=CACHE_TYPES[cache],
            type_v=CACHE_TYPES[cache],
            flash_attn=True,
            verbose=False,
        )
        model.eval(tokens)
        self.models[cache] = model
        self.last[cache] = self._greedy(model)

    def generate(self, cache: str, num_tokens: int) -> list[int]:
        """Generate so many tokens more, greedily."""
        model, found = self.models[cache], []
        for _ in range(num_tokens):
            found.append(self.last[cache])
            model.eval([self.last[cache]])
            self.last[cache] = self._greedy(model)
        return found

    def _greedy(self, model: Any) -> int:
        return int(model.sample(temp=0.0, repeat_penalty=1.0))


if __name__ == "__main__":
    llama = LlamaCpp()
    serve({name: getattr(llama, name) for name in ("threads", "prepare", "generate")})
