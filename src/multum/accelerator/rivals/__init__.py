"""What SpAtten is compared with: two accelerators, the same run without pruning, and general-purpose platforms."""

from multum.accelerator.rivals.a3 import A3, a3_aggressive, a3_conservative
from multum.accelerator.rivals.a3_candidates import (
    Candidates,
    greedy_candidates,
    rows_after_scoring,
    sort_channels,
    sorted_candidates,
)
from multum.accelerator.rivals.dense import dense_workload
from multum.accelerator.rivals.mnnfast import MnnFast
from multum.accelerator.rivals.rival_run import HeadShape, RivalRun
from multum.accelerator.rivals.roofline import (
    Roofline,
    eager_decoder,
    eager_encoder,
    fitted,
    implied_watts,
    jetson_nano,
    raspberry_pi_4,
    this_machine,
    titan_xp,
    titan_xp_fitted,
    xeon_e5_2640_v4,
)

__all__ = [
    "A3",
    "Candidates",
    "HeadShape",
    "MnnFast",
    "RivalRun",
    "Roofline",
    "a3_aggressive",
    "a3_conservative",
    "dense_workload",
    "eager_decoder",
    "eager_encoder",
    "fitted",
    "greedy_candidates",
    "implied_watts",
    "jetson_nano",
    "raspberry_pi_4",
    "rows_after_scoring",
    "sort_channels",
    "sorted_candidates",
    "this_machine",
    "titan_xp",
    "titan_xp_fitted",
    "xeon_e5_2640_v4",
]
