import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { morph } from "../../state/morphing";
import { choice } from "../../state/choices";
import { askPictureAgain, pictured, rememberLabel } from "../../state/pictured";
import { picture } from "../../state/sentence";
import { network as shownNetwork } from "../../state/studio";
import { clear, place, press, server, settle, show } from "../../testing";
import { leftInWords, secondsLeft } from "./left";
import { takeUp } from "./html_report";
import { Report } from "./report";

const network = {
  name: "digits-cnn",
  labels: ["zero"],
  channels: 1,
  input_size: null,
  picture: "digits:7",
  offers: {
    report: {
      data: ["digits", "mnist"],
      limit: 200,
      budget: 120,
      sections: [{ name: "verdict", title: "The verdict" }],
    },
  },
};

beforeEach(() => server.start(vi.stubGlobal));

afterEach(async () => {
  await clear();
  pictured.value = shownNetwork.value = null;
  morph.job.leave();
  morph.clear();
  vi.unstubAllGlobals();
});

const links = () => [...place.querySelectorAll("a")].map((one) => one.getAttribute("href"));
const lines = () => [...place.querySelectorAll("code")].map((one) => one.textContent);

test("nothing is promised before there is something to go by", () => {
  expect(secondsLeft(0, 100, 600)).toBeNull();
  expect(secondsLeft(0.04, 100, 600)).toBeNull();
  expect(secondsLeft(0.5, 1, 600)).toBeNull();
  expect(secondsLeft(0.25, 30, 600)).toBe(90);
  expect([secondsLeft(0.1, 4, 15), secondsLeft(0.9, 16, 15)]).toEqual([11, 0]);
  expect([3, 31, 59, 61].map(leftInWords)).toEqual([
    "nearly done",
    "about 40 seconds left",
    "about a minute left",
    "about 2 minutes left",
  ]);
});

test("the command and the files are those of the morph on the screen", async () => {
  await show(<Report network={network} />);
  expect(place.textContent).toContain("Nothing has moved yet");
  morph.run({ kind: "morph" });
  await settle();
  await server.stream().tell("begin", { command: "fluoroscope morph --to '<b>'", steps: 3 });
  expect(lines()).toContain("fluoroscope morph --to '<b>'");
  expect(links()).toEqual([]);
  const files = ["morph.gif", "morph.json", "a/b.png"];
  await server.stream().tell("end", { state: "done", notes: [], files });
  expect(links()).toEqual(
    ["morph.gif", "morph.json", "a%2Fb.png"].map((name) => `api/jobs/job1/files/${name}`),
  );
});

test("the link says every choice, also one that is made later", async () => {
  const chosen = choice("of-this-test", "usual");
  await show(<Report network={network} />);
  const link = () => new URL(lines().find((line) => line?.startsWith("http")) ?? "");
  chosen.value = "ä&b";
  await settle();
  expect(link().searchParams.get("of-this-test")).toBe("ä&b");
});

test("the link and the address say what the page chose by itself", async () => {
  await show(<Report network={network} />);
  const labels = ["zero", "one", "two", "three"];
  const frame = { width: 1, height: 1, channels: 1, pixels: "AA==" };
  const answer = { frame, probabilities: btoa("\0".repeat(4 * labels.length)), notes: [] };
  rememberLabel(network.name, network.picture, null);
  shownNetwork.value = { ...network, labels };
  for (const [winner, to] of [[1, "three"], [0, "two"]] as const) {
    server.answers.set("api/predictions", () => ({ ...answer, winner }));
    askPictureAgain();
    await settle();
    const said = lines().find((line) => line?.startsWith("http")) ?? "";
    expect(said).toBe(location.href);
    expect(Object.fromEntries(new URL(said).searchParams)).toMatchObject({
      network: network.name,
      picture: picture.value,
      to,
      by: "sign",
      norm: "linf",
      eps: "0.3",
      steps: "40",
    });
  }
});

test("a report is started with what was chosen, watched, and opened in a tab of its own", async () => {
  await show(<Report network={network} />);
  const seconds = place.querySelector<HTMLInputElement>("input[type=number]")!;
  const write = () =>
    [...place.querySelectorAll("button")].find((one) => one.textContent === "Write the report")!;
  seconds.value = "5";
  seconds.dispatchEvent(new Event("input"));
  await settle();
  expect(write().disabled).toBe(true);
  expect(place.textContent).toContain("expected 10 to 3,600");
  seconds.value = "60";
  seconds.dispatchEvent(new Event("input"));
  await settle();
  await press("Write the report");
  expect(server.jobs).toEqual([
    { kind: "report", network: "digits-cnn", data: "digits", budget: 60 },
  ]);
  await server.stream().tell("progress", { share: 0.5, doing: "the verdict" });
  expect(place.textContent).toContain("the verdict");
  expect(links()).toEqual([]);
  // It goes on while another network is looked at.
  await clear();
  await show(<Report network={{ ...network, name: "other", offers: {} as never }} />);
  await server.stream().tell("told", { summary: "It is <b>weak</b>.", missing: { verdict: "no time", map: "map: the time was up." } });
  await server.stream().tell("end", { state: "done", notes: [], files: ["report.html"] });
  const open = place.querySelector<HTMLAnchorElement>("a[target=_blank]")!;
  expect(open.getAttribute("href")).toBe("api/jobs/job1/report");
  expect(open.textContent).toBe("Open the report of digits-cnn");
  expect(place.textContent).toContain("It is <b>weak</b>.");
  const notes = [...place.querySelectorAll(".note")].map((note) => note.textContent);
  expect(notes).toEqual(["Left out, verdict: no time", "Left out: map: the time was up."]);
});

test("a report that is being written is found again once the page is loaded anew", async () => {
  await show(<Report network={network} />);
  await press("Write the report");
  await server.stream().tell("begin", { command: "fluoroscope xray" });
  const id = `job${server.jobs.length}`;
  expect(JSON.parse(sessionStorage.getItem("report")!)).toMatchObject({ id, network: "digits-cnn" });
  const asked = server.jobs.length;
  takeUp();
  await settle();
  expect(server.jobs.length).toBe(asked);
  await server.stream().tell("begin", { command: "fluoroscope xray --again" });
  await server.stream().tell("progress", { share: 0.5, doing: "the verdict" });
  expect(place.textContent).toContain("the verdict");
  expect(lines()).toContain("fluoroscope xray --again");
  await server.stream().tell("end", { state: "done", notes: [], files: ["report.html"] });
  expect(links()).toContain(`api/jobs/${id}/report`);
  sessionStorage.clear();
});
