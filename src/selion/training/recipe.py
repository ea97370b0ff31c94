"""Recipe: everything that decides what a training run gives, as frozen values.

:mod:`selion.training.reading` reads them from files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from selion.classes import FTW3, ClassScheme
from selion.segmenter import InputSpec, Scaling
from selion.training.sources import (
    Data,
    Pair,
    RecipeHead,
    at_least,
    check,
    ordered,
    per_band,
    share,
)

MOST = 10**9
"""Windows of an epoch: what is more was never meant."""


@dataclass(frozen=True)
class Inputs:
    """What the network is fed; becomes the card's :class:`~selion.segmenter.InputSpec`."""

    bands: tuple[str, ...] = ("red", "green", "blue")
    divide: tuple[float, ...] = (255.0,)
    subtract: tuple[float, ...] = (0.0,)
    clip: Pair | None = None
    gsd: Pair | None = None
    """Finest and coarsest ground sampling distance in metres of the trained model."""
    window: int = 256
    overlap: float = 0.25
    multiple: int = 32
    dates: str | None = None
    """"any": ``bands`` are those of one date, and the network takes one date or many."""
    optional: tuple[str, ...] | None = None
    """Bands of a date that an image may lack."""
    byte_divide: float | None = None
    """What colours in bytes are divided by, where ``dates`` says any."""
    finer: float | None = None
    """How many times finer than an image's pixels the model looks at them, within ``gsd``; None: as
    they are."""

    def __post_init__(self) -> None:
        per_band("input.divide", self.divide, self.bands)
        per_band("input.subtract", self.subtract, self.bands)
        check(all(self.divide), "input.divide", list(self.divide), "numbers other than 0")
        check(0 <= self.overlap <= 0.75, "input.overlap", self.overlap, "a number from 0 to 0.75")
        check(
            self.multiple >= 1 and self.window >= 1 and self.window % self.multiple == 0,
            "input.window",
            self.window,
            f"a multiple of {self.multiple} px",
        )
        self.spec()

    def spec(self) -> InputSpec:
        """Return the card's InputSpec."""
        return InputSpec(
            self.bands,
            Scaling(self.divide, self.subtract, self.clip),
            self.gsd,
            self.window,
            self.overlap,
            self.multiple,
            dates=self.dates or "",
            optional=self.optional or (),
            byte_divide=self.byte_divide,
            finer=1.0 if self.finer is None else self.finer,
        )


@dataclass(frozen=True)
class Model:
    """Which network, and what it starts from."""

    architecture: Mapping[str, Any] = field(
        default_factory=lambda: {"family": "unet", "encoder": "mobilenet_v2"}
    )
    """As in a model card: ``family``, ``encoder`` and the family's options; without a family:
    what is missing is that of ``start_from``."""
    pretrained: str = ""
    """``"imagenet"``: the encoder starts from published ImageNet weights (downloaded once); empty:
    from random ones."""
    start_from: str = ""
    """A model's name, its folder, or the folder of another run: its weights are taken wherever the
    shapes fit."""
    keep_start: float | Literal["auto"] = 0.0
    """Share of the start's weights in those that are exported, where all its tensors fit: few own
    fields then correct it without making it forget.  "auto": the share that is best on the
    validation split, the start itself among them; 0.75 where there is no such split."""

    batch_norm: Literal["live", "frozen"] = "live"
    """"frozen": means and variances of batch normalisation stay those of the start.  Batches of a
    few own chips have others, which the network would learn to make up for first."""
    tune_cut: bool = False
    """Whether own chips set by which price and size the start's learnt score chooses fields, where
    they show it to be surely better (:mod:`selion.training.tuned_cut`); with ``keep_start`` "auto"
    alone."""

    def __post_init__(self) -> None:
        if self.keep_start != "auto":
            share("model.keep_start", self.keep_start)


