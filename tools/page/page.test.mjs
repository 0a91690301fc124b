// The page as a person uses it, against the program itself.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { BASE, WIDTHS, accessible, finished, launch, pictured, put, sample, seek, shot, stream, text, visiting, wav } from "./browser.mjs";

let browser;
before(async () => { browser = await launch(); });
after(() => browser.close());

const PDF = { name: "score.pdf", mimeType: "application/pdf", buffer: Buffer.from("%PDF-1.7\n1 0 obj\n") };
const SHORT = { name: "note.wav", mimeType: "audio/wav", buffer: wav(3) };

for (const scheme of ["light", "dark"]) {
  for (const width of WIDTHS) {
    test(`every state at ${width} pixels, ${scheme}: nothing for axe to find, nothing wider than the screen`, () =>
      visiting(browser, { width, scheme }, async (page) => {
        const name = (state) => `${state}-${width}-${scheme}`;
        const bright = await page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).every((part) => part > 127));
        assert.equal(bright, scheme === "light");
        await shot(page, name("1-empty"));
        await page.click("#about-open");
        await accessible(page, "the model's card");
        await page.click("#about-close");

        let release;
        const held = new Promise((done) => { release = done; });
        await page.route("**/v1/classify*", async (route) => { await held; await route.continue(); });
        await put(page, sample("mashup.flac"));
        await page.locator("#work").waitFor();
        await shot(page, name("2-working"));
        release();
        await finished(page);
        await page.unroute("**/v1/classify*");
        await pictured(page);
        await page.locator("#wave").waitFor();
        await shot(page, name("3-answer"));

        await put(page, sample("medley.ogg"));
        await page.waitForFunction(() => document.querySelector("#answer-name").textContent.startsWith("medley"));
        await seek(page, 14);
        await page.click("#attend");
        await page.locator("#attention").waitFor();
        await shot(page, name("4-several-and-attention"));
        await put(page, PDF);
        await page.locator("#failure").waitFor();
        await shot(page, name("6-error"));
        await page.route("**/v1/classify*", (route) => route.fulfill(stream({ verdict: "not_sure", reason: null })));
        await put(page, SHORT);
        await page.locator("#contenders div").first().waitFor();
        await shot(page, name("5-not-sure"));
      }));
  }
}

test("a sound gives its genre, ten scores, a player and a picture", () => visiting(browser, {}, async (page) => {
  await put(page, sample("mashup.flac"));
  await finished(page);
  assert.equal((await text(page, "verdict")).toLowerCase(), "disco");
  assert.equal(await page.title(), "messymash: what genre is it?");
  const scores = await page.locator("#scores li").allInnerTexts();
  assert.equal(scores.length, 10);
  assert.match(scores[0], /^disco/);
  const sum = scores.map((row) => Number(row.match(/(\d+)\u2009%/)[1])).reduce((all, score) => all + score);
  assert.ok(sum >= 90 && sum <= 110, `${sum} %`);
  assert.match(await text(page, "answer-name"), /^mashup\.flac · 0:20$/);
  assert.match(await text(page, "status"), /^mashup\.flac: disco, /);
  // Who waited by keyboard is at the answer.
  assert.equal(await page.evaluate(() => document.activeElement.id), "verdict");
  await pictured(page);
  await page.locator("#wave").waitFor();
  const painted = await page.evaluate(() => {
    const { width, height } = document.querySelector("#wave");
    const { data } = document.querySelector("#wave").getContext("2d").getImageData(0, 0, width, height);
    return data.filter((value, place) => place % 4 === 3 && value > 0).length / (width * height);
  });
  assert.ok(painted > 0.1 && painted < 0.95, `${painted} of the waveform is painted`);
  await page.click("#play");
  await page.waitForFunction(() => document.querySelector("#sound").currentTime > 0.5 && document.querySelector("#now").textContent !== "0:00");
  await page.click("#play");
  await page.locator("#play[aria-label=Play]").waitFor();
  assert.equal(await page.evaluate(() => document.querySelector("#sound").paused), true);
}));

