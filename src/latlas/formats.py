"""The shapes of a run's JSON files: what each field of run.json, metrics.json, model.json and of the log has to be.

Fields that are not named here are left as they are, so that files of other versions can be read, but numbers and texts
are bounded and finite everywhere.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from latlas.data.dataset import Kind, ScalingKind

MOST_COUNT = 2**53  # what a float counts exactly
MOST_SIDES = (
    8  # of an item's shape: channels and the axes of a signal, an image or a volume, with room to spare
)
MOST_VALUES = 2**31  # of an item
MOST_THREADS = 4096

# Nothing that was measured is near the largest float: pictures of what is would overflow.
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e300, le=1e300)]
Count = Annotated[int, Field(ge=0, le=MOST_COUNT)]
Side = Annotated[int, Field(ge=1, le=MOST_VALUES)]


def _without_surrogates(value: object) -> object:
    """A name that is not UTF-8 is a text all the same: the bytes that are none are single surrogates in it."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_without_surrogates), Field(max_length=100_000)]
Scalar = bool | Annotated[int, Field(ge=-MOST_COUNT, le=MOST_COUNT)] | Number | Text | None
T = TypeVar("T")
Many = Annotated[list[T], Field(fail_fast=True)]  # one fault is said: those of millions would take gigabytes
Setting = Scalar | Many[Scalar]


class Stored(BaseModel):
    """Something in a JSON file: no number is a text or a truth value, and every further field may stand beside it."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


def _holds_few_values(shape: list[int]) -> list[int]:
    product = 1
    for side in shape:
        product *= side
    if product > MOST_VALUES:
        raise ValueError(f"expected at most {MOST_VALUES:,} values")
    return shape


ItemShape = Annotated[
    Many[Side], Field(min_length=1, max_length=MOST_SIDES), AfterValidator(_holds_few_values)
]


class Data(Stored):
    """`data` of run.json."""

    name: Text
    source: Text = ""
    kind: Kind
    shape: ItemShape
    binary: bool = False
    classes: Many[Text] | None = None
    columns: Many[Text] | None = None
    fingerprint: Text
    train: Count
    valid: Count = 0
    test: Count = 0


class Start(Stored):
    """`start` of run.json: the run whose weights training started from."""

    run: Text
    data: Text
    step: Count | None
    sha256: Text = ""
    same_scale: bool


class Part(Stored):
    """One of `parts` of run.json: how a run was trained further."""

    step: Count
    epoch: Number
    settings: dict[Text, Setting]
    weights: Literal["best", "newest"]
    weights_step: Count
    optimizer: Text
    created: Text = ""
    command: Text | None = None


class About(Stored):
    """run.json."""

    format: Literal[1] = 1
    command: Text | None = None
    latlas: Text = ""
    torch: Text = ""
    device: Text = "cpu"
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)]
    processes: Annotated[int, Field(ge=1, le=MOST_COUNT)] = 1
    created: Text = ""
    data: Data
    notes: Many[Text] = []
    start: Start | None = None
    parts: Many[Part] = []


class Outlier(Stored):
    """The item of a split that costs the mean ELBO more than its noise."""

    row: Count
    name: Text | None = None
    cost: Number
    elbo: Number
    stderr: Number


class Split(Stored):
    """The numbers of a split in metrics.json."""

    __pydantic_extra__: dict[str, Number | None]
    images: Count
    elbo: Number | None = None
    distortion: Number
    rate: Number | None = None
    mse: Number
    outlier: Outlier | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.elbo is not None and self.rate is None:
            raise ValueError("an elbo has a rate beside it")
        return self


class Measured(Stored):
    """One of `numbers` of metrics.json."""

    title: Text
    group: Text = ""
    unit: Text
    better: Literal["higher", "lower", ""] = ""
    decimals: Annotated[int, Field(ge=0, le=12)] = 3
    why: Text
    value: Number
    stderr: Number | None = None
    items: Count
    draws: Count | None = None
    what: Text = "items"
    by: Text = ""
    warning: Text | None = None
    beside: dict[Text, Number] = {}
    beside_sd: dict[Text, Number] = {}
    parts: Many[Number] = []


class Found(Stored):
    """One of `findings` of metrics.json."""

    name: Text = ""
    title: Text
    level: Literal["serious", "worth a look", "notice"]
    weight: Number = 0.0
    evidence: Text
    cause: Text
    remedy: Text
    settings: dict[Text, Setting] = {}
    command: Text = ""
    commands: Many[Text] = []
    settled: bool = False
    about: Literal["dimensions", "places"] | None = None
    dimensions: Many[Count] | None = None


SplitName = Literal["test", "valid", "train"]


class Metrics(Stored):
    """metrics.json."""

    run: Text = ""
    data: Text | None = None
    recipe: Text | None = None
    network: Text | None = None
    likelihood: Text | None = None
    latent: Count | None = None
    parameters: Count | None = None
    epochs: Number | None = None
    steps: Count = 0
    skipped_steps: Count = 0
    setbacks: Count = 0
    best_step: Count | None = None
    seconds: Number | None = None
    training_seconds: Number | None = None
    images_per_second: Number | None = None
    unit: Text = ""
    normalised: bool | None = None
    measured: SplitName = "test"
    splits: dict[SplitName, Split] = {}
    numbers: dict[Text, Measured] = {}
    findings: Many[Found] = []
    finished: bool = False


class LogRow(Stored):
    """A row of the log: terms and numbers by name."""

    __pydantic_extra__: dict[str, Scalar]
    kind: Text
    step: Count
    epoch: Number | None = None
    train: dict[Text, Number | None] | None = None
    valid: dict[Text, Number | None] | None = None
    lr: Number | None = None
    score: Number | None = None
    best: bool | None = None
    setbacks: Count = 0


class ScalingOf(Stored):
    """The scaling of an item in model.json."""

    kind: ScalingKind
    shift: Many[Number]
    scale: Annotated[Many[Annotated[Number, Field(gt=0)]], Field(min_length=1)]


class ItemOf(Stored):
    """`item` of model.json."""

    kind: Kind
    shape: ItemShape
    scaling: ScalingOf
    columns: Many[Text] | None
    classes: Many[Text] | None

    @model_validator(mode="after")
    def _fit_the_shape(self) -> ItemOf:
        width = self.shape[0]
        for name, values in (
            ("shift", self.scaling.shift),
            ("scale", self.scaling.scale),
            ("columns", self.columns),
        ):
            if values is not None and len(values) not in ((width,) if name == "columns" else (1, width)):
                raise ValueError(
                    f"expected {width:,} of {name}, as shape = {self.shape} says, got {len(values):,}"
                )
        return self


class Description(Stored):
    """model.json, and config.json of a folder for the hub."""

    config: dict[Text, Any]
    item: ItemOf