@dataclass(frozen=True)
class Loss:
    """Which loss of :mod:`selion.training.losses`.

    Networks with answers of their own have theirs in :mod:`selion.training.criterion`.
    """

    kind: str = "ce+dice"
    weights: tuple[float, ...] = ()
    """One per class; empty: all alike."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the loss function (``gamma``, ``alpha``, ``depth``, ...)."""
    edge_agreement: bool = False
    """Learn only from pixels where some band has an edge: the others become IGNORE."""

    @property
    def wants_objects(self) -> bool:
        """Whether the loss is given object ids beside classes."""
        return self.options.get("targets") == "instances"


@dataclass(frozen=True)
class Divisor:
    """PRUE's brightness augmentation.

    The divisor of the scaling is drawn anew, and replaces the scaling's own.
    """

    p: float = 0.0
    range: Pair = (1500.0, 4500.0)


@dataclass(frozen=True)
class Rotate:
    """Turn the chip about its centre by an angle from -degrees to +degrees.

    Bilinear, and nearest for the truth.
    """

    p: float = 0.0
    degrees: float = 90.0
    fill: Literal["ignore", "background"] = "ignore"
    """What the corners without data become: not counted, or background, as PRUE has it.  Their
    pixels are 0 either way."""


@dataclass(frozen=True)
class Sharpness:
    """Blend with a 3 x 3 smoothing.

    1 leaves the image as it is, 0 is the smoothed image, above 1 sharpens.
    """

    p: float = 0.0
    range: Pair = (0.0, 0.5)
    clip: bool = True
    """Clip the smoothed image to 0..1 before blending, as kornia does, on which PRUE was trained:
    bright pixels above 1 lose their brightness."""


@dataclass(frozen=True)
class ResizedCrop:
    """Cut a smaller rectangle and enlarge it to the window: things look larger."""

    p: float = 0.0
    scale: Pair = (0.3, 0.9)
    """Share of the area."""
    ratio: Pair = (0.75, 1.33)
    """Width over height."""
    per: Literal["sample", "batch"] = "sample"
    """Whether to crop is drawn for each sample or once for a batch; where to crop always for each
    sample."""


@dataclass(frozen=True)
class Blur:
    """Gaussian blur with a standard deviation in pixels: upsampled or hazy imagery."""

    p: float = 0.0
    sigma: Pair = (0.3, 1.5)


@dataclass(frozen=True)
class Noise:
    """Gaussian noise with a standard deviation in units of the scaled input."""

    p: float = 0.0
    std: Pair = (0.0, 0.02)


@dataclass(frozen=True)
class Appearance:
    """Other sensors and days: gamma, gain, offset, saturation.

    Spreads are standard deviations (of the logarithm for gamma, gain and saturation).
    """

    p: float = 0.0
    gamma: float = 0.0
    gain: float = 0.0
    """Common to all bands."""
    band_gain: float = 0.0
    """Of each band by itself."""
    offset: float = 0.0
    """Common to the bands of a date: haze."""
    band_offset: float = 0.0
    saturation: float = 0.0


@dataclass(frozen=True)
class Swap:
    """Exchange the first and the second half of the bands: the order of the two dates."""

    p: float = 0.0
    per: Literal["sample", "batch"] = "sample"
    """PRUE draws it once for a whole batch."""


@dataclass(frozen=True)
class Absent:
    """Take dates and bands away, where dates are a set: a network learns to do without them."""

    band: float = 0.0
    """Chance that a window has none of the bands that may be missing."""
    date: float = 0.0
    """Chance of each date but one to be missing."""


