// What the server has on offer.
import { signal } from "@preact/signals";
import type { NetworkInfo, StudioInfo } from "../api/types";

export const studio = signal<StudioInfo | null>(null);
/** The network of the sentence, once it is loaded. */
export const network = signal<NetworkInfo | null>(null);
/** A refusal that the whole page is about, in one sentence. */
export const trouble = signal<string | null>(null);
