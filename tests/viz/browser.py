"""Headless Chromium, driven over its DevTools pipe: real keys, mouse and touch, screenshots, network requests."""

import base64
import io
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --use-angle=swiftshader --enable-unsafe-swiftshader --hide-scrollbars "
    "--no-first-run --disable-extensions --disable-background-networking --remote-debugging-pipe"
)
_KEYS = {"Home": 36, "Tab": 9, "Enter": 13, "Escape": 27, " ": 32}


class Browser:
    """One tab, for a `with` statement; a phone has a touch screen with two pixels per CSS pixel."""

    def __init__(self, folder: Path, *, phone: bool) -> None:
        assert CHROMIUM is not None
        mine_in, its_out = os.pipe()
        its_in, mine_out = os.pipe()
        # Chromium reads commands from file 3 and answers on file 4; the shell connects them to the pipes.
        command = f'exec "$@" 3<&{its_in} 4>&{its_out}'
        arguments = [CHROMIUM, *_FLAGS.split(), f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command, "bash", *arguments],
            pass_fds=(its_in, its_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_in)
        os.close(its_out)
        self._in, self._out, self._number, self._rest = mine_in, mine_out, 0, b""
        self._session: str | None = None
        self.requests: list[str] = []
        self.faults: list[str] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        width, height, scale = (390, 844, 2) if phone else (800, 520, 1)
        screen = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", **screen)
        # Camera flights end immediately: each frame is slow without a graphics card.
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
        if phone:
            self.call("Emulation.setTouchEmulationEnabled", enabled=True)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, **parameters: Any) -> dict:
        """One command of the DevTools protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)

    def _receive(self) -> dict:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], 120)
            assert ready, "chromium does not answer"
            chunk = os.read(self._in, 1 << 20)
            assert chunk, "chromium went away"
            self._rest += chunk
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event: dict) -> None:
        method, content = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(content["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.faults.append(content["exceptionDetails"].get("text", "exception"))
        elif method == "Log.entryAdded" and content["entry"]["level"] == "error":
            self.faults.append(content["entry"]["text"])

    def open(self, page: Path) -> None:
        """Loads a page and waits until it shows the room."""
        self.call("Page.navigate", url=page.as_uri())
        end = time.monotonic() + 90
        while not self.run("document.documentElement?.dataset.ready === '1'"):
            if time.monotonic() > end:
                message = self.run("document.body.innerText.slice(0, 300)")
                (pytest.skip if "WebGL 2" in message else pytest.fail)(message)
            time.sleep(0.02)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """A real key press; one letter, or a name such as Tab."""
        event = {"key": key, "windowsVirtualKeyCode": _KEYS.get(key) or ord(key.upper())}
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """A real mouse event: mouseMoved, mousePressed, mouseReleased, mouseWheel."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        self.mouse("mouseMoved", x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def click_on(self, selector: str) -> None:
        """Clicks the middle of an element."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{element}.scrollIntoView({{block: 'nearest'}})")
        middle = "(b => [b.x + b.width / 2, b.y + b.height / 2])"
        self.click(*self.run(f"{middle}({element}.getBoundingClientRect())"))

    def touch(self, kind: str, *fingers: tuple[float, float]) -> None:
        """A real touch event: touchStart, touchMove, touchEnd."""
        self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y} for x, y in fingers])

    def settle(self) -> None:
        """Waits for the end of camera flights and for two frames."""
        frames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        while self.run(f"{frames}.then(() => window.pcseg.state().flying)"):
            time.sleep(0.02)

    def picture(self) -> np.ndarray:
        """Screenshot, uint8 (H, W, 3)."""
        content = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