@dataclass(frozen=True)
class Augment:
    """Augmentations, in the order in which they are applied.  ``p`` is the chance of each."""

    divisor: Divisor = Divisor()
    rotate: Rotate = Rotate()
    flip_x: float = 0.0
    """Chance of a left-right flip."""
    flip_y: float = 0.0
    d4: float = 0.0
    """Chance of one of the eight turns and flips of the square, all equally likely."""
    sharpness: Sharpness = Sharpness()
    appearance: Appearance = Appearance()
    blur: Blur = Blur()
    crop: ResizedCrop = ResizedCrop()
    noise: Noise = Noise()
    swap: Swap = Swap()
    absent: Absent = Absent()

    def __post_init__(self) -> None:
        for name in (
            "divisor",
            "rotate",
            "sharpness",
            "appearance",
            "blur",
            "crop",
            "noise",
            "swap",
        ):
            share(f"augment.{name}.p", getattr(self, name).p)
        for name in ("flip_x", "flip_y", "d4"):
            share(f"augment.{name}", getattr(self, name))
        for name in ("band", "date"):
            share(f"augment.absent.{name}", getattr(self.absent, name))
        check(
            self.divisor.range[0] > 0,
            "augment.divisor.range",
            list(self.divisor.range),
            "numbers above 0",
        )
        check(
            0 < self.crop.scale[0] <= self.crop.scale[1] <= 1,
            "augment.crop.scale",
            list(self.crop.scale),
            "two shares from above 0 to 1",
        )
        check(
            self.crop.ratio[0] > 0, "augment.crop.ratio", list(self.crop.ratio), "numbers above 0"
        )
        pairs = {
            "divisor.range": self.divisor.range,
            "sharpness.range": self.sharpness.range,
            "crop.scale": self.crop.scale,
            "crop.ratio": self.crop.ratio,
        }
        for name, pair in (
            pairs | {"blur.sigma": self.blur.sigma, "noise.std": self.noise.std}
        ).items():
            ordered(f"augment.{name}", pair)


@dataclass(frozen=True)
class Crops:
    """How windows are cut from samples."""

    mode: Literal["chip", "random"] = "chip"
    """"chip": each sample once an epoch, whole if it has the window's size, else a window of it.
    "random": windows anywhere, at any angle."""
    size: int = 0
    """Edge of a window in pixels; 0: the input's window."""
    per_epoch: int = 0
    """Windows in an epoch, for "random"; 0: as many as there are samples."""
    gsd: Pair | None = None
    """Ground sampling distances in metres that windows are drawn at; None: the sample's own."""
    zoom: Pair | None = None
    """For photographs, which have no ground sampling distance: windows are drawn with pixels of so
    many image pixels, at least and at most."""
    turn: bool = True
    """"random": any angle and flip.  The window is cut out of its surroundings, so that corners
    have data."""
    stretch: float = 0.0
    """"random": one axis is stretched by up to exp(stretch) against the other."""

    def __post_init__(self) -> None:
        check(
            self.size >= 0,
            "crops.size",
            self.size,
            "a number of pixels, or 0 for the input's window",
        )
        most = f"a number of windows, at most {MOST:,}"
        check(0 <= self.per_epoch <= MOST, "crops.per_epoch", self.per_epoch, most)
        check(0 <= self.stretch < 1, "crops.stretch", self.stretch, "a number from 0 up to 1")
        if self.gsd is not None:
            check(
                0 < self.gsd[0] <= self.gsd[1],
                "crops.gsd",
                list(self.gsd),
                "two distances above 0, the finer one first",
            )
        if self.zoom is not None:
            check(
                0 < self.zoom[0] <= self.zoom[1],
                "crops.zoom",
                list(self.zoom),
                "two numbers above 0, the smaller one first",
            )
            check(
                self.gsd is None,
                "crops.zoom",
                list(self.zoom),
                "none beside crops.gsd, which says the same in metres",
            )


