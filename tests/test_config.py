"""Configuration: strict, explained, and the same run when read again."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from helpers import configured, image_dataset, table_dataset
from pydantic import BaseModel

from latlas import config, settings
from latlas.api import learning
from latlas.build import resolve
from latlas.config import assignments, override, parse, recipe, recipe_names, to_toml
from latlas.data import DataOptions, Scaling
from latlas.divergences import KERNELS
from latlas.errors import InputError
from latlas.likelihoods import LIKELIHOODS
from latlas.networks import ACTIVATIONS, NETWORKS
from latlas.objectives import OBJECTIVES
from latlas.posteriors import POSTERIORS
from latlas.priors import PRIORS
from latlas.schedules import BETA_SCHEDULES, LR_SCHEDULES
from latlas.settings import Config
from latlas.studies import study


def choices(section: type[BaseModel], field: str) -> set[str]:
    return set(get_args(section.model_fields[field].annotation)) - {"auto", settings.OWN}


def test_every_choice_that_a_configuration_names_exists_and_the_reverse() -> None:
    assert choices(settings.NetworkConfig, "name") == set(NETWORKS)
    assert choices(settings.NetworkConfig, "activation") == set(ACTIVATIONS)
    assert choices(settings.PosteriorConfig, "name") == set(POSTERIORS)
    assert choices(settings.PriorConfig, "name") == set(PRIORS)
    assert choices(settings.LikelihoodConfig, "name") == set(LIKELIHOODS)
    assert choices(settings.ObjectiveConfig, "name") == set(OBJECTIVES)
    assert choices(settings.ObjectiveConfig, "kernel") == set(KERNELS)
    assert choices(settings.ObjectiveConfig, "schedule") == set(BETA_SCHEDULES)
    assert choices(settings.OptimizerConfig, "schedule") == set(LR_SCHEDULES)


@pytest.mark.parametrize("name", recipe_names())
class TestEveryRecipe:
    def test_is_named_after_its_file_and_says_what_it_is(self, name: str) -> None:
        about = recipe(name).recipe
        assert about.name == name
        assert about.summary
        assert about.ids

    def test_comes_back_from_its_own_text(self, name: str) -> None:
        for comments in (False, True):
            text = to_toml(recipe(name), comments)
            assert parse(tomllib.loads(text), "text") == recipe(name)

    def test_its_text_explains_every_setting(self, name: str) -> None:
        text = to_toml(recipe(name), comments=True)
        for key, about in config.known_keys().items():
            assert about
            assert key.rpartition(".")[2] in text

    def test_resolves_for_images(self, name: str) -> None:
        shape = {"height": 28, "width": 28, "channels": 1}
        config_, _ = resolve(recipe(name), image_dataset(40, **shape))
        assert config_.model.latent is not None
        assert config_.training.epochs or config_.training.steps
        undecided = [
            line.split(" = ")[0] for line in to_toml(config_).splitlines() if line.endswith('= "auto"')
        ]
        # How data are read is decided by the data each time, the device and what is captured there by the machine.
        assert set(undecided) <= {*DataOptions.model_fields, "device", "capture"}


def test_recipes_cover_the_systems_of_the_tutorials() -> None:
    ids = {i for name in recipe_names() for i in recipe(name).recipe.ids}
    assert {"A1", "A2", "A3", "A10", "B1", "C1", "C2", "D1", "D2"} <= ids


def test_a_resolved_configuration_resolves_to_itself(tmp_path: Path) -> None:
    dataset = image_dataset()
    first = configured(dataset)
    path = tmp_path / "config.toml"
    path.write_text(to_toml(first))
    again, notes = resolve(config.read(path), dataset)
    assert again == first
    assert not [n for n in notes if " = " in n]


@pytest.mark.parametrize("name", recipe_names())
def test_a_saved_configuration_gives_the_same_run(name: str, tmp_path: Path) -> None:
    resolved, _ = resolve(recipe(name), image_dataset(40, height=28, width=28, channels=1))
    path = tmp_path / "config.toml"
    path.write_text(to_toml(resolved))
    assert learning.configure(file=path) == resolved
    assert learning.configure(recipe="fashion-vae", file=path) == resolved


def test_a_file_of_some_settings_goes_over_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("seed = 7\n[optimizer]\nlr = 0.5\n")
    config_ = learning.configure(recipe="kmnist-vae", file=path)
    assert (config_.seed, config_.optimizer.lr, config_.model.latent) == (7, 0.5, 2)
    assert config_.data.source == "kmnist"


def test_a_sigma_that_is_given_makes_the_likelihood_gaussian() -> None:
    config_ = override(Config(), {"likelihood.sigma": 0.1}, "test")
    assert resolve(config_, image_dataset())[0].likelihood.name == "gaussian"


def test_a_sigma_that_has_no_effect_is_said() -> None:
    config_ = override(Config(), {"likelihood.sigma": 0.1, "likelihood.name": "bernoulli"}, "test")
    notes = resolve(config_, image_dataset())[1]
    assert "likelihood.sigma = 0.1 has no effect: a Bernoulli has no sigma" in notes
    assert not [n for n in resolve(Config(), image_dataset())[1] if "no effect" in n]


def test_values_with_a_range_of_their_own_get_a_gaussian() -> None:
    own = replace(image_dataset(), scaling=Scaling("minmax", (-1.0,), (2.0,)))
    resolved, notes = resolve(Config(), own)
    assert resolved.likelihood.name == "gaussian"
    assert "likelihood.name = gaussian (values with a range of their own)" in notes


def test_one_name_stands_for_a_list_of_it() -> None:
    changes = {"evaluation.groups": "codes", "pictures.densities": "full"}
    changed = override(Config(), changes, "test")
    assert (changed.evaluation.groups, changed.pictures.densities) == (("codes",), ("full",))


def test_the_order_is_recipe_then_file_then_set_then_flags(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(to_toml(recipe("fashion-vae")).replace("batch_size = 100", "batch_size = 33"))
    assert learning.configure(recipe="fashion-vae").training.batch_size == 100
    assert learning.configure(file=file).training.batch_size == 33
    settings_ = {"training.batch_size": 44}
    assert learning.configure(file=file, settings=settings_).training.batch_size == 44
    assert (
        learning.configure(file=file, settings=settings_, options={"batch_size": 55}).training.batch_size
        == 55
    )


def test_a_recipe_brings_its_data_unless_others_are_named() -> None:
    assert learning.configure(recipe="fashion-vae").data.source == "fashion-mnist"
    assert learning.configure("mnist", recipe="fashion-vae").data.source == "mnist"
    assert learning.configure().data.source == "fashion-mini"


def test_epochs_given_override_a_recipes_steps_however_they_are_given(tmp_path: Path) -> None:
    assert recipe("kmnist-vae").training.steps == 1407
    (tmp_path / "mine.toml").write_text("[training]\nepochs = 2\n")
    for given in (
        {"options": {"epochs": 2}},
        {"settings": {"training.epochs": 2}},
        {"file": tmp_path / "mine.toml"},
    ):
        base = learning.configure(recipe="kmnist-vae", **given)
        assert (base.training.steps, base.training.epochs) == (None, 2)
    both = learning.configure(recipe="kmnist-vae", settings={"training.epochs": 2, "training.steps": 9})
    assert (both.training.steps, both.training.epochs) == (9, 2)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("likelihood.sigma=0.1", 0.1),
        ("likelihood.sigma=learned", "learned"),
        ("network.hidden=[512, 256]", (512, 256)),
        ("network.hidden=512,256", (512, 256)),
        ("objective.beta=4", 4.0),
        ("network.batch_norm=true", True),
        ("optimizer.clip=none", None),
        ("corruption.name=none", "none"),
        ("network.name = conv", "conv"),
        ('evaluation.groups=["codes", "downstream"]', ("codes", "downstream")),
        ('evaluation.groups=["use", "factors"]', ("downstream", "disentanglement")),
        ("evaluation.groups=[]", ()),
    ],
)
def test_settings_are_read_as_people_write_them(text: str, value: Any) -> None:
    changed = override(Config(), assignments([text]), "--set")
    section, _, key = text.partition("=")[0].strip().partition(".")
    assert getattr(getattr(changed, section), key) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("network.nam=mlp", "unknown key network.nam; did you mean network.name?"),
        ("netwrk.name=mlp", "unknown key netwrk"),
        ("beta=4", "unknown key beta; did you mean objective.beta?"),
        ("seed.x=1", "seed is a value, not a section"),
        ("network.name=mpl", r"network.name = 'mpl': expected .*'mlp'"),
        ("objective.beta=-1", "objective.beta = -1: expected greater than or equal to 0"),
        ("objective.beta=inf", "objective.beta = inf: expected a finite number"),
        ("objective.beta=nan", "objective.beta = nan: expected a finite number"),
        ("likelihood.sigma=-1", "likelihood.sigma = -1: expected greater than 0, or expected 'learned'"),
        ("likelihood.sigma=big", "likelihood.sigma = 'big'"),
        ("training.batch_size=0", "training.batch_size = 0: expected greater than or equal to 1"),
        ("training.epochs=2.5", "training.epochs = 2.5: expected a valid integer"),
        ("network.hidden=[0]", "network.hidden"),
        ("optimizer.betas=[0.9, 1.0]", "optimizer.betas"),
        ("posterior.name=point", "objective.name = elbo needs a posterior with a density"),
        ("training.device=tpu", "training.device = 'tpu'"),
        ("objective.name=reconstruction --set objective.beta=4", "has nothing to weigh"),
        ("objective.free_bits=1 --set objective.kl=monte-carlo", "objective.free_bits needs the ELBO with a KL"),
        ('evaluation.groups=["codes", "uses"]', "evaluation.groups = 'uses': expected 'likelihood', 'codes',"),
        ("evaluation.groups=[[]]", r"evaluation.groups = \[\]: expected"),
        ("seed=-1", "seed = -1: expected greater than or equal to 0"),
    ],
)  # fmt: skip
def test_unknown_keys_and_bad_values_are_explained(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        override(Config(), assignments(text.split(" --set ")), "--set")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--set: ")


def test_a_setting_without_a_value_is_explained() -> None:
    with pytest.raises(InputError, match="expected KEY=VALUE"):
        assignments(["training.epochs"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such configuration file"),
        ("a = [", "cannot be read as TOML"),
        ("[network]\nwidth = 3", "unknown key"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        config.read(path)
    assert str(path) in str(caught.value)


def test_unknown_recipes_get_a_hint() -> None:
    with pytest.raises(InputError, match="did you mean 'fashion-vae'"):
        recipe("fashon-vae")


@pytest.mark.parametrize(
    "given", [{"network.channels": [4]}, {"network.batch_norm": True}, {"network.output_bias": "default"}]
)
def test_photographs_get_convolutions_where_settings_are_theirs(given: dict[str, object]) -> None:
    assert resolve(override(Config(), given, "test"), image_dataset(channels=3))[0].network.name == "conv"


@pytest.mark.parametrize("bound", ["MOST_BY_COMPONENTS", "LARGEST_BY_COMPONENTS"])
def test_photographs_get_convolutions_where_they_are_many_or_large(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = image_dataset(channels=3)
    assert resolve(Config(), dataset)[0].network.name == "pca-mlp"
    size = len(dataset.train) if bound == "MOST_BY_COMPONENTS" else math.prod(dataset.shape)
    monkeypatch.setattr(f"latlas.build.{bound}", size - 1)
    assert resolve(Config(), dataset)[0].network.name == "conv"


@pytest.mark.parametrize(
    ("given", "epochs"), [({}, 16), ({"augment.flip": True}, 32), ({"network.name": "conv"}, 200)]
)
def test_photographs_are_trained_for_as_long_as_their_network_gains(
    given: dict[str, object], epochs: int
) -> None:
    assert resolve(override(Config(), given, "test"), image_dataset(channels=3))[0].training.epochs == epochs


def test_what_is_left_to_the_data_is_decided_and_said() -> None:
    import numpy as np

    grey, notes = resolve(Config(), image_dataset())
    assert (grey.likelihood.name, grey.network.name, grey.model.latent) == ("bernoulli", "mlp", 16)
    assert any("cross-entropy, not a normalised likelihood" in n for n in notes)
    rgb, notes = resolve(Config(), image_dataset(channels=3))
    assert (rgb.likelihood.name, rgb.likelihood.sigma, rgb.network.name) == ("gaussian", "learned", "pca-mlp")
    assert any(n.startswith("likelihood.name = gaussian") for n in notes)
    table, _ = resolve(Config(), table_dataset(np.random.default_rng(0).normal(size=(50, 6))))
    assert (table.likelihood.name, table.likelihood.output) == ("gaussian", "identity")
    assert (table.network.name, table.model.latent) == ("mlp", 3)
    with pytest.raises(InputError, match=r"likelihood.name = bernoulli takes values inside"):
        resolve(
            override(Config(), {"likelihood.name": "bernoulli"}, "test"),
            table_dataset(np.random.default_rng(0).normal(size=(50, 6))),
        )


def test_a_file_that_is_wrong_everywhere_is_refused_in_a_line_to_read(tmp_path: Path) -> None:
    wrong = {f"{section}.{'x' * 300}": 1 for section in ("training", "data", "model")}
    with pytest.raises(InputError, match="unknown key") as caught:
        override(recipe("vae"), wrong | {f"training.wrong{i}": i for i in range(500)}, "here")
    assert len(str(caught.value)) < 2000
    text = "[study]\nname = 'a'\ndata = [" + "0, " * 3000 + "]\n[[runs]]\nname = 'b'\n"
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(InputError, match=r"study\.data\.0 = 0: expected a valid string; .*more$") as refused:
        study.read(tmp_path / "study.toml")
    assert len(str(refused.value)) < 2000