test("the timeline is sought by pointer, keyboard and list, and the picture follows", () => visiting(browser, {}, async (page) => {
  const asked = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await put(page, sample("medley.ogg"));
  await finished(page);
  const genres = async () => (await page.locator("#segments span").allTextContents()).join(" ");
  assert.equal(await genres(), "classical rock disco");
  await pictured(page);

  const { x, y, width, height } = await page.locator("#track").boundingBox();
  await page.mouse.click(x + width / 2, y + height / 2);
  assert.equal(await text(page, "now"), "0:15");
  assert.equal(await text(page, "now-genre"), "rock");
  assert.equal(await text(page, "seen-where"), "0:10–0:20");
  assert.ok(Math.abs(await page.evaluate(() => document.querySelector("#sound").currentTime) - 15.4) < 0.3);
  await page.waitForFunction(() => document.querySelector("#spectrogram").alt.includes("0:10 to 0:20"));

  await page.locator("#seek").press("ArrowRight");
  assert.equal(await text(page, "now"), "0:20");
  await page.locator("#seek").press("End");
  assert.match(await page.getAttribute("#seek", "aria-valuetext"), /^0:30 of 0:31, disco$/);
  await page.locator("#seek").press("Home");
  assert.equal(await text(page, "now-genre"), "classical");

  await page.click("#list summary");
  await page.locator("#parts button").nth(2).click();
  assert.equal(await text(page, "now"), "0:20");

  // Attention costs the service something: only who asks gets it.
  assert.ok(!asked.includes("/v1/attention"));
  await page.click("#attend");
  await page.locator("#attention").waitFor();
  assert.match(await text(page, "seen-text"), /most of all the (bass|middle|treble) around 0:\d\d/);
  const dimmed = await page.evaluate(() => {
    const canvas = document.querySelector("#attention");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.filter((_, place) => place % 4 === 3);
  });
  assert.equal(Math.min(...dimmed), 0, "the patch that was listened to most is not dimmed");
  assert.ok(Math.max(...dimmed) > 50);

  const before = await page.locator("#parts button").count();
  await page.click("#closer");
  await page.locator("#closer").waitFor({ state: "hidden" });
  assert.ok(await page.locator("#parts button").count() >= before);
  assert.match(await text(page, "status"), /^The timeline now has (9|10) moments/);
}));

test("a picture that does not come leaves no other one in its place, and attention that is not wanted any more is not drawn", () =>
  visiting(browser, {}, async (page) => {
    await put(page, sample("medley.ogg"));
    await finished(page);
    await pictured(page);
    await page.route("**/v1/spectrogram*", (route) => route.fulfill({ status: 500, json: { error: "A fault.", error_type: "internal", request_id: "test" } }));
    await seek(page, 14);
    await page.locator("#show-picture").waitFor();
    assert.equal(await page.locator("#spectrogram").isVisible(), false);
    assert.equal(await text(page, "seen-text"), "A fault.");
    await page.unroute("**/v1/spectrogram*");
    await page.click("#show-picture");
    await pictured(page);
    assert.equal(await page.locator("#show-picture").isVisible(), false);

    let release;
    const held = new Promise((done) => { release = done; });
    await page.route("**/v1/attention*", async (route) => { await held; await route.continue(); });
    const answered = page.waitForResponse("**/v1/attention*");
    await page.click("#attend");
    await page.waitForFunction(() => document.querySelector("#seen-text").textContent.startsWith("Looking"));
    await page.click("#attend");
    await page.waitForFunction(() => document.querySelector("#seen-text").textContent.startsWith("Time runs"));
    release();
    await (await answered).finished();
    await page.waitForTimeout(500);
    assert.equal(await page.locator("#attention").isVisible(), false);
    assert.match(await text(page, "seen-text"), /^Time runs/);
  }));

test("an example is heard, played and left by keyboard alone", () => visiting(browser, {}, async (page) => {
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
  const reach = async (what) => {
    for (let presses = 0; presses < 40; presses++) {
      if ((await focused()) === what) return;
      await page.keyboard.press("Tab");
    }
    assert.fail(`${what} is not reached by Tab`);
  };
  await reach("A mashup in the street");
  await page.keyboard.press("Enter");
  await finished(page);
  assert.equal((await text(page, "verdict")).toLowerCase(), "disco");
  assert.equal(await focused(), "verdict");
  await reach("play");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("#sound").currentTime > 0.2);
  await page.locator("#play[aria-label=Pause]").waitFor();
  await reach("seek");
  await page.keyboard.press(" ");
  await page.locator("#play[aria-label=Play]").waitFor();
  await reach("attend");
  await page.keyboard.press("Enter");
  await page.locator("#attention").waitFor();
  await reach("about-here");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#about").evaluate((dialog) => dialog.open), true);
  assert.match(await text(page, "card"), /Not meant for/);
  await page.keyboard.press("Escape");
  assert.equal(await focused(), "about-here");
}));

