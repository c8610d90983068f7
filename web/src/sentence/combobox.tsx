// Choosing one of many: a list that is walked by arrows, with a field that narrows it where there
// are more than fit at a glance. The pattern is WAI-ARIA's combobox with a list that stays open.
import { useEffect, useId, useRef, useState } from "preact/hooks";
import "./combobox.css";
import { fold, type Item, search } from "./search";

/** As many are listed at once; typing reaches the others. */
const MOST_SHOWN = 60;
/** With more than so many there is a field to type in. */
const AT_A_GLANCE = 12;

/** The next option that begins with a typed letter, where one does. */
function beginning(items: readonly Item[], key: string, at: number): number | undefined {
  if (key.length !== 1 || key === " ") return undefined;
  const fits = (place: number) => fold(items[place]?.label ?? "").startsWith(fold(key));
  const order = items.map((_, step) => (at + 1 + step) % items.length);
  return order.find(fits);
}

interface ComboboxProps {
  /** What is chosen, for screen readers: "Class". */
  label: string;
  items: readonly Item[];
  chosen: string;
  choose: (value: string) => void;
}

export function Combobox({ label, items, chosen, choose }: ComboboxProps) {
  const id = useId();
  const [query, setQuery] = useState("");
  const found = search(items, query);
  const shown = found.slice(0, MOST_SHOWN);
  const [at, setAt] = useState(() => Math.max(0, shown.findIndex((one) => one.value === chosen)));
  const list = useRef<HTMLUListElement>(null);
  const searched = items.length > AT_A_GLANCE;

  useEffect(() => {
    list.current?.children[at]?.scrollIntoView?.({ block: "nearest" });
  }, [at, query]);

  function walk(event: KeyboardEvent): void {
    const last = shown.length - 1;
    const page = 8;
    const moves: Record<string, number> = {
      ArrowDown: at === last ? 0 : at + 1,
      ArrowUp: at === 0 ? last : at - 1,
      PageDown: Math.min(last, at + page),
      PageUp: Math.max(0, at - page),
      ...(searched ? {} : { Home: 0, End: last }),
    };
    const to = moves[event.key] ?? (searched ? undefined : beginning(shown, event.key, at));
    const picked = shown[at];
    if (to !== undefined) setAt(Math.max(0, to));
    else if (picked !== undefined && (event.key === "Enter" || (event.key === " " && !searched))) {
      choose(picked.value);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  const walked = {
    "aria-label": label,
    "aria-controls": `${id}-list`,
    "aria-activedescendant": shown.length > 0 ? `${id}-${at}` : undefined,
    onKeyDown: walk,
    "data-first": true,
  };
  return (
    <div class="combobox">
      {searched && (
        <input
          class="input"
          type="text"
          role="combobox"
          aria-expanded="true"
          aria-autocomplete="list"
          autocomplete="off"
          spellcheck={false}
          placeholder={`Type to search ${items.length}`}
          value={query}
          onInput={(event) => {
            setQuery(event.currentTarget.value);
            setAt(0);
          }}
          {...walked}
        />
      )}
      <ul
        ref={list}
        id={`${id}-list`}
        role="listbox"
        class="options"
        aria-label={label}
        tabIndex={searched ? -1 : 0}
        {...(searched ? {} : { ...walked, "aria-controls": undefined })}
      >
        {shown.map((item, place) => (
          <li
            key={item.value}
            id={`${id}-${place}`}
            role="option"
            aria-selected={item.value === chosen}
            class="option"
            data-at={place === at ? "" : undefined}
            onPointerDown={(event) => event.preventDefault()}
            onPointerMove={() => setAt(place)}
            onClick={() => choose(item.value)}
          >
            <span class="option-label">{item.label}</span>
            {item.aside !== undefined && <span class="option-aside number">{item.aside}</span>}
            {item.says !== undefined && <span class="option-says">{item.says}</span>}
          </li>
        ))}
      </ul>
      <p class="hint" role="status">
        {shown.length === 0
          ? `Nothing is called “${query}”; ${items[0] === undefined ? "there is nothing to choose" : `try ${items[0].label}`}.`
          : found.length > shown.length
            ? `${found.length - shown.length} more: type to narrow them.`
            : ""}
      </p>
    </div>
  );
}
