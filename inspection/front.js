"use strict";
// The page of task=serve. Whatever comes from runs or models goes into the page as text (textContent), never as HTML.
const $ = id => document.getElementById(id);
const el = (tag, props = {}, ...inside) => { const e = Object.assign(document.createElement(tag), props); e.append(...inside); return e; };
const svg = (tag, attributes, words) => {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  if (words !== undefined) e.textContent = words;
  return e;
};
const visible = s => s.replace(/\n/g, "\u23ce\n").replace(/\t/g, "\u21e5").replace(/[\0-\x08\x0b-\x1f\x7f]/g, c => c === "\x7f" ? "\u2421" : String.fromCharCode(0x2400 + c.charCodeAt(0)));
const number = x => x === null || x === undefined ? "" : Number.isInteger(x) ? x.toLocaleString("en") : Number(x.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 8 });
const state = { runs: [], sort: "time", down: true, chosen: [], curves: {}, facts: {}, stop: null };

function tell(words, bad = false) { $("status").textContent = words; $("status").classList.toggle("bad", bad); }
async function get(path, names = []) {
  const query = names.map(name => "run=" + encodeURIComponent(name)).join("&");
  const answer = await fetch(path + (query ? "?" + query : ""));
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error?.message ?? `HTTP ${answer.status}`);
  return body;
}
const guarded = work => async (...given) => { try { await work(...given); } catch (error) { tell(error.message, true); } };

// ---- two views, by mouse and by arrow keys --------------------------------------------------------------------------
function show(view) {
  for (const name of ["runs", "chat"]) {
    $("tab-" + name).setAttribute("aria-selected", name === view);
    $("tab-" + name).tabIndex = name === view ? 0 : -1;
    $("view-" + name).hidden = name !== view;
  }
}
for (const name of ["runs", "chat"]) {
  $("tab-" + name).addEventListener("click", () => show(name));
  $("tab-" + name).addEventListener("keydown", e => {
    if (e.key !== "ArrowRight" && e.key !== "ArrowLeft") return;
    const other = name === "runs" ? "chat" : "runs";
    show(other); $("tab-" + other).focus();
  });
}

// ---- runs -----------------------------------------------------------------------------------------------------------
const COLUMNS = [["run", r => r.name], ["status", r => r.status], ["task", r => r.task], ["model", r => r.model], ["objective", r => r.objective],
  ["data", r => r.data], ["step", r => r.step], ["metric", r => r.metric], ["value", r => r.value], ["seconds", r => r.seconds],
  ["parameters", r => r.parameters], ["time", r => r.time]];
const shown = (name, value) => name === "time" ? (value ? new Date(value * 1000).toISOString().slice(0, 16).replace("T", " ") : "") : typeof value === "number" ? number(value) : value ?? "";

