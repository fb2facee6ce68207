"""Recipes: discovery, import, listing, and one-line errors."""

import sys
import textwrap

import pytest

from jaxdl.config import describe, resolve
from jaxdl.config.experiment import build
from jaxdl.config.overrides import as_overrides
from jaxdl.config.recipes import (
    load_recipe,
    recipes,
    repository_root,
    sweep,
)
from jaxdl.config.serialize import accept, from_json, to_json
from jaxdl.data.synthetic.images import MockImages
from jaxdl.errors import UserError
from jaxdl.testing import tiny


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """User folder outside the repository; its imports are removed after the test."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def reloaded(config, recipe):
    text = to_json(config, recipe.name)
    accept(text)
    return from_json(text).config


RECIPE = '''
    """Tulips by petal.

    Result: none recorded yet
    """

    import optax
    from fiddle.experimental.auto_config import auto_config
    from {model} import PetalNet
    from jaxdl.data.dataset import Data
    from jaxdl.data.synthetic.images import MockImages
    from jaxdl.config.experiment import Experiment
    from jaxdl.tasks.image_classification import ImageClassification

    METRIC = "validation/accuracy"

    @auto_config
    def experiment(steps: int = 10, width: int = 4):
        return Experiment(
            task=ImageClassification(PetalNet(width)),
            data=Data(train=MockImages(), evals={{"validation": MockImages(split="validation")}}, batch_size=8),
            optimizers={{"train": optax.adam(1e-3)}},
            steps=steps,
        )

    def tiny():
        config = experiment.as_buildable(steps=2)
        config.data.train = MockImages(examples=8)
        return config

    def sweep():
        return [{{"width": width, "seed": seed}} for width in (4, 8) for seed in (0, 1)]
'''
MODEL = """
    import flax.linen as nn

    def petal(x):
        return x * nn.sigmoid(x)

    class PetalNet(nn.Module):
        width: int
        activation: object = petal

        @nn.compact
        def __call__(self, image, *, train):
            return nn.Dense(10)(self.activation(nn.Dense(self.width)(image.reshape(image.shape[0], -1))))
