// The head of the page: its name, and what belongs to the page as a whole.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { copy } from "../panels/report/copy";
import { registerShortcut, shortcuts } from "../shortcuts";
import { announce } from "../state/announce";
import { link } from "../state/choices";
import { picture } from "../state/sentence";
import { travels } from "../state/drawn";
import { theme, toggleTheme } from "../style/theme";

const helps = signal(false);

export function Head() {
  const other = theme.value === "dark" ? "light" : "dark";
  useEffect(
    () =>
      registerShortcut({
        key: "?",
        shown: "?",
        does: "list these keys",
        run: () => (helps.value = true),
      }),
    [],
  );
  return (
    <header class="head">
      <h1 class="mark">
        <Mark />
        Fluoroscope studio
      </h1>
      <nav aria-label="Page" class="row">
        <CopyLink />
        <button
          type="button"
          class="button quiet small"
          aria-haspopup="dialog"
          onClick={() => (helps.value = true)}
        >
          Keys
        </button>
        <button type="button" class="button quiet small" onClick={toggleTheme}>
          {other === "dark" ? "Dark" : "Light"}
        </button>
      </nav>
      <Help />
    </header>
  );
}

/** A screen that glows, and what is seen on it. */
function Mark() {
  return (
    <svg viewBox="0 0 32 32" aria-hidden="true" fill="none" stroke="currentColor">
      <rect x="2" y="2" width="28" height="28" rx="7" stroke-width="2.4" />
      <path d="M7 21c3.5 0 4-11 8-11s3.5 8 6 8 2-3 4-3" stroke-width="2.4" stroke-linecap="round" />
    </svg>
  );
}

const copied = signal<"" | "copied" | "failed">("");

function CopyLink() {
  return (
    <button
      type="button"
      class="button quiet small"
      onClick={async () => {
        const done = await copy(new URL(link(), location.href).href);
        copied.value = done ? "copied" : "failed";
        announce(
          !done
            ? "The browser does not let pages copy: take the address from its own bar."
            : travels(picture.peek())
              ? "The link is copied: it reproduces this view."
              : "The link is copied. Its picture is known while this studio runs.",
        );
        setTimeout(() => (copied.value = ""), 2500);
      }}
    >
      {{ "": "Copy link", copied: "Copied", failed: "See the address bar" }[copied.value]}
    </button>
  );
}

function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  const open = helps.value;
  useEffect(() => {
    if (open && dialog.current?.open === false) dialog.current.showModal();
  }, [open]);
  if (!open) return null;
  return (
    <dialog
      ref={dialog}
      aria-labelledby="keys-title"
      onClose={() => (helps.value = false)}
      onClick={(event) => {
        if (event.target === dialog.current) dialog.current?.close();
      }}
    >
      <div class="stack">
        <h2 id="keys-title">Keys</h2>
        <dl class="keys">
          {shortcuts.value.map(({ key, shown, does }) => (
            <div key={key}>
              <dt>
                <kbd>{shown}</kbd>
              </dt>
              <dd>{does}</dd>
            </div>
          ))}
          <div>
            <dt>
              <kbd>Tab</kbd>
            </dt>
            <dd>from control to control; arrows walk within a list</dd>
          </div>
        </dl>
        <form method="dialog">
          <button class="button primary" type="submit">
            Close
          </button>
        </form>
      </div>
    </dialog>
  );
}
