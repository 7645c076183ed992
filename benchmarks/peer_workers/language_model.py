"""transformers' models under other people's caches: perplexity, recall of a needle, speed of generation.

One worker for three environments, because they differ only in which caches can be built: transformers' own
(`dynamic`, `static`, `quanto`, `hqq`, `fp8`), kvpress's methods, TurboQuant.
"""

import contextlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import torch

from benchmarks.peer_workers.cache_bytes import bytes_read_per_row
from benchmarks.peer_workers.serve import serve


class Models:
    """One model, and what is in progress with it."""

    def __init__(self) -> None:
        self.model: Any = None
        self.running: dict[str, tuple[Any, torch.Tensor]] = {}

    def threads(self, num_threads: int) -> None:
        """Set the threads of torch."""
        torch.set_num_threads(num_threads)

    def load(self, folder: str) -> None:
        """Load a transformers model folder."""
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa").eval()

    @torch.inference_mode()
    def losses(
        self,
        tokens: list[list[int]],
        num_prompt: int,
        chunk: int,
        cache: dict[str, Any],
        press: dict[str, Any],
    ) -> dict[str, Any]:
        """Teacher-forced losses after a prompt, and the bytes of the cache read per token.

        Args:
            tokens: Windows of one length.
            num_prompt: Tokens that are not scored; all but the last are read at once. By hqq a multiple of four,
                for it packs the numbers of up to four rows into a byte and fails on rows that are left over.
            chunk: Tokens per step after it. A cache with a residual window of `chunk` tokens computes exactly what it
                computes token by token, because it is emptied after just so many.
            cache: What `_make_cache` takes.
            press: What `_press` takes.
        """
        ids = torch.tensor(tokens)
        store = _make_cache(self.model, cache)
        first = num_prompt - 1
        if cache["kind"] == "hqq":
            first -= first % 4
        with _press(self.model, press):
            self._step(ids[:, :first], 0, store)
        found, read = [], 0.0
        for start in range(first, ids.shape[1] - 1, chunk):
            fed, asked = ids[:, start : start + chunk], ids[:, start + 1 : start + chunk + 1]
            read += bytes_read_per_row(store, cache, self.model, num_new=asked.shape[1])
            logits = self.model.lm_head(self._step(fed[:, : asked.shape[1]], start, store))
            found.append(-logits.log_softmax(-1).gather(-1, asked[..., None])[..., 0])
        losses = torch.cat(found, dim=1)
        scored = losses[:, num_prompt - 1 - first :]
        return {"losses": scored.tolist(), "bytes_read_per_token": read / losses.shape[1]}

    @torch.inference_mode()
    def answer(
        self,
        prompt: list[int],
        question: list[int],
        num_new: int,
        cache: dict[str, Any],
        press: dict[str, Any],
    ) -> dict[str, Any]:
        """Compress a context, ask a question about it, and return the greedy answer and the rows held."""
        store = _make_cache(self.model, cache)
        with _press(self.model, press):
            self._step(torch.tensor([prompt]), 0, store)
        held = [int(layer.keys.shape[-2]) for layer in store.layers]
        position, tokens, found = len(prompt), torch.tensor([question]), []
        for _ in range(num_new):
            hidden = self._step(tokens, position, store)[:, -1:]
            position += tokens.shape[1]
            tokens = self.model.lm_head(hidden).argmax(-1)
            found.append(int(tokens))
        return {"tokens": found, "rows_held": held}

    @torch.inference_mode()
    def prepare_generation(self, stream: str, prompt: list[int], cache: dict[str, Any]) -> None:
        """Read a prompt into a cache, to generate from it later."""
        store = _make_cache(self.model, cache)
        ids = torch.tensor([prompt])
        self._step(ids[:, :-1], 0, store)
        self.running[stream] = (store, ids)

    @torch.inference_mode()
    def generate(self, stream: str, num_tokens: int) -> list[int]:
        """Generate so many tokens more, greedily, with the library's own `generate`."""
        store, ids = self.running[stream]
        longer = self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=store,
            max_new_tokens=num_tokens,
            min_new_tokens=num_tokens,
            do_sample=False,
        )
        self.running[stream] = (store, longer)
        return [int(token) for token in longer[0, ids.shape[1] :]]

    def _step(self, ids: torch.Tensor, start: int, store: Any) -> torch.Tensor:
        """One forward of the body; positions are the true ones, whatever the cache still holds."""
        positions = torch.arange(start, start + ids.shape[1])[None]
        output = self.model.model(ids, position_ids=positions, past_key_values=store, use_cache=True)
        states: torch.Tensor = output.last_hidden_state
        return states


def _make_cache(model: Any, wish: dict[str, Any]) -> Any:
    """Build a cache: `{"kind": "hqq", "nbits": 4, ...}`."""
    settings = dict(wish)
    kind = settings.pop("kind")
    builders: dict[str, Callable[..., Any]] = {
        "dynamic": _dynamic,
        "static": _static,
        "turboquant": _turboquant,
    }
    return builders.get(kind, _quantized(kind))(model, **settings)


def _dynamic(model: Any) -> Any:
    from transformers import DynamicCache

    return DynamicCache(config=model.config)


def _static(model: Any, max_cache_len: int) -> Any:
    from transformers import StaticCache

    return StaticCache(config=model.config, max_cache_len=max_cache_len)


def _turboquant(model: Any, bits: int, residual_len: int) -> Any:
    turboquant: Any = import_module("turboquant.cache")
    store = turboquant.TurboQuantCache(bits=bits)
    layers = range(model.config.num_hidden_layers)
    store.layers.extend(turboquant.TurboQuantLayer(bits=bits, residual_len=residual_len) for _ in layers)
    return store


def _quantized(kind: str) -> Callable[..., Any]:
    def build(model: Any, **settings: Any) -> Any:
        from transformers import QuantizedCache

        return QuantizedCache(kind, config=model.config, **settings)

    return build


@contextlib.contextmanager
def _press(model: Any, wish: dict[str, Any]) -> Iterator[None]:
    """Compress the prompt by kvpress: `{"kind": "SnapKVPress", "compression_ratio": 0.5}`; {} for not at all."""
    if not wish:
        yield
        return
    settings = dict(wish)
    press = getattr(import_module("kvpress"), settings.pop("kind"))(**settings)
    with press(model):
        yield


if __name__ == "__main__":
    models = Models()
    names = ("threads", "load", "losses", "answer", "prepare_generation", "generate")
    serve({name: getattr(models, name) for name in names})
