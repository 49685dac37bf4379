"""
The style and the script of the page at `/docs`: plain CSS and plain JavaScript, in the page itself.
"""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fbfaf7; --card: #ffffff; --ink: #1d2329; --soft: #59626c; --line: #dcd8cf; --field: #ffffff;
  --accent: #0b5f73; --on-accent: #ffffff; --accent-soft: #e3f0f2; --good: #1c6b3c; --bad: #a3271f; --bad-soft: #fbebe9;
  --code: #f3f1eb; --edge: #8a8f94; --serif: Charter, "Bitstream Charter", "Sitka Text", Cambria, Georgia, serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  --mono: ui-monospace, "SF Mono", SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14181c; --card: #1b2126; --ink: #e8e6e1; --soft: #a5adb5; --line: #323a42; --field: #12161a;
    --accent: #6cc5d9; --on-accent: #0b1a1f; --accent-soft: #1d3239; --good: #7ed0a0; --bad: #f4978f;
    --bad-soft: #3a2321;
    --code: #12161a; --edge: #77808a;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 var(--sans); overflow-wrap: anywhere; }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 4px; }
.skip { position: absolute; left: -100vw; top: 0; background: var(--card); padding: .6rem 1rem; z-index: 2; }
.skip:focus { left: .5rem; }
.page { display: grid; grid-template-columns: 17rem minmax(0, 1fr); max-width: 84rem; margin: 0 auto; }
.side { position: sticky; top: 0; align-self: start; height: 100vh; overflow: auto; padding: 2.2rem 1.2rem 2rem 1.6rem;
  border-right: 1px solid var(--line); }
h1 { font: 600 1.55rem/1.2 var(--serif); margin: 0 0 .3rem; letter-spacing: -.01em; }
.version { color: var(--soft); font-size: .88rem; margin: 0 0 1.6rem; }
.side ul { list-style: none; margin: 0 0 1.6rem; padding: 0; }
.side li a { display: flex; gap: .55rem; align-items: baseline; padding: .38rem .5rem; margin: 0 -.5rem;
  color: var(--ink);
  text-decoration: none; border-radius: 6px; font: .9rem/1.4 var(--mono); }
.side li a:hover { background: var(--accent-soft); }
.side small { font: 600 .68rem/1 var(--sans); color: var(--soft); min-width: 2.9rem; letter-spacing: .04em; }
.side .more { font-size: .88rem; display: flex; flex-wrap: wrap; gap: .3rem 1rem; }
main { padding: 2.2rem 2.4rem 5rem; min-width: 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; margin: 0 0 1.8rem;
  overflow: hidden; }
.head { padding: 1.3rem 1.6rem 1.1rem; border-bottom: 1px solid var(--line); }
h2 { margin: 0 0 .35rem; font: 600 1.08rem/1.4 var(--mono); display: flex; flex-wrap: wrap; gap: .7rem;
  align-items: center; }
.method { font: 700 .72rem/1 var(--sans); letter-spacing: .06em; background: var(--accent-soft); color: var(--accent);
  padding: .36rem .55rem; border-radius: 5px; }
.lock { font: 600 .74rem/1 var(--sans); color: var(--soft); border: 1px solid var(--line); border-radius: 99px;
  padding: .3rem .6rem; }
