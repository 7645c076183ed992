"""Dense encoders under ONNX Runtime and OpenVINO, float32 and int8.

The model comes as a transformers folder and is exported here. One prepared runtime is one name; `run` computes one
forward of the batch that `prepare` was given, and returns nothing, so that its time is the runtime's.
"""

import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmarks.peer_workers.serve import serve

Forward = Callable[[], Any]


class Runtimes:
    """The prepared runtimes of one model and batch."""

    def __init__(self) -> None:
        self.num_threads = 1
        self.forwards: dict[str, Forward] = {}
        self.folder = tempfile.TemporaryDirectory()  # the export; it goes when the worker ends

    def threads(self, num_threads: int) -> None:
        """Set how many threads the runtimes may use."""
        self.num_threads = num_threads
        torch.set_num_threads(num_threads)

    def prepare(self, folder: str, tokens: list[list[int]], names: list[str]) -> list[str]:
        """Export the model and build the named runtimes; returns the names."""
        from transformers import AutoModel

        model = AutoModel.from_pretrained(folder, attn_implementation="sdpa", add_pooling_layer=False).eval()
        batch = torch.tensor(tokens)
        exported = Path(self.folder.name) / "model.onnx"
        names_of = {"input_names": ["input_ids"], "output_names": ["hidden"]}
        with torch.inference_mode():
            torch.onnx.export(_OnlyHidden(model), (batch,), exported, dynamo=True, **names_of)  # type: ignore[arg-type]
        for name in names:
            self.forwards[name] = self._build(name, exported, batch)
        return names

    def output(self, name: str) -> list[float]:
        """The hidden states of the first sentence's first token, to be held against torch's."""
        hidden = self.forwards[name]()
        return [float(value) for value in hidden[0, 0]]

    def run(self, name: str) -> None:
        """One forward of the whole batch."""
        self.forwards[name]()

    def _build(self, name: str, exported: Path, batch: torch.Tensor) -> Forward:
        runtime, precision = name.rsplit("_", 1)
        if runtime == "onnxruntime":
            path = exported if precision == "fp32" else _dynamic_int8(exported)
            return _onnxruntime(path, batch, self.num_threads)
        assert runtime == "openvino", name
        return _openvino(exported, batch, self.num_threads, int8=precision == "int8")


class _OnlyHidden(torch.nn.Module):
    """The model with one input and one output."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.model(tokens).last_hidden_state
        return hidden


def _onnxruntime(path: Path, batch: torch.Tensor, num_threads: int) -> Forward:
    onnxruntime: Any = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: batch.numpy()}
    return lambda: session.run(None, inputs)[0]


def _dynamic_int8(path: Path) -> Path:
    """ONNX Runtime's own dynamic quantization: int8 weights per channel, activations by their range."""
    quantization: Any = import_module("onnxruntime.quantization")
    target = path.with_name("model_int8.onnx")
    if not target.exists():
        weights = quantization.QuantType.QInt8
        quantization.quantize_dynamic(path, target, weight_type=weights, per_channel=True)
    return target


def _openvino(path: Path, batch: torch.Tensor, num_threads: int, *, int8: bool) -> Forward:
    openvino: Any = import_module("openvino")
    model = openvino.Core().read_model(path)
    if int8:
        nncf: Any = import_module("nncf")
        data = nncf.Dataset([{model.inputs[0].any_name: batch.numpy()}])
        model = nncf.quantize(model, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=1)
    settings = {
        "INFERENCE_NUM_THREADS": num_threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # it may choose bf16 by itself
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    inputs = batch.numpy()
    return lambda: compiled(inputs)[0]


if __name__ == "__main__":
    runtimes = Runtimes()
    serve({name: getattr(runtimes, name) for name in ("threads", "prepare", "output", "run")})
