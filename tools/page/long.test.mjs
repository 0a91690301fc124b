// Sounds of an hour and of several minutes: the page stays quick.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { finished, launch, pictured, put, seek, text, visiting, wav } from "./browser.mjs";

/** Longest that the page's thread may compute in one piece, milliseconds. */
const LONGEST = 100;

let browser, folder;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), "messymash-page-"));
  browser = await launch();
});
after(async () => {
  await browser.close();
  rmSync(folder, { recursive: true });
});

/** The path of a new file: what Playwright hands over as bytes, the page's own thread would have to unpack. */
function made(name, seconds) {
  const path = join(folder, name);
  writeFileSync(path, wav(seconds));
  return path;
}

/** The longest task of the page's main thread while `work` goes on, in milliseconds of the processor: not of the clock, which
 * would also count the time that other processes take. */
async function longestTask(page, work) {
  await browser.startTracing(page, { categories: ["toplevel", "disabled-by-default-devtools.timeline", "__metadata"] });
  let trace;
  try {
    await work();
  } finally {
    trace = await browser.stopTracing();
  }
  const { traceEvents } = JSON.parse(trace.toString());
  const mains = new Set(traceEvents.filter(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain").map(({ pid, tid }) => `${pid} ${tid}`));
  const tasks = traceEvents.filter(({ name, ph, pid, tid, tdur }) => name === "RunTask" && ph === "X" && tdur !== undefined && mains.has(`${pid} ${tid}`));
  assert.ok(tasks.length > 100, `only ${tasks.length} tasks were seen`);
  return Math.max(...tasks.map(({ tdur }) => tdur / 1000));
}

test("an hour of sound does not hold up the page", () => visiting(browser, {}, async (page) => {
  const longest = await longestTask(page, async () => {
    await put(page, made("hour.wav", 3600));
    await finished(page);
    assert.equal(await page.locator("#failure-text").textContent(), "");
    await seek(page, 1800);
    await page.click("#show-picture");
    await pictured(page);
    await page.click("#list summary");
  });
  assert.match(await text(page, "answer-name"), /1:00:00$/);
  assert.equal(await text(page, "now"), "30:00");
  assert.match(await text(page, "player-note"), /waveform is left out/);
  assert.equal(await page.locator("#wave").isVisible(), false);
  assert.ok(await page.locator("#segments span").count() >= 1);
  assert.ok(longest <= LONGEST, `a task of the page took ${longest.toFixed(0)} ms`);
}));

test("the longest sound that has a waveform does not hold up the page either", () => visiting(browser, {}, async (page) => {
  const longest = await longestTask(page, async () => {
    await put(page, made("ten-minutes.wav", 599));
    await finished(page);
    assert.equal(await page.locator("#failure-text").textContent(), "");
    await page.locator("#wave").waitFor();
    await seek(page, 300);
    await pictured(page);
  });
  assert.ok(longest <= LONGEST, `a task of the page took ${longest.toFixed(0)} ms`);
}));
