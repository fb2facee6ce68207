"""`launch.py report --gallery`: every recipe on one page, with its recorded result, its command and a picture."""

import os
from collections.abc import Sequence
from pathlib import Path

from jaxdl.commands.report import page_path
from jaxdl.config.recipes import RecipeFile, recipes
from jaxdl.report import html, load
from jaxdl.report.load import FINISHED, Run
from jaxdl.report.plots import newest_pictures, readable
from jaxdl.runs.files import write_atomically
from jaxdl.runs.ledger import (
    NONE_RECORDED,
    Summary,
    figure,
    minutes,
    summaries,
)


def run(root: Path, folders: Sequence[str] = (), output: str | None = None) -> None:
    """Writes the page, and says where.

    Args:
      root: the repository.
      folders: run folders, or folders with run folders in them at any depth: each recipe's newest finished run gives
        its picture.
      output: the page, NAME.html; by default gallery.html.

    Raises:
      UserError: a folder without a run, or a page that cannot be written.
    """
    target = page_path(output, "gallery.html")
    runs = [load.read(path) for path in load.find(folders)]
    shown = {run.recipe: run for run in sorted(runs, key=lambda run: run.started) if run.state == FINISHED}
    found, results = recipes(root), summaries(root)
    write_atomically(target, render(found, results, shown, target.parent, root))
    with_picture = sum(recipe.name in shown for recipe in found)
    print(f"{target}: {len(found)} recipes, {len(results)} with a recorded result, {with_picture} with a run")


def render(
    found: Sequence[RecipeFile], results: dict[str, Summary], runs: dict[str, Run], here: Path, root: Path
) -> str:
    """The page.

    Args:
      found: the recipes.
      results: {recipe: its recorded result}.
      runs: {recipe: the run that shows it}.
      here: the folder of the page, from which links start.
      root: the repository.
    """
    families = sorted({recipe.family for recipe in found})
    spent = sum(result.minutes for result in results.values())
    counts: list[tuple[object, object]] = [
        (len(found), "recipes"),
        (len(families), "families"),
        (len(results), "with a result"),
        (minutes(spent / 60), "hours to make all"),
    ]
    menu = html.tag("nav", *(html.link(family, f"#{family}") for family in families))
    parts = [html.tag("header", html.tag("h1", "jaxdl: the recipes"), html.tiles(counts), menu)]
    for family in families:
        own = sorted((each for each in found if each.family == family), key=lambda each: each.name not in runs)
        cards = [_card(each, results.get(each.name), runs.get(each.name), here, root) for each in own]
        parts += [html.tag("h2", family, id=family), html.tag("div", *cards, class_="grid cards")]
    return html.document("jaxdl: the recipes", *parts)


def _card(recipe: RecipeFile, result: Summary | None, run: Run | None, here: Path, root: Path) -> html.Markup:
    source = html.link(recipe.name.removeprefix("experiments/"), os.path.relpath(root / recipe.name, here))
    return html.tag(
        "article",
        html.tag("h3", recipe.title),
        html.tag("p", source, class_="small"),
        _shown(recipe, run, here),
        _result(result),
        html.tag("pre", f"python launch.py --config={recipe.name}"),
        class_="card",
    )


def _result(result: Summary | None) -> html.Markup:
    if result is None:
        return html.tag("p", NONE_RECORDED, class_="small")
    value, _, spread = figure(result.mean, result.std).partition(" +- ")
    seeds = "1 seed" if result.seeds == 1 else f"{result.seeds} seeds"
    told = f"{seeds}, {minutes(result.minutes)} min on {result.device}"
    large = [html.tag("b", value), f" ± {spread}" if spread else "", f" {readable(result.metric)}"]
    return html.tag("div", html.tag("p", *large, class_="result"), html.tag("p", told, class_="small"))


def _shown(recipe: RecipeFile, run: Run | None, here: Path) -> html.Markup:
    """A picture that the run has made, samples first, but before these one that is not so tall that it is cut."""
    pictures = newest_pictures(run.folder) if run else {}
    for name in sorted(pictures, key=lambda name: (_is_tall(pictures[name]), "samples" not in name)):
        try:
            image = html.picture(pictures[name], f"{readable(name)}: {recipe.title}", height=250, crop=True)
        except OSError:
            continue  # half written, or no picture
        return html.link(image, os.path.relpath(pictures[name], here))
    return html.Markup("")


def _is_tall(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height > 2 * image.width
    except OSError:
        return True
