"""What the documentation says is done: Python blocks run, latlas commands run, links lead somewhere.

The blocks of a page run in their order, in one empty folder and one namespace. A block that needs more than a
test has is marked in the page: `<!-- skip: reason -->` on the line before it.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from test_layout import LAYERS
from typer.main import get_command

import latlas as latlas_package
from latlas import config as configuration
from latlas import diagnosis
from latlas.cli import app
from latlas.cli import run as latlas
from latlas.config import assignments, recipe_names
from latlas.data.catalogue import NAMED
from latlas.data.load import safe_name
from latlas.likelihoods import LIKELIHOODS
from latlas.metrics import METRICS
from latlas.networks import NETWORKS
from latlas.objectives import OBJECTIVES
from latlas.posteriors import POSTERIORS
from latlas.priors import PRIORS
from latlas.studies import study_names

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- skip: (?P<skip>.+?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S
)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)|(?:src|href)=\"(?P<source>[^\"]+)\"")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, what it is in, and why it is not run, if so."""

    page: Path
    line: int
    language: str
    code: str
    skip: str

    @property
    def name(self) -> str:
        page = self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page
        return f"{page}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command; a console's prompts and output, and comments, are left out."""
        text = self.code.replace("\\\n", " ")
        lines = [line.strip() for line in text.splitlines()]
        if self.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [words for line in lines if (words := shlex.split(line, comments=True))]


@dataclass
class Place:
    """Where a page's blocks run: a folder, a namespace and the lines of the blocks that did."""

    folder: Path
    names: dict[str, Any] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)


def blocks(page: Path) -> Iterator[Block]:
    """The page's blocks that can be run."""
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        block = Block(page, line, match["language"], match["code"], match["skip"] or "")
        if block.language == "python" or is_ours(block):
            yield block


def is_ours(block: Block) -> bool:
    """Whether a block of shell commands has one of latlas's."""
    return block.language in ("bash", "console") and any(words[0] == "latlas" for words in block.commands)


BLOCKS = {page: list(blocks(page)) for page in PAGES}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Place]:
    return {page: Place(tmp_path_factory.mktemp(page.stem)) for page in PAGES}


# Pages that everybody reads first; the blocks of the others train many runs.
FIRST = {"README", "python-api"}


def is_slow(block: Block) -> bool:
    """An export of ONNX alone takes longer than the rest of those pages."""
    return block.page.stem not in FIRST or "onnx=" in block.code


RUN = [
    pytest.param(block, id=block.name, marks=[pytest.mark.slow] * is_slow(block))
    for page in PAGES
    for block in BLOCKS[page]
]


@pytest.mark.parametrize("block", RUN)
def test_blocks_run(block: Block, places: dict[Path, Place], monkeypatch: pytest.MonkeyPatch) -> None:
    if block.skip:
        pytest.skip(block.skip)
    place = places[block.page]
    monkeypatch.chdir(place.folder)
    for earlier in BLOCKS[block.page]:  # when this test is run alone, those before it have not been
        if earlier.line <= block.line and not earlier.skip and earlier.line not in place.done:
            run(earlier, place)
            place.done.add(earlier.line)


def run(block: Block, place: Place) -> None:
    """Runs a block in the current folder; whatever goes wrong fails the test."""
    if block.language == "python":
        exec(compile(block.code, block.name, "exec"), place.names)
        return
    for words in block.commands:
        assert words[0] == "latlas", f"{block.name}: {words[0]} beside latlas: give it a block of its own"
        # In this process: importing torch anew takes longer than most commands.
        assert latlas(words[1:]) == 0, f"{block.name}: {shlex.join(words)}"


@dataclass
class Parsed:
    """A command line as the parser reads it: the command's name and its parameters' values by name."""

    command: str
    values: dict[str, Any]


def parsed(words: list[str]) -> Parsed:
    """A command line, read and not run; whatever is unknown to the parser raises."""
    return _parsed(tuple(words))


@cache
def _parsed(words: tuple[str, ...]) -> Parsed:
    command: Any = get_command(app)
    context, names = command.make_context("latlas", [], resilient_parsing=True), []
    rest = list(words[1:])
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, rest)
        names.append(name)
    context = command.make_context(" ".join(names), rest, parent=context)
    return Parsed(" ".join(names), context.params)


def made_by(call: Parsed) -> str:
    """The name of the first run of a train command, without its number."""
    recipe = call.values["recipe"] or "vae"
    source = call.values["source"] or configuration.recipe(recipe).recipe.data or "fashion-mini"
    folder = Path(source.removesuffix("/raw"))  # where the folder exists, safe_name does so
    return f"{source if source in NAMED else safe_name(folder)}-{recipe}"


SKIPPED = [b for page in PAGES for b in BLOCKS[page] if b.skip]


