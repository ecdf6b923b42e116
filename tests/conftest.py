"""What every test gets: a private home, no data sets but those asked for, and skips that say why."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from latlas import afterwards

os.environ.setdefault("MPLBACKEND", "Agg")
REAL_DATA = os.environ.get("LATLAS_DATA", "")
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)


# Runs are trained without what is measured afterwards, which takes longer than they do. Here, and not in a fixture:
# runs that a whole file shares are trained before any test's own fixtures.
EVERYTHING, afterwards.MEASURED, afterwards.DIAGNOSED = afterwards.MEASURED, (), False


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


@pytest.fixture(autouse=True)
def measured(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What users get in tests marked `measured`: everything is measured at the end of training."""
    if request.node.get_closest_marker("measured") is not None:
        monkeypatch.setattr(afterwards, "MEASURED", EVERYTHING)
        monkeypatch.setattr(afterwards, "DIAGNOSED", True)


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets that LATLAS_DATA names, for tests marked `real`."""
    return Path(REAL_DATA)


@pytest.fixture
def chromium() -> str:
    """The path of a Chromium, for tests marked `browser`."""
    assert CHROMIUM is not None
    return CHROMIUM
