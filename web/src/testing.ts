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

/** A message of a stream, whose frames say where in `pixels` theirs lie. */
export function message(id: number, event: string, data: object, pixels: number[] = []) {
  const head = new TextEncoder().encode(JSON.stringify({ id, event, data }));
  const lengths = new DataView(new ArrayBuffer(8));
  lengths.setUint32(0, head.length, true);
  lengths.setUint32(4, pixels.length, true);
  return Uint8Array.from([...new Uint8Array(lengths.buffer), ...head, ...pixels]);
}

/** A stream of a job that tells what a test says. */
export class FakeStream {
  private pieces!: ReadableStreamDefaultController<Uint8Array>;
  private number = 0;
  readonly answer: Response;

  constructor(
    readonly url: string,
    readonly signal: AbortSignal,
  ) {
    const body = new ReadableStream<Uint8Array>({ start: (pieces) => void (this.pieces = pieces) });
    this.answer = { status: 200, body } as Response;
    signal.addEventListener("abort", () => this.lose());
  }

  /** A piece of what is sent. */
  send(piece: Uint8Array): void {
    this.pieces.enqueue(piece);
  }

  /** The connection breaks. */
  lose(): void {
    this.pieces.error(new TypeError("network error"));
  }

  /** It ends as a stream does that is complete, or that a proxy cuts. */
  end(): void {
    this.pieces.close();
  }

  async tell(name: string, data: object): Promise<void> {
    this.number += 1;
    await act(() => this.send(message(this.number, name, data)));
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

  /** Stand in for fetch. */
  start(stub: (name: string, value: unknown) => void): void {
    server.jobs.length = 0;
    server.streams.length = 0;
    server.answers.clear();
    stub("fetch", async (url: string, asked: { method: string; body?: string } & RequestInit) => {
      if (/^api\/jobs\/[^/]+\/stream/.test(url)) {
        const stream = new FakeStream(url, asked.signal as AbortSignal);
        server.streams.push(stream);
        return stream.answer;
      }
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
