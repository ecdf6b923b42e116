"""Damaged files of run and study folders and of caches, through what reads them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from .containers import npz_damaged, png_damaged, resealed, safetensors_damaged
from .damage import as_json, damaged, json_damaged, lines_damaged, toml_damaged, tree_changed
from .originals import Originals
from .trial import Case, Kind, command

Act = Callable[[Originals], Any]


def _copied(originals: Originals) -> Path:
    return Path(shutil.copytree(originals.run, "run"))


def _load(originals: Originals) -> Any:
    import latlas

    return latlas.load("run")


def _codes(originals: Originals) -> np.ndarray:
    import latlas

    return latlas.encode("run", originals.folder / "data.npz", quiet=True).arrays["mean"]


def _explored(originals: Originals) -> None:
    """Builds what the live explorer serves."""
    from latlas.api.exploring import opened_of
    from latlas.console import Console
    from latlas.explorer import server

    with Console(True) as console:
        server.live(opened_of("run", None, {}, console))


def _snapshots(originals: Originals) -> dict[str, list[tuple[int, np.ndarray]]]:
    from latlas.runs import Run

    run = Run(Path("run"))
    return {key: run.snapshots(key) for key in ("samples", "codes", "manifold")}


def _weights_of_snapshot(originals: Originals) -> dict[str, np.ndarray]:
    from latlas import snapshots
    from latlas.runs import Run

    return _state(snapshots.model_at(Run(Path("run")), 15))


def _state(model: Any) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def _further(originals: Originals) -> dict[str, np.ndarray]:
    """Trains the run a few steps further, with the optimiser's state of its checkpoint."""
    import latlas

    return _state(latlas.resume("run", steps=34, quick=True, quiet=True).model())


def _resumed(originals: Originals) -> dict[str, np.ndarray]:
    """Ends a run whose last step was made, but not its numbers."""
    import latlas

    Path("run/metrics.json").unlink(missing_ok=True)
    return _state(latlas.resume("run", quick=True, quiet=True).model())


def _call(name: str, *arguments: Any, **options: Any) -> Act:
    def act(originals: Originals) -> None:
        import latlas

        getattr(latlas, name)("run", *arguments, quiet=True, **options)

    return act


def _frames(originals: Originals) -> None:
    import latlas

    run = latlas.Run(Path("run"))
    run._repr_html_()
    run.numbers()
    run.history()


def _from(originals: Originals) -> None:
    import latlas

    latlas.train(
        originals.folder / "data.npz",
        from_run="run",
        out="new",
        steps=2,
        quick=True,
        quiet=True,
        settings={"pictures.draw": False},
    )


def _compare(originals: Originals) -> None:
    import latlas.api

    latlas.api.compare_runs(["run"], None, quiet=True, pca=False)


# What a run goes through, with how often of all times; what takes seconds comes seldom.
ACTS: dict[str, tuple[float, Act]] = {
    "load": (6, _load), "encode": (5, _codes), "report": (5, lambda o: command("report", "run", "--quiet")),
    "runs": (5, lambda o: command("runs", "--root", ".")), "diagnose": (3, lambda o: command("diagnose", "run",
    "--quiet")),
    "evaluate": (2, lambda o: command("evaluate", "run", "--measure", "none", "--quiet")), "explore": (1, _explored),
    "prune": (3, lambda o: command("prune", "run")), "hub": (1.5, _call("export", hub="hub")), "frames": (4, _frames),
    "resume": (0.6, _resumed), "further": (0.6, _further), "from": (0.3, _from), "html": (0.3, _call("export",
    html="e.html")),
    "compare": (2, _compare), "log": (0.1, lambda o: command("log", "run",
    "--to", "tensorboard", "--uri", "tb", "--quiet")),
    "animate": (0.15, _call("animate", "film.gif", size=240)), "redraw": (0.05, _call("write_report", redraw=True)),
    "written": (3, _call("write_report")),
    "sample": (1, lambda o: command("sample", "run", "-n", "2", "--out", "s.npz", "--quiet")),
    "score": (1, _call("score")), "snapshots": (4, _snapshots), "weights of a snapshot": (1, _weights_of_snapshot),
}  # fmt: skip


def _chosen(rng: Random, names: Sequence[str]) -> str:
    return rng.choices(list(names), [ACTS[name][0] for name in names])[0]


def _same(found: Any, true: Any) -> str:
    """Whether what was read is what the undamaged files give, to the bit."""
    if isinstance(true, dict):
        wrong = [key for key in true if key not in found or _same(found[key], true[key])]
        return f"other values of {wrong[0]}" if wrong else ""
    if isinstance(true, list | tuple):
        different = len(found) != len(true) or any(_same(a, b) for a, b in zip(found, true, strict=True))
        return "other values" if different else ""
    return "" if np.array_equal(found, true, equal_nan=np.asarray(true).dtype.kind == "f") else "other values"


