"""Configuration of the documentation site: `make -C docs html`."""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]
# The kernels of notebooks run the startup file of this profile, see docs/_ipython.
os.environ["IPYTHONDIR"] = str(DOCS / "_ipython")
os.environ["JUPYTER_PLATFORM_DIRS"] = "1"
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(DOCS.parent), os.environ.get("PYTHONPATH")]))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

project = "jaxdl"
author = "the jaxdl authors"
copyright = "the jaxdl authors"
version = release = "0.2.0"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
    "tables",
    "gallery",
    "diagrams",
]
exclude_patterns = ["_build", "_ext", "_ipython", "README.md"]
templates_path: list[str] = []
suppress_warnings = ["mystnb.unknown_mime_type", "myst-nb.lexer", "ref.python"]
nitpicky = False
default_role = "code"

myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3
nb_execution_mode = os.environ.get("JAXDL_DOCS_EXECUTE", "cache")
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_render_markdown_format = "gfm"

autodoc_default_options = {"members": True, "member-order": "bysource", "exclude-members": "__new__, __init__"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Features", "params_style")]

# Other projects' pages are linked when they can be reached; the build needs no network.
intersphinx_mapping = (
    {
        "python": ("https://docs.python.org/3", None),
        "jax": ("https://docs.jax.dev/en/latest", None),
        "flax": ("https://flax-linen.readthedocs.io/en/latest", None),
        "optax": ("https://optax.readthedocs.io/en/latest", None),
    }
    if os.environ.get("READTHEDOCS")
    else {}
)

html_theme = "sphinx_book_theme"
html_title = "jaxdl"
html_static_path = ["_static"]
html_css_files = ["jaxdl.css"]
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "navbar_persistent": [],
    "use_download_button": False,
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "navigation_with_keys": False,
    "show_navbar_depth": 1,
}
html_context = {"default_mode": "auto"}
