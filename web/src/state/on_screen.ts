// Whether a part of the page is, or nearly is, on the screen: what nobody sees is not computed.
import type { RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";

export function useOnScreen(part: RefObject<Element | null>): boolean {
  const [seen, see] = useState(typeof IntersectionObserver === "undefined");
  useEffect(() => {
    if (part.current === null || typeof IntersectionObserver === "undefined") return;
    const observer = new IntersectionObserver(
      (entries) => see(entries.some((entry) => entry.isIntersecting)),
      { rootMargin: "200px" },
    );
    observer.observe(part.current);
    return () => observer.disconnect();
  }, [part]);
  return seen;
}
