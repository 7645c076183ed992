"""Small Transformers with a head, of transformers and of torch alone, with weights and norms that say something."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

WIDTH, INNER, HEADS, LAYERS, TOKENS, BATCH = 32, 64, 4, 2, 10, 3


def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(
        BertConfig(
            vocab_size=99,
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=INNER,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )


def distilbert() -> nn.Module:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    sizes: dict[str, Any] = {"dim": WIDTH, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": INNER}
    return DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=99, dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0, **sizes)
    )


def vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(
        ViTConfig(
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=INNER,
            image_size=24,
            patch_size=8,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )


class PlainEncoder(nn.Module):
    """torch's own encoder, and a linear layer on the mean of its tokens."""

    def __init__(self, activation: str = "relu") -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, INNER, dropout=0.0, activation=activation, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.classifier = nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.encoder(x).mean(1))
        return scores


MAKE: dict[str, Callable[[], nn.Module]] = {
    "bert": bert,
    "distilbert": distilbert,
    "vit": vit,
    "plain": PlainEncoder,
}


def make_transformer(kind: str) -> nn.Module:
    """One of `MAKE` in float64, always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = MAKE[kind]().double()
        for name, it in model.named_parameters():
            if it.dim() >= 2:
                nn.init.normal_(it, std=0.2)
            elif name.endswith("bias"):
                nn.init.normal_(it, std=0.1)
    return model.train()


def draw_example(kind: str) -> Tensor:
    """What goes into it: ids of tokens, pictures, or vectors."""
    generator = torch.Generator().manual_seed(5)
    if kind in ("bert", "distilbert"):
        return torch.randint(1, 99, (BATCH, TOKENS), generator=generator)
    shape = (BATCH, 3, 24, 24) if kind == "vit" else (BATCH, TOKENS, WIDTH)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def scores_of(model: nn.Module, example: Tensor) -> Tensor:
    """The numbers for each class."""
    found = model(example)
    scores: Tensor = found if isinstance(found, Tensor) else found.logits
    return scores
