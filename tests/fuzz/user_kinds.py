"""What people type and write: TOML of settings and studies, and command lines."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

from .damage import NUMBERS, SCRIPT, toml_damaged
from .originals import STUDY, Originals
from .trial import Case, Kind, command

# Options that say how long to compute: a large number is a long wait that was asked for, no fault.
LONG = frozenset(
    (
        "epochs",
        "steps",
        "patience",
        "temperatures",
        "draws",
        "samples",
        "chains",
        "budget",
        "seeds",
        "jobs",
        "ais",
        "port",
        "measures",
        "importance",
    )
)
HUGE = ("1000000000000", "9" * 30)
PATHS = ("", ".", "missing", "missing/out.npz", "x.npz", "x.png", "x.html", "x.csv", "x", "data", "pipe",
    "no\x00name",
         "n" * 300 + ".npz", "\x1b[31m.npz", "br\udce9ken.npz", "~nobody/x.npz", "a/../x.npz", "link", "here/",
         "-", "--")  # fmt: skip
WORDS = ("digits", "run", "mse", "all", "none", "auto", "cpu", "cuda", "cuda:99", "test", "train", "valid",
    "mean", "adam", "gaussian", "samples", "mlflow",
         "tensorboard", "likelihood.sigma=0", "model.latent=1e9", "data.source=x",
         "network.hidden=[1000000,1000000]", "a=", "=", "seed=-1",
         "training.steps=0", "likelihood.name=", "objective.beta=nan", "pictures.grid=[100000,100000]",
         "100000x100000", "8x8", "0x0", "-1x3", "1x1x1", "vae",
         "http://[", "\x1b]0;x\x07", SCRIPT, "0-9", "x,y,,", ",", "60s", "10m", "-5s", "1e99h")  # fmt: skip


def _config_case(rng: Random, originals: Originals) -> Case:
    """A file of settings, read; now and then trained by, for one step."""
    from latlas import config

    base = config.to_toml(
        config.recipe(rng.choice(("vae", "vae", config.recipe_names()[rng.randrange(8)]))),
        comments=rng.random() < 0.3,
    )
    path = Path("my.toml")
    path.write_bytes(toml_damaged(base.encode(), rng))
    if rng.random() < 0.85:
        return Case("settings damaged, then read", lambda: config.read(path, config.recipe("vae")))

    def act() -> None:
        import latlas

        latlas.train(
            originals.folder / "data.npz", config=path, out="new", steps=1, batch_size=16, limit=20, quick=True,
            quiet=True, settings={"pictures.draw": False},
        )  # fmt: skip

    return Case("settings damaged, then trained by", act)


def _study_case(rng: Random, originals: Originals) -> Case:
    """A study's file, read."""
    from latlas.studies import study

    text = STUDY.format(data="digits")
    if rng.random() < 0.2:
        values = "[" + ", ".join(map(str, range(60))) + "]"
        keys = (
            "objective.beta",
            "model.latent",
            "optimizer.lr",
            "training.batch_size",
            "optimizer.weight_decay",
        )
        grid = "\n".join(f"{key} = {values}" for key in rng.sample(keys, rng.randint(1, 5)))
        text = text.replace('likelihood.name = ["bernoulli"]', grid)
    else:
        text = toml_damaged(text.encode(), rng).decode("utf-8", "replace")
    Path("study.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    return Case("a study's file damaged, then read", lambda: study.read("study.toml"))


@functools.cache
def _commands() -> dict[str, Any]:
    """Commands by name, their click objects; those that serve or download are left out."""
    import typer

    from latlas import cli

    found: dict[str, Any] = {}
    for name, one in typer.main.get_command(cli.app).commands.items():
        nested = getattr(one, "commands", {})
        found |= {f"{name} {sub}": each for sub, each in nested.items()} if nested else {name: one}
    return {name: one for name, one in found.items() if name not in ("explore", "data fetch")}


def _value(parameter: Any, rng: Random) -> str:
    name = parameter.name or ""
    if name in LONG:
        return rng.choice(("0", "-1", "1", "2", "abc", "nan", "", "1.5", "none", "mse"))
    how = rng.random()
    if how < 0.3:
        return rng.choice(NUMBERS)
    if how < 0.36:
        return rng.choice(HUGE)
    # Not where something is written: a device could be replaced by a file.
    if how < 0.4 and parameter.param_type_name == "argument":
        return "/dev/zero"
    return rng.choice(PATHS if how < 0.6 else WORDS)


def _arguments_case(rng: Random, originals: Originals) -> Case:
    """A command line of a real command, with some of its options and odd values."""
    name = rng.choice(list(_commands()))
    known = _commands()[name]
    words = name.split()
    shutil.copytree(originals.run, "run")
    os.mkfifo("pipe")
    Path("link").symlink_to("missing")
    Path("data").mkdir()
    for parameter in known.params:
        if parameter.param_type_name == "argument" and (parameter.required or rng.random() < 0.4):
            usual = "run" if "run" in (parameter.name or "") else str(originals.folder / "data.npz")
            words.append(usual if rng.random() < 0.7 else _value(parameter, rng))
    options = [
        p
        for p in known.params
        if p.param_type_name == "option"
        and p.name != "help"
        and p.name not in ("browser", "onnx", "torch", "plausible")  # those take seconds
    ]
    for parameter in rng.sample(options, min(len(options), rng.choice((0, 1, 1, 2, 3)))):
        words.append(parameter.opts[0])
        if not parameter.is_flag:
            words += [_value(parameter, rng) for _ in range(max(1, parameter.nargs))]
    if rng.random() < 0.05:
        words.insert(
            rng.randrange(len(words) + 1),
            rng.choice(("--", "-", "--x", "-n", "--help", "\x1b[31m", "--quiet=1")),
        )
    words += _END.get(name, [])
    words = [word.replace("\0", "") for word in words]  # no system passes a zero byte
    return Case(" ".join(words)[:500], lambda: command(*words))


# What keeps a command short, whatever was asked for before.
_END = {
    "train": ["--steps", "1", "--quick", "--limit", "20", "--out", "out-of-train"],
    "study": ["--dry-run"],
}


KINDS = {
    "settings": Kind(6, _config_case),
    "study_toml": Kind(4, _study_case),
    "arguments": Kind(6, _arguments_case),
}
