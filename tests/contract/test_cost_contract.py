"""What `measure` promises for any module, on any device: one suite, many models."""

import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from multum.cost import Cost, Mode, measure

DEVICES = ["cpu", *([pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else [])]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.head = nn.Linear(8, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(tokens))


class CalledTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shared(self.shared(x).relu_()) + x


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, pair: dict[str, torch.Tensor], *, scale: float) -> dict[str, Any]:
        hidden = self.layer(pair["left"]) * scale + pair["right"]
        return {"hidden": [hidden, (hidden[:, :2], hidden.argmax(1))], "none": None}


class DataDependent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        chosen = x[x.sum(1) > 0]
        noise = torch.rand(chosen.shape[0] + 1, 8, device=x.device)
        return self.layer(torch.cat([chosen, noise])).sum(0)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.register_buffer("seen", torch.zeros(1))
        self.num_calls = 0
        self.cache: dict[str, torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.num_calls += 1
        self.seen += 1
        self.cache["last"] = self.layer(x).detach()
        x.mul_(2)
        return self.layer(x)


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.body, x, use_reentrant=False)


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.square = x * x
        return ctx.square * x

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return 3 * ctx.square * grad


class WithCube(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Cube.apply(self.layer(x))


class Frozen(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        self[0].requires_grad_(False)


class MadeInside(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.Linear(8, 4, device=x.device)(x)


def bfloat16() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 4)).bfloat16()


def features() -> torch.Tensor:
    return torch.randn(4, 8)


def tokens() -> torch.Tensor:
    return torch.randint(0, 50, (2, 6))


def pictures() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16)


def convolutions() -> nn.Module:
    deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), deep, nn.ReLU(True), nn.ConvTranspose2d(8, 3, 2, 2)
    )


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "linear": (lambda: nn.Linear(8, 4), features),
    "tied": (Tied, tokens),
    "called twice": (CalledTwice, features),
    "nested": (Nested, lambda: {"pair": {"left": features(), "right": features()}, "scale": 0.5}),
    "data dependent": (DataDependent, features),
    "counting": (Counting, features),
    "checkpointed": (Checkpointed, features),
    "python function": (WithCube, features),
    "frozen": (Frozen, features),
    "no parameters": (nn.ReLU, features),
    "made inside": (MadeInside, features),
    "bfloat16": (bfloat16, lambda: features().bfloat16()),
    "convolutions": (convolutions, pictures),
    "recurrent": (lambda: nn.LSTM(8, 16, batch_first=True, bidirectional=True), lambda: torch.randn(2, 5, 8)),
    "attention": (
        lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True),
        lambda: torch.randn(2, 5, 16),
    ),
    "dropout": (lambda: nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)), features),
    "two arguments": (lambda: nn.Bilinear(8, 8, 3), lambda: (features(), features())),
    "embedding bag": (lambda: nn.EmbeddingBag(50, 8), tokens),
    "sparse gradient": (lambda: nn.Embedding(50, 8, sparse=True), tokens),
    "double": (lambda: nn.Conv1d(8, 4, 3).double(), lambda: torch.randn(2, 8, 9).double()),
}
MODES: tuple[Mode, ...] = ("inference", "training")


def moved(value: Any, device: str) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: moved(part, device) for key, part in value.items()}
    return tuple(moved(part, device) for part in value) if isinstance(value, tuple) else value


def tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors(part)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", MODELS)
class TestAnyModel:
    @staticmethod
    def build(name: str, device: str) -> tuple[nn.Module, Any]:
        torch.manual_seed(0)
        make, inputs = MODELS[name]
        return make().to(device), moved(inputs(), device)

    @staticmethod
    @functools.cache
    def read(name: str, mode: Mode, device: str) -> Cost:
        model, inputs = TestAnyModel.build(name, device)
        adam = torch.optim.SparseAdam if name == "sparse gradient" else torch.optim.Adam
        return measure(
            model, inputs, mode=mode, optimizer=adam if mode == "training" else None, latency=False
        )

    def test_layers_add_up_to_the_model(self, name: str, mode: Mode, device: str) -> None:
        cost = self.read(name, mode, device)
        rows = cost.layers
        assert sum(row.macs for row in rows) == cost.macs
        assert sum(row.attention_macs for row in rows) == cost.attention_macs
        assert sum(row.dram_read_bytes + row.dram_written_bytes for row in rows) == cost.dram_bytes
        assert sum(row.kept_bytes for row in rows) == cost.kept_bytes
        assert sum(row.num_parameters for row in rows) == cost.num_parameters
        assert max(row.peak_live_bytes for row in rows) <= cost.peak_live_bytes

    def test_bounds_hold(self, name: str, mode: Mode, device: str) -> None:
        cost = self.read(name, mode, device)
        assert 0 < cost.dram_floor_bytes <= cost.dram_bytes
        assert cost.resident_bytes >= cost.parameter_bytes + cost.buffer_bytes + cost.input_bytes
        assert cost.peak_live_bytes >= cost.resident_bytes + cost.gradient_bytes
        assert cost.peak_live_bytes == max(moment.live_bytes for moment in cost.timeline)
        assert cost.attention_macs <= cost.macs
        assert cost.uncounted_ops == ()
        assert all(
            row.dram_floor_bytes <= row.dram_read_bytes + row.dram_written_bytes for row in cost.layers
        )
        if mode == "inference":
            assert cost.kept_bytes == cost.gradient_bytes == cost.optimizer_bytes == 0

    def test_nothing_is_changed(self, name: str, mode: Mode, device: str) -> None:
        model, inputs = self.build(name, device)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 0.25)
        modules = list(model.modules())
        flags = [module.training for module in modules]
        plain = [
            {k: copy.copy(v) for k, v in vars(module).items() if isinstance(v, (int, float, dict))}
            for module in modules
        ]
        state = {key: value.clone() for key, value in model.state_dict().items()}
        inputs_before = [tensor.clone() for tensor in tensors(inputs)]
        random_before = torch.get_rng_state()
        measure(model, inputs, mode=mode, optimizer=None, min_run_seconds=1e-4)
        assert torch.equal(torch.get_rng_state(), random_before)
        assert [module.training for module in modules] == flags
        for module, before in zip(modules, plain, strict=True):
            assert vars(module).keys() >= before.keys()
            assert all(
                vars(module)[key].keys() == value.keys()
                for key, value in before.items()
                if isinstance(value, dict)
            )
            assert all(
                vars(module)[key] == value for key, value in before.items() if not isinstance(value, dict)
            )
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
        assert all(torch.equal(*pair) for pair in zip(tensors(inputs), inputs_before, strict=True))
        assert all(bool((parameter.grad == 0.25).all()) for parameter in model.parameters())

    def test_measuring_twice_gives_the_same(self, name: str, mode: Mode, device: str) -> None:
        model, inputs = self.build(name, device)
        first, second = (measure(model, inputs, mode=mode, latency=False) for _ in range(2))
        assert first == second

    def test_survives_json(self, name: str, mode: Mode, device: str) -> None:
        cost = self.read(name, mode, device)
        assert Cost.from_dict(cost.to_dict()) == cost
