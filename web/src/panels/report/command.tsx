// The command that does in a terminal what is on the screen, with a button that copies it.
import { useRef, useState } from "preact/hooks";
import { copy, select } from "./copy";
import "./command.css";

interface Asked {
  /** The whole line; nothing is shown without one. */
  command: string | null | undefined;
  /** What it is for, before the line. */
  words?: string;
  /** The picture and the network that it is of: where a command names a file, it is offered. */
  of?: { picture: string; network: string } | null;
}

export function Command({ command, words = "In a terminal", of = null }: Asked) {
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
      <button type="button" class="button small" onClick={press} aria-label={`Copy: ${words}`}>
        Copy
      </button>
      <PictureFile command={command} of={of} />
      <span class="hint" role="status">
        {told?.of === command ? told.words : ""}
      </span>
    </div>
  );
}

/** The file that a command names in the place of a picture that no data set has. */
function PictureFile({ command, of }: { command: string; of: Asked["of"] }) {
  const kind = /\bPICTURE\.(png|npy)\b/.exec(command)?.[1];
  if (kind === undefined || !of) return null;
  const asked = new URLSearchParams({ name: of.picture, network: of.network });
  return (
    <a class="button small" href={`api/pictures/${kind}?${asked}`} download={`PICTURE.${kind}`}>
      PICTURE.{kind}
    </a>
  );
}
