"""Ensembles: members equal single runs, outputs are averaged, tasks without average are refused."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from fakes import duel_experiment

from jaxdl.commands import export, train
from jaxdl.config import resolve
from jaxdl.config.experiment import build, validate
from jaxdl.config.recipes import load_recipe
from jaxdl.data.pipeline import eval_batches
from jaxdl.errors import UserError
from jaxdl.runs.restore import load_trained
from jaxdl.testing import tiny
from jaxdl.testing.laws import Bench, law_devices, law_pmap, law_resumable, without_dropout
from jaxdl.training.ensemble import member_seeds
from jaxdl.training.loop import check
from jaxdl.training.sources import training_batches

MEMBERS, SEED = 3, 5
FORECASTER, DETECTOR, CLASSIFIER = (
    f"experiments/{name}.py" for name in ("rnn/sales", "autoencoder/shuttle_anomaly", "cnn/digits")
)
RECIPE = '''
"""A linear classifier.

Result: none recorded yet
"""

import flax.linen as nn
import optax
from fiddle.experimental.auto_config import auto_config

from jaxdl import CheckpointPolicy, Data, Experiment
from jaxdl.data.synthetic.images import MockImages
from jaxdl.tasks.image_classification import ImageClassification


class Linear(nn.Module):
    @nn.compact
    def __call__(self, image, *, train):
        return nn.Dense(10)(image.reshape(image.shape[0], -1))


@auto_config
def experiment():
    images = MockImages(examples=24)
    data = Data(train=images, evals={"validation": images}, batch_size=8)
    return Experiment(
        task=ImageClassification(Linear()),
        data=data,
        optimizers={"train": optax.sgd(0.1)},
        steps=3,
        ensemble=2,
        eval_every=1,
        save_every=1,
        keep=CheckpointPolicy(metric="validation/loss"),  # the worst
        select="best",
    )
'''


def experiment_of(recipe, ensemble, seed=SEED):
    config = without_dropout(tiny(load_recipe(recipe)))
    return dataclasses.replace(build(config), ensemble=ensemble, seed=seed)


@pytest.fixture(scope="module", params=[FORECASTER, DETECTOR, CLASSIFIER])
def trained(request):
    """An ensemble and its members as single runs, after three steps: (bench, state, losses) of each."""

    def run(bench):
        return bench, *bench.steps(bench.program(), 3)

    seeds = member_seeds(SEED, MEMBERS)
    singles = [run(Bench(experiment_of(request.param, None, seed))) for seed in seeds]
    return run(Bench(experiment_of(request.param, MEMBERS))), singles


def test_members_equal_runs_with_their_seeds(trained):
    (_, state, losses), singles = trained
    for member, (_, alone, _) in enumerate(singles):
        jax.tree.map(
            lambda ours, theirs, member=member: np.testing.assert_allclose(ours[member], theirs, rtol=1e-5, atol=1e-5),
            (state.params, state.variables, state.ema),
            (alone.params, alone.variables, alone.ema),
        )
    np.testing.assert_allclose(losses, np.mean([losses for _, _, losses in singles], axis=0), rtol=1e-5)


def test_predictions_average_those_of_the_members(trained):
    (bench, state, _), singles = trained

    def predictions(bench, state):
        source = next(iter(bench.sources.evals.values()))
        return bench.program().predict(state, next(eval_batches(source, 5, bench.experiment.data.eval_transforms)))

    whole, parts = predictions(bench, state), [predictions(bench, state) for bench, state, _ in singles]
    averaged = {"quantiles", "probabilities", "score", "threshold", "errors"} & set(whole)
    assert averaged
    for name in averaged:
        mean = np.mean([part[name] for part in parts], axis=0)
        np.testing.assert_allclose(whole[name], mean, rtol=1e-4, atol=1e-5, err_msg=name)


def test_members_see_the_data_in_different_orders(trained):
    (bench, _, _), _ = trained
    program = bench.program()
    index = training_batches(bench.sources.train, program.experiment, program.rows).at(0)["index"]
    assert index.shape == (program.experiment.data.batch_size, MEMBERS)
    assert len({tuple(column) for column in index.T}) == MEMBERS


def test_an_ensemble_obeys_the_laws(tmp_path):
    bench = Bench(experiment_of(FORECASTER, 2))
    law_resumable(bench, tmp_path)
    law_devices(bench, accumulate=4)
    law_pmap(bench)


def test_ensembles_with_different_seeds_share_no_member():
    seeds = [seed for run in range(4) for seed in member_seeds(run, MEMBERS)]
    assert seeds == list(range(4 * MEMBERS))
    assert member_seeds(2**32 - 1, 4) == (2**32 - 4, 2**32 - 3, 2**32 - 2, 2**32 - 1)


def test_an_invalid_id_of_any_member_is_refused():
    bench = Bench(experiment_of(CLASSIFIER, 2))
    check(bench.program(), bench.sources)
    batch = {
        "image": np.zeros((16, 2, 8, 8, 1), np.uint8),
        "label": np.zeros((16, 2), np.int32),
        "weight": np.ones((16, 2), np.float32),
        "index": np.arange(32, dtype=np.int32).reshape(16, 2),
    }
    batch["label"][3, 1] = 10
    with pytest.raises(UserError, match="label has 1 id out of range, the first is 10 in example 7"):
        bench.program().place(batch)


def test_a_task_without_average_and_other_sizes_are_refused():
    with pytest.raises(UserError, match="ensemble: Duel has no average of several models; omit ensemble"):
        validate(dataclasses.replace(duel_experiment(), ensemble=2))
    with pytest.raises(UserError, match="ensemble is 0; expected at least 1"):
        build(resolve(load_recipe(CLASSIFIER), ["ensemble=0"]))


def test_a_run_of_an_ensemble_is_restored_and_exported(tmp_path):
    (tmp_path / "linear.py").write_text(RECIPE)
    run = str(tmp_path / "run")
    result = train.run(str(tmp_path / "linear.py"), [], run)
    trained = load_trained(run)
    assert int(trained.state.step) == result["selected_step"] == 1
    kernel = next(iter(jax.tree.leaves(trained.state.params)))
    assert kernel.shape[0] == 2
    export.run(run, None, str(tmp_path / "program"), "stablehlo")
    signature = json.loads((tmp_path / "program/signature.json").read_text())
    assert signature["classes"] == {"label": [f"class {number}" for number in range(10)]}
    with pytest.raises(UserError, match="is an ensemble, which has no Hugging Face format"):
        export.run(run, None, str(tmp_path / "model"))