test("what the microphone hears is sent as a WAV file", () => visiting(browser, {
  prepare: (page) => page.addInitScript(() => {
    const send = globalThis.fetch;
    globalThis.fetch = (path, options) => {
      if (path.startsWith("/v1/classify")) globalThis.sent = options.body;
      return send(path, options);
    };
  }),
}, async (page) => {
  await page.click("#record");
  await page.waitForFunction(() => document.querySelector("#recorded").textContent >= "0:02");
  await shot(page, "7-recording");
  await page.click("#record-done");
  await finished(page);
  const sent = Buffer.from(await page.evaluate(async () => [...new Uint8Array(await globalThis.sent.arrayBuffer())]));
  assert.equal(sent.toString("latin1", 0, 4) + sent.toString("latin1", 8, 16), "RIFFWAVEfmt ");
  const [channels, rate, bytes] = [sent.readUInt16LE(22), sent.readUInt32LE(24), sent.readUInt32LE(40)];
  assert.deepEqual([channels, bytes], [1, sent.length - 44]);
  assert.ok(bytes / 2 / rate >= 2 && bytes / 2 / rate < 120, `${bytes / 2 / rate} s`);
  // Chromium's fake device beeps: what was sent is not silence.
  let loudest = 0;
  for (let at = 44; at < sent.length; at += 2) loudest = Math.max(loudest, Math.abs(sent.readInt16LE(at)));
  assert.ok(loudest > 1000, `${loudest}`);
  assert.match(await text(page, "answer-name"), /^recording .+\.wav/);
  assert.equal(await page.locator("#recorder").isVisible(), false);
}));

test("a microphone that may not be used is explained", () => visiting(browser, {
  prepare: (page) => page.addInitScript(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
  }),
}, async (page) => {
  await page.click("#record");
  await page.waitForFunction(() => document.querySelector("#recorder-hint").textContent.includes("may not be used"));
  assert.equal(await page.locator("#record-done").isVisible(), false);
  assert.equal(await page.locator("#record").isEnabled(), true);
}));

test("what is no sound is refused in words, and what is too large or long before it is sent", () => visiting(browser, {
  prepare: (page) => page.route("**/v1/model", async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: { ...(await answer.json()), limits: { body_bytes: 1 << 20, seconds: 10 } } });
  }),
}, async (page) => {
  await put(page, PDF);
  await finished(page);
  assert.match(await text(page, "failure-text"), /PDF/);
  assert.equal(await page.locator("#again").isVisible(), false);
  assert.equal(await page.evaluate(() => document.activeElement.id), "failure-title");

  let sent = 0;
  page.on("request", (request) => { sent += Number(request.url().includes("/v1/classify")); });
  await put(page, { name: "large.wav", mimeType: "audio/wav", buffer: wav(80) });
  await page.waitForFunction(() => document.querySelector("#failure-name").textContent === "large.wav");
  assert.match(await text(page, "failure-text"), /up to 1 MB can be heard here\. Nothing was sent\./);
  await put(page, { name: "long.wav", mimeType: "audio/wav", buffer: wav(30) });
  await page.waitForFunction(() => document.querySelector("#failure-name").textContent === "long.wav");
  assert.match(await text(page, "failure-text"), /lasts 0:30; up to 0:10 can be heard here/);
  await put(page, { name: "empty.wav", mimeType: "audio/wav", buffer: Buffer.alloc(0) });
  await page.waitForFunction(() => document.querySelector("#failure-name").textContent === "empty.wav");
  assert.match(await text(page, "failure-text"), /empty/);
  assert.equal(sent, 0);
}));