"""


def test_a_recipe_in_a_user_folder_imports_its_model(folder):
    write(folder / "petal_net.py", MODEL)
    path = write(folder / "tulips.py", RECIPE.format(model="petal_net"))
    recipe = load_recipe("tulips.py")
    assert recipe.path == path
    assert recipe.name == str(path)
    assert load_recipe(str(path)).module is recipe.module
    config = resolve(recipe, ["task.model.width=6"])
    text = to_json(config, recipe.name, ["task.model.width=6"])
    accept(text)
    saved = from_json(text)
    assert saved.config == config
    assert (saved.recipe, saved.overrides) == (str(path), ("task.model.width=6",))
    assert build(saved.config).steps == 10
    sys.path.remove(str(folder))  # as in another process
    del sys.modules["tulips"], sys.modules["petal_net"]
    assert describe(from_json(text).config) == describe(config)


def test_a_recipe_in_a_package_is_imported_under_its_dotted_name(folder):
    write(folder / "mylab_a" / "__init__.py", "")
    write(folder / "mylab_a" / "nets.py", MODEL)
    write(folder / "mylab_a" / "recipes" / "__init__.py", "")
    write(folder / "mylab_a" / "recipes" / "tulips.py", RECIPE.format(model="mylab_a.nets"))
    by_path = load_recipe("mylab_a/recipes/tulips.py")
    assert by_path.module.__name__ == "mylab_a.recipes.tulips"
    assert by_path.family == "recipes"
    assert load_recipe("mylab_a.recipes.tulips").module is by_path.module


def test_a_recipe_of_an_installed_package_keeps_its_dotted_name(folder):
    installed = folder / "installed"
    write(installed / "mylab_b" / "__init__.py", "")
    write(installed / "mylab_b" / "nets.py", MODEL)
    write(installed / "mylab_b" / "tulips.py", RECIPE.format(model="mylab_b.nets"))
    sys.path.append(str(installed))
    recipe = load_recipe("mylab_b.tulips")
    assert recipe.name == "mylab_b.tulips"
    config = resolve(recipe)
    assert reloaded(config, recipe) == config


def test_recipes_of_the_repository_load_by_path_and_by_dotted_name(folder):
    recipe = recipes(repository_root())[0]
    by_path, by_name = load_recipe(recipe.name), load_recipe(recipe.name.removesuffix(".py").replace("/", "."))
    assert by_path.module is by_name.module
    assert by_path.name == by_name.name == recipe.name
    assert by_path.family == recipe.family


def test_tiny_and_sweep_of_a_user_recipe(folder):
    write(folder / "petal_net_2.py", MODEL)
    write(folder / "tulips_2.py", RECIPE.format(model="petal_net_2"))
    recipe = load_recipe("tulips_2.py")
    config = tiny(recipe)
    assert build(config).data.train == MockImages(examples=8)
    assert reloaded(config, recipe) == config
    assert build(resolve(config, ["data.train.examples=9"])).data.train == MockImages(examples=9)
    runs = [build(resolve(recipe, as_overrides(run))) for run in sweep(recipe)]
    assert [run.seed for run in runs] == [0, 1, 0, 1]
    del vars(recipe.module)["sweep"]
    assert sweep(recipe) == [{"seed": seed} for seed in range(5)]


def test_missing_recipe_error_suggests_the_nearest_name():
    with pytest.raises(UserError, match=r"no file 'experiments/cnn/digitz\.py'; did you mean 'experiments/cnn/digits"):
        load_recipe("experiments/cnn/digitz.py")
    with pytest.raises(UserError, match=r"no recipe 'no.such.recipe'; "):
        load_recipe("no.such.recipe")


def test_missing_recipe_error_suggests_a_recipe_in_the_same_folder(folder):
    (folder / "flowers.py").write_text("def experiment(): ...")
    (folder / "flower_.py").write_text("width = 3")  # not a recipe
    with pytest.raises(UserError, match=r"did you mean '.*flowers\.py'"):
        load_recipe(str(folder / "flower.py"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", r"broken\.py:1: SyntaxError: '\(' was never closed"),
        ("\nimport no_such_module", r"broken\.py:2: ModuleNotFoundError: No module named 'no_such_module'"),
        ("\n\nx = undefined", r"broken\.py:3: NameError: name 'undefined'"),
        ("def experiment(): ...", r"broken\.py has no recipe: define `experiment"),
        ("", r"broken\.py has no recipe"),
        (
            "from fiddle.experimental.auto_config import auto_config\n@auto_config\ndef experiment():\n"
            "    for _ in range(3): pass",
            r"broken\.py:4: \w+: Control flow \(For\).* move the expression to a plain function",
        ),
    ],
)
def test_error_in_a_recipe_file_is_one_line_with_its_location(folder, text, message):
    (folder / "broken.py").write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        load_recipe("broken.py")
    assert "\n" not in str(raised.value)


def test_error_inside_experiment_is_one_line_with_its_location(folder):
    text = "from fiddle.experimental.auto_config import auto_config\n@auto_config\ndef experiment(n: int = 1):\n"
    (folder / "raising.py").write_text(text + "    return slice_of(3 // n)\ndef slice_of(n): return n")
    recipe = load_recipe("raising.py")
    with pytest.raises(UserError, match=r"raising\.py:4: ZeroDivisionError"):
        resolve(recipe, ["n=0"])
    with pytest.raises(UserError, match=r"raising\.py does not return an Experiment"):
        resolve(recipe, [])


def test_module_name_of_another_file_raises(folder):
    text = "from fiddle.experimental.auto_config import auto_config\n@auto_config\ndef experiment(): return None"
    write(folder / "a" / "twin_recipe.py", text)
    write(folder / "b" / "twin_recipe.py", text)
    load_recipe("a/twin_recipe.py")
    with pytest.raises(UserError, match=r"b/twin_recipe\.py would be imported as 'twin_recipe', which is .*a/twin"):
        load_recipe("b/twin_recipe.py")
    write(folder / "json.py", text)
    with pytest.raises(UserError, match="rename the file"):
        load_recipe("json.py")
    write(folder / "a" / "twin_net.py", MODEL)
    write(folder / "b" / "twin_net.py", MODEL)
    write(folder / "a" / "first_tulips.py", RECIPE.format(model="twin_net"))
    write(folder / "b" / "second_tulips.py", RECIPE.format(model="twin_net"))
    load_recipe("a/first_tulips.py")
    with pytest.raises(UserError, match=r"second_tulips\.py:9: 'twin_net' is already imported from .*a/twin_net"):
        load_recipe("b/second_tulips.py")
    write(folder / "not-a-name.py", text)
    with pytest.raises(UserError, match="rename it to a Python name"):
        load_recipe("not-a-name.py")


def test_recipes_are_listed_without_importing_them(folder):
    write(folder / "experiments" / "gan" / "tulips.py", RECIPE.format(model="no_such_model"))
    write(folder / "experiments" / "gan" / "shared.py", "x = 1")
    write(folder / "experiments" / "gan" / "__init__.py", "")
    write(folder / "experiments" / "rnn" / "torn.py", "x = (")
    tulips, torn = recipes(folder)
    assert (tulips.name, tulips.family, tulips.title) == ("experiments/gan/tulips.py", "gan", "Tulips by petal")
    assert tulips.metric == "validation/accuracy"
    assert torn.title.startswith("experiments/rnn/torn.py:1: ")


def test_a_module_shared_by_two_arguments_stays_shared(folder):
    write(folder / "petal_net_3.py", MODEL)
    twins = """
    def twins(first, second):
        return ImageClassification(first, top=(1, first.width) if first is second else (1,))
    """
    text = RECIPE.format(model="petal_net_3").replace("ImageClassification(PetalNet(width))", "twins(model, model)")
    text = text.replace("@auto_config", f"{twins.strip()}\n\n    @auto_config")
    write(
        folder / "shared_tulips.py",
        text.replace("return Experiment(", "model = PetalNet(width)\n        return Experiment("),
    )
    recipe = load_recipe("shared_tulips.py")
    config = resolve(recipe, ["task.second.width=9"])
    assert vars(build(config).task)["top"] == (1, 9)
    loaded = reloaded(config, recipe)
    assert vars(build(loaded).task)["top"] == (1, 9)


def test_modules_with_a_leading_underscore_are_not_recipes(tmp_path):
    for name in ("experiments/_data.py", "experiments/cnn/_parts.py", "experiments/cnn/flowers.py"):
        write(tmp_path / name, "def experiment(): ...")
    assert [recipe.name for recipe in recipes(tmp_path)] == ["experiments/cnn/flowers.py"]
