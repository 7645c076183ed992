"""The paper's accounting of training memory against its published tables and counts."""

import pytest
import torch
from torch import nn

from multum.core import UserError, published
from multum.transfer import MODES, Mode, paper_ledger, paper_network
from small_cnns import small_mobile


@pytest.mark.parametrize("mode", MODES)
def test_modes_take_what_the_paper_prints(mode: Mode) -> None:
    printed = published("tinytl", f"memory_{mode.replace('+', '_')}").number
    assert round(paper_ledger(paper_network(mode)).total_mb(batch=8)) == printed


def test_larger_pictures_take_what_the_paper_prints() -> None:
    printed = published("tinytl", "memory_lite_bias_320").number
    assert round(paper_ledger(paper_network("lite+bias"), 320).total_mb(batch=8)) == printed


def test_full_and_lite_bias_are_exact() -> None:
    full, small = paper_ledger(paper_network("full")), paper_ledger(paper_network("lite+bias"))
    assert (full.num_trained, full.num_frozen, round(full.total_mb(), 2)) == (4_746_590, 0, 390.84)
    assert (small.num_trained, small.num_frozen, round(small.total_mb(), 2)) == (1_962_310, 2_784_280, 37.13)


def test_charges_by_hand() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, groups=1), nn.ReLU(), nn.Hardswish(), nn.Flatten(), nn.Linear(4096, 2)
    )
    ledger = paper_ledger(net, 32)
    pixels = 32 * 32
    saved = [4 * 3 * pixels, 4 * pixels / 8, 4 * 4 * pixels, 0, 4 * 4096]
    running = [4 * 3 * pixels + 4 * 4 * pixels, 4 * 4 * pixels, 4 * 4 * pixels, 0, 4 * 4096 + 4 * 2]
    assert [it.saved for it in ledger.layers] == saved
    assert [it.while_running for it in ledger.layers] == running
    levels = [sum(saved[:place]) + running[place] for place in range(5)]
    assert ledger.peak_activation_bytes == max(levels)
    assert ledger.total_mb(3) == (3 * max(levels) + 4 * ledger.num_trained) / 1e6


def test_masks_count_as_soon_as_more_than_the_last_layer_trains() -> None:
    net = small_mobile().requires_grad_(False)
    net.classifier.requires_grad_()
    only_last = paper_ledger(net, 64)
    assert sum(it.saved for it in only_last.layers) == 4 * 32
    net.stem[1].bias.requires_grad_()
    kinds = {it.kind for it in paper_ledger(net, 64).layers if it.saved}
    assert kinds == {"ReLU6", "Linear"}


def test_an_identity_charges_the_input_of_its_block() -> None:
    ledger = paper_ledger(small_mobile(), 64)
    inside = {it.path.split(".")[1] for it in ledger.layers if it.residual}
    assert inside == {"0", "2", "4"}  # stride 1, as many channels in as out
    assert {it.residual for it in ledger.layers if it.path.startswith("blocks.2.")} == {4 * 12 * 16 * 16}


def test_the_network_is_left_alone() -> None:
    net = small_mobile()
    before = {name: it.clone() for name, it in net.state_dict().items()}
    paper_ledger(net, 64)
    assert all(torch.equal(it, before[name]) for name, it in net.state_dict().items())


def test_misfits_are_named() -> None:
    ledger = paper_ledger(small_mobile(), 64)
    with pytest.raises(UserError, match="batch must be at least 1; got 0"):
        ledger.total_mb(0)
    with pytest.raises(UserError, match="picture_size must be at least 32; got 8"):
        paper_ledger(small_mobile(), 8)
