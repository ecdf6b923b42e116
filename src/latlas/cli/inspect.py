"""latlas runs, data and recipes"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from latlas.cli.common import DataDir, Json, Quiet, examples, number, show, table
from latlas.text import printable

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="One of the names that list prints.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(epilog=examples("latlas runs --json"))(runs)
    sets = typer.Typer(no_args_is_help=False, rich_markup_mode=None)
    sets.callback(invoke_without_command=True, epilog=examples("latlas data fetch mnist"))(data)
    sets.command("list", epilog=examples("latlas data list --json"))(data_list)
    sets.command("info", epilog=examples("latlas data info flowers102"))(data_info)
    sets.command("fetch", epilog=examples("latlas data fetch mnist --data-dir ./data"))(data_fetch)
    app.add_typer(sets, name="data")
    recipes_ = typer.Typer(no_args_is_help=False, rich_markup_mode=None)
    recipes_.callback(invoke_without_command=True, epilog=examples("latlas recipes show vae"))(recipes)
    recipes_.command("list", epilog=examples("latlas recipes list --json"))(recipes_list)
    recipes_.command("show", epilog=examples("latlas recipes show kmnist-vae > my.toml"))(recipes_show)
    app.add_typer(recipes_, name="recipes")


def runs(
    root: Annotated[
        Path, typer.Option("--root", metavar="DIR", help="The folder that holds the runs.")
    ] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List the runs, oldest first."""
    from latlas import listing
    from latlas.text import size

    values = listing.list_runs(root)
    head = ("run", "data", "recipe", "latent", "epochs", "test ELBO", "mse", "size", "")
    rows = [
        (*(r[key] for key in ("name", "data", "recipe", "latent", "epochs")), number(r["elbo"]), number(r["mse"], 5),
         size(r["bytes"]), _remark(r))
        for r in values
    ]  # fmt: skip
    empty = f"no runs under {printable(root)}/; begin with: latlas train fashion-mini"
    show(values, as_json, table(head, rows) if rows else empty)


def _remark(run: dict[str, Any]) -> str:
    if not run["finished"]:
        return "unfinished"
    return "" if run["split"] == "test" else f"of {run['split']} items"


def data(context: typer.Context) -> None:
    """List, describe and download named data sets."""
    if context.invoked_subcommand is None:
        data_list()


def data_list(data_dir: DataDir = "", as_json: Json = False) -> None:
    """List the named sets and whether they are on this machine."""
    from latlas import listing

    values = listing.list_data(data_dir)
    rows = [
        (i["name"], i["train"], i["test"], "here" if i["present"] else "not here", i["title"]) for i in values
    ]
    show(values, as_json, table(("name", "train", "test", "", "what it is"), rows))


def data_info(name: NameArgument, data_dir: DataDir = "", as_json: Json = False) -> None:
    """Describe one named set: size, licence, folder, files, checksums."""
    from latlas import listing

    info = listing.data_info(name, data_dir)
    lines = [
        f"{key}: {', '.join(map(printable, v)) if isinstance(v, list | tuple) else printable(v)}"
        for key, v in info.items()
    ]
    show(info, as_json, "\n".join(line for line in lines if not line.endswith(": ")))


def data_fetch(
    name: NameArgument, data_dir: DataDir = "", as_json: Json = False, quiet: Quiet = False
) -> None:
    """Download a named set, check its sums, and put it where train finds it."""
    from latlas import listing

    folder = listing.fetch_data(name, data_dir, quiet=quiet)
    show({"name": name, "folder": str(folder)}, as_json, f"{name}: {printable(folder)}")


def recipes(context: typer.Context) -> None:
    """List and print recipes and studies."""
    if context.invoked_subcommand is None:
        recipes_list()


def recipes_list(as_json: Json = False) -> None:
    """List the recipes (train --recipe NAME) and the studies (study NAME) with what they show."""
    from latlas import listing

    values = listing.list_recipes()
    rows = [(v["name"], v["kind"], v["data"] or "any", " ".join(v["ids"]), v["summary"]) for v in values]
    show(values, as_json, table(("name", "kind", "data", "ids", "what it is"), rows))


def recipes_show(name: NameArgument, as_json: Json = False) -> None:
    """Print a recipe's whole configuration, every setting explained, or a study's file."""
    from latlas import listing

    recipe = listing.show_recipe(name)
    show(recipe.values, as_json, recipe.text)
