// A job that follows the page: it is asked for anew when what it is of becomes something else, and
// somebody looks.
import { useEffect, useRef } from "preact/hooks";
import { type Handlers, type JobSlot, useJob } from "./job";

/** `null` while it is not known what to ask for; not `ready` while nobody looks. */
export function useFollowing<Request extends object>(
  request: Request | null,
  ready: boolean,
  handlers: (asked: Request) => Handlers,
): JobSlot {
  const job = useJob();
  const last = useRef("");
  const words = request === null ? "" : JSON.stringify(request);
  useEffect(() => {
    if (request === null || !ready || words === last.current) return;
    last.current = words;
    job.run(request, handlers(request));
  }, [words, ready]);
  return job;
}
