"""Settings of the documentation: `make docs` builds it into docs/_build/html, without any network."""

import os
import re

# Examples in the pages run while the site is built: calmly, and never reaching for a model hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from multum import __version__

project = "multum"
author = "The multum contributors"
copyright = "2026, the multum contributors"
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints", "jupyter_execute"]

html_theme = "furo"
html_title = f"multum {version}"
html_copy_source = False
html_show_sourcelink = False

# The reference: what a package lists in __all__, in its own order, with the types of the signature.
autodoc_default_options = {"members": True, "imported-members": True}
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
nb_execution_mode = "force"  # an example that no longer runs fails the build
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 120
nb_output_stderr = "remove"  # warnings of libraries, which name paths of this machine
nb_merge_streams = True


def as_restructured_text(app, what, name, obj, options, lines):  # noqa: ARG001 (Sphinx's signature)
    """Docstrings put `names` in single backticks, which this format wants doubled."""
    lines[:] = [re.sub(r"(?<![`:])`([^`]+)`(?![`_])", r"``\1``", line) for line in lines]
    app.docstring_as_written = list(lines)


def leave_attributes_alone(app, what, name, obj, options, lines):  # noqa: ARG001
    """Undo napoleon's reading of `Alive: weights and inputs` below an attribute as a type and a text."""
    if what == "attribute":
        lines[:] = app.docstring_as_written


def skip_written_constructors(app, what, name, obj, skip, options):  # noqa: ARG001
    """A dataclass's fields are listed below it; the constructor that Python wrote repeats them."""
    generated = (
        name == "__init__" and getattr(getattr(obj, "__code__", None), "co_filename", "") == "<string>"
    )
    return True if generated else None


def setup(app):
    app.connect("autodoc-skip-member", skip_written_constructors)
    # napoleon listens with priority 500
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)
    app.connect("autodoc-process-docstring", leave_attributes_alone, priority=600)
