"""A folder of images: which files, in which order, with which labels and official splits."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from latlas.data.dataset import UNLABELLED
from latlas.data.image_formats import SUFFIXES
from latlas.data.image_list import ImageList, first_few, raw_of_images
from latlas.data.image_plan import ImageFormat
from latlas.data.metadata import NAMES as METADATA
from latlas.data.metadata import is_metadata, labels_in
from latlas.data.options import DataOptions
from latlas.data.parts import ORDER, split_word, splits_among
from latlas.data.splits import Raw, check_trainable, wanted
from latlas.data.walk import Found, natural_key, walk
from latlas.errors import InputError
from latlas.progress import OnProgress
from latlas.text import counted, listed, printable

Steps = tuple[str, ...]  # the folders on the way from the root to some files
MOST_COUNTED = 12  # classes whose files are counted in a note


@dataclass(frozen=True)
class Listing:
    """The image files of a folder; `parts` and `classes` per file, None where the folder does not say.

    Within `classes`, None stands for the files of a split without classes. `metadata` are tables beside the images,
    which may hold their labels, by their paths from the folder. `notes` are printable lines on what was
    taken for what and what was passed over.
    """

    files: tuple[Path, ...]
    parts: tuple[str, ...] | None
    classes: tuple[str | None, ...] | None
    others: tuple[str, ...]
    notes: tuple[str, ...] = ()
    broken_links: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """The number of files of each official split, in order; of all files, as `train`, where there are none."""
        counts = Counter(self.parts or ["train"] * len(self.files))
        return {part: counts[part] for part in ORDER if counts[part]}


@dataclass(frozen=True)
class _Layout:
    """What folders stand for: `places`, (split, class) of each that holds images, None for one beside the splits."""

    places: Mapping[Steps, tuple[str, str | None] | None]
    names: Mapping[str, Sequence[str]]
    notes: tuple[str, ...] = ()


def list_images(root: Path) -> Listing:
    """All image files under a folder in natural order, training before validation before test.

    Folders named as splits (train, val, test_set ...) are official splits, at the top, below folders that hold nothing
    else, or inside each class; two or more other folders that hold all images are classes. Links are followed; hidden
    files and folders are passed over.

    Raises InputError where there are no image files, and for folders that look like splits but cannot be used so.
    """
    found = walk(root)
    paths = [Path(name) for name in found.files]
    others = sorted(
        path.as_posix()
        for path in paths
        if path.suffix.lower() not in SUFFIXES and not is_metadata(path.name)
    )
    images = sorted((path for path in paths if path.suffix.lower() in SUFFIXES), key=natural_key)
    passed_over = _passed_over(found)
    if not images:
        seen = "; ".join([f"found: {_kinds(others) or 'nothing'}", *passed_over])
        raise InputError(f"{root}: no image files in this folder or below it ({seen})")
    steps = [path.parent.parts for path in images]
    try:
        layout = _read_layout(Counter(steps))
        if not layout.names:
            _refuse_splits_of_files(images)
    except InputError as error:
        raise InputError(f"{root}: {error}") from None
    beside, placed = [], []
    for path, place in zip(images, map(layout.places.get, steps), strict=True):
        if place is None:
            beside.append(path.as_posix())
        else:
            placed.append((path, *place))
    placed.sort(key=lambda each: ORDER.index(each[1]))
    files, parts, classes = zip(*placed, strict=True)
    notes = [
        *_counted(layout, parts, classes),
        *layout.notes,
        *_left_out(beside, others, images, found.folders),
        *passed_over,
    ]
    return Listing(
        files=tuple(root / path for path in files),
        parts=parts if layout.names else None,
        classes=classes if any(name is not None for name in classes) else None,
        others=tuple(others),
        notes=tuple(notes),
        broken_links=tuple(found.broken_links),
        metadata=tuple(sorted(path.as_posix() for path in paths if is_metadata(path.name))),
    )


def _left_out(
    beside: Sequence[str], others: Sequence[str], images: Sequence[Path], folders: Sequence[str]
) -> list[str]:
    """What is not read: images beside the splits, other files, and folders without images, a line for each."""
    notes = []
    if beside:
        notes.append(f"left out {counted(len(beside), 'image')} beside the splits: {_first_names(beside)}")
    if others:
        notes.append(f"{counted(len(others), 'other file')} not read ({_kinds(others)})")
    full = {parent for path in {path.parent for path in images} for parent in (path, *path.parents)}
    empty = sorted(folder for folder in folders if Path(folder) not in full)
    if empty:
        notes.append(f"no images in {counted(len(empty), 'folder')}: {_first_names(empty)}")
    return notes


def _read_layout(folders: Mapping[Steps, int]) -> _Layout:
    base: Steps = ()
    while True:
        level = len(base)
        below = {steps for steps in folders if steps[:level] == base and len(steps) > level}
        names = sorted({steps[level] for steps in below})
        deep = {steps[level] for steps in below if len(steps) > level + 1}
        loose = {steps: folders[steps] for steps in folders if steps not in below}
        if parts := splits_among(names, deep):
            return _official(
                parts, {steps: (steps[level], steps[level + 1 :]) for steps in below}, loose, level
            )
        if len(names) != 1:
            break
        base += (names[0],)
    if inside := _splits_of_classes(below, level, loose):
        return inside
    _refuse_deeper_splits(folders, ())
    if len(names) < 2:
        return _Layout(dict.fromkeys(folders, ("train", None)), {})
    taken = [name for name in names if split_word(name) and not (split_word(name) or ("", ()))[1]]
    notes = (f"{_first_names(taken)} is taken for a class, as no other folder is a split",) if taken else ()
    places = {steps: ("train", _same(steps[level]) if steps in below else None) for steps in folders}
    return _Layout(places, {}, notes)


def _official(
    parts: Mapping[str, str], below: Mapping[Steps, tuple[str, Steps]], loose: Iterable[Steps], level: int
) -> _Layout:
    """Folders named as splits: `below` holds each folder's split by name, and the folders on the way from there."""
    _refuse_deeper_splits(below, {steps[: level + 1] for steps in below})
    ways = _without_wrappers({steps: (parts[name], way) for steps, (name, way) in below.items()})
    places = {steps: (part, _same(way[0]) if way else None) for steps, (part, way) in ways.items()}
    return _Layout({**places, **dict.fromkeys(loose)}, _names_of(parts))


