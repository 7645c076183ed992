"""What a generating model did inside the block: its cache, what was read and held, what every layer kept."""

from typing import TYPE_CHECKING

from torch import nn

from multum.attention.decoders import find_decoder
from multum.attention.generation_record import ForwardFacts, Snapshot, bytes_read, records_of
from multum.attention.kv_cache import SparseCache
from multum.attention.layer_record import LayerRecord
from multum.attention.record_facts import dense_cache_bytes
from multum.attention.sparse_schedule import GenerationSchedule
from multum.core import UserError

if TYPE_CHECKING:
    from multum.accelerator import Workload
    from multum.cost import Cost


class GenerationRun:
    """What the model did inside the block, since the latest cache was begun."""

    def __init__(
        self, model: nn.Module, schedule: GenerationSchedule, *, impl: str, keep_history: bool
    ) -> None:
        self.schedule, self.impl, self.keep_history = schedule, impl, keep_history
        self._model, self._decoder = model, find_decoder(model)
        self._cache: SparseCache | None = None

    @property
    def cache(self) -> SparseCache:
        """The cache of the latest forward.

        Raises:
            UserError: The model has not run inside the block yet.
        """
        if self._cache is None:
            raise UserError(
                "the model must have run inside the block; got no forward yet; call model.generate(...) first"
            )
        return self._cache

    def new_cache(self) -> SparseCache:
        """Make an empty cache, to be passed as `past_key_values` by who calls the model itself."""
        return SparseCache(self._model, self.schedule)

    def use(self, cache: SparseCache) -> None:
        """Take over the cache of the forward that begins."""
        cache.keep_history = self.keep_history
        self._cache = cache

    @property
    def records(self) -> tuple[LayerRecord, ...]:
        """What each layer did in each forward since the cache was begun, in whole numbers.

        Sequences are numbered as they were in that forward: beams change places from one to the next.
        """
        return tuple(records_of(self.cache.forwards, self.schedule, self._decoder.head_width))

    @property
    def steps(self) -> tuple[ForwardFacts, ...]:
        """The forwards that added one token to each sequence."""
        return tuple(facts for facts in self.cache.forwards if facts.is_step)

    @property
    def lsb_rate(self) -> float:
        """The part of the generated tokens' query rows, head by head, that fetched the second plane; 0 without one."""
        flat = sum(int(facts.flat_BX.sum()) for facts in self.steps if facts.flat_BX is not None)
        rows = sum(facts.flat_BX.numel() for facts in self.steps if facts.flat_BX is not None)
        return flat / rows if rows else 0.0

    @property
    def bytes_read(self) -> int:
        """Bytes of the cache that all generated tokens read together, scales included."""
        return sum(sum(bytes_read(facts)) for facts in self.steps)

    @property
    def bytes_read_per_token(self) -> float:
        """Bytes of the cache that a generated token read on average; 0 when none was generated."""
        tokens = sum(len(facts.num_queries) for facts in self.steps)
        return self.bytes_read / tokens if tokens else 0.0

    @property
    def bytes_held(self) -> int:
        """Bytes of the memory behind all keys and values now, scales and free slots included."""
        return self.cache.num_bytes_held

    @property
    def dense_bytes_read_per_token(self) -> float:
        """Bytes that a generated token would have read on average of a dense float32 cache."""
        lengths = [length for facts in self.steps for length in facts.length_B]
        return self._dense_bytes(sum(lengths)) / len(lengths) if lengths else 0.0

    @property
    def dense_bytes_held(self) -> int:
        """Bytes that a dense float32 cache would hold now, padding left aside."""
        return self._dense_bytes(sum(self.cache.tokens.lengths))

    @property
    def history(self) -> tuple[Snapshot, ...]:
        """After each forward, the tokens that each stage of layers kept and what they had earned.

        Raises:
            UserError: The block was not opened with `keep_history=True`.
        """
        if not self.keep_history:
            raise UserError("keep_history must be True for pictures; got False; open the block with it")
        return tuple(facts.snapshot for facts in self.cache.forwards if facts.snapshot is not None)

    def kept_positions(self, layer: int, sequence: int = 0) -> tuple[int, ...]:
        """Which tokens of a sequence a layer holds now: places in the sequence, padding not counted, ascending."""
        stage = self.cache.tokens.stage_of(layer)
        return tuple(sorted(stage.position_BC[sequence, : int(stage.count_B[sequence])].tolist()))

    def workload(self, sentence: int = 0) -> "Workload":
        """The accelerator's view of one sequence of the run."""
        from multum.attention.workload import workload_of

        return workload_of(self.records, sentence)

    def cost(self) -> "Cost":
        """What the run cost, all sequences of the batch together."""
        from multum.attention.priced import cost_of

        return cost_of(self._model, self.records)

    def _dense_bytes(self, num_tokens: int) -> int:
        sizes = {"num_layers": self._decoder.num_layers, "num_groups": self._decoder.num_groups}
        return dense_cache_bytes(num_tokens, head_width=self._decoder.head_width, **sizes)
