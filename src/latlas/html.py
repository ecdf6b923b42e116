"""Pages from templates: HTML, each one file that holds its pictures and opens offline, and Markdown."""

from __future__ import annotations

import base64
import io
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latlas import reading
from latlas.errors import InputError
from latlas.files import check_output
from latlas.places import expanded
from latlas.text import visible

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
ENDINGS = (".html", ".htm")
MOST_WORDS = 4000  # characters of a title or a caption


def render(template: str, **values: Any) -> str:
    """Renders a template of templates/ with the values; in HTML everything in them is escaped, and made `visible`.

    Raises jinja2.UndefinedError if the template uses a name that is not in `values`.
    """
    return _environment().get_template(template).render(values)


def verbatim(text: str) -> Markup:
    """A script, a style or data that a page holds as they are: what they mean must not be escaped.

    Raises ValueError for a text that would end the element that it stands in.
    """
    from markupsafe import Markup

    if re.search(r"</\s*(script|style)", text, re.IGNORECASE):
        raise ValueError("this text would end its element; escape its <")
    return Markup(text)


# What a piece of a page may hold, and what stands where it does not.
PIECE: dict[str, Any] = {
    "title": "", "line": "", "headline": "", "findings": None, "short": False, "tables": (), "marks": {}, "notes": (),
    "pictures": (), "text": "",
}  # fmt: skip


def fragment(**values: Any) -> str:
    """A piece of a page for a notebook, with a style of its own that touches nothing around it: a `title` and a `line`,
    a `headline`, `findings` (None: no diagnosis; `short`: closed), `tables` with their headings, `marks` with their
    meaning, `notes`, `pictures` and a block of `text`. Everything in the values is escaped.
    """
    return render("notebook.html.j2", **(PIECE | values))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: not (name or "").endswith(".md.j2"),
        finalize=lambda value: visible(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@dataclass(frozen=True)
class Embedded:
    """A picture in a page: its bytes as a data URI, its size in pixels, its title and its caption."""

    name: str
    source: str
    width: int
    height: int
    title: str
    caption: str


def picture(content: bytes, name: str, title: str = "") -> Embedded | None:
    """A PNG, GIF or WebP with the title and description of its text chunks; None if it is damaged.

    Without such a title it is called `title`, or `name`.
    """
    try:
        with reading.picture(content, name) as image:
            width, height = image.size
            text, kind = image.info, str(image.format).lower()
    except InputError:
        return None
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return Embedded(
        name,
        source,
        width,
        height,
        str(text.get("Title") or title or name)[:MOST_WORDS],
        str(text.get("Description") or "")[:MOST_WORDS],
    )


def thumbnail(content: bytes, name: str, side: int = 380) -> Embedded | None:
    """A picture at a size at which its longer side has at most so many pixels, as `picture` gives it."""
    whole, small = picture(content, name), io.BytesIO()
    if whole is None:
        return None
    try:
        with reading.picture(content, name) as image:
            colours = image.convert("RGB")
    except (InputError, *reading.PICTURE_ERRORS):
        return None
    colours.thumbnail((side, side))
    colours.save(small, "WEBP", quality=85)
    return picture(small.getvalue(), name, whole.title)


def page_path(out: str | os.PathLike[str]) -> Path:
    """The path of a page to write.

    Raises InputError if its folder does not exist, or its name does not end in .html or .htm.
    """
    path = expanded(out)
    check_output(path, ENDINGS)
    return path
