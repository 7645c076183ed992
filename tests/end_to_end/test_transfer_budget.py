"""A training stays within its budget under a hard limit of the system, where stock full fine-tuning dies."""

import subprocess
import sys
from pathlib import Path

import pytest

from multum.core.files import read_json

LINUX = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux counts and limits memory so"
)

BUDGET_MB = 64

STOCK = """
import sys, torch
from dataclasses import replace
from multum.cost.memory_limit import memory_limit
from multum.transfer import TransferConfig, make_stock
from multum.transfer.budget import warm_up
from multum.transfer.train_command import adapted_network, fresh_backbone

torch.set_num_threads(1)
config = TransferConfig(data="digits", backbone="mobilenet-v2", pretrained=False, side=96, mode="full")
warm_up(config)
with memory_limit(int(sys.argv[1])):
    network = adapted_network(config, fresh_backbone(config), 2)
    make_stock(network.model)
    for _ in range(2):
        network.model(torch.randn(8, 3, 96, 96)).square().sum().backward()
print("lived")
"""


def a_folder(place: Path) -> Path:
    from PIL import Image

    for index in range(12):
        path = place / ("light" if index % 2 else "dark") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (120, 90), (200, 210, 220) if index % 2 else (30, 20, 10)).save(path)
    return place


@LINUX
def test_a_budget_holds_where_stock_full_fine_tuning_dies(tmp_path: Path) -> None:
    pictures, run = a_folder(tmp_path / "pictures"), tmp_path / "run"
    options = f"--backbone mobilenet-v2 --no-pretrained --side 96 --num-epochs 2 --budget-mb {BUDGET_MB} --hard-limit"
    ours = subprocess.run(
        [
            sys.executable,
            "-m",
            "multum.cli",
            "transfer",
            "train",
            str(pictures),
            *options.split(),
            "--out",
            str(run),
        ],
        capture_output=True,
        text=True,
    )
    assert ours.returncode == 0, ours.stderr
    memory = read_json(run / "run.json")["result"]["memory"]
    assert memory["grown_bytes"] <= BUDGET_MB * 1_000_000
    predicted = memory["predicted_bytes"] - memory["cache_bytes"]  # small pictures fill no cache
    assert 0.75 * predicted < memory["grown_bytes"] < 1.05 * predicted
    lived = [
        subprocess.run([sys.executable, "-c", STOCK, str(limit)], capture_output=True, text=True)
        for limit in (memory["limit_bytes"], 10 * memory["limit_bytes"])
    ]
    assert "must not grow by more than" in lived[0].stderr
    assert lived[1].stdout == "lived\n", lived[1].stderr
