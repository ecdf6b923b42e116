"""Pages: templates that escape what they are given, and no HTML written anywhere else."""

from __future__ import annotations

import ast
import io
import re
import tomllib
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from test_report import Page

from latlas import html
from latlas.text import Cell, Row, Table

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "latlas"
HOSTILE = """</td></style><script>alert('x')</script>&amp;"{{ 7 * 7 }}"""
TAGS = "a|article|b|body|br|code|dd|details|div|dl|dt|em|figure|figcaption|footer|h[1-6]|head|header|html|i|img|input"
TAGS += "|label|li|link|main|meta|ol|p|pre|script|section|span|strong|style|summary|table|tbody|td|th|thead|title|tr|ul"
MARKUP = re.compile(rf"</\w|<({TAGS})(\s+[\w-]+=|\s*/?>)|<!DOCTYPE|&(amp|lt|gt|quot|nbsp);", re.IGNORECASE)


def drawn(table: Table, kind: str = "") -> str:
    """What the macro for tables makes of one."""
    parts = html._environment().get_template("parts.html.j2")
    return str(parts.module.table(table, kind))  # type: ignore[attr-defined]


def test_a_table_says_what_is_a_head_a_number_and_a_mark() -> None:
    head = Cell(""), Cell("one", "seed 1", "name"), Cell("Beside it")
    rows = [
        Row((Cell("ELBO", "nats"), Cell("−1.0", "± 0.2", "best"), Cell("near", style="within"))),
        Row(
            (Cell("a.b.c", style="key"), Cell("2"), Cell("x", style="code")), "Why so.", "elbo", "Few draws."
        ),
    ]
    found = drawn(Table(head, rows, numeric=(1,)), "worth")
    page = Page(found)
    assert page.open == []
    assert page.all("th") == [
        {"scope": "col", "class": "value name"}, {"scope": "col"}, {"scope": "row"}, {"scope": "row", "class": "key"},
    ]  # fmt: skip
    assert "<thead>\n<tr>\n<td></td>\n" in found, "an empty corner heads nothing"
    assert (
        '<td class="value best">−1.0<span class="spoken"> (best)</span><span class="muted"> ± 0.2</span>'
        in found
    )
    assert "near (not distinguishable from the best)" in page.text
    assert "a.<wbr>b.<wbr>c</th>" in found
    assert '<tr class="why"><td colspan="3">Why so.' in found
    assert '<code>elbo</code> <span class="warning">Few draws.</span>' in found
    assert "<thead" not in drawn(Table((), rows))


def test_every_part_of_a_table_is_escaped() -> None:
    cells = [Cell(HOSTILE, HOSTILE, style) for style in ("", "best", "within", "wins", "name", "code", "key")]
    found = drawn(Table(cells, [Row(cells, HOSTILE, HOSTILE, HOSTILE)], numeric=range(3)))
    page = Page(found)
    assert page.open == []
    assert page.all("script") == page.all("style") == []
    assert page.text.count(HOSTILE) == 4 * len(cells) + 3


def test_a_name_that_a_template_lacks_is_no_empty_place() -> None:
    with pytest.raises(UndefinedError, match="'line' is undefined"):
        html.render("base.html.j2", title="Title")


def test_a_picture_carries_its_bytes_its_size_and_its_words() -> None:
    out, words = io.BytesIO(), PngInfo()
    words.add_itxt("Title", "Codes <1>")
    words.add_itxt("Description", "Near is alike.")
    Image.new("L", (3, 2)).save(out, "PNG", pnginfo=words)
    found = html.picture(out.getvalue(), "latent")
    assert found is not None
    assert (found.name, found.width, found.height) == ("latent", 3, 2)
    assert (found.title, found.caption) == ("Codes <1>", "Near is alike.")
    assert found.source.startswith("data:image/png;base64,iVBOR")
    plain = io.BytesIO()
    Image.new("L", (3, 2)).save(plain, "GIF")
    film = html.picture(plain.getvalue(), "animation")
    assert film is not None
    assert (film.title, film.caption, film.source[:15]) == ("animation", "", "data:image/gif;")
    assert html.picture(b"not a picture", "latent") is None


def strings(tree: ast.AST) -> list[tuple[int, str]]:
    """The string literals of a file, parts of f-strings among them, without its docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body[0] for node in ast.walk(tree) if isinstance(node, documented) and node.body]
    docs = {id(first.value) for first in bodies if isinstance(first, ast.Expr)}
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs)
    return [(node.lineno, node.value) for node in found if isinstance(node.value, str)]


def written(source: str) -> list[str]:
    """Where Python writes HTML by hand, or escapes it."""
    tree = ast.parse(source)
    markup = [f"line {line}: {text!r}" for line, text in strings(tree) if MARKUP.search(text)]
    imports = (n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom))
    for node in imports:
        names = (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
        markup += [f"line {node.lineno}: {name}" for name in names if name in ("html", "markupsafe")]
    return markup


def test_html_stands_in_templates_only() -> None:
    for line in (
        'x = f"<p>{y}</p>"',
        "x = \"<td class='value'>\"",
        "from html import escape",
        "import markupsafe",
    ):
        assert written(line), line
    for line in ('"""A <b>docstring</b>."""', 'x = "RUN <folder>, a < b"', "from latlas import html"):
        assert not written(line), line
    # html.py alone says what is not escaped.
    faults = {
        str(p.relative_to(PACKAGE)): written(p.read_text(encoding="utf-8"))
        for p in PACKAGE.rglob("*.py")
        if p != PACKAGE / "html.py"
    }
    assert {path: found for path, found in faults.items() if found} == {}
    for path in html.TEMPLATES.iterdir():
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"\bsafe\b|autoescape|https?:|url\(|@import", text) == [], path.name


def test_what_is_not_escaped_cannot_end_its_element() -> None:
    assert html.verbatim('a = 1 < 2 && "x"') == 'a = 1 < 2 && "x"'
    for text in ("</script>", 'x = "</SCRIPT"', "</ style >"):
        with pytest.raises(ValueError, match="would end its element"):
            html.verbatim(text)


def test_everything_in_the_package_is_shipped() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["latlas"]
    shipped = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    sources = PACKAGE / "explorer" / "page"  # of explorer/bundle, which is shipped
    there = {p for p in PACKAGE.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    there = {p for p in there if sources not in p.parents} - {sources.parent / "README.md"}
    assert there - shipped == set()
    assert {path.parent.name for path in shipped} >= {"templates", "recipes", "studies", "bundle"}
