"""Tests of Speech: values, lengths, joins, augmentation, WAV files, refused clips."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from jaxdl.data.audio.augment import SpecAugment, SpeedPerturb
from jaxdl.data.audio.features import log_mel
from jaxdl.data.audio.speech import Speech, normalize, steps_needed
from jaxdl.data.dataset import with_split
from jaxdl.data.formats.audio_folder import open_recordings
from jaxdl.data.random import Draws
from jaxdl.data.source import ColumnSource, ExampleSource
from jaxdl.data.synthetic.speech import MockSpeech
from jaxdl.data.text.tokenizers import Characters
from jaxdl.errors import UserError

MOCK = MockSpeech(examples=20)


@dataclass(frozen=True)
class Letters:
    def load(self):
        return Characters(12).train(["abcdef "])


@dataclass(frozen=True)
class Given:
    """Corpus of given examples."""

    examples: tuple

    def load(self):
        rows = [{name: np.array(value) for name, value in example.items()} for example in self.examples]
        return ExampleSource(rows, range(len(rows)), "given")


def clip(text="ab", seconds=0.5, rate=8000, seed=0, **more):
    audio = np.random.default_rng(seed).integers(-3000, 3000, round(seconds * rate)).astype(np.int16)
    return {"audio": audio, "rate": np.int32(rate), "text": text.encode(), **more}


def speech(*clips, seconds=1.0, mels=8, **more):
    return Speech(Given(clips), Letters(), seconds=seconds, mels=mels, **more)


def test_mock_speech_encodes_its_text_in_tones():
    source = MOCK.load()
    for number in range(5):
        example = {name: value[0] for name, value in source.read(np.array([number])).items()}
        text = example["text"].decode()
        assert example["audio"].dtype == np.int16
        assert 0.07 * len(text) < len(example["audio"]) / 8000 < 0.13 * len(text)
        assert set(text) <= set("abcdef ")
        frames = log_mel(example["audio"] / 32768, 8000)
        # Each letter has its own band, so the number of loudest bands is the number of distinct letters.
        loud = frames.max(axis=1) > 2.0
        assert len(set(frames[loud].argmax(axis=1) // 6)) == len(set(text) - {" "})
    assert MOCK.load().fingerprint == source.fingerprint
    test_source = replace(MOCK, split="test").load()
    texts = [
        [split_source.read(np.array([number]))["text"][0] for number in range(20)]
        for split_source in (source, test_source)
    ]
    assert texts[0] != texts[1]


def test_mock_speech_refuses_invalid_settings():
    for settings_ in ({"letters": 27}, {"examples": 0}, {"rate": 100}):
        with pytest.raises(UserError):
            MockSpeech(**settings_)  # pyright: ignore[reportArgumentType]


def test_clips_become_normalized_frames_and_tokens():
    clips = [clip("fab", 0.5, seed=1), clip("a", 1.0, seed=2)]
    source = speech(*clips, length=6).load()
    assert isinstance(source, ColumnSource)
    assert source.in_memory
    columns = source.columns
    assert columns["frames"].shape == (2, 98, 8)  # whole windows of 25 ms, one every 10 ms, in a second
    assert columns["frames_length"].tolist() == [48, 98]
    assert columns["target_length"].tolist() == [3, 1]
    tokenizer: Any = source.names["target"]
    assert tokenizer.decode(columns["target"][0, :3]) == "fab"
    np.testing.assert_array_equal(columns["target"][0, 3:], 0)
    assert {name: column.dtype for name, column in columns.items()} == {
        "frames": np.float32,
        "frames_length": np.int32,
        "target": np.int32,
        "target_length": np.int32,
    }
    frames = columns["frames"][0]
    np.testing.assert_array_equal(frames[48:], 0)
    np.testing.assert_allclose(frames[:48].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(frames[:48].std(0), 1, atol=1e-4)
    np.testing.assert_allclose(frames[:48], normalize(log_mel(clips[0]["audio"] / 32768, 8000, mels=8)), atol=1e-5)


def test_silence_is_not_amplified():
    silent = clip() | {"audio": np.zeros(4000, np.int16)}
    np.testing.assert_allclose(speech(silent).load().columns["frames"], 0, atol=1e-3)


def test_the_fingerprint_depends_on_all_settings():
    reference = Speech(MOCK, Letters(), seconds=1.5)
    others = [
        replace(reference, mels=32),
        replace(reference, joins=2),
        replace(reference, joins=2, seed=1),
        replace(reference, hop=0.02),
    ]
    others += [with_split(reference, "test")]
    fingerprints = [data.load().fingerprint for data in (reference, *others)]
    assert len(set(fingerprints)) == len(fingerprints)
    assert reference.load().fingerprint == fingerprints[0]


def test_clips_that_do_not_fit_are_refused_or_dropped():
    good, long = clip("ab", name=b"good.wav"), clip("ab", 2.0, name=b"long.wav")
    with pytest.raises(UserError, match=r"1 of 2 clips do not fit, first long\.wav: duration 2\.0 s.*overflow"):
        speech(good, long).load()
    assert len(speech(good, long, overflow="drop").load()) == 1
    with pytest.raises(UserError, match="clip 0 of the corpus: its transcript of 4 tokens exceeds length=3"):
        speech(clip("abcd"), length=3).load()
    with pytest.raises(UserError, match="needs 9 CTC steps, but 28 frames with stride=5 are 6"):
        speech(clip("aabbb a".replace(" ", ""), 0.3), stride=5, length=9).load()
    with pytest.raises(UserError, match="1 of 1 clips"):
        speech(long, overflow="drop").load()
    with pytest.raises(UserError, match="did you mean 'drop'"):
        speech(good, overflow="dropped")


def test_a_corpus_without_speech_is_refused():
    with pytest.raises(UserError, match="has an empty transcript"):
        speech(clip("")).load()
    with pytest.raises(UserError, match=r"x\.wav has no samples"):
        speech(clip(seconds=0, name=b"x.wav")).load()
    with pytest.raises(UserError, match="no feature 'audio'"):
        speech({"text": b"a", "rate": 8000}).load()
    for mistake in ({"seconds": 0}, {"joins": -1}, {"stride": 0}, {"length": 0}):
        with pytest.raises(UserError):
            speech(clip(), **mistake)


def test_other_rates_and_channels_are_refused_unless_converted():
    stereo = clip(rate=44100) | {"audio": np.zeros((22050, 2), np.int16)}
    with pytest.raises(UserError, match="2 channels at 44100 Hz"):
        speech(stereo).load()
    assert speech(stereo, convert=True).load().columns["frames_length"].tolist() == [48]


@pytest.mark.parametrize(
    ("tokens", "steps"), [([], 0), ([4], 1), ([4, 4], 3), ([4, 5, 4], 3), ([4, 4, 4], 5), ([4, 4, 5, 5], 6)]
)
def test_equal_neighbours_need_a_blank_between_them(tokens, steps):
    assert steps_needed(np.array(tokens, np.int32)) == steps


def test_joins_concatenate_clips():
    clips = [clip("ab", 0.2, seed=1), clip("cd", 0.3, seed=2), clip("ef", 0.4, seed=3)]
    source = speech(*clips, joins=30).load()
    assert len(source) == 33
    tokenizer: Any = source.names["target"]
    plain = speech(*clips).load()
    for name, column in plain.columns.items():
        np.testing.assert_array_equal(source.columns[name][:3], column)
    raw = {example["text"].decode(): log_mel(example["audio"] / 32768, 8000, mels=8) for example in clips}
    counts = set()
    for row in range(3, 33):
        text = tokenizer.decode(source.columns["target"][row, : source.columns["target_length"][row]])
        words = text.split(" ")
        expected = normalize(np.concatenate([raw[word] for word in words]))
        assert source.columns["frames_length"][row] == len(expected) <= 98
        np.testing.assert_allclose(source.columns["frames"][row, : len(expected)], expected, atol=1e-4)
        counts.add(len(words))
    assert counts == {2, 3}
    reloaded = speech(*clips, joins=30).load()
    np.testing.assert_array_equal(reloaded.columns["target"], source.columns["target"])
    assert not np.array_equal(speech(*clips, joins=30, seed=1).load().columns["target"], source.columns["target"])
    with pytest.raises(UserError, match="hardly any two clips fit"):
        speech(clip(seconds=0.9), joins=1).load()


def test_wav_files_are_read_without_transcripts(tmp_path):
    audio = clip(seconds=1.7)["audio"]
    wavfile.write(tmp_path / "a.wav", 8000, audio)
    loadable = speech(clip())
    ((name, example),) = loadable.read([str(tmp_path)], [], {})
    assert name == str(tmp_path / "a.wav")
    expected = normalize(log_mel(audio / 32768, 8000, mels=8))
    assert example["frames"].shape == (192, 8)
    assert example["frames_length"] == len(expected) == 168
    np.testing.assert_allclose(example["frames"][:168], expected, atol=1e-4)
    np.testing.assert_array_equal(example["frames"][168:], 0)
    wavfile.write(tmp_path / "b.wav", 16000, audio)
    with pytest.raises(UserError, match=r"b\.wav has 1 channel at 16000 Hz"):
        loadable.read([str(tmp_path / "b.wav")], [], {})
    assert replace(loadable, convert=True).read([str(tmp_path / "b.wav")], [], {})[0][1]["frames_length"] == 83
    (tmp_path / "none").mkdir()
    for files, texts, message in (
        ([str(tmp_path / "none")], [], "no audio files in .*none"),
        ([], [], "no audio files"),
        ([], ["hello"], "reads audio files, not --text"),
        ([str(tmp_path / "c.wav")], [], "does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            loadable.read(files, texts, {})


def test_a_folder_of_recordings_is_learnable(tmp_path):
    for number, text in enumerate(("ab", "cd")):
        wavfile.write(tmp_path / f"{number}.wav", 8000, clip(seed=number)["audio"])
        (tmp_path / f"{number}.txt").write_text(text)

    @dataclass(frozen=True)
    class Folder:
        def load(self):
            return open_recordings(str(tmp_path), "train")

    source = Speech(Folder(), Letters(), seconds=1.0, mels=8).load()
    tokenizer: Any = source.names["target"]
    assert {tokenizer.decode(row[:2]) for row in source.columns["target"]} == {"ab", "cd"}
    wavfile.write(tmp_path / "1.wav", 44100, np.ones((9000, 2), np.int16))
    with pytest.raises(UserError, match=r"1\.wav has 2 channels at 44100 Hz"):
        Speech(Folder(), Letters(), seconds=1.0).load()


def batch_of(lengths, time=40, mels=10, seed=0):
    random = np.random.default_rng(seed)
    frames = random.normal(size=(len(lengths), time, mels)).astype(np.float32)
    length = np.array(lengths, np.int32)
    frames[np.arange(time) >= length[:, None]] = 0
    return {"frames": frames, "frames_length": length, "target": np.ones((len(lengths), 3), np.int32)}


lengths_of_batches = st.lists(st.integers(1, 40), min_size=1, max_size=6)
AUGMENTATIONS = (SpecAugment(time_width=8, frequency_width=4), SpeedPerturb(0.7, 1.4))


@pytest.mark.parametrize("augment", AUGMENTATIONS)
@settings(max_examples=25, deadline=None)
@given(lengths=lengths_of_batches, seed=st.integers(0, 1000))
def test_augmentations_draw_by_position_and_keep_padding(augment, lengths, seed):
    batch = batch_of(lengths, seed=seed)
    before = {name: value.copy() for name, value in batch.items()}
    positions = np.arange(len(lengths)) + 7
    augmented = augment(batch, Draws(seed, positions))
    assert {name: (value.shape, value.dtype) for name, value in augmented.items()} == {
        name: (value.shape, value.dtype) for name, value in batch.items()
    }
    for name, value in before.items():
        np.testing.assert_array_equal(batch[name], value)  # the inputs are not modified
    absent = np.arange(40) >= augmented["frames_length"][:, None]
    assert not augmented["frames"][absent].any()
    for row in range(len(lengths)):
        single = augment(
            {name: value[row : row + 1] for name, value in batch.items()}, Draws(seed, positions[row : row + 1])
        )
        for name, value in single.items():
            np.testing.assert_array_equal(value[0], augmented[name][row])


def test_masks_cover_spans_of_the_valid_frames():
    batch = batch_of([40] * 2000)
    masked = SpecAugment(1, 8, 0, 0, time_share=1.0)(batch, Draws(0, np.arange(2000)))
    hidden = (masked["frames"] == 0).all(axis=2)
    np.testing.assert_array_equal(hidden, (masked["frames"] == 0).any(axis=2))
    width = hidden.sum(axis=1)
    assert set(width) == set(range(9))
    assert (np.abs(np.diff(hidden.astype(int), axis=1)).sum(axis=1) <= 2).all()
    shares = hidden.mean(axis=0)
    assert shares[10:30].min() > 0.06
    assert abs(width.mean() - 4) < 0.2
    bands = (SpecAugment(0, 0, 1, 4)(batch, Draws(0, np.arange(2000)))["frames"] == 0).all(axis=1)
    assert set(bands.sum(axis=1)) == set(range(5))
    short = SpecAugment(1, 8, 0, 0, time_share=0.25)(batch_of([8] * 500), Draws(0, np.arange(500)))
    assert (short["frames"][:, :8] == 0).all(axis=2).sum(axis=1).max() == 2
    still = SpecAugment(0, 0, 0, 0)(batch, Draws(0, np.arange(2000)))
    np.testing.assert_array_equal(still["frames"], batch["frames"])


def test_speed_perturbation_keeps_linear_frames_linear():
    time = 40
    batch = batch_of([20, 30, 40])
    for row, length in enumerate((20, 30, 40)):
        batch["frames"][row, :length] = np.linspace(0, 1, length)[:, None]
    for speed, lengths in ((0.8, [25, 38, 40]), (1.25, [16, 24, 32]), (1.0, [20, 30, 40])):
        perturbed = SpeedPerturb(speed, speed)(batch, Draws(0, np.arange(3)))
        assert perturbed["frames_length"].tolist() == lengths
        for row, length in enumerate(lengths):
            expected = np.zeros(time)
            expected[:length] = np.linspace(0, 1, length)
            np.testing.assert_allclose(perturbed["frames"][row, :, 0], expected, atol=1e-6)
    random_lengths = SpeedPerturb(0.9, 1.1)(batch_of([36] * 500), Draws(0, np.arange(500)))["frames_length"]
    assert (random_lengths.min(), random_lengths.max()) == (33, 40)


def test_augmentations_refuse_invalid_settings():
    for mistake in (
        lambda: SpecAugment(time_masks=-1),
        lambda: SpecAugment(time_share=1.5),
        lambda: SpeedPerturb(0.0, 1.0),
        lambda: SpeedPerturb(1.2, 1.1),
    ):
        with pytest.raises(UserError):
            mistake()
