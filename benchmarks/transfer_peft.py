"""peft's LoRA on a convolutional network, in peft's own environment: what it takes to compare with it.

peft adapts convolutions without groups; of the networks here those are the ones of single pixels, and the stem. Of rank
8, on all that widen or narrow a block; the classifier trains as well, norms keep their statistics.
"""

from typing import Any

from torch import nn

from benchmarks.peers import ENVIRONMENTS, ask_environment
from multum.cost.witness import GROWTH_ENVIRONMENT

PEFT = "peft"
LORA = "peft_lora"
"""What the way is called in results."""
RANK, ALPHA = 8, 16
ADAPTED = r".*\.(expand|project)\.conv"


def with_lora(model: nn.Module, classifier: str = "classifier") -> nn.Module:
    """Freeze a network and put LoRA on it, in place; needs peft.

    Args:
        model: Of torch's own layers.
        classifier: Path of its last layer.
    """
    from peft import LoraConfig, get_peft_model

    config: Any = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=ADAPTED)
    found: Any = get_peft_model(model, config)
    model.get_submodule(classifier).requires_grad_()
    return found.eval()  # type: ignore[no-any-return]


def ask_peft(program: str, *arguments: str, grows: bool = False) -> dict[str, float]:
    """Run a program in peft's environment and return the numbers that it prints last, as JSON.

    Args:
        program: Python.
        arguments: Its own.
        grows: Whether it measures by how much it grows.

    Raises:
        PeerError: The environment is not installed.
    """
    return ask_environment(
        ENVIRONMENTS[PEFT], program, *arguments, settings=GROWTH_ENVIRONMENT if grows else {}
    )
