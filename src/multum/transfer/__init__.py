"""Transfer learning in little memory: what backward keeps, which parameters train, and what all of it costs."""

from multum.transfer.lean import LeanReport, lean, make_lean, make_stock
from multum.transfer.lite_residual import LitePlace, LiteResidual, WithLite, attach_lite, find_places
from multum.transfer.modes import MODES, Adapted, Mode, adapt, replace_classifier, set_trained
from multum.transfer.paper_ledger import LayerCharge, PaperLedger, paper_ledger, paper_network

__all__ = [
    "MODES",
    "Adapted",
    "LayerCharge",
    "LeanReport",
    "LitePlace",
    "LiteResidual",
    "Mode",
    "PaperLedger",
    "WithLite",
    "adapt",
    "attach_lite",
    "find_places",
    "lean",
    "make_lean",
    "make_stock",
    "paper_ledger",
    "paper_network",
    "replace_classifier",
    "set_trained",
]
