"""Models outside latlas: ONNX, programs of torch.export and the hub's layout give what the model gives."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import images
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor, nn

import latlas
from latlas import cli
from latlas.config import recipe, recipe_names
from latlas.data import Like, Scaling
from latlas.errors import InputError, LatlasError
from latlas.exports import BATCHES, TOLERANCE, onnx_files
from latlas.exports.card import escaped
from latlas.exports.graphs import CAPTURED, Part, Units, compared, parts_of, quietly
from latlas.likelihoods import Gaussian
from latlas.models import Model
from latlas.posteriors import DiagonalGaussian
from latlas.priors import StandardNormal

FIXTURE = Path(__file__).parent / "fixtures" / "run-of-format-1"
SMALL: dict[str, Any] = {"steps": 20, "latent": 2, "quick": True, "quiet": True, "threads": 1}


@pytest.fixture(scope="module", autouse=True)
def one_registry() -> Iterator[None]:
    """The exporter reads its 500 functions anew for every file, which takes longer than all else here."""
    pytest.importorskip("onnxscript")
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on images of bytes, by convolutions with batch normalisation, and on a table, by an autoencoder."""
    folder = tmp_path_factory.mktemp("work")
    np.savez(folder / "ramps.npz", x=images(120, channels=3), y=np.arange(120) % 3)
    rng = np.random.default_rng(0)
    # In float32 nothing would be left of the last column but its offset.
    x = rng.normal(size=(120, 2)) @ rng.normal(size=(2, 3)) * [1, 100, 1] + [0, 5, 1e9]
    (folder / "table.csv").write_text("\n".join(["a,b|c,d", *(",".join(map(str, row)) for row in x)]))
    conv = {"network.name": "conv", "network.channels": [4, 8], "network.batch_norm": True}
    # The mean of this likelihood has log sigmoids far out, where the exporter's own way to write them is wrong.
    logistic = {"likelihood.name": "discretised-logistic", "likelihood.sigma": 0.01}
    for name, source, kind, settings in (
        ("images", "ramps.npz", "vae", conv | logistic),
        ("table", "table.csv", "ae", {"network.name": "pca-mlp", "network.hidden": [8]}),
    ):
        settings["pictures.draw"] = False
        latlas.train(folder / source, kind, out=folder / name, settings=settings, **SMALL)
    (folder / "images" / "figures").mkdir()
    about = PngInfo()
    about.add_itxt("Title", "Pairs")
    about.add_itxt("Description", "How to read them.")
    Image.new("RGB", (2000, 900), "red").save(folder / "images/figures/reconstructions.png", pnginfo=about)
    return folder


@pytest.fixture(scope="module")
def exported(work: Path) -> dict[str, latlas.Exported]:
    """All three formats of both runs."""
    return {
        name: latlas.export(
            work / name, onnx=work / f"{name}-onnx", hub=work / f"{name}-hub", torch=work / f"{name}.pt2", quiet=True
        )
        for name in ("images", "table")
    }  # fmt: skip


def given(work: Path, name: str) -> np.ndarray:
    """64 items in data units, in the type that exported files take."""
    if name == "images":
        return np.load(work / "ramps.npz")["x"][: max(BATCHES)].astype(np.float32)
    return np.loadtxt(work / "table.csv", delimiter=",", skiprows=1)[: max(BATCHES)]


def sizes(name: str) -> float | np.ndarray:
    """What differences of decoded items are relative to: the range of bytes, a column's standard deviation."""
    return 255.0 if name == "images" else np.array([1.0, 100.0, 1.0])


def assert_agree(
    name: str, model: Model, x: np.ndarray, run: Callable[..., Any], decode: Callable[..., Any]
) -> None:
    """`run` and `decode` give what the model gives for the first n items, at every n."""
    std = model.posterior(x).stddev
    expected = [model.encode(x), *([] if std is None else [std.numpy()])]
    decoded = model.decode(expected[0])
    for n in BATCHES:
        found = run(x[:n])
        assert len(found) == len(expected)
        for ours, theirs in zip(expected, found, strict=True):
            np.testing.assert_allclose(theirs, ours[:n], rtol=TOLERANCE, atol=TOLERANCE)
        items = decode(expected[0][:n])
        assert (items.dtype, items.shape) == (x.dtype, x[:n].shape)
        assert np.abs((items - decoded[:n]) / sizes(name)).max() < TOLERANCE


