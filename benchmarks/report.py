"""Build time, page size and first paint of `launch.py report` over many runs.

  python -m benchmarks.report [--runs=200] [--rows=5000] [--keep=DIR]

The runs are a synthetic sweep of one recipe, five seeds per configuration: their folders are written here, with rows in
the format of training, and nothing is trained. The first paint needs a Chromium on PATH.
"""

import argparse
import contextlib
import http.server
import io
import json
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from jaxdl.commands import report
from jaxdl.config import describe, resolve
from jaxdl.config.serialize import to_json
from jaxdl.runs.folder import RunFolder

RECIPE = "experiments/cnn/digits.py"
SEEDS = 5
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Sends the milliseconds from the start of loading to the first paint.
_PAINT = """<script>
new PerformanceObserver(list => navigator.sendBeacon('/paint', list.getEntries()[0].startTime))
  .observe({type: 'paint', buffered: true});
</script>"""


def make_run(path: Path, number: int, rows: int) -> None:
    """Writes a finished run: configuration, rows, picture and result."""
    rng, group = np.random.default_rng(number), number // SEEDS
    rate, width = 10.0 ** -(1 + group % 8 / 2), 8 * 2 ** (group // 8)
    settings = [
        f"seed={number % SEEDS}",
        f"optimizers.train.weight_decay={rate:.2g}",
        f"task.model.channels=({width},{2 * width})",
    ]
    config = resolve(RECIPE, settings)
    steps = np.arange(1, rows + 1) * 10
    loss = 2.3 * np.exp(-steps / steps[-1] * 6 * rate**0.1) + 0.1 + 0.05 * rng.normal(size=rows)
    evaluations = np.linspace(0, rows - 1, 9).astype(int)[1:]
    lines = [
        {"step": int(step), "split": "train", "accuracy": 1 - value / 3, "grad_norm": 1.0, "loss": value}
        | {"step_time": 0.01234567, "data_wait": 0.0, "data_wait_share": 0.0, "examples_per_second": 8123.456789}
        | {"useful_seconds": step / 100, "flops": 18729664512.0}
        for step, value in zip(steps.tolist(), loss.tolist())
    ]
    for index in evaluations.tolist():
        figures = {"accuracy": 1 - loss[index] / 3, "loss": loss[index]}
        lines.append({"step": int(steps[index]), "split": "validation", **figures})
    manifest = {
        "command": ["launch.py", f"--config={RECIPE}", *(f"--set={setting}" for setting in settings)],
        "recipe": RECIPE,
        "overrides": settings,
        "seed": number % SEEDS,
        "code": {"commit": "0" * 40, "dirty": False},
        "devices": {"platform": "cpu", "kind": "made up", "count": 1, "cpu_cores": 2},
        "datasets": {},
        "attempts": [{"start": "2030-01-02T10:00:00.000Z", "end": "2030-01-02T10:05:00.000Z", "exit": 0}],
    }
    scores = {"test": {"accuracy": 1 - loss[-1] / 3, "loss": loss[-1]}}
    with RunFolder(path) as folder:
        folder.write_config(to_json(config, RECIPE, settings), describe(config))
        (path / "manifest.json").write_text(json.dumps(manifest))
        (path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        tiles = rng.integers(0, 255, (15, 20, 3), dtype=np.uint8)
        folder.picture(int(steps[-1]), "test_predictions", tiles.repeat(40, axis=0).repeat(40, axis=1))
        folder.finish({"step": int(steps[-1]), "metrics": scores, "seconds": 300, "state_digest": f"{number:064x}"})


def first_paint(page: Path) -> float | None:
    """Measures seconds from load start to first paint; None without a browser."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        return None
    body, paints = page.read_text().replace("</body>", f"{_PAINT}</body>").encode(), queue.Queue[float]()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/":  # favicon
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            paints.put(float(self.rfile.read(int(self.headers["Content-Length"]))) / 1000)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, tempfile.TemporaryDirectory() as home:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={home}"]
        url = f"http://127.0.0.1:{server.server_port}/"
        # Debugging over a port keeps the browser open until it is terminated.
        command = [browser, *options, "--remote-debugging-port=0", url]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return paints.get(timeout=60)
        finally:
            process.terminate()
            process.wait()
            server.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--keep", default=None, help="folder for the runs and the page, which is kept")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(arguments.keep or stack.enter_context(tempfile.TemporaryDirectory()))
        for number in range(arguments.runs):
            if not (folder / f"runs/{number}").exists():
                make_run(folder / f"runs/{number}", number, arguments.rows)
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            report.run([str(folder / "runs")], str(folder / "report.html"))
        seconds = time.perf_counter() - start
        size = (folder / "report.html").stat().st_size / 1024
        print(f"{arguments.runs} runs of {arguments.rows} rows: {seconds:.1f} s to build, {size:.0f} KB")
        paint = first_paint(folder / "report.html")
        print("first paint: not measured, no browser" if paint is None else f"first paint: {paint:.2f} s")


if __name__ == "__main__":
    main()
