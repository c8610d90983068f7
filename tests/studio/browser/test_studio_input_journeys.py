"""What a morph begins with: drawn, brought, pasted, chosen by keys; classes of every kind."""

import re
from collections.abc import Callable
from typing import Any

from PIL import Image

from tests.studio.browser.conftest import MARKUP
from tests.studio.browser.window import Window

Open = Callable[..., Window]
USUAL = "?network=digits-cnn&picture=digits:7&to=2&eps=0.3&steps=20&at=20"
# What a browser says of an answer that is a refusal.
REFUSED = "status of 4"
_FOCUSED = """(() => {
  const one = document.activeElement;
  return [one.ariaLabel, one.ariaValueText, one.textContent].join(" ");
})()"""
_PASTE = """async () => {
  const canvas = new OffscreenCanvas(40, 40);
  canvas.getContext("2d").fillRect(0, 0, 20, 20);
  const data = new DataTransfer();
  data.items.add(new File([await canvas.convertToBlob()], "image.png", { type: "image/png" }));
  document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
}"""


def word(window: Window, name: str) -> Any:
    return window.page.get_by_role("region", name="What is shown").get_by_role(
        "button", name=re.compile(f"^{name}:")
    )


def tab_to(window: Window, name: str) -> None:
    """Go on by the tab key to what is called so; the focus is seen all the way."""
    reached: list[str] = []
    while not reached or name not in reached[-1]:
        window.page.keyboard.press("Tab")
        reached.append(window.page.evaluate(_FOCUSED))
        assert (
            window.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        )
        assert len(reached) < 60, reached


def test_a_digit_is_drawn_and_turned(open_window: Open) -> None:
    window = open_window(USUAL)
    panel = window.panel("Picture")
    panel.get_by_role("button", name="Black", exact=True).click()
    box = panel.get_by_role("img", name="draw on it").bounding_box()
    mouse, x, y, side = window.page.mouse, box["x"], box["y"], box["width"]
    mouse.move(x + 0.5 * side, y + 0.2 * side)
    mouse.down()
    mouse.move(x + 0.5 * side, y + 0.8 * side, steps=8)
    with window.page.expect_response("**/api/predictions") as answer:
        mouse.up()
    assert answer.value.ok
    panel.get_by_text("Predicted as 1").wait_for()  # a stroke from above to below
    window.wait_until(lambda: window.posted[-1]["picture"] not in ("digits:7",))
    morph = [job for job in window.posted if job["kind"] == "morph"][-1]
    assert morph["picture"].startswith("kept:")
    panel.get_by_role("button", name="Undo").click()
    panel.get_by_role("button", name="Redo").click()
    assert window.violations() == []


def test_a_file_that_is_no_picture_is_refused_in_a_sentence(
    open_window: Open, tmp_path: Any
) -> None:
    window = open_window(USUAL)
    window.expected = [REFUSED]
    file = tmp_path / "holiday.png"
    file.write_text("no picture at all")
    upload = window.panel("Picture").get_by_label("Upload a picture", exact=True)
    upload.set_input_files(file)
    said = window.panel("Picture").get_by_role("alert")
    assert len(said.text_content()) > 30
    assert "kept" not in window.page.url
    assert window.violations() == []
    Image.new("RGB", (50, 40), "white").save(file)
    upload.set_input_files(file)
    window.see("holiday.png, 50×40")
    said.wait_for(state="hidden")
    window.page.wait_for_url("**picture=kept*")


def test_a_picture_is_pasted(open_window: Open) -> None:
    window = open_window(USUAL)
    window.page.evaluate(_PASTE)
    window.see("The pasted picture, 40×40")
    window.page.wait_for_url("**picture=kept*")


def test_a_whole_journey_by_keys_alone(open_window: Open) -> None:
    window = open_window(USUAL)
    window.see("Step 20 of 20")
    keys = window.page.keyboard
    tab_to(window, "Class:")
    keys.press("Enter")
    window.page.get_by_role("listbox", name="Class that it is turned into").wait_for()
    keys.press("ArrowDown")
    keys.press("Enter")
    window.page.wait_for_url("**to=3*")
    window.wait_until(lambda: window.posted[-1].get("to") == "3")
    window.see("Step 20 of 20")
    keys.press("Home")
    window.see("Step 0 of 20")
    keys.press("ArrowRight")
    window.see("Step 1 of 20")
    keys.press("?")
    window.page.get_by_role("dialog", name="Keys").wait_for()
    assert window.violations() == []
    keys.press("Escape")
    window.page.get_by_role("dialog").wait_for(state="hidden")
    tab_to(window, "Step 1 of 20:")
    keys.press("Space")
    window.panel("Morph").get_by_role("button", name="Pause").wait_for()
    keys.press("Escape")
    window.panel("Morph").get_by_role("button", name="Play").wait_for()


def test_a_class_with_markup_in_its_name_is_words(open_window: Open) -> None:
    window = open_window(
        "?network=hostile&picture=digits:7&to=0&steps=10&at=10",
        viewport={"width": 360, "height": 740},
    )
    window.see("Step 10 of 10")
    assert window.page.evaluate("document.querySelectorAll('[src=x], main b').length") == 0
    assert MARKUP[:8] in window.page.locator("body").text_content()
    assert window.page.title() != "owned"
    assert window.sticks_out() == []
    assert window.violations() == []


def test_of_a_thousand_classes_one_is_found(open_window: Open) -> None:
    window = open_window("?network=thousand&picture=digits:7&steps=10&at=10")
    word(window, "Class").click()
    window.page.get_by_role("combobox", name="Class that").fill("class-733")
    window.page.get_by_role("option", name="class-733").click()
    window.page.wait_for_url("**to=class-733*")
    window.wait_until(lambda: window.posted[-1].get("to") == "class-733")
    window.see("Step 10 of 10")
    plot = window.panel("Morph").get_by_role("img", name="The probability of each class")
    assert "Step 10 of 10: class-733 " in plot.get_attribute("aria-label")
    assert window.violations() == []


def test_a_word_that_cannot_be_is_said(open_window: Open) -> None:
    window = open_window("?network=digits-cnn&to=eleven&steps=10")
    window.see("eleven")
    assert window.page.get_by_role("alert").first.text_content()
    other = open_window("?network=digits-cmn", panels=False)
    other.expected = [REFUSED]
    other.see("digits-cmn cannot be loaded")
    assert other.violations() == []
