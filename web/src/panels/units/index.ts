import { register, unlessOffered } from "../registry";
import { Units } from "./units";

register({
  id: "units",
  title: "The units that decided",
  place: 45,
  whyNot: unlessOffered("units"),
  view: Units,
});
