// What the tests share: Debian's chromium, pages that note what no page should do, and the page's own words for its states.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

export const BASE = process.env.MESSYMASH_URL;
if (!BASE) throw new Error("MESSYMASH_URL is not set: tools/check_page.sh starts the service and says where it is");
export const SAMPLES = new URL("../../samples/", import.meta.url).pathname;
export const WIDTHS = [390, 768, 1280];
const SHOTS = new URL("./screenshots/", import.meta.url).pathname;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Tests wait this long for what takes the service some time, milliseconds. */
export const PATIENCE = 300_000;

/** A browser with a user's folder of its own, which goes when it is closed. */
export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  chromiumSandbox: false,
  args: [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
  ],
});

/** Runs `visit` with the page, opened afresh; errors, what the policy forbids and requests to elsewhere fail it.
 * A `key` is given to the page when it asks for one. */
export async function visiting(browser, { width = 1280, scheme = "light", prepare = async () => {}, key }, visit) {
  const context = await browser.newContext({
    viewport: { width, height: width < 600 ? 844 : 900 },
    colorScheme: scheme,
    reducedMotion: "reduce",
    acceptDownloads: true,
    permissions: ["microphone"],
  });
  const faults = [];
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
    page.on("console", (message) => {
      // The browser itself calls refused requests errors: some tests are about those.
      if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) faults.push(message.text());
    });
    page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(`${BASE}/`) && !url.startsWith(`blob:${BASE}/`)) faults.push(`request to ${url}`);
    });
    await prepare(page);
    await page.goto(BASE);
    if (key) {
      await page.locator("#key").waitFor();
      await accessible(page, "the question for the key");
      await page.fill("#key-text", key);
      await page.keyboard.press("Enter");
    }
    await page.waitForFunction(() => document.querySelector("#card").childElementCount > 0);
    await visit(page);
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
  }
}

export const put = (page, files) => page.setInputFiles("#choose", files);
export const sample = (name) => SAMPLES + name;
/** Whatever comes first: an answer or an error. */
export const finished = (page) => page.locator("#answer:visible, #failure:visible").first().waitFor();
/** The spectrogram of the window at the playhead is there. */
export const pictured = (page) => page.waitForFunction(() => document.querySelector("#spectrogram:not([hidden])")?.naturalWidth > 0);
export const text = (page, id) => page.locator(`#${id}`).innerText();

export async function seek(page, seconds) {
  await page.locator("#seek").fill(String(seconds));
}

/** No violation of any of axe's rules, and nothing wider than the screen. */
export async function accessible(page, where) {
  await page.evaluate(AXE);
  // Half way from one colour to another is nobody's design.
  await page.evaluate(() => Promise.allSettled(document.getAnimations().filter((a) => a instanceof CSSTransition).map((a) => a.finished)));
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join("; ")}`);
  assert.deepEqual(told, [], where);
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(over, 0, `${where} is ${over} pixels wider than the screen`);
}

/** A picture of the page for people to look at, after `accessible`. */
export async function shot(page, name) {
  await accessible(page, name);
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
}

/** A WAV file of mono 16-bit sound, made on the spot: a note that changes every second. */
export function wav(seconds, rate = 8000) {
  const samples = seconds * rate;
  const file = Buffer.alloc(44 + 2 * samples);
  file.write("RIFF", 0);
  file.writeUInt32LE(36 + 2 * samples, 4);
  file.write("WAVEfmt ", 8);
  file.writeUInt32LE(16, 16);
  file.writeUInt16LE(1, 20);
  file.writeUInt16LE(1, 22);
  file.writeUInt32LE(rate, 24);
  file.writeUInt32LE(2 * rate, 28);
  file.writeUInt16LE(2, 32);
  file.writeUInt16LE(16, 34);
  file.write("data", 36);
  file.writeUInt32LE(2 * samples, 40);
  const notes = Array.from({ length: 12 }, (_, number) => {
    const note = Buffer.alloc(2 * rate);
    const turns = (2 * Math.PI * 220 * 2 ** (number / 12)) / rate;
    for (let i = 0; i < rate; i++) note.writeInt16LE(Math.round(9000 * Math.sin(turns * i)), 2 * i);
    return note;
  });
  for (let second = 0; second < seconds; second++) notes[(second * 5) % 12].copy(file, 44 + 2 * rate * second);
  return file;
}

/** What the service would send about a sound; `changes` on top. Only for states that no sound brings about at will. */
export function stream(changes = {}) {
  const scores = { pop: 0.3, rock: 0.26, disco: 0.2, jazz: 0.06, blues: 0.05, metal: 0.04, reggae: 0.03, hiphop: 0.03, country: 0.02, classical: 0.01 };
  const predictions = Object.entries(scores).map(([label, score]) => ({ label, score }));
  const result = {
    model: { id: "bundled", labels: Object.keys(scores).sort() }, file: { name: null, bytes: 1, seconds: 10 },
    predictions, windows: [{ start: 0, end: 10, predictions }], timeline: [{ start: 0, end: 10, label: "pop", score: 0.3 }],
    warnings: [], timings: {}, request_id: "test", ...changes,
  };
  return { status: 200, contentType: "text/event-stream", body: `event: result\ndata: ${JSON.stringify(result)}\n\n` };
}
