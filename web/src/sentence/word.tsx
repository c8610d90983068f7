// A word of the sentence: a button that opens its control in place, and as a sheet from below where
// the screen is narrow.
import type { ComponentChildren } from "preact";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";

interface WordProps {
  /** What the word is, for screen readers: "Network". */
  name: string;
  /** What it says now. */
  shown: ComponentChildren;
  /** Said after its name where `shown` is more than text. */
  spoken?: string;
  /** It cannot be as it is, for the reason that stands below the sentence. */
  wrong?: boolean;
  /** Is given what closes it once something is chosen. */
  children: (close: () => void) => ComponentChildren;
}

export function Word({ name, shown, spoken, wrong = false, children }: WordProps) {
  const id = useId();
  const [open, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const whole = useRef<HTMLSpanElement>(null);
  const panel = useRef<HTMLDivElement>(null);

  /** Back to the word, or once something is chosen to what it changes: its keys are those of the
   *  morph, where on the word Space would open it again. */
  function close(chosen: boolean): void {
    setOpen(false);
    const panels = chosen ? document.getElementById("panels") : null;
    (panels ?? button.current)?.focus({ preventScroll: true });
  }

  useLayoutEffect(() => {
    const sheet = panel.current;
    if (!open || sheet === null) return;
    const { left, right } = sheet.getBoundingClientRect();
    const most = document.documentElement.clientWidth - 8;
    const over = right > most ? Math.min(right - most, left - 8) : 0;
    if (over > 0) sheet.style.translate = `${-over}px 0`;
    const first = sheet.querySelector<HTMLElement>("[data-first], input, select, button");
    first?.focus();
  }, [open]);

  useEffect(() => {
    if (!open) return;
    const outside = (event: Event) => {
      if (!(event.target instanceof Node && whole.current?.contains(event.target))) setOpen(false);
    };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("focusin", outside);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("focusin", outside);
    };
  }, [open]);

  return (
    <span class="word" ref={whole}>
      <button
        ref={button}
        type="button"
        class="word-button"
        aria-haspopup="dialog"
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        aria-label={`${name}: ${spoken ?? shown}`}
        data-wrong={wrong ? "" : undefined}
        onClick={() => setOpen(!open)}
      >
        {shown}
      </button>
      {open && (
        <div
          ref={panel}
          id={id}
          role="dialog"
          aria-label={name}
          class="word-panel"
          onKeyDown={(event) => {
            if (event.key !== "Escape") return;
            event.preventDefault();
            event.stopPropagation();
            close(false);
          }}
        >
          {children(() => close(true))}
        </div>
      )}
    </span>
  );
}
