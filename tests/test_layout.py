"""The shape of the source: which file may import which, what importing costs, and how long files may grow."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "latlas"

# A file imports only from files above it. Folders are one layer: their files may import each other.
LAYERS = {
    "_version": "the version, written once",
    "text": "names, numbers, lists and tables as people read them",
    "errors": "what everything may raise",
    "limits": "the most of what may be asked for, with reasons",
    "stopping": "the signals that ask a process to stop",
    "waiting": "how OpenMP's threads wait for each other",
    "durations": "lengths of time as people write and read them",
    "places": "paths as people write them, and names of files made of other names",
    "temporaries": "what a process writes before it is whole, and what killed ones left",
    "files": "writing a file whole or not at all",
    "toml_text": "TOML that somebody wrote, read within bounds",
    "reading": "what is read back from the folder of a run or a study, of bounded size and without following links",
    "progress": "what long work tells the person who waits",
    "invocation": "the command or call that a run was asked for by",
    "draws": "random numbers for a batch that several processes share",
    "distributed": "several processes that train one run, and what they say to each other",
    "data": "sources to arrays; knows nothing of models",
    "settings": "the shape of a configuration",
    "config": "one strict value per run, from recipes, files and flags",
    "networks": "tensor to tensor, for any shape; the tutorials' own, layer by layer",
    "augmentation": "what happens at random to training batches",
    "corruption": "what a denoising model's inputs suffer",
    "scales": "log-scales that neither overflow nor vanish",
    "likelihoods": "p(x|z) from a network's raw output",
    "divergences": "distances between distributions; plain functions",
    "posteriors": "q(z|x)",
    "priors": "p(z)",
    "models": "encoder, decoder and the three distributions together: one pass",
    "objectives": "a pass to a scalar",
    "schedules": "a step to a number",
    "brought": "data in memory and own parts, which no file holds",
    "build": "configuration and data to parts",
    "probing": "parts of one's own, probed before training",
    "pca": "the closed form of a linear autoencoder, as a model",
    "densities": "densities fitted to codes afterwards",
    "machine": "device, threads, memory and signals",
    "weights": "tensors by name, as safetensors files",
    "formats": "the shapes of the JSON files of a run",
    "optimizers": "the optimiser of a run, and one step of it",
    "checkpoints": "how far training is, with weights and the optimiser, and what is whole of damaged ones",
    "runs": "the run folder: configuration, log, snapshots",
    "captured": "a training step that is recorded once and replayed",
    "training": "the only training loop; draws and prints nothing",
    "continuing": "runs that are trained further, or start from the weights of another",
    "metrics": "numbers of a model on items: ELBO, log p(x), codes, reconstruction, samples, beside PCA",
    "diagnosis": "what is wrong with a run, why, and the setting to change",
    "figures": "one picture each, from arrays",
    "gallery": "the pictures of a run: names, order, captions, and what each is drawn from",
    "trackers": "what follows a run from outside it: TensorBoard, MLflow, an object of one's own",
    "snapshots": "what is kept of a model while it trains",
    "animation": "a run's snapshots, played in order",
    "html": "pages from templates/",
    "report": "one page from a run folder",
    "exports": "a model for use outside latlas: ONNX, a torch program, the hub's layout",
    "inference": "a trained run in use: codes, samples, reconstructions",
    "items": "single items: codes, scores, neighbours, and the page of the most unusual",
    "evaluation": "what a run is worth on its own data or on other items",
    "selection": "which epoch is the best by validation, and when training stops by itself",
    "pacing": "how many steps fit into a time",
    "experiment": "training as one call, with what comes after: numbers, findings, pictures, the report",
    "explorer": "latent space as a page: as one file, and served to this machine",
    "compare": "several runs side by side, as one table and one page",
    "studies": "a list of runs, trained in turn and compared",
    "frames": "the numbers and the log of a run as DataFrames",
    "notebook": "what calls give, as notebooks show it",
    "console": "progress and notes on a terminal",
    "listing": "what there is: runs, data sets, recipes",
    "api": "all that a command can do, as a call",
    "sklearn": "estimators for scikit-learn",
    "cli": "parses, calls and prints, nothing else",
    "__init__": "the package's face: passes on names of the others when asked for them",
    "__main__": "python -m latlas",
}
LIBRARY = sorted(p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).parts[0] != "cli")
HEAVY = ("torch", "pandas", "sklearn", "scipy", "matplotlib", "pyarrow", "PIL", "pooch", "jinja2")


def imported_modules(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import in `tree`, wherever it stands; relative ones made absolute.

    `from latlas import a` gives `latlas.a`, a module or a name of the package's face, and
    `from latlas.b import a` gives `latlas.b`.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"latlas.{alias.name}" for alias in node.names] if source == "latlas" else [source]
            yield from ((node.lineno, name) for name in names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def layer_of(module: str, names: set[str]) -> str | None:
    """The layer that a dotted name of this package belongs to; None for other packages."""
    parts = module.split(".")
    if parts[0] != "latlas":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in names else "__init__"


def upward_imports(package: Path, layers: list[str]) -> list[str]:
    """Every import in `package` that points down the list of `layers`, and every file that is in no layer."""
    faults = []
    names = {path.stem for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package)
        layer = inside.parts[0].removesuffix(".py")
        if layer not in layers:
            faults.append(f"{inside}: in no layer; give it a place in LAYERS")
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for line, module in imported_modules(tree, ["latlas", *inside.parts[:-1]]):
            target = layer_of(module, names)
            if target is None or target == layer:
                continue
            if target not in layers or layers.index(target) > layers.index(layer):
                faults.append(f"{inside}:{line}: {layer} imports {module}, which stands below it")
    return faults


def test_imports_point_upwards() -> None:
    assert upward_imports(PACKAGE, list(LAYERS)) == []


# What computes; the command line leaves it to the calls of api.
WORKERS = ("metrics", "models", "inference", "evaluation", "experiment", "training", "gallery",
           "animation", "densities", "machine", "build", "snapshots")  # fmt: skip


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda p: p.name)
def test_the_command_line_computes_nothing(path: Path) -> None:
    modules = imported_modules(ast.parse(path.read_text(encoding="utf-8")), ["latlas", "cli"])
    assert [
        m
        for _, m in modules
        if m.startswith("latlas.") and m.split(".")[1] in WORKERS and m != "latlas.metrics.display"
    ] == []


def test_every_layer_has_its_file() -> None:
    assert [n for n in LAYERS if not (PACKAGE / f"{n}.py").exists() and not (PACKAGE / n).is_dir()] == []


@pytest.mark.parametrize(
    "line",
    [
        "from latlas.training import fit",
        "from latlas import training",
        "import latlas.training",
        "from .training import fit",
        "from . import training",
        "def f():\n    from latlas.training import fit",
        "if TYPE_CHECKING:\n    from latlas.training import fit",
        "import importlib\nimportlib.import_module('latlas.training')",
        "import latlas",
        "from latlas import train",
    ],
)
def test_an_upward_import_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "training.py").write_text("from latlas.models import Model\nimport torch\n")
    (tmp_path / "models.py").write_text(line + "\n")
    faults = upward_imports(tmp_path, ["models", "training", "__init__"])
    assert len(faults) >= 1
    assert all(fault.startswith("models.py:") for fault in faults)


def test_downward_imports_and_folders_pass(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("from latlas import training\n")
    (tmp_path / "training.py").write_text("from latlas import data, models\nfrom latlas.data import load\n")
    (tmp_path / "models.py").write_text("from .data.arrays import load\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").write_text("from latlas.data.arrays import load\n")
    (tmp_path / "data" / "arrays.py").write_text("from . import tables\nfrom .tables import read\n")
    (tmp_path / "data" / "tables.py").write_text("import latlas.data.arrays\n")
    assert upward_imports(tmp_path, ["data", "models", "training", "__init__"]) == []
    assert upward_imports(tmp_path, ["models", "training", "__init__"]) != []
    (tmp_path / "data" / "tables.py").write_text("from ..models import Model\n")
    assert upward_imports(tmp_path, ["data", "models", "training", "__init__"]) == [
        "data/tables.py:1: data imports latlas.models, which stands below it"
    ]


def heavy_after(code: str) -> tuple[list[str], float]:
    """The heavy packages loaded after running `code` in a fresh interpreter, and its CPU seconds."""
    report = f"print([m for m in {HEAVY!r} if m in sys.modules], time.process_time(), file=sys.stderr)"
    script = (
        f"import sys, time\ntry:\n    {code}\nexcept SystemExit as stop:\n    assert not stop.code\n{report}"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    modules, seconds = done.stderr.splitlines()[-1].rsplit(" ", 1)
    return ast.literal_eval(modules), float(seconds)


def test_importing_latlas_is_light() -> None:
    modules, _ = heavy_after("import latlas")
    assert modules == []


# What an optimiser of torch imports at its first call, and what draws and compares: seconds before the first step.
SLOW = ("torch._dynamo", "matplotlib", "scipy", "tensorboard")
OPTIMISERS = f"""
import sys
import latlas
latlas.train
import numpy as np
import torch
from torch.optim.adamw import adamw
from latlas import gallery, optimizers, training
from latlas.config import override, recipe
from latlas.trackers.tensorboard import TensorBoard

