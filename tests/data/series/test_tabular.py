"""Tests of Tabular: scaling by training rows, categories, CSV files, one-line errors."""

import json

import numpy as np
import pytest
from fakes import Columns

from jaxdl.data.dataset import Dataset, origin, with_split
from jaxdl.data.series.rows import MockTable, Tabular
from jaxdl.data.source import ColumnSource
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError

COLUMNS = ("size", "kind", "price")
KINDS = ("red", "green", "blue")


class Table:
    """Table with the categorical column `kind`."""

    def __init__(self, kinds=KINDS, **columns):
        self.columns, self.kinds = {name: np.asarray(values) for name, values in columns.items()}, kinds

    def load(self):
        content = [self.kinds, {name: values.tolist() for name, values in self.columns.items()}]
        return ColumnSource(self.columns, digest_of(content), {"kind": self.kinds, "label": ("normal", "anomalous")})


def table(size, kind, price, label=None, **others):
    label = np.zeros(len(size), np.int32) if label is None else np.array(label, np.int32)
    return Table(
        size=np.array(size, np.float32),
        kind=np.array(kind, np.int32),
        price=np.array(price, np.int32),
        label=label,
        **others,
    )


TRAIN = table([1, 2, 3, 6], [0, 1, 1, 2], [10, 10, 30, 30])
TEST = table([3, 100], [2, 0], [20, -500], label=[0, 1])


def read(tabular):
    source = tabular.load()
    return source, source.read(np.arange(len(source)))


def test_rows_are_standardized_by_the_training_rows():
    source, batch = read(Tabular(TEST, TRAIN, COLUMNS))
    deviation = np.sqrt(np.mean((np.array([1, 2, 3, 6]) - 3.0) ** 2))
    expected = [[0, 0, 0, 1, 0], [97 / deviation, 1, 0, 0, -520 / 10]]
    np.testing.assert_allclose(batch["features"], expected, rtol=1e-6)
    assert batch["features"].dtype == np.float32
    assert batch["label"].tolist() == [0, 1]
    assert batch["label"].dtype == np.int32
    assert source.names["features"] == ("size", "kind=red", "kind=green", "kind=blue", "price")
    assert [float(text) for text in source.names["features_mean"]] == [3, 0, 0, 0, 20]
    assert [float(text) for text in source.names["features_deviation"]] == [float(deviation), 1, 1, 1, 10]
    assert source.names["label"] == ("normal", "anomalous")


def test_training_rows_have_mean_0_and_std_1():
    train = MockTable(rows=500)
    features = read(Tabular(train, train, ("x1", "x4", "x6")))[1]["features"]
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(features.std(0), 1, rtol=1e-5)


def test_anomalous_reference_rows_do_not_affect_scaling():
    mixed = table([1, 2, 1000, 3, 6], [0, 1, 2, 1, 2], [10, 10, 9000, 30, 30], label=[0, 0, 1, 0, 0])
    np.testing.assert_array_equal(
        read(Tabular(TEST, mixed, COLUMNS))[1]["features"], read(Tabular(TEST, TRAIN, COLUMNS))[1]["features"]
    )


def test_the_fingerprint_depends_on_rows_columns_and_scaling():
    altered = table([1, 2, 3, 7], [0, 1, 1, 2], [10, 10, 30, 30])
    tables = (
        Tabular(TEST, TRAIN, COLUMNS),
        Tabular(TRAIN, TRAIN, COLUMNS),
        Tabular(TEST, altered, COLUMNS),
        Tabular(TEST, TRAIN, COLUMNS[::-1]),
        Tabular(TEST, TRAIN, COLUMNS[:2]),
    )
    assert len({data.load().fingerprint for data in tables}) == len(tables)
    assert Tabular(TEST, TRAIN, COLUMNS).load().fingerprint == tables[0].load().fingerprint


def test_a_constant_column_is_zero_in_training():
    constant = table([5, 5, 5], [0, 0, 0], [1, 2, 3])
    features = read(Tabular(table([5, 7], [0, 1], [2, 2]), constant, ("size",)))[1]["features"]
    np.testing.assert_array_equal(features, [[0], [2]])


def test_rows_without_labels_are_normal():
    plain = Columns(size=np.arange(4.0))
    source, batch = read(Tabular(plain, plain, ("size",), label=""))
    assert batch["label"].tolist() == [0] * 4
    assert "label" not in source.names


