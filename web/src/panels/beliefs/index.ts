import { register, unlessOffered } from "../registry";
import { Beliefs } from "./beliefs";

register({
  id: "beliefs",
  title: "What it believes",
  place: 60,
  whyNot: unlessOffered("portrait"),
  view: Beliefs,
});
