"""Anomaly-detection builders on small fake packages, without network."""

import dataclasses
import hashlib
import importlib
import lzma

import numpy as np
import pytest

from jaxdl.data.dataset import Dataset
from jaxdl.data.splits import PARTS
from jaxdl.data.store.tfds import tensorflow_datasets

tensorflow_datasets()  # builders import it absolutely, after the preparation of paths here
shuttle, credit_default = (
    importlib.import_module(f"jaxdl.data.builders.{name}") for name in ("shuttle", "credit_default")
)
STATES = ("Rad.Flow", "High", *shuttle.ANOMALOUS)


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """`offer(module, content)`: puts the module's file into JAXDL_SOURCES."""

    def make(module, content):
        folder = tmp_path / "offered"
        folder.mkdir()
        (folder / module.MEMBER.rsplit("/", 1)[-1]).write_bytes(content)
        monkeypatch.setenv("JAXDL_SOURCES", str(folder))
        members = {module.MEMBER: hashlib.sha256(content).hexdigest()}
        monkeypatch.setattr(module, "SOURCE", dataclasses.replace(module.SOURCE, members=members))

    return make


def loaded(name):
    sources = {part: Dataset(name, part).load() for part in PARTS}
    return sources, {part: source.read(np.arange(len(source))) for part, source in sources.items()}


def shuttle_file(path, readings, states):
    rdata, pandas = pytest.importorskip("rdata"), pytest.importorskip("pandas")
    frame = pandas.DataFrame({f"V{number + 1}": readings[:, number] for number in range(9)})
    frame["Class"] = pandas.Categorical([STATES[state] for state in states], categories=list(STATES))
    rdata.write_rda(path, {"Shuttle": frame})
    return path.read_bytes()


def test_shuttle_is_split_by_state(offer, tmp_path):
    draws = np.random.default_rng(0)
    readings = draws.integers(-50, 100, (600, 9)).astype(np.float64)
    readings[0, 1] = -4821.0
    states = draws.choice(len(STATES), 600, p=[0.5, 0.2, 0.06, 0.06, 0.06, 0.06, 0.06])
    offer(shuttle, shuttle_file(tmp_path / "made.rda", readings, states))
    sources, batches = loaded("shuttle")

    assert sources["test"].names["label"] == ("normal", "anomalous")
    rows = {part: np.stack([batch[name] for name in shuttle.READINGS], axis=1) for part, batch in batches.items()}
    selected = states != 1
    assert sum(map(len, rows.values())) == selected.sum()
    # Every row except High is in one part, with its state and label.
    state_of = {tuple(row): STATES[state] for row, state in zip(readings[selected], states[selected])}
    assert len(state_of) == selected.sum()
    for part, batch in batches.items():
        names = [sources[part].names["state"][number] for number in batch["state"]]
        assert names == [state_of.pop(tuple(row)) for row in rows[part].astype(np.float64)]
        assert batch["label"].tolist() == [int(state != "Rad.Flow") for state in names]
    assert not state_of
    assert not batches["train"]["label"].any()
    normal = np.array([np.sum(batches[part]["label"] == 0) for part in PARTS])
    anomalous = np.array([np.sum(batches[part]["label"] == 1) for part in PARTS])
    np.testing.assert_allclose(normal / normal.sum(), [0.5, 0.25, 0.25], atol=0.08)
    np.testing.assert_allclose(anomalous / anomalous.sum(), [0, 0.5, 0.5], atol=0.12)


def test_the_split_of_a_row_depends_on_its_readings_only():
    draws = np.random.default_rng(1)
    readings = draws.integers(0, 9, (40, 9)).astype(np.float64)
    readings = np.concatenate([readings, readings])
    columns = {f"V{number + 1}": readings[:, number] for number in range(9)}
    columns["Class"] = np.array(["Rad.Flow"] * 80)
    backwards = {name: column[::-1] for name, column in columns.items()}

    def members(columns, part):
        return sorted(tuple(row[name] for name in shuttle.READINGS) for row in shuttle.rows_of(columns, part))

    for part in PARTS:
        rows = members(columns, part)
        assert rows == members(backwards, part)
        assert rows[::2] == rows[1::2]  # both with equal rows
    assert sum(len(members(columns, part)) for part in PARTS) == 80


def test_credit_default_is_split_by_label(offer, monkeypatch):
    draws = np.random.default_rng(0)
    columns = {
        "rownames": np.arange(300),
        "default": np.where(draws.uniform(size=300) < 0.3, "Yes", "No").astype(object),
        "student": np.where(draws.uniform(size=300) < 0.4, "Yes", "No").astype(object),
        "balance": draws.uniform(0, 2000, 300),
        "income": draws.uniform(1e4, 6e4, 300),
    }
    offer(credit_default, lzma.compress(b"a frame"))
    monkeypatch.setattr(credit_default, "read_frame", {b"a frame": columns}.__getitem__)
    sources, batches = loaded("credit_default")
    assert sources["train"].names == {"student": ("No", "Yes"), "label": ("pays", "defaults")}
    assert not batches["train"]["label"].any()
    labels = {
        (round(float(balance), 2), int(student), int(label))
        for batch in batches.values()
        for balance, student, label in zip(batch["balance"], batch["student"], batch["label"])
    }
    rows = zip(columns["balance"].astype(np.float32), columns["student"], columns["default"])
    assert labels == {
        (round(float(balance), 2), int(student == "Yes"), int(default == "Yes")) for balance, student, default in rows
    }
    assert sum(len(batch["label"]) for batch in batches.values()) == 300
    anomalous = [int(batches[part]["label"].sum()) for part in ("validation", "test")]
    assert min(anomalous) > 0.3 * sum(anomalous)
