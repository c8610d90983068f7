// The command that does in a terminal what is on the screen, with a button that copies it.
import { useRef, useState } from "preact/hooks";
import { copy, select } from "./copy";
import "./command.css";

interface Asked {
  /** The whole line; nothing is shown without one. */
  command: string | null | undefined;
  /** What it is for, before the line. */
  words?: string;
  /** What the button says before it was pressed. */
  label?: string;
}

export function Command({ command, words = "In a terminal", label = "Copy" }: Asked) {
  const line = useRef<HTMLElement>(null);
  const [told, tell] = useState<{ of: string; words: string } | null>(null);
  if (!command) return null;
  const press = async () => {
    if (await copy(command)) tell({ of: command, words: "Copied" });
    else {
      if (line.current !== null) select(line.current);
      tell({ of: command, words: "Selected: press Ctrl+C to copy it" });
    }
  };
  return (
    <div class="command">
      <span class="hint">{words}</span>
      <code ref={line} tabIndex={0} aria-label={words}>
        {command}
      </code>
      <button type="button" class="button" onClick={press} aria-label={`${label}: ${words}`}>
        {label}
      </button>
      <span class="hint" role="status">
        {told?.of === command ? told.words : ""}
      </span>
    </div>
  );
}
