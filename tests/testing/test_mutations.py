"""Mutation tests: each law fails if the code is broken on purpose."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fakes import Duel, Regression, duel_experiment, regression_experiment

from jaxdl.config.experiment import build
from jaxdl.config.recipes import load_recipe
from jaxdl.data import inputs, pipeline
from jaxdl.data.text import sentences
from jaxdl.distributed import mesh as meshes
from jaxdl.models import rnn
from jaxdl.tasks.language_modelling import LanguageModelling
from jaxdl.testing import tiny
from jaxdl.testing.files import law_files
from jaxdl.testing.laws import (
    Bench,
    law_accumulation,
    law_causal,
    law_devices,
    law_devices_and_accumulation,
    law_evaluation,
    law_forward_mode,
    law_ids,
    law_learns,
    law_padding,
    law_pmap,
    law_predicts,
    law_repeatable,
    law_resumable,
)
from jaxdl.testing.pictures import law_pictures
from jaxdl.training import checkpoint, compiled, ids, step
from jaxdl.training.task import Term
from jaxdl.viz.classification import ClassificationPresentation


def broken(law, *arguments) -> None:
    with pytest.raises(AssertionError):
        law(*arguments)


def test_the_laws_hold_without_mutation():
    bench = Bench(regression_experiment())
    law_repeatable(bench)
    law_accumulation(bench)
    law_devices_and_accumulation(bench)
    law_learns(bench)


def test_1_detects_a_batch_from_global_randomness(monkeypatch):
    make = pipeline.Batches.make
    random = np.random.default_rng(0)

    def shuffled(self, positions):
        return make(self, positions + random.integers(0, 9))

    monkeypatch.setattr(pipeline.Batches, "make", shuffled)
    broken(law_repeatable, Bench(duel_experiment()))


def test_2_detects_data_that_restart_after_a_resume(monkeypatch, tmp_path):
    iterate = pipeline.Batches.iterate
    monkeypatch.setattr(pipeline.Batches, "iterate", lambda self, start, place: iterate(self, 0, place))
    broken(law_resumable, Bench(duel_experiment()), tmp_path)


def test_2_detects_a_skipped_batch_after_a_resume(monkeypatch, tmp_path):
    iterate = pipeline.Batches.iterate
    monkeypatch.setattr(
        pipeline.Batches, "iterate", lambda self, start, place: iterate(self, start + (start > 0), place)
    )
    broken(law_resumable, Bench(duel_experiment()), tmp_path)


@pytest.mark.parametrize("forgotten", ["ema", "carry", "opt_state"])
def test_2_detects_an_incomplete_checkpoint(monkeypatch, tmp_path, forgotten):
    items = checkpoint.items_of

    def without(state):
        zeros = jax.tree.map(jnp.zeros_like, getattr(state, forgotten)) if hasattr(state.step, "devices") else None
        return items(state if zeros is None else state.replace(**{forgotten: zeros}))

    monkeypatch.setattr(checkpoint, "items_of", without)
    monkeypatch.setattr(checkpoint, "digests_of", lambda state: {})
    monkeypatch.setattr(checkpoint, "state_digest", lambda tree: ({}, ""))
    broken(law_resumable, Bench(duel_experiment()), tmp_path)


@pytest.mark.parametrize("law", [law_devices, law_devices_and_accumulation])
def test_3_detects_duplicated_rows(monkeypatch, law):
    place = meshes.place_batch

    def doubled(mesh, mode, batch):
        if mesh.size > 1:
            half = len(batch["index"]) // 2
            batch = {name: np.concatenate([array[:half], array[:half]]) for name, array in batch.items()}
        return place(mesh, mode, batch)

    monkeypatch.setattr(meshes, "place_batch", doubled)
    broken(law, Bench(duel_experiment()))


def test_4_detects_sums_without_all_reduce(monkeypatch):
    monkeypatch.setattr(step, "over_devices", lambda sums, axis_name: sums)
    broken(law_pmap, Bench(duel_experiment()))


@pytest.mark.parametrize("law", [law_accumulation, law_devices_and_accumulation])
def test_5_detects_a_loss_that_is_a_mean(law):
    class MeanRegression(Regression):
        def loss(self, *inputs):
            outcome = super().loss(*inputs)
            term = outcome.terms["square"]
            return outcome._replace(terms={"square": Term(term.sum / term.weight, jnp.ones(()))})

    broken(law, Bench(regression_experiment(task=MeanRegression())))


def test_5_detects_draws_by_position_in_the_batch(monkeypatch):
    def by_place(key, batch):
        return jax.random.split(key, batch["index"].shape[0])

    monkeypatch.setattr("fakes.example_keys", by_place)
    broken(law_accumulation, Bench(duel_experiment()))


def test_6_detects_padding_with_weight(monkeypatch):
    finish = pipeline._finish

    def heavy(batch, index, weight):
        return finish(batch, index, np.ones_like(weight))

    monkeypatch.setattr(pipeline, "_finish", heavy)
    broken(law_evaluation, Bench(duel_experiment()))


def test_7_detects_an_optimizer_without_updates():
    broken(law_learns, Bench(regression_experiment(optimizers={"train": optax.set_to_zero()})))


def test_9_detects_a_nonfinite_prediction():
    class NanDuel(Duel):
        def predict(self, params, variables, batch, key):
            return {"x": batch["x"] * jnp.nan}

    broken(law_predicts, Bench(duel_experiment(task=NanDuel())))


def test_10_detects_a_model_that_is_not_causal(monkeypatch):
    causal = LanguageModelling.causal

    def reversed_causal(self, params, variables, batch):
        return causal(self, params, variables, {**batch, "tokens": batch["tokens"][:, ::-1]})[:, ::-1]

    monkeypatch.setattr(LanguageModelling, "causal", reversed_causal)
    broken(law_causal, Bench(build(tiny(load_recipe("experiments/rnn/austen_chars.py")))))


def test_11_detects_a_recurrence_over_padding(monkeypatch):
    monkeypatch.setattr(rnn, "time_major", lambda mask: None)
    broken(law_padding, Bench(build(tiny(load_recipe("experiments/rnn/sentiment.py")))))


@pytest.mark.parametrize("recipe", ["cnn/pets_segmentation", "cnn/resnet_finetune"])
def test_11_images_framed_by_a_constant_of_the_task(monkeypatch, recipe):
    bench = Bench(build(tiny(load_recipe(f"experiments/{recipe}.py"))))
    law_files(bench)
    preprocessing = inputs.ImagePreprocessing
    monkeypatch.setattr(inputs, "ImagePreprocessing", lambda transforms, *rest: preprocessing((), *rest))
    broken(law_files, bench)


def test_11_texts_that_prediction_does_not_truncate(monkeypatch):
    config = tiny(load_recipe("experiments/rnn/sentiment.py"))
    for dataset in (config.data.train, *config.data.evals.values()):
        dataset.length = 2
    bench = Bench(build(config))
    law_files(bench)
    as_examples = sentences.as_examples
    monkeypatch.setattr(sentences, "as_examples", lambda *rest, length, **options: as_examples(*rest, **options))
    broken(law_files, bench)


@pytest.mark.parametrize("recipe", ["experiments/cnn/digits.py", "experiments/transformer/austen_gpt.py"])
def test_12_ids_that_are_not_checked(monkeypatch, recipe):
    bench = Bench(build(tiny(load_recipe(recipe))))
    law_ids(bench)
    monkeypatch.setattr(ids, "check_batch", lambda *arguments: None)
    monkeypatch.setattr(compiled, "check_batch", lambda *arguments: None)
    broken(law_ids, bench)


def test_12_tokens_whose_ids_are_not_declared(monkeypatch):
    monkeypatch.setattr(LanguageModelling, "id_ranges", lambda self, *shapes: [])
    broken(law_ids, Bench(build(tiny(load_recipe("experiments/transformer/austen_gpt.py")))))


def test_13_detects_a_gradient_without_forward_mode():
    @jax.custom_vjp
    def root(x):
        return jnp.sqrt(x)

    root.defvjp(lambda x: (jnp.sqrt(x), x), lambda x, gradient: (gradient / (2 * jnp.sqrt(x)),))

    class ReverseModeRegression(Regression):
        def loss(self, *inputs):
            outcome = super().loss(*inputs)
            term = outcome.terms["square"]
            return outcome._replace(terms={"square": Term(root(term.sum), term.weight)})

    law_forward_mode(Bench(regression_experiment()))
    broken(law_forward_mode, Bench(regression_experiment(task=ReverseModeRegression())))


@pytest.mark.parametrize(
    ("method", "value"),
    [("pictures", {"gray": np.zeros((2, 2), np.uint8)}), ("readable", {"label": float("nan")})],
)
def test_14_detects_a_picture_in_gray_and_a_row_that_is_not_json(monkeypatch, method, value):
    bench = Bench(build(tiny(load_recipe("experiments/cnn/digits.py"))))
    law_pictures(bench)
    monkeypatch.setattr(ClassificationPresentation, method, lambda *arguments: value)
    broken(law_pictures, bench)
