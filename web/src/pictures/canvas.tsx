// Pictures as the server sends them, on canvases. Small ones are enlarged with hard edges, large
// ones smoothly; a picture is decoded when it is painted and not before.
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Difference, Frame } from "../api/types";
import "./canvas.css";
import { toImageData } from "./decode";
import { beyondScale, scaleInWords, signedColours, type Times } from "./signed";

/** Up to here a side is so small that its pixels are to be seen. */
const SMALL_SIDE = 96;

interface PictureProps {
  frame: Frame;
  /** What the picture shows, for those who do not see it; empty where words beside it say so. */
  alt: string;
  class?: string;
}

export function Picture({ frame, alt, class: extra = "" }: PictureProps) {
  return (
    <Canvas
      width={frame.width}
      height={frame.height}
      alt={alt}
      extra={extra}
      paint={() => toImageData(frame)}
      of={frame}
    />
  );
}

interface SignedDifferenceProps {
  difference: Difference;
  times: Times;
  alt?: string;
  class?: string;
  /** Where the scale stands elsewhere. */
  noScale?: boolean;
}

/** What was added, with the scale of its colours under it. */
export function SignedDifference(props: SignedDifferenceProps) {
  const { difference, times, alt, class: extra = "", noScale = false } = props;
  return (
    <span class={`signed-difference ${extra}`}>
      <Canvas
        width={difference.width}
        height={difference.height}
        alt={alt ?? "What was added: black is removed, yellow is added, grey is unchanged"}
        extra=""
        paint={() => signedColours(difference, times)}
        of={difference}
        also={times}
      />
      {!noScale && <SignedScale difference={difference} times={times} />}
    </span>
  );
}

/** What the colours of a difference mean. */
export function SignedScale({ difference, times }: { difference: Difference | null; times: Times }) {
  const beyond = difference !== null && beyondScale(difference, times);
  return (
    <span class="hint signed-scale">
      <span class="signed-key" aria-hidden="true" />
      black removes, yellow adds; {scaleInWords(times)}
      {beyond ? ", and some changes are larger" : ""}
    </span>
  );
}

interface CanvasProps {
  width: number;
  height: number;
  alt: string;
  extra: string;
  paint: () => ImageData;
  /** It is painted again when one of these is another. */
  of: Frame;
  also?: unknown;
}

function Canvas({ width, height, alt, extra, paint, of, also }: CanvasProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  // Before the browser paints, so that an enlarged or cleared canvas is never seen empty.
  useLayoutEffect(() => {
    canvas.current?.getContext("2d")?.putImageData(paint(), 0, 0);
  }, [of, also]);
  const small = Math.max(width, height) <= SMALL_SIDE;
  return (
    <canvas
      ref={canvas}
      width={width}
      height={height}
      role={alt === "" ? undefined : "img"}
      aria-label={alt === "" ? undefined : alt}
      aria-hidden={alt === "" ? true : undefined}
      class={`picture ${small ? "" : "picture-large"} ${extra}`}
    />
  );
}

/** The picture as a PNG of its own size, such as a file to keep. */
export async function toPng(image: ImageData): Promise<Blob> {
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob === null ? reject(new Error("no PNG came of it")) : resolve(blob))),
  );
}
