// Pictures that are brought: chosen as a file, dropped onto the page, pasted.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { call, Refusal } from "../../api/client";
import type { Named } from "../../api/types";
import { announce } from "../../state/announce";
import { picture } from "../../state/sentence";

/** What was brought last, beside what the network makes of it. */
export interface Brought {
  /** The name under which the studio keeps it. */
  name: string;
  /** What the file shows, from the browser itself. */
  url: string;
  words: string;
  notes: readonly string[];
}

export const brought = signal<Brought | null>(null);
/** `null` where nothing is on its way. */
export const bringing = signal<string | null>(null);
export const bringTrouble = signal<string | null>(null);

let count = 0;

export async function bring(file: Blob, what: string): Promise<void> {
  const mine = ++count;
  bringing.value = what;
  bringTrouble.value = null;
  try {
    const named = await call<Named>("POST", "api/pictures", file);
    if (mine !== count) return;
    if (brought.peek() !== null) URL.revokeObjectURL(brought.peek()?.url ?? "");
    brought.value = {
      name: named.name,
      url: URL.createObjectURL(file),
      words: `${what}, ${named.width}×${named.height}`,
      notes: named.notes,
    };
    picture.value = named.name;
    announce(`${what} is the picture now.`);
  } catch (problem) {
    if (mine === count) bringTrouble.value = refused(problem as Refusal, what);
  } finally {
    if (mine === count) bringing.value = null;
  }
}

function refused(problem: Refusal, what: string): string {
  // A server that refuses a large file may close the door before all of it is through.
  return problem.status === 0
    ? `${what} did not get through: if the studio is still running, the file is too large; make it smaller.`
    : problem.message;
}

/** The first file of a drop or a paste. */
function fileOf(data: DataTransfer | null): File | null {
  return [...(data?.files ?? [])][0] ?? null;
}

/** `done` is called once a file was chosen. */
export function BringButton({ done }: { done?: () => void }) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <button type="button" class="button" onClick={() => input.current?.click()}>
        Upload a picture…
      </button>
      <input
        ref={input}
        type="file"
        hidden
        accept="image/*"
        aria-label="Upload a picture"
        onChange={(event) => {
          const file = event.currentTarget.files?.[0];
          if (file !== undefined) void bring(file, file.name);
          event.currentTarget.value = "";
          if (file !== undefined) done?.();
        }}
      />
    </>
  );
}

const dragged = signal(false);

/** Takes drops and pastes anywhere on the page. */
export function DropPlace() {
  useEffect(() => {
    const carries = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const over = (event: DragEvent) => {
      if (!carries(event)) return;
      event.preventDefault();
      dragged.value = true;
    };
    const out = (event: DragEvent) => {
      if (event.relatedTarget === null) dragged.value = false;
    };
    const drop = (event: DragEvent) => {
      if (!carries(event)) return;
      event.preventDefault();
      dragged.value = false;
      const file = fileOf(event.dataTransfer);
      if (file !== null) void bring(file, file.name);
    };
    const paste = (event: ClipboardEvent) => {
      const file = fileOf(event.clipboardData);
      if (file === null) return;
      event.preventDefault();
      void bring(file, "The pasted picture");
    };
    document.addEventListener("dragover", over);
    document.addEventListener("dragleave", out);
    document.addEventListener("drop", drop);
    document.addEventListener("paste", paste);
    return () => {
      document.removeEventListener("dragover", over);
      document.removeEventListener("dragleave", out);
      document.removeEventListener("drop", drop);
      document.removeEventListener("paste", paste);
    };
  }, []);
  return dragged.value ? <div class="drop-place">Drop the picture: the network looks at it</div> : null;
}
