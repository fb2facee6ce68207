"""Runs and files of `benchmarks.bad_inputs`."""

import json
import os
import shutil
import socket
import struct
import wave
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from jaxdl.commands import train, verify
from jaxdl.config import resolve
from jaxdl.config.recipes import load_recipe
from jaxdl.runs.restore import trust_run
from jaxdl.testing.sizes import tiny

RECIPE = "tests/survivor.py"
RUNS = {
    "gpt": "experiments/transformer/austen_gpt.py",
    "pairs": "experiments/rnn/translate_en_de.py",
    "questions": "experiments/transformer/questions.py",
    "gan": "experiments/gan/fashion_dcgan.py",
    "ddpm": "experiments/diffusion/fashion_ddpm.py",
    "series": "experiments/rnn/sunspots.py",
    "table": "experiments/autoencoder/shuttle_anomaly.py",
    "speech": "experiments/rnn/speech.py",
}


def make(folder: Path) -> dict[str, str]:
    """Trains the runs that do not exist and writes the files. Returns the paths by the names of the table."""
    runs, files = folder / "runs", folder / "files"
    names = {
        "tmp": str(files),
        "recipe": str(files / "recipe.py"),
        "photo": str(files / "photo.png"),
        "long": str(files / ("a" * 300)),
    }
    for name, recipe in {"image": RECIPE, **RUNS}.items():
        names[name] = str(runs / name)
        if not (runs / name / "result.json").exists():
            _train(recipe, runs / name)
        trust_run(runs / name)
    for name in ("version", "unfinished", "unmeasured"):
        names[name] = str(runs / name)
    _variants(runs)
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir()
    _write_files(files)
    shutil.copyfile(RECIPE, files / "recipe.py")
    shutil.copytree(runs / "image", files / "damaged-run")
    for name in ("config.json", "config.txt"):
        (files / "damaged-run" / name).write_text('{"version": ')
    return names


def _train(recipe: str, path: Path) -> None:
    config = resolve(recipe, ["steps=2"]) if recipe == RECIPE else tiny(load_recipe(recipe))
    config.steps = config.log_every = config.eval_every = config.save_every = 2
    train.make(config, recipe, [], path, shown=False)


def _variants(runs: Path) -> None:
    """Copies the run of images: of another version, unfinished, and without measurements."""
    for name, removed in {"version": (), "unfinished": ("result.json",), "unmeasured": ("metrics.jsonl",)}.items():
        shutil.rmtree(runs / name, ignore_errors=True)
        shutil.copytree(runs / "image", runs / name)
        for file in removed:
            (runs / name / file).unlink()
    config = json.loads((runs / "version/config.json").read_text())
    (runs / "version/config.json").write_text(json.dumps({**config, "version": "0.0.1"}))
    for name in ("version", "unmeasured"):
        verify.RunFolder.open(runs / name).seal.accept(verify.RunFolder.open(runs / name).sealed_files)


