"""Tables IV, VI and VII of DepthCropSeg++ on data that one has, beside the figures that the paper
prints.

    python runs/tables_closerange.py ews ../shared/data/closerange/ews_wheat \
        --models crops-rgb my-run/model --sam CHECKPOINT
    python runs/tables_closerange.py ews ../shared/data/closerange/ews_wheat \
        --seeds a1/model a2/model a3/model --against b1/model b2/model b3/model

The first form scores systems by subset (the dataset's groups) in every averaging, as the paper does
not say which is its own; SAM and SAM-HQ are asked with points drawn from the truth, 1 to 10 at
random and the best kept, as there.  The second form is Table VI: two systems trained from several
seeds each, compared by Student's t with pooled variance; beside it stands the paired bootstrap over
images, as seeds measure the noise of training alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from selion.data import load_dataset
from selion.evaluation.pixels import PixelOptions, PixelReport, evaluate_pixels, photo_systems
from selion.metrics.statistics import mean_from_rows, paired_bootstrap, pooled_t_test

PAPER_IV = {
    "semi-supervised": 92.36, "+ depth masks": 92.86, "+ two stages": 92.88, "+ FADE": 93.11,
    "SAM": 32.80, "HQ-SAM": 44.54, "GWFSS": 69.50, "fully supervised": 92.75,
}  # fmt: skip
"""Table IV, mIoU in percent; its data is not public."""
PAPER_VI = ((93.47, 93.43, 93.47), (93.02, 93.01, 93.07))
"""Table VI as printed; the paper gives t = 19.259 and (0.362, 0.485), its own digits give 18.525
and (0.360, 0.487)."""
PAPER_VII = {
    "SAM": "29.98/1.16 49.04/3.84 72.32/12.89", "HQ-SAM": "35.15/4.17 69.12/21.41 78.97/15.83",
    "GWFSS": "42.35/12.28 84.30/18.04 36.01/9.00",
    "DepthCropSeg": "76.46/29.04 62.21/38.85 68.85/26.77",
    "DepthCropSeg++": "90.09/17.38 86.90/21.35 99.86/47.42",
    "supervised": "89.59/15.48 86.67/20.35 96.54/20.36",
}  # fmt: skip
"""Table VII, mIoU/boundary IoU in percent on night soybean, night rice and full coverage."""
MEASURE = "mIoU of the dataset, absent from truth and prediction: skipped"


def tables(report: PixelReport) -> None:
    """Print ours, then the paper's."""
    print(report.to_markdown())
    print(
        "Paper, Table IV (mIoU, other data):",
        "; ".join(f"{name} {value}" for name, value in PAPER_IV.items()),
    )
    print("Paper, Table VII (mIoU/boundary IoU; night soybean, night rice, full coverage):")
    for name, row in PAPER_VII.items():
        print(f"  {name}: {row}")


def seeds(report: PixelReport, one: list[str], other: list[str]) -> None:
    """Print Table VI for two systems of several seeds each."""
    by_name = {s.name: s for s in report.systems}
    scores = [[100 * by_name[name].values()[MEASURE] for name in names] for names in (one, other)]
    for said, (a, b) in (("ours", scores), ("paper's digits", PAPER_VI)):
        found = pooled_t_test(a, b)
        print(
            (
                f"{said}: {np.round(a, 2)} against {np.round(b, 2)}: difference "
                f"{found.difference:.3f},"
            ),
            end=" ",
        )
        print(f"t {found.statistic:.3f}, 95 % ({found.low:.3f}, {found.high:.3f})")
    rows = [
        np.mean(
            [np.stack([by_name[n].by_image(), np.ones(len(by_name[n].keys))], 1) for n in names], 0
        )
        for names in (one, other)
    ]
    found = paired_bootstrap(*rows, mean_from_rows)
    print(
        f"paired over images, mean of the seeds: {100 * found.difference:+.3f}, 95 % "
        f"({100 * found.low:+.3f}, {100 * found.high:+.3f})"
    )


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("layout", help="a dataset that 'selion data list' names")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--models", nargs="*", default=[])
    parser.add_argument(
        "--sam", nargs="*", type=Path, default=[], help="checkpoint folders of SAM, SAM 2 or SAM-HQ"
    )
    parser.add_argument("--seeds", nargs="*", default=[])
    parser.add_argument("--against", nargs="*", default=[])
    parser.add_argument("--ratios", nargs="*", type=float, default=[0.005, 0.01, 0.02])
    args = parser.parse_args()
    dataset = load_dataset(args.layout, args.folder, args.split or None)
    systems = photo_systems(
        [*args.models, *args.seeds, *args.against], dataset.classes, oracles=args.sam
    )
    report = evaluate_pixels(
        systems,
        dataset,
        dataset.classes,
        PixelOptions(tuple(args.ratios), (1, 2)),
        title=f"{args.layout}, {args.split}",
    )
    if args.seeds:
        seeds(report, args.seeds, args.against)
    else:
        tables(report)


if __name__ == "__main__":
    main()