def _names_of(parts: Mapping[str, str]) -> dict[str, list[str]]:
    """The folders of each split, from the split of each folder."""
    return {part: sorted(name for name, own in parts.items() if own == part) for part in set(parts.values())}


def _without_wrappers(ways: Mapping[Steps, tuple[str, Steps]]) -> dict[Steps, tuple[str, Steps]]:
    """The ways into each split without the single folders that hold all of it, unless another split shows that they are
    classes.
    """
    current = dict(ways)
    while True:
        tops: dict[str, set[str]] = {}
        for part, way in current.values():
            tops.setdefault(part, set()).add(way[0] if way else "")
        classes = {name for names in tops.values() if len(names) > 1 for name in names}
        single = {part for part, names in tops.items() if len(names) == 1 and not names & (classes | {""})}
        if not single:
            return current
        current = {
            steps: (part, way[1:] if part in single else way) for steps, (part, way) in current.items()
        }


def _splits_of_classes(below: Collection[Steps], level: int, loose: Mapping[Steps, int]) -> _Layout | None:
    """cat/train, cat/test, dog/train ...: each class with its own splits; None where the folders are not so."""
    inner = {steps[level + 1] for steps in below if len(steps) > level + 1}
    words = {word[0] for name in inner if (word := split_word(name))}
    if len(words) < 2:
        return None
    parts = splits_among(inner)
    if not parts:
        return None
    stray = sorted({steps[level] for steps in below if len(steps) == level + 1})
    if stray:
        raise InputError(
            f"{_first_names(sorted(parts))} inside the other folders look like splits, but {_first_names(stray)} holds"
            " images in none of them; put them into the splits"
        )
    places = {steps: (parts[steps[level + 1]], _same(steps[level])) for steps in below}
    return _Layout({**places, **dict.fromkeys(loose)}, _names_of(parts))


def _refuse_deeper_splits(folders: Iterable[Steps], known: Collection[Steps]) -> None:
    """Raises InputError for folders deeper down that are two splits by their names, and would be trained on."""
    children: dict[Steps, set[str]] = {}
    for steps in folders:
        for depth in range(len(steps)):
            if steps[: depth + 1] not in known:
                children.setdefault(steps[:depth], set()).add(steps[depth])
    for above, names in sorted(children.items()):
        words: dict[tuple[str, ...], set[str]] = {}
        for name in names:
            if word := split_word(name):
                words.setdefault(word[1], set()).add(word[0])
        if any(len(parts) > 1 for parts in words.values()):
            raise InputError(
                f"the folders in {'/'.join(above)} look like splits, but not of all images here; give that folder, or"
                " have the splits at the top"
            )


def _refuse_splits_of_files(images: Sequence[Path]) -> None:
    """Raises InputError where most files are named as splits themselves: train_1.png, test_1.png."""
    found = [(word[0], path.as_posix()) for path in images if (word := split_word(path.stem))]
    first = dict(reversed(found))
    if len(first) > 1 and 2 * len(found) > len(images):
        raise InputError(
            f"the names of files look like splits ({_first_names(sorted(first.values()))}); put the files of each split"
            " into a folder of its name"
        )


def _same(name: str) -> str:
    """One spelling of a class's name: file systems write accents in two ways."""
    return printable(unicodedata.normalize("NFC", name))


