"""A browser: headless Chromium, driven over a pipe by the DevTools protocol; notes what it says and loads."""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 30.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def found() -> str:
    """The browser's program; skips the test where there is none."""
    path = next((path for name in NAMES if (path := shutil.which(name))), "")
    if not path:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    return path


class Browser:
    """One page of one browser. A context manager."""

    def __init__(self) -> None:
        # its processes may still write while they are being killed
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        self._read, self._write = ours_in, ours_out
        # The protocol speaks on 3 (to it) and 4 (from it); the numbers that we were given may be these two.
        high_in, high_out = os.dup(theirs_in), os.dup(theirs_out)
        while high_in < 10 or high_out < 10:
            high_in, high_out = os.dup(high_in), os.dup(high_out)
        shell = f'exec "$0" "$@" 3<&{high_in} 4>&{high_out}'
        command = [
            "bash",
            "-c",
            shell,
            found(),
            *FLAGS,
            f"--user-data-dir={self._folder.name}",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            command,
            pass_fds=(high_in, high_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for end in (theirs_in, theirs_out, high_in, high_out):
            os.close(end)
        self._number, self._waiting, self._session = 0, b"", ""
        self.errors: list[str] = []
        """What the page's console has complained of."""
        self.requests: list[str] = []
        """Every address that the page has asked for."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for area in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{area}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *raised: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        os.close(self._read)
        os.close(self._write)
        self._folder.cleanup()

    def open(self, url: str) -> None:
        """Go there, and wait until all is loaded."""
        self._loaded = False
        self._call("Page.navigate", url=url)
        self._until(lambda: self._loaded, f"{url} did not load")

    def says(self, script: str) -> Any:
        """What an expression of JavaScript comes to."""
        said = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            raise AssertionError(f"{script}: {said['exceptionDetails']}")
        return said["result"].get("value")

    def waits(self, script: str) -> None:
        """Until an expression is true of a page that is there with its scripts; it may be another one."""
        whole = f"document.readyState == 'complete' && ({script})"
        self._until(lambda: self._true(whole), f"never true: {script}")

    def press(self, key: str) -> None:
        """One key, as a person presses it."""
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, **(text if kind == "keyDown" else {}))

    def moves(self, selector: str) -> None:
        """The mouse over an element."""
        box = self.says(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const b = e.getClientRects()[0];"
            " return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])

    def looks(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Size of the window, and the scheme of colours that its user prefers."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """A screenshot as PNG, of the window or of the ``whole`` page."""
        data = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def _true(self, script: str) -> bool:
        try:
            return bool(self.says(script))
        except AssertionError:
            return False

    def _until(self, done: Any, complaint: str) -> None:
        until = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < until, complaint
            self._listen(0.05)

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        asked = {"id": self._number, "method": method, "params": params}
        asked |= {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps(asked).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while True:
            for message in self._listen(0.5):
                if message.get("id") == self._number:
                    assert "error" not in message, f"{method}: {message['error']}"
                    return message["result"]
            assert time.monotonic() < until, f"{method}: no answer"

    def _listen(self, seconds: float) -> list[dict[str, Any]]:
        """Messages that have come; what they tell of the page is noted."""
        if select.select([self._read], [], [], seconds)[0]:
            self._waiting += os.read(self._read, 1 << 20)
        *whole, self._waiting = self._waiting.split(b"\0")
        messages = [json.loads(each) for each in whole]
        for message in messages:
            self._note(message.get("method", ""), message.get("params", {}))
        return messages

    def _note(self, event: str, told: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Runtime.exceptionThrown":
            self.errors.append(str(told["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.errors.append(str(told["args"]))
        elif event == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.errors.append(told["entry"]["text"])
        elif event == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
