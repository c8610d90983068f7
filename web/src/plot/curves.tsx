// The probability of classes over the steps of a trajectory, as it comes. Dragging over it scrubs.
import { effect, type ReadonlySignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { Band, Trajectory } from "../state/trajectory";
import { theme } from "../style/theme";
import "./curves.css";
import { drawBands, drawNames, drawWinners, Look, roomForNames, widthOf } from "./drawing";
import { chooseLines, type Line } from "./lines";

interface Props {
  trajectory: Trajectory;
  /** The names of all classes. */
  names: readonly string[];
  /** The place that is looked at. */
  position: ReadonlySignal<number>;
  onScrub: (place: number) => void;
  /** The steps that the axis reaches to: several plots side by side have the same. */
  reach: ReadonlySignal<number>;
  /** What it shows in words, for those who do not see it. */
  alt: string;
}

export function Curves({ trajectory, names, position, onScrub, reach, alt }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const scrub = useRef(onScrub);
  scrub.current = onScrub;
  useEffect(() => {
    if (host.current === null) return undefined;
    return draw(host.current, trajectory, names, position, reach, (at) => scrub.current(at));
  }, [trajectory, names, position, reach]);
  return <div ref={host} class="curves" role="img" aria-label={alt} />;
}

/** Draw into a place until the answer is called. */
function draw(
  host: HTMLElement,
  trajectory: Trajectory,
  names: readonly string[],
  position: ReadonlySignal<number>,
  reach: ReadonlySignal<number>,
  scrub: (place: number) => void,
): () => void {
  let lines: Line[] = [];
  let x = new Float64Array(0);
  let bands: Band[] = [];
  let plot: uPlot | null = null;
  let room = 0;
  let look = new Look(host);
  const head = document.createElement("div");
  head.className = "curves-head";

  function make() {
    plot?.destroy();
    const { size } = look;
    const axis = {
      stroke: () => look.colour("--ink-soft"),
      font: look.fontOf(1),
      grid: { stroke: () => look.colour("--line"), width: 1 },
      ticks: { show: false },
    };
    const options: uPlot.Options = {
      width: host.clientWidth,
      height: host.clientHeight,
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      padding: [6, () => room, 0, 0],
      scales: {
        x: { time: false, range: () => [0, Math.max(1, reach.peek())] },
        y: { range: [0, 1] },
      },
      axes: [
        { ...axis, size: size * 2, values: (_, splits) => splits.map(whole) },
        { ...axis, size: size * 3.2, space: size * 3, values: (_, splits) => splits.map(percent) },
      ],
      series: [
        {},
        ...lines.map((line) => ({
          stroke: () => look.colour(line.colour),
          width: widthOf(line, trajectory.plan.target, look),
          dash: [...line.dash],
          points: { show: false },
        })),
      ],
      hooks: {
        drawClear: [(drawn) => drawBands(drawn, look, bands, x, lines)],
        // The head stands where the scales are that were drawn by.
        draw: [
          (drawn) => drawWinners(drawn, look, bands, x, names),
          (drawn) => drawNames(drawn, look, lines, names, trajectory.plan.target),
          place,
        ],
      },
    };
    plot = new uPlot(options, columns(), host);
    plot.over.append(head);
    listen(plot.over);
  }

  function columns(): uPlot.AlignedData {
    const { steps } = trajectory;
    bands = trajectory.bands();
    x = Float64Array.from(steps, ({ number }) => number);
    const values = lines.map(({ of }) =>
      Float64Array.from(steps, ({ probabilities }) =>
        of === null ? othersOf(probabilities, lines) : (probabilities[of] as number),
      ),
    );
    return [x, ...values];
  }

  function update() {
    const always = [trajectory.plan.target, trajectory.steps[0]?.winner];
    const chosen = chooseLines(
      trajectory.highest,
      always.filter((one) => typeof one === "number"),
      lines,
    );
    const same =
      chosen.length === lines.length && chosen.every(({ of }, index) => of === lines[index]?.of);
    if (!same || plot === null) {
      lines = chosen;
      room = roomForNames(host, look, lines, names);
      make();
    } else {
      plot.setData(columns());
    }
  }

  function place() {
    const step = trajectory.steps[position.peek()];
    head.hidden = step === undefined || plot === null;
    if (step !== undefined && plot !== null) {
      head.style.transform = `translateX(${plot.valToPos(step.number, "x")}px)`;
    }
  }

  function listen(over: HTMLElement) {
    const to = (event: PointerEvent) => {
      if (plot === null || trajectory.steps.length === 0) return;
      const left = event.clientX - over.getBoundingClientRect().left;
      scrub(plot.posToIdx(left));
    };
    over.addEventListener("pointerdown", (event) => {
      over.setPointerCapture(event.pointerId);
      to(event);
    });
    over.addEventListener("pointermove", (event) => {
      if (over.hasPointerCapture(event.pointerId)) to(event);
    });
  }

  const stop = [
    effect(() => {
      void trajectory.version.value;
      void reach.value;
      update();
    }),
    effect(() => {
      void position.value;
      place();
    }),
    effect(() => {
      void theme.value;
      // The attribute that changes the colours is set in an effect as well.
      queueMicrotask(() => {
        look = new Look(host);
        plot?.redraw(false);
      });
    }),
  ];
  const resized = new ResizeObserver(() => {
    if (plot === null || host.clientWidth === 0) return;
    room = roomForNames(host, look, lines, names);
    plot.setSize({ width: host.clientWidth, height: host.clientHeight });
  });
  resized.observe(host);
  return () => {
    stop.forEach((each) => each());
    resized.disconnect();
    plot?.destroy();
  };
}

function othersOf(probabilities: Float32Array, lines: readonly Line[]): number {
  let shown = 0;
  for (const { of } of lines) if (of !== null) shown += probabilities[of] as number;
  return Math.max(0, 1 - shown);
}

function whole(value: number): string {
  return Number.isInteger(value) ? String(value) : "";
}

function percent(value: number): string {
  return `${Math.round(100 * value)}%`;
}
