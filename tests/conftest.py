"""What every test gets: a private home, no data sets but those asked for, and skips that say why."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from latlas.settings import Config, EvaluationConfig

os.environ.setdefault("MPLBACKEND", "Agg")
REAL_DATA = os.environ.get("LATLAS_DATA", "")
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)


EVERYTHING = EvaluationConfig()
NOTHING = EvaluationConfig(groups=(), diagnose=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what this machine cannot run, with the reason."""
    for item in items:
        if item.get_closest_marker("real") and not Path(REAL_DATA or "missing").is_dir():
            item.add_marker(pytest.mark.skip(reason="real data sets: set LATLAS_DATA to their folder"))
        if item.get_closest_marker("browser") and CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="no Chromium on this machine"))


@pytest.fixture(autouse=True)
def private_home(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty home and cache, so that no test reads or writes the user's own.

    LATLAS_DATA is gone except for tests marked `real`.
    """
    home = tmp_path_factory.getbasetemp() / "home"
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    if request.node.get_closest_marker("real") is None:
        monkeypatch.delenv("LATLAS_DATA", raising=False)
    return home


def evaluate_by_default(evaluation: EvaluationConfig) -> None:
    """Makes `evaluation` what a configuration has unless it says so itself."""
    for name in ("groups", "diagnose"):
        EvaluationConfig.model_fields[name].default = getattr(evaluation, name)
    EvaluationConfig.model_rebuild(force=True)
    Config.model_fields["evaluation"].default = evaluation
    Config.model_rebuild(force=True)


@pytest.fixture(scope="session", autouse=True)
def nothing_waits_for_the_disk() -> Iterator[None]:
    """A run waits for dozens of files; that each is flushed before it is named is tested in processes of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def nothing_is_measured() -> None:
    """Measuring takes longer than training here; of the session, as whole files share runs that they train first."""
    evaluate_by_default(NOTHING)


@pytest.fixture(autouse=True)
def everything_is_measured(request: pytest.FixtureRequest) -> Iterator[None]:
    """In tests marked `measured`, a training measures and diagnoses at its end, as it does for users."""
    if request.node.get_closest_marker("measured") is None:
        yield
        return
    evaluate_by_default(EVERYTHING)
    yield
    evaluate_by_default(NOTHING)


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets that LATLAS_DATA names, for tests marked `real`."""
    return Path(REAL_DATA)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium, for tests marked `browser`."""
    assert CHROMIUM is not None
    return CHROMIUM


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """Chromium without WebGL, as on a remote desktop."""
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-3d-apis"]
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=chromium, args=options)
        yield opened
        opened.close()
