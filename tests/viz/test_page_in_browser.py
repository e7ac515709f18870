"""The page in headless Chromium, with real keys, mouse and touch: no network, the right object under a known pixel."""

import io
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pcseg.classes import S3DIS
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.viz.flat import pixel_grid
from pcseg.viz.html import write_page

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[dev]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page with: apt-get install chromium"),
    pytest.mark.timeout(300),
]
FLAGS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
DESKTOP = {"viewport": {"width": 800, "height": 520}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
Open = Callable[..., "Browser"]
TABLE = (1.4, 1.2, 0.75)


class Browser:
    def __init__(self, tab: "playwright.Page", path: Path) -> None:
        self.requests: list[str] = []
        self.faults: list[str] = []
        tab.set_default_timeout(90_000)
        tab.on("request", lambda request: self.requests.append(request.url))
        tab.on("pageerror", lambda error: self.faults.append(str(error)))
        tab.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        tab.goto(path.as_uri())
        self.tab, self.run, self.devtools = tab, tab.evaluate, tab.context.new_cdp_session(tab)
        self.press, self.click, self.move = tab.keyboard.press, tab.mouse.click, tab.mouse.move
        self.wait("document.documentElement.dataset.ready === '1'")

    def touch(self, kind: str, *fingers: tuple[float, float]) -> None:
        """A real touch event: touchStart, touchMove, touchEnd."""
        points = [{"x": x, "y": y} for x, y in fingers]
        self.devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def wait(self, condition: str) -> None:
        """Waits for a JavaScript condition; Playwright's own way needs eval, which the page forbids."""
        end = time.monotonic() + 90
        while not self.run(condition):
            if time.monotonic() > end:
                message = self.tab.inner_text("body")
                (pytest.skip if "WebGL 2" in message else pytest.fail)(f"not {condition}: {message}")
            self.tab.wait_for_timeout(20)

    def settle(self) -> None:
        """Waits for the end of camera flights and for two frames."""
        self.wait("!pcseg.state().flying")
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def picture(self) -> np.ndarray:
        """Screenshot, uint8 (H, W, 3)."""
        return np.asarray(Image.open(io.BytesIO(self.tab.screenshot())).convert("RGB"))

    def pixel(self, scene: Scene, place: tuple[float, float, float]) -> list[int]:
        """Where the page shows a place of the scene."""
        self.settle()
        x, y, z = (float(v) for v in np.array(place) - scene.xyz.min(axis=0))
        return [round(v) for v in self.run(f"pcseg.project([{x}, {y}, {z}])")]

    def tip(self) -> str:
        """The text beside the pointer, once it is there."""
        self.wait("getComputedStyle(tip).display === 'block'")
        return self.run("tip.innerText")


@pytest.fixture
def open_page(tmp_path: Path) -> Iterator[Open]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)

        def open_page(prediction: Prediction, screen: dict = DESKTOP) -> Browser:
            write_page(tmp_path / "room.html", prediction)
            # Camera flights end immediately: each frame is slow without a graphics card.
            return Browser(chromium.new_page(**screen, reduced_motion="reduce"), tmp_path / "room.html")

        yield open_page
        chromium.close()