test("several sounds have a table, one answer at a time, and downloads that tell of all", () => visiting(browser, {}, async (page) => {
  const hostile = "=<img src=x onerror=document.title='owned'>.ogg";
  const piano = readFileSync(sample("piano.ogg"));
  await put(page, [
    { name: "first.flac", mimeType: "audio/flac", buffer: readFileSync(sample("mashup.flac")) },
    { name: hostile, mimeType: "audio/ogg", buffer: piano },
    PDF,
  ]);
  await page.waitForFunction(() => document.querySelector("#status").textContent === "All 3 sounds are done, 1 of them without an answer.");
  const column = (number) => page.locator(`#rows tr > :nth-child(${number})`).allTextContents();
  assert.deepEqual(await column(1), ["first.flac", hostile, "score.pdf"]);
  assert.deepEqual(await column(2), ["disco", "classical?", "failed"]);
  assert.deepEqual(await column(4), ["0:20", "0:20", ""]);
  assert.equal((await text(page, "verdict")).toLowerCase(), "disco");
  await page.locator("#rows button").nth(1).click();
  assert.match(await text(page, "verdict"), /Not sure/);
  assert.match((await page.locator("#contenders").textContent()).toLowerCase(), /^classical/);
  assert.match(await text(page, "answer-name"), /onerror/);
  assert.equal(await page.title(), "messymash: what genre is it?");
  assert.equal(await page.locator("#rows img, #answer-name img").count(), 0);

  const download = async (id) => {
    const [file] = await Promise.all([page.waitForEvent("download"), page.click(`#${id}`)]);
    return { name: file.suggestedFilename(), text: readFileSync(await file.path(), "utf8") };
  };
  const all = JSON.parse((await download("all-json")).text);
  assert.deepEqual(all.map(({ file }) => file.name), ["first.flac", hostile, "score.pdf"]);
  assert.equal(all[1].predictions[0].label, "classical");
  assert.match(all[2].error, /PDF/);
  const table = (await download("all-csv")).text.trimEnd().split("\n");
  assert.equal(table.length, 4);
  assert.match(table[0], /^file,genre,score,seconds,blues,classical,.*,error,verdict$/);
  assert.ok(table[2].startsWith(`'${hostile},classical,0.`), table[2]);
  const one = await download("one-json");
  assert.equal(JSON.parse(one.text).predictions.length, 10);
  assert.match((await download("one-csv")).text, /^file,genre.*\n.*,classical,0\.\d{6},20\.000,/);

  await page.click("#clear");
  assert.equal(await page.locator("#batch, #answer, #failure").locator("visible=true").count(), 0);
  assert.equal(await page.locator("#rows tr").count(), 0);
}));

test("cancelling ends the request, and another sound is heard afterwards", () => visiting(browser, {}, async (page) => {
  const failed = page.waitForEvent("requestfailed", (request) => request.url().includes("/v1/classify"));
  await put(page, { name: "endless.wav", mimeType: "audio/wav", buffer: wav(1500) });
  await page.waitForFunction(() => /^(Heard|Your turn)/.test(document.querySelector("#work-text").textContent));
  await page.click("#cancel");
  assert.match((await failed).failure().errorText, /ABORTED/);
  await page.locator("#failure").waitFor();
  assert.equal(await text(page, "failure-title"), "Cancelled");
  assert.equal(await page.locator("#again").isVisible(), true);
  await put(page, SHORT);
  await page.locator("#answer").waitFor();
  assert.match(await text(page, "answer-name"), /^note\.wav/);
}));

test("not sure names the contenders, and what is no music is called by its name", () => visiting(browser, {}, async (page) => {
  const states = [
    [{ verdict: "not_sure", reason: null }, /Not sure/, /pop.*rock.*disco/],
    [{ verdict: "not_music", reason: "speech" }, /Somebody speaks/i, /^$/],
    [{ verdict: "not_music", reason: "silence", warnings: [{ code: "silence", message: "nothing can be heard" }] }, /Silence/i, /^$/],
    [{ verdict: "sure", reason: null }, /pop/i, /^$/],
  ];
  let state;
  await page.route("**/v1/classify*", (route) => route.fulfill(stream(state)));
  for (const [number, [changes, verdict, contenders]] of states.entries()) {
    state = changes;
    await put(page, { ...SHORT, name: `${number}.wav` });
    await page.waitForFunction((name) => document.querySelector("#answer-name").textContent.startsWith(name), `${number}.wav`);
    assert.match(await text(page, "verdict"), verdict);
    assert.match((await page.locator("#contenders").textContent()).toLowerCase(), contenders);
    assert.deepEqual(await page.locator("#warnings li").allTextContents(), changes.warnings ? ["Nothing can be heard."] : []);
    await accessible(page, changes.verdict);
  }
  assert.deepEqual((await page.locator("#rows td:nth-child(2)").allTextContents()), ["pop?", "not music", "not music", "pop"]);
}));

