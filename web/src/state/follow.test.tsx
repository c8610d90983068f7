import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { clear, server, show } from "../testing";
import { useFollowing } from "./follow";

function Follower({ of, ready }: { of: number | null; ready: boolean }) {
  useFollowing(of === null ? null : { kind: "units", of }, ready, () => ({}));
  return null;
}

beforeEach(() => server.start(vi.stubGlobal));

afterEach(async () => {
  await clear();
  vi.unstubAllGlobals();
});

test("it is asked once somebody looks, and again only for something else", async () => {
  await show(<Follower of={null} ready />);
  await show(<Follower of={1} ready={false} />);
  expect(server.jobs).toEqual([]);
  await show(<Follower of={1} ready />);
  await show(<Follower of={1} ready={false} />);
  await show(<Follower of={1} ready />);
  expect(server.jobs).toEqual([{ kind: "units", of: 1 }]);
  await show(<Follower of={2} ready />);
  expect(server.jobs.length).toBe(2);
});