.summary { font: 1.06rem/1.5 var(--serif); margin: 0; }
.text { color: var(--soft); margin: .5rem 0 0; white-space: pre-line; max-width: 46rem; }
.work { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
.ask { padding: 1.2rem 1.6rem 1.5rem; border-right: 1px solid var(--line); }
.got { padding: 1.2rem 1.6rem 1.5rem; min-width: 0; }
h3 { font: 600 .95rem/1.3 var(--sans); margin: 0 0 .8rem; }
.field { margin: 0 0 1rem; }
label { display: flex; flex-wrap: wrap; gap: .1rem .6rem; align-items: baseline; margin: 0 0 .25rem; }
label b { font: 600 .92rem/1.4 var(--mono); }
label span { color: var(--soft); font-size: .85rem; }
.hint { color: var(--soft); font-size: .85rem; margin: .25rem 0 0; }
input, select, textarea { width: 100%; font: .95rem/1.4 var(--mono); color: var(--ink); background: var(--field);
  border: 1px solid var(--edge); border-radius: 7px; padding: .5rem .65rem; min-height: 2.6rem; }
textarea { min-height: 4.6rem; resize: vertical; tab-size: 2; }
[aria-invalid=true] { border-color: var(--bad); box-shadow: inset 0 0 0 1px var(--bad); }
.fault { color: var(--bad); font-size: .88rem; margin: .3rem 0 0; }
.fault:empty { display: none; }
button { font: 600 .95rem/1 var(--sans); border-radius: 7px; border: 1px solid transparent; padding: .8rem 1.25rem;
  min-height: 2.75rem; cursor: pointer; background: var(--accent); color: var(--on-accent); }
button:hover { filter: brightness(1.08); }
button[disabled] { opacity: .6; cursor: progress; }
button.quiet { background: transparent; color: var(--accent); border-color: var(--edge); padding: .45rem .8rem;
  min-height: 2.2rem; font-size: .85rem; }
.row { display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; justify-content: space-between;
  margin: 0 0 .5rem; }
.row h3 { margin: 0; }
pre { margin: 0 0 1.2rem; background: var(--code); border: 1px solid var(--line); border-radius: 8px;
  padding: .8rem .9rem;
  font: .85rem/1.5 var(--mono); overflow: auto; max-height: 26rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.told { font-size: .9rem; margin: 0 0 .5rem; color: var(--soft); }
.told b { font-weight: 600; }
.good b { color: var(--good); } .bad b { color: var(--bad); }
.token { margin: 0 0 1.6rem; }
.empty { color: var(--soft); }
@media (max-width: 62rem) {
  .page { display: block; }
  .side { position: static; height: auto; border-right: 0; border-bottom: 1px solid var(--line);
  padding: 1.3rem 1.1rem .6rem; }
  .side ul, .version, .token { margin-bottom: 1rem; }
  main { padding: 1.2rem .8rem 3rem; }
}
@media (max-width: 46rem) {
  .work { display: block; }
  .ask { border-right: 0; border-bottom: 1px solid var(--line); }
  .head, .ask, .got { padding-left: 1.1rem; padding-right: 1.1rem; }
  button.send { width: 100%; }
}
"""

SCRIPT = r"""
"use strict";
const token = document.getElementById("token");

function valueOf(control) {
  const text = control.value;
  if (control.dataset.kind === "text") return text;
  if (control.dataset.kind === "json") return JSON.parse(text);
  if (control.dataset.kind === "choice") return JSON.parse(text);
  const number = Number(text);
  return text.trim() !== "" && Number.isFinite(number) ? number : text;
}

function controlsOf(form) { return [...form.querySelectorAll("[data-name]")]; }

function isGiven(control) {
  return control.value !== "" || (control.dataset.kind === "text" && control.required);
}

function bodyOf(form) {
  if (form.dataset.whole === "true") return JSON.parse(controlsOf(form)[0].value || "{}");
  const body = {};
  for (const control of controlsOf(form).filter(isGiven)) {
    try { body[control.dataset.name] = valueOf(control); }
    catch { throw {pointer: "/" + control.dataset.name, detail: "this is not JSON"}; }
  }
  return body;
}

function requestOf(form) {
  const url = new URL(form.dataset.path.slice(1), document.baseURI);
  const method = form.dataset.method;
  const headers = {};
  if (token && token.value) headers["Authorization"] = "Bearer " + token.value;
  if (method === "GET" || method === "DELETE") {
    for (const control of controlsOf(form).filter(isGiven)) {
      const value = control.dataset.kind === "choice" ? String(JSON.parse(control.value)) : control.value;
      url.searchParams.append(control.dataset.name, value);
    }
    return {url, method, headers};
  }
  headers["Content-Type"] = "application/json";
  return {url, method, headers, body: JSON.stringify(bodyOf(form))};
}

function quoted(text) { return "'" + text.replaceAll("'", "'\\''") + "'"; }

function curlOf(request) {
  const method = request.method === "GET" ? "" : "-X " + request.method + " ";
  const parts = ["curl " + method + quoted(request.url.href)];
  for (const [name, value] of Object.entries(request.headers))
    parts.push("-H " + (name === "Authorization" ? '"Authorization: Bearer $TOKEN"' : quoted(name + ": " + value)));
  if (request.body !== undefined) parts.push("-d " + quoted(request.body));
  return parts.join(" \\\n  ");
}

function showCurl(form) {
  const shown = form.closest("section").querySelector(".curl");
  try { shown.textContent = curlOf(requestOf(form)); }
  catch { /* half-typed JSON: the last good command stays */ }
}

function clearFaults(form) {
  for (const control of controlsOf(form)) {
    control.removeAttribute("aria-invalid");
    document.getElementById(control.id + "-fault").textContent = "";
  }
}

function showFaults(form, faults) {
  let first = null;
  for (const fault of faults) {
    const names = fault.pointer.split("/").slice(1);
    const controls = controlsOf(form);
    const control = form.dataset.whole === "true" ? controls[0] : controls.find(one => one.dataset.name === names[0]);
    if (!control) continue;
    control.setAttribute("aria-invalid", "true");
    const inner = form.dataset.whole === "true" ? names : names.slice(1);
    const where = inner.length ? "/" + inner.join("/") + ": " : "";
    document.getElementById(control.id + "-fault").textContent = where + fault.detail;
    first = first || control;
  }
  if (first) first.focus();
}

function pretty(text, type) {
  if (!/json/.test(type) || /ndjson/.test(type)) return text;
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

function tell(form, good, head, rest, text) {
  const got = form.closest("section").querySelector(".got");
  const told = got.querySelector(".told");
  told.className = "told " + (good ? "good" : "bad");
  told.textContent = "";
  const strong = document.createElement("b");
  strong.textContent = head;
  told.append(strong, " " + rest);
  const answer = got.querySelector(".answer");
  answer.textContent = text.length > 200000 ? text.slice(0, 200000) + "\n..." : text;
  answer.hidden = text === "";
}

async function send(form) {
  clearFaults(form);
  let request;
  try { request = requestOf(form); }
  catch (fault) {
    const told = fault.pointer !== undefined ? fault : {pointer: "", detail: "this is not JSON"};
    showFaults(form, [told]);
    tell(form, false, "Not sent.", "One field has to be JSON and is not.", "");
    return;
  }
  const button = form.querySelector("button.send");
  button.disabled = true;
  const started = performance.now();
  try {
    const response = await fetch(request.url, {method: request.method, headers: request.headers, body: request.body});
    const text = await response.text();
    const took = (performance.now() - started).toFixed(0);
    const type = response.headers.get("Content-Type") || "";
    const id = response.headers.get("X-Request-ID");
    const head = response.status + " " + response.statusText;
    tell(form, response.ok, head, "in " + took + " ms, request " + id, pretty(text, type));
    if (response.status === 422 && /json/.test(type)) showFaults(form, JSON.parse(text).errors || []);
  } catch (error) {
    tell(form, false, "No answer.", "The server cannot be reached.", "");
  } finally {
    button.disabled = false;
  }
}

for (const form of document.querySelectorAll("form[data-path]")) {
  form.addEventListener("submit", event => { event.preventDefault(); send(form); });
  form.addEventListener("input", () => showCurl(form));
  showCurl(form);
  const copy = form.closest("section").querySelector(".copy");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(form.closest("section").querySelector(".curl").textContent);
      copy.textContent = "Copied";
    } catch { copy.textContent = "Select and copy"; }
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });
}
if (token) token.form.addEventListener("submit", event => event.preventDefault());
if (token) token.addEventListener("input", () => document.querySelectorAll("form[data-path]").forEach(showCurl));
"""
