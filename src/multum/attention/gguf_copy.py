"""A GGUF file, turned once into a folder of safetensors that loads in a second.

transformers reads GGUF by taking every tensor apart in Python: a quarter of a minute for 135 million parameters, each
time. So the first load keeps what it read, in float32 (nothing is rounded), in multum's cache folder under the file's
own hash; another file is another folder, and deleting the folder costs one slow load.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from multum.core import UserError, require_module, say
from multum.native import cache_folder

if os.name == "posix":
    import fcntl

HASHED_CHARACTERS = 16
"""How much of the file's hash names its folder."""


def converted_gguf(file: Path) -> Path:
    """The folder that holds a GGUF file's model and tokenizer as safetensors; made when it is not there.

    Args:
        file: A GGUF file of an architecture that transformers reads.

    Returns:
        A transformers model folder in multum's cache.

    Raises:
        UserError: Not a GGUF file that transformers can read.
        MissingExtraError: gguf or accelerate is not installed.
        OSError: The cache cannot be written.
    """
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:HASHED_CHARACTERS]
    folder = cache_folder() / "models" / f"{file.stem}-{digest}"
    if not (folder / "config.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(folder.parent / f"{folder.name}.lock"):
            if not (folder / "config.json").is_file():
                _convert(file, folder)
    return folder


def _convert(file: Path, folder: Path) -> None:
    """Read the file as transformers does, and write the folder whole or not at all."""
    transformers: Any = require_module("transformers", "generation")
    for module in ("gguf", "accelerate"):
        require_module(module, "generation")
    say(f"reading {file.name}; this is kept for the next time")
    settings = {"gguf_file": file.name, "local_files_only": True}
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, **settings)
        tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **settings)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(
            f"model file must be GGUF that transformers reads; got {str(file)!r}; {error}"
        ) from error
    plain = type(model)(_unquantized(model.config))  # without what ties it to the file
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        plain.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        shutil.rmtree(folder, ignore_errors=True)  # what an older version left incomplete
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _unquantized(config: Any) -> Any:
    """The configuration as of a model that was never in a GGUF file."""
    settings = config.to_dict()
    settings.pop("quantization_config", None)
    return type(config).from_dict(settings)


@contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    """Let one process convert a file while the others wait for it; where there are no locks, all convert."""
    with lock.open("w") as stream:
        if os.name == "posix":
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
