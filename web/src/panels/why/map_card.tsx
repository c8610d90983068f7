// One method's map, with what its colours mean, what an audit says of it, and the same map of a
// network that has learnt nothing.
import type { Frame } from "../../api/types";
import { Picture } from "../../pictures/canvas";
import { spoken } from "../../state/present";
import type { Asked, Drawn } from "./maps";
import { pictureOf, same } from "./maps";
import {
  badgeOf,
  drawable,
  endsInWords,
  likenessInWords,
  type MethodOffered,
  type Verdict,
} from "./told";

interface Props {
  method: MethodOffered;
  drawn: Drawn | undefined;
  verdict: Verdict | null;
  asked: Asked;
  random: boolean;
  over: boolean;
  labels: string[];
  /** Doubts that are said elsewhere. */
  said: string[];
}

export function MapCard({ method, drawn, verdict, asked, random, over, labels, said }: Props) {
  const stale = drawn !== undefined && !same(drawn.of, asked);
  const pictures = drawn === undefined ? null : pictureOf(drawn, verdict, over);
  const why = drawn?.map.why_not;
  const what = drawn === undefined ? "" : `${method.name} of ${questionOf(drawn.of, labels)}`;
  return (
    <article class={`card map-card ${stale ? "stale" : ""}`} aria-label={method.name}>
      <header>
        <h3>{method.name}</h3>
        <VerdictBadge verdict={verdict} />
      </header>
      <p class="hint">{method.shows}</p>
      {stale && (
        <p class="badge warning">
          of {spoken(drawn.of.picture)}
          {drawn.of.network !== asked.network && ` and ${drawn.of.network}`}
          {differs(drawn.of, asked) && `, ${questionOf(drawn.of, labels)}`}: not redone yet
        </p>
      )}
      {!drawable(verdict) ? (
        <NotValid verdict={verdict!} />
      ) : why !== undefined ? (
        <p class="note">{why}</p>
      ) : pictures === null ? (
        <p class="hint">Not drawn yet.</p>
      ) : (
        <Pair what={what} pictures={pictures} random={random} drawn={drawn!} />
      )}
      {pictures !== null && random && drawn!.random?.likeness != null && (
        <p class={drawn!.random.alike ? "note" : "hint"}>{likenessInWords(drawn!.random)}</p>
      )}
      {pictures !== null && drawn !== undefined && <Key drawn={drawn} said={said} />}
    </article>
  );
}

/** The question in words: a class, or one against another. */
export function questionOf(of: Asked, labels: string[]): string {
  const one = labels[of.class] ?? `class ${of.class}`;
  if (of.against === null) return one;
  return `${one} and not ${labels[of.against] ?? `class ${of.against}`}`;
}

function differs(one: Asked, other: Asked): boolean {
  return one.class !== other.class || one.against !== other.against;
}

function Pair(props: {
  what: string;
  pictures: { network: Frame | null; random: Frame | null };
  random: boolean;
  drawn: Drawn;
}) {
  const { what, pictures, random, drawn } = props;
  const refused = drawn.random?.why_not;
  return (
    <>
      <div class="map-pair">
        {pictures.network !== null && (
          <figure>
            <Picture frame={pictures.network} alt={`${what}, this network`} />
            <figcaption class="hint">this network{endsInWords(drawn.map.scale)}</figcaption>
          </figure>
        )}
        {random && pictures.random !== null && (
          <figure>
            <Picture frame={pictures.random} alt={`${what}, random weights`} />
            <figcaption class="hint">
              random weights{endsInWords(drawn.random?.scale)}
            </figcaption>
          </figure>
        )}
      </div>
      {random && refused !== undefined && <p class="hint">With random weights: {refused}</p>}
    </>
  );
}

function Key({ drawn, said }: { drawn: Drawn; said: string[] }) {
  const { words, promise, missed, doubts = [] } = drawn.map;
  return (
    <div class="map-key">
      {words !== undefined && <p class="hint">{words}</p>}
      {promise !== undefined && promise !== "" && (
        <p class={missed ? "note" : "hint"}>{promise}</p>
      )}
      {doubts
        .filter((doubt) => !said.includes(doubt))
        .map((doubt) => (
          <p key={doubt} class="note">
            {doubt}
          </p>
        ))}
    </div>
  );
}

function VerdictBadge({ verdict }: { verdict: Verdict | null }) {
  if (verdict === null) return <span class="badge">not audited</span>;
  const said = [...verdict.reasons, ...(verdict.remarks ?? [])];
  const { words, look } = badgeOf(verdict);
  const badge = <span class={`badge ${look}`}>{words}</span>;
  if (said.length === 0) return badge;
  return (
    <details class="verdict">
      <summary>
        {badge} <span class="hint">why</span>
      </summary>
      <ul>
        {said.map((reason) => (
          <li key={reason}>{reason}</li>
        ))}
      </ul>
    </details>
  );
}

function NotValid({ verdict }: { verdict: Verdict }) {
  return (
    <div class="problem">
      <p>Not valid on this network, so its map is not drawn.</p>
      {verdict.reasons[0] !== undefined && <p class="hint">{verdict.reasons[0]}</p>}
    </div>
  );
}
