// How long a job still takes, by what it did so far.

/** Seconds left; `null` while too little is done to tell. */
export function secondsLeft(share: number, elapsed: number): number | null {
  if (share < 0.05 || elapsed < 2) return null;
  return (elapsed * (1 - share)) / share;
}

/** In words that promise no more than is known. */
export function leftInWords(seconds: number): string {
  if (seconds < 10) return "nearly done";
  if (seconds < 55) return `about ${10 * Math.ceil(seconds / 10)} seconds left`;
  const minutes = Math.ceil(seconds / 60);
  return minutes === 1 ? "about a minute left" : `about ${minutes} minutes left`;
}