def stepped(make):
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    optimizer = make([weight])
    for step in range(5):
        optimizer.zero_grad()
        (weight.sin() * weight).sum().backward()
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    return weight.detach()

class Parameters:
    def __init__(self, these): self.these = these
    def parameters(self): return self.these

class Functional:  # torch's AdamW without its class, which imports the compiler
    def __init__(self, these):
        self.these = these
        self.kept = [[torch.zeros_like(p)] for p in these], [[torch.zeros_like(p)] for p in these]
        self.steps = [torch.tensor(0.0) for _ in these]
    def zero_grad(self):
        for p in self.these: p.grad = None
    def step(self):
        o = config.optimizer
        with torch.no_grad():
            for p, first, second, step in zip(self.these, *self.kept, self.steps):
                adamw(
                    [p], [p.grad], first, second, [], [step], fused=True, amsgrad=False, beta1=o.betas[0],
                    beta2=o.betas[1], lr=o.lr, weight_decay=o.weight_decay, eps=o.eps, maximize=False,
                )
    def state_dict(self): return {{}}
    def load_state_dict(self, state): pass

config = override(recipe("vae"), {{"optimizer.name": "adamw"}}, "test")
of_config = lambda these: optimizers.optimizer_for(config, Parameters(these))
ours, theirs = (stepped(make) for make in (of_config, Functional))
grid, _ = gallery.manifold_grid(gallery.settings_of(config), np.zeros((1, 2)))  # as a snapshot has it
TensorBoard().start({{}}, {{"run": "nowhere", "step": 0, "name": "run"}})
assert abs(grid.across[0] + 1.959963984540054) < 1e-12
assert [m for m in {SLOW!r} if m in sys.modules] == []
assert torch.equal(ours, theirs) and (ours != torch.arange(6.0).reshape(2, 3)).any()
"""


def test_training_waits_for_no_import() -> None:
    done = subprocess.run([sys.executable, "-c", OPTIMISERS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_is_light_and_quick() -> None:
    code = "sys.argv = ['latlas', '--help']; import runpy; runpy.run_module('latlas', run_name='__main__')"
    modules, seconds = heavy_after(code)
    assert modules == []
    # CPU time: a busy machine must not fail this, nor what it did once.
    assert seconds < 0.5 or min(heavy_after(code)[1] for _ in range(2)) < 0.5


def length(function: ast.FunctionDef | ast.AsyncFunctionDef, signature: bool = True) -> int:
    """Lines of a function without its docstring; without its signature too where that is all options."""
    doc = (ast.get_docstring(function) or "").count("\n")
    start = function.lineno if signature else function.body[0].lineno
    return (function.end_lineno or start) - start + 1 - doc


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 600
    functions = [
        n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    sizes = {f"{f.name}, line {f.lineno}": length(f, signature=path.parent.name != "cli") for f in functions}
    assert {name: size for name, size in sizes.items() if size > 45} == {}


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many a function takes, itself (`self`, `cls`) and its options by name (`**options`) not counted."""
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_functions_take_seven_parameters_at_most(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [f"{f.name}, line {f.lineno}" for f in functions if parameters(f) > 7] == []


FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
STYLE = re.compile(r":root|var\(--")  # names of colours begin with -- as well


def flags_named(tree: ast.AST) -> list[str]:
    """The command line's options that strings name, but for those of a whole command (`latlas train --resume RUN`)."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            text = node.value
        else:
            continue
        begun = re.sub(r"\blatlas [a-z]+\b.*", "", text, flags=re.S)
        found += [f"line {node.lineno}: {flag}" for flag in FLAG.findall(begun) if not STYLE.search(text)]
    return found


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_library_names_no_option_of_the_command_line(path: Path) -> None:
    assert flags_named(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ('raise InputError("take more draws (--importance)")', ["--importance"]),
        ('x = f"--steps {steps}: at least 2"', ["--steps"]),
        ('x = f"{a} needs --label, see latlas train --resume {b}"', ["--label"]),
        ('x = f"unfinished: latlas train --resume {b} --quiet"', []),
        ('x = "body { color: var(--ink); } :root { --ink: #fff; }"', []),
        ('x = "dash -- dash, a--b"', []),
    ],
)
def test_a_flag_in_a_string_is_found(line: str, flags: list[str]) -> None:
    assert [found.rpartition(" ")[2] for found in flags_named(ast.parse(line))] == flags


def project_files() -> list[Path]:
    """The files under version control, and new ones that are not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_two_files_have_one_name() -> None:
    names = [path.name for path in PACKAGE.rglob("*.py") if not path.name.startswith("__")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_no_file_is_large() -> None:
    assert [str(path) for path in project_files() if path.stat().st_size > 5_000_000] == []


def test_nothing_names_one_machine_or_an_unfinished_piece() -> None:
    # Written in two halves, so that this file does not hold them itself.
    words = ["/wo" + "rk/", "/tmp/" + "venv", "/opt/" + "pypi", "/ro" + "ot/", "pypi" + ".org"]
    words += ["python" + "hosted", "deb." + "debian", "registry." + "npmjs", "TO" + "DO", "FIX" + "ME"]
    faults = []
    for path in project_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # pictures and arrays
        faults += [f"{path.relative_to(ROOT)}: {word}" for word in words if word in text]
    assert faults == []
