// How many jobs this page hears at once. A browser keeps six connections to a server at most, for
// all tabs together: were each of them a stream, nothing could be asked or stopped any more.

const MOST = 4;
let taken = 0;
const waiting: (() => void)[] = [];

/** Call `go` once there is a slot. The answer gives it back, or the place in the line. */
export function slot(go: () => void): () => void {
  let has = false;
  const take = () => {
    has = true;
    taken++;
    go();
  };
  if (taken < MOST) take();
  else waiting.push(take);
  let given = false;
  return () => {
    if (given) return;
    given = true;
    if (!has) {
      waiting.splice(waiting.indexOf(take), 1);
      return;
    }
    taken--;
    waiting.shift()?.();
  };
}
