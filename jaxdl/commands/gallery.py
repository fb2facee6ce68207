"""HTML page of all recipes with their recorded results, commands and pictures."""

import os
from collections.abc import Sequence
from pathlib import Path

from jaxdl.commands.report import page_path
from jaxdl.config.recipes import RecipeFile, recipes
from jaxdl.report import html, load
from jaxdl.report.load import Run
from jaxdl.report.plots import newest_pictures, readable
from jaxdl.runs.files import check_output, write_atomically
from jaxdl.runs.ledger import NONE_RECORDED, Summary, figure, minutes, summaries


def run(root: Path, folders: Sequence[str] = (), output: str | None = None) -> None:
    """Writes the page. A recorded run of a recipe, at any depth of the folders, supplies the pictures of its card.

    Raises:
      UserError: A folder without a run, or a page that cannot be written.
    """
    target = page_path(output, "gallery.html")
    check_output(target, html.MARK.encode())
    runs = [load.read(path) for path in load.find(folders)]
    files, results = recipes(root), summaries(root)
    recorded = {
        run.recipe: run for run in runs if run.recipe in results and run.digest[:16] in results[run.recipe].digests
    }
    write_atomically(target, render(files, results, recorded, target.parent, root))
    others = len(runs) - len(recorded)
    print(
        f"{target}: {len(files)} recipes, {len(results)} with a recorded result, {len(recorded)} with its run"
        f"{f'; {others} run(s) of other results are not shown' if others else ''}"
    )


def render(
    files: Sequence[RecipeFile], results: dict[str, Summary], runs: dict[str, Run], here: Path, root: Path
) -> str:
    """Returns the HTML page from {recipe: recorded result} and {recipe: run}; its folder is `here`."""
    families = sorted({recipe.family for recipe in files})
    spent = sum(result.minutes for result in results.values())
    counts: list[tuple[object, object]] = [
        (len(files), "recipes"),
        (len(families), "families"),
        (len(results), "with a result"),
        (minutes(spent / 60), "hours of training"),
    ]
    menu = html.tag("nav", *(html.link(family, f"#{family}") for family in families))
    parts = [html.tag("header", html.tag("h1", "jaxdl: the recipes"), html.tiles(counts), menu)]
    for family in families:
        own = sorted((file for file in files if file.family == family), key=lambda file: file.name not in runs)
        cards = [_card(file, results.get(file.name), runs.get(file.name), here, root) for file in own]
        parts += [html.tag("h2", family, id=family), html.tag("div", *cards, class_="grid cards")]
    return html.document("jaxdl: the recipes", *parts)


def _card(recipe: RecipeFile, result: Summary | None, run: Run | None, here: Path, root: Path) -> html.Markup:
    source = html.link(recipe.name.removeprefix("experiments/"), os.path.relpath(root / recipe.name, here))
    return html.tag(
        "article",
        html.tag("h3", recipe.title),
        html.tag("p", source, class_="small"),
        _picture(recipe, run, here),
        _result(result),
        html.tag("pre", f"jaxdl train --config={recipe.name}"),
        class_="card",
    )


def _result(result: Summary | None) -> html.Markup:
    if result is None:
        return html.tag("p", NONE_RECORDED, class_="small")
    value, _, spread = figure(result.mean, result.std).partition(" +- ")
    large = [html.tag("b", value), f" ± {spread}" if spread else "", f" {readable(result.metric)}"]
    return html.tag("div", html.tag("p", *large, class_="result"), html.tag("p", result.cost, class_="small"))


def _picture(recipe: RecipeFile, run: Run | None, here: Path) -> html.Markup:
    """Returns a picture of the run: one that the card does not crop before a tall one, samples before others."""
    pictures = newest_pictures(run.folder) if run else {}
    for name in sorted(pictures, key=lambda name: (_is_tall(pictures[name]), "samples" not in name)):
        try:
            image = html.picture(pictures[name], f"{readable(name)}: {recipe.title}", height=250, crop=True)
        except OSError:
            continue  # partially written, or not a picture
        return html.link(image, os.path.relpath(pictures[name], here))
    return html.Markup("")


def _is_tall(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height > 2 * image.width
    except OSError:
        return True