def test_desktop(room: Scene, whole: Prediction, open_page: Open) -> None:
    browser = open_page(replace(whole, scene=room.with_(name="<b>room</b>")))
    assert browser.faults == []
    asked = [url for url in browser.requests if not url.startswith(("data:", "blob:", "about:"))]
    assert [url[:5] for url in asked] == ["file:"], asked  # the page itself
    assert browser.run("document.querySelector('h1').textContent") == "<b>room</b>"
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")

    # The table under the mouse, then chosen by a click.
    x, y = browser.pixel(room, TABLE)
    browser.move(x, y)
    tip = browser.tip()
    assert tip.startswith("table 1\nscore 0.90 · 1,500 points"), tip
    for line in ("IoU 1.00 with the truth", "Ground truth: table 7", "Superpoints: superpoint ", "Errors: correct"):
        assert line in tip
    before = browser.picture()[:, :440]
    browser.click(x, y)
    assert browser.run("pcseg.state().chosen") == 1
    browser.press("2")
    assert browser.run("[pcseg.state().layer, pcseg.state().chosen]") == ["truth", 7]
    browser.press("Escape")
    assert browser.run("pcseg.state().chosen") == -1

    # Layers by key, and each is another picture.
    for key, layer in (("1", "input"), ("4", "semantic_truth"), ("5", "superpoint"), ("6", "errors")):
        browser.press(key)
        browser.settle()
        assert browser.run("pcseg.state().layer") == layer
        image = browser.picture()[:, :440]
        assert (image != before).any(axis=2).mean() > 0.05
        before = image

    # A turned room keeps its colors.
    browser.press("3")
    browser.press("n")  # a name would cover the table
    browser.run("pcseg.turn(60, 0)")
    x, y = browser.pixel(room, TABLE)
    color = browser.run("pcseg.meta.layers.find(l => l.key === 'prediction').rows[1].color")
    shown = browser.picture()[y, x].astype(float)
    np.testing.assert_allclose(shown / shown.sum(), np.array(color) / sum(color), atol=0.03)

    # Off and on in the list; what is off cannot be picked. The score slider by the keyboard.
    browser.settle()
    assert browser.run("document.querySelectorAll('#tags span').length") == 0
    browser.press("n")
    browser.settle()
    tags = "[...document.querySelectorAll('#tags span')].map(tag => tag.textContent).sort()"
    assert browser.run(tags) == ["sofa 2", "table 1"], "the names of the objects in the image"
    below = browser.run(f"pcseg.pick({x}, {y})")
    browser.tab.click("#list li[data-row='1'] input")
    browser.settle()
    assert browser.run(f"pcseg.pick({x}, {y})") != below
    assert browser.run("document.querySelectorAll('#list li').length") == 3
    assert browser.run(tags) == ["sofa 2"]
    assert browser.run("document.getElementById('count').textContent") == "Prediction: 1 shown of 3"
    none = "document.querySelector(`#list li[data-row='0'] span`).textContent"
    assert browser.run(none).endswith(f" {(whole.point_ids(0.3) == 0).sum():,}")
    weak = browser.pixel(room, (0.2, 1.5, 0.0))
    assert np.ptp(browser.picture()[weak[1], weak[0]].astype(int)) < 20, "the weak object looks like no object"
    browser.click(*weak)
    assert browser.run("pcseg.state().chosen") == 0
    browser.press("Escape")
    browser.run("document.getElementById('score').focus()")
    browser.press("Home")
    assert browser.run(none).endswith(f" {(whole.point_ids(0.0) == 0).sum():,}")
    assert browser.run("pcseg.state().minimum") == 0
    assert browser.run("document.querySelectorAll('#list li').length") == 4, "the weak object is shown now"
    browser.run("(c => { c.value = 'sofa'; c.dispatchEvent(new Event('change')) })(document.getElementById('class'))")
    shown = "document.getElementById('count').textContent"
    assert browser.run(shown) == "Prediction: 1 shown of 3"

    # A click on a name flies there.
    far = browser.run("pcseg.state().cam.distance")
    browser.tab.click("#list li[data-row='2'] button")
    browser.settle()
    assert browser.run("pcseg.state().cam.distance") < 0.7 * far
    assert browser.faults == []


def test_every_control_by_keyboard(whole: Prediction, open_page: Open) -> None:
    browser, found = open_page(whole), set()
    for _ in range(40):
        browser.press("Tab")
        found.add(browser.run("(e => e.id || e.dataset.key || e.parentElement.dataset.row)(document.activeElement)"))
    wanted = "canvas help theme input truth prediction superpoint errors search all class sort score cut size names"
    assert {*wanted.split(), "open", "safe", "frame", "top", "save", "1"} <= found
    browser.run("document.getElementById('safe').focus()")
    color = "pcseg.meta.layers.find(l => l.key === 'semantic_truth').rows[1].color"
    before = browser.run(color)
    browser.press(" ")
    assert before != browser.run(color) == list(S3DIS.colors[S3DIS.index("ceiling")])


