// How the sentence says things: articles, bounds, numbers that are refused in a sentence.

/** "a" or "an" before a class: by its letter, and before numbers by how they are spoken. */
export function article(next: string): "a" | "an" {
  const word = next.trim().toLowerCase();
  if (/^(8|11(?!\d)|18(?!\d)|hour|heir|honest)/.test(word)) return "an";
  if (/^(uni(?!n)|use|usu|eu|one\b|once\b)/.test(word)) return "a";
  return /^[aeiou]/.test(word) ? "an" : "a";
}

/** The first synonym of a label: "tabby" of "tabby, tabby cat". */
export function brief(label: string): string {
  const first = label.split(",")[0]?.trim().replaceAll("_", " ") ?? label;
  return first.length > 32 ? `${first.slice(0, 31)}…` : first;
}

export const DIRECTIONS: Record<string, { words: string; says: string }> = {
  sign: {
    words: "sign steps",
    says: "Every pixel value by the same amount, up or down: the sign of the gradient.",
  },
  normalized: {
    words: "normalized steps",
    says: "Along the gradient, each step of the same length.",
  },
  raw: {
    words: "raw gradient steps",
    says: "Along the gradient as it is: steps are short where it is flat.",
  },
};

export const NORMS: Record<string, { words: string; says: string }> = {
  linf: { words: "Largest change", says: "No pixel value changes by more (L∞)." },
  l2: { words: "Length", says: "The whole change is no longer (L2)." },
  none: { words: "No bound", says: "It may go as far as its steps take it." },
};

/** Why one of a few words cannot be meant, in one sentence. */
export function wordProblem(word: string, known: object, what: string): string | null {
  const names = Object.keys(known);
  if (names.includes(word)) return null;
  return `${said(word)} is no ${what}; expected ${names.slice(0, -1).join(", ")} or ${names.at(-1)}.`;
}

/** "8/255", "a length of 2", "no bound". */
export function boundInWords(norm: string, eps: string): string {
  if (norm === "none") return "no bound";
  return norm === "l2" ? `a length of ${eps}` : eps;
}

export function stepsInWords(steps: number): string {
  return steps === 1 ? "1 step" : `${steps} steps`;
}

/** The number that a bound means; `null` where it is none. */
export function boundOf(text: string): number | null {
  const found = /^\s*(\d+(?:\.\d*)?|\.\d+)(?:\s*\/\s*(\d+(?:\.\d*)?|\.\d+))?\s*$/.exec(text);
  if (found === null) return null;
  const value = Number(found[1]) / (found[2] === undefined ? 1 : Number(found[2]));
  return Number.isFinite(value) ? value : null;
}

/** Why a bound cannot be, in one sentence. */
export function boundProblem(norm: string, eps: string): string | null {
  if (norm === "none" || !(norm in NORMS)) return null;
  const value = boundOf(eps);
  if (value === null) return `${said(eps)} is no bound; expected a number or a fraction, such as 8/255.`;
  if (value <= 0) return `A bound of ${eps} allows no change; expected more than 0, such as 8/255.`;
  if (norm === "linf" && value > 1) {
    return `Pixel values go from 0 to 1, so none changes by ${eps}; expected at most 1, such as 8/255.`;
  }
  return null;
}

export const MOST_STEPS = 2000;

export function stepsProblem(steps: string): string | null {
  if (/^\s*\d+\s*$/.test(steps) && Number(steps) >= 1 && Number(steps) <= MOST_STEPS) return null;
  return `${said(steps)} is no number of steps; expected a whole number from 1 to ${MOST_STEPS}.`;
}

function said(text: string): string {
  return text.trim() === "" ? "Nothing" : `“${text.trim().slice(0, 20)}”`;
}

/** What the library notes of a network, as a sentence that calls it as the page does. */
export function noted(note: string, name: string): string {
  const short = note.replaceAll(name, place(name));
  const first = short.startsWith(place(name)) ? short[0] : short[0]?.toUpperCase();
  return `${first ?? ""}${short.slice(1)}${/[.!?]$/.test(short) ? "" : "."}`;
}

/** A network or a data set in the sentence: of a path, and of code in one, the last part. */
export function place(name: string): string {
  const code = name.startsWith("python:");
  const path = code ? name.slice("python:".length) : name;
  if (!code && !/^([\\/.~]|[a-z]:[\\/])/i.test(path)) return name;
  return path.split(/[\\/]/).findLast((part) => part !== "") ?? name;
}
