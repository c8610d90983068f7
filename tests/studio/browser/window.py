"""A window of the browser that notes whatever a page must not do."""

import re
from collections.abc import Callable
from typing import Any

_WATCH = """
document.addEventListener("securitypolicyviolation", (found) =>
  console.error(`CSP: ${found.violatedDirective} ${found.blockedURI} ${found.sample}`));
"""
# Two frames later a change of colours is painted.
_SETTLED_AXE = """async (how) => {
  const frame = () => new Promise(requestAnimationFrame);
  await frame(); await frame();
  return (await axe.run({ resultTypes: ["violations"], ...how })).violations;
}"""
_HOW = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}
"""Of what axe looks at colours alone are other ones in the dark."""
_STICKS_OUT = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const held = (one) => one !== null && one !== document.body &&
    (getComputedStyle(one).overflowX !== "visible" || held(one.parentElement));
  return [...document.body.querySelectorAll("*")]
    .filter((one) => one.getBoundingClientRect().right > width && !held(one.parentElement))
    .map((one) => one.outerHTML.slice(0, 120)).slice(0, 12);
}"""


class Window:
    """A page in a context of its own, what it said and what it asked for."""

    def __init__(self, context: Any, url: str, axe_source: str) -> None:
        self._context = context
        self._axe_source = axe_source
        self._closed = False
        self.url = url
        self.expected: list[str] = []
        """Expressions for what the page may say though it is an error, such as of a 422."""
        self.said: list[str] = []
        self.asked: list[str] = []
        context.add_init_script(_WATCH)
        context.set_default_timeout(10_000)
        self.page = context.new_page()
        self.page.on("console", lambda told: self._console(told.type, told.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.posted: list[dict[str, Any]] = []
        self.page.on("request", self._request)

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.said.append(text)

    def _request(self, request: Any) -> None:
        self.asked.append(request.url)
        if request.url.endswith("/api/jobs") and request.post_data:
            self.posted.append(request.post_data_json)

    def visit(self, path: str = "", panels: bool = True) -> None:
        """Open an address of the studio and wait until its panels are there, if any shall be."""
        self.page.goto(f"{self.url}/{path}")
        if panels:
            self.panel("Morph").wait_for()

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Wait, while the browser goes on, for what it asks for."""
        for _ in range(500):
            if true():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError("it did not come to be within 10 s")

    def panel(self, title: str) -> Any:
        """A panel by its title."""
        return self.page.get_by_role("region", name=title, exact=True)

    def see(self, text: str) -> None:
        """Wait until there is a text that is seen."""
        self.page.get_by_text(text).filter(visible=True).first.wait_for()

    def sticks_out(self) -> list[str]:
        """What stands past the right edge, where the page can be moved sideways."""
        return [str(one) for one in self.page.evaluate(_STICKS_OUT)]

    def violations(self) -> list[tuple[str, str, str]]:
        """What axe finds serious or critical, in light and in dark."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(self._axe_source)
        found = []
        for scheme, how in _HOW.items():
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            for one in self.page.evaluate(_SETTLED_AXE, how):
                if one["impact"] in ("serious", "critical"):
                    found += [
                        (scheme, one["id"], node["html"][:200], node["failureSummary"])
                        for node in one["nodes"][:3]
                    ]
        return found

    def close(self) -> list[str]:
        """Close it and say what was wrong, once."""
        if self._closed:
            return []
        self._closed = True
        wrong = [
            said
            for said in self.said
            if not any(re.search(expression, said) for expression in self.expected)
        ]
        wrong += [
            f"asked for {url}"
            for url in self.asked
            if not url.startswith((f"{self.url}/", "data:", "blob:"))
        ]
        self._context.close()
        return wrong
