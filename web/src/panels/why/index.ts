import { register, unlessOffered } from "../registry";
import { Why } from "./why";

register({
  id: "why",
  title: "Why",
  place: 40,
  whyNot: unlessOffered("attribution"),
  view: Why,
});
