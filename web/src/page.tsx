// The frame of the page: head, sentence, and the panels that work on this network.
import { registered } from "./panels/registry";
import { network, studio, trouble } from "./state/studio";
import { theme, toggleTheme } from "./style/theme";

export function Page() {
  return (
    <div class="page">
      <a class="skip button primary" href="#panels">
        Skip to the panels
      </a>
      <Head />
      <main id="panels" tabIndex={-1}>
        <Panels />
      </main>
    </div>
  );
}

function Head() {
  const other = theme.value === "dark" ? "light" : "dark";
  return (
    <header class="head">
      <h1 class="mark">
        <Mark />
        Fluoroscope studio
      </h1>
      <nav aria-label="Page">
        <button type="button" class="button quiet small" onClick={toggleTheme}>
          {other === "dark" ? "Dark" : "Light"}
        </button>
      </nav>
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

function Panels() {
  if (trouble.value !== null) {
    return (
      <p role="alert" class="problem">
        {trouble.value}
      </p>
    );
  }
  if (studio.value === null || network.value === null) return <p role="status">Loading…</p>;
  const shown = network.value;
  return (
    <div class="panels">
      {registered()
        .filter((panel) => panel.whyNot(shown) === null)
        .map(({ id, title, width, view: View }) => (
          <section
            key={id}
            id={id}
            class="panel"
            data-width={width ?? "full"}
            aria-labelledby={`${id}-title`}
          >
            <h2 id={`${id}-title`}>{title}</h2>
            <View network={shown} />
          </section>
        ))}
    </div>
  );
}
