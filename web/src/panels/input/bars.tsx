// What the network says: a column for each class where they are few, the most probable of many.
import { percent } from "../../plot/words";

/** Up to here every class has its column. */
const FEW = 12;
const BEST = 5;

interface BarsProps {
  labels: readonly string[];
  probabilities: Float32Array;
  winner: number;
}

export function Bars(props: BarsProps) {
  return props.labels.length <= FEW ? <Columns {...props} /> : <Rows {...props} />;
}

function Columns({ labels, probabilities, winner }: BarsProps) {
  return (
    <ol role="list" class="columns" aria-label="Probability of each class">
      {labels.map((label, index) => {
        const share = probabilities[index] ?? 0;
        return (
          <li key={index} data-winner={index === winner ? "" : undefined}>
            <span class="sr-only">{`${label}: ${percent(share)}`}</span>
            <span class="column" aria-hidden="true">
              <span style={{ height: `${100 * share}%` }} />
            </span>
            <span class="column-label" aria-hidden="true">
              {label}
            </span>
          </li>
        );
      })}
    </ol>
  );
}

function Rows({ labels, probabilities, winner }: BarsProps) {
  const best = [...probabilities.keys()]
    .sort((a, b) => (probabilities[b] ?? 0) - (probabilities[a] ?? 0))
    .slice(0, BEST);
  return (
    <ol role="list" class="bars" aria-label={`The ${BEST} most probable classes`}>
      {best.map((index) => (
        <li key={index} data-winner={index === winner ? "" : undefined}>
          <span class="bars-label">{labels[index]}</span>
          <span class="number">{percent(probabilities[index] ?? 0)}</span>
          <span class="bar" aria-hidden="true">
            <span style={{ width: `${100 * (probabilities[index] ?? 0)}%` }} />
          </span>
        </li>
      ))}
    </ol>
  );
}
