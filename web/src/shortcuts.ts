// Keys of the whole page: panels register theirs here, `?` lists all of them.
import { signal } from "@preact/signals";

export interface Shortcut {
  /** As `KeyboardEvent.key` has it: " ", "ArrowLeft", "Escape", "?". */
  key: string;
  /** As the list shows it. */
  shown: string;
  does: string;
  /** Whether it can be used just now. */
  when?: () => boolean;
  run: () => void;
}

export const shortcuts = signal<readonly Shortcut[]>([]);

/** Listen for a key; the answer takes it back. */
export function registerShortcut(made: Shortcut): () => void {
  shortcuts.value = [...shortcuts.peek(), made];
  return () => {
    shortcuts.value = shortcuts.peek().filter((one) => one !== made);
  };
}

/** Elements that have a use of their own for a key. */
const TYPING = "input:not([type=checkbox], [type=radio]), select, textarea, [contenteditable]";
const WALKED =
  "[role=listbox], [role=radiogroup], [role=slider], [role=tablist], [data-keys], input[type=radio]";
const PRESSED = "button, a[href], summary, input, [role=button], [role=tab], [role=option]";

function usedBy(target: Element, key: string): boolean {
  if (target.closest("dialog, [role=dialog]") !== null) return true;
  if (key === "Escape") return target.closest("[role=combobox], [role=listbox]") !== null;
  if (target.closest(TYPING) !== null) return true;
  if (key.startsWith("Arrow") || key === "Home" || key === "End") {
    return target.closest(WALKED) !== null;
  }
  return (key === " " || key === "Enter") && target.closest(PRESSED) !== null;
}

export function pressed(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target instanceof Element && usedBy(event.target, event.key)) return;
  const meant = shortcuts.peek().find((one) => one.key === event.key && (one.when?.() ?? true));
  if (meant === undefined) return;
  event.preventDefault();
  meant.run();
}

document.addEventListener("keydown", pressed);