@dataclass(frozen=True)
class Schedule:
    """How long, how fast, how many at once."""

    epochs: int = 100
    batch: int = 32
    accumulate: int = 1
    """Batches whose gradients are added up before a step; the step is then that of one batch of
    their size, batch statistics aside."""
    lr: float = 1e-3
    floor: float = 1e-6
    """Learning rate at the end of a cosine or a line."""
    period: int = 0
    """Epochs after which a cosine is at its floor; 0: those of the run.  A run that ends before
    stops on the way down, as PRUE's encoders do (30 of 100)."""
    shape: Literal["constant", "cosine", "linear", "one-cycle"] = "cosine"
    per: Literal["epoch", "step"] = "epoch"
    """Whether the learning rate changes after each epoch (as PRUE) or after each step."""
    warmup: float = 0.0
    """Share of the run in which the learning rate rises from nearly 0."""
    layer_decay: float = 1.0
    """Learning rate of each block of a transformer as a share of the next one's, so that the first
    ones, which know most already, learn least; what is not of the transformer learns at ``lr``."""
    weight_decay: float = 0.01
    amsgrad: bool = False
    clip: float = 0.0
    """Largest norm of the gradient; 0: no limit."""
    average: float = 0.0
    """Decay of an exponential moving average of the weights, which is what is exported; 0: the live
    weights are."""
    keep: Literal["last", "best"] = "last"
    """Which weights are exported: those of the last epoch (PRUE), or those that are best on the
    validation split by ``validate.metric``."""
    patience: int = 0
    """Validations in a row without a better score by ``validate.metric`` after which a run ends; 0:
    it does all its epochs, as do several processes that share one."""

    def __post_init__(self) -> None:
        at_least(1, "schedule", self, "epochs", "batch", "accumulate")
        check(self.lr > 0, "schedule.lr", self.lr, "a number above 0")
        check(
            0 <= self.floor <= self.lr,
            "schedule.floor",
            self.floor,
            f"a number from 0 to the learning rate, {self.lr:g}",
        )
        check(
            self.period == 0 or (self.shape == "cosine" and self.period >= self.epochs),
            "schedule.period",
            self.period,
            f"0, or for a cosine as many epochs as the run has, {self.epochs}, or more",
        )
        decay = self.layer_decay
        check(0 < decay <= 1, "schedule.layer_decay", decay, "a share above 0, 1 for none")
        check(0 <= self.warmup < 1, "schedule.warmup", self.warmup, "a share from 0 up to 1")
        check(0 <= self.average < 1, "schedule.average", self.average, "a number from 0 up to 1")
        at_least(0, "schedule", self, "weight_decay", "clip", "patience")


@dataclass(frozen=True)
class Validate:
    """How often, and by what rules, the validation split is scored."""

    every: int = 1
    """Epochs between two validations; the last epoch is always validated.  0: only the last."""
    limit: int = 0
    """At most this many samples, spread evenly over the split; 0: all.  The last epoch always takes
    all."""
    method: Literal["auto", "watershed", "components", "vote", "pixels"] = "auto"
    """How probabilities become objects; "components" on the field class alone is PRUE's.  "pixels":
    no objects are looked for, classes are compared pixel by pixel, which is quick.  "auto":
    "watershed" where there is a class "field" and the metric is not "miou", else "pixels"."""
    iou: float = 0.5
    """Overlap from which an object counts as found."""
    metric: Literal["auto", "object_f1", "pixel_iou", "miou"] = "auto"
    """What decides which weights are best, and what the report ranks by: F1 of objects; IoU of all
    that is not ground (fields with their boundary, crop); or mean over classes of the IoU over all
    pixels of the split.  "auto": "miou" for the method "pixels", else "object_f1"."""
    folds: int = 0
    """0: chips that are held out judge a fine-tuned model beside its start.  2 or more: all own
    chips do, in so many parts, each answered by a network that was trained on the others, and what
    is written is trained on all of them (:mod:`selion.training.folds`); wants ``model.start_from``
    and ``model.keep_start`` "auto"."""
    fold_steps: int = 100
    """With ``folds``: steps of a run on all chips, rounded to whole epochs, and no more than
    ``schedule.epochs``; each fold does as many epochs.  No chip judges when a run ends."""

    fold_by: Literal["place", "strip"] = "place"
    """With ``folds``: "place": what lies in one place judges together, so that the answer is about
    other land; "strip": each place is parted by strips, and the answer is about the own land."""

    def __post_init__(self) -> None:
        at_least(0, "validate", self, "every", "limit", "folds")
        at_least(1, "validate", self, "fold_steps")
        check(self.folds != 1, "validate.folds", self.folds, "0, or 2 folds and more")
        check(0 < self.iou <= 1, "validate.iou", self.iou, "a number above 0, at most 1")
        objects = self.method != "pixels" or self.metric != "object_f1"
        check(
            objects,
            "validate.metric",
            self.metric,
            "'miou' or 'pixel_iou', as the method 'pixels' finds no objects",
        )

    def resolved(self, classes: ClassScheme) -> Validate:
        """Return the rules with "auto" decided by the classes."""
        method = (
            self.method
            if self.method != "auto"
            else "watershed"
            if "field" in classes.names and self.metric != "miou"
            else "pixels"
        )
        metric = (
            self.metric if self.metric != "auto" else "miou" if method == "pixels" else "object_f1"
        )
        return replace(self, method=method, metric=metric)


