"""A line of a reproduced table: what the paper says, what we get, and which assumptions stand between the two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from multum.accelerator.paper.numbers import paper_number
from multum.core import Published, invalid

ASSUMED: Mapping[str, str] = {
    "lengths": "lengths of BERT's sentences, of which the paper publishes none (benchmarks30.py)",
    "ratios": "one rule of ratios by length through the published means 1.9, 3.8 and 1.1 (assumptions.py)",
    "bits": "8 static bits for BERT; GPT-2's keys 6 + 4, its values 6 (assumptions.py)",
    "flat rows": "5.9 % of GPT-2's rows read the second plane, spread evenly",
    "mean": "the paper does not say of what its average is one; ours is named in the row",
    "HBM2 timings": "those of Ramulator 2's public model; refresh as of a channel of 8 Gb",
    "inputs of the fetcher": "each asks one pseudo-channel, and none waits behind another (crossbar.py)",
    "placement": "a pruned token leaves a hole in memory; nothing is moved together",
    "units": "how units overlap and how deep buffers are where the paper is silent (engine/reference.py)",
    "energy constants": "published energies at 45 nm, scaled (energy.py); no leakage, clock tree or control",
    "area constants": "published areas at 45 nm, scaled (area.py); no floor plan, wires or control",
    "data sheet": "a platform as its data sheet's roofline: the least time that it could need",
    "data-sheet power": "a platform draws what its maker says, which is above the dynamic power that was measured",
    "launches": "PyTorch's kernels of 2020, 20 us each, as NVIDIA measured on a Tesla V100 (roofline.py)",
    "fitted to Table IV": "launches of the TITAN Xp, fitted to its time for GPT-2-Medium's attention in Table IV",
    "A3": "its milder setting, keys sorted by 64 sorters for every head, ideal memory (a3.py)",
    "MNNFast": "every value kept, two arrays, ideal memory (mnnfast.py)",
    "rival energy": "products, operands from SRAM and the memory outside by our constants; nothing else",
    "weights": "SpAtten-e2e streams every weight once a token through both arrays (fully_connected.py)",
    "comparators": "the sorter has 64, the next power of two above the engine's 32",
}
"""Everything that a row may depend on and the paper does not say."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A published number and ours.

    Raises:
        UserError: A dependency that `ASSUMED` does not explain.

    >>> row = Row(what="DRAM access", key="dram_reduction", ours=8.0, depends_on=("lengths",))
    >>> row.paper, row.unit, round(row.error, 12)
    (10.0, 'x less', -0.2)
    """

    what: str
    """What it is a number of, and on what."""
    key: str
    """The published number, in `papers/spatten.toml`."""
    ours: float
    """What we get, in its unit."""
    depends_on: tuple[str, ...]
    """Assumptions that it rests on, by their names in `ASSUMED`."""
    fitted_to: str = ""
    """The published row that something behind it was fitted to, never this one; empty: nothing was."""
    is_input: bool = False
    """Whether the published number went in, so that no comparison is made."""

    def __post_init__(self) -> None:
        for name in self.depends_on:
            if name not in ASSUMED:
                raise invalid("depends_on", "names of ASSUMED", name)

    @property
    def source(self) -> Published:
        """The published number with its unit and place."""
        return paper_number(self.key)

    @property
    def paper(self) -> float:
        """What the paper says."""
        return self.source.number

    @property
    def unit(self) -> str:
        """The published number's."""
        return self.source.unit

    @property
    def error(self) -> float:
        """Ours over the paper's, less one."""
        return self.ours / self.paper - 1


OF_WORK = ("lengths", "ratios")
"""What every benchmark's counts rest on."""
OF_MACHINE = ("HBM2 timings", "placement", "units")
"""What every run rests on."""
OF_RUN = (*OF_WORK, "bits", "flat rows", *OF_MACHINE)
"""What every run of a benchmark rests on."""


def row_of(
    what: str, key: str, ours: float, *depends_on: str, fitted_to: str = "", is_input: bool = False
) -> Row:
    """A row in one line of code; see `Row`."""
    return Row(what=what, key=key, ours=ours, depends_on=depends_on, fitted_to=fitted_to, is_input=is_input)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows that belong together."""

    title: str
    """What they show."""
    rows: tuple[Row, ...]
    """The rows."""
    note: str = ""
    """What has to be known to read them."""


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's: 1 where both lists have the same order; no two numbers of a list may be equal.

    >>> rank_correlation([957.0, 436.0, 231.0, 71.0], [9.0, 5.0, 6.0, 1.0])
    0.8
    """
    count = len(first)
    if count < 2 or count != len(second) or len(set(first)) < count or len(set(second)) < count:
        raise invalid("both lists", "as long, at least two different numbers each", (first, second))
    places = [[sorted(it).index(value) for value in it] for it in (first, second)]
    apart: int = sum((a - b) * (a - b) for a, b in zip(*places, strict=True))
    return 1 - 6 * apart / (count * (count * count - 1))