def test_phone(room: Scene, whole: Prediction, open_page: Open) -> None:
    browser = open_page(whole, PHONE)
    assert browser.run("document.querySelectorAll('#tags span').length") == 2, "names come with the first image"
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert browser.run("stage.clientHeight") > 600, "the room has most of the screen"
    assert browser.run("stage.getBoundingClientRect().bottom <= side.getBoundingClientRect().top + 1")

    browser.touch("touchStart", browser.pixel(room, TABLE))
    browser.touch("touchEnd")
    assert browser.tip().startswith("table 1\nscore 0.90")
    left, right, top = browser.run("(b => [b.left, b.right, b.top])(tip.getBoundingClientRect())")
    assert 0 <= left < right <= 390
    assert top >= 0

    def drag(*moves: tuple[tuple[float, float], ...]) -> dict[str, float]:
        """Moves fingers; gives the camera after that."""
        for kind, fingers in zip(("touchStart", "touchMove", "touchMove"), moves):
            browser.touch(kind, *fingers)
        browser.touch("touchEnd")
        return browser.run("pcseg.state().cam")

    before = browser.run("pcseg.state().cam")
    turned = drag(((200, 300),), ((230, 300),), ((260, 300),))
    assert abs(turned["yaw"] - before["yaw"]) > 0.1
    nearer = drag(((150, 300), (250, 300)), ((125, 300), (275, 300)), ((100, 300), (300, 300)))
    assert nearer["distance"] == pytest.approx(turned["distance"] / 2, rel=0.15)

    for button, drawer in (("grip", "list"), ("more", "view")):
        browser.tab.click(f"#{button}")
        browser.settle()
        assert browser.run(f"document.getElementById('{drawer}').getBoundingClientRect().height") > 100
        assert browser.run("stage.clientHeight") > 250
        assert browser.run("side.getBoundingClientRect().bottom <= innerHeight + 1")
    browser.tab.click("#more")
    assert browser.run("stage.clientHeight") > 600
    assert browser.faults == []


@pytest.mark.parametrize("screen", [DESKTOP, PHONE])
def test_image_opens_upright_and_flat(screen: dict, open_page: Open) -> None:
    scene = Scene("photo", pixel_grid(30, 40))
    browser = open_page(Prediction(scene), screen)
    (left, top), (right, level), (_, bottom) = (browser.pixel(scene, tuple(scene.xyz[row])) for row in (0, 39, -1))
    assert level == top < bottom
    assert right - left == pytest.approx(39 / 29 * (bottom - top), abs=2)
    assert browser.run("document.querySelector('#head .faint').textContent") == "40 × 30 pixels"
    assert browser.run("['#cut', '#open', '#top'].every(part => document.querySelector(part).closest('[hidden]'))")


def test_66000_ids(rng: np.random.Generator, open_page: Open) -> None:
    count = 66_000
    xyz = rng.uniform(0, [4, 4, 0], (count, 3)).astype(np.float32)
    browser = open_page(Prediction(Scene("many", xyz, superpoint=np.arange(count, dtype=np.int32))))
    browser.press("5")
    browser.settle()
    hits = browser.run("""[...Array(40).keys()].map(k => {
        const row = pcseg.meta.layers.find(l => l.key === "superpoint");
        const i = pcseg.pick(stage.clientWidth * (.4 + .005 * k), stage.clientHeight * .5);
        return [0, 1].map(a => pcseg.position[3 * i + a] * pcseg.meta.step).concat(row.rows[row.ids[i]].i);
    })""")
    assert max(number for _, _, number in hits) > 255
    for x, y, number in hits:
        assert np.abs((xyz[number] - xyz.min(axis=0))[:2] - (x, y)).max() < 0.01, "the id that went in"
    browser.move(220, 260)
    assert browser.tip().startswith("superpoint ")
    assert browser.run("document.querySelectorAll('#list li').length") == 400, "the list stays short"
    assert browser.faults == []
