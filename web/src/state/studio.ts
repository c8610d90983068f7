// What the server has on offer, and the network of the sentence as it is loaded.
import { batch, effect, signal } from "@preact/signals";
import { call, reach, Refusal } from "../api/client";
import type { NetworkInfo, StudioInfo } from "../api/types";

export const studio = signal<StudioInfo | null>(null);
/** The network of the sentence, once it is loaded. */
export const network = signal<NetworkInfo | null>(null);
/** A refusal that the whole page is about, in one sentence. */
export const trouble = signal<string | null>(null);

export type Loading =
  | { is: "nothing" }
  | { is: "loading"; name: string; since: number }
  | { is: "ready" }
  | { is: "failed"; name: string; reason: string };

/** How the network of the sentence stands. */
export const loading = signal<Loading>({ is: "nothing" });

/** Seconds between two questions whether the server is there again. */
const ASK_AGAIN = 1.5;

/** Ask what is on offer, and load the network whenever another is chosen. */
export function begin(chosen: { readonly value: string }): void {
  void openStudio();
  effect(() => {
    const name = chosen.value;
    const now = loading.peek();
    const failed = now.is === "failed" && now.name === name;
    if (studio.value !== null && !failed) void openNetwork(name);
  });
  effect(() => {
    if (reach.value.is === "gone") askAgain(chosen);
  });
}

export async function openStudio(): Promise<void> {
  try {
    studio.value = await call<StudioInfo>("GET", "api/studio");
    trouble.value = null;
  } catch (problem) {
    if (studio.peek() === null) trouble.value = (problem as Refusal).message;
  }
}

/** Load a network, also one that failed before. */
export async function openNetwork(name: string): Promise<void> {
  if (network.peek()?.name === name) return;
  const now = loading.peek();
  if (now.is === "loading" && now.name === name) return;
  batch(() => {
    network.value = null;
    loading.value = { is: "loading", name, since: Date.now() };
  });
  const meant = () => {
    const then = loading.peek();
    return then.is === "loading" && then.name === name;
  };
  try {
    const found = await call<NetworkInfo>("GET", `api/network?name=${encodeURIComponent(name)}`);
    if (!meant()) return;
    batch(() => {
      network.value = found;
      loading.value = { is: "ready" };
    });
    // For it the data sets were opened, and can be counted now.
    if (studio.peek()?.data.some((one) => one.count === null)) void openStudio();
  } catch (problem) {
    if (!meant()) return;
    loading.value = { is: "failed", name, reason: (problem as Refusal).message };
  }
}

function askAgain(chosen: { readonly value: string }): void {
  setTimeout(async () => {
    await openStudio();
    if (reach.peek().is === "gone") askAgain(chosen);
    else if (loading.peek().is === "failed") void openNetwork(chosen.value);
  }, 1000 * ASK_AGAIN);
}
