// The sentence as the control of the page; every word of it is in the address.
import { Picture } from "../pictures/canvas";
import { percent } from "../plot/words";
import { misread } from "../state/choices";
import { askPictureAgain, pictured, picturedTrouble } from "../state/pictured";
import {
  direction,
  indexOf,
  nameOf,
  picture,
  wanted,
  wrongWords,
} from "../state/sentence";
import { network } from "../state/studio";
import type { NetworkInfo } from "../api/types";
import { Combobox } from "./combobox";
import { NetworkWord } from "./network";
import { PictureChooser } from "./picture";
import "./sentence.css";
import { WithinWord } from "./within";
import { article, brief, DIRECTIONS } from "./words";
import { Word } from "./word";

export function Sentence() {
  const shown = network.value;
  return (
    <section class="sentence" aria-label="What is shown">
      <p class="sentence-line">
        Show how <NetworkWord /> turns this{" "}
        {shown === null ? (
          "picture into another class"
        ) : (
          <>
            <PictureWord network={shown} /> into {article(wantedInWords(shown))}{" "}
            <ClassWord network={shown} /> by <DirectionWord network={shown} /> within{" "}
            <WithinWord />
          </>
        )}
        .
      </p>
      {[...wrongWords.value, ...misread.value].map((one) => (
        <p key={one} class="problem" role="alert">
          {one}
        </p>
      ))}
      {shown !== null && picturedTrouble.value !== null && picturedTrouble.value.status !== 0 && (
        <p class="problem" role="alert">
          {gone(picturedTrouble.value.message)}{" "}
          <button type="button" class="button small" onClick={askPictureAgain}>
            Try again
          </button>{" "}
          <button type="button" class="button small" onClick={() => picture.forget()}>
            Take the usual picture
          </button>
        </p>
      )}
    </section>
  );
}

/** A kept picture is forgotten when the studio ends: say what to do with a link to one. */
function gone(reason: string): string {
  if (!picture.value.startsWith("kept:")) return reason;
  return (
    "The picture of this link was brought or drawn in a studio that has forgotten it since: bring " +
    "or draw it again below, or choose another."
  );
}

function PictureWord({ network: shown }: { network: NetworkInfo }) {
  const known = pictured.value;
  const label = known === null ? "picture" : brief(known.label ?? shown.labels[known.winner] ?? "");
  return (
    <Word
      name="Picture"
      spoken={label}
      wrong={picturedTrouble.value !== null && picturedTrouble.value.status !== 0}
      shown={
        <>
          {known !== null && <Picture frame={known.frame} alt="" />}
          {label}
        </>
      }
    >
      {(close) => <PictureChooser network={shown} close={close} />}
    </Word>
  );
}

function wantedInWords(shown: NetworkInfo): string {
  return brief(shown.labels[indexOf(wanted.value, shown.labels)] ?? wanted.value);
}

function ClassWord({ network: shown }: { network: NetworkInfo }) {
  return (
    <Word
      name="Class"
      shown={wantedInWords(shown)}
      wrong={indexOf(wanted.value, shown.labels) < 0}
    >
      {(close) => <Classes network={shown} close={close} />}
    </Word>
  );
}

/** All classes; of many those that the network takes the picture for come first. */
function Classes({ network: shown, close }: { network: NetworkInfo; close: () => void }) {
  const probabilities = pictured.value?.probabilities;
  const items = shown.labels.map((label, index) => ({
    value: nameOf(index, shown.labels),
    label,
    aside: probabilities === undefined ? "" : percent(probabilities[index] ?? 0),
    index,
  }));
  if (items.length > 20 && probabilities !== undefined) {
    items.sort((a, b) => (probabilities[b.index] ?? 0) - (probabilities[a.index] ?? 0));
  }
  return (
    <Combobox
      label="Class that it is turned into"
      items={items}
      chosen={wanted.value}
      choose={(name) => {
        wanted.value = name;
        close();
      }}
    />
  );
}

function DirectionWord({ network: shown }: { network: NetworkInfo }) {
  const offered = (shown.offers["morph"]?.["directions"] ?? ["sign"]) as string[];
  return (
    <Word
      name="Steps"
      shown={DIRECTIONS[direction.value]?.words ?? direction.value}
      wrong={DIRECTIONS[direction.value] === undefined}
    >
      {(close) => (
        <Combobox
          label="How the picture moves"
          items={offered.map((name) => ({
            value: name,
            label: DIRECTIONS[name]?.words ?? name,
            ...(DIRECTIONS[name] === undefined ? {} : { says: DIRECTIONS[name].says }),
          }))}
          chosen={direction.value}
          choose={(name) => {
            direction.value = name;
            close();
          }}
        />
      )}
    </Word>
  );
}
