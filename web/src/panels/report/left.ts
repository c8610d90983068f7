// How long a job still takes, by what it did so far.

/** Seconds left, of at most so many in all; `null` while too little is done to tell. */
export function secondsLeft(share: number, elapsed: number, most: number): number | null {
  if (share < 0.05 || elapsed < 2) return null;
  return Math.max(0, Math.min((elapsed * (1 - share)) / share, most - elapsed));
}

/** In words that promise no more than is known. */
export function leftInWords(seconds: number): string {
  if (seconds < 10) return "nearly done";
  if (seconds < 55) return `about ${10 * Math.ceil(seconds / 10)} seconds left`;
  const minutes = Math.ceil(seconds / 60);
  return minutes === 1 ? "about a minute left" : `about ${minutes} minutes left`;
}
