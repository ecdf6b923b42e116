"""Hostile run and study folders through every command: nothing outside is read or changed, nothing of theirs is run.

`python -m tests.fuzz --hostile` carries out all of them, each hostility with each command.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import threading
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from .containers import npz, zip_bomb
from .damage import SCRIPT
from .originals import Originals, pixels
from .trial import Case, Kind, command

SECRET = "secret-of-somebody-else-4711"
ESCAPE = "\x1b]0;title\x07\x1b[31mred\x1b[2J\x9b5A"
GIB = 2**30
SLOW_SECONDS = 60.0  # of commands that take up to ten for undamaged files
Spoil = Callable[[Path, Path], None]  # a run folder, and the folder outside it that holds a secret
PICTURE = "figures/latent.png"
SNAPSHOT, ITEMS = "snapshots/00000015.npz", "snapshots/items.npz"
LAST, BEST = "checkpoints/last.safetensors", "checkpoints/best.safetensors"
FILES = ("config.toml", "run.json", "model.json", "metrics.json", "log.jsonl", "model.safetensors", LAST, BEST,
    SNAPSHOT, ITEMS,
         PICTURE, "report.html", "atlas.html", "animation.webp", ".lock", "snapshots/00000015.safetensors")  # fmt: skip
FOLDERS = ("checkpoints", "snapshots", "figures", "tensorboard")
BASES = ("run", "study")


def outside(folder: Path, originals: Originals) -> None:
    """A folder of files as a run has them, each with a secret in it, and a study's."""
    shutil.copytree(originals.run, folder)
    for name in ("atlas.html", "animation.webp", ".lock", "notes.txt"):
        (folder / name).write_text(SECRET)
    for name in ("config.toml", "log.jsonl", "report.html"):
        mark = {
            "config.toml": f"\n# {SECRET}\n",
            "log.jsonl": json.dumps({"kind": "epoch", "step": 1, "note": SECRET}) + "\n",
        }
        with (folder / name).open("a") as stream:
            stream.write(mark.get(name, SECRET))
    for name in ("run.json", "model.json", "metrics.json"):
        values = json.loads((folder / name).read_text())
        for key in ("recipe", "notes", "findings", "data"):
            values[key] = _told(values.get(key))
        (folder / name).write_text(json.dumps(values))
    for picture in (folder / "figures").glob("*.png"):
        about = PngImagePlugin.PngInfo()
        about.add_text("Title", SECRET)
        about.add_text("Description", SECRET)
        Image.new("L", (30, 30)).save(picture, pnginfo=about)
    (folder / "secret.csv").write_text("a,b\n" + "".join(f"{i},{SECRET}{i}\n" for i in range(20)))


