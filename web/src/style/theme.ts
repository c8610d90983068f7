// Light or dark: what the system prefers until the reader says otherwise. It is kept in the browser,
// not in the address, since it belongs to the reader and not to the view.
import { effect, signal } from "@preact/signals";

export type Theme = "light" | "dark";
const KEY = "fluoroscope-theme";

const system = matchMedia("(prefers-color-scheme: dark)");
const asked = signal<Theme | null>(remembered());

/** The theme on the screen; what draws on a canvas draws again when it changes. */
export const theme = signal<Theme>(asked.value ?? preferred());

system.addEventListener("change", () => {
  if (asked.value === null) theme.value = preferred();
});

effect(() => {
  document.documentElement.dataset.theme = theme.value;
});

export function toggleTheme(): void {
  theme.value = theme.value === "dark" ? "light" : "dark";
  asked.value = theme.value === preferred() ? null : theme.value;
  try {
    if (asked.value === null) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, asked.value);
  } catch {
    // A browser that keeps nothing shows the theme of this visit alone.
  }
}

/** A colour of the theme for a canvas: `colour("--series-1")`. Read it anew when `theme` changes. */
export function colour(name: `--${string}`): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function preferred(): Theme {
  return system.matches ? "dark" : "light";
}

function remembered(): Theme | null {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === "light" || kept === "dark" ? kept : null;
  } catch {
    return null;
  }
}
