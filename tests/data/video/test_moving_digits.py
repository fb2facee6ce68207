"""Moving digits: bouncing, overlap, determinism, and videos from files."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from jaxdl.data.source import ColumnSource
from jaxdl.data.video.moving_digits import MovingDigits, reflected
from jaxdl.errors import UserError


@dataclass(frozen=True)
class Squares:
    """White squares."""

    shape: tuple[int, ...] = (2, 2, 1)
    count: int = 3

    def load(self):
        return ColumnSource({"image": np.full((self.count, *self.shape), 255, np.uint8)}, f"squares {self.shape}")


VIDEOS = MovingDigits(Squares(), videos=40, context=4, horizon=3, room=12, size=12, digits=1, speed=0.1)


def positions(videos):
    """Returns the upper left corner of the white square in each frame, [videos, frames, 2]."""
    white = videos[..., 0] > 0
    return np.stack([np.argmax(white.any(3), axis=-1), np.argmax(white.any(2), axis=-1)], axis=-1)


def read(settings, rows=None):
    batch = settings.load().read(np.arange(settings.videos) if rows is None else rows)
    return np.concatenate([batch["frames"], batch["future"]], axis=1)


def test_pictures_move_at_the_given_speed_within_the_frame():
    videos = read(VIDEOS)
    assert videos.shape == (40, 7, 12, 12, 1)
    assert videos.dtype == np.uint8
    np.testing.assert_array_equal((videos > 0).sum((2, 3, 4)), 4)  # never cut off by a border
    steps = np.linalg.norm(np.diff(positions(videos), axis=1), axis=-1)
    assert steps.max() <= 1 + np.sqrt(2)  # rounding adds up to half a pixel at each end
    straight = np.linalg.norm(positions(videos)[:, -1] - positions(videos)[:, 0], axis=-1)
    assert straight.max() == pytest.approx(6, abs=1)  # six frames of a tenth of ten pixels


def test_positions_are_reflected_at_both_borders():
    np.testing.assert_array_equal(reflected(np.arange(-2, 9), 3), [2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2])


def test_a_video_depends_on_its_number_only():
    whole = read(VIDEOS)
    np.testing.assert_array_equal(read(VIDEOS, np.array([31, 7])), whole[[31, 7]])
    assert (read(replace(VIDEOS, seed=1)) != whole).any()


def test_other_pictures_have_other_motions():
    """The videos of two splits differ in their motions, not only in their pictures."""
    other = replace(VIDEOS, corpus=Squares(count=3, shape=(2, 2, 1))).load()
    assert other.fingerprint == VIDEOS.load().fingerprint
    corpus = Squares((3, 3, 1))
    assert (positions(read(replace(VIDEOS, corpus=corpus))) != positions(read(VIDEOS))).any()


def test_frames_are_means_of_squares_and_overlaps_keep_the_brighter_pixel():
    fine = read(replace(VIDEOS, digits=3)).astype(int)
    coarse = read(replace(VIDEOS, digits=3, size=6))
    means = fine.reshape(40, 7, 6, 2, 6, 2).mean((3, 5))
    assert fine.max() == 255
    # The fingerprint, and so the motion, depends on the size: only the values are compared.
    assert set(np.unique(coarse)) <= set(np.unique(np.rint(means)))


def test_prediction_reads_arrays_folders_and_animations(tmp_path):
    frames = read(VIDEOS)[0]
    np.save(tmp_path / "video.npy", frames[..., 0])
    (tmp_path / "folder").mkdir()
    images = [Image.fromarray(frame[..., 0]) for frame in frames]
    for number, image in enumerate(images):
        image.save(tmp_path / "folder" / f"{number:02}.png")
    images[0].save(tmp_path / "video.gif", save_all=True, append_images=images[1:])
    files = [str(tmp_path / name) for name in ("video.npy", "folder", "video.gif")]
    examples = VIDEOS.read(files, (), {})
    assert [name for name, _ in examples] == files
    for _, example in examples:
        np.testing.assert_array_equal(example["frames"], frames[-4:])


def test_prediction_resizes_frames(tmp_path):
    np.save(tmp_path / "video.npy", np.full((5, 24, 48, 3), 100, np.uint8))
    ((_, example),) = VIDEOS.read([str(tmp_path / "video.npy")], (), {})
    assert example["frames"].shape == (4, 12, 12, 1)
    np.testing.assert_array_equal(example["frames"], 100)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 12, 12), np.uint8), "has 3 frames; a prediction needs at least 4"),
        (np.zeros((5, 12, 12)), "pass uint8"),
        (np.zeros((12, 12), np.uint8), "pass uint8"),
    ],
)
def test_unsuitable_arrays_are_refused(tmp_path, array, message):
    np.save(tmp_path / "video.npy", array)
    with pytest.raises(UserError, match=message):
        VIDEOS.read([str(tmp_path / "video.npy")], (), {})


@pytest.mark.parametrize("name", ["video.npy", "video.gif"])
def test_damaged_files_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"GIF89a not a video")
    with pytest.raises(UserError, match=name):
        VIDEOS.read([str(tmp_path / name)], (), {})


def test_texts_and_missing_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="not --text"):
        VIDEOS.read((), ["a text"], {})
    with pytest.raises(UserError, match="does not exist"):
        VIDEOS.read([str(tmp_path / "missing.gif")], (), {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"videos": 0}, "videos=0"),
        ({"size": 5}, "size=5 does not divide room=12"),
        ({"speed": 1.5}, "speed=1.5"),
        ({"corpus": Squares((2, 3, 1))}, "grey square pictures"),
        ({"corpus": Squares((12, 12, 1))}, "room=12 must exceed"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        replace(VIDEOS, **changes).load()
