// Every panel registers itself here; the page shows those that work on the network at hand.
import type { ComponentType } from "preact";
import type { NetworkInfo } from "../api/types";

export interface Panel {
  /** Its anchor, and its key among the panels. */
  id: string;
  title: string;
  /** Where it stands on the page: the input is 10, the report 70. */
  place: number;
  /** Its share of a wide screen; `full` where nothing is said. */
  width?: "third" | "half" | "two-thirds" | "full";
  /** Why it cannot be used on this network; `null` where it can. */
  whyNot: (network: NetworkInfo) => string | null;
  view: ComponentType<{ network: NetworkInfo }>;
}

const panels: Panel[] = [];

export function register(panel: Panel): void {
  panels.push(panel);
  panels.sort((one, other) => one.place - other.place);
}

export function registered(): readonly Panel[] {
  return panels;
}

/** Why a kind of job cannot be used on a network; `null` where it can. */
export function unlessOffered(kind: string): (network: NetworkInfo) => string | null {
  return (network) => {
    const offer = network.offers[kind];
    return offer === undefined ? "This studio does not offer it." : (offer.why_not ?? null);
  };
}
