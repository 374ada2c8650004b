"""Takes the pictures that README and docs show of a run: `python examples/screenshots.py runs/demo`."""

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the browser that the tests drive

from browser import NAMES, Browser  # noqa: E402

SIZES = {"report.png": (1000, 1250), "viewer.png": (1280, 1000), "viewer-list.png": (1280, 800)}
"""Width and height of the window."""
COLOURS = 256
"""Of a picture: a page has few, and the file stays small."""
LARGEST = 250_000
"""Bytes of a picture."""


def take(run: Path, out: Path) -> list[Path]:
    """The report, a case of the test split on which the teachers conflict most, and the list."""
    report = run.resolve() / "7-report" / "report.html"
    if not report.is_file():
        raise SystemExit(f"{run}: has no report yet. Finish it first: driftbound run RECIPE")
    if not any(which(name) for name in NAMES):
        raise SystemExit("no Chromium on this machine (Debian: apt-get install chromium)")
    listed = "/?split=test&sort=conflict"
    with served(run) as base, Browser() as browser:
        browser.open(base + listed)
        first = browser.says("document.querySelector('.cases tbody th a').getAttribute('href')")
        pages = {
            "report.png": (report.as_uri(), ""),
            "viewer.png": (base + first, "document.querySelector('.film img').naturalWidth > 0"),
            "viewer-list.png": (base + listed, ""),
        }
        return [pictured(browser, *page, out / name) for name, page in pages.items()]


@contextmanager
def served(run: Path) -> Iterator[str]:
    """The viewer of a run, on any free port of this machine; it ends with the block."""
    command = [
        sys.executable,
        "-m",
        "driftbound.cli",
        "view",
        str(run),
        "--port",
        "0",
        "--no-browser",
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as viewer:
        try:
            assert viewer.stdout is not None
            said = ""
            for line in viewer.stdout:  # the one document, as soon as it answers
                said += line
                if line.startswith("}"):
                    break
            if not said:
                raise SystemExit(f"{run}: the viewer did not start")
            yield json.loads(said)["url"].rstrip("/")
        finally:
            viewer.send_signal(signal.SIGINT)
            try:
                viewer.wait(10)
            except subprocess.TimeoutExpired:
                viewer.kill()


def pictured(browser: Browser, url: str, ready: str, path: Path) -> Path:
    """The first screen of a page, in few colours."""
    from PIL import Image

    browser.looks(*SIZES[path.name])
    browser.open(url)
    if ready:
        browser.waits(ready)
    if browser.errors:
        raise SystemExit(f"{url}: {browser.errors[0]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    browser.picture(path)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"{path}: {path.stat().st_size} bytes are more than {LARGEST}. Take fewer COLOURS.")
    return path


def main() -> None:
    """Says where the pictures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a finished run, e.g. runs/demo")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    given = parser.parse_args()
    for path in take(given.run, given.out):
        sys.stdout.write(f"{path} ({path.stat().st_size // 1000} KB)\n")


if __name__ == "__main__":
    main()
