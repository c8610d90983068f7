// The page begins: the theme, the panels, and what the server has on offer.
import { render } from "preact";
import "./style/index.css";
import { Page } from "./page";
import "./panels";
import { networkName } from "./state/sentence";
import { begin } from "./state/studio";

const root = document.getElementById("studio");
if (root !== null) render(<Page />, root);
begin(networkName);