def _in_copy(act: Act, originals: Originals) -> Callable[[Path], Any]:
    def made(run: Path) -> Any:
        before = Path.cwd()
        os.chdir(run.parent)
        try:
            return act(originals)
        finally:
            os.chdir(before)

    return made


def _file(
    names: Sequence[str],
    damage: Callable[[bytes, Random], bytes],
    acts: Sequence[str],
    compared: Sequence[str] = (),
) -> Callable[[Random, Originals], Case]:
    """Cases of one of these files of a run, through one of the acts; what those `compared` give must not change."""

    def make(rng: Random, originals: Originals) -> Case:
        run = _copied(originals)
        name = rng.choice([n for n in names if n in originals.run_files])
        content = originals.run_files[name]
        changed = damage(content, rng)
        (run / name).write_bytes(changed)
        act = _chosen(rng, acts)
        call = ACTS[act][1]
        check: Callable[[Any], str] = lambda found: ""  # noqa: E731
        if act in compared and changed != content:
            check = lambda found: _same(found, originals.once(act, _in_copy(call, originals)))  # noqa: E731
        return Case(f"{name} damaged, then {act}", lambda: call(originals), check)

    return make


def _byte_damage_of_arrays(rng: Random, originals: Originals) -> Case:
    """A snapshot, damaged; where its sums were made anew its values are others, else they are the same or refused."""
    run = _copied(originals)
    name = rng.choice([n for n in originals.run_files if n.startswith("snapshots/") and n.endswith(".npz")])
    content = originals.run_files[name]
    changed, honest = npz_damaged(content, rng)
    (run / name).write_bytes(changed)
    act = rng.choices(("snapshots", "animate", "explore", "written"), (10, 0.4, 1, 2))[0]
    check: Callable[[Any], str] = lambda found: ""  # noqa: E731
    if act == "snapshots" and not honest:
        check = lambda found: _same(found, originals.once(act, _in_copy(_snapshots, originals)))  # noqa: E731
    return Case(f"{name} damaged, then {act}", lambda: ACTS[act][1](originals), check)


def _of_tensors(
    name: str, damage: Callable[[bytes, Random], bytes], acts: Sequence[str], compared: str
) -> Callable[[Random, Originals], Case]:
    """Cases of a file of tensors: by a disk, so that its checksum tells; or on purpose, with a checksum that is right,
    so that what is in it has to be looked at, and other values are no fault.
    """

    def make(rng: Random, originals: Originals) -> Case:
        if rng.random() < 0.5:
            return _file([name], lambda d, r: resealed(damage(d, r)), acts)(rng, originals)
        return _file([name], damage, acts, (compared,))(rng, originals)

    return make


def _weights_case(rng: Random, originals: Originals) -> Case:
    if rng.random() < 0.2:
        name, acts = "snapshots/00000015.safetensors", ("weights of a snapshot",)
    else:
        name, acts = (
            "model.safetensors",
            ("encode", "encode", "encode", "evaluate", "hub", "explore", "sample", "from"),
        )
    return _of_tensors(name, safetensors_damaged, acts, acts[0])(rng, originals)


def _checkpoint_case(rng: Random, originals: Originals) -> Case:
    name = rng.choice(("last", "last", "best"))
    acts = ("further", "further", "resume", "prune")
    return _of_tensors(f"checkpoints/{name}.safetensors", _checkpoint_damaged, acts, "further")(
        rng, originals
    )


def _checkpoint_damaged(data: bytes, rng: Random) -> bytes:
    """A checkpoint damaged as a file of tensors, or with a wrong value in its progress."""
    if rng.random() < 0.7:
        return safetensors_damaged(data, rng)
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if "progress" not in header["__metadata__"]:
        return damaged(data, rng)
    progress = as_json(tree_changed(json.loads(header["__metadata__"]["progress"]), rng)).decode(
        "utf-8", "replace"
    )
    header["__metadata__"]["progress"] = progress
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def _codes_case(rng: Random, originals: Originals) -> Case:
    import latlas

    content = (originals.folder / "codes.npz").read_bytes()
    changed, honest = npz_damaged(content, rng)
    Path("codes.npz").write_bytes(changed)

    def decoded(path: Path) -> np.ndarray:
        return latlas.decode(originals.run, path, quiet=True).arrays["decoded"]

    true = lambda run: decoded(originals.folder / "codes.npz")  # noqa: E731
    call = lambda: decoded(Path("codes.npz"))  # noqa: E731
    check = lambda found: "" if honest else _same(found, originals.once("decoded", true))  # noqa: E731
    return Case("codes.npz damaged, then decode", call, check)


