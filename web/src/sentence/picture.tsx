// What the word for the picture opens: pictures of the data, and the ways to bring one.
import type { NetworkInfo } from "../api/types";
import { BringButton } from "../panels/input/bring";
import { SampleStrip } from "../panels/input/samples";

interface PictureChooserProps {
  network: NetworkInfo;
  close: () => void;
}

export function PictureChooser({ network, close }: PictureChooserProps) {
  return (
    <div class="stack picture-chooser">
      <SampleStrip network={network} chose={close} />
      <div class="row">
        <BringButton done={close} />
        <a class="button" href="#input" onClick={close}>
          Draw one
        </a>
      </div>
    </div>
  );
}
