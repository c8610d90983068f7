// Which picture is on the screen just now: what "why" and "units" speak of.
import { computed, signal } from "@preact/signals";
import { picture } from "./sentence";

/** A step of the trajectory that is looked at, as `step:JOB:NUMBER`; `null` before there is one. */
export const shownStep = signal<string | null>(null);

/** The name of the picture on the screen, as requests take it. */
export const shown = computed(() => shownStep.value ?? picture.value);
