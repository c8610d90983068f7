import { signal } from "@preact/signals";
import { beforeEach, expect, test, vi } from "vitest";

/** The module as a page that was opened at an address has it. */
async function opened(words: string) {
  vi.resetModules();
  history.replaceState(null, "", `/studio/${words}`);
  return import("./choices");
}

/** Once the address is written. */
const settled = () => new Promise<void>((resolve) => setTimeout(resolve));

beforeEach(() => history.replaceState(null, "", "/"));

test("what the address says is taken, and only what is not usual is written", async () => {
  const { choice, link } = await opened("?to=5");
  const to = choice("to", "2");
  const steps = choice("steps", 40);
  expect([to.value, steps.value]).toEqual(["5", 40]);
  steps.value = 9;
  await settled();
  expect(location.search).toBe("?to=5&steps=9");
  to.value = "2";
  steps.value = 40;
  await settled();
  expect(location.search).toBe("");
  expect(link()).toBe("/studio/");
});

test("what is usual is in the address where it is also said, and follows others nevertheless", async () => {
  const { choice, sayAlso } = await opened("?eps=0.3&to=2");
  const suited = signal("0.3");
  const eps = choice("eps", () => suited.value);
  const to = choice("to", "2");
  const entries = history.length;
  sayAlso({ eps: "0.3", to: "2", network: "digits-cnn" });
  for (const one of [eps, to]) one.settle();
  await settled();
  expect(new URLSearchParams(location.search).get("network")).toBe("digits-cnn");
  expect(history.length).toBe(entries);
  suited.value = "8/255";
  expect(eps.value).toBe("8/255");
  to.value = "5";
  await settled();
  expect(new URLSearchParams(location.search).get("to")).toBe("5");
});

test("choices that are made later find what the address said of them, a token is dropped", async () => {
  const { choice } = await opened("?early=1&late=2&token=secret");
  const early = choice("early", "0");
  early.value = "3";
  await settled();
  expect(choice("late", "0").value).toBe("2");
  expect(location.search).not.toContain("secret");
  expect(new URLSearchParams(location.search).get("late")).toBe("2");
});

test("what is usual follows other choices until something is said", async () => {
  const { choice } = await opened("");
  const suited = signal("0.3");
  const eps = choice("eps", () => suited.value);
  expect(eps.value).toBe("0.3");
  suited.value = "8/255";
  expect(eps.value).toBe("8/255");
  eps.value = "1/255";
  suited.value = "4/255";
  expect(eps.value).toBe("1/255");
  eps.forget();
  expect(eps.value).toBe("4/255");
});

test("changes that belong together are one entry, those that follow the view are none", async () => {
  const { choice } = await opened("");
  const to = choice("to", "2");
  const at = choice("at", -1, "replace");
  const before = history.length;
  to.value = "3";
  at.value = 4;
  await settled();
  expect(history.length).toBe(before + 1);
  at.value = 5;
  await settled();
  to.replace("7");
  await settled();
  expect(history.length).toBe(before + 1);
  expect(location.search).toBe("?to=7&at=5");
});

test("Back and Forward read the address anew", async () => {
  const { choice } = await opened("?to=5");
  const to = choice("to", "2");
  to.value = "6";
  await settled();
  history.replaceState(null, "", "/studio/?to=5");
  dispatchEvent(new PopStateEvent("popstate"));
  expect(to.value).toBe("5");
  history.replaceState(null, "", "/studio/");
  dispatchEvent(new PopStateEvent("popstate"));
  expect(to.value).toBe("2");
});

test("what cannot be meant is said, and the usual taken", async () => {
  const { choice, misread } = await opened("?steps=many&random=perhaps&flag=false&zero=0");
  expect(choice("steps", 40).value).toBe(40);
  expect(choice("random", true).value).toBe(true);
  expect(choice("flag", true).value).toBe(false);
  expect(choice("zero", 7).value).toBe(0);
  expect(misread.value).toHaveLength(2);
  expect(misread.value[0]).toContain("steps=many; expected a number");
  choice("to", "2").value = "3";
  await settled();
  expect(misread.value).toEqual([]);
});

test("an address may spell a value in its own way", async () => {
  const { choice } = await opened("");
  const picture = choice("picture", "digits:7", "push", (name) => name.replace("kept:a", "draw:A"));
  picture.value = "kept:a";
  await settled();
  expect(new URLSearchParams(location.search).get("picture")).toBe("draw:A");
  expect(picture.value).toBe("kept:a");
});