def test_another_split_keeps_the_scaling():
    data = Tabular(Dataset("shuttle", "train"), Dataset("shuttle", "train"), ("v1",))
    test_data = with_split(data, "test[:10]")
    assert (test_data.table.split, test_data.reference.split) == ("test[:10]", "train")
    assert origin(data) == Dataset("shuttle", "train")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tabular(TEST, TRAIN, ()), "at least one column"),
        (lambda: Tabular(TEST, TRAIN, ("size", "size")), "each once"),
        (lambda: Tabular(TEST, TRAIN, ("size", "label")), "contains the label 'label'"),
        (lambda: Tabular(TEST, TRAIN, ("sise",)).load(), "the table has no column 'sise'; did you mean 'size'"),
        (lambda: Tabular(TEST, TRAIN, ("size",), label="fraud").load(), "no column 'fraud'"),
        (lambda: Tabular(TEST, table([1], [0], [1], label=[1]), COLUMNS).load(), "no normal row"),
        (
            lambda: Tabular(table([1, np.nan], [0, 0], [1, 1]), TRAIN, COLUMNS).load(),
            "row 1 of the table: 'size'",
        ),
        (lambda: Tabular(TEST, table([np.inf], [0], [1]), COLUMNS).load(), "row 0 of the reference: 'size'"),
        (
            lambda: Tabular(TEST, Table(("a", "b"), **TRAIN.columns), COLUMNS).load(),
            "differ in categories",
        ),
        (lambda: Tabular(TEST, table([1], [0], [1], image=np.zeros((1, 2))), ("image",)).load(), "no column 'image'"),
        (
            lambda: Tabular(
                table([1], [0], [1], image=np.zeros((1, 2))), table([1], [0], [1], image=np.zeros((1, 2))), ("image",)
            ).load(),
            r"shape \[1, 2\]; expected \[rows\]",
        ),
    ],
)
def test_invalid_tables_are_refused(make, message):
    with pytest.raises(UserError, match=message) as raised:
        make()
    assert "\n" not in str(raised.value)


def kept(tabular):
    """Returns the names of the training data, as stored in a run."""
    return json.loads(json.dumps({name: list(values) for name, values in tabular.load().names.items()}))


def test_a_csv_is_scaled_like_the_training_data(tmp_path):
    tabular = Tabular(TRAIN, TRAIN, COLUMNS)
    path = tmp_path / "mine.csv"
    path.write_text('price,owner,kind,size\n20,"Rome, Italy",blue,3\n-500,,red,1e2\n')
    names = kept(tabular)
    # Prediction does not need the training data.
    elsewhere = Tabular(Dataset("no_such_set", "train"), Dataset("no_such_set", "train"), COLUMNS)
    examples = elsewhere.read([str(path)], [], names)
    assert [name for name, _ in examples] == [f"{path}: line 2", f"{path}: line 3"]
    expected = read(Tabular(TEST, TRAIN, COLUMNS))[1]["features"]
    np.testing.assert_array_equal(np.stack([example["features"] for _, example in examples]), expected)
    assert {name for _, example in examples for name in example} == {"features"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "is empty; expected a header"),
        (["size,price", "1,2"], "no column 'kind'.*required: size, kind, price"),
        (["size,kind,prise", "1,red,2"], "no column 'price'; did you mean 'prise'"),
        (["size,kind,price"], "a header but no rows"),
        (["size,kind,price", "1,red,2", "big,red,2"], "line 3: 'big' in column 'size' is not a number"),
        (["size,kind,price", "1,red,"], "line 2: '' in column 'price' is not a number"),
        (["size,kind,price", "1e300,red,1"], "line 2: '1e300' in column 'size' is not a number"),
        (["size,kind,price", "nan,red,1"], "line 2: 'nan' in column 'size' is not a number"),
        (["size,kind,price", "1,rot,2"], "line 2: 'rot' in column 'kind' is unknown; .*blue, green, red"),
        (["size,kind,price", "1,red"], "line 2: expected 3 cells"),
        (["size,kind,price,size", "1,red,2,3"], "two columns 'size'"),
    ],
)
def test_invalid_csv_files_are_refused(tmp_path, lines, message):
    path = tmp_path / "mine.csv"
    path.write_text("".join(f"{line}\n" for line in lines))
    tabular = Tabular(TRAIN, TRAIN, COLUMNS)
    with pytest.raises(UserError, match=message) as raised:
        tabular.read([str(path)], [], kept(tabular))
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_only_csv_files_are_read(tmp_path):
    tabular = Tabular(TRAIN, TRAIN, COLUMNS)
    with pytest.raises(UserError, match="size, kind, price, not --text"):
        tabular.read([], ["1,2,3"], kept(tabular))
    with pytest.raises(UserError, match=r"none\.csv does not exist"):
        tabular.read([str(tmp_path / "none.csv")], [], kept(tabular))
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(UserError, match="is not UTF-8"):
        tabular.read([str(tmp_path / "picture.csv")], [], kept(tabular))


def test_mock_rows_lie_near_a_plane():
    columns = tuple(f"x{number}" for number in range(1, 7))
    source = MockTable(rows=60, anomalous=20).load()
    batch = source.read(np.arange(60))
    assert batch["label"].tolist() == [0] * 40 + [1] * 20
    assert set(batch["kind"].tolist()) == {0, 1}
    train = MockTable(rows=400).load().read(np.arange(400))

    # Off-plane rows have larger residuals after two principal components and the category.
    def residual(rows):
        values = np.stack([rows[name] for name in columns], axis=1).astype(np.float64)
        return values - 5 * rows["kind"][:, None]

    center = residual(train).mean(0)
    _, _, basis = np.linalg.svd(residual(train) - center, full_matrices=False)
    error = np.square((residual(batch) - center) @ basis[2:].T).sum(1)
    assert error[40:].min() > error[:40].max()
    assert MockTable(split="validation").load().fingerprint != MockTable().load().fingerprint
    assert not np.array_equal(MockTable(split="test").load().columns["x1"], MockTable().load().columns["x1"])
