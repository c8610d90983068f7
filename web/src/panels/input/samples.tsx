// Pictures of the data sets: a strip that goes on as one looks, a random one, one that the network
// gets wrong.
import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { call, reach, type Refusal } from "../../api/client";
import type { NetworkInfo, Sample, Samples } from "../../api/types";
import { Picture } from "../../pictures/canvas";
import { announce } from "../../state/announce";
import { rememberLabel } from "../../state/pictured";
import { picture } from "../../state/sentence";
import { place } from "../../sentence/words";
import { studio } from "../../state/studio";

const AT_ONCE = 24;

interface Wrong {
  sample: Sample;
  searched: number;
  notes: string[];
}

/** What was said of the last search for one that is misclassified. */
const found = signal<{ words: string; refused: boolean } | null>(null);

interface StripProps {
  network: NetworkInfo;
  /** What happens once one is chosen. */
  chose?: () => void;
}

export function SampleStrip({ network, chose }: StripProps) {
  const sets = studio.value?.data ?? [];
  const [data, setData] = useState(
    () => dataOf(picture.peek(), sets) ?? dataOf(network.picture ?? "", sets) ?? sets[0]?.name ?? "",
  );
  const { samples, total, trouble, more, again } = useSamples(network.name, data);
  const now = picture.value;
  const strip = useRef<HTMLDivElement>(null);

  const choose = (name: string) => {
    picture.value = name;
    chose?.();
  };

  /** One place for the tab key, arrows within: there may be thousands. */
  function walk(event: KeyboardEvent): void {
    const all = [...(strip.current?.querySelectorAll<HTMLElement>("button.sample") ?? [])];
    const at = all.indexOf(document.activeElement as HTMLElement);
    const moves: Record<string, number> = {
      ArrowRight: at + 1,
      ArrowDown: at + 1,
      ArrowLeft: at - 1,
      ArrowUp: at - 1,
      Home: 0,
      End: all.length - 1,
    };
    const to = moves[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    if (to >= all.length) more();
    all[Math.min(all.length - 1, Math.max(0, to))]?.focus();
  }

  const problem = sets.find((one) => one.name === data)?.problem ?? null;
  if (sets.length === 0) {
    return <p class="hint">The studio was given no data: draw a picture or bring one.</p>;
  }
  const there = samples.some((one) => one.name === now);
  return (
    <div class="stack">
      <div class="row">
        {sets.length > 1 && (
          <label class="row">
            <span class="hint">Pictures of</span>
            <select
              class="input"
              value={data}
              onChange={(event) => setData(event.currentTarget.value)}
            >
              {sets.map(({ name, count }) => (
                <option key={name} value={name}>
                  {place(name)}
                  {count !== null && ` (${count.toLocaleString("en")})`}
                </option>
              ))}
            </select>
          </label>
        )}
        <button
          type="button"
          class="button small"
          disabled={total === 0}
          onClick={() => choose(`${data}:${Math.floor(Math.random() * total)}`)}
        >
          A random one
        </button>
        <WrongButton network={network} data={data} chose={choose} />
      </div>
      {problem !== null && <p class="problem">{problem}</p>}
      {found.value !== null && (
        <p class={found.value.refused ? "problem" : "hint"} role="status">
          {found.value.words}
        </p>
      )}
      <div
        ref={strip}
        class="strip"
        role="group"
        aria-label={`Pictures of ${place(data)}`}
        data-keys=""
        onKeyDown={walk}
        onScroll={(event) => {
          const { scrollLeft, clientWidth, scrollWidth } = event.currentTarget;
          if (scrollLeft + 2 * clientWidth > scrollWidth) more();
        }}
      >
        {samples.map((one, index) => (
          <button
            key={one.name}
            type="button"
            class="sample"
            aria-pressed={one.name === now}
            tabIndex={one.name === now || (!there && index === 0) ? 0 : -1}
            title={place(one.name)}
            onClick={() => choose(one.name)}
          >
            <Picture frame={one.frame} alt="" />
            <span>{one.label ?? one.name.slice(one.name.lastIndexOf(":") + 1)}</span>
          </button>
        ))}
      </div>
      {trouble !== null && (
        <div class="row">
          <p class="problem" role="alert">
            {trouble}
          </p>
          <button type="button" class="button small" onClick={again}>
            Try again
          </button>
        </div>
      )}
    </div>
  );
}

function dataOf(name: string, sets: readonly { name: string }[]): string | null {
  const data = name.slice(0, name.lastIndexOf(":"));
  return sets.some((one) => one.name === data) ? data : null;
}

/** The samples of a data set so far, and how to have more. */
function useSamples(network: string, data: string) {
  const [state, setState] = useState<{ of: string; samples: Sample[]; total: number; next: number }>(
    { of: "", samples: [], total: 0, next: 0 },
  );
  const [trouble, setTrouble] = useState<string | null>(null);
  const busy = useRef("");
  const of = `${network} ${data}`;
  const held = state.of === of ? state : { of, samples: [], total: 0, next: 0 };

  async function more(): Promise<void> {
    if (data === "" || busy.current === of || (held.total > 0 && held.next >= held.total)) return;
    busy.current = of;
    const asked = new URLSearchParams({
      data,
      network,
      offset: String(held.next),
      count: String(AT_ONCE),
    });
    try {
      const told = await call<Samples>("GET", `api/samples?${asked}`);
      if (busy.current !== of) return;
      for (const one of told.samples) rememberLabel(network, one.name, one.label);
      setTrouble(null);
      setState({
        of,
        samples: [...held.samples, ...told.samples],
        total: told.total,
        next: held.next + AT_ONCE,
      });
    } catch (problem) {
      if (busy.current === of) setTrouble((problem as Refusal).message);
    } finally {
      if (busy.current === of) busy.current = "";
    }
  }

  const there = reach.value.is === "there";
  useEffect(() => {
    if (there && held.next === 0) void more();
  }, [of, there]);
  return {
    ...held,
    trouble,
    more: () => void more(),
    again: () => {
      setTrouble(null);
      void more();
    },
  };
}

interface WrongProps {
  network: NetworkInfo;
  data: string;
  chose: (name: string) => void;
}

function WrongButton({ network, data, chose }: WrongProps) {
  const [busy, setBusy] = useState(false);

  async function seek(): Promise<void> {
    setBusy(true);
    found.value = null;
    try {
      const seed = String(Math.floor(Math.random() * 2 ** 31));
      const asked = new URLSearchParams({ data, network: network.name, seed });
      const { sample, searched } = await call<Wrong>("GET", `api/samples/wrong?${asked}`);
      rememberLabel(network.name, sample.name, sample.label);
      const predicted = sample.predicted_as ?? network.labels[sample.winner ?? -1];
      const words =
        `${place(sample.name)} is misclassified: ${sample.label ?? "it"} is predicted as ${predicted}. ` +
        `It was found among ${searched} ${searched === 1 ? "picture" : "pictures"}.`;
      found.value = { words, refused: false };
      announce(words);
      chose(sample.name);
    } catch (problem) {
      found.value = { words: (problem as Refusal).message, refused: true };
    }
    setBusy(false);
  }

  return (
    <button type="button" class="button small" disabled={busy} onClick={() => void seek()}>
      {busy ? "Looking…" : "A random one it gets wrong"}
    </button>
  );
}
