"""metrics.json for readers: the result in a sentence, the numbers as lines for a terminal or as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from latlas.metrics import OF_SPLITS, OLD_NAMES
from latlas.metrics.metric import GROUPS
from latlas.runs import measured_numbers
from latlas.settings import OLD_GROUPS
from latlas.text import Cell, Row, Table, aligned, counted, error, printable, rounded, sentence

Numbers = Mapping[str, Mapping[str, Any]]
MOST_PARTS = 16  # numbers per dimension that a row shows


# Said where such a number first appears.
OF_DENSITY = (
    "The likelihood is a density, which can exceed 1 where a probability cannot: an ELBO or log p(x) above 0, and a"
    " distortion below 0, are as they should be."
)
OF_DENSITIES = ("elbo", "log_px", "iwae_5", "iwae_50", "annealed_log_px")


def on_sign(numbers: Mapping[str, Any]) -> str:
    """`OF_DENSITY` where one of the numbers, by name, is a positive log-density or a negative distortion; else ""."""
    known = {name: value for name, value in numbers.items() if isinstance(value, int | float)}
    positive = any(known.get(name, 0.0) > 0 for name in OF_DENSITIES)
    return OF_DENSITY if positive or known.get("distortion", 0.0) < 0 else ""


def on_outlier(numbers: Mapping[str, Any], unit: str) -> str:
    """A sentence on the `unit`, an image or a row, that alone costs the mean ELBO more than its noise; "" where none
    does.
    """
    found = numbers.get("outlier")
    if not found:
        return ""
    name = found.get("name")
    what = f"{unit.capitalize()} {found['row']:,}" if name is None else f"The {unit} {printable(name)}"
    decimals = 2 if found["stderr"] < 1 else 1
    return (
        f"{what} alone costs {error(found['cost'])} nats of this mean: without it the ELBO is"
        f" {rounded(found['elbo'], decimals)} ± {error(found['stderr'])}."
    )


def headline(metrics: Mapping[str, Any], log: Iterable[Mapping[str, Any]]) -> str:
    """The result of a run in one sentence; for an unfinished run, how far it came."""
    split, test = measured_numbers(metrics)
    if not test:
        steps = [row for row in log if "step" in row]
        if not steps:
            return "Unfinished: no step is logged yet."
        last = steps[-1]
        valid_elbos = [
            row["valid"]["elbo"] for row in steps if (row.get("valid") or {}).get("elbo") is not None
        ]
        best = f" Best validation ELBO so far: {rounded(max(valid_elbos), 1)}." if valid_elbos else ""
        return f"Unfinished: the log ends at step {last['step']:,}, epoch {last.get('epoch', 0):.3g}.{best}"
    unit = str(metrics.get("unit", "nats per image"))
    item = unit.rpartition(" ")[2]
    items = counted(test["images"], item)
    if test.get("elbo") is None:
        value = rounded(test["distortion"], 1)
        result = (
            f"{split.capitalize()} distortion {value} {unit}, mean squared error {test['mse']:.4g} ({items})."
        )
        return " ".join(filter(None, [result, on_sign(test)]))
    stderr = test.get("elbo_stderr")
    spread = f"± {error(stderr)}, " if stderr is not None else ""
    elbo, distortion, rate = (rounded(test[key], 1) for key in ("elbo", "distortion", "rate"))
    result = (
        f"{split.capitalize()} ELBO {elbo} {unit} ({spread}{items}): distortion {distortion} + rate {rate}."
    )
    return " ".join(filter(None, [result, on_outlier(test, item), on_sign(test)]))


def skipped(metrics: Mapping[str, Any]) -> list[str]:
    """Sentences on the steps that training skipped and on its setbacks; none where there were none."""
    steps, setbacks = metrics.get("skipped_steps"), metrics.get("setbacks")
    sentences = []
    if steps:
        sentences.append(
            f"{counted(steps, 'step')} {'was' if steps == 1 else 'were'} skipped, as loss or gradient was not finite"
        )
    if setbacks:
        count = "once" if setbacks == 1 else f"{setbacks} times"
        halved = "with half the learning rate" + ("" if setbacks == 1 else " each time")
        sentences.append(f"training went back to a checkpoint {count}, {halved}")
    return sentences


def text(numbers: Numbers) -> str:
    """A block of lines for each group: title, value, unit, values it is compared with, items and draws."""
    blocks = []
    for title, members in _groups(numbers):
        rows = [[title, "", "", "", ""]]
        for about in members.values():
            cells = (_value(about), about["unit"], beside(about), _origin(about))
            rows.append([f"  {about['title']}", *cells])
        blocks.append(aligned(rows, right=(1,)))
        blocks += [
            printable(f"  ! {about['title']}: {about['warning']}")
            for about in members.values()
            if about.get("warning")
        ]
    return "\n".join(blocks)


def tables(numbers: Numbers, explained: bool = True) -> dict[str, Table]:
    """A table for each group, by its title: each number `explained`, without those that every split has; or else all of
    them, with their warnings alone.
    """
    of_splits = OF_SPLITS if explained else ()
    numbers = {name: about for name, about in numbers.items() if OLD_NAMES.get(name, name) not in of_splits}
    head = (Cell("Number"), Cell("Value"), Cell("Baseline"))
    rows = {title: [_row(*member) for member in members.items()] for title, members in _groups(numbers)}
    if not explained:
        rows = {title: [replace(row, why="", key="") for row in found] for title, found in rows.items()}
    return {title: Table(head, found, numeric=(1,)) for title, found in rows.items()}


def _groups(numbers: Numbers) -> Iterator[tuple[str, Numbers]]:
    for group, title in GROUPS.items():
        members = {name: about for name, about in numbers.items() if _group(about) == group}
        if members:
            yield title, members


def _group(about: Mapping[str, Any]) -> str:
    group = about.get("group", "")
    return OLD_GROUPS.get(group, group)


def _value(about: Mapping[str, Any]) -> str:
    decimals = int(about.get("decimals", 3))
    shown = rounded(about["value"], decimals)
    stderr = about.get("stderr")
    return shown if stderr is None else f"{shown} ± {rounded(stderr, decimals)}"


def beside(about: Mapping[str, Any]) -> str:
    """The values that the number is compared with: PCA 0.81, pure noise 0.04 ± 0.01."""
    decimals, spread = int(about.get("decimals", 3)), about.get("beside_sd", {})
    parts = {name: rounded(value, decimals) for name, value in about.get("beside", {}).items()}
    return ", ".join(
        f"{name} {value}" + (f" ± {rounded(spread[name], decimals)}" if name in spread else "")
        for name, value in parts.items()
    )


def _origin(about: Mapping[str, Any]) -> str:
    """Items and draws behind the number: 1,000 items × 100 draws."""
    draws = about.get("draws")
    what = about.get("what", "items")
    return counted(about["items"], what[:-1]) + (f" × {draws:,} draws" if draws and draws > 1 else "")


def _row(name: str, about: Mapping[str, Any]) -> Row:
    parts = [rounded(float(part), 2) for part in about.get("parts", ())]
    each = ", ".join(parts[:MOST_PARTS] + ["…"] * (len(parts) > MOST_PARTS))
    by = f", by {about['by']}" if about.get("by") else ""
    why = [about["why"], f"Of {_origin(about)}{by}.", f"Per dimension: {each}." if parts else ""]
    return Row(
        (Cell(about["title"], about["unit"]), Cell(_value(about)), Cell(beside(about))),
        why=" ".join(filter(None, why)),
        key=name,
        warning=sentence(about["warning"]) if about.get("warning") else "",
    )