test("a busy service is asked again, one that is gone is told of and can be tried again", () => visiting(browser, {}, async (page) => {
  let calls = 0;
  await page.route("**/v1/classify*", (route) => ++calls === 1
    ? route.fulfill({ status: 429, headers: { "Retry-After": "1" }, json: { error: "Busy.", error_type: "overloaded", request_id: "test" } })
    : route.abort("connectionrefused"));
  await put(page, SHORT);
  await page.waitForFunction(() => document.querySelector("#work-text").textContent.startsWith("Many people"));
  await page.locator("#failure").waitFor();
  assert.equal(calls, 2);
  assert.match(await text(page, "failure-text"), /cannot be reached/);
  await page.unroute("**/v1/classify*");
  await page.click("#again");
  await page.locator("#answer").waitFor();
}));

test("who waits for a busy service can leave at once", () => visiting(browser, {}, async (page) => {
  const busy = { error: "Busy.", error_type: "overloaded", request_id: "test" };
  await page.clock.install();
  await page.route("**/v1/classify*", (route) => route.fulfill({ status: 429, headers: { "Retry-After": "30" }, json: busy }));
  await put(page, SHORT);
  await page.waitForFunction(() => document.querySelector("#work-text").textContent.startsWith("Many people"));
  // The page's clock stands still: nothing but the cancelling ends the wait.
  await page.clock.pauseAt(Date.now() + 3_600_000);
  await page.click("#cancel");
  await page.locator("#failure").waitFor();
  assert.equal(await text(page, "failure-title"), "Cancelled");
}));

test("a service that ends in the middle of its answer is told of, and can be tried again", () => visiting(browser, {}, async (page) => {
  await page.evaluate(() => {
    const send = globalThis.fetch;
    globalThis.fetch = () => {
      globalThis.fetch = send;
      let told = false;
      const pull = (control) => {
        if (told) return control.error(new TypeError("network error"));
        told = true;
        control.enqueue(new TextEncoder().encode('event: queued\ndata: {"position": 0}\n\n'));
      };
      return Promise.resolve(new Response(new ReadableStream({ pull })));
    };
  });
  await put(page, SHORT);
  await page.locator("#failure").waitFor();
  assert.equal(await text(page, "failure-text"), "The connection ended before the answer came.");
  await page.click("#again");
  await page.locator("#answer").waitFor();
}));

test("a service that asks for a key gets it, once", () => visiting(browser, {
  prepare: (page) => page.route("**/v1/*", (route) => route.request().headers().authorization === "Bearer open sesame"
    ? route.continue()
    : route.fulfill({ status: 401, json: { error: "A key is needed.", error_type: "unauthorized", request_id: "test" } })),
  key: "open sesame",
}, async (page) => {
  await put(page, SHORT);
  await page.locator("#answer").waitFor();
  assert.equal(await page.locator("#key").isVisible(), false);
}));

test("dropped files are taken", () => visiting(browser, {}, async (page) => {
  const bytes = [...readFileSync(sample("piano.ogg"))];
  const data = await page.evaluateHandle((bytes) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], "dropped.ogg"));
    return transfer;
  }, bytes);
  await page.dispatchEvent("body", "dragover", { dataTransfer: data });
  assert.equal(await page.locator("#veil").isVisible(), true);
  await page.dispatchEvent("body", "drop", { dataTransfer: data });
  assert.equal(await page.locator("#veil").isVisible(), false);
  await finished(page);
  assert.match(await text(page, "answer-name"), /^dropped\.ogg/);
}));

test("nothing is kept, nothing comes from elsewhere, nothing is written into the markup", () => visiting(browser, {}, async (page) => {
  await put(page, SHORT);
  await finished(page);
  const kept = await page.evaluate(async () => [document.cookie, localStorage.length, sessionStorage.length, (await indexedDB.databases()).length, (await caches.keys()).length]);
  assert.deepEqual(kept, ["", 0, 0, 0, 0]);
  const answer = await page.request.get(BASE, { headers: { Accept: "text/html" } });
  assert.match(answer.headers()["content-security-policy"], /default-src 'self'/);
  const markup = await answer.text();
  assert.doesNotMatch(markup, /<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|https?:/);
  for (const name of ["app.js", "recorder.js", "style.css"]) {
    const source = await (await page.request.get(`${BASE}/web/${name}`)).text();
    assert.doesNotMatch(source, /https?:\/\/|innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(/, name);
  }
}));
