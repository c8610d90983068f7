import { register } from "../registry";
import { Report } from "./report";

register({
  id: "report",
  title: "Report",
  place: 70,
  // The link and the files are of every network; the report itself says where it is not possible.
  whyNot: () => null,
  view: Report,
});
