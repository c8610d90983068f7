import { expect, test } from "vitest";
import { clear, place, show } from "../../testing";
import { Outcome } from "./lane";

test("a distance is told of a success alone", async () => {
  const end = { state: "done", notes: [], files: [], norm: "linf", distance: 0 } as const;
  await show(<Outcome end={{ ...end, notes: [], files: [], success: false }} />);
  expect(place.textContent).toContain("survives");
  expect(place.textContent).not.toContain("distance");
  await show(<Outcome end={{ ...end, notes: [], files: [], success: true, distance: 0.1 }} />);
  expect(place.textContent).toContain("distance, Linf");
  await clear();
});
