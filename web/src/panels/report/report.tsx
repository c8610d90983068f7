// What one takes along: the command and the files of what is on the screen, a link to it, and the
// report of the network.
import type { NetworkInfo } from "../../api/types";
import { link, readdressed } from "../../state/choices";
import { morph } from "../../state/morphing";
import { picture } from "../../state/sentence";
import { Command } from "./command";
import { Files } from "./downloads";
import { HtmlReport } from "./html_report";
import "./report.css";

export function Report({ network }: { network: NetworkInfo }) {
  return (
    <div class="report">
      <section class="stack" aria-labelledby="take-along">
        <h3 id="take-along">What is on the screen</h3>
        <OnScreen network={network} />
        <Command command={address()} words="A link to this view" />
        <p class="hint">
          The link says every choice on the page. A picture that you brought is only in this studio:
          send it along.
        </p>
      </section>
      <HtmlReport network={network} />
    </div>
  );
}

function OnScreen({ network }: { network: NetworkInfo }) {
  const id = morph.job.id.value;
  const end = morph.end.value;
  const standing = morph.job.standing.value.is;
  if (id === null) return <p class="hint">Nothing has moved yet: begin a morph.</p>;
  return (
    <>
      <Command
        command={morph.begin.value?.command}
        words="The morph in a terminal"
        of={{ picture: picture.value, network: network.name }}
      />
      {end !== null && end.files.length > 0 ? (
        <Files id={id} files={end.files} />
      ) : (
        <p class="hint">
          {standing === "running" || standing === "queued"
            ? "Its files are there once the morph has ended."
            : "It left no files."}
        </p>
      )}
    </>
  );
}

/** The whole address of this view, as the choices are now. */
function address(): string {
  void readdressed.value;
  return new URL(link(), location.href).href;
}
