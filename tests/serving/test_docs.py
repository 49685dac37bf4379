"""The page at `/docs`: self-contained, safe, accessible, and of use; driven in a real browser where there is one."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import re
import threading
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
import pandas as pd
import pytest
from chromium import BINARY, Chromium
from werkzeug.serving import make_server

import lore


class Carrier(enum.Enum):
    """An airline."""

    UNITED = "UA"
    DELTA = "DL"


@dataclasses.dataclass
class Place:
    """A place."""

    lat: float
    lon: float = 0.0


@lore.endpoint
def delay(
    carrier: Carrier,
    distance: Annotated[float, msgspec.Meta(ge=0, description="Miles <between> airports.")],
    hour: int = 12,
    via: list[Place] | None = None,
) -> dict[str, float]:
    """
    Predict how late a flight arrives & why.

    Only <b>what</b> is known before departure counts.

    >>> delay("UA", 740.0, hour=17)
    {'minutes': 24.4}
    """
    return {"minutes": distance / 100 + hour}


@lore.endpoint(methods=("GET",))
def near(city: str, limit: int = 2) -> list[str]:
    """List airports."""
    return [city] * limit


@lore.endpoint
def score(rows: pd.DataFrame) -> pd.DataFrame:
    """
    Score a table.

    >>> score([{"a": 1}, {"a": 2}])
    """
    return rows


@lore.endpoint("/<img src=x>".replace("<", "_").replace(">", "_").replace(" ", "_"), auth="secret")
def guarded(x: bool) -> bool:
    """Need a token: </script><script>alert(1)</script>."""
    return x


APP = lore.serve.app(delay, near, score, guarded, title="Flights </title><script>alert(2)</script>")
PAGE = APP.test_client().get("/docs")


def test_nothing_is_fetched_from_outside() -> None:
    """The page names no other host, and its policy lets nothing in but itself."""
    urls = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", PAGE.text)
    assert [url for url in urls if urlsplit(url).netloc and not url.startswith("data:")] == []
    policy = PAGE.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_names_are_escaped() -> None:
    """Nothing of the user's text becomes markup."""
    assert PAGE.text.count("<script") == 1
    assert "<b>what</b>" not in PAGE.text
    assert "Miles &lt;between&gt; airports." in PAGE.text


def test_examples_come_from_docstrings() -> None:
    """The call in a docstring fills the form and the document."""
    body = APP.openapi()["paths"]["/delay"]["post"]["requestBody"]["content"]["application/json"]
    assert body["example"] == {"carrier": "UA", "distance": 740.0, "hour": 17}
    assert 'value="740.0"' in PAGE.text


# -- in a browser ----------------------------------------------------------------------------------------------------