@dataclass(frozen=True)
class Hardware:
    """What runs it.

    Nothing here changes what is drawn; only ``precision`` and the device change the numbers.
    """

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """"auto": bfloat16 where the device is quick at it, else float32."""
    devices: int = 1
    """Processes that share the work through accelerate; more than 1 wants ``accelerate launch``."""
    workers: int = 2
    """Readers ahead of the network; 0 reads in between."""
    kind: Literal["thread", "process"] = "thread"
    """Threads share memory; processes are for many cores that feed a quick GPU."""
    keep_mb: int = 1024
    """Memory, in MiB and per process, in which the masks of opened samples are kept."""
    threads: int = 0
    """Threads of torch on a processor; 0: its own choice."""
    save_every: int = 10
    """Minutes between two checkpoints within an epoch; the end of each epoch is always saved."""

    def __post_init__(self) -> None:
        at_least(1, "hardware", self, "devices")
        at_least(0, "hardware", self, "workers", "threads", "save_every", "keep_mb")


@dataclass(frozen=True)
class Recipe(RecipeHead):
    """A training run before it is run."""

    classes: ClassScheme = FTW3
    data: Data = field(default_factory=Data)
    input: Inputs = Inputs()
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    augment: Augment = Augment()
    crops: Crops = Crops()
    schedule: Schedule = Schedule()
    validate: Validate = Validate()
    hardware: Hardware = Hardware()

    def __post_init__(self) -> None:
        weights = self.loss.weights
        check(
            not weights or len(weights) == len(self.classes),
            "loss.weights",
            list(weights),
            f"one number for each of the {len(self.classes)} classes",
        )
        check(
            self.window % self.input.multiple == 0,
            "crops.size",
            self.crops.size,
            f"a multiple of input.multiple, {self.input.multiple} px",
        )
        odd = len(self.input.bands) % 2 and self.augment.swap.p > 0
        check(
            not odd,
            "augment.swap.p",
            self.augment.swap.p,
            f"0, as {len(self.input.bands)} bands have no two halves",
        )
        sets, absent = bool(self.input.dates), self.augment.absent
        check(
            not (sets and self.augment.swap.p > 0),
            "augment.swap.p",
            self.augment.swap.p,
            "0, as input.dates says that dates have no order",
        )
        check(
            sets or absent == Absent(),
            "augment.absent",
            f"band {absent.band:g}, date {absent.date:g}",
            "none, as input.dates does not say that dates may be missing",
        )
        check(self.seed >= 0, "seed", self.seed, "0 or more")
        self.validate.resolved(self.classes)
        near = bool(self.model.start_from) and self.model.keep_start == "auto"
        alone = not self.data.mix and self.hardware.devices == 1
        check(
            not self.validate.folds or (near and alone),
            "validate.folds",
            self.validate.folds,
            '0 without model.start_from, without model.keep_start = "auto", with data.mix, and for '
            "several processes",
        )

    @property
    def window(self) -> int:
        """Edge of a training window in pixels."""
        return self.crops.size or self.input.window
