// The sentence that controls the page: show how NETWORK turns this PICTURE into a CLASS by STEPS.
import { choice } from "./choices";

export const networkName = choice("network", "digits-cnn");
/** DATA:INDEX or kept:HASH. */
export const picture = choice("picture", "digits:7");
/** The wanted class, by its label. */
export const wanted = choice("to", "2");
/** How the picture moves, in the words of `fluoroscope morph`. */
export const direction = choice("by", "sign");
export const norm = choice("norm", "linf");
export const eps = choice("eps", "0.3");
export const steps = choice("steps", 40);
