// One line below the sentence: what the network says of the picture, and what is to be seen.
import type { NetworkInfo } from "../api/types";
import { percent } from "../plot/words";
import { pictured } from "../state/pictured";
import { direction, eps, indexOf, norm, wanted } from "../state/sentence";
import { brief, noted } from "./words";

export function Says({ network }: { network: NetworkInfo }) {
  const known = pictured.value;
  if (known === null || known.network !== network.name) return <p class="sentence-says">&nbsp;</p>;
  const { winner, probabilities, label } = known;
  const predicted = network.labels[winner] ?? String(winner);
  const sure = percent(probabilities[winner] ?? 0);
  const target = indexOf(wanted.value, network.labels);
  const right = verdict(label, predicted, network.labels);
  const doubts = [...(network.notes ?? []), ...known.notes];
  return (
    <div class="sentence-says stack">
      <p>
        It is predicted as <strong>{brief(predicted)}</strong> with a probability of{" "}
        <span class="number">{sure}</span>
        {right}.{" "}
        {target === winner
          ? "It is that class already: choose another to see it turn."
          : `Each step moves the pixels towards ${brief(network.labels[target] ?? wanted.value)}${limit()}: watch the winner change.`}
      </p>
      {doubts.length > 0 && (
        <div class="note" role="group" aria-label="What makes this doubtful">
          {doubts.map((note) => (
            <p key={note}>{noted(note, network.name)}</p>
          ))}
        </div>
      )}
    </div>
  );
}

/** Whether it is right: nobody knows where the data's class is none of the network's. */
function verdict(label: string | null, predicted: string, labels: readonly string[]): string {
  if (label === null) return "";
  if (label === predicted) return ", classified correctly";
  return labels.includes(label)
    ? `, misclassified: it is ${brief(label)}`
    : `; what the data call ${brief(label)} is none of its classes`;
}

function limit(): string {
  if (norm.value === "none") return "";
  if (norm.value === "l2") return `, by a length of ${eps.value} in all`;
  return direction.value === "sign" || norm.value === "linf"
    ? `, none of them by more than ${eps.value} in all`
    : "";
}
