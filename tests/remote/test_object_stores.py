"""Data and runs in an S3 server on this machine."""

import json
import os
import random
import shutil
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from s3_server import BUCKET, client, s3_server
from survivors import launch, lines, result

import jaxdl
from jaxdl.commands.cli import main
from jaxdl.data.dataset import Dataset
from jaxdl.data.formats.token_file import TokenFile
from jaxdl.data.text.files import read_file
from jaxdl.errors import UserError
from jaxdl.home import expanded
from jaxdl.interop.huggingface.files import read_folder
from jaxdl.remote import local, mirror_of, url_of
from jaxdl.remote.store import Store
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.places import is_run
from jaxdl.runs.stored import staging_of
from jaxdl.training.checkpoint import InitFromRun

KILLS = int(os.environ.get("JAXDL_TEST_KILLS", "2"))
STEPS = 20


@pytest.fixture(scope="module")
def server():
    with s3_server() as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        client().mkdir(BUCKET)
        yield


@pytest.fixture
def store(server, tmp_path, monkeypatch, request) -> str:
    """URL of an empty folder in the bucket; mirrors are in a new folder."""
    monkeypatch.setenv("JAXDL_DATA", str(tmp_path / "home"))
    return f"s3://{BUCKET}/{request.node.name.partition('[')[0]}"


