"""`launch.py report --gallery`: every recipe on one page, with its recorded result, its command and a picture."""

import os
from collections.abc import Sequence
from pathlib import Path

from jaxdl.config.recipes import RecipeFile, recipes
from jaxdl.runs import collect
from jaxdl.runs.collect import FINISHED, Run
from jaxdl.runs.files import write_atomically
from jaxdl.runs.report import page_path
from jaxdl.runs.report_plots import newest_pictures, readable
from jaxdl.runs.results import NONE_RECORDED, Summary, figure, minutes, summaries
from jaxdl.viz import page


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
    runs = [collect.read(path) for path in collect.find(folders)]
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
    menu = page.tag("nav", *(page.link(family, f"#{family}") for family in families))
    parts = [page.tag("header", page.tag("h1", "jaxdl: the recipes"), page.tiles(counts), menu)]
    for family in families:
        own = sorted((each for each in found if each.family == family), key=lambda each: each.name not in runs)
        cards = [_card(each, results.get(each.name), runs.get(each.name), here, root) for each in own]
        parts += [page.tag("h2", family, id=family), page.tag("div", *cards, class_="grid cards")]
    return page.document("jaxdl: the recipes", *parts)


def _card(recipe: RecipeFile, result: Summary | None, run: Run | None, here: Path, root: Path) -> page.Markup:
    source = page.link(recipe.name.removeprefix("experiments/"), os.path.relpath(root / recipe.name, here))
    return page.tag(
        "article",
        page.tag("h3", recipe.title),
        page.tag("p", source, class_="small"),
        _shown(recipe, run, here),
        _result(result),
        page.tag("pre", f"python launch.py --config={recipe.name}"),
        class_="card",
    )


def _result(result: Summary | None) -> page.Markup:
    if result is None:
        return page.tag("p", NONE_RECORDED, class_="small")
    value, _, spread = figure(result.mean, result.std).partition(" +- ")
    seeds = "1 seed" if result.seeds == 1 else f"{result.seeds} seeds"
    told = f"{seeds}, {minutes(result.minutes)} min on {result.device}"
    large = [page.tag("b", value), f" ± {spread}" if spread else "", f" {readable(result.metric)}"]
    return page.tag("div", page.tag("p", *large, class_="result"), page.tag("p", told, class_="small"))


def _shown(recipe: RecipeFile, run: Run | None, here: Path) -> page.Markup:
    """A picture that the run has made, samples first, but before these one that is not so tall that it is cut."""
    pictures = newest_pictures(run.folder) if run else {}
    for name in sorted(pictures, key=lambda name: (_is_tall(pictures[name]), "samples" not in name)):
        try:
            image = page.picture(pictures[name], f"{readable(name)}: {recipe.title}", height=250, crop=True)
        except OSError:
            continue  # half written, or no picture
        return page.link(image, os.path.relpath(pictures[name], here))
    return page.Markup("")


def _is_tall(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height > 2 * image.width
    except OSError:
        return True
