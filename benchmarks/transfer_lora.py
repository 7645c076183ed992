"""peft's LoRA trained as a mode of `multum transfer` is: the same pictures, variation, optimizer and schedule."""

import json
from functools import partial

import torch

from benchmarks.registry import Setting
from benchmarks.transfer_peft import LORA, RANK, ask_peft, with_lora
from benchmarks.transfer_trials import PROBLEMS, Problem, Trial
from multum.core import Run, say, to_dict
from multum.transfer import Mode, make_stock
from multum.transfer.train import Training
from multum.transfer.train_command import Network, adapted_network, fresh_backbone, judge_part
from multum.transfer.train_data import load_data

CHILD = """
import sys
from benchmarks.transfer_lora import train
train(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), bool(int(sys.argv[4])))
"""


def learned_with_lora(problem: Problem, _mode: Mode, rate: float, seed: int, setting: Setting) -> Trial:
    """Train in peft's environment, or take what was trained; the mode only tells which rates are tried."""
    config = problem.wish("last", rate, seed, setting)
    folder = problem.folder(f"{LORA}-{rate:g}-{seed}", setting)
    with Run.open(folder, {**to_dict(config), "rank": RANK}, resume=True, seed=seed) as run:
        say(f"training {problem.name} {folder.name}")
        words = (problem.name, str(rate), str(seed), str(int(setting.quick)))
        found = run.stage("trained", partial(ask_peft, CHILD, *words))
    return Trial(**found)


def train(name: str, rate: float, seed: int, quick: bool) -> None:
    """Print the accuracies of a training in percent; run by a process of its own."""
    problem, setting = PROBLEMS[name], Setting(quick=quick)
    torch.set_num_threads(setting.num_threads)
    config = problem.wish("last", rate, seed, setting)
    backbone = fresh_backbone(config)
    data = load_data(config, config.side or backbone.resolution, backbone.scaling)
    network = adapted_network(config, backbone, len(data.pictures.folder.classes))
    make_stock(network.model)
    model = with_lora(network.model, network.adapted.classifier)
    classifier = f"base_model.model.{network.adapted.classifier}"
    Training(model, classifier, data, config, problem.folder(f"{LORA}-{rate:g}-{seed}", setting)).run()
    trained = Network(model=model, adapted=network.adapted, side=network.side)

    def known(samples: tuple[int, ...]) -> float:
        return 100 * judge_part(trained, data.pictures, samples, config.batch_size).accuracy

    print(json.dumps({"validation": known(data.split.validation), "test": known(data.split.test)}))
