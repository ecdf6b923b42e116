"""How Sphinx builds the documentation; settings and commands are written out from the package itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx

from latlas._version import __version__
from latlas.metrics import GROUPS, METRICS
from latlas.settings import Config

project = "latlas"
copyright = "the latlas authors"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_generated"]
html_theme = "furo"
html_title = f"latlas {__version__}"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
nitpicky = False

COMMANDS = [
    "train", "evaluate", "diagnose", "sample", "reconstruct", "encode", "score", "neighbours", "decode", "morph",
    "vary", "report", "animate", "export", "compare", "study", "log", "runs", "prune",
    "data list", "data info", "data fetch", "recipes list", "recipes show",
]  # fmt: skip


def settings_table() -> str:
    """Every key of a configuration with its default and meaning, a table per section."""
    parts = []
    for name, field in Config.model_fields.items():
        section = field.annotation
        if not hasattr(section, "model_fields") or name in ("recipe", "own"):
            continue
        rows = [
            f"| `{name}.{key}` | {shown(f.default)} | {f.description} |"
            for key, f in section.model_fields.items()
        ]
        head = f"### {name}\n\n{section.__doc__}\n\n| key | default | meaning |\n|---|---|---|\n"
        parts.append(head + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def measures_table() -> str:
    """Every number by name, with what reports call it."""
    rows = [
        f"| `{name}` | {m.title} | {GROUPS[m.group]} | {m.unit.replace('{item}', 'item')} |"
        for name, m in METRICS.items()
    ]
    return "| name | in reports | group | unit |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def shown(value: object) -> str:
    return (
        "" if value is None or value == "" else f"`{str(value).lower() if value in (True, False) else value}`"
    )


def command_help() -> str:
    """What --help prints, for each command."""
    parts = []
    for command in COMMANDS:
        call = [sys.executable, "-m", "latlas", *command.split(), "--help"]
        environment = {**os.environ, "COLUMNS": "90"}
        text = subprocess.run(call, capture_output=True, text=True, check=True, env=environment).stdout
        parts.append(f"## latlas {command}\n\n```text\n{text.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def write_generated(app: Sphinx) -> None:
    """The pages' parts that come from the package."""
    folder = Path(app.srcdir) / "_generated"
    folder.mkdir(exist_ok=True)
    for name, text in (
        ("settings.md", settings_table()),
        ("measures.md", measures_table()),
        ("commands.md", command_help()),
    ):
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def plain_docstring(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """The package's docstrings are plain text with `code`: keep * and | from being read as markup."""
    for at, line in enumerate(lines):
        pieces = re.split(r"(`[^`]+`)", line)
        lines[at] = "".join(
            f"`{p}`" if p.startswith("`") else re.sub(r"([*|\\])", r"\\\1", p) for p in pieces
        )


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_generated)
    app.connect("autodoc-process-docstring", plain_docstring)
