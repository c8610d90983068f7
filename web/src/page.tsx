// The frame of the page: head, sentence, and the panels that work on this network.
import { useEffect } from "preact/hooks";
import { reach } from "./api/client";
import { Head } from "./frame/head";
import { Banner, WholePage } from "./frame/states";
import type { NetworkInfo } from "./api/types";
import { DropPlace } from "./panels/input/bring";
import { registered } from "./panels/registry";
import { Says } from "./sentence/says";
import { Sentence } from "./sentence/sentence";
import { brief, place } from "./sentence/words";
import { announced } from "./state/announce";
import { pictured } from "./state/pictured";
import { indexOf, networkName, wanted } from "./state/sentence";
import { loading, network, studio } from "./state/studio";

export function Page() {
  const shown = network.value;
  const locked = reach.value.is === "locked";
  const words = title(shown);
  useEffect(() => {
    document.title = words;
  }, [words]);
  return (
    <div class="page">
      <a class="skip button primary" href="#panels">
        Skip to the panels
      </a>
      <Head />
      <Banner />
      {studio.value !== null && !locked && <Sentence />}
      {shown !== null && !locked && <Says network={shown} />}
      <main id="panels" tabIndex={-1}>
        {shown === null || locked ? <WholePage /> : <Panels network={shown} />}
      </main>
      <p class="sr-only" role="status" aria-live="polite">
        {announced.value}
      </p>
      {shown !== null && !locked && <DropPlace />}
    </div>
  );
}

/** What is on the screen: of which network, and which picture turns into what. */
function title(shown: NetworkInfo | null): string {
  if (loading.value.is === "loading") return `Loading ${place(networkName.value)} – Fluoroscope studio`;
  const known = pictured.value;
  if (shown === null || known === null) return "Fluoroscope studio";
  const from = brief(known.label ?? shown.labels[known.winner] ?? "picture");
  const to = brief(shown.labels[indexOf(wanted.value, shown.labels)] ?? wanted.value);
  return `${from} → ${to} · ${place(shown.name)} – Fluoroscope studio`;
}

function Panels({ network: shown }: { network: NetworkInfo }) {
  const all = registered().map((panel) => ({ ...panel, why: panel.whyNot(shown) }));
  const left = all.filter((panel) => panel.why !== null);
  return (
    <>
      <div class="panels">
        {all
          .filter((panel) => panel.why === null)
          .map(({ id, title: words, width, view: View }) => (
            <section
              key={`${shown.name} ${id}`}
              id={id}
              class="panel"
              data-width={width ?? "full"}
              aria-labelledby={`${id}-title`}
            >
              <h2 id={`${id}-title`}>{words}</h2>
              <View network={shown} />
            </section>
          ))}
      </div>
      {left.length > 0 && (
        <footer class="foot">
          <p>Not shown for {place(shown.name)}:</p>
          <ul>
            {left.map(({ id, title: words, why }) => (
              <li key={id}>
                {words}: {why}
              </li>
            ))}
          </ul>
        </footer>
      )}
    </>
  );
}
