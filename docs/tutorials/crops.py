# %% [markdown]
# # Crops in photographs, without hand labels
#
# DepthCropSeg's idea: crops stand above the soil, so a depth map cut where it steps is a mask that
# nobody had to draw. People only say which masks are good; a model learns from those, looks at
# everything again, and learns once more from what both say.
#
# **With your own photographs** it runs where `PHOTOS` names a folder of ten or more and `DEPTHS`
# one of their depth maps (same names, near is larger); `selion label depth photos/ -o pseudo/`
# computes depth with Depth Anything V2. Without, photographs are simulated, so that depth and truth
# are known.

# %%
import os

PHOTOS = os.environ.get("SELION_TUTORIAL_PHOTOS", "")  # or: PHOTOS = "photos/"
DEPTHS = os.environ.get("SELION_TUTORIAL_DEPTHS", "")

# %% [markdown]
# Real wheat, from the air, on four dates, and what `selion crops` takes for plants:
#
# ![Wheat on four dates; below each its leaves tinted, and the cover](../pictures/crops.webp)
#
# <small>Photographs: Eschikon Wheat Segmentation (Zenkl and others 2022,
# doi:10.3389/fpls.2021.774068), CC BY-SA 4.0, and so is this picture.</small>

# %%
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import selion
from selion.classes import CROP
from selion.grid import photo_grid
from selion.labelling import (
    ComputedDepths,
    DepthFolder,
    keep_pseudo,
    label_photos,
    plan_selftraining,
)
from selion.simulation.landscape import simulate_photo

work = Path(tempfile.mkdtemp())
simulated = {f"p{seed:02d}": simulate_photo(seed, (128, 160)) for seed in range(10)}
if PHOTOS:
    folder, depths = Path(PHOTOS), DepthFolder(Path(DEPTHS))
else:
    folder = work / "photos"
    folder.mkdir()
    for name, photo in simulated.items():
        Image.fromarray(np.moveaxis(photo.image.values, 0, -1)).save(folder / f"{name}.png")
    known = {photo.image.values.tobytes(): photo.depth for photo in simulated.values()}
    depths = ComputedDepths(lambda image: known[image.tobytes()], "simulated")
selion.open_raster(next(path for path in sorted(folder.iterdir()) if path.is_file()))

# %% [markdown]
# ## Masks out of depth
#
# The threshold lies where the mean step along the contour of a depth is largest; `quality` says how
# sharply, and is what the screening page sorts by.

# %%
rows = label_photos(folder, work / "pseudo", depths)
[(row.key, round(row.cover, 2), round(row.quality, 2)) for row in rows[:4]]

# %%
mask = next((work / "pseudo" / "masks").glob(f"{Path(rows[0].key).stem}.*"))
first = np.asarray(Image.open(mask))
print(f"{np.mean(first != 255):.1%} of the pixels of {rows[0].key} have a label")
if not PHOTOS:
    true = simulated["p00"].labels.ids
    print(f"{np.mean((first == true)[first != 255]):.1%} of these are as they truly are")
selion.LabelMap(first, photo_grid(first.shape), CROP)

# %% [markdown]
# ## Screening
#
# `selion label screen photos/ pseudo/` shows contact sheets on a local page: most masks are passed
# or refused at a glance. Without anybody at hand, quality decides.

# %%
kept = keep_pseudo(work / "pseudo", least=0.0 if PHOTOS else 0.3)
print(*kept.notes, sep="\n")
len(kept.entries)

# %% [markdown]
# ## Two stages
#
# `selion label selftrain crops --pseudo pseudo/ -o run/` trains on what was kept, compares its
# answers with the labels, erases (255) where they differ, and trains again. A handful of steps show
# it here; they begin at the model that ships, which has seen hand-made masks of wheat. Labels of
# people from this field, where there are some, are put in with `--set data.dataset=FOLDER`.

# %%
from selion.reports import self_training
from selion.training import read_recipe

recipe = read_recipe(
    "crops",
    [
        "input.window=64",
        "schedule.lr=2e-3",
        "schedule.batch=8",
        "crops.per_epoch=4",
        "schedule.epochs=2",
        "validate.every=0",
        "schedule.keep=last",
        "hardware.threads=1",
        "hardware.workers=0",
    ],
)
trained = self_training.run(plan_selftraining(recipe, kept), work / "run")
selion.load_model(trained).card

# %% [markdown]
# ## Is it worth anything?
#
# Colour rules cost nothing, so they stand beside every model. Two simulated photographs are scored,
# as their truth is known; your own say more, in `images` and `masks`. Simulated leaves are as green
# as paint, so here the rules win; on real wheat `crops-rgb` does ([Weights](../weights.md)). Ten
# photographs and ten steps leave the model about where it was: that is the size of this page, and
# not of the method.

# %%
from selion.evaluation.pixels import evaluate_pixels, photo_systems, segmenter_system

for part in ("images", "masks"):
    (work / "truth" / part).mkdir(parents=True)
for seed in (20, 21):
    photo = simulate_photo(seed, (128, 160))
    Image.fromarray(np.moveaxis(photo.image.values, 0, -1)).save(
        work / "truth" / "images" / f"v{seed}.png"
    )
    Image.fromarray(photo.labels.ids).save(work / "truth" / "masks" / f"v{seed}.png")
val = selion.load_dataset(work / "truth", classes=CROP)
systems = {
    "self-trained": segmenter_system(selion.load_model(trained), val.classes),
    **photo_systems(["crops-rgb"], val.classes, threads=1),
}
scores = evaluate_pixels(systems, val, val.classes)
print(scores.to_markdown())

# %%
miou = {system.name: system.by_image().mean() for system in scores.systems}
if not PHOTOS:
    assert miou["self-trained"] > miou["soil everywhere"] + 0.1, miou
