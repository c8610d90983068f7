// What the whole page shows while it cannot show panels, and the banner of a silent server.
import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { reach } from "../api/client";
import { place } from "../sentence/words";
import { networkName } from "../state/sentence";
import { loading, openNetwork, openStudio, studio, trouble } from "../state/studio";

/** The server does not answer: what was shown stays, and the page comes back by itself. */
export function Banner() {
  const now = reach.value;
  if (now.is !== "gone" || studio.value === null) return null;
  return (
    <div class="banner" role="alert">
      <span class="pulse" aria-hidden="true" />
      The studio does not answer. If its command has ended, start it again; this page asks every
      second or two and goes on by itself.
    </div>
  );
}

/** The token of the address is gone: no panel can ask anything. */
export function Locked({ reason }: { reason: string }) {
  const [typed, setTyped] = useState("");
  return (
    <div class="state">
      <h2>This studio wants its token</h2>
      <p role="alert">{reason}</p>
      <p>
        The command printed an address that ends in <code>?token=…</code> as it started: open that
        one, or paste the address or the token here. A studio that was started again has another.
      </p>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          const token = /[?&]token=([^&#\s]+)/.exec(typed)?.[1] ?? encodeURIComponent(typed.trim());
          const words = new URLSearchParams(location.search);
          words.delete("token");
          const beside = words.toString();
          location.assign(`${location.pathname}?token=${token}${beside === "" ? "" : `&${beside}`}`);
        }}
      >
        <input
          class="input"
          type="text"
          autocomplete="off"
          spellcheck={false}
          aria-label="Token, or the address with it"
          required
          value={typed}
          onInput={(event) => setTyped(event.currentTarget.value)}
        />
        <button type="submit" class="button primary">
          Open
        </button>
      </form>
    </div>
  );
}

/** The page has not begun: the server is not there yet, or cannot say what it offers. */
export function Beginning() {
  const reason = trouble.value;
  if (reason === null) {
    return (
      <div class="state" role="status">
        <Scan />
        <p>Asking the studio what it has on offer…</p>
      </div>
    );
  }
  return (
    <div class="state">
      <h2>The studio cannot be reached</h2>
      <p role="alert">{reason}</p>
      <p>
        Start it by <code>fluoroscope studio</code>; this page goes on by itself once it answers.
      </p>
      <button type="button" class="button primary" onClick={() => void openStudio()}>
        Ask again
      </button>
    </div>
  );
}

const now = signal(Date.now());

/** A network is loaded: which, since when, and what is being done. */
export function LoadingNetwork({ name, since }: { name: string; since: number }) {
  useEffect(() => {
    const timer = setInterval(() => (now.value = Date.now()), 500);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.max(0, Math.round((now.value - since) / 1000));
  const built = name.startsWith("digits-");
  return (
    <div class="state" role="status">
      <Scan />
      <h2>Loading {place(name)}</h2>
      <p>
        {built
          ? "It comes with Fluoroscope, so this takes a moment only: its weights are read and one picture is sent through it."
          : "Its weights are read, one picture is sent through it, and it is seen what can be shown of it. Large networks take some seconds."}{" "}
        It stays loaded, so the next time is at once.
      </p>
      <p class="number" aria-hidden="true">
        {seconds} s
      </p>
    </div>
  );
}

export function FailedNetwork({ name, reason }: { name: string; reason: string }) {
  const others = (studio.value?.networks ?? []).filter((one) => one.name !== name);
  return (
    <div class="state">
      <h2>{place(name)} cannot be loaded</h2>
      <p class="problem" role="alert">
        {reason}
      </p>
      <div class="row">
        <button type="button" class="button primary" onClick={() => void openNetwork(name)}>
          Try again
        </button>
        {others.slice(0, 4).map((one) => (
          <button
            key={one.name}
            type="button"
            class="button"
            onClick={() => (networkName.value = one.name)}
          >
            {place(one.name)}
          </button>
        ))}
      </div>
    </div>
  );
}

/** The whole page's state, where there is one; `null` where panels can be shown. */
export function WholePage() {
  if (reach.value.is === "locked") return <Locked reason={reach.value.reason} />;
  if (studio.value === null) return <Beginning />;
  const state = loading.value;
  if (state.is === "loading") return <LoadingNetwork {...state} />;
  if (state.is === "failed") return <FailedNetwork {...state} />;
  return null;
}

/** A beam that goes over a screen. */
function Scan() {
  return (
    <div class="scan" aria-hidden="true">
      <span />
    </div>
  );
}
