import { render } from "preact";
import "./style/index.css";
import { call } from "./api/client";
import type { NetworkInfo, StudioInfo } from "./api/types";
import { Page } from "./page";
import "./panels";
import { networkName } from "./state/sentence";
import { network, studio, trouble } from "./state/studio";

async function begin(): Promise<void> {
  try {
    studio.value = await call<StudioInfo>("GET", "api/studio");
    const name = encodeURIComponent(networkName.value);
    network.value = await call<NetworkInfo>("GET", `api/network?name=${name}`);
  } catch (problem) {
    trouble.value = String((problem as Error).message);
  }
}

const root = document.getElementById("studio");
if (root !== null) render(<Page />, root);
void begin();
