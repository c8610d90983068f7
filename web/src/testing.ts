// What tests of components share: a place to render into, and waiting until all is done.
import { render, type ComponentChild } from "preact";
import { act } from "preact/test-utils";

export const place = document.createElement("div");
document.body.append(place);

/** Render, and wait for what effects and answered promises change. */
export async function show(what: ComponentChild): Promise<HTMLElement> {
  await act(() => render(what, place));
  await settle();
  return place;
}

/** Let promises and timers of no time run, and render what they changed. */
export async function settle(): Promise<void> {
  // Effects run when `act` ends, and what they ask for is answered in the next round.
  for (let round = 0; round < 3; round++) {
    await act(async () => {
      await new Promise((done) => setTimeout(done));
    });
  }
}

/** Press what has this text or label. */
export async function press(words: string): Promise<void> {
  const found = [...place.querySelectorAll<HTMLElement>("button, a, summary, input, select")].find(
    (one) => one.textContent?.trim() === words || one.getAttribute("aria-label") === words,
  );
  if (found === undefined) throw new Error(`nothing to press says ${words}: ${place.innerHTML}`);
  found.click();
  await settle();
}

/** Take all away; what that sends is still heard by the test's server. */
export async function clear(): Promise<void> {
  render(null, place);
  await settle();
}

/** A stream of a job that tells what a test says. */
export class FakeStream {
  static readonly CLOSED = 2;
  readyState = 1;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  private readonly hearing = new Map<string, (told: object) => void>();
  private number = 0;

  constructor(readonly url: string) {
    server.streams.push(this);
  }

  addEventListener(name: string, hear: (told: object) => void): void {
    this.hearing.set(name, hear);
  }

  close(): void {
    this.readyState = FakeStream.CLOSED;
  }

  async tell(name: string, data: object): Promise<void> {
    this.number += 1;
    const hear = this.hearing.get(name);
    if (hear === undefined) throw new Error(`nobody hears ${name}`);
    await act(() => hear({ lastEventId: String(this.number), data: JSON.stringify(data) }));
    await settle();
  }
}

type Answer = (asked: Record<string, unknown>) => unknown;

/** A studio that answers what a test says; jobs are accepted and tell nothing by themselves. */
export const server = {
  /** Requests of jobs, in their order. */
  jobs: [] as Record<string, unknown>[],
  streams: [] as FakeStream[],
  answers: new Map<string, Answer>(),

  /** Stand in for fetch and EventSource. */
  start(stub: (name: string, value: unknown) => void): void {
    server.jobs.length = 0;
    server.streams.length = 0;
    server.answers.clear();
    stub("EventSource", FakeStream);
    stub("fetch", async (url: string, asked: { method: string; body?: string }) => {
      const body = JSON.parse(asked.body ?? "{}") as Record<string, unknown>;
      if (asked.method === "POST" && url === "api/jobs") {
        server.jobs.push(body);
        const id = `job${server.jobs.length}`;
        return Response.json({ id, kind: body.kind, state: "queued", files: [] });
      }
      const answer = server.answers.get(url);
      if (answer === undefined) return Response.json({});
      return Response.json(answer(body));
    });
  },

  /** The stream of the last job that was asked for. */
  stream(): FakeStream {
    return server.streams.at(-1)!;
  }
};
