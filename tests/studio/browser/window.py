"""A window of the browser that notes whatever a page must not do."""

import re
from typing import Any

_WATCH = """
document.addEventListener("securitypolicyviolation", (found) =>
  console.error(`CSP: ${found.violatedDirective} ${found.blockedURI} ${found.sample}`));
"""
# Two frames later a change of colours is painted, unless it is on its way.
_SETTLED_AXE = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  await frame(); await frame();
  const passing = (one) => one.effect?.getComputedTiming().endTime !== Infinity;
  await Promise.allSettled(document.getAnimations().filter(passing).map((one) => one.finished));
  return (await axe.run({ resultTypes: ["violations"] })).violations;
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
        self.page.on("request", lambda one: self.asked.append(one.url))

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.said.append(text)

    def visit(self, path: str = "") -> None:
        """Open an address of the studio and wait until the network of the sentence is there."""
        with self.page.expect_response("**/api/network?*"):
            self.page.goto(f"{self.url}/{path}")
        self.page.get_by_role("heading", level=1).wait_for()

    def width_left(self) -> int:
        """Pixels that stick out to the right."""
        return int(
            self.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
        )

    def violations(self) -> list[tuple[str, str, str]]:
        """What axe finds serious or critical, in light and in dark."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(self._axe_source)
        found = []
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            for one in self.page.evaluate(_SETTLED_AXE):
                if one["impact"] in ("serious", "critical"):
                    node = one["nodes"][0]
                    found.append((scheme, one["id"], node["html"][:200], node["failureSummary"]))
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
