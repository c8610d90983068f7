import { afterEach, expect, test, vi } from "vitest";
import { clear, place, press, show } from "../../testing";
import { Command } from "./command";

afterEach(async () => {
  await clear();
  vi.unstubAllGlobals();
});

const told = () => place.querySelector("[role=status]")?.textContent;

test("a command that looks like markup stays text, and is copied as it is", async () => {
  const writeText = vi.fn(async () => undefined);
  vi.stubGlobal("navigator", { clipboard: { writeText } });
  const command = "fluoroscope morph --to '<img src=x onerror=alert(1)>'";
  await show(<Command command={command} />);
  expect(place.querySelector("img")).toBeNull();
  expect(place.querySelector("code")?.textContent).toBe(command);
  await press("Copy: In a terminal");
  expect(told()).toBe("Copied");
  expect(writeText).toHaveBeenCalledWith(command);
});

test("without permission it is copied by a selection", async () => {
  vi.stubGlobal("navigator", {});
  const asked = vi.fn((_: string) => document.querySelector("textarea")?.value === "fluoroscope x");
  document.execCommand = asked;
  await show(<Command command="fluoroscope x" />);
  await press("Copy: In a terminal");
  expect(told()).toBe("Copied");
  expect(asked).toHaveBeenCalledWith("copy");
  expect(document.querySelector("textarea")).toBeNull();
});

test("where nothing copies, the line is selected and the page says so", async () => {
  vi.stubGlobal("navigator", {});
  document.execCommand = () => false;
  await show(<Command command="fluoroscope x" />);
  await press("Copy: In a terminal");
  expect(told()).toContain("Ctrl+C");
  expect(getSelection()?.toString()).toBe("fluoroscope x");
});

test("there is nothing without a command, and what was copied is not said of the next", async () => {
  vi.stubGlobal("navigator", { clipboard: { writeText: async () => undefined } });
  await show(<Command command={null} />);
  expect(place.textContent).toBe("");
  await show(<Command command="one" />);
  await press("Copy: In a terminal");
  expect(told()).toBe("Copied");
  await show(<Command command="two" />);
  expect(told()).toBe("");
});

test("a picture that no data set has is offered as the file that the command names", async () => {
  const of = { picture: "step:a/b:3", network: "n&x" };
  await show(<Command command="fluoroscope morph --image digits:7" of={of} />);
  expect(place.querySelector("a")).toBeNull();
  await show(<Command command="fluoroscope morph --image PICTURE.npy" of={of} />);
  expect(place.querySelector("a")?.getAttribute("href")).toBe(
    "api/pictures/npy?name=step%3Aa%2Fb%3A3&network=n%26x",
  );
});
