"""Directive `recipe-gallery`: every recipe with its recorded result, its baseline, a picture and its command."""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from jaxdl.config.recipes import RecipeFile, recipes
from jaxdl.report.intervals import mean_interval
from jaxdl.runs.baselines import Baseline, read_baselines
from jaxdl.runs.ledger import Summary, figure, minutes, summaries, tflop

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "images" / "gallery"
FAMILIES = {
    "cnn": "Convolutional networks",
    "rnn": "Recurrent networks",
    "autoencoder": "Autoencoders and VAEs",
    "gan": "GANs",
    "diffusion": "Diffusion models",
    "transformer": "Transformers",
}


class Gallery(SphinxDirective):
    """Cards of the recipes, by family."""

    def run(self) -> list[nodes.Node]:
        files, results, baselines = recipes(ROOT), summaries(ROOT), read_baselines(ROOT)
        lines = []
        for family, title in FAMILIES.items():
            lines += [f"## {title}", "", "::::{grid} 1 1 2 2", ":gutter: 3", ""]
            own = sorted((file for file in files if file.family == family), key=lambda file: file.name not in results)
            for file in own:
                lines += _card(file, results.get(file.name), baselines.get(file.name))
            lines += ["::::", ""]
        container = nodes.container()
        self.state.nested_parse(StringList(lines, source=self.env.docname), self.content_offset, container)
        return container.children


def _card(recipe: RecipeFile, result: Summary | None, baseline: Baseline | None) -> list[str]:
    name = recipe.name.removeprefix("experiments/").removesuffix(".py")
    picture = PICTURES / f"{name.replace('/', '_')}.webp"
    lines = [f":::{{grid-item-card}} {name}", ""]
    if picture.is_file():
        lines += [f"```{{image}} images/gallery/{picture.name}", f":alt: predictions of {name}", "```", ""]
    lines += [
        _with_links(recipe.title),
        "",
        *_facts(result, baseline),
        "",
        "```bash",
        f"jaxdl --config={recipe.name}",
        "```",
    ]
    return [*lines, ":::", ""]


def _facts(result: Summary | None, baseline: Baseline | None) -> list[str]:
    if result is None:
        return ["No result is recorded yet."]
    interval = mean_interval(result.values)
    unit = f" ({baseline.unit})" if baseline is not None and baseline.unit else ""
    facts = [f"- **{figure(result.mean, result.std)}** {result.metric}{unit}"]
    facts += [f"- 95% interval {figure(interval.low)} to {figure(interval.high)}"] if interval else []
    facts += [f"- baseline {baseline}"] if baseline is not None and baseline.value is not None else []
    spent = f"{minutes(result.minutes)} min" + ("" if result.tflop is None else f", {tflop(result.tflop)} TFLOP")
    seeds = "1 seed" if result.seeds == 1 else f"{result.seeds} seeds"
    return [*facts, f"- {seeds}, {spent} on {result.device}"]


def _with_links(text: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("recipe-gallery", Gallery)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
