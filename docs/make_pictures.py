"""Writes the pictures of the gallery from finished runs: `python docs/make_pictures.py RUNS`.

For each run below the folder, its newest picture of test predictions or samples becomes
`docs/images/gallery/FAMILY_RECIPE.webp`, at most 640 pixels wide. Runs whose state is not that of a recorded result are
skipped.
"""

import sys
from pathlib import Path

from PIL import Image

from jaxdl.report import load
from jaxdl.report.plots import newest_pictures
from jaxdl.runs.ledger import summaries

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "images" / "gallery"
PREFERRED = ("samples", "predictions", "forecasts", "translations", "reconstructions", "boxes", "masks")
CURVES = ("experiments/transformer/grokking.py",)  # recipes shown by their learning curves
WIDTH = 640


def main(folder: str) -> None:
    results = summaries(ROOT)
    TARGET.mkdir(parents=True, exist_ok=True)
    for path in load.find([folder]):
        run = load.read(path)
        recorded = run.recipe in results and run.digest[:16] in results[run.recipe].digests
        curves = sorted(path.glob("pictures/*_learning_curves.png"))
        pictures = curves if run.recipe in CURVES else list(newest_pictures(path).values())
        if not recorded or not pictures:
            print(f"{path}: {'no picture' if recorded else 'not a recorded result'}")
            continue
        ranked = sorted(
            pictures,
            key=lambda picture: ("test" not in picture.name, *(word not in picture.name for word in PREFERRED)),
        )
        image = Image.open(ranked[0]).convert("RGB")
        image.thumbnail((WIDTH, WIDTH))
        target = TARGET / f"{run.recipe.removeprefix('experiments/').removesuffix('.py').replace('/', '_')}.webp"
        image.save(target, quality=80, method=6)
        print(f"{target.relative_to(ROOT)}: {ranked[0].name}, {target.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main(sys.argv[1])
