"""What stands below the morph: stations, maps, units, attacks, portraits, the report."""

from collections.abc import Callable

from tests.studio.browser.window import Window

Open = Callable[..., Window]
USUAL = "?network=digits-cnn&picture=digits:7&to=2&eps=0.3&steps=20&at=20"
PHONE = {"viewport": {"width": 360, "height": 740}}


def test_two_networks_under_the_same_attack(open_window: Open) -> None:
    window = open_window(f"{USUAL}&aeps=0.1", **PHONE)
    panel = window.panel("Attack")
    panel.get_by_role("button", name="another network").click()
    panel.get_by_label("The other network").select_option("digits-robust")
    panel.get_by_role("button", name="Attack both").click()
    outcomes = {}
    for name in ("digits-cnn", "digits-robust"):
        lane = panel.get_by_role("region", name=f"apgd on {name}")
        outcomes[name] = lane.locator(".badge").text_content()
    assert outcomes == {"digits-cnn": "success", "digits-robust": "survives"}
    asked = [job for job in window.posted if job["kind"] == "attack"]
    assert [job.pop("network") for job in asked] == ["digits-cnn", "digits-robust"]
    assert asked[0] == asked[1]
    assert window.sticks_out() == []
    assert window.violations() == []


def test_from_a_way_station_one_goes_on_into_another_class(open_window: Open) -> None:
    window = open_window(USUAL)
    window.panel("Way stations").get_by_text("reaches 0.9").first.wait_for()  # the last there is
    card = window.panel("Way stations").get_by_role("listitem").last
    card.get_by_role("button", name="Go on into").click()
    card.get_by_role("option", name="5").click()
    window.page.wait_for_url("**picture=kept*to=5*")
    window.wait_until(lambda: window.posted[-1].get("to") == "5")
    assert window.posted[-1]["picture"].startswith("kept:")
    window.panel("Way stations").get_by_text("reaches 0.9").first.wait_for()


def test_maps_units_and_downloads_follow_the_picture(open_window: Open) -> None:
    window = open_window(USUAL, **PHONE)
    window.see("Step 20 of 20")
    why = window.panel("Why")
    why.scroll_into_view_if_needed()
    why.get_by_role("article", name="gradient").get_by_role("img").nth(1).wait_for()
    units = window.panel("The units that decided")
    units.get_by_role("button", name="who turned since the start").click()
    units.scroll_into_view_if_needed()
    units.get_by_text("From the start to").wait_for()
    maps = [job for job in window.posted if job["kind"] == "attribution"]
    assert maps[-1]["picture"].startswith("step:")
    assert maps[-1]["picture"].endswith(":20")
    assert window.posted[-1]["kind"] == "units"
    assert window.posted[-1]["other"] == maps[-1]["picture"]
    with window.page.expect_download() as file:
        window.panel("Report").get_by_role("link", name="curve.csv").click()
    assert file.value.path().read_text("utf-8").count("\n") >= 21
    assert window.sticks_out() == []
    assert window.violations() == []


def test_portraits_and_the_report_are_begun_and_stopped(open_window: Open) -> None:
    window = open_window(USUAL)
    beliefs, report = window.panel("What it believes"), window.panel("Report")
    for panel, begin in ((beliefs, "Portraits of"), (report, "Write the report")):
        panel.get_by_role("button", name=begin).click()
        panel.get_by_role("button", name="Stop").click()
        panel.get_by_text("Stopped. What came until then is shown.").wait_for()
    assert {"portrait", "report"} <= {job["kind"] for job in window.posted}
    assert window.violations() == []
