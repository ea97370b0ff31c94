# %% [markdown]
# # Crops in photographs, without hand labels
#
# DepthCropSeg's idea: crops stand above the soil, so a depth map cut where it steps is a mask that
# nobody had to draw. People only say which masks are good; a model learns from those, looks at
# everything again, and learns once more from what both say.
#
# The photographs here are simulated, so depth and truth are known. With your own,
# `selion label depth photos/ -o pseudo/` computes depth with Depth Anything V2, or takes depth maps
# of yours (`--depth FOLDER`).

# %%
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import selion
from selion.labelling import ComputedDepths, keep_pseudo, label_photos, plan_selftraining
from selion.simulation.landscape import simulate_photo

work = Path(tempfile.mkdtemp())
photos = {f"p{seed:02d}": simulate_photo(seed, (128, 160)) for seed in range(10)}
(work / "photos").mkdir()
for name, photo in photos.items():
    Image.fromarray(np.moveaxis(photo.image.values, 0, -1)).save(work / "photos" / f"{name}.png")
photos["p00"].image

# %% [markdown]
# ## Masks out of depth
#
# The threshold lies where the mean step along the contour of a depth is largest; `quality` says how
# sharply, and is what the screening page sorts by.

# %%
depths = {photo.image.values.tobytes(): photo.depth for photo in photos.values()}
rows = label_photos(
    work / "photos",
    work / "pseudo",
    ComputedDepths(lambda image: depths[image.tobytes()], "simulated"),
)
[(row.key, round(row.cover, 2), round(row.quality, 2)) for row in rows[:4]]

# %%
first = np.asarray(Image.open(work / "pseudo" / "masks" / "p00.png"))
known = first != 255
print(
    f"{np.mean(first[known] == photos['p00'].labels.ids[known]):.1%} of the pixels of p00 are as "
    "they truly are"
)
selion.LabelMap(first, photos["p00"].labels.grid, photos["p00"].labels.classes)

# %% [markdown]
# ## Screening
#
# `selion label screen photos/ pseudo/` shows contact sheets on a local page: most masks are passed
# or refused at a glance. Without anybody at hand, quality decides.

# %%
kept = keep_pseudo(work / "pseudo", least=0.3)
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
folder = self_training.run(plan_selftraining(recipe, kept), work / "run")
selion.load_model(folder).card

# %% [markdown]
# ## Is it worth anything?
#
# Colour rules cost nothing, so they stand beside every model. Simulated leaves are as green as
# paint, so here the rules win; on real wheat `crops-rgb` does ([Weights](../weights.md)). Ten
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
val = selion.load_dataset(work / "truth", classes=photos["p00"].labels.classes)
systems = {
    "self-trained": segmenter_system(selion.load_model(folder), val.classes),
    **photo_systems(["crops-rgb"], val.classes, threads=1),
}
scores = evaluate_pixels(systems, val, val.classes)
print(scores.to_markdown())

# %%
miou = {system.name: system.by_image().mean() for system in scores.systems}
assert miou["self-trained"] > miou["soil everywhere"] + 0.1, miou
