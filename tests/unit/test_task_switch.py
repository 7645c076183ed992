"""Tasks on one backbone: each is what it is alone, the backbone is there once, and comes back bit for bit."""

import copy

import pytest
import torch
from torch import nn

from multum.core import UserError
from multum.transfer import Delta, TaskSwitch, adapt, take_delta, to_int8
from multum.transfer.modes import Mode
from small_cnns import foreign_residual, small_mobile

PICTURES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
TASKS: dict[str, tuple[Mode, int]] = {
    "birds": ("lite+bias", 4),
    "cars": ("bias", 3),
    "pets": ("last", 6),
    "food": ("lite", 2),
    "all": ("full", 5),
}


def task_of(backbone: nn.Module, mode: Mode, num_classes: int) -> tuple[nn.Module, Delta]:
    model = copy.deepcopy(backbone)
    adapted = adapt(model, mode, example=PICTURES, num_classes=num_classes)
    with torch.no_grad():
        for it in model.parameters():
            if it.requires_grad:
                it.add_(0.1 * torch.randn_like(it))
    return model.eval(), take_delta(model, adapted)


def all_tasks(backbone: nn.Module) -> tuple[TaskSwitch, dict[str, nn.Module]]:
    switch, alone = TaskSwitch(backbone), {}
    for name, (mode, num_classes) in TASKS.items():
        alone[name], delta = task_of(backbone, mode, num_classes)
        switch.add(name, delta)
    return switch, alone


def snapshot(model: nn.Module) -> list[tuple[str, int, torch.Tensor]]:
    state = model.state_dict(keep_vars=True)
    return [(name, it.data_ptr(), it.detach().clone()) for name, it in state.items()]


def fail_within(switch: TaskSwitch, name: str) -> None:
    with switch.use(name):
        raise KeyError


def assert_same(
    found: list[tuple[str, int, torch.Tensor]], expected: list[tuple[str, int, torch.Tensor]]
) -> None:
    assert [it[:2] for it in found] == [it[:2] for it in expected]
    assert all(torch.equal(mine[2], theirs[2]) for mine, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize("make", [small_mobile, foreign_residual])
def test_each_task_is_what_it_is_alone_and_off_is_the_original(make: type) -> None:
    backbone = make().eval()
    before, kinds, expected = snapshot(backbone), [type(it) for it in backbone.modules()], backbone(PICTURES)
    switch, alone = all_tasks(backbone)
    assert_same(snapshot(backbone), before)
    for name in (*TASKS, *reversed(TASKS), "birds", "food"):
        switch.use(name)
        assert switch.active == name
        torch.testing.assert_close(backbone(PICTURES), alone[name](PICTURES), rtol=1e-5, atol=1e-6)
        for own, tensor in alone[name].state_dict().items():
            assert torch.equal(backbone.state_dict()[own], tensor), own
    switch.off()
    assert switch.active is None
    assert_same(snapshot(backbone), before)
    assert [type(it) for it in backbone.modules()] == kinds
    assert torch.equal(backbone(PICTURES), expected)
    assert all(it.requires_grad for it in backbone.parameters())


def test_the_backbone_is_in_memory_once() -> None:
    backbone = small_mobile().eval()
    own = {name: it.data_ptr() for name, it in backbone.state_dict().items()}
    switch, _ = all_tasks(backbone)
    for name in TASKS:
        delta_names = {it.replace(".block.", ".") for it in switch.tasks[name].trained}
        with switch.use(name):
            state = backbone.state_dict()
        for key, tensor in state.items():
            plain = key.replace(".block.", ".")
            if plain in own and plain not in delta_names:
                assert tensor.data_ptr() == own[plain], key
            elif plain in own:
                assert tensor.data_ptr() != own[plain], key


def test_a_block_ends_with_what_was_before_errors_included() -> None:
    backbone = small_mobile().eval()
    switch, _ = all_tasks(backbone)
    before = snapshot(backbone)
    with switch.use("birds"):
        birds = snapshot(backbone)
        with switch.use("cars"):
            assert switch.active == "cars"
        assert_same(snapshot(backbone), birds)
        with pytest.raises(KeyError):
            fail_within(switch, "pets")
        assert_same(snapshot(backbone), birds)
    assert_same(snapshot(backbone), before)


def test_a_task_can_be_added_while_another_is_in_use() -> None:
    backbone = small_mobile().eval()
    _, first = task_of(backbone, "lite+bias", 4)
    alone, second = task_of(backbone, "bias", 3)
    switch = TaskSwitch(backbone)
    switch.add("first", first)
    switch.use("first")
    in_use = snapshot(backbone)
    switch.add("second", second)
    assert switch.active == "first"
    assert_same(snapshot(backbone), in_use)
    switch.use("second")
    torch.testing.assert_close(backbone(PICTURES), alone(PICTURES), rtol=1e-5, atol=1e-6)


def test_what_is_not_there_or_does_not_fit_is_refused() -> None:
    backbone = small_mobile().eval()
    switch, _ = all_tasks(backbone)
    switch.use("cars")
    in_use = snapshot(backbone)
    with pytest.raises(UserError, match=r"name must be that of a task; got 'bird'; did you mean birds\?"):
        switch.use("bird")
    with pytest.raises(UserError, match="name must be new; got 'cars'; taken: birds, cars"):
        switch.add("cars", task_of(small_mobile(), "last", 3)[1])
    with pytest.raises(UserError, match="the backbone that the delta was made for"):
        switch.add("stranger", task_of(small_mobile(), "last", 3)[1])
    assert "stranger" not in switch.tasks
    assert_same(snapshot(backbone), in_use)


def test_tasks_share_a_backbone_in_int8() -> None:
    backbone = small_mobile().eval().requires_grad_(False)
    to_int8(backbone)
    codes = {name: it.data_ptr() for name, it in backbone.state_dict().items() if name.endswith("_int8")}
    before = snapshot(backbone)
    tasks = {name: task_of(backbone, *TASKS[name]) for name in ("birds", "cars")}
    switch = TaskSwitch(backbone)
    for name, (_, delta) in tasks.items():
        switch.add(name, delta)
    for name, (alone, _) in tasks.items():
        with switch.use(name):
            torch.testing.assert_close(backbone(PICTURES), alone(PICTURES), rtol=1e-5, atol=1e-6)
            state = {key.replace(".block.", "."): it.data_ptr() for key, it in backbone.state_dict().items()}
            assert all(state[key] == place for key, place in codes.items() if "classifier" not in key)
    assert_same(snapshot(backbone), before)
