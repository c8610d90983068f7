// Samples of a generator that was fitted to this network, where the studio was given one.
import { useState } from "preact/hooks";
import type { NetworkInfo } from "../../api/types";
import { Picture } from "../../pictures/canvas";
import { useJob } from "../../state/job";
import { JobState } from "../../state/job_state";
import { Command } from "../report/command";
import { Downloads } from "../report/downloads";
import { unlessOffered } from "../registry";
import type { SampleTold, Told } from "./told";

export function Samples({ network }: { network: NetworkInfo }) {
  const refused = unlessOffered("samples")(network);
  const job = useJob();
  const [samples, setSamples] = useState<SampleTold[]>([]);
  const [told, tell] = useState<Told | null>(null);
  const [command, setCommand] = useState<string | null>(null);
  const [seed, setSeed] = useState(0);
  if (refused !== null) return <p class="hint">Samples: {refused}.</p>;

  function draw(seed: number) {
    setSeed(seed);
    setSamples([]);
    tell(null);
    job.run(
      { kind: "samples", network: network.name, seed },
      {
        event: (name, data) => {
          if (name === "begin") setCommand((data as { command?: string }).command ?? null);
          if (name === "sample") setSamples((before) => [...before, data as SampleTold]);
          if (name === "told") tell(data as Told);
        },
      },
    );
  }
  return (
    <div class="stack">
      <h3>Samples of its generator</h3>
      <div class="row">
        <button type="button" class="button" onClick={() => draw(samples.length > 0 ? seed + 1 : seed)}>
          {samples.length > 0 ? "Others" : "Draw samples"}
        </button>
      </div>
      <JobState job={job} doing="the sampling" />
      {samples.map((sample) => (
        <div key={sample.class} class="sample-row">
          <strong>{network.labels[sample.class]}</strong>
          <div class="sample-pictures">
            {sample.frames?.now.map((frame, index) => (
              <figure key={index}>
                <Picture
                  frame={frame}
                  alt={`sample ${index + 1} of ${network.labels[sample.class]}: ${sample.words[index] ?? ""}`}
                />
                <figcaption class="hint">{sample.words[index]}</figcaption>
              </figure>
            ))}
          </div>
        </div>
      ))}
      {told !== null && (
        <>
          <p>{told.summary}</p>
          {told.notes.map((note) => (
            <p key={note} class="hint">
              {note}
            </p>
          ))}
        </>
      )}
      <Command command={command} words="These samples in a terminal" />
      <Downloads job={job} />
    </div>
  );
}