function matches(run, words) {
  return words.every(word => {
    const [, key, sign, wanted] = /^(\w+)(!?=)(.*)$/.exec(word) ?? [];
    if (!key) return JSON.stringify(run).toLowerCase().includes(word.toLowerCase());
    const value = key === "run" ? run.name : run[key] ?? run.metrics?.[key];
    return (String(value ?? "").toLowerCase() === wanted.toLowerCase()) === (sign === "=");
  });
}
function drawRuns() {
  const words = $("words").value.trim().split(/\s+/).filter(Boolean);
  const value = Object.fromEntries(COLUMNS)[state.sort];
  const rows = state.runs.filter(run => matches(run, words)).sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x == null || y == null) return (x == null) - (y == null);
    return (x < y ? -1 : x > y ? 1 : 0) * (state.down ? -1 : 1);
  });
  $("count").textContent = `${rows.length} of ${state.runs.length} runs` + (rows.length ? "; tick some to lay their curves over each other" : "");
  const head = el("tr", {}, el("th", {}, ""));
  for (const [name] of COLUMNS) {
    const button = el("button", { type: "button", textContent: name });
    const cell = el("th", { scope: "col" }, button);
    if (name === state.sort) cell.ariaSort = state.down ? "descending" : "ascending";
    button.addEventListener("click", () => { state.down = state.sort === name ? !state.down : true; state.sort = name; drawRuns(); });
    head.append(cell);
  }
  head.append(el("th", { textContent: "pages" }), el("th", { textContent: "" }));
  $("list").replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows.map(rowOf))));
}
function rowOf(run) {
  const tick = el("input", { type: "checkbox", checked: state.chosen.includes(run.name), ariaLabel: "choose " + run.name });
  tick.addEventListener("change", guarded(() => choose(run.name, tick.checked)));
  const row = el("tr", {}, el("td", {}, tick));
  for (const [name, value] of COLUMNS) row.append(el("td", { className: typeof value(run) === "number" ? "n" : "", textContent: shown(name, value(run)), title: name === "status" ? run.error ?? "" : "" }));
  const pages = run.pages.map(file => el("a", { textContent: file.replace(/\.html$/, ""), target: "_blank", rel: "noopener noreferrer", href: `/page?run=${encodeURIComponent(run.name)}&file=${encodeURIComponent(file)}` }));
  const talk = el("button", { type: "button", textContent: "chat", ariaLabel: "chat with " + run.name });
  talk.addEventListener("click", () => { $("run-a").value = run.name; newConversation(); show("chat"); $("question").focus(); });
  row.append(el("td", { className: "pages" }, ...pages), el("td", {}, ...(run.servable ? [talk] : [])));
  return row;
}
async function choose(name, yes) {
  state.chosen = yes ? [...state.chosen, name] : state.chosen.filter(other => other !== name);
  $("chosen").hidden = state.chosen.length === 0;
  if (!state.chosen.length) return;
  const missing = state.chosen.filter(run => !(run in state.curves));
  if (missing.length) Object.assign(state.curves, await get("/api/curves", missing));
  const metrics = [...new Set(state.chosen.flatMap(run => Object.keys(state.curves[run] ?? {})))].filter(m => m !== "error").sort();
  const before = $("metric").value;
  $("metric").replaceChildren(...metrics.map(metric => el("option", { value: metric, textContent: metric })));
  $("metric").value = metrics.includes(before) ? before : metrics.find(m => m === "val/bpb") ?? metrics.find(m => m.startsWith("val/")) ?? metrics[0] ?? "";
  drawChart();
  await drawDifferences();
}
async function drawDifferences() {
  if (state.chosen.length < 2) { $("differences").replaceChildren(el("p", { className: "note", textContent: "Choose a second run." })); return; }
  const found = await get("/api/differences", state.chosen);
  if (!found.rows.length) { $("differences").replaceChildren(el("p", { className: "note", textContent: "They have the same config." })); return; }
  const head = el("tr", {}, el("th", { textContent: "key" }), ...found.runs.map(run => el("th", { textContent: run })));
  const body = found.rows.map(row => el("tr", {}, el("td", { textContent: row.key }), ...row.values.map(value => el("td", { textContent: value }))));
  $("differences").replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...body)));
}

