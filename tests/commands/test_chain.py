"""Chains of runs: the text that a run predicts is the input of the next."""

import json

import numpy as np
import pytest
from scipy.io import wavfile

import jaxdl
from jaxdl.commands import chain, predict
from jaxdl.commands.cli import main
from jaxdl.config.recipes import load_recipe
from jaxdl.errors import UserError
from jaxdl.runs.restore import load_trained
from jaxdl.testing import tiny

pytestmark = pytest.mark.filterwarnings("ignore:JAX was in use before jaxdl")
RECIPES = {
    "speech": "experiments/rnn/speech.py",
    "chat": "experiments/transformer/chat.py",
    "questions": "experiments/transformer/questions.py",
    "digits": "experiments/cnn/digits.py",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain")
    for name, recipe in RECIPES.items():
        config = tiny(load_recipe(recipe))
        config.steps = 1
        jaxdl.train(config, workdir=str(folder / name))
    return {name: str(folder / name) for name in RECIPES}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    noise = np.random.default_rng(0).integers(-3000, 3000, (2, 8000))
    for name, samples in zip("ab", noise):
        wavfile.write(folder / f"{name}.wav", 8000, samples.astype(np.int16))
    return [str(folder / f"{name}.wav") for name in "ab"]


@pytest.fixture
def spoken(monkeypatch):
    """Makes the speech run recognize given texts."""

    def say(*texts):
        said = iter(texts)

        def outputs_of(model, examples, original=chain.outputs_of):
            rows = original(model, examples)
            if "score" in rows[0] and "text" in rows[0]:
                rows = [{"text": next(said), "score": -1.0} for _ in rows]
            return rows

        monkeypatch.setattr(chain, "outputs_of", outputs_of)

    return say


def test_an_answer_is_that_of_the_second_run_to_the_recognized_text(runs, recordings, spoken, tmp_path):
    spoken("eb", "e")
    (tmp_path / "notes.txt").write_text("e b c d e b c d\n")
    rows = chain.run([runs["speech"], runs["questions"]], recordings, about=str(tmp_path / "notes.txt"))
    assert [(row["file"], row["text"], row["score"]) for row in rows] == [
        (recordings[0], "eb", -1.0),
        (recordings[1], "e", -1.0),
    ]
    for row in rows:
        (expected,) = predict.run(runs["questions"], [str(tmp_path / "notes.txt")], [row["text"]])
        assert (row["answer"], row["probability"]) == (expected["answer"], expected["probability"])


def test_a_language_model_replies_to_a_finished_line(runs, recordings, spoken):
    spoken("a cat", "dogs")
    rows = chain.run([runs["speech"], runs["chat"]], recordings)
    assert [row["prompt"] for row in rows] == ["a cat\n", "dogs\n"]
    expected = predict.run(runs["chat"], [], ["a cat\n", "dogs\n"])
    assert [row["continuation"] for row in rows] == [row["continuation"] for row in expected]


def test_outputs_of_later_runs_with_the_same_name_are_numbered(runs):
    (row,) = chain.run([runs["chat"], runs["chat"]], [], ["a cat"])
    assert row["prompt"] == "a cat"
    if row["continuation"].strip():
        assert row["prompt_2"] == row["continuation"].strip() + "\n"


def test_nothing_is_passed_on_from_silence(runs, recordings, spoken):
    spoken("", "a cat")
    silent, heard = chain.run([runs["speech"], runs["chat"]], recordings)
    assert set(silent) == {"file", "text", "score"}
    assert heard["prompt"] == "a cat\n"


def test_the_command_prints_all_outputs(runs, recordings, spoken, capsys):
    spoken("a cat", "dogs")
    command = ["predict", runs["speech"], *recordings, f"--then={runs['chat']}", "--format=json"]
    assert main(command) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == ["a cat", "dogs"]
    assert all({"prompt", "continuation"} <= set(row) for row in rows)


def test_runs_that_do_not_fit_are_refused(runs, recordings, spoken, capsys):
    with pytest.raises(UserError, match=f"{runs['digits']} predicts no text that --then could pass on"):
        chain.run([runs["digits"], runs["chat"]], ["a.png"])
    spoken("eb")
    with pytest.raises(UserError, match=f"--then={runs['digits']}: .* does not take texts"):
        chain.run([runs["speech"], runs["digits"]], recordings[:1])
    for flags, message in (
        (["--about=notes.txt"], "--about needs --then"),
        ([f"--then={runs['chat']}", "--pictures=here"], "--then does not take --pictures"),
    ):
        assert main(["predict", runs["speech"], recordings[0], *flags]) == 2
        assert message in capsys.readouterr().err


def test_tasks_declare_the_text_that_they_predict(runs):
    for name, key in (("speech", "text"), ("chat", "continuation"), ("questions", "answer"), ("digits", None)):
        trained = load_trained(runs[name])
        assert trained.task.presentation.text == key