def _told(value: Any) -> Any:
    """A value with the secret in every text of it."""
    if isinstance(value, dict):
        return {key: _told(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_told(child) for child in value] or [SECRET]
    return SECRET if isinstance(value, str) or value is None else value


def linked(name: str, run: Path, other: Path) -> None:
    """A file or a folder of the run is a link to one outside."""
    path = run / name
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    for folder in (path.parent, (other / name).parent):
        folder.mkdir(exist_ok=True)
    path.symlink_to(other / name)


def linked_up(name: str, run: Path, other: Path) -> None:
    """A file of the run is a relative link that climbs out of it."""
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(os.path.relpath(other / name, (run / name).parent))


def piped(name: str, run: Path, other: Path) -> None:
    """A file of the run is a pipe that nobody writes to."""
    (run / name).unlink(missing_ok=True)
    (run / name).parent.mkdir(exist_ok=True)
    os.mkfifo(run / name)


def a_folder(name: str, run: Path, other: Path) -> None:
    """A folder stands where the run has a file."""
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir(parents=True)
    (run / name / "x").write_text("x")


def endless(name: str, run: Path, other: Path) -> None:
    """A file of the run is the device that never ends."""
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to("/dev/zero")


def huge(name: str, run: Path, other: Path) -> None:
    """A file of the run has three gigabytes, none of which are on the disk."""
    (run / name).parent.mkdir(exist_ok=True)
    with (run / name).open("r+b" if (run / name).exists() else "wb") as stream:
        stream.truncate(3 * GIB)


def deep(name: str, run: Path, other: Path) -> None:
    """A file of JSON whose values are nested a hundred thousand times."""
    text = (run / name).read_text().rstrip().removesuffix("}")
    (run / name).write_text(text + ', "deep": ' + "[" * 100_000 + "]" * 100_000 + "}\n")


def everywhere(text: str, name: str, run: Path, other: Path) -> None:
    """A text stands in every text of a file of JSON."""

    def put(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: put(child, k) for k, child in value.items()} | {text: text}
        if isinstance(value, list):
            return [put(child) for child in value] or [text]
        return (
            text
            if isinstance(value, str) and key not in ("source", "fingerprint", "kind", "measured")
            else value
        )

    lines = (run / name).read_text().splitlines() if name == "log.jsonl" else [(run / name).read_text()]
    (run / name).write_text("\n".join(json.dumps(put(json.loads(line))) for line in lines) + "\n")


def in_settings(text: str, run: Path, other: Path) -> None:
    """A text stands in the free texts of config.toml."""
    import tomlkit

    document = tomlkit.parse((run / "config.toml").read_text())
    for key in ("name", "summary"):
        document["recipe"][key] = text  # type: ignore[index]
    (run / "config.toml").write_text(tomlkit.dumps(document))


def in_pictures(text: bytes, run: Path, other: Path) -> None:
    """A text, or a bomb, stands in what a picture says of itself."""
    about = PngImagePlugin.PngInfo()
    for key in ("Title", "Description"):
        about.add_text(key, text.decode("latin1"), zip=len(text) > 10_000)
    for path in sorted((run / "figures").glob("*.png")):
        Image.new("L", (40, 40)).save(path, pnginfo=about)


def data_elsewhere(run: Path, other: Path) -> None:
    """The run says that its data are a file of somebody else's."""
    text = (run / "config.toml").read_text().splitlines()
    lines = [f'source = "{other / "secret.csv"}"' if line.startswith("source") else line for line in text]
    (run / "config.toml").write_text("\n".join(lines))


def data_endless(run: Path, other: Path) -> None:
    """The run says that its data are the device that never ends."""
    text = (run / "config.toml").read_text().splitlines()
    (run / "config.toml").write_text(
        "\n".join('source = "/dev/zero"' if line.startswith("source") else line for line in text)
    )


def tensors(name: str, change: Callable[[Any], Any], which: str, run: Path, other: Path) -> None:
    """The tensors of a file whose names have `which` in them are others, and its checksum is theirs."""
    from latlas import weights

    found, about = weights.read_tensors(run, name)
    about.pop("sha256", None)
    changed = {key: change(t) if which in key else t for key, t in found.items()}
    (run / name).write_bytes(weights.to_bytes(changed, about))


def promised(name: str, run: Path, other: Path) -> None:
    """A file of tensors whose header promises 72 TiB."""
    header = json.dumps(
        {"x": {"dtype": "F32", "shape": [2**40, 18], "data_offsets": [0, 2**40 * 72]}}
    ).encode()
    (run / name).write_bytes(len(header).to_bytes(8, "little") + header)


def bomb(run: Path, other: Path) -> None:
    """A snapshot whose codes unpack to gigabytes."""
    (run / SNAPSHOT).write_bytes(zip_bomb("codes", 3 * GIB))


def snapshot(arrays: dict[str, np.ndarray], run: Path, other: Path) -> None:
    """All snapshots hold these arrays."""
    for path in (run / "snapshots").glob("0*.npz"):
        path.write_bytes(npz(arrays))


def odd_files(run: Path, other: Path) -> None:
    """Files with names that are not UTF-8, have line breaks and escapes, or numbers of any length."""
    for folder, ending in (("figures", ".png"), ("snapshots", ".npz"), ("checkpoints", ".safetensors")):
        for stem in (
            b"br\xe9ken",
            b"a\nb",
            ESCAPE.encode(),
            SCRIPT.replace("/", "_").encode(),
            b"9" * 200,
            "٣".encode(),
            b"-1",
        ):
            path = os.path.join(os.fsencode(run / folder), stem + ending.encode())  # noqa: PTH118
            with open(path, "wb") as file:  # noqa: PTH123
                file.write((run / (PICTURE if ending == ".png" else SNAPSHOT)).read_bytes())


def values(name: str, key: str, value: Any, run: Path, other: Path) -> None:
    """A file of JSON with another value at a dotted key."""
    found = json.loads((run / name).read_text())
    *above, last = key.split(".")
    inner = found
    for part in above:
        inner = inner[int(part) if part.isdecimal() else part]
    inner[last] = value
    (run / name).write_text(json.dumps(found))


def settings(text: str, run: Path, other: Path) -> None:
    """A line of config.toml is another one."""
    key = text.partition("=")[0].strip()
    lines = (run / "config.toml").read_text().splitlines()
    (run / "config.toml").write_text(
        "\n".join(text if line.partition("=")[0].strip() == key else line for line in lines)
    )


def hostilities() -> dict[str, Spoil]:
    """All that is wrong with a run folder, by name."""
    found: dict[str, Spoil] = {f"{name} is a link": partial(linked, name) for name in (*FILES, *FOLDERS)}
    found |= {f"{name} climbs out": partial(linked_up, name) for name in FILES[:8]}
    found |= {f"{name} is a pipe": partial(piped, name) for name in FILES}
    found |= {f"{name} is a folder": partial(a_folder, name) for name in FILES}
    found |= {f"{name} never ends": partial(endless, name) for name in FILES[:11]}
    found |= {f"{name} is huge": partial(huge, name) for name in FILES[:11]}
    found |= {f"{name} is deep": partial(deep, name) for name in ("run.json", "model.json", "metrics.json")}
    texts = {
        "a script": SCRIPT,
        "an escape": ESCAPE,
        "a formula": '=HYPERLINK("http://x")',
        "attributes": '" onload="alert(1)',
        "a template": "{{ 7 * 191 }}{% for x in y %}",
    }
    for what, text in texts.items():
        found |= {
            f"{what} in {name}": partial(everywhere, text, name)
            for name in ("run.json", "model.json", "metrics.json", "log.jsonl")
        }
        found |= {f"{what} in settings": partial(in_settings, text)}
    found |= {f"{what} in pictures": partial(in_pictures, text) for what, text in
              {"a script": SCRIPT.encode(), "an escape": ESCAPE.encode("latin1"),
              "a bomb": bytes(32 * 2**20)}.items()}  # fmt: skip
    found |= {
        "data elsewhere": data_elsewhere,
        "data never end": data_endless,
        "a bomb in a snapshot": bomb,
        "odd names": odd_files,
    }
    return found | _of_tensors() | _of_values()


def _of_tensors() -> dict[str, Spoil]:
    import torch

    changes: dict[str, Callable[[Any], Any]] = {
        "flat": lambda t: t.reshape(-1), "short": lambda t: t.reshape(-1)[:1],
        "long": lambda t: t.reshape(-1).repeat(1000),
        "NaN": lambda t: torch.full_like(t, torch.nan) if t.is_floating_point() else t,
        "whole": lambda t: t.to(torch.int64),
        "double": lambda t: t.double(), "half": lambda t: t.half(), "infinite": lambda t: torch.full_like(t,
        3e38) if t.is_floating_point() else t,
    }  # fmt: skip
    found: dict[str, Spoil] = {}
    for what, change in changes.items():
        found[f"{what} weights"] = partial(tensors, "model.safetensors", change, "")
        found[f"{what} moments"] = partial(tensors, LAST, change, "exp_avg")
        found[f"{what} steps"] = partial(tensors, LAST, change, ".step")
        found[f"{what} weights in the checkpoint"] = partial(tensors, LAST, change, "model.")
        found[f"{what} weights of a snapshot"] = partial(
            tensors, "snapshots/00000015.safetensors", change, ""
        )
    found |= {f"{name} promises much": partial(promised, name) for name in ("model.safetensors", LAST, BEST)}
    shapes = {"NaN codes": np.full((6, 2), np.nan, np.float32), "long codes": np.zeros((6, 50)),
    "no codes": np.zeros((0, 2)), "flat codes": np.zeros(9),
              "codes that are texts": np.array([SCRIPT] * 6),
              "codes of another time": np.arange(6).astype("M8[s]")}  # fmt: skip
    for what, array in shapes.items():
        found[what] = partial(snapshot, {"codes": array, "samples": pixels(64)[..., None]})
    return found | {
        "samples that are no images": partial(
            snapshot, {"samples": np.zeros((3, 2)), "manifold": np.zeros((2, 2))}
        )
    }


def _of_values() -> dict[str, Spoil]:
    files = {
        "run.json": (("data", 3), ("data.train", 10**30), ("data.fingerprint", None), ("threads", -1),
        ("threads", "x"), ("notes", {"a": 1}), ("parts", [3]), ("created", [1])),
        "model.json": (("item.shape", [10**6, 10**6]), ("item.shape", []), ("item.scaling", None),
        ("config.model.latent", 10**9), ("config", []), ("item.classes", 7), ("item.kind", "pickle")),
        "metrics.json": (("findings", [{"level": SCRIPT}]), ("findings", [{}]), ("numbers",
        {"mse": {"value": "x"}}), ("splits.test", {}), ("measured", "../x"), ("seconds", "x"),
                         ("numbers", {SCRIPT: {"value": 1, "title": SCRIPT, "group": SCRIPT}}), ("findings",
                         "x" * 1000), ("epochs", [[]])),
    }  # fmt: skip
    found: dict[str, Spoil] = {
        f"{name}: {key} = {str(value)[:20]}": partial(values, name, key, value)
        for name, pairs in files.items()
        for key, value in pairs
    }
    lines = ("latent = 1000000000", "hidden = [1000000, 1000000]", "epochs = 100000000000",
    "batch_size = 9000000000", "grid = [100000, 100000]", "seed = 1e400",
             "snapshot_every = 1", "log_every = 1", "hidden = []", 'name = "../../x"', "threads = 100000",
             'device = "cuda:77"')  # fmt: skip
    return found | {f"config.toml: {line}": partial(settings, line) for line in lines}


def _served(originals: Originals) -> None:
    """Starts the explorer, reads its page and data, and ends it as Ctrl-C does."""
    import latlas

    def visit(address: str) -> None:
        try:
            got = [urllib.request.urlopen(address + name, timeout=20).read() for name in ("", "data.json")]
            Path("out/live.txt").write_bytes(b"".join(got))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    def started(address: str) -> None:
        threading.Thread(target=visit, args=(address,), daemon=True).start()

    latlas.explore("run", browser=False, started=started, quiet=True)


def _shown(originals: Originals) -> None:
    import latlas

    run = latlas.Run(Path("run"))
    for name, text in (
        ("shown.html", run._repr_html_() or ""),
        ("shown.txt", f"{run!r}\n{run.numbers()}\n{run.history()}"),  # no page: a script in it is only words
    ):
        Path("out", name).write_text(text, "utf-8", "backslashreplace")
    run.model()


def _line(*words: str) -> Callable[[Originals], Any]:
    return lambda originals: command(
        *(str(originals.folder / word[1:]) if word.startswith("@") else word for word in words)
    )


# Every command that takes a run; what takes seconds is left out of the quick ones.
COMMANDS: dict[str, Callable[[Originals], Any]] = {
    "load": _shown, "report": _line("report", "run", "-q"), "runs": _line("runs", "--root", "."),
    "encode": _line("encode", "run", "-q", "--out", "out/c.csv"),
    "diagnose": _line("diagnose", "run", "-q"), "evaluate": _line("evaluate", "run", "--measure", "none", "-q"),
    "prune": _line("prune", "run"),
    "resume": _line("train", "--resume", "run", "-q"), "explore": _served, "sample": _line("sample", "run",
    "-n", "3", "--out", "out/s.npz", "-q"),
    "score": _line("score", "run", "--out", "out/s.csv", "-q"), "hub": _line("export", "run", "--hub", "out/hub", "-q"),
    "reconstruct": _line("reconstruct", "run", "--out", "out/r.npz", "-q"), "vary": _line("vary", "run",
    "--row", "0", "--out", "out/v.npz", "-q"),
    "further": _line("train", "--resume", "run", "--steps", "34", "--quick", "-q"),
    "neighbours": _line("neighbours", "run", "0", "--out", "out/n.csv", "-q"),
    "decode": _line("decode", "run", "@codes.npz", "--out", "out/d.npz"), "morph": _line("morph", "run", "0",
    "1", "--out", "out/m.npz", "-q"),
    "log": _line("log", "run", "--to", "tensorboard", "--uri", "out/tb", "-q"),
    "from": _line("train", "@data.npz", "--from", "run", "--steps", "2", "--quick", "--out", "out/new", "--set",
    "pictures.draw=false", "-q"),
}  # fmt: skip
SLOW: dict[str, Callable[[Originals], Any]] = {
    "compare": _line("compare", "run", "--out", "out/compare.html", "--csv", "out/c.csv", "--latex",
    "out/c.tex", "-q"), "redraw": _line("report", "run", "--redraw", "-q"),
    "animate": _line("animate", "run", "--out", "out/film.gif", "--size", "240", "-q"), "html": _line("export",
    "run", "--html", "out/atlas.html", "-q"),
    "onnx": _line("export", "run", "--onnx", "out/onnx", "-q"), "torch": _line("export", "run", "--torch",
    "out/m.pt2", "-q"),
}  # fmt: skip


def study_hostilities() -> dict[str, Spoil]:
    """All that is wrong with a study's folder, by name."""
    names = ("study.json", "study.html", "results.csv", "seeds.csv", ".leases")
    found: dict[str, Spoil] = {f"{name} is a link": partial(linked, name) for name in names}
    found |= {f"{name} is a pipe": partial(piped, name) for name in names[:4]}
    found |= {f"{name} is a folder": partial(a_folder, name) for name in names[:4]}
    found |= {
        "study.json is huge": partial(huge, "study.json"),
        "study.json is deep": partial(deep, "study.json"),
    }
    for what, text in (("a script", SCRIPT), ("an escape", ESCAPE), ("a formula", "=1+1")):
        found[f"{what} in study.json"] = partial(everywhere, text, "study.json")
    for key, value in (
        ("runs", [{"folder": "../elsewhere/outside"}]),
        ("runs", 3),
        ("budget", {"seconds": -1, "share": 1e9, "seeds": 10**9}),
        ("results", {"x": SCRIPT}),
        ("created", 3),
    ):
        found[f"study.json: {key} = {str(value)[:20]}"] = partial(values, "study.json", key, value)
    return found | {"a run is a link": _linked_run}


def _linked_run(study: Path, other: Path) -> None:
    run = next(path for path in study.iterdir() if path.is_dir() and not path.name.startswith("."))
    shutil.rmtree(run)
    run.symlink_to(other)


STUDY_COMMANDS: dict[str, Callable[[Originals], Any]] = {
    "study": _line("study", "@study.toml", "--out", "study", "--threads", "1", "-q"),
    "runs of it": _line("runs", "--root", "study"),
}  # fmt: skip


def state_of(folder: Path) -> dict[str, tuple[int, int, str]]:
    """What stands in a folder and its folders: mode, time of change and content of everything."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        about = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = (
            about.st_mode,
            0 if path.is_dir() and path == folder else about.st_mtime_ns,
            hashlib.sha256(content).hexdigest(),
        )
    return found


def _secrets(folder: Path) -> Iterator[str]:
    """Files, reached without any link, that hold the secret."""
    for root, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(root, name)  # noqa: PTH118
            if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > 2**28:  # noqa: PTH113, PTH114, PTH202
                continue
            with open(path, "rb") as file:  # noqa: PTH123
                if SECRET.encode() in file.read():
                    yield os.path.relpath(path, folder)


def _case(
    base: str, spoil: Spoil, act: Callable[[Originals], Any], words: str, rng: Random, originals: Originals
) -> Case:
    run = Path(shutil.copytree(originals.run if base == "run" else originals.study, base))
    other = Path("elsewhere/outside")  # not beside it, where it would be a run of the same folder
    other.parent.mkdir()
    outside(other, originals)
    if base == "study":
        for name in ("study.json", "study.html", "results.csv", "seeds.csv"):
            (other / name).write_text(
                (originals.study / name).read_text() + (SECRET if name != "study.json" else "")
            )
    Path("out").mkdir()
    spoil(run.absolute(), other.absolute())
    before = state_of(other)

    def after(said: str) -> str:
        if state_of(other) != before:
            return "something outside the folder was changed"
        where = (
            "what was printed"
            if SECRET in said
            else next((f for at in (Path("out"), run) for f in _secrets(at)), "")
        )
        if where:
            return f"something outside the folder was read: it is in {where}"
        return ""

    return Case(words, lambda: act(originals), after=after)


def _kinds() -> dict[str, Kind]:
    pairs = [
        ("run", what, spoil, name, act)
        for what, spoil in hostilities().items()
        for name, act in (COMMANDS | SLOW).items()
    ]
    pairs += [
        ("study", what, spoil, name, act)
        for what, spoil in study_hostilities().items()
        for name, act in STUDY_COMMANDS.items()
    ]
    return {
        f"{name}, where {what}": Kind(
            1,
            partial(_case, base, spoil, act, f"{name}, where {what}"),
            SLOW_SECONDS if name in SLOW else None,
        )
        for base, what, spoil, name, act in pairs
    }


KINDS = _kinds()


def few() -> list[str]:
    """Cases that the run of the tests' fixtures will do for, and that take a moment."""
    wrong = ("is a link", "is a pipe", "climbs out", "is deep", "a script in", "an escape in", "is huge")
    chosen = [
        name
        for name in KINDS
        if name.partition(",")[0] in ("load", "report", "runs", "prune") and any(w in name for w in wrong)
    ]
    left_out = ("pictures", "00000015", "best", "study")
    return [name for name in chosen if not any(word in name for word in left_out)][::13]