def upload(folder: Path, url: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            client().put_file(str(path), f"{url.removeprefix('s3://')}/{path.relative_to(folder).as_posix()}")


def write_pictures(folder: Path) -> None:
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((4, 4, 3), 40 * number + len(label), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")


def write_tables(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.txt").write_text("one two\nthree four\nfive six\n")
    (folder / "pairs.tsv").write_text("good morning\tguten Morgen\nyes\tja\n")
    (folder / "labelled.csv").write_text("text,label\nnice,good\npoor,bad\n")
    (folder / "series.csv").write_text("time,value\n" + "".join(f"{n},{n}\n" for n in range(9)))
    np.arange(100, dtype=np.uint16).tofile(folder / "ids.bin")


def test_data_of_a_store_are_those_of_a_local_folder(store, tmp_path):
    write_pictures(tmp_path / "pictures")
    write_tables(tmp_path / "tables")
    upload(tmp_path / "pictures", f"{store}/pictures")
    upload(tmp_path / "tables", f"{store}/tables")
    kinds = {"folder": "pictures", "text": "tables/a.txt", "pairs": "tables/pairs.tsv"}
    kinds |= {"labelled": "tables/labelled.csv", "csv": "tables/series.csv"}
    for kind, path in kinds.items():
        here, there = (Dataset(f"{kind}:{root}/{path}", "train").load() for root in (tmp_path, store))
        assert here.fingerprint == there.fingerprint
        assert len(here) == len(there)
    ids = [TokenFile(f"{root}/tables/ids.bin", 8, type="uint16").load() for root in (tmp_path, store)]
    assert ids[0].fingerprint == ids[1].fingerprint
    windows = [source.read(np.array([1]))["tokens"] for source in ids]
    np.testing.assert_array_equal(windows[0], windows[1])
    assert read_file(f"{store}/tables/a.txt") == (tmp_path / "tables" / "a.txt").read_text()
    assert (read_folder(f"{store}/pictures") / "cat" / "0.png").is_file()


def test_a_mirror_follows_its_objects(store, tmp_path):
    write_pictures(tmp_path / "pictures")
    upload(tmp_path / "pictures", store)
    place = local(store)
    assert place == mirror_of(store)
    assert url_of(place / "cat") == f"{store}/cat"
    kept, before = place / "cat" / "0.png", (place / "cat" / "0.png").stat()
    fs, key = client(), store.removeprefix("s3://")
    fs.pipe_file(f"{key}/dog/0.png", (tmp_path / "pictures" / "cat" / "2.png").read_bytes())
    fs.rm_file(f"{key}/dog/1.png")
    (place / "dog" / "2.png").write_bytes(b"damaged")
    (place / "extra").mkdir()
    (place / "extra" / "of.png").write_bytes(b"mine")
    assert local(Path(store)) == place
    assert (place / "dog" / "0.png").read_bytes() == (tmp_path / "pictures" / "cat" / "2.png").read_bytes()
    assert (place / "dog" / "2.png").read_bytes() == (tmp_path / "pictures" / "dog" / "2.png").read_bytes()
    assert sorted(path.name for path in (place / "dog").iterdir()) == ["0.png", "2.png"]
    assert not (place / "extra").exists()
    assert kept.stat().st_ino == before.st_ino, "an unchanged object is not downloaded again"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://bucket/nothing", "s3://bucket/nothing does not exist"),
        ("s3://other/nothing", "cannot read s3://other/nothing: .*bucket does not exist; create the bucket"),
        ("ftp://bucket/a", "the scheme 'ftp' is not supported; names that exist: az, gs, s3"),
        ("az://bucket/a", "az:// needs adlfs: pip install adlfs"),
        ("s3://bucket/a/../b", "is not a URL of an object store; write s3://BUCKET/FOLDER"),
        ("s3://", "is not a URL of an object store"),
    ],
)
def test_urls_that_cannot_be_read_are_refused(store, url, message):
    with pytest.raises(UserError, match=message):
        local(url)


def test_an_unreachable_store_is_refused_in_one_line(store, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UserError, match=r"cannot read s3://bucket/a: Could not connect.*check the credentials"):
        local("s3://bucket/a")


def test_a_missing_package_is_named_with_its_extra(store, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"s3:// needs fsspec: pip install -e '.\[cloud\]'"):
        Store("s3://bucket/a")


def test_urls_do_not_become_local_folders(store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for refusing in (expanded, is_run, RunFolder):
        with pytest.raises(UserError, match="s3://bucket/a is a URL, and only a local path is supported here"):
            refusing("s3://bucket/a")
    recipe = "--config=tests/survivor.py"
    commands = [
        (["sweep", recipe, "--workdir=s3://bucket/a"], "--workdir=s3://bucket/a is a URL"),
        (["train", recipe, "--each=seed=1", "--workdir=gs://bucket/a"], "--workdir=gs://bucket/a is a URL"),
        (["train", "--config=gs://bucket/a.py"], "--config=gs://bucket/a.py is a URL"),
        (["train", recipe, "--workdir=s3://bucket"], "is a whole bucket; name a folder in it"),
        (["train", recipe, "--workdir=gs://"], "gs:// is not a URL of an object store"),
        (["train", recipe, "--workdir=x://bucket/a"], "the scheme 'x' is not supported"),
        (["export", "runs/a", "--output=s3://bucket/a"], "--output=s3://bucket/a is a URL"),
        (["report", "runs", "--output=s3://bucket/a.html"], "--output=s3://bucket/a.html is a URL"),
        (["eval", "s3://bucket/a", "--examples"], "writes no files there; drop --examples"),
        (["eval", "s3://bucket/a", "--follow"], "writes no files there; give a local or mounted folder"),
        (["eval", "s3://bucket/a"], "s3://bucket/a does not exist"),
    ]
    for words, message in commands:
        assert main(words) == 2
        assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] in ([], ["home"])


def test_commands_read_a_run_that_is_trained_in_a_store(store, tmp_path, monkeypatch, capsys):
    config = "--config=tests/survivor.py"
    assert main(["train", config, "--set=steps=5", f"--workdir={store}/runs/a"]) == 0
    shutil.rmtree(tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    assert main(["verify", f"{store}/runs/a"]) == 0
    assert main(["eval", f"{store}/runs/a", "--format=json"]) == 0
    metrics = json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "zero.png")
    client().put_file("zero.png", f"{store.removeprefix('s3://')}/images/zero.png")
    assert main(["predict", f"{store}/runs/a", f"{store}/images", "--format=json"]) == 0
    assert main(["report", f"{store}/runs", "--output=page.html"]) == 0
    assert "1 run(s) of 1 recipe(s)" in capsys.readouterr().out
    assert main(["verify", f"{store}/runs/a", "--accept"]) == 2
    assert main(["reproduce", f"{store}/runs/a"]) == 2
    assert "name a local folder with --output=DIR" in capsys.readouterr().err
    run = jaxdl.load(f"{store}/runs/a")
    assert run.metrics == metrics
    assert run.step == 5
    zeros = run.trained.state.replace(params=jax.tree.map(lambda leaf: leaf * 0, run.params))
    loaded = InitFromRun(f"{store}/runs/a", tuple(run.params)).load(zeros)
    assert all(map(np.array_equal, jax.tree.leaves(loaded.params), jax.tree.leaves(run.params)))
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["home"]


@pytest.mark.slow
def test_a_run_in_a_store_that_is_killed_equals_a_local_one(store, tmp_path):
    """Kills at random times; after some of them, the next attempt is on a new machine."""
    url, flags, chance = f"{store}/killed", (f"--set=steps={STEPS}",), random.Random(0)
    process = launch(tmp_path / "alone", *flags)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    for number in range(KILLS):
        process = launch(url, *flags, "--set=pause=0.1")
        assert process.stdout is not None
        for line in process.stdout:
            if "compiled in" in line:
                break
        time.sleep(chance.uniform(0.5, 1.5))
        process.kill()
        process.communicate(timeout=120)
        if number % 2 == 0:
            shutil.rmtree(tmp_path / "home")
    key = url.removeprefix("s3://")
    assert not client().exists(f"{key}/result.json"), "the kills came too late to test anything"
    assert client().exists(f"{key}/manifest.json"), "the kills came too early to test anything"
    process = launch(url, *flags, "--set=pause=0.1")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    copy = tmp_path / "copy"
    client().get(key, str(copy), recursive=True)
    alone = tmp_path / "alone"
    assert result(copy)["state_digest"] == result(alone)["state_digest"]
    assert lines(copy) == lines(alone)
    assert sorted(path.name for path in (copy / "checkpoints").iterdir()) == ["15", "20"]
    assert {p.relative_to(copy) for p in copy.rglob("*.json")} == {
        p.relative_to(staging_of(url)) for p in staging_of(url).rglob("*.json")
    }
