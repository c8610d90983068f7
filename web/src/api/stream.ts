// What a job tells, as a stream of messages whose pictures are bytes. The browser's own reading of
// server-sent events takes several times as long for pictures in base64.

/** An event of a job. */
export interface Told {
  id: number;
  event: string;
  /** With the pixels of its frames as bytes, see `placed`. */
  data: unknown;
}

type Bytes = Uint8Array<ArrayBuffer>;

/** Bytes of the two lengths that come before each message. */
const LENGTHS = 8;
/** Milliseconds of work after which the page has its turn, however much there is to read. */
const TURN = 8;

/**
 * Read a stream to its end. The answer is false where the studio refused to begin; a connection
 * that is lost, or ended by `signal`, rejects. `opened` is called once the studio answers.
 */
export async function hear(
  path: string,
  signal: AbortSignal,
  opened: () => void,
  tell: (told: Told) => void,
): Promise<boolean> {
  const answer = await fetch(path, { signal, cache: "no-store" });
  if (answer.status !== 200 || answer.body === null) return false;
  opened();
  const messages = new Messages((told) => {
    if (signal.aborted) return;
    try {
      tell(told);
    } catch (problem) {
      reportError(problem); // a fault of the page is no lost connection
    }
  });
  const reader = answer.body.getReader();
  for (let worked = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return true;
    const began = performance.now();
    messages.take(value);
    worked += performance.now() - began;
    if (worked > TURN) {
      await turn();
      worked = 0;
    }
  }
}

/** By a message: timers of a page that is not looked at wait for a second. */
function turn(): Promise<void> {
  return new Promise((go) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      go();
    };
    port2.postMessage(null);
  });
}

/** Puts messages together from pieces, wherever these are cut. */
export class Messages {
  /** What is being filled, and how far: the lengths, then the head, then the pixels. */
  private part: Bytes = new Uint8Array(LENGTHS);
  private filled = 0;
  private head: Bytes | null = null;
  private pixels: Bytes | null = null;

  constructor(private readonly tell: (told: Told) => void) {}

  take(piece: Uint8Array): void {
    for (let at = 0; at < piece.length; ) {
      const some = piece.subarray(at, at + this.part.length - this.filled);
      this.part.set(some, this.filled);
      this.filled += some.length;
      at += some.length;
      if (this.filled === this.part.length) this.next();
    }
  }

  /** A part is whole. One that is empty never comes here. */
  private next(): void {
    this.filled = 0;
    if (this.head === null || this.pixels === null) {
      const lengths = new DataView(this.part.buffer);
      const count = lengths.getUint32(0, true);
      if (count === 0) return; // the stream is still there, and says no more
      this.head = this.part = new Uint8Array(count);
      this.pixels = new Uint8Array(lengths.getUint32(4, true));
      return;
    }
    const { head, pixels } = this;
    if (this.part === head && pixels.length > 0) {
      this.part = pixels;
      return;
    }
    this.part = new Uint8Array(LENGTHS);
    this.head = this.pixels = null;
    const told = JSON.parse(new TextDecoder().decode(head)) as Told;
    const frames = (told.data as { frames?: Record<string, unknown> }).frames;
    for (const one of Object.values(frames ?? {})) placed(one, pixels);
    this.tell(told);
  }
}

/** Put its bytes where a frame, or each of several, says that they lie. */
function placed(frame: unknown, pixels: Bytes): void {
  if (Array.isArray(frame)) {
    for (const one of frame) placed(one, pixels);
    return;
  }
  const found = frame as { pixels?: unknown };
  if (!Array.isArray(found?.pixels)) return;
  const [place, count] = found.pixels as [number, number];
  found.pixels = pixels.subarray(place, place + count);
}
