// What the server's API takes and tells. The server's own description is api/openapi.json.

/**
 * A picture: 8-bit values, rows from the top, channels last. Events of jobs have them as they are,
 * what is answered in JSON in base64.
 */
export interface Frame {
  width: number;
  height: number;
  channels: 1 | 3;
  pixels: Uint8Array<ArrayBuffer> | string;
}

/** What was added: signed 8-bit values; one of them times `scale` is a change in pixel values. */
export interface Difference extends Frame {
  scale: number;
}

export interface Offered {
  name: string;
  state: "named" | "loading" | "ready" | "failed";
  problem: string | null;
  /** A client added it; it can be taken away. */
  added?: boolean;
}

/** GET api/studio */
export interface StudioInfo {
  version: string;
  networks: Offered[];
  /** The count is known once a data set was opened, as the first network does. */
  data: { name: string; count: number | null; problem?: string | null }[];
  /** Other networks can be added. */
  allow_load?: boolean;
}

/** What a kind of job offers on a network, or why it cannot be used there. */
export type Offer = { why_not?: string } & Record<string, unknown>;

/** GET api/network?name= */
export interface NetworkInfo {
  name: string;
  labels: string[];
  channels: number;
  input_size: [number, number] | null;
  parameters?: number;
  device?: string;
  /** What makes its results doubtful. */
  notes?: string[];
  /** What the page begins with; none where no data on offer fit. */
  picture?: string | null;
  /** What to know of it beside the other network, where one was asked for. */
  beside?: string | null;
  offers: Record<string, Offer>;
}

/** The answer to POST api/jobs and GET api/jobs/ID. */
export interface JobInfo {
  id: string;
  kind: string;
  state: "queued" | "running" | "done" | "cancelled" | "failed";
  files: string[];
}

/** The last event of every job. */
export interface End {
  state: "done" | "cancelled" | "failed";
  notes: string[];
  files: string[];
  problem?: string;
}

/** RFC 9457: how every refusal is answered. */
export interface Problem {
  type: string;
  status: number;
  detail: string;
}

/** The first event of a job that moves a picture. */
export interface Begin {
  /** The class that is wanted or left, by its number, where there is one. */
  target?: number | null;
  steps?: number;
  /** The line that does the same on a command line. */
  command?: string;
  frames?: { original: Frame };
}

/** A change of winner, or the first time that the target's probability crosses `share`. */
export interface StationTold {
  why: "winner" | "reaches" | "falls below";
  share?: number;
}

/** A step of a morph or an attack; of events `step` and `winner`. */
export interface StepEvent {
  step: number;
  winner: number;
  /** All classes, float32 in base64: see `floats`. */
  probabilities: string;
  objective: number | null;
  l0: number;
  l2: number;
  linf: number;
  /** Why it is a way station, if it is one. */
  stations?: StationTold[];
  /** The success that an attack keeps. */
  result?: boolean;
  /** Gone where the reader was too slow. */
  frames?: { now: Frame; difference: Difference };
}

/** The answer to POST api/predictions. */
export interface Prediction {
  /** As the network receives it, after its resizing. */
  frame: Frame;
  /** Of all classes, float32 in base64. */
  probabilities: string;
  winner: number;
  notes: string[];
}

/** A picture of a data set. */
export interface Sample {
  name: string;
  label: string | null;
  width: number;
  height: number;
  frame: Frame;
  winner: number | null;
  predicted_as: string | null;
}

/** GET api/samples */
export interface Samples {
  total: number;
  samples: Sample[];
  notes: string[];
}

/** The answer to POST api/pictures and api/pictures/kept. */
export interface Named {
  name: string;
  width: number;
  height: number;
  notes: string[];
}
