// The API's doors. All URLs are relative, so that the page works under any path of a proxy.
import type { Problem } from "./types";

/** A refusal of the server, or its silence, in one sentence for the page. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    detail: string,
  ) {
    super(detail);
  }
}

export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Refusal(0, "The studio does not answer: is its command still running?");
  }
  if (!answer.ok) {
    const problem = (await answer.json().catch(() => null)) as Problem | null;
    throw new Refusal(answer.status, problem?.detail ?? `The studio answered ${answer.status}.`);
  }
  return (await answer.json()) as T;
}

/** Every name of an event besides `end`: the browser wants each of them named. */
export const EVENTS = [
  "queued",
  "begin",
  "step",
  "winner",
  "progress",
  "map",
  "units",
  "picture",
  "verdict",
] as const;