def _counted(layout: _Layout, parts: Sequence[str], classes: Sequence[str | None]) -> list[str]:
    """What was taken for splits and classes, with the number of files of each."""
    counts: dict[str, Counter[str | None]] = {part: Counter() for part in ORDER}
    for (part, name), count in Counter(zip(parts, classes, strict=True)).items():
        counts[part][name] = count
    notes = []
    if layout.names:
        sizes = [
            f"{part} {counts[part].total():,}"
            + (f" ({_first_names(layout.names[part])})" if list(layout.names[part]) != [part] else "")
            for part in ORDER
            if counts[part]
        ]
        notes.append("official splits from sub-folders: " + ", ".join(sizes))
    names = sorted({name for name in classes if name is not None}, key=natural_key)
    if names:
        notes.append(f"{counted(len(names), 'class')} from sub-folders: {first_few(names)}")
    for part in ORDER:
        own = [name for name in names if counts[part][name]]
        if own:
            listed = first_few([f"{name} {counts[part][name]:,}" for name in own], MOST_COUNTED)
            notes.append(f"files{f' of {part}' if layout.names else ''}: {listed}")
            if bare := counts[part][None]:
                have = "has" if bare == 1 else "have"
                notes.append(f"{counted(bare, 'image')} beside these folders {have} no label")
            missing = [name for name in names if not counts["train"][name] and counts[part][name]]
            if missing and counts["train"] and None not in counts["train"]:
                notes.append(f"{part} has classes that train lacks: {first_few(missing)}")
    return notes


def _passed_over(found: Found) -> list[str]:
    """What of a folder is no data, one line for each reason."""
    notes = []
    if found.hidden:
        names = sorted({Path(name).name for name in found.hidden})
        hidden = "hidden or system "
        what = counted(len(found.hidden), f"{hidden}file or folder", f"{hidden}files and folders")
        notes.append(f"passed over {what} ({_first_names(names)})")
    if found.broken_links:
        notes.append(
            f"left out {counted(len(found.broken_links), 'broken link')}: {_first_names(found.broken_links)}"
        )
    for one, many, pairs in (
        ("special file", "special files", found.special),
        ("folder that cannot be read", "folders that cannot be read", found.unreadable),
    ):
        if pairs:
            named = _first_names([f"{name} ({why})" for name, why in pairs])
            notes.append(f"left out {counted(len(pairs), one, many)}: {named}")
    if found.again:
        named = _first_names([f"{name} (the same as {first})" for name, first in found.again])
        notes.append(f"passed over {counted(len(found.again), 'link')} to what is read already: {named}")
    return notes


def _kinds(names: Sequence[str]) -> str:
    return first_few(sorted({Path(name).suffix.lower() or Path(name).name for name in names}))


def _first_names(names: Sequence[str]) -> str:
    return first_few([printable(name) for name in names])


def read_folder(
    root: Path,
    name: str,
    options: DataOptions,
    image_format: ImageFormat,
    progress: OnProgress | None = None,
    split: str | None = None,
) -> Raw:
    """A folder of images, decoded: all of them, or those of a `split` (see `wanted`). Labels are the classes that its
    folders are, or those in a table of metadata beside the images.

    Raises InputError where there are none, where there is none to train on (without `split`), or with `strict` where
    one is broken.
    """
    listing = list_images(root)
    sizes = listing.sizes
    if split is None:
        lost = [link for link in listing.broken_links if split_word(Path(link).name)]
        check_trainable(sizes, f"{root} ({_first_names(lost)} is a broken link)" if lost else str(root))
    parts = tuple(sizes) if split is None else wanted(sizes, split, str(root))
    of_file = np.asarray(listing.parts or ["train"] * len(listing.files))
    places = np.flatnonzero(np.isin(of_file, parts))
    codes, classes, said = _labels(root, listing, options, split is None)
    files, of_place = [listing.files[i] for i in places], of_file[places].tolist()
    images = ImageList(files, of_place, codes[places], classes, places)
    raw = raw_of_images(root, name, images, image_format, options, progress)
    return replace(raw, notes=(*listing.notes, *said, *raw.notes), sizes=sizes)


def _labels(
    root: Path, listing: Listing, options: DataOptions, asked: bool
) -> tuple[np.ndarray, tuple[str, ...] | None, list[str]]:
    """The labels of all files, what codes are called, and notes: by the tables of metadata, else by sub-folders."""
    codes, classes = _label_codes(listing)
    if not listing.metadata:
        if options.label and asked:
            raise InputError(
                f"{root}: has no meaning for a folder without {listed(METADATA)}; leave it out",
                field="data.label",
                value=options.label,
            )
        return codes, classes, []
    images = [path.relative_to(root).as_posix() for path in listing.files]
    found, notes = labels_in(root, listing.metadata, images, options, asked)
    if found is None:
        return codes, classes, notes
    if listing.classes is not None:
        notes.insert(0, "sub-folders are no labels, as the table beside the images has some")
    return *found, notes


def _label_codes(listing: Listing) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Codes (N,) of all files, UNLABELLED without a class, and the class names in natural order."""
    if listing.classes is None:
        return np.full(len(listing.files), UNLABELLED), None
    classes = tuple(sorted({name for name in listing.classes if name is not None}, key=natural_key))
    code: dict[str | None, int] = {None: UNLABELLED} | {name: i for i, name in enumerate(classes)}
    return np.asarray([code[name] for name in listing.classes], dtype=np.int64), classes
