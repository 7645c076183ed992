"""Load a model folder as transformers saves it: config.json beside safetensors weights, nothing else is read.

Code that comes with a folder is never run, and weights that are pickled are not read. The inputs are made up from the
configuration: random tokens for a model of texts, random pixels for one of pictures. What a model costs does not
depend on their values (but a generation that ends early, or a router that picks experts, may).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from multum.core.errors import UserError, invalid, require_module
from multum.cost.load import DEFAULT_LENGTH, InputWish, Loaded

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def load_folder(folder: Path, wish: InputWish, *, dtype: torch.dtype, random_weights: bool = False) -> Loaded:
    """Load a transformers model and make inputs for it.

    Args:
        folder: The folder.
        wish: Batch, length and seed.
        dtype: Type of the weights.
        random_weights: Whether to leave the weights random instead of reading them.

    Returns:
        The model and its inputs.

    Raises:
        UserError: When the folder holds no such model, or transformers does not know its architecture.
    """
    transformers = require_module("transformers", "transformers")
    config = _config_of(folder, transformers)
    model_class = _class_of(config, transformers)
    if not random_weights and not list(folder.glob("*.safetensors")):
        remedy = (
            "save the model with safe_serialization, or measure it with random weights: it costs the same"
        )
        raise invalid(f"folder {folder.name}", "one with *.safetensors weights", _names_in(folder), remedy)
    with _silence(transformers):
        if random_weights:
            torch.manual_seed(wish.seed)
            model = _build(model_class, config).to(dtype)
        else:
            model = _read(folder, model_class, dtype)
    inputs = _inputs_for(model, config, wish, dtype)
    return Loaded(name=f"{type(model).__name__} ({folder.resolve().name})", model=model.eval(), inputs=inputs)


def _config_of(folder: Path, transformers: Any) -> "PretrainedConfig":
    if not (folder / "config.json").is_file():
        raise invalid(f"folder {folder.name}", "one with a config.json", _names_in(folder))
    try:
        config: PretrainedConfig = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (ValueError, KeyError, OSError, TypeError, AttributeError) as problem:
        reason = str(problem).strip().split("\n")[0]
        raise UserError(
            f"{folder / 'config.json'} must describe an architecture that transformers knows; {reason}"
        ) from problem
    return config


def _class_of(config: "PretrainedConfig", transformers: Any) -> Any:
    """Find the class that the folder was saved from, head included; the bare model where it does not say."""
    for name in config.architectures or ():
        found = getattr(transformers, name, None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            return found
    return transformers.AutoModel


def _build(model_class: Any, config: "PretrainedConfig") -> "PreTrainedModel":
    builder = getattr(model_class, "from_config", model_class)  # the auto classes are made by from_config
    model: PreTrainedModel = builder(config)
    return model


def _read(folder: Path, model_class: Any, dtype: torch.dtype) -> "PreTrainedModel":
    try:
        model: PreTrainedModel = model_class.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=dtype
        )
    except (
        Exception
    ) as problem:  # whatever the files are wrong with, the user needs to see which folder it is
        reason = f"{type(problem).__name__}: {str(problem).strip().splitlines()[0] if str(problem) else ''}"
        raise UserError(f"the weights in {folder} must fit its config.json; {reason}") from problem
    return model


def _inputs_for(
    model: "PreTrainedModel", config: "PretrainedConfig", wish: InputWish, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    name = model.main_input_name
    if name == "input_ids":
        return _texts(config, wish)
    if name == "pixel_values":
        size = getattr(config, "image_size", None) or 224
        height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
        shape = (wish.batch, getattr(config, "num_channels", 3), height, width)
        return {name: torch.randn(shape, generator=wish.generator()).to(dtype)}
    raise UserError(
        f"{type(model).__name__} takes {name}, for which no inputs can be made up here; "
        "write a function that returns (model, inputs) and name it as module:function"
    )


def _texts(config: "PretrainedConfig", wish: InputWish) -> dict[str, torch.Tensor]:
    text = config.get_text_config()
    longest = getattr(text, "max_position_embeddings", None) or wish.length or DEFAULT_LENGTH
    length = wish.length or min(DEFAULT_LENGTH, longest)
    if length > longest:
        raise invalid("length", f"at most {longest}, the positions of this model", length)
    padding = getattr(text, "pad_token_id", None)
    tokens = torch.randint(0, text.vocab_size, (wish.batch, length), generator=wish.generator())
    if padding is not None:
        tokens[tokens == padding] = (padding + 1) % text.vocab_size
    return {"input_ids": tokens} | (
        {"decoder_input_ids": tokens.clone()} if config.is_encoder_decoder else {}
    )


def _names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())[:8]


@contextmanager
def _silence(transformers: Any) -> Iterator[None]:
    """Keep transformers' own progress bars and notes off the screen."""
    logging = transformers.utils.logging
    level, showing = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if showing:
            logging.enable_progress_bar()
