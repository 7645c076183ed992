"""What the command line can name: folders, exported programs, functions, and every wrong one."""

import json
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from multum.core.errors import UserError
from multum.cost import CostConfig, InputWish, load_model, run_cost
from multum.cost.load_export import reasons_for_distrust


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("models") / "tiny-gpt2"
    config = GPT2Config(
        n_embd=16,
        n_layer=1,
        n_head=2,
        vocab_size=50,
        n_positions=32,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=7,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


class TwoLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x)) * x.shape[0]


def export(path: Path, model: nn.Module, *args: Any, **kwargs: Any) -> Path:
    torch.export.save(torch.export.export(model, args, kwargs), path)
    return path


def rewritten(
    source: Path, target: Path, change: Callable[[str, bytes], Iterator[tuple[str, bytes]]]
) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            for new_name, data in change(name, old.read(name)):
                new.writestr(new_name, data)
    return target


class Trap:
    """What an attacker would put into a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("code from inside a file was run",))


class TestFolders:
    def test_a_model_is_loaded_with_its_head_and_its_inputs(self, tiny_folder: Path) -> None:
        loaded = load_model(str(tiny_folder), InputWish(batch=3, length=20))
        assert type(loaded.model).__name__ == "GPT2LMHeadModel"
        assert loaded.name == "GPT2LMHeadModel (tiny-gpt2)"
        assert loaded.inputs["input_ids"].shape == (3, 20)
        assert 7 not in loaded.inputs["input_ids"]  # padding would shorten the texts
        assert loaded.model(**loaded.inputs).logits.shape == (3, 20, 50)

    def test_length_is_bounded_by_the_model(self, tiny_folder: Path) -> None:
        assert load_model(str(tiny_folder)).inputs["input_ids"].shape == (1, 32)
        with pytest.raises(UserError, match="length must be at most 32, the positions of this model; got 33"):
            load_model(str(tiny_folder), InputWish(length=33))

    def test_the_same_seed_gives_the_same_inputs(self, tiny_folder: Path) -> None:
        first, second = (
            load_model(str(tiny_folder), InputWish(seed=5)).inputs["input_ids"] for _ in range(2)
        )
        assert torch.equal(first, second)

    def test_random_weights_cost_the_same(self, tiny_folder: Path, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text((tiny_folder / "config.json").read_text())
        with pytest.raises(
            UserError, match=r"must be one with \*.safetensors weights; got \['config.json'\]"
        ):
            load_model(str(tmp_path))
        read, built = (
            run_cost(CostConfig(target=str(folder), latency=False, random_weights=folder == tmp_path))
            for folder in (tiny_folder, tmp_path)
        )
        assert (read.macs, read.peak_live_bytes) == (built.macs, built.peak_live_bytes)

    def test_weights_come_in_the_type_that_was_asked_for(self, tiny_folder: Path) -> None:
        loaded = load_model(str(tiny_folder), dtype=torch.bfloat16)
        assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}

    def test_pictures_are_made_for_a_vision_model(self, tmp_path: Path) -> None:
        from transformers import ViTConfig, ViTModel

        config = ViTConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=32,
            patch_size=8,
        )
        ViTModel(config).save_pretrained(tmp_path)
        loaded = load_model(str(tmp_path), InputWish(batch=2))
        assert loaded.inputs["pixel_values"].shape == (2, 3, 32, 32)
        assert loaded.model(**loaded.inputs).last_hidden_state.shape == (2, 17, 16)

    def test_a_folder_without_a_model_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("hello")
        with pytest.raises(UserError, match=r"must be one with a config.json; got \['notes.txt'\]"):
            load_model(str(tmp_path))

    @pytest.mark.parametrize("text", ["{", '{"model_type": "unheard-of"}', "{}"])
    def test_a_configuration_that_nobody_understands_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match="must describe an architecture that transformers knows"):
            load_model(str(tmp_path))

    def test_broken_weights_are_told_with_their_folder(self, tiny_folder: Path, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text((tiny_folder / "config.json").read_text())
        (tmp_path / "model.safetensors").write_bytes(b"\x00" * 64)
        with pytest.raises(UserError, match=r"must fit its config.json"):
            load_model(str(tmp_path))


class TestExportedPrograms:
    def test_a_program_is_measured_with_its_layers(self, tmp_path: Path) -> None:
        path = export(tmp_path / "net.pt2", TwoLayers(), torch.zeros(3, 4))
        assert list(reasons_for_distrust(path)) == []
        cost = run_cost(CostConfig(target=str(path), latency=False))
        assert (cost.name, cost.macs, cost.num_parameters) == ("net", 3 * (32 + 16), 58)
        assert {row.path: row.macs for row in cost.layers if row.macs} == {"body.0": 96, "head": 48}

    def test_sizes_may_vary_in_a_calm_program(self, tmp_path: Path) -> None:
        batch = torch.export.Dim("batch", min=2, max=64)
        program = torch.export.export(TwoLayers(), (torch.zeros(6, 4),), dynamic_shapes={"x": {0: 2 * batch}})
        path = tmp_path / "net.pt2"
        torch.export.save(program, path)
        assert list(reasons_for_distrust(path)) == []
        assert load_model(str(path)).inputs[0].shape == (6, 4)

    def test_keyword_inputs_are_kept(self, tmp_path: Path) -> None:
        path = export(tmp_path / "net.pt2", TwoLayers(), x=torch.zeros(3, 4))
        assert run_cost(CostConfig(target=str(path), latency=False)).macs == 144

    def test_a_training_step_of_a_program(self, tmp_path: Path) -> None:
        path = export(tmp_path / "net.pt2", TwoLayers(), torch.zeros(3, 4))
        cost = run_cost(CostConfig(target=str(path), mode="training", optimizer="adamw", latency=False))
        assert cost.macs == 3 * (2 * 32 + 3 * 16)
        assert cost.optimizer_bytes == 2 * 58 * 4 + 4 * 4

    def test_pickled_tensors_need_trust(self, tmp_path: Path) -> None:
        path = export(tmp_path / "calm.pt2", TwoLayers(), torch.zeros(3, 4))

        def change(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
            if name.endswith("model_weights_config.json"):
                config = json.loads(data)
                next(iter(config["config"].values()))["use_pickle"] = True
                data = json.dumps(config).encode()
            yield name, data

        trap = rewritten(path, tmp_path / "trap.pt2", change)
        with pytest.raises(
            UserError, match=r"can run code that the file brings: .*pickled tensors; .* say --trust"
        ):
            load_model(str(trap))

    def test_sample_inputs_that_hide_code_need_trust(self, tmp_path: Path) -> None:
        path = export(tmp_path / "calm.pt2", TwoLayers(), torch.zeros(3, 4))

        def change(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
            yield name, pickle.dumps(Trap()) if "sample_inputs" in name else data

        trap = rewritten(path, tmp_path / "trap.pt2", change)
        with pytest.raises(UserError, match="holds more than tensors"):
            load_model(str(trap))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("torch.ops.aten.relu.default", "torch.hub.load"),
            ("torch.ops.aten.relu.default", "_operator.methodcaller"),
        ],
    )
    def test_nodes_that_call_anything_else_need_trust(self, tmp_path: Path, old: str, new: str) -> None:
        path = export(tmp_path / "calm.pt2", TwoLayers(), torch.zeros(3, 4))

        def change(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
            yield name, data.replace(old.encode(), new.encode()) if "models/" in name else data

        trap = rewritten(path, tmp_path / "trap.pt2", change)
        with pytest.raises(UserError, match=f"calls {new}"):
            load_model(str(trap))

    def test_sizes_that_are_programs_need_trust(self, tmp_path: Path) -> None:
        batch = torch.export.Dim("batch", min=2, max=64)
        program = torch.export.export(TwoLayers(), (torch.zeros(6, 4),), dynamic_shapes={"x": {0: batch}})
        torch.export.save(program, tmp_path / "calm.pt2")

        def change(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
            yield name, data.replace(b"Symbol(", b"__import__('os').getpid(") if "models/" in name else data

        trap = rewritten(tmp_path / "calm.pt2", tmp_path / "trap.pt2", change)
        with pytest.raises(UserError, match="computes a size as"):
            load_model(str(trap))

    @pytest.mark.parametrize("place", ["data/aotinductor/model/code.so", "data/constants/custom_obj_0"])
    def test_foreign_parts_need_trust(self, tmp_path: Path, place: str) -> None:
        path = export(tmp_path / "calm.pt2", TwoLayers(), torch.zeros(3, 4))

        def change(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
            yield name, data
            if name.endswith("archive_format"):
                yield name.replace("archive_format", place), b"code"

        trap = rewritten(path, tmp_path / "trap.pt2", change)
        assert len(list(reasons_for_distrust(trap))) == 1

    def test_a_trusted_file_is_loaded_as_it_is(self, tmp_path: Path) -> None:
        path = export(tmp_path / "calm.pt2", TwoLayers(), torch.zeros(3, 4))
        trusted = rewritten(
            path,
            tmp_path / "odd.pt2",
            lambda name, data: iter(
                [(name, data)]
                + ([(name.replace("archive_format", "notes/x"), b"")] if "archive_format" in name else [])
            ),
        )
        with pytest.raises(UserError, match="notes/x is not part of a plain program"):
            load_model(str(trusted))
        assert run_cost(CostConfig(target=str(trusted), latency=False, trust=True)).macs == 144

    @pytest.mark.parametrize("trust", [False, True])
    def test_a_file_that_is_none_is_refused(self, tmp_path: Path, trust: bool, recwarn: Any) -> None:
        (tmp_path / "net.pt2").write_bytes(b"hello")
        with pytest.raises(UserError, match=r"must be a program saved by torch.export.save"):
            load_model(str(tmp_path / "net.pt2"), trust=trust)

    def test_a_missing_file_is_told(self) -> None:
        with pytest.raises(UserError, match=r"model must be an existing .pt2 file; got 'nowhere.pt2'"):
            load_model("nowhere.pt2")


class TestFunctions:
    @pytest.fixture(autouse=True)
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        (tmp_path / "my_models_for_cost.py").write_text(
            "import torch\n"
            "def alone(): return torch.nn.Linear(4, 2)\n"
            "def both(): return torch.nn.Linear(4, 2), torch.zeros(3, 4)\n"
            "def neither(): return 5\n"
            "number = 5\n"
        )
        monkeypatch.chdir(tmp_path)
        before = list(sys.path)
        yield
        sys.modules.pop("my_models_for_cost", None)
        assert sys.path == before

    def test_model_and_inputs(self) -> None:
        assert run_cost(CostConfig(target="my_models_for_cost:both", latency=False)).macs == 24

    def test_model_and_a_shape(self) -> None:
        assert run_cost(CostConfig(target="my_models_for_cost:alone", shape=(5, 4), latency=False)).macs == 40

    def test_model_without_inputs_asks_for_a_shape(self) -> None:
        with pytest.raises(UserError, match=r"returns \(model, inputs\); got 'Linear'; or name a --shape"):
            load_model("my_models_for_cost:alone")

    def test_what_is_no_model_is_refused(self) -> None:
        with pytest.raises(
            TypeError,
            match=r"must be a function that returns a torch.nn.Module, or one and its inputs; got 5",
        ):
            load_model("my_models_for_cost:neither")

    @pytest.mark.parametrize("name", ["number", "missing", ""])
    def test_what_is_no_function_is_refused(self, name: str) -> None:
        with pytest.raises(UserError, match="module:function with a function of my_models_for_cost"):
            load_model(f"my_models_for_cost:{name}")

    @pytest.mark.parametrize("target", ["no_such_module_anywhere:f", ":f"])
    def test_a_module_that_cannot_be_imported_is_told(self, target: str) -> None:
        with pytest.raises(UserError, match=r"cannot be imported|module:function"):
            load_model(target)

    def test_options_for_folders_are_not_skipped_silently(self) -> None:
        with pytest.raises(UserError, match="random_weights must be left alone unless the target is"):
            load_model("my_models_for_cost:both", random_weights=True)
        with pytest.raises(UserError, match="dtype must be left alone unless"):
            load_model("my_models_for_cost:both", dtype=torch.bfloat16)


class TestWishes:
    @pytest.mark.parametrize("target", ["nothing-like-this", "no/such/folder"])
    def test_a_target_of_no_kind_names_the_three_kinds(self, target: str) -> None:
        with pytest.raises(UserError, match=r"a .pt2 file of torch.export, or module:function; got"):
            load_model(target)

    @pytest.mark.parametrize(
        "wish", [InputWish(batch=0), InputWish(length=0), InputWish(shape=()), InputWish(shape=(3, 0))]
    )
    def test_senseless_sizes_are_refused(self, wish: InputWish) -> None:
        with pytest.raises(UserError, match="at least 1"):
            load_model("torch.nn:Identity", wish)

    @pytest.mark.parametrize("device", ["toaster", "cuda:99"])
    def test_a_device_that_is_not_there_is_told(self, device: str) -> None:
        with pytest.raises(UserError, match="device must be one that torch can use here"):
            run_cost(CostConfig(target="torch.nn:Identity", shape=(1,), device=device))

    def test_latency_is_taken_with_the_threads_asked_for(self) -> None:
        cost = run_cost(CostConfig(target="torch.nn:Identity", shape=(1,), threads=2))
        assert cost.latency is not None
        assert cost.latency.num_threads == 2


def test_a_function_that_needs_arguments_is_refused_with_what_it_misses() -> None:
    with pytest.raises(UserError, match=r"needs no arguments; got 'torch.nn:Linear'; missing .*in_features"):
        load_model("torch.nn:Linear", InputWish())