@pytest.mark.parametrize("block", SKIPPED, ids=lambda b: b.name)
def test_blocks_that_do_not_run_name_what_exists(block: Block) -> None:
    if block.language == "python":
        for node in ast.walk(ast.parse(block.code)):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "latlas"
            ):
                assert hasattr(latlas_package, node.attr), f"{block.name}: latlas.{node.attr}"
        return
    earlier = [b for b in BLOCKS[block.page] if b.line <= block.line and b.language != "python"]
    training = [call for b in earlier for call in calls(b) if call.command == "train"]
    trained = {made_by(call) for call in training if not call.values["resume"]}
    for call in calls(block):
        values = call.values
        keys = dict(assignments(values.get("settings") or []))
        assert set(keys) <= set(configuration.known_keys()), f"{block.name}: {keys}"
        if values.get("recipe"):
            assert values["recipe"] in recipe_names(), block.name
        if call.command == "study":
            assert values["name"] in study_names(), block.name
        for run in given_runs(values) if "your own" not in block.skip else ():
            assert re.sub(r"-\d+$", "", run) in trained, f"{block.name}: no train command above makes {run}"


def calls(block: Block) -> list[Parsed]:
    return [parsed(words) for words in block.commands if words[0] == "latlas"]


def given_runs(values: dict[str, Any]) -> list[str]:
    """The runs that a command is about; its own runs are those of blocks above it."""
    run, runs = values.get("run") or values.get("resume"), values.get("runs") or ()
    return [str(name) for name in ([run] if run else []) + list(runs) if not str(name).startswith("RUN")]


def test_a_block_that_does_not_run_is_read_all_the_same() -> None:
    assert parsed(shlex.split("latlas train mnist --latent 3")).values["latent"] == 3
    with pytest.raises(Exception, match="--latnet"):
        parsed(shlex.split("latlas train mnist --latnet 3"))
    assert (
        made_by(parsed(shlex.split("latlas train ./KMNIST/raw --recipe kmnist-vae"))) == "KMNIST-kmnist-vae"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    targets = [match["target"] or match["source"] for match in LINK.finditer(text)]
    local = [t.partition("#")[0] for t in targets if not re.match(r"https?:|mailto:|#", t)]
    assert [t for t in local if not (page.parent / t).exists()] == []


def test_a_wrong_block_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nx = 1\n```\n\n<!-- skip: big -->\n```bash\nlatlas train mnist\n```\n\n"
        "```console\n$ latlas recipes show nothing-of-the-kind\nout\n```\n\n```bash\nls\n```\n"
    )
    first, second, third = blocks(page)
    place = Place(tmp_path)
    run(first, place)
    assert place.names["x"] == 1
    assert (second.skip, second.commands) == ("big", [["latlas", "train", "mnist"]])
    assert third.commands == [["latlas", "recipes", "show", "nothing-of-the-kind"]]
    with pytest.raises(AssertionError):
        run(third, place)
    with pytest.raises(ZeroDivisionError):
        run(Block(page, 1, "python", "1 / 0\n", ""), place)


def names_in_tables(page: str, head: str = "") -> set[str]:
    """The names in the first column of a page's tables, or of the one table whose first column is called `head`."""
    text = (ROOT / page).read_text(encoding="utf-8")
    text = text.partition(f"| `{head}` |")[2].partition("\n\n")[0] if head else text
    cells = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return {name.strip(" `") for cell in cells for name in cell.split(",")}


def test_every_number_is_defined() -> None:
    assert set(METRICS) - names_in_tables("docs/numbers.md") == set()


PARTS: dict[str, dict[str, Any]] = {
    "likelihood": LIKELIHOODS, "prior": PRIORS, "posterior": POSTERIORS, "objective": OBJECTIVES, "network": NETWORKS,
}  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_every_part_has_its_row(part: str) -> None:
    assert set(PARTS[part]) - names_in_tables("docs/configuration.md", f"{part}.name") == set()


def test_every_finding_has_its_row() -> None:
    calls = [
        node
        for path in (Path(diagnosis.__file__).parent).glob("*_rules.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding"
    ]
    names = {ast.literal_eval(call.args[0]) for call in calls}
    assert len(names) > 20
    assert names - names_in_tables("docs/diagnosis.md") == set()


def test_every_data_set_and_recipe_is_on_its_page() -> None:
    assert set(NAMED) - names_in_tables("docs/data.md") == set()
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert [name for name in recipe_names() if f"`{name}`" not in text] == []


def test_contributing_lists_every_layer() -> None:
    block = re.search(r"```text\ntext\.py.*?```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL)
    assert block is not None
    words = set(re.findall(r"(?:^|· |  )([a-z_]+(?:\.py|/(?= )))", block[0], re.MULTILINE))
    layers = {name for name in LAYERS if not name.startswith("_")}
    assert {word.removesuffix(".py").removesuffix("/") for word in words} == layers


# Words of no field, and what the field calls them.
OLD_WORDS = {
    "weighing draws": "importance sampling", "codes dealt to": "shuffled codes", "knows the training data better":
    "overfitting", "data at large": "test data", "tightness gap": "gap between log p(x) and ELBO",
    "equal laws": "equal distributions", "what it is worth": "evaluation", "room that the codes": "log-determinant",
    "effective draws": "effective sample size",
}  # fmt: skip


@pytest.mark.parametrize("word", OLD_WORDS)
def test_words_are_those_of_the_field(word: str) -> None:
    files = [*PAGES, *(p for p in (ROOT / "src").rglob("*") if p.suffix in (".py", ".j2", ".toml"))]
    assert [str(path) for path in files if word in path.read_text(encoding="utf-8").lower()] == []
