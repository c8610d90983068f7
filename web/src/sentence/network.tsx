// The word for the network: those on offer with how they stand, and where it is allowed one more.
import { useEffect, useState } from "preact/hooks";
import { call, type Refusal } from "../api/client";
import type { Offered } from "../api/types";
import { networkName } from "../state/sentence";
import { loading, openNetwork, openStudio, studio } from "../state/studio";
import { Combobox } from "./combobox";
import { place } from "./words";
import { Word } from "./word";

const STATES: Record<Offered["state"], string> = {
  named: "",
  loading: "loading…",
  ready: "loaded",
  failed: "failed",
};

export function NetworkWord() {
  const failed = loading.value.is === "failed";
  return (
    <Word name="Network" shown={place(networkName.value)} wrong={failed}>
      {(close) => <Networks close={close} />}
    </Word>
  );
}

function Networks({ close }: { close: () => void }) {
  // How they stand may have changed since the page was opened.
  useEffect(() => void openStudio(), []);
  const offered = studio.value?.networks ?? [];
  const items = offered.map(({ name, state, problem }) => ({
    value: name,
    label: name,
    aside: STATES[state],
    ...(problem === null ? {} : { says: problem }),
  }));
  const choose = (name: string) => {
    close();
    networkName.value = name;
    void openNetwork(name);
  };
  const now = offered.find(({ name }) => name === networkName.value);
  return (
    <div class="stack">
      <Combobox label="Networks" items={items} chosen={networkName.value} choose={choose} />
      {studio.value?.allow_load === true && <Another choose={choose} />}
      {now?.added === true && <TakeAway name={now.name} close={close} />}
    </div>
  );
}

/** One that was not named at the start, by what `--model` takes. */
function Another({ choose }: { choose: (name: string) => void }) {
  const [name, setName] = useState("");
  const [busy, setBusy] = useState(false);
  const [trouble, setTrouble] = useState<string | null>(null);

  async function add(event: Event): Promise<void> {
    event.preventDefault();
    setBusy(true);
    setTrouble(null);
    try {
      const added = await call<Offered>("POST", "api/networks", { name: name.trim() });
      await openStudio();
      choose(added.name);
    } catch (problem) {
      setTrouble((problem as Refusal).message);
    }
    setBusy(false);
  }

  return (
    <form class="stack" onSubmit={(event) => void add(event)}>
      <label class="field">
        Another, as --model takes it
        <input
          type="text"
          required
          maxLength={300}
          autocomplete="off"
          spellcheck={false}
          placeholder="torchvision/resnet18"
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
        />
      </label>
      {trouble !== null && (
        <p class="problem" role="alert">
          {trouble}
        </p>
      )}
      <button type="submit" class="button small" disabled={busy}>
        {busy ? "Loading…" : "Add it"}
      </button>
    </form>
  );
}

function TakeAway({ name, close }: { name: string; close: () => void }) {
  async function remove(): Promise<void> {
    await call("DELETE", `api/networks?name=${encodeURIComponent(name)}`).catch(() => undefined);
    networkName.forget();
    close();
    void openStudio();
  }
  return (
    <button type="button" class="button small" onClick={() => void remove()}>
      Take {place(name)} away
    </button>
  );
}