def _cache_case(rng: Random, originals: Originals) -> Case:
    """A damaged cache of an image folder: the pixels are those of the folder, or refused; never others."""
    from latlas.data import DataOptions
    from latlas.data.load import read_source

    def read(run: Path | None = None) -> np.ndarray:
        return np.asarray(read_source(DataOptions(source=str(originals.folder / "photos"))).parts["train"].x)

    true = originals.once("photos", read)
    read()
    files = [p for p in Path("cache").rglob("*") if p.is_file()]
    if not files:
        return Case("no cache", lambda: None, lambda found: "no cache was written")
    path = rng.choice(files)
    content = path.read_bytes()
    if path.suffix == ".json":
        path.write_bytes(json_damaged(content, rng))
    elif rng.random() < 0.1:
        path.write_bytes(content[:128] + bytes(reversed(content[128:])))
    else:
        path.write_bytes(damaged(content, rng))
    if rng.random() < 0.1:
        os.utime(path, (path.stat().st_atime, 1e9))
    return Case(f"cache/{path.name} damaged", read, lambda found: _same(found, true))


def _figure_case(rng: Random, originals: Originals) -> Case:
    names = [name for name in originals.run_files if name.endswith(".png")]
    return _file(names, png_damaged, ("written", "report", "hub"))(rng, originals)


def _study_case(rng: Random, originals: Originals) -> Case:
    """A damaged study.json of a study that is done: refused, or carried out again."""
    import latlas

    study = Path(shutil.copytree(originals.study, "study"))
    (study / "study.json").write_bytes(json_damaged((study / "study.json").read_bytes(), rng))
    seldom = rng.random() < 0.3

    def act() -> Any:
        from latlas.studies import study_json

        if not seldom:
            return study_json.read(study, "small")
        return latlas.study(originals.folder / "study.toml", out=study, quiet=True, threads=1)

    return Case(f"study.json damaged, then {'study' if seldom else 'read'}", act)


LEASE = {"machine": "m", "host": "h", "pid": 12, "locked": True, "released": False, "done": 3, "total": 9}


def _lease_case(rng: Random, originals: Originals) -> Case:
    """Damaged leases and notes of failures in a study's folder."""
    from latlas.studies import leases

    folder = Path("out") / leases.FOLDER
    folder.mkdir(parents=True)
    machine = leases.machine_name() if rng.random() < 0.5 else "other"
    content = json_damaged(json.dumps(LEASE | {"machine": machine}).encode(), rng)
    name = rng.choice(
        (
            "one.1",
            "one.1",
            "one.99999999999999999999",
            "one." + "9" * 200,
            "one.٣",
            "one.failed",
            "comparison.1",
        )
    )
    (folder / name).write_bytes(content)
    act = rng.choice(("look", "take", "failures"))

    def call() -> Any:
        out = Path("out")
        if act == "look":
            return leases.look(out, ["one", "comparison"])
        if act == "failures":
            return leases.failures(out)
        lease = leases.take(out, "one")
        if lease is not None:
            with lease:
                pass
        return None

    return Case(f"{name[:30]} damaged, then {act}", call)


_EVERY = ("load", "encode", "report", "runs", "diagnose", "evaluate", "explore", "prune", "hub", "frames",
    "resume", "further", "from",
          "compare", "log", "animate", "redraw", "sample", "score", "written")  # fmt: skip

KINDS = {
    "config": Kind(5, _file(["config.toml"], toml_damaged, _EVERY)),
    "model": Kind(6, _file(["model.json"], json_damaged, ("load", "encode", "written", "hub", "runs", "explore",
    "sample", "resume", "further"))),
    "run": Kind(5, _file(["run.json"], json_damaged, _EVERY)),
    "metrics": Kind(8, _file(["metrics.json"], json_damaged, ("written", "report", "runs", "diagnose", "prune",
    "hub", "frames", "compare", "log", "further", "explore"))),
    "log": Kind(4, _file(["log.jsonl"], lines_damaged, ("written", "frames", "further", "resume", "log",
    "diagnose", "redraw", "load"))),
    "checkpoint": Kind(2.5, _checkpoint_case),
    "weights": Kind(6, _weights_case),
    "snapshot": Kind(6, _byte_damage_of_arrays),
    "codes": Kind(6, _codes_case),
    "figure": Kind(3, _figure_case),
    "study_json": Kind(1.5, _study_case),
    "lease": Kind(2, _lease_case),
    "cache": Kind(5, _cache_case),
}  # fmt: skip
