"""What the packages promise in `__all__` is there, and explains itself."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import multum

PACKAGES = [
    multum.__name__,
    *(module.name for module in pkgutil.walk_packages(multum.__path__, "multum.") if module.ispkg),
]
PUBLIC = [name for name in PACKAGES if hasattr(importlib.import_module(name), "__all__")]


@pytest.mark.parametrize("package", PUBLIC)
def test_every_promised_name_is_there_and_documented(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__doc__, f"{package} does not say what it is"
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isroutine(thing) or inspect.isclass(thing) or inspect.ismodule(thing):
            text = inspect.getdoc(thing) or ""
            assert text, f"{package}.{name} has no docstring"
            assert not text.startswith(f"{name}("), (
                f"{package}.{name} has only the docstring that dataclass made"
            )


@pytest.mark.parametrize("package", PUBLIC)
def test_promises_are_unique(package: str) -> None:
    promised = importlib.import_module(package).__all__
    assert len(promised) == len(set(promised))


@pytest.mark.parametrize("package", PACKAGES)
def test_package_file_only_re_exports(package: str) -> None:
    path = Path(inspect.getfile(importlib.import_module(package)))
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        is_all = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        allowed = isinstance(node, ast.Import | ast.ImportFrom) or is_all or is_docstring
        assert allowed, f"{package}/__init__.py does more than re-export in line {node.lineno}"


def test_the_core_is_public() -> None:
    assert "multum.core" in PUBLIC
