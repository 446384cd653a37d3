"""How the documentation site is built: `make docs`. Guides are written, the reference is made from the code."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "_extensions"))

from orchestrator.version import __version__

project = "architecture-orchestrator"
version = release = __version__
copyright = "MIT licence"
smartquotes = False  # --flag stays as it is typed
html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = html_show_sphinx = False

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_click", "settings"]
exclude_patterns = ["_extensions"]

# A link or a reference that leads nowhere is an error. Only names of other projects are not looked up: the build needs
# no network.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!orchestrator\b).*"),
    (r"py:class", r"orchestrator\.spec\.\w+\.\w+"),  # settings: on their own page, as the keys of a file
    (r"py:class", r"orchestrator\.workflow\.check\.Checked"),
    (r"py:class", r"orchestrator\.analysis\.recorded\.Operation"),
]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebook is kept executed, and a test runs it

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
