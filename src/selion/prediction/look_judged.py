"""What is said of an image for a model: where a map may look right and be wrong."""

from __future__ import annotations

from selion.errors import BadInput
from selion.prediction.band_names import days_of, doubted_days, read_names, with_dates
from selion.prediction.look import Look
from selion.prediction.look_understood import SATELLITE
from selion.segmenter import InputSpec

SMALLEST = 32
"""Pixels of the model along an edge, below which an image shows no whole field."""
COARSEST = 3.0
"""Times that pixels may be enlarged before it is said."""
FINEST = 1.3
"""The same of an image in colour that was enlarged before: outlines are all that it shows."""
TOO_COARSE = 12.0
"""Times from which a map is refused."""


def judged(look: Look, inputs: InputSpec, *, chosen: bool) -> tuple[str, ...]:
    """Return warnings on an image for a model, where a map may look right and be wrong.

    Parameters
    ----------
    look : Look
        At the image.
    inputs : InputSpec
        Of the model.
    chosen : bool
        Whether the user chose the pixel size (``--gsd``, ``--scale``) himself.

    Raises
    ------
    BadInput
        If pixels are so coarse that no field can be seen in them.
    """
    found = _judged_size(look, inputs, chosen=chosen)
    meant = with_dates(read_names(look.bands))
    have = {name.colour for name in meant if name.is_known}
    wants = {name.colour for name in read_names(inputs.bands)}
    if "nir" in have and "nir" not in wants and wants & have:
        found.append("The image has a near infrared, which the model does not look at.")
    seen = look.shown_gsd
    if seen is not None and seen >= SATELLITE and "nir" not in wants and inputs.gsd:
        water = "" if "nir" in have else ", and water may be taken for a field"
        found.append(
            f"One date in colour at such pixels is little to tell fields by{water}: give two dates "
            "of the season as two files, spring.tif autumn.tif."
        )
    named = {name.date for name in read_names(inputs.bands)}
    if not inputs.dates and len(look.dates) > len(named):
        found.append(
            f"The image has {len(look.dates)} dates, and the model looks at {len(named)}: give the "
            "one of planting and the one of harvest."
        )
    days = days_of(look.dates)
    if len(named) > 1 and days:
        found += doubted_days(days)
    elif len(named) > 1 and len(look.dates) > 1 and not named <= set(look.dates):
        found.append(
            "The image does not say which of its dates is the earlier one, and a map of them "
            "exchanged differs: name the bands planting:red ... harvest:nir."
        )
    return tuple(found)


def _judged_size(look: Look, inputs: InputSpec, *, chosen: bool) -> list[str]:
    """Return warnings on the size of an image and of its pixels; raise BadInput as judged does."""
    found = list[str]()
    seen, working = look.shown_gsd, inputs.working_gsd(look.gsd)
    if inputs.gsd is None or look.gsd is None or seen is None or working is None:
        return found
    if look.gsd / inputs.gsd[1] > TOO_COARSE and not chosen:
        raise BadInput(
            f"The image's pixels are {look.gsd:.3g} m, the model was trained on at most "
            f"{inputs.gsd[1]:g} m: fields cannot be seen. Give a finer image, or add --gsd "
            f"{inputs.gsd[1]:g} to map it nevertheless."
        )
    in_colour = "nir" not in {name.colour for name in read_names(inputs.bands)}
    most = FINEST if in_colour else COARSEST
    if seen > look.gsd and seen / inputs.gsd[1] > most:
        found.append(
            f"The image's pixels are {look.gsd:.3g} m, but it shows no detail finer than about "
            f"{seen:.2g} m, as one that was enlarged: give it as it was."
        )
    if (times := look.gsd / inputs.gsd[1]) > COARSEST:
        found.append(
            f"The image's pixels ({look.gsd:.3g} m) are enlarged {times:.1f} times for the "
            "model: small fields are lost and others joined."
        )
    edge = min(look.shape) * look.gsd
    if 0 < edge < SMALLEST * working:
        found.append(
            f"The image is {edge:.2g} m wide or high, no more than {edge / working:.0f} pixels of "
            "the model: it shows no whole field."
        )
    return found
