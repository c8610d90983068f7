import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Combobox } from "./combobox";
import { type Item, search } from "./search";

const ANIMALS: Item[] = ["tabby, tabby cat", "catamaran", "Égyptian cat", "wild dog", "hot dog"].map(
  (label, index) => ({ value: String(index), label }),
);
const MANY: Item[] = Array.from({ length: 1000 }, (_, at) => ({ value: `c${at}`, label: `class ${at}` }));

let root: HTMLElement;
let chosen: string[];

beforeEach(() => {
  root = document.createElement("div");
  document.body.append(root);
  chosen = [];
});
afterEach(() => {
  render(null, root);
  root.remove();
});

function show(items: readonly Item[], now = ""): void {
  const choose = (value: string) => chosen.push(value);
  act(() => render(<Combobox label="Class" items={items} chosen={now} choose={choose} />, root));
}

function press(on: Element, key: string): void {
  act(() => {
    on.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  });
}

function type(text: string): HTMLInputElement {
  const field = root.querySelector("input") as HTMLInputElement;
  act(() => {
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
  return field;
}

/** The option that a screen reader is at. */
function active(on: Element): string | null | undefined {
  return document.getElementById(on.getAttribute("aria-activedescendant") ?? "")?.textContent;
}

test("whole names come first, then beginnings, words within, and the rest", () => {
  const found = (query: string) => search(ANIMALS, query).map(({ label }) => label);
  expect(found("tabby cat")).toEqual(["tabby, tabby cat"]);
  expect(found("cat")).toEqual(["catamaran", "tabby, tabby cat", "Égyptian cat"]);
  expect(found("egyptian")).toEqual(["Égyptian cat"]);
  expect(found("dog wild")).toEqual(["wild dog"]);
  expect(found("zebra")).toEqual([]);
  expect(found("")).toHaveLength(5);
});

test("a few are walked without a field, by arrows and Enter", () => {
  show(ANIMALS, "1");
  expect(root.querySelector("input")).toBeNull();
  const list = root.querySelector("[role=listbox]") as HTMLElement;
  expect(list.tabIndex).toBe(0);
  expect(active(list)).toBe("catamaran");
  press(list, "ArrowUp");
  press(list, "ArrowUp");
  expect(active(list)).toBe("hot dog");
  press(list, "Enter");
  expect(chosen).toEqual(["4"]);
});

test("a letter leads to the next of a few that begins with it", () => {
  show(ANIMALS, "1");
  const list = root.querySelector("[role=listbox]") as HTMLElement;
  press(list, "e");
  expect(active(list)).toBe("Égyptian cat");
  press(list, "t");
  expect(active(list)).toBe("tabby, tabby cat");
  press(list, "z");
  expect(active(list)).toBe("tabby, tabby cat");
  press(list, "Enter");
  expect(chosen).toEqual(["0"]);
});

test("a thousand are searched; the list is bounded and says how many are left", () => {
  show(MANY, "c3");
  expect(root.querySelectorAll("[role=option]").length).toBe(60);
  expect(root.querySelector("[role=status]")?.textContent).toContain("940 more");
  const field = type("class 77");
  expect(field.getAttribute("role")).toBe("combobox");
  expect(active(field)).toBe("class 77");
  press(field, "ArrowDown");
  expect(active(field)).toBe("class 770");
  press(field, "Enter");
  expect(chosen).toEqual(["c770"]);
});

test("nothing found is said, and Enter chooses nothing", () => {
  show(MANY);
  const field = type("zebra");
  expect(root.querySelector("[role=status]")?.textContent).toContain("Nothing is called “zebra”");
  press(field, "Enter");
  expect(chosen).toEqual([]);
});