// ---- curves ---------------------------------------------------------------------------------------------------------
const colour = i => ["var(--bar)", "var(--bar2)", "var(--good)", "var(--bad)"][i % 4];
const dashes = i => ["", "7 3", "2 3", "9 3 2 3"][Math.floor(i / 4) % 4];
function ticks(low, high, logarithmic) {
  if (logarithmic) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) for (const m of [1, 2, 5]) if (m * 10 ** power >= low && m * 10 ** power <= high) found.push(m * 10 ** power);
    return found.length > 1 ? found : [low, high];
  }
  const rough = (high - low) / 5, unit = 10 ** Math.floor(Math.log10(rough)), step = [1, 2, 5, 10].map(m => m * unit).find(s => s >= rough);
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high + step * 1e-9; at++) found.push(at * step);
  return found;
}
function drawChart() {
  const metric = $("metric").value, axis = $("axis").value, W = Math.max(320, Math.min(1100, $("view-runs").clientWidth)), H = Math.round(Math.max(240, W * 0.36));
  const [left, right, top, bottom] = [64, 14, 26, 44];
  const lines = state.chosen.map((run, i) => ({ run, i, curve: state.curves[run]?.[metric] })).filter(line => line.curve);
  const points = lines.map(({ curve }) => curve.value.map((y, k) => [curve[axis][k], y]).filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y) && y !== null));
  const all = points.flat();
  if (!all.length) { $("chart").replaceChildren(el("p", { className: "note", textContent: "These runs have no such curve." })); return; }
  const logarithmic = $("logarithmic").checked && all.every(([, y]) => y > 0);
  const scaled = y => logarithmic ? Math.log10(y) : y;
  const ends = values => { const [a, b] = values.reduce(([l, h], v) => [Math.min(l, v), Math.max(h, v)], [Infinity, -Infinity]); return a === b ? [a - (Math.abs(a) || 1) / 2, b + (Math.abs(b) || 1) / 2] : [a, b]; };
  const [x0, x1] = ends(all.map(p => p[0])), [y0, y1] = ends(all.map(p => p[1]));
  const X = x => left + (W - left - right) * (x - x0) / (x1 - x0);
  const low = logarithmic && y0 <= 0 ? y1 / 10 : y0;
  const Y = y => H - bottom - (H - top - bottom) * (scaled(y) - scaled(low)) / (scaled(y1) - scaled(low));
  const picture = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${metric} against ${axis} of ${lines.length} runs` });
  for (const x of ticks(x0, x1, false)) picture.append(svg("line", { x1: X(x), x2: X(x), y1: top, y2: H - bottom, stroke: "var(--line)" }), svg("text", { x: X(x), y: H - bottom + 16, "text-anchor": "middle" }, number(x)));
  for (const y of ticks(low, y1, logarithmic)) picture.append(svg("line", { x1: left, x2: W - right, y1: Y(y), y2: Y(y), stroke: "var(--line)" }), svg("text", { x: left - 6, y: Y(y) + 4, "text-anchor": "end" }, number(y)));
  picture.append(svg("text", { x: (left + W - right) / 2, y: H - 8, "text-anchor": "middle" }, $("axis").selectedOptions[0].textContent), svg("text", { x: 4, y: 14 }, metric));
  lines.forEach(({ i }, k) => {
    picture.append(svg("polyline", { points: points[k].map(([x, y]) => `${X(x).toFixed(1)},${Y(y).toFixed(1)}`).join(" "), fill: "none", stroke: colour(i), "stroke-dasharray": dashes(i), "stroke-width": 1.8 }));
    if (points[k].length === 1) picture.append(svg("circle", { cx: X(points[k][0][0]), cy: Y(points[k][0][1]), r: 3, fill: colour(i) }));
  });
  const legend = el("div", { className: "legend" }, ...lines.map(({ run, i }, k) => { const dot = el("span", { className: "dot" }); dot.style.background = colour(i); return el("span", {}, dot, `${run}  ${number(points[k].at(-1)?.[1])}`); }));
  const lost = lines.reduce((n, { curve }, k) => n + curve.value.length - points[k].length, 0);
  const without = state.chosen.length - lines.length;
  const notes = [without ? `${without} of the chosen runs have no ${metric}.` : "", lost ? `${lost} values are no numbers and are not drawn.` : "", $("logarithmic").checked && !logarithmic ? "Values of 0 or less: the axis stays linear." : ""].filter(Boolean).join(" ");
  $("chart").replaceChildren(el("figure", {}, picture), legend, el("p", { className: "note", textContent: notes }));
}
for (const id of ["metric", "axis", "logarithmic"]) $(id).addEventListener("change", drawChart);
addEventListener("resize", () => state.chosen.length && drawChart());

// ---- chat -----------------------------------------------------------------------------------------------------------
const panes = () => [...$("panes").children].map(box => box.pane);
function newConversation() {
  state.stop?.abort();
  const names = [$("run-a").value, $("run-b").value].filter(Boolean);
  $("panes").classList.toggle("two", names.length === 2);
  $("panes").replaceChildren(...names.map(name => {
    const box = el("div", { className: "pane" }, el("h2", { textContent: name }), el("p", { className: "note" }));
    box.pane = { name, box, messages: [] };
    return box;
  }));
  $("alternatives").hidden = true;
  panes().forEach(guarded(async pane => {
    pane.box.children[1].textContent = "is being loaded";
    pane.facts = state.facts[pane.name] ??= await get("/api/model", [pane.name]);
    pane.box.children[1].textContent = `context ${number(pane.facts.context)} tokens; ` + (!pane.facts.chat ? "not trained on conversations: it continues your text" : pane.facts.many_turns ? "talks" : "one question at a time");
  }));
}
function turn(pane, role, words) {
  const text = el("div", { textContent: words });
  const box = el("div", { className: "turn " + role }, el("small", { textContent: role }), text);
  pane.box.append(box);
  return { box, text };
}
function numbers() {
  const value = id => $(id).value === "" ? undefined : Number($(id).value);
  return { temperature: value("temperature"), top_k: value("top-k"), max_tokens: value("max-tokens"), seed: value("seed") };
}
async function answer(pane, words, settings, signal) {
  pane.facts ??= state.facts[pane.name] = await get("/api/model", [pane.name]);
  const chat = pane.facts.chat;
  if (chat && !pane.facts.many_turns) pane.messages = [];
  if (chat) pane.messages.push({ role: "user", content: words });
  turn(pane, "user", words);
  const { box, text } = turn(pane, "assistant", "");
  const shades = el("div", { className: "shades" });
  box.append(shades);
  const write = { plain: "", text, shades, tokens: [] };
  colourOf(box);
  try {
    await ask(pane, words, settings, signal, write);
  } catch (error) {
    if (error.name !== "AbortError") { box.classList.add("bad"); text.textContent = error.message; text.hidden = false; tell(error.message, true); }
  }
  if (chat && write.plain) pane.messages.push({ role: "assistant", content: write.plain });
  else if (chat) pane.messages.pop();
}
async function ask(pane, words, settings, signal, write) {
  const chat = pane.facts.chat;
  while (true) {
    const body = chat ? { messages: pane.messages, logprobs: true, top_logprobs: 8 } : { prompt: words, logprobs: 8 };
    const reply = await fetch(chat ? "/v1/chat/completions" : "/v1/completions", { method: "POST", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify({ model: pane.name, stream: true, ...body, ...settings }) });
    if (reply.ok) { await readStream(reply, piece => take(piece, write)); return; }
    const { error } = await reply.json();
    if (error.code !== "context_length_exceeded" || pane.messages.length < 3) throw new Error(error.message);
    pane.messages.splice(0, 2); // the conversation has outgrown the context
    tell("the earliest turns no longer fit into the context and are left out");
  }
}
async function readStream(reply, each) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = "", part; !(part = await reader.read()).done;) {
    const events = (rest + part.value).split("\n\n");
    rest = events.pop();
    for (const event of events) if (event.startsWith("data: ") && event !== "data: [DONE]") each(JSON.parse(event.slice(6)));
  }
}
function take(piece, write) {
  if (piece.error) throw new Error(piece.error.message);
  for (const choice of piece.choices) {
    write.plain += choice.delta?.content ?? choice.text ?? "";
    for (const token of choice.logprobs?.content ?? listed(choice.logprobs)) addToken(write, token);
  }
  write.text.textContent = write.plain;
}
function listed(lists) { // of /v1/completions
  return (lists?.tokens ?? []).map((token, k) => ({ token, logprob: lists.token_logprobs[k], top_logprobs: Object.entries(lists.top_logprobs?.[k] ?? {}).map(([name, logprob]) => ({ token: name, logprob })) }));
}
function addToken(write, token) {
  const e = el("i", { textContent: visible(token.token), tabIndex: write.tokens.length ? -1 : 0, title: share(token.logprob) });
  e.role = "button";
  e.style.setProperty("--p", Math.exp(token.logprob ?? 0));
  e.addEventListener("click", () => alternatives(e, token));
  e.addEventListener("keydown", event => {
    const next = { ArrowRight: e.nextElementSibling, ArrowLeft: e.previousElementSibling }[event.key];
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); alternatives(e, token); }
    if (next) { event.preventDefault(); e.tabIndex = -1; next.tabIndex = 0; next.focus(); }
  });
  write.tokens.push(token);
  write.shades.append(e);
}
const share = logprob => logprob === null ? "" : `${number(100 * Math.exp(logprob))} %`;
function alternatives(e, token) {
  document.querySelectorAll(".shades i.chosen").forEach(other => other.classList.remove("chosen"));
  e.classList.add("chosen");
  const rows = token.top_logprobs.some(t => t.token === token.token) ? token.top_logprobs : [...token.top_logprobs, token];
  const sorted = [...rows].sort((a, b) => b.logprob - a.logprob);
  const table = el("table", {}, el("tbody", {}, ...sorted.map(t => el("tr", {}, el("td", { textContent: (t.token === token.token ? "\u25b8 " : "  ") + JSON.stringify(t.token) }), el("td", { className: "n", textContent: share(t.logprob) }), el("td", {}, el("meter", { min: 0, max: 1, value: Math.exp(t.logprob), ariaLabel: share(t.logprob) }))))));
  const close = el("button", { type: "button", textContent: "Close" });
  close.addEventListener("click", () => { $("alternatives").hidden = true; e.focus(); });
  $("alternatives").replaceChildren(el("b", { textContent: "What could have stood here" }), table, close);
  $("alternatives").hidden = false;
}
function colourOf(box) {
  const [, text, shades] = box.children;
  if (shades) { text.hidden = $("coloured").checked; shades.hidden = !$("coloured").checked; }
}
$("coloured").addEventListener("change", () => document.querySelectorAll(".turn.assistant:not(.bad)").forEach(colourOf));
$("ask").addEventListener("submit", guarded(async event => {
  event.preventDefault();
  const words = $("question").value;
  if (!panes().length || (state.stop && !state.stop.signal.aborted)) return;
  if (!words.trim() && panes().some(pane => pane.facts?.chat)) return;
  $("question").value = ""; tell("");
  const stop = state.stop = new AbortController();
  $("send").disabled = true; $("stop").disabled = false;
  await Promise.all(panes().map(pane => answer(pane, words, numbers(), stop.signal)));
  if (state.stop === stop) state.stop = null;
  $("send").disabled = false; $("stop").disabled = true; $("question").focus();
}));
$("question").addEventListener("keydown", event => { if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); $("ask").requestSubmit(); } });
$("stop").addEventListener("click", () => state.stop?.abort());
$("clear").addEventListener("click", newConversation);
for (const id of ["run-a", "run-b"]) $(id).addEventListener("change", newConversation);

// ---- beginning ------------------------------------------------------------------------------------------------------
async function load() {
  const found = await get("/api/runs");
  state.runs = found.runs; state.curves = {};
  const options = () => state.runs.filter(run => run.servable).map(run => el("option", { value: run.name, textContent: run.name }));
  const before = [$("run-a").value, $("run-b").value];
  $("run-a").replaceChildren(...options());
  $("run-b").replaceChildren(el("option", { value: "", textContent: "(none)" }), ...options());
  if (before[0]) { [$("run-a").value, $("run-b").value] = before; }
  drawRuns();
}
$("words").addEventListener("input", drawRuns);
$("filter").addEventListener("submit", event => event.preventDefault());
$("reload").addEventListener("click", guarded(load));
$("tab-chat").addEventListener("click", () => panes().length || newConversation());
guarded(load)();
