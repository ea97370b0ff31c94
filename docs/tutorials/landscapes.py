# %% [markdown]
# # Smallholder landscapes with a language model
#
# Fields of a tenth of a hectare, trees and ponds between them, imagery of half a metre: MAgSeg
# writes the mask of a patch as text, row by row, while it looks at the whole image. Here a tiny
# model does the same on a processor, from simulated scenes, in seconds: it shows the pipeline and
# not the quality. What it reaches after fifteen minutes, and what that is worth, is in [Language
# models](../language.md).
#
# **On your own imagery** it runs where `IMAGE` names a GeoTIFF with red, green and blue of half a
# metre to a few metres (NAIP of the USA is in the public domain: [Geospatial Data
# Gateway](https://datagateway.nrcs.usda.gov), or the collection `naip` of open STAC catalogues):
# its first 256 pixels each way are then looked at. Without one, a simulated landscape is, of which
# the truth is known.

# %%
import os

IMAGE = os.environ.get("SELION_TUTORIAL_IMAGE", "")  # or: IMAGE = "my_image.tif"

# %% [markdown]
# A real patch, its true mask, and the text that says it:
#
# ![A field with a track; its mask in squares; lines of letters](../pictures/language.webp)
#
# <small>Imagery: NAIP (USDA, public domain); mask: Radix, MIT.</small>

# %%
import tempfile
from pathlib import Path

import numpy as np

import selion
from selion.simulation.landscape import simulate

work = Path(tempfile.mkdtemp())
fields = selion.load_model("fields-rgb-vhr")
if IMAGE:
    from selion.pipeline.maps import MapOptions, prepare

    source = prepare(IMAGE, fields.card.name, MapOptions()).source  # bands and numbers as they are
    image = source.read((slice(0, 256), slice(0, 256)))
    drawn = selion.find_instances(selion.predict(image, fields), fields)  # nobody drew the truth
else:
    scene = simulate(5, (256, 256), 2.0, "smallholder", bands="rgb")
    image, drawn = scene.image, scene.instances
image

# %%
drawn

# %% [markdown]
# ## A mask is a text
#
# Run-length rows with the classes' names; equal rows are folded. `decode` never fails: what cannot
# be read is 255, and it says why.

# %%
from selion.models.language.rrle import CODECS, decode, encode

names = ("others", "field")
patch = (drawn.ids[:128:8, :128:8] > 0).astype(np.uint8)
text = encode(patch, names, CODECS["rrle"])
print(text)

# %%
again, misread = decode(text, patch.shape, names, CODECS["rrle"])
assert (again == patch).all()
assert misread.clean
damaged, why = decode(text[: len(text) // 2], patch.shape, names, CODECS["rrle"])
print(why)
assert (damaged == 255).any()

# %% [markdown]
# ## A model that speaks
#
# `selion train magseg-tiny -o tiny` trains it for 900 steps; here are 12, on two scenes.
# `selion train magseg --set language.base=FOLDER` takes a real vision-language model and LoRA, the
# same way; rewards (GRPO on the mean Dice) follow with `grpo.steps`.

# %%
from selion.training import read_recipe
from selion.training.language_run import plan_language, train_language

few = [
    "sft.steps=12",
    "sft.batch=8",
    "sft.save_every=12",
    "simulate.scenes=2",
    "simulate.validation=1",
    "simulate.edge=256",
    "inspect.patches=4",
]
result = train_language(plan_language(read_recipe("magseg-tiny", few)), work / "tiny")
model = selion.load_model(work / "tiny" / "model")
model.card

# %% [markdown]
# ## The same sentence as with a U-Net
#
# The reply is decoded to classes, one-hot and 255 where it could not be read; so windows, blending,
# objects and outlines are those of every other model.

# %%
small = image if IMAGE else simulate(6, (96, 96), 4.0, "smallholder", bands="rgb").image
probabilities = selion.predict(small, model)
assert np.allclose(probabilities.values[:, probabilities.valid].sum(0), 1, atol=1e-3)
probabilities

# %% [markdown]
# ## Boundaries from a model that knows them
#
# Coarse masks join neighbours. A boundary model parts them (`selion map IMAGE --model
# LANGUAGE --refine MODEL`, as MAgSeg does with EPOC): here the packaged model of fields takes both
# parts. It was trained on the large fields of the USA and is out of its depth among fields this
# small: the score below says so.

# %%
objects = selion.find_instances(selion.predict(image, fields), fields)
objects

# %% [markdown]
# Merge-and-match, MAgSeg's score, joins what was split before it compares, so that a field in two
# pieces is not punished twice. (Of an image of your own nothing is known to compare with here; its
# objects stand above.)

# %%
from selion.metrics import merged_scores, overlap_table

if not IMAGE:
    finer = objects.ids.shape[0] // drawn.ids.shape[0]
    truth = drawn.ids.repeat(finer, 0).repeat(finer, 1)
    merged = merged_scores(overlap_table(truth, objects.ids))
    missed = f"{merged.missed} of {len(merged.iou)} fields missed"
    print(f"mean IoU {merged.iou.mean():.2f}, median {np.median(merged.iou):.2f}")
    print(f"{missed}, {merged.false} found where there is none")
    assert len(merged.iou) == drawn.ids.max()