@pytest.mark.parametrize("name", ["images", "table"])
def test_onnx_files_give_what_the_model_gives(
    work: Path, exported: dict[str, latlas.Exported], name: str
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    folder = work / f"{name}-onnx"
    assert sorted(p.name for p in folder.iterdir()) == ["decoder.onnx", "encoder.onnx"]
    sessions = {}
    for part in ("encoder", "decoder"):
        session = onnxruntime.InferenceSession(folder / f"{part}.onnx", providers=["CPUExecutionProvider"])
        assert {value.shape[0] for value in (*session.get_inputs(), *session.get_outputs())} == {"N"}
        sessions[part] = session
    names = [output.name for output in sessions["encoder"].get_outputs()]
    assert names == (["mean", "std"] if name == "images" else ["mean"])
    assert_agree(
        name, latlas.load(work / name), given(work, name),
        lambda x: sessions["encoder"].run(None, {"x": x}), lambda z: sessions["decoder"].run(None, {"z": z})[0],
    )  # fmt: skip
    written = exported[name].onnx
    assert written is not None
    assert set(written.differences) == {*names, "x"}
    assert max(written.differences.values()) < TOLERANCE
    assert CAPTURED not in BATCHES


def test_onnx_files_say_what_they_are(work: Path, exported: dict[str, latlas.Exported]) -> None:
    onnx = pytest.importorskip("onnx")
    for path in (work / "images-onnx").iterdir():
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        about = {entry.key: entry.value for entry in model.metadata_props}
        assert (about["part"], about["kind"], about["units"]) == (path.stem, "image", "from 0 to 255")
        assert json.loads(about["shape"]) == [8, 6, 3]
        assert json.loads(about["scaling"]) == {"kind": "integer", "shift": [0.0], "scale": [255.0]}
        assert json.loads(about["latent_names"]) == ["z1", "z2"]
        assert json.loads(about["elbo"]) == latlas.Run(work / "images").metrics["splits"]["test"]["elbo"]
        assert (about["latlas"], about["likelihood"]) == (latlas.__version__, "discretised logistic")
        assert str(Path(latlas.__file__).parent).encode() not in path.read_bytes()
    about = {e.key: e.value for e in onnx.load(work / "table-onnx" / "encoder.onnx").metadata_props}
    assert json.loads(about["columns"]) == ["a", "b|c", "d"]
    assert "elbo" not in about


def test_a_torch_program_runs_without_latlas(work: Path, exported: dict[str, latlas.Exported]) -> None:
    for name in ("images", "table"):
        with quietly():  # torch warns of itself
            program = torch.export.load(work / f"{name}.pt2")
            parts = torch.export.unflatten(program)
        model, x = latlas.load(work / name), given(work, name)

        def run(x: np.ndarray, encoder: Callable[[Tensor], Any] = parts.encoder) -> list[np.ndarray]:
            found = encoder(torch.from_numpy(x))
            return [o.detach().numpy() for o in ([found] if isinstance(found, Tensor) else found)]

        decode = lambda z, decoder=parts.decoder: decoder(torch.from_numpy(z)).detach().numpy()  # noqa: E731
        assert_agree(name, model, x, run, decode)
        for n in BATCHES:
            *_, again = program.module()(torch.from_numpy(x[:n]))
            assert np.abs((again.detach().numpy() - model.reconstruct(x[:n])) / sizes(name)).max() < TOLERANCE


def test_what_a_posterior_lacks_is_named(exported: dict[str, latlas.Exported]) -> None:
    assert exported["images"].left_out == ()
    assert exported["table"].left_out == ("std: a point posterior has none; the encoder gives mean alone",)
    assert list(exported["table"].formats) == ["onnx", "hub", "torch"]


def test_the_reference_of_onnx_checks_where_there_is_no_runtime(
    work: Path, exported: dict[str, latlas.Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx")
    without(monkeypatch, "onnxruntime")
    assert onnx_files.checker().startswith("onnx.reference ")
    encoder, decoder = parts_of(latlas.load(work / "table"))
    for part in (encoder, decoder):
        model = onnx.load(work / "table-onnx" / f"{part.name}.onnx")
        assert max(compared(part, onnx_files.runner(model)).values()) < TOLERANCE


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if these packages were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in packages else find(name, *rest)
    )


# The scale, and values in data units with what they are on the model's scale.
SCALES = [
    (Scaling(), [0.25], [0.25]),
    (Scaling("integer", (0.0,), (255.0,)), [51.0], [0.2]),
    (Scaling("minmax", (-1.0,), (2.0,)), [0.5], [0.75]),
    (Scaling("standard", (1e9, 2.0), (2.0, 4.0)), [1e9 + 1, 6.0], [0.5, 1.0]),
]


@pytest.mark.parametrize(("scaling", "x", "expected"), SCALES, ids=lambda v: getattr(v, "kind", ""))
def test_units_are_those_of_the_scaling(scaling: Scaling, x: list[float], expected: list[float]) -> None:
    units = Units(Like("table", (len(x),), scaling))
    items = torch.tensor([x], dtype=torch.float64 if scaling.own_range else torch.float32)
    scaled = units.apply_to(items)
    np.testing.assert_allclose(scaled.numpy(), [expected], rtol=1e-6)
    np.testing.assert_array_equal(scaled.numpy(), scaling.apply(items.numpy()).astype(np.float32))
    back = units.invert(scaled)
    assert back.dtype == items.dtype
    np.testing.assert_allclose(back.numpy(), items.numpy(), rtol=1e-7)


@pytest.mark.parametrize(
    ("kind", "shape"), [("image", (3, 4, 5)), ("signal", (2, 5)), ("volume", (1, 2, 3, 4)), ("vector", (4,))]
)
def test_channels_are_last_outside(kind: Any, shape: tuple[int, ...]) -> None:
    item = Like(kind, shape)
    x = torch.arange(2.0 * math.prod(shape)).reshape(2, *item.outside)
    inside = Units(item).apply_to(x)
    np.testing.assert_array_equal(inside.numpy(), np.moveaxis(x.numpy(), -1, 1) if len(shape) > 1 else x)
    np.testing.assert_array_equal(Units(item).invert(inside), x)


def part_of(module: nn.Module, z: np.ndarray) -> Part:
    """A decoder that is only this module."""
    with torch.no_grad():
        return Part("decoder", module, "z", ("x",), z, (module(torch.from_numpy(z)).double().numpy(),))


def test_differences_are_the_largest_and_none_too_large_passes() -> None:
    z = np.zeros((64, 2), np.float32)
    part = part_of(nn.Identity(), z)

    def off(by: float, row: int = 50) -> Callable[[np.ndarray], list[np.ndarray]]:
        def run(batch: np.ndarray) -> list[np.ndarray]:
            output = batch.copy()
            output[row : row + 1, 1] += by
            return [output]

        return run

    assert compared(part, off(0.0)) == {"x": 0.0}
    assert compared(part, off(8e-6))["x"] == pytest.approx(8e-6)
    assert compared(part, off(8e-6, row=0))["x"] == pytest.approx(8e-6)
    for by in (2e-5, np.nan, np.inf):
        with pytest.raises(LatlasError, match="x differs from the model's by"):
            compared(part, off(by))
    with pytest.raises(LatlasError, match=r"x of 1 items has the shape \(1, 1\)"):
        compared(part, lambda batch: [batch[:, :1]])


class Branching(nn.Module):
    """Its way through depends on the values, which no graph holds."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) if x.sum() > 0 else 2 * self.linear(x)


def own(encoder: nn.Module) -> Model:
    torch.manual_seed(0)
    item = Like("table", (3,), Scaling("standard", (1.0, 2.0, 3.0), (1.0, 1.0, 2.0)))
    networks = (encoder, nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3)))
    return Model(item, networks, DiagonalGaussian(2), StandardNormal(2), Gaussian(output="identity"))


def test_modules_of_ones_own_are_exported_and_a_part_that_cannot_be_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = own(Branching())
    done = latlas.export(model, torch=tmp_path / "own.pt2", quiet=True)
    assert done.run is None
    assert len(done.left_out) == 1
    assert done.left_out[0] == (
        "encoder in own.pt2: its way through depends on the values in it, at:"
        " return self.linear(x) if x.sum() > 0 else 2 * self.linear(x)"
    )
    assert capfd.readouterr().err == ""  # torch lists the graph there
    with quietly():
        decoder = torch.export.load(tmp_path / "own.pt2").module()
    z = torch.randn(5, 2)
    np.testing.assert_allclose(decoder(z).detach(), model.decode(z.numpy()), rtol=1e-5)
    assert model.training  # the model itself is as it was
    with pytest.raises(InputError, match="hub: a model alone has no numbers"):
        latlas.export(model, hub=tmp_path / "hub")


# The hub's layout


def test_a_hub_folder_is_read_back_to_the_bit(work: Path, exported: dict[str, latlas.Exported]) -> None:
    for name in ("images", "table"):
        ours, theirs = latlas.load(work / name), latlas.load(work / f"{name}-hub")
        assert theirs.item == ours.item
        assert not theirs.training
        assert list(theirs.state_dict()) == list(ours.state_dict())
        for first, second in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            assert torch.equal(first, second)
        x = given(work, name)
        np.testing.assert_array_equal(theirs.encode(x), ours.encode(x))
    files = {str(p.relative_to(work / "images-hub")) for p in (work / "images-hub").rglob("*") if p.is_file()}
    assert files >= {"README.md", "config.json", "model.safetensors", "images/reconstructions.png"}
    assert not [path for path in files if path.endswith((".pt", ".pth", ".bin", ".pkl"))]


@pytest.mark.parametrize("name", ["images", "table"])
def test_the_code_on_a_card_runs(
    work: Path, exported: dict[str, latlas.Exported], name: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(work / f"{name}-hub")
    (code,) = re.findall(r"```python\n(.*?)```", Path("README.md").read_text("utf-8"), re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    shape = (16, 8, 6, 3) if name == "images" else (16, 3)
    assert capsys.readouterr().out.strip() == f"{shape} (16, 2)"


def test_a_card_has_front_matter_numbers_pictures_limits_and_the_command(
    work: Path, exported: dict[str, latlas.Exported]
) -> None:
    text = (work / "images-hub" / "README.md").read_text("utf-8")
    _, front, body = text.split("---\n", 2)
    keys = [line.partition(":")[0] for line in front.splitlines() if line[:1].isalpha()]
    assert keys == ["library_name", "pipeline_tag", "tags", "model-index"]
    assert "\n# license: " in front
    metrics = latlas.Run(work / "images").metrics
    values = re.findall(r"- type: (\w+)\n      name: (\".*\")\n      value: (\S+)\n", front)
    assert {name: float(value) for name, _, value in values}["elbo"] == pytest.approx(
        metrics["splits"]["test"]["elbo"], rel=1e-5
    )
    assert [json.loads(title) for name, title, _ in values if name == "elbo"] == ["ELBO, nats per image"]
    assert f"± {metrics['splits']['test']['elbo_stderr']:.1f}"[:4] in body
    for heading in ("Load it", "The model", "Numbers", "Pictures", "Diagnosis", "Limits", "How it was made"):
        assert f"\n## {heading}\n\n" in body
    assert "![Pairs](images/reconstructions.png)\n\nHow to read them.\n" in body
    with Image.open(work / "images-hub" / "images" / "reconstructions.png") as small:
        assert small.size == (800, 360)
    assert "latlas.train(" in body.partition("How it was made")[2]
    assert str(Path.home()) not in (work / "images-hub" / "config.json").read_text()
    table = (work / "table-hub" / "README.md").read_text("utf-8")
    assert "b\\|c" in table
    assert "no prior to sample from" in table
    assert "## Pictures" not in table


def test_signs_of_markdown_are_not_taken_for_it() -> None:
    assert escaped("a|b *c* <d> _e_ f_g") == "a\\|b \\*c\\* \\<d\\> \\_e\\_ f_g"
    assert escaped("a\nb") == "a\\\\nb"


def test_findings_stand_on_the_card_and_old_runs_have_one(tmp_path: Path) -> None:
    old = Path(shutil.copytree(FIXTURE, tmp_path / "old"))
    metrics = json.loads((old / "metrics.json").read_text())
    finding = {"name": "n", "title": "Collapsed codes", "level": "serious", "evidence": "2 of 2.", "cause": "Beta.",
               "remedy": "Less of it."}  # fmt: skip
    (old / "metrics.json").write_text(json.dumps({**metrics, "findings": [finding]}))
    about = json.loads((old / "run.json").read_text())
    about["data"]["name"] = "a\x7f\udce9"  # neither is a character of YAML
    (old / "run.json").write_text(json.dumps(about))
    latlas.export(old, hub=tmp_path / "hub", quiet=True)
    text = (tmp_path / "hub" / "README.md").read_text("utf-8")
    assert "- **Collapsed codes** (serious). 2 of 2. Beta. Less of it." in text
    assert '      type: "a\\\\x7f\\\\xe9"\n' in text
    z = np.zeros((3, 2), np.float32)
    np.testing.assert_array_equal(latlas.load(tmp_path / "hub").decode(z), latlas.load(old).decode(z))


def test_other_and_damaged_folders_are_refused_by_name(
    work: Path, exported: dict[str, latlas.Exported], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match=r"other/config\.json: not a model of latlas"):
        latlas.load(other)
    broken = Path(shutil.copytree(work / "table-hub", tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"rubbish")
    with pytest.raises(InputError, match=r"broken/model\.safetensors: damaged"):
        latlas.load(str(broken))
    (broken / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"broken/model\.safetensors: cannot be read: No such file"):
        latlas.load(broken)
    about = json.loads((broken / "config.json").read_text())
    item = about["item"]
    scaling = item["scaling"]
    for wrong in (
        {}, item | {"kind": "tabel"}, item | {"shape": [-3]}, item | {"scaling": scaling | {"kind": "max"}},
        item | {"scaling": scaling | {"scale": [0.0] * len(scaling["scale"])}},
        item | {"scaling": scaling | {"shift": ["none"]}},
    ):  # fmt: skip
        (broken / "config.json").write_text(json.dumps({**about, "item": wrong}))
        with pytest.raises(InputError, match=r"broken/config\.json: damaged"):
            latlas.load(broken)


# What is wrong is said before anything is written


def test_a_place_that_is_taken_or_missing_is_refused(work: Path, tmp_path: Path) -> None:
    run, full = work / "images", tmp_path / "full"
    full.mkdir()
    (full / "file").write_text("mine")
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "onnx, hub, torch, html: say what to write"),
        ({"onnx": full}, f"onnx = {full}: exists already; choose a new or an empty folder"),
        ({"hub": full / "file"}, f"hub = {full / 'file'}: exists already"),
        ({"hub": tmp_path / "no" / "hub"}, f"hub = {tmp_path / 'no' / 'hub'}: the folder {tmp_path / 'no'} does not"),
        ({"torch": tmp_path / "model.pt"}, "torch = .*: expected a name ending in .pt2"),
        ({"torch": tmp_path / "no" / "m.pt2"}, "torch = .*: the folder .* does not exist"),
        ({"onnx": tmp_path / "a", "hub": f"{tmp_path}/./a"}, "onnx, hub: each format needs a place of its own"),
        ({"onnx": 5}, "onnx: expected a path, got int"),
        ({"hub": tmp_path / "hub", "threads": "x"}, "threads = 'x': expected a whole number"),
    ]  # fmt: skip
    for options, message in cases:
        with pytest.raises(InputError, match=f"^{message}"):
            latlas.export(run, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["full"]
    assert (full / "file").read_text() == "mine"


def test_runs_that_are_not_ready_are_refused(work: Path, tmp_path: Path) -> None:
    begun = Path(shutil.copytree(work / "table", tmp_path / "begun"))
    (begun / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: missing, though the run is finished"):
        latlas.export(begun, torch=tmp_path / "m.pt2", quiet=True)
    (begun / "metrics.json").unlink()
    for options in ({"hub": tmp_path / "hub"}, {"onnx": tmp_path / "onnx"}):
        with pytest.raises(InputError, match="begun: unfinished; finish it with: latlas train --resume"):
            latlas.export(begun, quiet=True, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["begun"]


def test_a_missing_extra_says_what_to_install(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "onnxscript")
    assert cli.run(["export", str(work / "images"), "--onnx", str(tmp_path / "onnx")]) == 2
    error = capsys.readouterr().err.strip()
    assert error == 'error: --onnx: needs the package onnxscript: pip install "latlas[onnx]"'
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_what_was_written(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, file, hub = work / "table", tmp_path / "m.pt2", tmp_path / "hub"
    file.write_text("an old one")  # files are written over
    hub.mkdir()  # an empty folder is as good as a new one
    assert cli.run(["export", str(run), "--torch", str(file), "--hub", str(hub), "--json"]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert (told["run"], told["batches"]) == (str(run), [1, 2, 7, 64])
    assert told["torch"]["files"] == [str(file)]
    assert 0 <= max(told["torch"]["differences"].values()) < TOLERANCE
    assert {Path(p).name for p in told["hub"]["files"]} == {"README.md", "config.json", "model.safetensors"}
    assert "left out: std: a point posterior has none" in printed.err
    assert told["left_out"] == ["std: a point posterior has none; the encoder gives mean alone"]
    assert cli.run(["export", str(run), "--hub", str(hub)]) == 2
    assert capsys.readouterr().err.startswith(f"error: --hub {hub}: exists already")
    assert cli.run(["export", str(run)]) == 2
    assert capsys.readouterr().err.startswith("error: --onnx, --hub, --torch, --html: say what to write")


def test_a_folder_is_written_whole_or_not_at_all(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from latlas import files

    write = files.write_atomic

    def fail(path: Path, content: bytes | str) -> None:
        if path.name == "README.md":
            raise LatlasError(f"{path}: cannot be written: No space left on device")
        write(path, content)

    monkeypatch.setattr(files, "write_atomic", fail)
    with pytest.raises(LatlasError, match="No space left"):
        latlas.export(work / "table", hub=tmp_path / "hub", quiet=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_exported(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    size, channels = ((64, 64), 3) if recipe(name).recipe.data == "flowers102" else ((28, 28), 1)
    np.savez(tmp_path / "x.npz", x=images(60, *size, channels), y=np.arange(60) % 3)
    settings = {"pictures.draw": False, "data.image_size": None}
    run = latlas.train(
        tmp_path / "x.npz", name, out=tmp_path / "run", steps=4, batch_size=10, quick=True, quiet=True,
        settings=settings,
    )  # fmt: skip
    done = latlas.export(
        run, onnx=tmp_path / "onnx", hub=tmp_path / "hub", torch=tmp_path / "m.pt2", quiet=True
    )
    has_std = run.model().posterior(images(2, *size, channels)).stddev is not None
    for written in (done.onnx, done.torch):
        assert written is not None
        assert set(written.differences) == {"mean", "x", *(["std"] if has_std else [])}
        assert max(written.differences.values()) < TOLERANCE
    assert len(done.left_out) == (not has_std)
    assert latlas.load(tmp_path / "hub").latent == run.config.model.latent