browser_only = pytest.mark.skipif(BINARY is None, reason="needs Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = make_server("127.0.0.1", 0, APP, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/docs"
    server.shutdown()
    thread.join(5)
    server.server_close()


@pytest.fixture(scope="module")
def browser(url: str) -> Iterator[Chromium]:
    page = Chromium()
    page.open(url)
    yield page
    page.close()


def send(browser: Chromium, path: str, **values: str) -> Any:
    """Fill an endpoint's form, send it, and read what the page then says."""
    sets = "".join(f"form.querySelector('[data-name={name}]').value = {value!r};" for name, value in values.items())
    return browser.run(
        f"""(async () => {{
        const form = document.querySelector('form[data-path="{path}"]'); {sets}
        form.dispatchEvent(new Event('input')); await send(form);
        const section = form.closest('section');
        return {{told: section.querySelector('.told').textContent, answer: section.querySelector('.answer').textContent,
                 curl: section.querySelector('.curl').textContent,
                 faults: [...section.querySelectorAll('.fault')].map(one => one.textContent).filter(Boolean)}};
        }})()"""
    )


@browser_only
@pytest.mark.slow
def test_an_endpoint_can_be_tried(browser: Chromium) -> None:
    """The form as the page fills it is a good request, and the answer is shown."""
    shown = send(browser, "/delay")
    assert shown["told"].startswith("200 OK in ")
    assert '"minutes": 24.4' in shown["answer"]
    assert """-d '{"carrier":"UA","distance":740,"hour":17}'""" in shown["curl"]


@browser_only
@pytest.mark.slow
def test_faults_stand_at_their_fields(browser: Chromium) -> None:
    """What the server finds wrong is shown at the field, which is marked and has the focus."""
    shown = send(browser, "/delay", distance="far", via='[{"lat": "x"}]')
    assert shown["told"].startswith("422")
    assert shown["faults"] == ["expected float, got str", "/0/lat: expected float, got str"]
    marked = "[...document.querySelectorAll('[aria-invalid=true]')].map(one => one.dataset.name)"
    assert browser.run(marked) == ["distance", "via"]
    assert browser.run("document.activeElement.dataset.name") == "distance"
    assert send(browser, "/delay", distance="1", via="[")["faults"] == ["this is not JSON"]
    assert send(browser, "/delay", distance="1", via="")["faults"] == []


@browser_only
@pytest.mark.slow
def test_queries_tables_and_tokens(browser: Chromium) -> None:
    """GET sends a query, a table is the whole body, and a token is sent where it is given."""
    assert '"JFK"' in send(browser, "/near", city="JFK")["answer"]
    assert '"a": 2' in send(browser, "/score")["answer"]
    assert send(browser, "/_img_src=x_", x="true")["told"].startswith("401")
    browser.run("token.value = 'secret'")
    shown = send(browser, "/_img_src=x_", x="true")
    assert shown["told"].startswith("200")
    assert "secret" not in shown["curl"]


@browser_only
@pytest.mark.slow
def test_the_policy_lets_the_page_work(browser: Chromium) -> None:
    """The browser blocks nothing of the page, runs no script of a docstring, and asks no other host."""
    entries = [event["params"]["entry"] for event in browser.events if event.get("method") == "Log.entryAdded"]
    assert [entry["text"] for entry in entries if "Failed to load resource" not in entry["text"]] == []
    asked = [e["params"]["request"]["url"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"]
    hosts = {urlsplit(url).hostname for url in asked if not url.startswith(("data:", "about:"))}
    assert hosts == {"127.0.0.1"}
    assert browser.run("document.scripts.length") == 1


CONTRAST = """(() => {
  const parse = color => color.match(/[\\d.]+/g).map(Number);
  const light = rgb => { const [r, g, b] = rgb.slice(0, 3).map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
                         return .2126 * r + .7152 * g + .0722 * b; };
  const ground = node => { for (; node; node = node.parentElement) { const c = parse(getComputedStyle(node).backgroundColor); if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
  const poor = [];
  for (const node of document.querySelectorAll('body *')) {
    if (!node.checkVisibility() || !(node.value || [...node.childNodes].some(one => one.nodeType === 3 && one.data.trim()))) continue;
    if (['SCRIPT', 'STYLE', 'OPTION'].includes(node.tagName)) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) poor.push(node.tagName + '.' + node.className + ' ' + ratio.toFixed(2));
  }
  return poor;
})()"""


@browser_only
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(browser: Chromium, scheme: str) -> None:
    """All text stands out from its ground by 4.5 to 1 or more, in light and in dark."""
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    assert browser.run(f"matchMedia('(prefers-color-scheme: {scheme})').matches") is True
    assert browser.run(CONTRAST) == []


@browser_only
@pytest.mark.slow
def test_everything_has_a_name_and_a_place(browser: Chromium) -> None:
    """Every control has an accessible name, ids are unique, headings go down in order, landmarks are there."""
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"textbox", "combobox", "button", "link", "form", "region", "navigation"}
    nameless = [
        node
        for node in nodes
        if not node.get("ignored")
        and node["role"]["value"] in roles
        and not node.get("name", {}).get("value", "").strip()
    ]
    assert nameless == []
    assert browser.run(
        "(ids => ids.length === new Set(ids).size)([...document.querySelectorAll('[id]')].map(one => one.id))"
    )
    levels = browser.run("[...document.querySelectorAll('h1,h2,h3')].map(one => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert browser.run("document.documentElement.lang") == "en"
    assert browser.run("document.querySelectorAll('main').length") == 1


@browser_only
@pytest.mark.slow
def test_the_keyboard_reaches_everything(browser: Chromium) -> None:
    """Tab goes to the skip link first and then through every control, and what has the focus shows it."""
    browser.run("document.activeElement.blur(); scrollTo(0, 0)")
    seen = []
    total = browser.run("document.querySelectorAll('a, button, input, select, textarea, [tabindex]').length")
    for _ in range(total + 5):
        for kind in ("rawKeyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        seen.append(
            browser.run(
                "document.activeElement.className + '|' + document.activeElement.tagName + '|' + (document.activeElement.id || document.activeElement.href || '')"
            )
        )
    reached = browser.run(
        "[...document.querySelectorAll('input, select, textarea, button')].filter(one => one.checkVisibility()).length"
    )
    tags = [one.split("|")[1] for one in dict.fromkeys(seen)]
    assert sum(one.startswith("skip|") for one in seen) >= 1
    assert len([one for one in seen if one.split("|")[1] in ("INPUT", "SELECT", "TEXTAREA", "BUTTON")]) >= reached
    assert {"A", "INPUT", "SELECT", "TEXTAREA", "BUTTON", "PRE"} <= set(tags)


@browser_only
@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_it_fits_the_screen(browser: Chromium, width: int) -> None:
    """On a phone and on a desk nothing sticks out to the side, and what is touched is large enough."""
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
    assert browser.run("document.documentElement.scrollWidth") <= width
    small = browser.run(
        "[...document.querySelectorAll('button, input, select')].filter(one => one.offsetHeight < 34).map(one => one.outerHTML)"
    )
    assert small == []
