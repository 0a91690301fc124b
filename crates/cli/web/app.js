// The page of `messymash serve`: sounds go to the service one after the other; what it answers is shown, heard and looked at.
// Labels, names and messages come from elsewhere: they enter the page as text (`el`), never as markup.

const GENRES = ["blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"];
const MIB = 1 << 20;
/** Beyond either, a sound is not decoded in the page: no waveform, but the timeline all the same. */
const WAVEFORM = { bytes: 40 * MIB, seconds: 600, rate: 8000 };
/** Up to here the spectrogram follows the playhead; beyond, each picture would send a large file: it is asked for. */
const FOLLOWED_BYTES = 16 * MIB;
/** Up to here a closer look is offered: windows this far apart, seconds. */
const CLOSER = { seconds: 600, hop: 2.56 };
const RECORDED_SECONDS = 300;
const BUSY_TRIES = 6;
/** The main thread is given back after this long, milliseconds. */
const SLICE = 12;

const $ = (id) => document.getElementById(id);
const show = (id, visible) => { $(id).hidden = !visible; };

function el(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** Custom properties, by which the stylesheet draws numbers and colours. */
function style(node, values) {
  for (const [name, value] of Object.entries(values)) node.style.setProperty(`--${name}`, value);
  return node;
}

/** Ends at once when `signal` aborts: who waits looks at it. */
const pause = (ms, signal) => new Promise((done) => {
  if (signal?.aborted) return done();
  const timer = setTimeout(done, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
});
const announce = (text) => { $("status").textContent = text; };
const percent = (share) => `${share > 0 && share < 0.01 ? "<\u20091" : Math.round(100 * share)}\u2009%`;
const shown = (label) => (label === "hiphop" ? "hip-hop" : label.replaceAll("_", " "));
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
const list = (words) => words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;

/** As the program writes it: to the second, so a moment that is passing is to be rounded down before. */
function clock(seconds) {
  const all = Math.max(0, Math.round(seconds));
  const [hours, minutes] = [Math.floor(all / 3600), Math.floor(all / 60) % 60];
  const rest = String(all % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

// ---- the service -------------------------------------------------------------------------------------------------

let model = { labels: GENRES, limits: {} };

/** What the service, or the page on its behalf, says no to. */
class Refusal extends Error {
  constructor(message, type, wait = 0) {
    super(message);
    Object.assign(this, { type, wait });
  }
}

/** The key of a service that asks for one; known to this page until it is closed. */
let key = null;
let asking = null;

/** Whether a key was given. Who needs one at the same time waits for the same. */
function askForKey() {
  asking ??= new Promise((done) => {
    // Escape leaves it as it is: what was given before is not given again.
    $("key").returnValue = "";
    $("key").showModal();
    $("key").onclose = () => {
      key = $("key").returnValue === "given" ? $("key-text").value.trim() : null;
      $("key-text").value = "";
      asking = null;
      done(Boolean(key));
    };
  });
  return asking;
}

async function ask(path, body, { signal, accept = "application/json" } = {}) {
  const headers = { Accept: accept, ...(body && { "Content-Type": "application/octet-stream" }), ...(key && { Authorization: `Bearer ${key}` }) };
  let answer;
  try {
    answer = await fetch(path, { method: body ? "POST" : "GET", body, headers, signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refusal("messymash cannot be reached. Is it still running, and could the file still be read?", "unreachable");
  }
  if (answer.ok) return answer;
  if (answer.status === 401 && await askForKey()) return ask(path, body, { signal, accept });
  const told = await answer.json().catch(() => ({}));
  const wait = Number(answer.headers.get("Retry-After")) || 2;
  const soon = answer.status === 429 || answer.status === 503;
  throw new Refusal(told.error || `The service answered with ${answer.status}.`, told.error_type, soon ? wait : 0);
}

/** The service has gone in the middle of its answer. */
const cut = () => { throw new Refusal("The connection ended before the answer came.", "unreachable"); };

/** The events of a stream: name and data. */
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { done, value } = await reader.read().catch(cut);
    if (done) return;
    const parts = (rest + value).split(/\r?\n\r?\n/);
    rest = parts.pop();
    for (const part of parts) {
      const lines = part.split(/\r?\n/);
      const field = (name) => lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).trim());
      if (field("data").length) yield { name: field("event")[0] ?? "message", data: JSON.parse(field("data").join("\n")) };
    }
  }
}

/** The service's answer about `file`; `progress` is told in words and, where known, as a share. */
async function classify(file, query, signal, progress) {
  for (let tries = 1; ; tries++) {
    try {
      progress("Sending the sound", null);
      const answer = await ask(`/v1/classify${query}`, file, { signal, accept: "text/event-stream" });
      for await (const { name, data } of events(answer)) {
        if (name === "result") return data;
        if (name === "error") throw new Refusal(data.error, data.error_type, data.error_type === "overloaded" ? 2 : 0);
        if (name === "queued") progress(data.position ? `Waiting: ${data.position} before you` : "Your turn comes now", null);
        if (name === "progress") {
          const of = data.total ? ` of ${clock(data.total)}` : "";
          progress(`Heard ${clock(data.seconds)}${of}`, data.total ? Math.min(1, data.seconds / data.total) : null);
        }
      }
      cut();
    } catch (error) {
      if (!error.wait || tries === BUSY_TRIES) throw error;
      const busy = error.type === "overloaded";
      progress(busy ? "Many people ask at once; trying again in a moment" : `${sentence(error.message)} Trying again in a moment`, null);
      await pause(1000 * Math.min(error.wait, 30), signal);
      signal.throwIfAborted();
    }
  }
}

/** Refuses before anything is sent what the service would refuse afterwards. */
async function checkLimits(file) {
  const { body_bytes: bytes, seconds } = model.limits;
  if (!file.size) throw new Refusal("This file is empty.", "validation");
  if (bytes && file.size > bytes) {
    throw new Refusal(`This file has ${Math.round(file.size / MIB)} MB; up to ${Math.floor(bytes / MIB)} MB can be heard here. Nothing was sent.`, "payload_too_large");
  }
  const length = seconds ? await lengthOf(file) : null;
  if (length > seconds) {
    throw new Refusal(`This sound lasts ${clock(length)}; up to ${clock(seconds)} can be heard here. Nothing was sent.`, "audio_too_long");
  }
}

/** Seconds, as far as the browser can tell without decoding; else null. */
async function lengthOf(file) {
  const probe = new Audio();
  const url = URL.createObjectURL(file);
  probe.preload = "metadata";
  const known = new Promise((done) => {
    probe.onloadedmetadata = () => done(Number.isFinite(probe.duration) ? probe.duration : null);
    probe.onerror = () => done(null);
  });
  probe.src = url;
  const length = await Promise.race([known, pause(2000).then(() => null)]);
  probe.removeAttribute("src");
  URL.revokeObjectURL(url);
  return length;
}

// ---- sounds and their states -------------------------------------------------------------------------------------

/** { file, name, state: waiting | working | done | failed, text, share, answer, error, stop, row } */
const sounds = [];
let current = null;
let working = false;
const pending = ({ state }) => state === "waiting" || state === "working";

function add(files) {
  const fresh = [...files].map((file) => ({ file, name: file.name || "recording", state: "waiting", text: "Waiting", share: null }));
  if (!fresh.length) return;
  for (const sound of fresh) {
    sounds.push(sound);
    sound.row = el("tr");
    $("rows").append(sound.row);
    draw(sound);
  }
  select(fresh[0]);
  scrollTo({ top: 0 });
  work();
}

async function work() {
  if (working) return;
  working = true;
  for (let sound; (sound = sounds.find(({ state }) => state === "waiting"));) await hear(sound);
  working = false;
  const failed = sounds.filter(({ state }) => state === "failed").length;
  if (sounds.length > 1) announce(`All ${sounds.length} sounds are done${failed ? `, ${failed} of them without an answer` : ""}.`);
}

async function hear(sound) {
  sound.stop = new AbortController();
  const change = (values) => { Object.assign(sound, values); draw(sound); };
  change({ state: "working", text: "Sending the sound", share: null });
  try {
    await checkLimits(sound.file);
    const answer = await classify(sound.file, "", sound.stop.signal, (text, share) => change({ text, share }));
    change({ state: "done", answer });
    if (sound === current) announce(`${sound.name}: ${inWords(answer)}`);
  } catch (error) {
    const refusal = sound.stop.signal.aborted ? new Refusal("You cancelled it.", "cancelled") : error;
    if (!(refusal instanceof Refusal)) console.error(refusal);
    change({ state: "failed", error: refusal instanceof Refusal ? refusal : new Refusal(`Something went wrong in this page: ${error.message}`, "internal") });
  }
}

function cancel(sound) {
  if (sound.state === "waiting") Object.assign(sound, { state: "failed", error: new Refusal("You cancelled it.", "cancelled") });
  sound.stop?.abort();
  draw(sound);
}

function again(sound) {
  Object.assign(sound, { state: "waiting", text: "Waiting", error: null });
  draw(sound);
  work();
}

function select(sound) {
  const before = current;
  current = sound;
  if (before && before !== sound) draw(before);
  draw(sound);
}

/** Shows what changed about a sound: its row, and the room below if it is the one that is looked at. */
function draw(sound) {
  drawRow(sound);
  show("batch", sounds.length > 1);
  show("cancel-all", sounds.some(pending));
  $("intake").classList.toggle("small", sounds.length > 0);
  if (sound !== current) return;
  const arrived = !microphone && $("answer").hidden && $("failure").hidden && !pending(sound);
  show("work", pending(sound));
  show("failure", sound.state === "failed");
  show("answer", sound.state === "done");
  if (pending(sound)) {
    leave();
    $("work-name").textContent = sound.name;
    $("work-text").textContent = sound.text;
    if (sound.share === null) $("progress").removeAttribute("value");
    else $("progress").value = sound.share;
  } else if (sound.state === "failed") {
    leave();
    drawFailure(sound);
  } else {
    present(sound);
  }
  // Who waited for it (by keyboard, or listening to the page) is brought to what came of it.
  if (arrived) $(sound.state === "done" ? "verdict" : "failure-title").focus({ preventScroll: true });
}

function drawRow(sound) {
  const { answer, state } = sound;
  const open = el("button", { type: "button", textContent: sound.name, onclick: () => select(sound) });
  const cells = { genre: "", score: "", length: "" };
  if (sound === current) open.setAttribute("aria-current", "true");
  if (state === "done") {
    const best = answer.predictions[0];
    const heard = answer.verdict === "not_music" ? "not music" : answer.verdict === "not_sure" ? `${shown(best.label)}?` : shown(best.label);
    cells.genre = el("span", { className: "chip", textContent: heard });
    style(sound.row, { accent: answer.verdict === "not_music" ? "var(--ink)" : colour(best.label) });
    Object.assign(cells, { score: percent(best.score), length: clock(answer.file.seconds) });
  } else if (state === "failed") {
    cells.genre = sound.error.type === "cancelled" ? "cancelled" : "failed";
  } else if (state === "working") {
    cells.genre = el("progress", { max: 1, ...(sound.share !== null && { value: sound.share }) });
    cells.genre.setAttribute("aria-label", `${sound.name}: ${sound.text}`);
  } else cells.genre = "waiting";
  sound.row.classList.toggle("shown", sound === current);
  const focused = sound.row.contains(document.activeElement);
  sound.row.replaceChildren(el("th", { scope: "row" }, open), el("td", {}, cells.genre),
    el("td", { className: "number" }, cells.score), el("td", { className: "number" }, cells.length));
  if (focused) open.focus();
}

const TIPS = {
  unsupported_media: "Of a video, save the sound first. What another program plays, it can usually save as wav or mp3.",
  payload_too_large: "Save it as mp3, or cut out a few minutes: ten seconds of music are enough.",
  audio_too_long: "Cut out a few minutes: ten seconds of music are enough.",
  too_short: "Ten seconds or more tell a genre best.",
};

/** What would end the same way however often it is tried. */
const FINAL = ["unsupported_media", "payload_too_large", "audio_too_long", "too_short", "invalid_audio", "validation"];

function drawFailure({ name, error }) {
  const cancelled = error.type === "cancelled";
  $("failure-title").textContent = cancelled ? "Cancelled" : "That did not work";
  $("failure-name").textContent = name;
  $("failure-text").textContent = sentence(error.message);
  $("failure-tip").textContent = TIPS[error.type] ?? "";
  show("again", !FINAL.includes(error.type));
  announce(`${name}: ${error.message}`);
}

// ---- the answer --------------------------------------------------------------------------------------------------

function colour(label) {
  const known = GENRES.indexOf(label);
  const place = known >= 0 ? known : Math.max(0, model.labels.indexOf(label));
  return `var(--g${place % 10})`;
}

/** The two or three genres between which the model cannot decide: those that have half of the best one's share or more. */
function contenders({ predictions }) {
  const close = predictions.filter(({ score }) => score >= predictions[0].score / 2).length;
  return predictions.slice(0, Math.min(3, Math.max(2, close)));
}

const NOT_MUSIC = {
  silence: ["Silence", "There is nothing to hear in this sound: no genre can be told."],
  speech: ["Somebody speaks", "This sounds like speech, not like music: no genre can be told."],
  noise: ["Only noise", "This sounds like noise, not like music: no genre can be told."],
  null: ["Not music", "This does not sound like music: no genre can be told."],
};

function inWords(answer) {
  const [best, next] = answer.predictions;
  if (answer.verdict === "not_music") return (NOT_MUSIC[answer.reason] ?? NOT_MUSIC.null)[1];
  if (answer.verdict === "not_sure") return `not sure; it could be ${list(contenders(answer).map(({ label }) => shown(label)))}.`;
  return `${shown(best.label)}, ${percent(best.score)}${next ? `; next ${shown(next.label)}, ${percent(next.score)}` : ""}.`;
}

/** How wide the longest word of a heading is, in units of its own size: so it can be as large as its room allows. */
function wide(heading) {
  const pen = $("wave").getContext("2d");
  const { fontFamily, textTransform } = getComputedStyle(heading);
  pen.font = `700 100px ${fontFamily}`;
  const text = textTransform === "uppercase" ? heading.textContent.toUpperCase() : heading.textContent;
  return Math.max(1, ...text.split(/\s|(?<=-)/).map((word) => pen.measureText(word).width / 100));
}

/** Fills the room of the answer. */
function present(sound) {
  const { answer } = sound;
  const [best, next] = answer.predictions;
  const unsure = answer.verdict === "not_sure";
  const none = answer.verdict === "not_music";
  $("answer-name").textContent = `${sound.name} · ${clock(answer.file.seconds)}`;
  $("verdict").classList.toggle("words", unsure);
  $("contenders").replaceChildren();
  if (none) {
    const [title, text] = NOT_MUSIC[answer.reason] ?? NOT_MUSIC.null;
    $("verdict").textContent = title;
    $("sure").textContent = text;
  } else if (unsure) {
    $("verdict").textContent = "Not sure. It could be";
    $("contenders").append(...contenders(answer).map(({ label, score }) =>
      style(el("div", {}, el("span", { textContent: shown(label) }), el("span", { textContent: percent(score) })), { accent: colour(label), share: score })));
    const changes = new Set(answer.timeline.map(({ label }) => label)).size > 1;
    $("sure").textContent = changes ? "The genre changes on the way: see the timeline below." : "It hears something of each of these, and none stands out.";
  } else {
    $("verdict").textContent = shown(best.label);
    $("sure").textContent = `${percent(best.score)} of its vote${next ? `; next comes ${shown(next.label)} with ${percent(next.score)}` : ""}.`;
  }
  style($("poster"), { accent: none || unsure ? "var(--ink)" : colour(best.label), wide: wide($("verdict")) });
  $("scores-title").textContent = none ? "If it had to name one" : "How its vote is split";
  $("scores").replaceChildren(...answer.predictions.map(({ label, score }) =>
    style(el("li", {}, el("span", { textContent: shown(label) }), el("i"), el("span", { className: "number", textContent: percent(score) })),
      { accent: colour(label), share: score })));
  $("warnings").replaceChildren(...answer.warnings.map(({ message }) => el("li", { textContent: sentence(message) })));
  enter(sound);
}

// ---- the player and the timeline ---------------------------------------------------------------------------------

/** What is looked at and where: { sound, told, answer (as told, but perhaps with a finer timeline), seconds, at, url, peaks,
 * loudest, stop, window, part, pictures: start -> { url, attention } } */
let view = null;
const audio = $("sound");
const usable = () => view && !audio.error && audio.readyState > 0;

function leave() {
  if (!view) return;
  audio.pause();
  view.stop.abort();
  audio.removeAttribute("src");
  URL.revokeObjectURL(view.url);
  for (const { url } of view.pictures.values()) URL.revokeObjectURL(url);
  view = null;
}

function enter(sound) {
  if (view?.told === sound.answer) return;
  leave();
  const { file, answer } = sound;
  view = {
    sound, answer, told: answer, seconds: answer.file.seconds, at: 0, peaks: null,
    url: URL.createObjectURL(file), stop: new AbortController(), pictures: new Map(),
  };
  audio.src = view.url;
  $("player-note").textContent = "";
  $("end").textContent = clock(view.seconds);
  $("seek").max = view.seconds;
  show("wave", false);
  show("play", true);
  show("closer", view.seconds > 2 * CLOSER.hop && view.seconds <= CLOSER.seconds && file.size <= FOLLOWED_BYTES);
  $("closer").disabled = false;
  show("spectrogram", false);
  drawTimeline();
  seek(0);
  waveform(view);
}

/** The window that is looked at: the last that has begun. */
const windowAt = (seconds) => view.answer.windows.findLast(({ start }) => start <= seconds + 1e-6) ?? view.answer.windows[0];
const partAt = (seconds) => view.answer.timeline.find(({ end }) => seconds < end) ?? view.answer.timeline.at(-1);

function seek(seconds) {
  view.at = Math.min(Math.max(0, seconds), view.seconds);
  // At the very end there is nothing left to play: playing starts anew there.
  if (usable()) audio.currentTime = Math.min(view.at, audio.duration || view.at);
  moved();
}

/** After the position has changed, by whom ever. */
function moved() {
  const { at, seconds } = view;
  const part = partAt(at);
  const text = clock(Math.floor(at));
  style($("head"), { at: at / seconds });
  $("seek").value = at;
  if ($("now").textContent !== text || view.part !== part) {
    $("now").textContent = text;
    $("now-genre").textContent = part ? shown(part.label) : "";
    if (part) style($("now-genre"), { accent: colour(part.label) });
    $("seek").setAttribute("aria-valuetext", `${text} of ${clock(seconds)}${part ? `, ${shown(part.label)}` : ""}`);
    view.part = part;
  }
  drawWave();
  look();
}

function follow() {
  if (!view) return;
  view.at = Math.min(audio.currentTime, view.seconds);
  moved();
  if (!audio.paused) requestAnimationFrame(follow);
}

function playing(on) {
  $("play").classList.toggle("on", on);
  $("play").setAttribute("aria-label", on ? "Pause" : "Play");
  if (on) requestAnimationFrame(follow);
}

function toggle() {
  if (!usable()) return;
  if (!audio.paused) return audio.pause();
  if (view.at >= view.seconds - 0.05) seek(0);
  audio.play().catch(() => unplayable());
}

function unplayable() {
  if (!view) return;
  show("play", false);
  $("player-note").textContent = "This browser cannot play this kind of file. The answer is not affected.";
}

function drawTimeline() {
  const { answer, seconds } = view;
  const share = (time) => `${100 * Math.min(1, time / seconds)}%`;
  $("segments").replaceChildren(...answer.timeline.map(({ start, end, label }) => {
    const part = style(el("span", {}, el("b", { textContent: shown(label) })), { accent: colour(label) });
    Object.assign(part.style, { left: share(start), width: share(end - start) });
    return part;
  }));
  $("parts").replaceChildren(...answer.timeline.map(({ start, end, label, score }) => el("li", {},
    el("button", { type: "button", textContent: `${clock(start)}–${clock(end)}  ${shown(label)}  ${percent(score)}`, onclick: () => seek(start) }))));
  drawRiver();
}

/** A canvas as sharp as the screen, and its size in units of the page. */
function sheet(canvas) {
  const [width, height, sharp] = [canvas.clientWidth, canvas.clientHeight, window.devicePixelRatio || 1];
  const pixels = [Math.round(width * sharp), Math.round(height * sharp)];
  if (canvas.width !== pixels[0]) canvas.width = pixels[0];
  if (canvas.height !== pixels[1]) canvas.height = pixels[1];
  const pen = canvas.getContext("2d");
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height, sharp };
}

/** Colours as a canvas takes them. */
function paints() {
  const values = getComputedStyle(document.documentElement);
  return (label) => values.getPropertyValue(colour(label).slice(4, -1));
}

/** All genres of every window, stacked: each as high as its score. */
function drawRiver() {
  const { answer: { windows, predictions }, seconds } = view;
  const { pen, width, height, sharp } = sheet($("river"));
  const paint = paints();
  windows.forEach((window, number) => {
    const scores = new Map(window.predictions.map(({ label, score }) => [label, score]));
    // Whole pixels of the screen, so that no seam shows.
    const pixel = (time) => Math.round((time / seconds) * width * sharp) / sharp;
    const [from, to] = [pixel(window.start), pixel(windows[number + 1]?.start ?? window.end)];
    let top = height;
    for (const { label } of predictions) {
      // From here to the top: the next one covers the rest.
      pen.fillStyle = paint(label);
      pen.fillRect(from, 0, Math.max(1 / sharp, to - from), top);
      top -= (scores.get(label) ?? 0) * height;
    }
  });
}

/** Loudness along the sound, in the colour of the genre that was heard there. */
function drawWave() {
  const { peaks, seconds, at, answer } = view;
  if (!peaks) return;
  const { pen, width, height } = sheet($("wave"));
  const paint = paints();
  const bars = Math.max(1, Math.floor(width / 4));
  const loudest = Math.max(0.05, view.loudest);
  let part = 0;
  for (let bar = 0; bar < bars; bar++) {
    const time = ((bar + 0.5) / bars) * seconds;
    while (part < answer.timeline.length - 1 && answer.timeline[part].end <= time) part++;
    const [first, end] = [bar, bar + 1].map((edge) => Math.floor((edge / bars) * peaks.length));
    let peak = 0;
    for (let i = first; i < Math.max(end, first + 1); i++) peak = Math.max(peak, peaks[i]);
    const tall = Math.max(2, (peak / loudest) * height);
    pen.globalAlpha = time <= at ? 1 : 0.45;
    pen.fillStyle = paint(answer.timeline[part]?.label ?? "");
    pen.fillRect(bar * 4 + 0.5, (height - tall) / 2, 3, tall);
  }
}

/** Decodes a sound that is small enough for it, and finds the peaks of its loudness without holding up the page. */
async function waveform(mine) {
  const { file } = mine.sound;
  if (file.size > WAVEFORM.bytes || mine.seconds > WAVEFORM.seconds) {
    $("player-note").textContent = "A large or long sound: its waveform is left out, everything else is here.";
    return;
  }
  try {
    const sound = await new OfflineAudioContext(1, 1, WAVEFORM.rate).decodeAudioData(await file.arrayBuffer());
    const channels = Array.from({ length: sound.numberOfChannels }, (_, number) => sound.getChannelData(number));
    const peaks = new Float32Array(Math.min(4096, sound.length));
    let since = performance.now();
    for (let i = 0; i < peaks.length; i++) {
      const [first, end] = [i, i + 1].map((edge) => Math.floor((edge / peaks.length) * sound.length));
      for (const channel of channels) {
        for (let at = first; at < end; at++) peaks[i] = Math.max(peaks[i], Math.abs(channel[at]));
      }
      if (performance.now() - since > SLICE) {
        await pause(0);
        since = performance.now();
      }
    }
    if (view !== mine) return;
    mine.peaks = peaks;
    mine.loudest = peaks.reduce((most, peak) => Math.max(most, peak), 0);
    show("wave", true);
    drawWave();
  } catch {
    // No decoder for this kind of file: then there is no waveform, and the player says whether it can be played.
  }
}

/** Asks again with windows closer together: the answer stays, the timeline gets finer. */
async function closer() {
  const mine = view;
  $("closer").disabled = true;
  announce("Looking closer.");
  try {
    const finer = await classify(mine.sound.file, `?hop=${CLOSER.hop}`, mine.stop.signal, () => {});
    if (view !== mine) return;
    mine.answer = { ...mine.answer, windows: finer.windows, timeline: finer.timeline };
    show("closer", false);
    drawTimeline();
    moved();
    announce(`The timeline now has ${finer.windows.length} moments.`);
    $("seek").focus();
  } catch (error) {
    if (view !== mine) return;
    $("closer").disabled = false;
    $("player-note").textContent = sentence(error.message);
  }
}

// ---- what the model sees -----------------------------------------------------------------------------------------

let looking = null;
/** What stands under a picture from the beginning. */
const HOW_TO_READ = $("seen-text").textContent;

/** Brings the spectrogram of the window at the playhead, and what was attended to, if that is wanted. */
function look(asked = false) {
  const { at, seconds, sound, pictures } = view;
  const window = windowAt(at);
  if (!window) return;
  const { start, end } = window;
  style($("picture-head"), { at: Math.min(1, (at - start) / (end - start)) });
  style($("frame"), { from: start / seconds, wide: (end - start) / seconds });
  if (view.window !== window) {
    view.window = window;
    $("seen-where").textContent = `${clock(start)}–${clock(end)}`;
    clearTimeout(looking);
    show("attention", false);
    const follows = sound.file.size <= FOLLOWED_BYTES || pictures.get(start)?.url;
    show("show-picture", !follows);
    if (follows) looking = setTimeout(bring, 200, view, window);
    else show("spectrogram", false);
  }
  if (!asked) return;
  clearTimeout(looking);
  bring(view, window);
}

const attends = () => $("attend").getAttribute("aria-pressed") === "true";

async function bring(mine, window) {
  if (view !== mine || mine.window !== window) return;
  const { start, end } = window;
  const query = `?start=${start}`;
  const attend = attends();
  const picture = mine.pictures.get(start) ?? {};
  mine.pictures.set(start, picture);
  const signal = mine.stop.signal;
  const { file } = mine.sound;
  try {
    if (!picture.url) {
      const blob = await (await ask(`/v1/spectrogram${query}&height=128`, file, { signal, accept: "image/png" })).blob();
      if (view !== mine) return;
      // Who asked for the same meanwhile may have been first: one address for one picture, which `leave` takes back.
      picture.url ??= URL.createObjectURL(blob);
    }
    if (view !== mine || mine.window !== window) return;
    $("spectrogram").src = picture.url;
    $("spectrogram").alt = `Spectrogram from ${clock(start)} to ${clock(end)}`;
    show("spectrogram", true);
    show("show-picture", false);
    if (!attends()) {
      $("seen-text").textContent = HOW_TO_READ;
      return show("attention", false);
    }
    // Asked for meanwhile: that request draws it.
    if (!attend) return;
    $("seen-text").textContent = "Looking at what it listened to…";
    picture.attention ??= await (await ask(`/v1/attention${query}`, file, { signal })).json();
    if (view === mine && mine.window === window && attends()) drawAttention(picture.attention);
  } catch (error) {
    if (view !== mine || mine.window !== window || signal.aborted) return;
    $("seen-text").textContent = sentence(error.message);
    if (picture.url) return;
    // Another window's picture would pass for this one's.
    show("spectrogram", false);
    show("show-picture", true);
  }
}

/** What was attended to stays bright, the rest is dimmed: from the tenth of the patches that got least to the few that got
 * most, since one that got far more than all others would leave everything else in the dark; by the root for the same reason. */
function drawAttention({ start, end, rows, columns, values }) {
  const canvas = $("attention");
  const pen = Object.assign(canvas, { width: columns, height: rows }).getContext("2d");
  const pixels = pen.createImageData(columns, rows);
  const sorted = values.toSorted((a, b) => a - b);
  const [low, high] = [0.1, 0.97].map((share) => sorted[Math.floor(share * (sorted.length - 1))]);
  values.forEach((value, place) => {
    const row = rows - 1 - Math.floor(place / columns);
    const light = Math.min(1, Math.max(0, (value - low) / Math.max(high - low, 1e-9)));
    pixels.data[4 * (row * columns + (place % columns)) + 3] = Math.round(205 * (1 - Math.sqrt(light)));
  });
  pen.putImageData(pixels, 0, 0);
  show("attention", true);
  const most = values.indexOf(Math.max(...values));
  const [row, column] = [Math.floor(most / columns), most % columns];
  const band = ["bass", "middle", "treble"][Math.min(2, Math.floor((3 * (row + 0.5)) / rows))];
  const time = start + ((column + 0.5) / columns) * (end - start);
  $("seen-text").textContent = `Bright is what it listened to; most of all the ${band} around ${clock(Math.floor(time))}. Where it listens does not prove why it decided.`;
}

// ---- downloads ---------------------------------------------------------------------------------------------------

function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

const record = ({ name, answer, error }) => answer
  ? { ...answer, file: { ...answer.file, name } }
  : { file: { name }, error: error?.message ?? "no answer yet", error_type: error?.type ?? null };

/** The columns of `messymash classify --format csv`; a cell that a spreadsheet would take for a formula is quoted. */
function csv(those) {
  const cell = (value) => {
    const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const rows = those.map(({ name, answer, error }) => {
    const score = (label) => answer?.predictions.find((p) => p.label === label)?.score.toFixed(6) ?? "";
    const best = answer?.predictions[0];
    return [name, best?.label ?? "", best ? best.score.toFixed(6) : "", answer?.file.seconds.toFixed(3) ?? "",
      ...model.labels.map(score), error?.message ?? "", answer?.verdict ?? ""];
  });
  return [["file", "genre", "score", "seconds", ...model.labels, "error", "verdict"], ...rows].map((row) => `${row.map(cell).join(",")}\n`).join("");
}

const stem = (name) => name.replace(/\.[^.]*$/, "");
const saveJson = (name, value) => save(`${name}.json`, "application/json", `${JSON.stringify(value, null, 2)}\n`);
const saveCsv = (name, those) => save(`${name}.csv`, "text/csv", csv(those));

// ---- the microphone ----------------------------------------------------------------------------------------------

let microphone = null;

async function startRecording() {
  $("record").disabled = true;
  try {
    if (!navigator.mediaDevices) throw new Refusal("This browser lends the microphone only to pages of this computer or over https.");
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
    const context = new AudioContext();
    microphone = { stream, context, pieces: [], samples: 0 };
    await context.audioWorklet.addModule("/web/recorder.js");
    const node = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
    context.createMediaStreamSource(stream).connect(node);
    const mine = microphone;
    node.port.onmessage = ({ data }) => recorded(mine, data);
    $("recorder-hint").textContent = "Hold the microphone to the music; ten seconds are enough.";
    $("recorded").textContent = "0:00";
    show("recorder", true);
    announce("Recording.");
    $("record-done").focus();
  } catch (error) {
    stopRecording();
    const known = {
      NotAllowedError: "The microphone may not be used. Allow it in the browser's address bar, then try again.",
      NotFoundError: "No microphone was found.",
    };
    show("recorder", true);
    show("record-done", false);
    $("recorded").textContent = "";
    $("recorder-hint").textContent = known[error.name] ?? sentence(error.message);
    announce($("recorder-hint").textContent);
  }
}

/** Takes a piece of mono sound as 16-bit numbers. */
function recorded(mine, sound) {
  if (mine !== microphone) return;
  let energy = 0;
  const piece = Int16Array.from(sound, (sample) => {
    energy += sample * sample;
    return Math.round(32767 * Math.max(-1, Math.min(1, sample)));
  });
  const before = Math.floor(mine.samples / mine.context.sampleRate);
  mine.pieces.push(piece);
  mine.samples += piece.length;
  const seconds = mine.samples / mine.context.sampleRate;
  if (Math.floor(seconds) !== before) $("recorded").textContent = clock(seconds);
  style($("level"), { level: Math.min(1, 4 * Math.sqrt(energy / piece.length)) });
  if (seconds >= RECORDED_SECONDS) finishRecording();
}

function stopRecording() {
  const mine = microphone;
  microphone = null;
  mine?.stream.getTracks().forEach((track) => track.stop());
  mine?.context.close();
  show("recorder", false);
  show("record-done", true);
  $("record").disabled = false;
  return mine;
}

function finishRecording() {
  const { pieces, samples, context } = stopRecording();
  const time = new Date().toTimeString().slice(0, 8).replaceAll(":", ".");
  add([new File([wavHead(samples, context.sampleRate), ...pieces], `recording ${time}.wav`, { type: "audio/wav" })]);
}

/** The head of a WAV file of mono 16-bit sound. */
function wavHead(samples, rate) {
  const head = new DataView(new ArrayBuffer(44));
  const text = (at, letters) => [...letters].forEach((letter, i) => head.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"); head.setUint32(4, 36 + 2 * samples, true); text(8, "WAVEfmt ");
  head.setUint32(16, 16, true); head.setUint16(20, 1, true); head.setUint16(22, 1, true);
  head.setUint32(24, rate, true); head.setUint32(28, 2 * rate, true); head.setUint16(32, 2, true); head.setUint16(34, 16, true);
  text(36, "data"); head.setUint32(40, 2 * samples, true);
  return head.buffer;
}

// ---- about the model ---------------------------------------------------------------------------------------------

/** The little Markdown that model cards are written in, as nodes. */
function markdown(text) {
  const inline = (line) => line.split(/(\*\*[^*]+\*\*|`[^`]+`|\[[^\]]*\]\([^)]*\))/).map((piece) => {
    if (/^\*\*.+\*\*$/.test(piece)) return el("strong", { textContent: piece.slice(2, -2) });
    if (/^`.+`$/.test(piece)) return el("code", { textContent: piece.slice(1, -1) });
    return piece.replace(/^\[([^\]]*)\]\([^)]*\)$/, "$1");
  });
  const row = (line, tag) => el("tr", {}, ...line.replace(/^\||\|\s*$/g, "").split("|").map((cell) => el(tag, {}, ...inline(cell.trim()))));
  let tables = 0;
  return text.replace(/^---\n[\s\S]*?\n---\n/, "").split(/\n\s*\n/).filter((block) => block.trim()).map((block) => {
    const lines = block.trim().split("\n");
    if (/^#+ /.test(block)) return el("h3", {}, ...inline(lines.join(" ").replace(/^#+ /, "")));
    if (lines[0].startsWith("|")) {
      const rows = lines.filter((line) => !/^\|[\s|:-]*$/.test(line));
      const wide = el("div", { className: "scroll", tabIndex: 0 }, el("table", {}, el("tbody", {}, ...rows.map((line) => row(line, "td")))));
      wide.setAttribute("role", "region");
      wide.setAttribute("aria-label", `Table ${++tables} of the model's card`);
      return wide;
    }
    if (/^[*-] /.test(lines[0])) {
      const items = block.trim().split(/\n(?=[*-] )/).map((item) => item.replace(/^[*-] /, "").replace(/\s*\n\s*/g, " "));
      return el("ul", {}, ...items.map((item) => el("li", {}, ...inline(item))));
    }
    return el("p", {}, ...inline(lines.join(" ")));
  });
}

const LEVELS = [52, 84, 40, 100, 68, 46, 90, 62, 78, 56];

function drawModel() {
  for (const place of document.querySelectorAll(".equaliser")) {
    place.replaceChildren(...model.labels.slice(0, 12).map((label, number) =>
      style(el("div", {}, el("i"), el("b", { textContent: shown(label) })), { accent: colour(label), level: LEVELS[number % 10], place: number })));
  }
  const { body_bytes: bytes, seconds } = model.limits;
  $("limits").textContent = bytes && seconds ? `Up to ${Math.floor(bytes / MIB)} MB and ${Math.floor(seconds / 60)} minutes a sound.` : "";
  $("genres").replaceChildren(...model.labels.map((label) => style(el("li", { textContent: shown(label) }), { accent: colour(label) })));
  $("card").replaceChildren(...markdown(model.card ?? ""));
}

// ---- what the person does ----------------------------------------------------------------------------------------

async function sample(name) {
  try {
    add([new File([await (await ask(`/samples/${name}`, null, { accept: "*/*" })).blob()], name)]);
  } catch (error) {
    announce(error.message);
  }
}

function listen() {
  $("choose").onchange = ({ target }) => { add(target.files); target.value = ""; };
  document.querySelectorAll("[data-sample]").forEach((button) => { button.onclick = () => sample(button.dataset.sample); });
  addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    show("veil", true);
  });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) show("veil", false); });
  addEventListener("drop", (event) => {
    event.preventDefault();
    show("veil", false);
    add(event.dataTransfer.files);
  });
  $("record").onclick = startRecording;
  $("record-done").onclick = finishRecording;
  $("record-drop").onclick = () => { stopRecording(); $("record").focus(); };

  $("cancel").onclick = () => cancel(current);
  $("again").onclick = () => again(current);
  $("cancel-all").onclick = () => sounds.filter(pending).forEach(cancel);
  $("clear").onclick = () => {
    sounds.splice(0).forEach(({ stop }) => stop?.abort());
    current = null;
    leave();
    $("rows").replaceChildren();
    for (const id of ["batch", "work", "failure", "answer"]) show(id, false);
    $("intake").classList.remove("small");
    $("choose").focus();
  };

  $("play").onclick = toggle;
  audio.onplay = () => playing(true);
  audio.onpause = audio.onended = () => playing(false);
  audio.onerror = () => { if (audio.getAttribute("src")) unplayable(); };
  $("seek").oninput = ({ target }) => seek(Number(target.value));
  $("seek").onkeydown = (event) => {
    const step = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5, PageDown: -30, PageUp: 30 }[event.key];
    if (event.key === " ") toggle();
    else if (step) seek(view.at + step);
    else return;
    event.preventDefault();
  };
  $("closer").onclick = closer;
  $("picture").onclick = ({ clientX, currentTarget }) => {
    const { left, width } = currentTarget.getBoundingClientRect();
    const { start, end } = view.window;
    seek(start + ((clientX - left) / width) * (end - start) * 0.999);
  };
  $("show-picture").onclick = () => look(true);
  $("attend").onclick = ({ currentTarget }) => {
    currentTarget.setAttribute("aria-pressed", currentTarget.getAttribute("aria-pressed") !== "true");
    look(true);
  };
  const redraw = () => { if (view) { drawWave(); drawRiver(); } };
  new ResizeObserver(redraw).observe($("track"));
  matchMedia("(prefers-color-scheme: dark)").onchange = redraw;

  $("one-json").onclick = () => saveJson(stem(current.name), record(current));
  $("one-csv").onclick = () => saveCsv(stem(current.name), [current]);
  $("all-json").onclick = () => saveJson("messymash", sounds.map(record));
  $("all-csv").onclick = () => saveCsv("messymash", sounds);
  for (const id of ["about-open", "about-here"]) $(id).onclick = () => $("about").showModal();
  $("about-close").onclick = () => $("about").close();
}

listen();
drawModel();
for (let tries = 1; tries <= BUSY_TRIES; tries++) {
  try {
    model = await (await ask("/v1/model")).json();
    drawModel();
    break;
  } catch (error) {
    announce(error.message);
    if (!error.wait) break;
    await pause(1000 * error.wait);
  }
}