def _write_files(folder: Path) -> None:
    texts = {
        "text.txt": "No pictures here.\nOnly words.\n",
        "text.png": "not an image\n",
        "text.mp3": "not a recording\n",
        "broken.json": '{"a": [1, 2',
        "broken.py": "import os\ndef (:\n",
        "raises.py": "raise RuntimeError('on import')\n",
        "exits.py": "import sys\nsys.exit(0)\n",
        "drawing.svg": '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>\n',
        "foreign.html": "<html>a page of somebody else</html>\n",
        "notes.md": "# Notes\n",
        "header.csv": "x1,x2,x3,x4,x5,x6,kind\n",
        "nan.csv": "x1,x2,x3,x4,x5,x6,kind\n1,2,nan,4,5,6,a\n",
        "inf.csv": "x1,x2,x3,x4,x5,x6,kind\n1,2,inf,4,5,6,a\n",
        "ragged.csv": "x1,x2,x3,x4,x5,x6,kind\n1,2,3\n",
        "kinds.csv": "x1,x2,x3,x4,x5,x6,kind\n1,2,3,4,5,6,z\n",
        "huge-numbers.csv": "x1,x2,x3,x4,x5,x6,kind\n1e300,2,3,4,5,6,a\n",
        "repeated.csv": "x1,x1,x2,x3,x4,x5,x6,kind\n1,1,2,3,4,5,6,a\n",
        "short.csv": "time,value\n1,2\n2,3\n",
        "nan-series.csv": "time,value\n" + "".join(f"{n},{'nan' if n == 9 else n}\n" for n in range(20)),
        "inf-series.csv": "time,value\n" + "".join(f"{n},{'inf' if n == 9 else n}\n" for n in range(20)),
        "dates.csv": "time,value\n2024-13-45,1\n2024-14-45,2\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    for name in ("empty.png", "empty.txt", "empty.csv", "empty.wav", "empty.py"):
        (folder / name).touch()
    (folder / "binary.txt").write_bytes(b"ab\0cd")
    (folder / "nul.py").write_bytes(b"a = 1\0\n")
    (folder / "latin1.txt").write_bytes("Gr\xfc\xdfe".encode("latin1"))
    (folder / "latin1.py").write_bytes("# Gr\xfc\xdfe\n".encode("latin1"))
    (folder / "utf16.txt").write_text("Gruesse", "utf-16")
    _write_images(folder)
    _write_arrays(folder)
    _write_sounds(folder)
    _write_special(folder)


def _write_images(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "photo.png")
    (folder / "torn.png").write_bytes((folder / "photo.png").read_bytes()[:2000])
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(folder / "nan.tiff")
    Image.fromarray(np.ones((8, 8), np.float32)).save(folder / "float.tiff")
    (folder / "bomb.png").write_bytes(_png(60_000, 60_000))
    (folder / "large.png").write_bytes(_png(10_000, 10_000))
    damaged = folder / "damaged"
    for name in ("a", "b"):
        (damaged / name).mkdir(parents=True)
        shutil.copyfile(folder / "torn.png", damaged / name / "1.png")


def _png(width: int, height: int) -> bytes:
    """Returns a black PNG of 1 bit per pixel."""
    packer, row = zlib.compressobj(9), bytes(1 + width // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _write_arrays(folder: Path) -> None:
    np.save(folder / "array.npy", np.zeros((8, 8)))
    np.savez(folder / "whole.npz", np.zeros((8, 8)))
    (folder / "broken.npz").write_bytes((folder / "whole.npz").read_bytes()[:100])


def _write_sounds(folder: Path) -> None:
    from scipy.io import wavfile

    rng = np.random.default_rng(0)
    samples = {"voice": (8000, 8000), "rate": (44100, 8000), "silent0": (8000, 0)}
    for name, (rate, count) in samples.items():
        wavfile.write(folder / f"{name}.wav", rate, rng.integers(-9999, 9999, count).astype(np.int16))
    wavfile.write(folder / "nan.wav", 8000, np.full(8000, np.nan, np.float32))
    sound = (folder / "voice.wav").read_bytes()
    (folder / "broken.wav").write_bytes(sound[:20])
    (folder / "riff.wav").write_bytes(b"RIFF\xff\xff\xff\xffWAVEjunk\xff\xff\xff\xff")
    (folder / "rate0.wav").write_bytes(sound[:24] + struct.pack("<I", 0) + sound[28:])
    with wave.open(str(folder / "huge.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"")
    os.truncate(folder / "huge.wav", 2**40)


def _write_special(folder: Path) -> None:
    for name in ("folder", "folder.png", "folder.py", "folder.html"):
        (folder / name).mkdir()
    for name in ("fifo", "fifo.png", "fifo.py"):
        os.mkfifo(folder / name)
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket has at most 107 characters
        listener.bind("socket")
        os.chdir(here)
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "dangling.png").symlink_to(folder / "none.png")
    for name in ("huge.png", "huge.txt", "huge.csv"):
        (folder / name).touch()
        os.truncate(folder / name, 2**40)
