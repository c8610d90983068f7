// The API's doors. All URLs are relative, so that the page works under any path of a proxy.
import { signal } from "@preact/signals";
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

/** Whether the server is there: it may be silent, or want the token of its address. */
export type Reach = { is: "there" } | { is: "gone" } | { is: "locked"; reason: string };

export const reach = signal<Reach>({ is: "there" });

/** Ask a door that answers with JSON. `body` is sent as JSON, bytes as they are. */
export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const answer = await answered(method, path, body);
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

/** Fetch a file and save it under a name, where the browser saves what is fetched. */
export async function download(path: string, name: string): Promise<void> {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await (await answered("GET", path)).blob());
  link.download = name;
  link.click();
  // Not at once: some browsers fetch it after the click.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function answered(method: string, path: string, body?: unknown): Promise<Response> {
  const raw = body instanceof Blob;
  const type = raw ? "application/octet-stream" : "application/json";
  let answer: Response;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": type },
      body: body === undefined || raw ? body : JSON.stringify(body),
    });
  } catch {
    stands({ is: "gone" });
    throw new Refusal(0, "The studio does not answer: is its command still running?");
  }
  if (answer.ok) {
    stands({ is: "there" });
    return answer;
  }
  const problem = (await answer.json().catch(() => null)) as Problem | null;
  const reason = problem?.detail ?? `The studio answered ${answer.status}.`;
  // A proxy answers for a studio that is gone.
  if (answer.status === 401) stands({ is: "locked", reason });
  else if ([502, 503, 504].includes(answer.status) && problem === null) stands({ is: "gone" });
  else stands({ is: "there" });
  throw new Refusal(answer.status, reason);
}

function stands(found: Reach): void {
  if (reach.peek().is !== found.is) reach.value = found;
}
