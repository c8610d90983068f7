import { signal } from "@preact/signals";
import { afterEach, expect, test, vi } from "vitest";
import { call, reach } from "../api/client";
import { askOfPictures, pictured, picturedTrouble, rememberLabel } from "./pictured";
import { network } from "./studio";

afterEach(() => vi.unstubAllGlobals());

/** A server that answers, refuses or is silent. */
let stands: "silent" | "refuses" | "answers" = "answers";
const asked: string[] = [];
const frame = { width: 1, height: 1, channels: 1, pixels: btoa("\x07") };
const seeing = { width: 2, height: 1, channels: 3, pixels: btoa("\x07\x08\x09\x07\x08\x0a") };
const half = btoa(String.fromCharCode(...new Uint8Array(new Float32Array([0.5, 0.5]).buffer)));

function serve(): void {
  vi.stubGlobal("fetch", async (path: string, init: RequestInit) => {
    asked.push(`${path} ${String(init.body ?? "")}`);
    // The first picture is slow.
    if (String(init.body).includes("digits:7")) await new Promise((done) => setTimeout(done, 10));
    if (stands === "silent") throw new TypeError("no answer");
    if (stands === "refuses") {
      return new Response(JSON.stringify({ detail: "no such picture" }), { status: 404 });
    }
    const seen = String(init.body).includes("digits:8") ? seeing : frame;
    return new Response(JSON.stringify({ frame: seen, probabilities: half, winner: 1, notes: [] }));
  });
}

test("the network is asked of each picture, and again once a silent server answers", async () => {
  serve();
  const picture = signal("digits:7");
  rememberLabel("net", "digits:7", "7");
  rememberLabel("net", "digits:8", "8");
  rememberLabel("net", "digits:9", "9");
  askOfPictures(picture);
  network.value = { name: "net", labels: ["a", "b"], channels: 1, input_size: [1, 1], offers: {} };
  await vi.waitFor(() => expect(pictured.value?.label).toBe("7"));
  expect([...(pictured.value?.probabilities ?? [])]).toEqual([0.5, 0.5]);
  expect(pictured.value?.notes.join()).toContain("nothing to see");

  stands = "silent";
  picture.value = "digits:8";
  await vi.waitFor(() => expect(picturedTrouble.value?.status).toBe(0));
  expect(reach.value.is).toBe("gone");
  expect(pictured.value?.picture).toBe("digits:7");

  stands = "answers";
  await call("GET", "api/studio");
  expect(reach.value.is).toBe("there");
  await vi.waitFor(() => expect(pictured.value?.picture).toBe("digits:8"));
  expect(picturedTrouble.value).toBeNull();
  expect(pictured.value?.notes).toEqual([]);

  stands = "refuses";
  picture.value = "digits:9";
  await vi.waitFor(() => expect(picturedTrouble.value?.message).toBe("no such picture"));
  expect(pictured.value).toBeNull();
  const count = asked.length;
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(asked.length).toBe(count);
});

test("an answer that comes when another picture is chosen is not taken", async () => {
  serve();
  stands = "answers";
  const picture = signal("digits:7");
  askOfPictures(picture);
  picture.value = "digits:8";
  await new Promise((resolve) => setTimeout(resolve, 60));
  expect(pictured.value?.picture).toBe("digits:8");
});
