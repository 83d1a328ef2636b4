"""Build the documentation with Sphinx: `sphinx-build -W docs SITE`."""

import sys
from pathlib import Path

import jaxrnn

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "jaxrnn"
author = "The jaxrnn developers"
project_copyright = author
release = version = jaxrnn.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "docstrings",
    "links",
    "mathml",
    "settings",
]
exclude_patterns = ["extensions", "live", "_build", "runs", "*.ipynb"]  # the course's notebooks are made from its pages

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "auto"
nb_execution_in_temp = True
nb_execution_timeout = 300  # seconds, of a cell
nb_execution_raise_on_error = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # `docstrings` shows them as they are written
default_role = "literal"
smartquotes = False  # which would make a dash of the two hyphens before a flag
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
copybutton_exclude = ".linenos, .gp, .go"

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "jaxrnn"
html_static_path = ["_static"]
html_extra_path = ["live"]
html_css_files = ["site.css"]
html_copy_source = False
